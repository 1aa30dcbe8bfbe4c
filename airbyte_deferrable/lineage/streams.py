"""What Airbyte has told becomes the streams of a job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from airbyte_deferrable.api.models import Job, JobStatus
from airbyte_deferrable.api.settings import Settings
from airbyte_deferrable.lineage.actor import Actor, Table
from airbyte_deferrable.lineage.answers import (
    Answers,
    Configured,
    PublicStream,
    StreamKey,
    StreamStats,
    rows,
    text,
    under,
)
from airbyte_deferrable.lineage.model import Column, ColumnsWhenWanted, Dataset, JobStream, JobStreams, Side
from airbyte_deferrable.lineage.naming import dataset, landing_namespace
from airbyte_deferrable.lineage.written import columns_rule, only_raw
from airbyte_deferrable.links import job_url

#: Gives a dataset the name that it is to have.
Rename = Callable[[Dataset, JobStream, Side], Dataset]

Key = tuple[str, str | None]


def streams_of(job: Job, answers: Answers, settings: Settings, rename: Rename | None = None) -> JobStreams:
    """Return what is known of a job's streams.

    No total is divided among streams: where Airbyte tells only that, their counts are not known.

    :param answers: What Airbyte has told.
    :param settings: Whose job it is.
    :param rename: Gives datasets other names. Default: they keep theirs.
    """
    catalog = {_key(each.stream): each for each in _configured(answers.connection)}
    stats = {
        (each.stream_name, each.stream_namespace or None): each
        for each in rows(StreamStats, under(answers.details, "job", "streamAggregatedStats"))
    }
    known = _keys(job, answers, stats)
    if not known and (answers.details or job.job_type not in _PARTS):
        known = dict.fromkeys(catalog)
    describe = _Describer(job, answers, settings, rename)
    workspace_id = text(answers.connection, "workspaceId")
    return JobStreams(
        job_id=job.job_id,
        job_type=job.job_type,
        connection_id=job.connection_id,
        connection_name=text(answers.connection, "name"),
        job_url=job_url(settings.web_url, workspace_id, job.connection_id, job.job_id),
        streams=tuple(describe(key, catalog.get(key), stats.get(key)) for key in known),
        succeeded=job.status == JobStatus.SUCCEEDED,
    )


#: Where Airbyte's config API tells of which streams a job was that need not be one of all, by its type.
_PARTS = {
    "clear": ("resetConfig", "streamsToReset"),
    "refresh": ("refreshConfig", "streamsToRefresh"),
    "reset": ("resetConfig", "streamsToReset"),
}


def _keys(job: Job, answers: Answers, stats: Mapping[Key, StreamStats]) -> dict[Key, None]:
    """Return a job's own streams, where Airbyte tells them: the connection may have others by now."""
    told = under(answers.details, "job")
    where = _PARTS.get(job.job_type)
    if where is not None and (part := [_key(each) for each in rows(StreamKey, under(told, *where))]):
        # And whatever it moved all the same.
        return dict.fromkeys([*part, *(key for key, moved in stats.items() if moved.records_emitted)])
    return dict.fromkeys([*(_key(each) for each in rows(StreamKey, under(told, "enabledStreams"))), *stats])


def _key(stream: Any) -> Key:
    # One release leaves out what the other has as an empty text.
    return stream.name, stream.namespace or None


def _configured(connection: Mapping[str, Any]) -> Iterator[Configured]:
    """Yield the streams of a connection, whichever API has told it."""
    catalog = under(connection, "syncCatalog", "streams")
    if catalog is not None:
        yield from (each for each in rows(Configured, catalog) if each.config.selected)
    else:
        for each in rows(PublicStream, under(connection, "configurations", "streams")):
            yield each.configured()


