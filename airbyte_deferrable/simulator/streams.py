"""The streams of a connection, and how much a job moves of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

SyncMode = Literal["full_refresh", "incremental"]
DestinationSyncMode = Literal["append", "overwrite", "append_dedup", "overwrite_dedup", "update", "soft_delete"]

#: The public API has one word for both modes; a pair that is not here it leaves out (``ConnectionReadMapper``).
PUBLIC_MODES: dict[tuple[str, str], str] = {
    ("full_refresh", "overwrite"): "full_refresh_overwrite",
    ("full_refresh", "overwrite_dedup"): "full_refresh_overwrite_deduped",
    ("full_refresh", "append"): "full_refresh_append",
    ("full_refresh", "update"): "full_refresh_update",
    ("full_refresh", "soft_delete"): "full_refresh_soft_delete",
    ("incremental", "append"): "incremental_append",
    ("incremental", "append_dedup"): "incremental_deduped_history",
    ("incremental", "update"): "incremental_update",
    ("incremental", "soft_delete"): "incremental_soft_delete",
}
STORED_MODES = {public: pair for pair, public in PUBLIC_MODES.items()}


@dataclass(frozen=True)
class Stream:
    """A stream of a connection: mostly a table of the source.

    :param name: Its name at the source.
    :param namespace: The schema that the source has it in; None for a source without schemas.
    :param sync_mode: How it is read: ``full_refresh`` or ``incremental``.
    :param destination_sync_mode: How it is written: ``append``, ``overwrite``, ``append_dedup``, ``overwrite_dedup``,
        ``update`` or ``soft_delete``.
    :param columns: Its columns, each with its JSON type (``"integer"``) or its whole JSON schema.
    :param primary_key: The columns that tell two rows apart.
    :param cursor: The column that tells new rows from old ones; None for none.
    :param selected_columns: The columns that are synced; None for all.
    :param selected: Whether it is synced. The APIs name only those that are.
    """

    name: str
    namespace: str | None = None
    sync_mode: SyncMode = "incremental"
    destination_sync_mode: DestinationSyncMode = "append"
    columns: Mapping[str, Any] = field(default_factory=dict)
    primary_key: Sequence[str] = ()
    cursor: str | None = None
    selected_columns: Sequence[str] | None = None
    selected: bool = True

    def __post_init__(self) -> None:
        for name, choices in (("sync_mode", SyncMode), ("destination_sync_mode", DestinationSyncMode)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} is one of {', '.join(get_args(choices))}, not {getattr(self, name)!r}")

    @classmethod
    def read(cls, value: Stream | Mapping[str, Any] | str) -> Stream:
        """Return the stream that a JSON object describes.

        :param value: The object; a stream is returned as it is, a text is the name of a plain one.
        """
        if isinstance(value, Stream):
            return value
        given = {"name": value} if isinstance(value, str) else dict(value)
        if unknown := set(given) - {each.name for each in fields(cls)}:
            raise ValueError(f"a stream has no {', '.join(sorted(unknown))}")
        return cls(**given)

    @property
    def key(self) -> str:
        """How a script names it where its name alone would not do: ``namespace.name``."""
        return f"{self.namespace}.{self.name}" if self.namespace else self.name

    @property
    def descriptor(self) -> dict[str, str]:
        """Its name and namespace, as Airbyte writes them."""
        return {"name": self.name} | ({"namespace": self.namespace} if self.namespace is not None else {})


#: What a connection has when nothing is said about its streams.
DEFAULT = (
    Stream(
        "orders",
        "public",
        columns={"id": "integer", "customer_id": "integer", "amount": "number", "updated_at": "string"},
        primary_key=("id",),
        cursor="updated_at",
    ),
)


@dataclass(frozen=True)
class Amount:
    """How much of a stream a job moves.

    :param rows: Rows committed.
    :param bytes: Bytes committed.
    :param rejected: Rows that the destination refused; they were read, and are in no other count.
    """

    rows: int = 0
    bytes: int = 0
    rejected: int = 0

    def part(self, part: float) -> Amount:
        """Return what is moved when a part of the work is done.

        :param part: From 0 to 1.
        """
        if part >= 1.0:
            return self
        return Amount(int(self.rows * part), int(self.bytes * part), int(self.rejected * part))

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.rows - other.rows, self.bytes - other.bytes, self.rejected - other.rejected)


def total(amounts: Sequence[Amount]) -> Amount:
    """Add amounts up.

    :param amounts: One for each stream.
    """
    if len(amounts) == 1:
        return amounts[0]
    return Amount(sum(a.rows for a in amounts), sum(a.bytes for a in amounts), sum(a.rejected for a in amounts))


def evenly(amount: Amount, count: int) -> tuple[Amount, ...]:
    """Divide an amount among streams; the first ones get what is left over.

    :param amount: It.
    :param count: How many streams.
    """
    if count == 1:
        return (amount,)

    def shares(whole: int) -> list[int]:
        return [whole // count + (place < whole % count) for place in range(count)]

    return tuple(
        Amount(rows, size, rejected)
        for rows, size, rejected in zip(shares(amount.rows), shares(amount.bytes), shares(amount.rejected), strict=True)
    )
