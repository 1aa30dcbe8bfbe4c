"""What Airbyte tells of a job's streams, read row by row: one that is not as expected costs no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

Row = TypeVar("Row", bound="_Row")


@dataclass
class Answers:
    """What has been learned so far: what Airbyte does not tell, or not in time, stays empty.

    :param details: ``jobs/get_without_logs`` of the config API, as it came.
    :param connection: ``connections/get`` of the config API, or else the public API's connection.
    :param source: The source, as the public API tells it.
    :param destination: Likewise the destination.
    """

    details: Mapping[str, Any] = field(default_factory=dict)
    connection: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    destination: Mapping[str, Any] = field(default_factory=dict)


class _Row(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, defer_build=True
    )


class StreamKey(_Row):
    """What tells a stream from the others of its connection."""

    name: str
    namespace: str | None = None


class StreamStats(_Row):
    """How much a job moved of a stream. Releases before July 2025 tell of no rejected rows."""

    stream_name: str
    stream_namespace: str | None = None
    records_emitted: int | None = None
    bytes_emitted: int | None = None
    records_committed: int | None = None
    bytes_committed: int | None = None
    records_rejected: int | None = None
    was_backfilled: bool | None = None
    was_resumed: bool | None = None


class CatalogStream(_Row):
    """What the source says of a stream."""

    name: str
    namespace: str | None = None
    json_schema: dict[str, Any] = {}


class SelectedField(_Row):
    """A column that is synced, by the path to it; one inside another has a path of several."""

    field_path: tuple[str, ...] = ()


class CatalogConfig(_Row):
    """What is done with a stream."""

    selected: bool = True
    sync_mode: str = ""
    destination_sync_mode: str = ""
    destination_object_name: str | None = None
    field_selection_enabled: bool = False
    selected_fields: tuple[SelectedField, ...] | None = None
    mappers: tuple[Any, ...] | None = None


class Configured(_Row):
    """A stream of a connection, as the config API tells it."""

    stream: CatalogStream
    config: CatalogConfig = CatalogConfig()


class PublicStream(_Row):
    """A stream of a connection, as the public API tells it: without its columns, but for a selection of them."""

    name: str
    namespace: str | None = None
    sync_mode: str | None = None
    destination_object_name: str | None = None
    mappers: tuple[Any, ...] | None = None

    def configured(self) -> Configured:
        """Return it in the words of the config API."""
        read, written = _modes(self.sync_mode or "")
        return Configured(
            stream=CatalogStream(name=self.name, namespace=self.namespace),
            config=CatalogConfig(
                sync_mode=read,
                destination_sync_mode=written,
                destination_object_name=self.destination_object_name,
                mappers=self.mappers,
            ),
        )


#: The public API's words for how a stream is written, where they are not the config API's (``ConnectionReadMapper``).
_WRITTEN = {"overwrite_deduped": "overwrite_dedup", "deduped_history": "append_dedup"}


def _modes(public: str) -> tuple[str, str]:
    """Take the public API's one word for both modes apart: ``incremental_deduped_history``."""
    for read in ("full_refresh", "incremental"):
        if public.startswith(f"{read}_"):
            written = public.removeprefix(f"{read}_")
            return read, _WRITTEN.get(written, written)
    return "", ""


def rows(model: type[Row], value: Any) -> Iterator[Row]:
    """Yield those of a list that are as expected.

    :param model: What they are.
    :param value: The list; anything else has no rows.
    """
    for row in value if isinstance(value, list) else ():
        try:
            yield model.model_validate(row)
        except ValidationError:
            continue


def under(value: Any, *path: str) -> Any:
    """Return what is somewhere in an answer; None if it is not there.

    :param value: The answer, as JSON has become it.
    :param path: The names that lead to it.
    """
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def text(value: Any, *path: str) -> str:
    """Return a text that is somewhere in an answer; empty if it is not there.

    :param value: The answer.
    :param path: The names that lead to it.
    """
    found = under(value, *path)
    return found if isinstance(found, str) else ""
