"""Airbyte's lists that have no order, read until nothing is missing of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Generic, TypeVar

from airbyte_deferrable.api.client import PAGE_SIZE

Row = TypeVar("Row")

#: How many pages are read at most at one go.
MOST_PAGES = 200
#: How often a list is read at most when its pages repeat some rows and miss others.
MOST_PASSES = 20


@dataclass(frozen=True)
class Listing(Generic[Row]):
    """A list, as far as it could be read.

    :param rows: Each once.
    :param missing: How many more there are, which no page has shown.
    :param cut: Whether it has more pages than are read.
    """

    rows: tuple[Row, ...]
    missing: int = 0
    cut: bool = False


async def read_all(
    read_page: Callable[[int], Awaitable[Sequence[Row]]],
    id_of: Callable[[Row], str],
    *,
    wanted: AbstractSet[str] | None = None,
) -> Listing[Row]:
    """Read a list until nothing is missing of it.

    Airbyte's SQL for ``GET /connections`` has no ORDER BY (``ConnectionServiceJooqImpl``), nor that for ``/sources``
    and ``/destinations`` (``SourceServiceJooqImpl``), so that one pass over the pages may repeat some rows and miss
    others. It does tell how many there are: the pages of a pass have as many rows as there are, whichever they are.

    What is deleted while the pages are read can hide another row: it moves the rest, and nothing tells. Whoever must
    not miss that one reads the list again later.

    :param read_page: Reads the page that begins at an offset, :data:`~airbyte_deferrable.api.client.PAGE_SIZE` rows.
    :param id_of: Returns a row's id.
    :param wanted: The ids of those who are wanted: the list is read until these are there, for no more pages than there
        would be requests for single ones. Default: all.
    :return: What was read.
    """
    found: dict[str, Row] = {}
    most_pages = MOST_PAGES if wanted is None else min(MOST_PAGES, len(wanted))
    counted, pages, ended = 0, 0, False
    for _ in range(MOST_PASSES):
        counted, ended = 0, False
        for page in range(most_pages):
            rows = await read_page(page * PAGE_SIZE)
            found.update((id_of(row), row) for row in rows)
            counted, pages = counted + len(rows), pages + 1
            ended = len(rows) < PAGE_SIZE
            if ended or (wanted is not None and wanted <= found.keys()):
                break
        if len(found) >= counted or pages >= most_pages or (wanted is not None and wanted <= found.keys()):
            break
    return Listing(tuple(found.values()), max(0, counted - len(found)), cut=not ended)
