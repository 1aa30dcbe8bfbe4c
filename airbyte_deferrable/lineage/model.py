"""The streams of a job: what was moved of each, from where to where."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, overload

#: The two ends of a stream.
Side = Literal["source", "destination"]


@dataclass(frozen=True)
class Dataset:
    """A table, or a folder of files, as OpenLineage names it (https://openlineage.io/docs/spec/naming).

    :param namespace: The system: ``postgres://db.example.com:5432``, ``bigquery``.
    :param name: Its name there: ``shop.public.orders``.
    :param uri: The same as an asset's URI: ``postgres://db.example.com:5432/shop/public/orders``. Default: namespace
        and name, with a slash between them.
    """

    namespace: str
    name: str
    uri: str = ""

    def __post_init__(self) -> None:
        if not self.uri:
            object.__setattr__(self, "uri", f"{self.namespace}/{self.name}")


@dataclass(frozen=True)
class Column:
    """A column of a stream.

    :param name: Its name at the source.
    :param type: Airbyte's type: ``integer``, ``timestamp_with_timezone``; empty if Airbyte did not say.
    :param written_as: Its name at the destination, as far as that is known.
    """

    name: str
    type: str = ""
    written_as: str = ""


class ColumnsWhenWanted(Sequence[Column]):
    """Columns that are put together when somebody reads them: of many streams nobody does.

    :param make: Makes them.
    """

    def __init__(self, make: Callable[[], Iterable[Column]]) -> None:
        self._make = make

    @cached_property
    def _all(self) -> tuple[Column, ...]:
        return tuple(self._make())

    def __len__(self) -> int:
        return len(self._all)

    @overload
    def __getitem__(self, index: int) -> Column: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Column, ...]: ...

    def __getitem__(self, index: int | slice) -> Column | tuple[Column, ...]:
        return self._all[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._all == tuple(other)

    def __hash__(self) -> int:
        return hash(self._all)

    def __repr__(self) -> str:
        return repr(self._all)


@dataclass(frozen=True)
class JobStream:
    """What a job did with a stream. A count is None where Airbyte does not tell it.

    :param name: Its name at the source.
    :param namespace: The schema, or what else the source has it in; None for none.
    :param sync_mode: How it is read: ``full_refresh`` or ``incremental``; empty if Airbyte did not say. As the
        connection is set up now, which may have changed since the job: jobs do not tell it. So is all that follows but
        the counts.
    :param destination_sync_mode: How it is written: ``append``, ``overwrite``, ``append_dedup``, ``overwrite_dedup``,
        ``update`` or ``soft_delete``; likewise.
    :param rows_emitted: Rows that the source gave.
    :param bytes_emitted: Likewise bytes.
    :param rows_committed: Rows that the destination took.
    :param bytes_committed: Likewise bytes.
    :param rows_rejected: Rows that the destination refused.
    :param backfilled: Whether the job filled new columns of old rows.
    :param resumed: Whether the job went on where an earlier one had stopped.
    :param columns: The columns that are synced; none where Airbyte did not say.
    :param source: Where it is read from; None if that is not known.
    :param destination: Where it is written to; None if that is not known.
    :param moved: Whether any row was written; True where Airbyte tells no counts at all.
    :param one_to_one: Whether each of the columns is written as it was read: Airbyte's mappers leave some out, rename
        or encrypt them, and a raw table has none of them.
    """

    name: str
    namespace: str | None = None
    sync_mode: str = ""
    destination_sync_mode: str = ""
    rows_emitted: int | None = None
    bytes_emitted: int | None = None
    rows_committed: int | None = None
    bytes_committed: int | None = None
    rows_rejected: int | None = None
    backfilled: bool | None = None
    resumed: bool | None = None
    columns: Sequence[Column] = ()
    source: Dataset | None = None
    destination: Dataset | None = None
    moved: bool = True
    one_to_one: bool = False

    def to_json(self, *, columns: bool = True) -> dict[str, Any]:
        """Return it as plain JSON data, without what is not known.

        :param columns: With its columns. Default: True.
        """
        told: Mapping[str, Any] = {
            "name": self.name,
            "namespace": self.namespace,
            "sync_mode": self.sync_mode or None,
            "destination_sync_mode": self.destination_sync_mode or None,
            "rows_emitted": self.rows_emitted,
            "bytes_emitted": self.bytes_emitted,
            "rows_committed": self.rows_committed,
            "bytes_committed": self.bytes_committed,
            "rows_rejected": self.rows_rejected,
            "backfilled": self.backfilled,
            "resumed": self.resumed,
            "source": self.source and self.source.uri,
            "destination": self.destination and self.destination.uri,
            "columns": {column.name: column.type for column in self.columns} if columns and self.columns else None,
        }
        return {key: value for key, value in told.items() if value is not None}


@dataclass(frozen=True)
class JobStreams:
    """All streams of a job.

    :param job_id: Airbyte's id of the job.
    :param job_type: ``sync``, ``reset``, ``refresh``.
    :param connection_id: The connection, a UUID.
    :param connection_name: What it is called; empty if Airbyte did not say.
    :param job_url: Where the job is in Airbyte's web app; empty if that is not known.
    :param streams: Its streams, in Airbyte's order.
    :param succeeded: Whether it did; what one that did not has made of its tables as a whole is not known. Default:
        True.
    """

    job_id: int
    job_type: str
    connection_id: str
    connection_name: str
    job_url: str
    streams: tuple[JobStream, ...]
    succeeded: bool = True
