"""What the connections of one Airbyte are called and whether they are there, learned once for all who wait there.

A name only makes a log and a button nicer. Asked for by each task, it would cost three requests a sync, as much as to
start it. So names that are wanted while others are being asked for are asked for together, a page of a hundred at a
time, and what was read is kept for a while: a name for an hour, whether a connection is there for ten minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from airbyte_deferrable.api.aio import Shared, SharedCallStopped
from airbyte_deferrable.api.client import PAGE_SIZE, AirbyteClient
from airbyte_deferrable.api.errors import NOT_VISIBLE, ApiError, Rejected
from airbyte_deferrable.api.models import Actor, Connection

Row = TypeVar("Row", Connection, Actor)

#: Seconds for which what was learned is kept: a name seldom changes.
KEEP = 3600.0
#: Seconds for which it is kept that a connection is there: all who ask now and then, and ask no more often than this,
#: share one reading each time.
KEEP_STANDING = 600.0
#: Seconds until an Airbyte that could not be asked is asked again.
RETRY_AFTER = 60.0
#: So many are asked for one by one, before a list is read: most who wait alone wait for the same few.
FEW = 2
#: Seconds between two requests for single ones where the list is forbidden.
SLOWLY = 1.0
#: Rows that are kept at the most.
MOST_ROWS = 50_000


@dataclass(frozen=True)
class Description:
    """What a connection is called. Each part is empty if it could not be had.

    :param name: The connection's name.
    :param source: The source's name.
    :param destination: The destination's name.
    :param workspace_id: The workspace it belongs to.
    """

    name: str = ""
    source: str = ""
    destination: str = ""
    workspace_id: str = ""

    def __str__(self) -> str:
        """Say it in a log line: ``'Orders' (shop → warehouse)``."""
        route = f" ({self.source} → {self.destination})" if self.source and self.destination else ""
        return f"{self.name!r}{route}" if self.name else ""


class _List(Enum):
    """How far the list of one kind has been read."""

    #: Not to its end.
    UNFINISHED = "unfinished"
    #: To its end, or as far as rows are kept.
    READ = "read"
    #: Not at all any more: Airbyte forbids or lacks it.
    FORBIDDEN = "forbidden"


class _Shelf(Generic[Row]):
    """All that is known of one kind: connections, sources or destinations.

    :param read_page: Reads a page of the list, from an offset on.
    :param read_one: Reads one by its id.
    :param id_of: Returns a row's id.
    """

    def __init__(
        self,
        read_page: Callable[[int], Awaitable[Sequence[Row]]],
        read_one: Callable[[str], Awaitable[Row]],
        id_of: Callable[[Row], str],
    ) -> None:
        self._read_page: Callable[[int], Awaitable[Sequence[Row]]] = read_page
        self._read_one: Callable[[str], Awaitable[Row]] = read_one
        self._id_of: Callable[[Row], str] = id_of
        #: None for one that cannot be seen.
        self.rows: dict[str, Row | None] = {}
        self._list = _List.UNFINISHED
        #: All who were not known when they were wanted.
        self._missed: set[str] = set()
        self._pages = 0

    @property
    def forbidden(self) -> bool:
        """Whether Airbyte forbids or lacks the list."""
        return self._list is _List.FORBIDDEN

    async def learn(self, wanted: set[str]) -> None:
        """Read what is not known yet of those who are wanted.

        :param wanted: Their ids.
        :raises ApiError: If Airbyte cannot be asked.
        """
        missing = wanted - self.rows.keys()
        self._missed |= missing
        if len(self._missed) > FEW and not self.forbidden:
            try:
                await self._read_list(missing)
            except (*NOT_VISIBLE, Rejected):
                self._list = _List.FORBIDDEN
        for each in sorted(missing - self.rows.keys()):
            try:
                self.rows[each] = await self._read_one(each)
            except (*NOT_VISIBLE, Rejected):
                self.rows[each] = None
            if self.forbidden:
                await asyncio.sleep(SLOWLY)

    async def _read_list(self, missing: set[str]) -> None:
        """Read on in the list, for no more pages in all than there would have been requests for single ones."""
        while missing - self.rows.keys() and self._list is _List.UNFINISHED and self._pages < len(self._missed):
            page = await self._read_page(self._pages * PAGE_SIZE)
            self._pages += 1
            self.rows.update((self._id_of(row), row) for row in page)
            if len(page) < PAGE_SIZE or len(self.rows) >= MOST_ROWS:
                self._list = _List.READ


class Directory:
    """Describes the connections of one Airbyte.

    :param client: Returns the client; asked before each request, so that a watcher that lingers does not close it.
    """

    def __init__(self, client: Callable[[], AirbyteClient]) -> None:
        self._client = client
        self._wanted: set[str] = set()
        self._learn_wanted = Shared(self._learn)
        self._to_check: set[str] = set()
        self._learn_to_check = Shared(self._learn_standing)
        self._forget()
        self._forget_standing()

    def known(self) -> Iterator[tuple[str, Description]]:
        """Yield the connections of which a name is known by now, by their ids. Asks nobody; may be read in pauses."""
        # All of one moment: what is forgotten in a pause begins anew with other shelves.
        connections, sources, destinations = self._connections, self._sources, self._destinations
        for connection_id, connection in list(connections.rows.items()):
            if connection is not None and connection.name:
                yield connection_id, _description(connection, sources, destinations)

    async def describe(self, connection_id: str) -> Description:
        """Return what a connection is called, as far as Airbyte tells. Takes as long as Airbyte cannot be asked.

        :param connection_id: The connection.
        """
        if time.monotonic() >= self._until:
            self._forget()
        while connection_id not in self._described:
            self._wanted.add(connection_id)
            try:
                await self._learn_wanted()
            except ApiError:
                await asyncio.sleep(RETRY_AFTER)
            except SharedCallStopped:
                break
        connection = self._connections.rows.get(connection_id)
        return Description() if connection is None else _description(connection, self._sources, self._destinations)

    async def check(self, connection_id: str) -> Connection | None:
        """Return a connection as it was ten minutes ago or later; None if Airbyte does not let it be seen.

        :param connection_id: The connection.
        :raises ApiError: If Airbyte cannot be asked.
        :raises SharedCallStopped: If the question was given up.
        """
        if time.monotonic() >= self._standing_until:
            self._forget_standing()
        standing = self._standing
        while connection_id not in standing.rows:
            self._to_check.add(connection_id)
            # One by one, thousands take longer than they are kept for: who waits is told what was read all the same.
            standing = await self._learn_to_check()
        return standing.rows[connection_id]

    async def _learn_standing(self) -> _Shelf[Connection]:
        wanted, self._to_check = self._to_check, set()
        standing = self._standing
        await standing.learn(wanted)
        return standing

    async def _learn(self) -> None:
        wanted, self._wanted = self._wanted, set()
        # These, though they may be taken for too old meanwhile.
        connections, sources, destinations, described = (
            self._connections,
            self._sources,
            self._destinations,
            self._described,
        )
        await connections.learn(wanted)
        if not connections.forbidden:
            found = [row for each in wanted if (row := connections.rows[each]) is not None]
            # Without these the name is good enough.
            with suppress(ApiError):
                await sources.learn({row.source_id for row in found} - {""})
                await destinations.learn({row.destination_id for row in found} - {""})
        described |= wanted

    def _shelf_of_connections(self) -> _Shelf[Connection]:
        ask = self._client

        async def read_connections(offset: int) -> list[Connection]:
            # Tags and schedules, which nobody asks for here, would double what is kept.
            page = await ask().list_connections(offset=offset)
            return [row.model_copy(update={"tags": (), "schedule": None}) for row in page]

        return _Shelf[Connection](
            read_connections,
            lambda each: ask().get_connection(each),
            lambda row: row.connection_id,
        )

    def _forget_standing(self) -> None:
        self._standing = self._shelf_of_connections()
        self._standing_until = time.monotonic() + KEEP_STANDING

    def _forget(self) -> None:
        ask = self._client
        self._connections = self._shelf_of_connections()
        self._sources = _Shelf[Actor](
            lambda offset: ask().list_sources(offset=offset),
            lambda each: ask().get_source(each),
            lambda row: row.source_id,
        )
        self._destinations = _Shelf[Actor](
            lambda offset: ask().list_destinations(offset=offset),
            lambda each: ask().get_destination(each),
            lambda row: row.destination_id,
        )
        #: Of whom all was asked that is to be had.
        self._described: set[str] = set()
        self._until = time.monotonic() + KEEP


def _description(connection: Connection, sources: _Shelf[Actor], destinations: _Shelf[Actor]) -> Description:
    source, destination = sources.rows.get(connection.source_id), destinations.rows.get(connection.destination_id)
    return Description(
        name=connection.name,
        source=source.name if source else "",
        destination=destination.name if destination else "",
        workspace_id=connection.workspace_id,
    )
