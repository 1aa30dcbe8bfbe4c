"""The config API: ``/api/v1``, all POST and JSON. It alone knows attempts, failures and logs."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from airbyte_deferrable.simulator import wire
from airbyte_deferrable.simulator.records import SECOND, Attempt, Connection, Job
from airbyte_deferrable.simulator.script import SUCCEEDED
from airbyte_deferrable.simulator.settings import Settings
from airbyte_deferrable.simulator.table import Query
from airbyte_deferrable.simulator.world import World

_STREAM = "orders"


class ConfigApi:
    """The handlers: each takes a request, and answers or raises :class:`~airbyte_deferrable.simulator.wire.Refusal`.

    :param world: What they tell about.
    :param settings: How they behave.
    """

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings

    async def get_without_logs(self, request: web.Request) -> web.Response:
        """POST /jobs/get_without_logs: the job, its attempts and why they failed."""
        job, now = await self._job(request, "id")
        attempts = [{"attempt": _attempt(job, attempt, now)} for attempt in job.attempts]
        return wire.answer({"job": _job(job, now), "attempts": attempts})

    async def get(self, request: web.Request) -> web.Response:
        """POST /jobs/get: the same, with the log of each attempt."""
        job, now = await self._job(request, "id")
        return wire.answer({"job": _job(job, now), "attempts": [self._with_log(job, a, now) for a in job.attempts]})

    async def get_light(self, request: web.Request) -> web.Response:
        """POST /jobs/get_light: the job alone."""
        job, now = await self._job(request, "id")
        return wire.answer({"job": _job(job, now, stats=False)})

    async def attempt(self, request: web.Request) -> web.Response:
        """POST /attempt/get_for_job: one attempt and its log."""
        job, now = await self._job(request, "jobId")
        number = (await wire.read_body(request)).get("attemptNumber")
        if not isinstance(number, int):
            raise wire.error_id(400)
        if not 0 <= number < len(job.attempts):
            raise wire.error_id(404, f"Could not find attempt for job_id: {job.id} and attempt no: {number}")
        return wire.answer(self._with_log(job, job.attempts[number], now))

    async def list_for_workspaces(self, request: web.Request) -> web.Response:
        """POST /jobs/list_for_workspaces: jobs with their attempts, of several statuses at once."""
        body = await wire.read_body(request)
        pagination = body.get("pagination") or {}
        size, row = int(pagination.get("pageSize", 200)), int(pagination.get("rowOffset", 0))
        try:
            times = {name: wire.read_time(body[name]) if body.get(name) else None for name in wire.BOUNDS}
        except ValueError:
            raise wire.error_id(422) from None
        now = self._world.settle()
        jobs = self._world.page(
            Query(
                workspace_ids=frozenset(body.get("workspaceIds") or self._world.workspaces),
                kinds=frozenset(body["configTypes"]) if body.get("configTypes") else None,
                statuses=frozenset(body["statuses"]) if body.get("statuses") else None,
                created_start=times["createdAtStart"],
                created_end=times["createdAtEnd"],
                updated_start=times["updatedAtStart"],
                updated_end=times["updatedAtEnd"],
                by_update=body.get("orderByField") == "UPDATED_AT",
                descending=body.get("orderByMethod", "DESC") == "DESC",
                limit=size,
                # The server makes a page number of it by integer division.
                offset=row // size * size,
            )
        )
        rows = [{"job": _job(job, now), "attempts": [_attempt(job, a, now) for a in job.attempts]} for job in jobs]
        return wire.answer({"jobs": rows, "totalJobCount": len(rows)})

    async def connection(self, request: web.Request) -> web.Response:
        """POST /connections/get."""
        connection_id = str((await wire.read_body(request)).get("connectionId"))
        connection = self._world.connections.get(connection_id)
        if connection is None and self._settings.instance_admin:
            raise wire.error_id(404, f"Could not find configuration for STANDARD_SYNC: {connection_id}.")
        if connection is None:
            raise wire.micronaut(403, "Forbidden", "Forbidden", request.path)
        return wire.answer(_connection(connection))

    async def health(self, request: web.Request) -> web.Response:
        """GET /health."""
        return wire.answer({"available": True})

    async def _job(self, request: web.Request, field: str) -> tuple[Job, int]:
        job_id = (await wire.read_body(request)).get(field)
        if not isinstance(job_id, int):
            raise wire.error_id(400)
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
            log = {
                "logType": "formatted",
                "logs": {"logLines": [f"{wire.java_time(attempt.started)} {level} {line}" for level, line in lines]},
            }
        return {"attempt": _attempt(job, attempt, now), **log}


def _job(job: Job, now: int, stats: bool = True) -> dict[str, Any]:
    """Return a JobRead; its times are whole seconds since 1970."""
    row: dict[str, Any] = {
        "id": job.id,
        "configType": job.kind,
        "configId": job.connection.id,
        "createdAt": job.created // SECOND,
        "updatedAt": job.updated // SECOND,
        "status": job.status,
        "enabledStreams": [{"name": _STREAM}],
    }
    if job.started is not None:
        row["startedAt"] = job.started // SECOND
    if stats:
        rows, size = job.progress(now)
        row["aggregatedStats"] = _stats(rows, size)
        row["streamAggregatedStats"] = [{"streamName": _STREAM, **_stats(rows, size)}]
    return row


def _attempt(job: Job, attempt: Attempt, now: int) -> dict[str, Any]:
    """Return an AttemptRead: its id is its number, from 0."""
    rows, size = job.progress(now)
    if attempt.number < len(job.attempts) - 1:
        # Rows are counted for the whole job; an attempt that failed has what was committed by its end.
        ran = sum(a.updated - a.started for a in job.attempts[: attempt.number + 1])
        part = min(1.0, ran / (job.script.running_seconds * SECOND)) if job.script.running_seconds else 0.0
        rows, size = int(job.script.rows * part), int(job.script.bytes * part)
    row: dict[str, Any] = {
        "id": attempt.number,
        "status": attempt.status,
        "createdAt": attempt.started // SECOND,
        "updatedAt": attempt.updated // SECOND,
        "bytesSynced": size,
        "recordsSynced": rows,
        "totalStats": _stats(rows, size),
        "streamStats": [{"streamName": _STREAM, "stats": _stats(rows, size)}],
    }
    if attempt.status != "running":
        row["endedAt"] = attempt.updated // SECOND
    if attempt.failure is not None:
        row["failureSummary"] = {"failures": [attempt.failure], "partialSuccess": rows > 0}
    return row


def _stats(rows: int, size: int) -> dict[str, int]:
    return {"recordsEmitted": rows, "bytesEmitted": size, "recordsCommitted": rows, "bytesCommitted": size}


def _log(job: Job, attempt: Attempt) -> list[tuple[str, str]]:
    lines = [("INFO", line) for line in job.script.log_lines]
    if not lines:
        lines = [
            ("INFO", f"Attempt {attempt.number} of job {job.id} to sync {job.connection.name}"),
            ("INFO", f"Reading from {job.connection.source_name}, writing to {job.connection.destination_name}"),
        ]
        if attempt.status == SUCCEEDED:
            lines.append(("INFO", "Sync summary: completed"))
    if attempt.failure is not None:
        lines.append(("ERROR", str(attempt.failure.get("internalMessage") or attempt.failure.get("externalMessage"))))
    return lines


def _connection(connection: Connection) -> dict[str, Any]:
    return {
        "connectionId": connection.id,
        "name": connection.name,
        "sourceId": connection.source_id,
        "destinationId": connection.destination_id,
        "workspaceId": connection.workspace_id,
        "status": connection.told_status,
        "scheduleType": "manual",
        "syncCatalog": {"streams": []},
        "createdAt": connection.created // SECOND,
        "breakingChange": False,
    }
