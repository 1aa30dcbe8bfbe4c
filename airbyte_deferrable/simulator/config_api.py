"""The config API: ``/api/v1``, all POST and JSON. It alone knows attempts, failures and logs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiohttp import web

from airbyte_deferrable.simulator import wire
from airbyte_deferrable.simulator.records import REFRESH, RESET, SECOND, SYNC, Attempt, Connection, Job
from airbyte_deferrable.simulator.scheduler import Scheduler
from airbyte_deferrable.simulator.script import PENDING, QUEUED, STATUSES, SUCCEEDED
from airbyte_deferrable.simulator.settings import Settings
from airbyte_deferrable.simulator.streams import Amount, Stream, total
from airbyte_deferrable.simulator.table import Query
from airbyte_deferrable.simulator.world import World

#: More jobs than any connection has.
_ALL = 1 << 31
#: What the public API calls otherwise.
_PREFERENCES = {"disable_connection": "disable"}


class ConfigApi:
    """The handlers: each takes a request, and answers or raises :class:`~airbyte_deferrable.simulator.wire.Refusal`.

    :param world: What they tell about.
    :param settings: How they behave.
    """

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings
        self._scheduler = Scheduler(world)

    async def get_without_logs(self, request: web.Request) -> web.Response:
        """POST /jobs/get_without_logs: the job, its attempts and why they failed. Only the job is hydrated."""
        job, now = await self._job(request, "id")
        attempts = [{"attempt": _attempt(job, attempt, now)} for attempt in job.attempts]
        return wire.answer({"job": _hydrated(job, now), "attempts": attempts})

    async def get(self, request: web.Request) -> web.Response:
        """POST /jobs/get: the job, never hydrated, and its attempts, each with its log."""
        return self._info(*await self._job(request, "id"))

    async def get_light(self, request: web.Request) -> web.Response:
        """POST /jobs/get_light: the job alone."""
        job, _ = await self._job(request, "id")
        return wire.answer({"job": _job(job)})

    async def attempt(self, request: web.Request) -> web.Response:
        """POST /attempt/get_for_job: one attempt and its log."""
        job, now = await self._job(request, "jobId")
        number = (await wire.read_body(request)).get("attemptNumber")
        if not isinstance(number, int):
            raise wire.error_id(400)
        if not 0 <= number < len(job.attempts):
            raise wire.error_id(404, f"Could not find attempt for job_id: {job.id} and attempt no: {number}")
        return wire.answer(self._with_log(job, job.attempts[number], now))

    async def cancel(self, request: web.Request) -> web.Response:
        """POST /jobs/cancel: stops whatever the connection runs, then answers about the job that was named."""
        job, _ = await self._job(request, "id")
        if not await self._scheduler.cancel(job):
            raise wire.error_id(500)
        return self._info(job, self._world.now())

    async def sync(self, request: web.Request) -> web.Response:
        """POST /connections/sync: starts a sync, and answers when it runs."""
        connection = await self._connection(request)
        if connection.status != "active":
            raise wire.error_id(500)
        if connection.running is not None:
            raise wire.error_id(409, f"A sync is already running for: {connection.id}")
        job = self._world.add_job(connection.id, SYNC)
        await self._scheduler.leaves(job, {PENDING, QUEUED})
        return self._info(job, self._world.now())

    async def list_jobs(self, request: web.Request) -> web.Response:
        """POST /jobs/list: a connection's jobs with their attempts, all hydrated, and how many there are in all."""
        body = await wire.read_body(request)
        query = _query(body, connection_id=body.get("configId"))
        if query.connection_id is not None and query.connection_id not in self._world.connections:
            return wire.answer({"jobs": [], "totalJobCount": 0})
        self._world.settle()
        if (job_id := body.get("includingJobId")) is not None:
            # As many pages as it takes to have that job on them.
            everything = self._world.page(replace(query, limit=_ALL, offset=0))
            place = next((place for place, job in enumerate(everything) if job.id == job_id), None)
            jobs = [] if place is None else everything[: (place // query.limit + 1) * query.limit]
        else:
            jobs = self._world.page(query)
        return self._jobs(jobs, self._world.count(query))

    async def list_for_workspaces(self, request: web.Request) -> web.Response:
        """POST /jobs/list_for_workspaces: the same for workspaces; its total is that of the page."""
        body = await wire.read_body(request)
        workspaces = frozenset(body.get("workspaceIds") or self._world.workspaces)
        self._world.settle()
        jobs = self._world.page(_query(body, workspace_ids=workspaces))
        return self._jobs(jobs, len(jobs))

    async def connection(self, request: web.Request) -> web.Response:
        """POST /connections/get."""
        return wire.answer(_connection(await self._connection(request)))

    async def health(self, request: web.Request) -> web.Response:
        """GET /health."""
        return wire.answer({"available": True})

    def _info(self, job: Job, now: int) -> web.Response:
        """Answer with a JobInfoRead as most calls do: never hydrated, and with the logs."""
        return wire.answer({"job": _job(job), "attempts": [self._with_log(job, a, now) for a in job.attempts]})

    def _jobs(self, jobs: list[Job], count: int) -> web.Response:
        now = self._world.now()
        rows = [
            {"job": _hydrated(job, now), "attempts": [_attempt(job, a, now, hydrate=True) for a in job.attempts]}
            for job in jobs
        ]
        return wire.answer({"jobs": rows, "totalJobCount": count})

    async def _connection(self, request: web.Request) -> Connection:
        connection_id = str((await wire.read_body(request)).get("connectionId"))
        self._world.settle()
        connection = self._world.connections.get(connection_id)
        if connection is not None:
            return connection
        if self._settings.instance_admin:
            raise wire.error_id(404, f"Could not find configuration for STANDARD_SYNC: {connection_id}.")
        raise wire.micronaut(403, "Forbidden", "Forbidden", request.path)

    async def _job(self, request: web.Request, field: str) -> tuple[Job, int]:
        try:
            # Jackson reads a text of digits as a number, too.
            job_id = int((await wire.read_body(request))[field])
        except (KeyError, TypeError, ValueError):
            raise wire.error_id(400) from None
        now = self._world.settle()
        job = self._world.jobs.get(job_id)
        if job is not None:
            return job, now
        if self._settings.instance_admin:
            raise wire.error_id(500)
        raise wire.micronaut(403, "Forbidden", "Forbidden", request.path)

    def _with_log(self, job: Job, attempt: Attempt, now: int) -> dict[str, Any]:
        lines = _log(job, attempt)
        log: dict[str, Any]
        if self._settings.structured_logs:
            events = [
                {
                    "timestamp": (attempt.started + place * SECOND // 10) // 1000,
                    "message": line,
                    "level": level,
                    "logSource": "platform",
                }
                for place, (level, line) in enumerate(lines)
            ]
            log = {"logType": "structured", "logs": {"events": events, "version": "1"}}
        else:
            stamp = wire.java_time(attempt.started)
            log = {
                "logType": "formatted",
                "logs": {"logLines": [f"{stamp} {level.upper()} {line}" for level, line in lines]},
            }
        return {"attempt": _attempt(job, attempt, now), **log}


def _query(
    body: dict[str, Any], connection_id: str | None = None, workspace_ids: frozenset[str] | None = None
) -> Query:
    """Read what a list of jobs is asked for."""
    if body.get("configTypes") is None:
        raise wire.error_id(400)
    if not body["configTypes"]:
        raise wire.error_id(500)
    order, direction = body.get("orderByField") or "createdAt", body.get("orderByMethod") or "DESC"
    statuses = frozenset(body.get("statuses") or ())
    if order not in ("createdAt", "updatedAt") or direction not in ("ASC", "DESC") or not statuses <= STATUSES:
        raise wire.error_id(422)
    try:
        pagination = body.get("pagination") or {}
        size, row = int(pagination.get("pageSize") or 200), int(pagination.get("rowOffset") or 0)
        times = {name: wire.read_time(body[name]) if body.get(name) else None for name in wire.BOUNDS}
    except (ValueError, TypeError, AttributeError):
        raise wire.error_id(422) from None
    return Query(
        connection_id=connection_id,
        workspace_ids=workspace_ids,
        kinds=frozenset(body["configTypes"]),
        statuses=statuses or None,
        created_start=times["createdAtStart"],
        created_end=times["createdAtEnd"],
        updated_start=times["updatedAtStart"],
        updated_end=times["updatedAtEnd"],
        by_update=order == "updatedAt",
        descending=direction == "DESC",
        limit=size,
        # The server makes a page number of it by integer division.
        offset=row // size * size,
    )


def _job(job: Job) -> dict[str, Any]:
    """Return a JobRead without its counts; its times are whole seconds since 1970 (``JobConverter.getJobRead``)."""
    streams = [stream.descriptor for stream in job.catalog]
    picked = [stream.descriptor for stream in job.script.picked(job.catalog)]
    return wire.present(
        id=job.id,
        configType=job.kind,
        configId=job.connection.id,
        enabledStreams=streams,
        resetConfig={"streamsToReset": picked} if job.kind == RESET else None,
        refreshConfig={"streamsToRefresh": picked} if job.kind == REFRESH and picked else None,
        createdAt=job.created // SECOND,
        updatedAt=job.updated // SECOND,
        startedAt=None if job.started is None else job.started // SECOND,
        status=job.status,
    )


def _hydrated(job: Job, now: int) -> dict[str, Any]:
    """Return a JobRead with its counts, live and by stream (``StatsAggregationHelper``).

    A stream is there when something of it was counted, which nothing is before the first attempt.
    """
    moved = job.moved(now)
    streams = [
        {"streamName": stream.name, **_namespace(stream), **_stats(amount)}
        for stream, amount in zip(job.catalog, moved, strict=True)
        if job.attempts
    ]
    return {**_job(job), "aggregatedStats": _stats(total(moved)), "streamAggregatedStats": streams}


def _attempt(job: Job, attempt: Attempt, now: int, hydrate: bool = False) -> dict[str, Any]:
    """Return an AttemptRead: its id is its number, from 0.

    :param hydrate: With the counts that are stored all the while, as lists of jobs have them. Without, the counts are
        those of the output that the attempt left behind, if it did; neither ever tells what bytes were committed.
    """
    moved = job.moved_in(attempt, now)
    whole = total(moved)
    failure = attempt.failure
    row = wire.present(
        id=attempt.number,
        status=attempt.status,
        createdAt=attempt.started // SECOND,
        updatedAt=attempt.updated // SECOND,
        endedAt=None if attempt.status == "running" else attempt.updated // SECOND,
        bytesSynced=whole.bytes if attempt.output else None,
        recordsSynced=whole.rows if attempt.output else None,
        failureSummary=None if failure is None else {"failures": [failure], "partialSuccess": whole.rows > 0},
    )
    if not attempt.output and not hydrate:
        return row

    def stats(amount: Amount) -> dict[str, int]:
        counts = _stats(amount)
        del counts["bytesCommitted"]
        if not hydrate:
            del counts["recordsRejected"]
            counts["stateMessagesEmitted"] = 1
        return counts

    row["totalStats"] = stats(whole)
    row["streamStats"] = [
        {"streamName": stream.name, **(_namespace(stream) if hydrate else {}), "stats": stats(amount)}
        for stream, amount in zip(job.catalog, moved, strict=True)
    ]
    return row


def _namespace(stream: Stream) -> dict[str, str]:
    return {} if stream.namespace is None else {"streamNamespace": stream.namespace}


def _stats(amount: Amount) -> dict[str, int]:
    return {
        "recordsEmitted": amount.rows + amount.rejected,
        "bytesEmitted": amount.bytes,
        "recordsCommitted": amount.rows,
        "bytesCommitted": amount.bytes,
        "recordsRejected": amount.rejected,
    }


def _log(job: Job, attempt: Attempt) -> list[tuple[str, str]]:
    lines = [("info", line) for line in job.script.log_lines]
    if not lines:
        lines = [
            ("info", f"Attempt {attempt.number} of job {job.id} to sync {job.connection.name}"),
            ("info", f"Reading from {job.connection.source_name}, writing to {job.connection.destination_name}"),
        ]
        if attempt.status == SUCCEEDED:
            lines.append(("info", "Sync summary: completed"))
    if attempt.failure is not None:
        lines.append(("error", str(attempt.failure.get("internalMessage") or attempt.failure.get("externalMessage"))))
    return lines


def _connection(connection: Connection) -> dict[str, Any]:
    """Return a ConnectionRead: its one time is written with an underscore."""
    schedule = connection.schedule
    cron, _, zone = schedule.get("cronExpression", "").rpartition(" ")
    return wire.present(
        connectionId=connection.id,
        name=connection.name,
        namespaceDefinition=connection.namespace_definition.replace("_", ""),
        namespaceFormat=connection.namespace_format,
        prefix=connection.prefix,
        sourceId=connection.source_id,
        destinationId=connection.destination_id,
        operationIds=[],
        syncCatalog={"streams": [_configured(stream) for stream in connection.catalog]},
        scheduleType=schedule["scheduleType"],
        scheduleData={"cron": {"cronExpression": cron, "cronTimeZone": zone}} if cron else None,
        status=connection.told_status,
        breakingChange=False,
        notifySchemaChanges=True,
        nonBreakingChangesPreference=_PREFERENCES.get(connection.schema_changes, connection.schema_changes),
        backfillPreference="disabled",
        created_at=connection.created // SECOND,
        workspaceId=connection.workspace_id,
        tags=[wire.tag_row(tag) for tag in connection.tags],
    )


def _configured(stream: Stream) -> dict[str, Any]:
    """Return an AirbyteStreamAndConfiguration: what the source says of a stream, and what is done with it."""
    properties = {
        name: {"type": ["null", kind]} if isinstance(kind, str) else dict(kind) for name, kind in stream.columns.items()
    }
    key = [[column] for column in stream.primary_key]
    chosen = stream.selected_columns
    return {
        "stream": wire.present(
            name=stream.name,
            namespace=stream.namespace,
            jsonSchema={"type": "object", "properties": properties},
            supportedSyncModes=["full_refresh", "incremental"],
            sourceDefinedCursor=False,
            defaultCursorField=[],
            sourceDefinedPrimaryKey=key,
        ),
        "config": wire.present(
            syncMode=stream.sync_mode,
            cursorField=[stream.cursor] if stream.cursor else [],
            destinationSyncMode=stream.destination_sync_mode,
            primaryKey=key,
            aliasName=stream.name,
            selected=True,
            fieldSelectionEnabled=chosen is not None,
            selectedFields=None if chosen is None else [{"fieldPath": [column]} for column in chosen],
        ),
    }