class _Describer:
    """Puts together what is known of one stream after the other.

    :param answers: What Airbyte has told of their connection.
    """

    def __init__(self, job: Job, answers: Answers, settings: Settings, rename: Rename | None) -> None:
        connection = answers.connection
        self._source = _actor("source", answers.source)
        self._destination = _actor("destination", answers.destination)
        self._column = columns_rule(self._destination)
        self._raw = only_raw(self._destination)
        self._rule = text(connection, "namespaceDefinition") or "destination"
        self._form = text(connection, "namespaceFormat")
        self._prefix = text(connection, "prefix")
        self._airbyte = urlsplit(settings.base_url).hostname or ""
        self._rename = rename
        # A reset reads nothing, and writes none.
        self._reads = job.job_type in ("sync", "refresh")
        #: Whether Airbyte tells counts: it leaves out a stream of which it has none.
        self._counts = under(answers.details, "job", "streamAggregatedStats") is not None

    def __call__(self, key: Key, configured: Configured | None, stats: StreamStats | None) -> JobStream:
        name, namespace = key
        config = configured.config if configured else None
        source = destination = None
        if self._source is not None and self._reads:
            source = dataset(self._source, Table(namespace or "", name, name), self._airbyte)
        if self._destination is not None:
            table = (config.destination_object_name if config else None) or name
            landing = landing_namespace(self._rule, self._form, namespace or "")
            destination = dataset(self._destination, Table(landing, f"{self._prefix}{table}", name), self._airbyte)
        return self._renamed(
            JobStream(
                name=name,
                namespace=namespace,
                sync_mode=config.sync_mode if config else "",
                destination_sync_mode=config.destination_sync_mode if config else "",
                rows_emitted=stats.records_emitted if stats else None,
                bytes_emitted=stats.bytes_emitted if stats else None,
                rows_committed=stats.records_committed if stats else None,
                bytes_committed=stats.bytes_committed if stats else None,
                rows_rejected=stats.records_rejected if stats else None,
                backfilled=stats.was_backfilled if stats else None,
                resumed=stats.was_resumed if stats else None,
                columns=ColumnsWhenWanted(partial(self._columns, configured)) if configured else (),
                source=source,
                destination=destination,
                moved=self._reads and bool(stats.records_committed if stats else not self._counts),
                one_to_one=config is not None and not config.mappers and not self._raw,
            )
        )

    def _renamed(self, stream: JobStream) -> JobStream:
        rename = self._rename
        if rename is None:
            return stream
        source, destination = stream.source, stream.destination
        return replace(
            stream,
            source=source and rename(source, stream, "source"),
            destination=destination and rename(destination, stream, "destination"),
        )

    def _columns(self, configured: Configured) -> Iterator[Column]:
        """Yield the columns that are synced."""
        properties = configured.stream.json_schema.get("properties")
        chosen = configured.config.selected_fields if configured.config.field_selection_enabled else None
        # Of an object that is a part of a column, the column is told.
        names = None if chosen is None else {field.field_path[0] for field in chosen if field.field_path}
        for name, schema in properties.items() if isinstance(properties, dict) else ():
            if names is None or name in names:
                yield Column(name, _type(schema), self._column(name))


def _actor(side: Side, answer: Mapping[str, Any]) -> Actor | None:
    actor_id = text(answer, f"{side}Id")
    if not actor_id:
        return None
    settings = under(answer, "configuration")
    return Actor(side, actor_id, text(answer, f"{side}Type"), settings if isinstance(settings, Mapping) else {})


def _type(schema: Any) -> str:
    """Return a column's type in Airbyte's words, from its JSON schema; empty if it does not say."""
    if not isinstance(schema, dict):
        return ""
    # Not with `text`: a job may have ten thousand columns.
    found = schema.get("airbyte_type")
    if found and isinstance(found, str):
        return found
    types = schema.get("type")
    types = [types] if isinstance(types, str) else types if isinstance(types, list) else []
    real = [each for each in types if isinstance(each, str) and each != "null"]
    if real == ["string"] and (form := schema.get("format")) and isinstance(form, str):
        return _FORMATS.get(form, "string")
    return real[0] if len(real) == 1 else "union" if real or schema.get("oneOf") else ""


#: What Airbyte calls the texts that have these formats.
_FORMATS = {"date": "date", "date-time": "timestamp_with_timezone", "time": "time_with_timezone"}
