"""The public API: ``/api/public/v1``."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from airbyte_deferrable.simulator import wire
from airbyte_deferrable.simulator.connectors import Kind
from airbyte_deferrable.simulator.patch import read_patch
from airbyte_deferrable.simulator.records import RESET, SECOND, STORED_KINDS, SYNC, Connection, Job
from airbyte_deferrable.simulator.scheduler import Scheduler
from airbyte_deferrable.simulator.script import PENDING, STATUSES
from airbyte_deferrable.simulator.settings import Settings
from airbyte_deferrable.simulator.table import Query
from airbyte_deferrable.simulator.world import World

#: Where ``next`` and ``previous`` point on a Community Helm installation, whatever address the caller used.
AIRBYTE_API_HOST = "http://localhost:8001/api/public"
#: Seconds that POST waits for a job id.
CREATE_WAIT = 60.0

_LISTED = {"head": frozenset(STORED_KINDS.values()), "2.0": frozenset({SYNC, RESET})}
_ORDER = re.compile(r"(createdAt|updatedAt)\|(ASC|DESC)")
_NOT_RUNNING = "Job is not currently running"
#: What Airbyte's database calls what could not be found (``ConfigNotFoundType``).
_RESOURCE_TYPES = {
    "connection": "STANDARD_SYNC",
    "source": "SOURCE_CONNECTION",
    "destination": "DESTINATION_CONNECTION",
    "workspace": "STANDARD_WORKSPACE",
}


class PublicApi:
    """The handlers: each takes a request, and answers or raises :class:`~airbyte_deferrable.simulator.wire.Refusal`.

    :param world: What they tell about.
    :param settings: How they behave.
    """

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings
        self._scheduler = Scheduler(world)

    # --- jobs

    async def create(self, request: web.Request) -> web.Response:
        """POST /jobs."""
        body = await wire.read_body(request)
        job_type = body.get("jobType")
        if body.get("connectionId") is None or job_type is None:
            raise wire.error_id(400)
        if job_type not in STORED_KINDS:
            raise wire.error_id(422)
        if job_type == "refresh":
            message = {"message": "Refreshes are not supported in the public API"}
            raise wire.problem(422, "unprocessable-entity", "The body of the request was not understood", message)
        connection = self._connection(str(body["connectionId"]), "WORKSPACE_RUNNER")
        if connection.status == "deleted":
            message_text = f"The connection {connection.id} is deleted, so no further operations can be done on it."
            raise wire.try_again_later(message_text)
        if connection.status != "active" and job_type == "sync":
            raise wire.state_conflict("Could not fulfill request")
        running = connection.running
        if job_type == "sync" and running is not None:
            return await self._busy(connection, running)
        is_sync = job_type == "sync"
        job = self._world.add_job(connection.id, SYNC) if is_sync else await self._scheduler.reset(connection)
        if self._settings.release == "2.0":
            await self._scheduler.leaves(job, {PENDING})
        return _row(job, self._world.now())

    async def _busy(self, connection: Connection, running: Job) -> web.Response:
        if running.status == PENDING and self._settings.while_pending == "join":
            return _row(running, self._world.now())
        if running.status == PENDING and self._settings.while_pending == "hang":
            end = self._world.now() + int(CREATE_WAIT * SECOND)
            while self._world.now() < end:
                await self._scheduler.tick()
            raise wire.state_conflict("Could not fulfill request")
        raise wire.try_again_later(f"A sync is already running for: {connection.id}")

    async def get(self, request: web.Request) -> web.Response:
        """GET /jobs/{id}."""
        job = self._job(request, "WORKSPACE_READER")
        return _row(job, self._world.now(), stats=True)

    async def cancel(self, request: web.Request) -> web.Response:
        """DELETE /jobs/{id}: stops whatever the connection runs, then answers about the job that was named."""
        job = self._job(request, "WORKSPACE_RUNNER")
        if not await self._scheduler.cancel(job):
            raise wire.state_conflict(_NOT_RUNNING)
        return _row(job, self._world.now())

    async def list_jobs(self, request: web.Request) -> web.Response:
        """GET /jobs."""
        asked = request.query
        limit, offset = _page(request)
        times = {name: _time(request, name) for name in wire.BOUNDS}
        job_type = _choice(request, "jobType", frozenset(STORED_KINDS))
        known = STATUSES if self._settings.release == "head" else STATUSES - {"queued"}
        status = _choice(request, "status", known)
        order = _ORDER.fullmatch(asked.get("orderBy", "createdAt|ASC"))
        if order is None:
            raise wire.bad_request("Invalid order by clause provided: " + asked["orderBy"])
        connection_id = asked.get("connectionId") or None
        workspaces = _uuids(request, "workspaceIds")
        self._visible(workspaces)
        if connection_id is not None:
            try:
                connection_id = self._connection(connection_id, "WORKSPACE_READER").id
            except wire.Refusal as refusal:
                if refusal.response.status != 404:
                    raise
                return wire.answer({"previous": "", "next": "", "data": []})
        now = self._world.settle()
        jobs = self._world.page(
            Query(
                connection_id=connection_id,
                workspace_ids=frozenset(workspaces) if workspaces and not connection_id else None,
                kinds=frozenset({STORED_KINDS[job_type]}) if job_type else _LISTED[self._settings.release],
                statuses=frozenset({status}) if status else None,
                created_start=times["createdAtStart"],
                created_end=times["createdAtEnd"],
                updated_start=times["updatedAtStart"],
                updated_end=times["updatedAtEnd"],
                by_update=order[1] == "updatedAt",
                descending=order[2] == "DESC",
                limit=limit,
                offset=offset,
            )
        )
        scope = {"connectionId": connection_id} if connection_id else {"workspaceIds": ",".join(workspaces)}
        link = {"jobType": job_type or "", **scope}
        after, before = _links("jobs", link, limit, offset, bool(jobs))
        rows = ", ".join([wire.job_row(job, now, stats=True) for job in jobs])
        text = f'{{"previous": {json.dumps(before)}, "next": {json.dumps(after)}, "data": [{rows}]}}'
        return wire.answer(text)

    # --- what the jobs belong to

    async def connection(self, request: web.Request) -> web.Response:
        """GET /connections/{id}."""
        connection = self._connection(request.match_info["id"], "WORKSPACE_READER")
        return wire.answer(wire.connection_row(connection))

    async def connections(self, request: web.Request) -> web.Response:
        """GET /connections."""
        limit, offset = _page(request)
        workspaces, tags = _uuids(request, "workspaceIds"), set(_uuids(request, "tagIds"))
        self._visible(workspaces)
        deleted = _boolean(request, "includeDeleted")
        found = [
            connection
            for connection in self._world.connections.values()
            if (not workspaces or connection.workspace_id in workspaces)
            and (not tags or any(tag.id in tags for tag in connection.tags))
            and (deleted or connection.status != "deprecated")
        ]
        rows = [wire.connection_row(connection) for connection in self._unordered(found)[offset : offset + limit]]
        return _rows("connections", rows, limit, offset, workspaces, deleted)

    async def patch_connection(self, request: web.Request) -> web.Response:
        """PATCH /connections/{id}: changes what is named, and answers with the whole."""
        connection = self._connection(request.match_info["id"], "WORKSPACE_EDITOR")
        changes = read_patch(await wire.read_body(request), connection)
        if not set(changes.get("tags", ())) <= set(self._world.tags):
            # The database's own complaint, that a key has nothing to refer to.
            raise wire.error_id(500)
        self._world.change_connection(connection.id, **changes)
        return wire.answer(wire.connection_row(connection))

    async def tags(self, request: web.Request) -> web.Response:
        """GET /tags: all of them, without pages."""
        workspaces = _uuids(request, "workspaceIds")
        self._visible(workspaces)
        tags = [tag for tag in self._world.tags.values() if not workspaces or tag.workspace_id in workspaces]
        return wire.answer({"data": [wire.tag_row(tag) for tag in tags]})

    async def source(self, request: web.Request) -> web.Response:
        """GET /sources/{id}."""
        return self._actor(request, "source", self._world.source)

    async def destination(self, request: web.Request) -> web.Response:
        """GET /destinations/{id}."""
        return self._actor(request, "destination", self._world.destination)

    async def sources(self, request: web.Request) -> web.Response:
        """GET /sources."""
        return self._actors(request, "source")

    async def destinations(self, request: web.Request) -> web.Response:
        """GET /destinations."""
        return self._actors(request, "destination")

    def _actor(self, request: web.Request, kind: Kind, find: Callable[[str], Connection | None]) -> web.Response:
        actor_id = self._uuid(request.match_info["id"], "WORKSPACE_READER")
        connection = find(actor_id)
        if connection is None:
            raise self._unknown(kind, actor_id, "WORKSPACE_READER")
        return wire.answer(wire.actor_row(kind, connection))

    def _actors(self, request: web.Request, kind: Kind) -> web.Response:
        limit, offset = _page(request)
        workspaces = _uuids(request, "workspaceIds")
        self._visible(workspaces)
        found = [each for each in self._world.connections.values() if not workspaces or each.workspace_id in workspaces]
        rows = [wire.actor_row(kind, connection) for connection in self._unordered(found)[offset : offset + limit]]
        return _rows(f"{kind}s", rows, limit, offset, workspaces, _boolean(request, "includeDeleted"))

    def _unordered(self, found: list[Connection]) -> list[Connection]:
        """Return them in an order of this page's own: Airbyte's SQL for these lists has no ORDER BY."""
        if self._settings.unordered_connections:
            self._world.random.shuffle(found)
        return found

    async def workspace(self, request: web.Request) -> web.Response:
        """GET /workspaces/{id}."""
        workspace_id = self._uuid(request.match_info["id"], "WORKSPACE_READER")
        if workspace_id not in self._world.workspaces:
            raise self._unknown("workspace", workspace_id, "WORKSPACE_READER")
        return wire.answer(self._workspace_row(workspace_id))

    async def workspaces(self, request: web.Request) -> web.Response:
        """GET /workspaces."""
        limit, offset = _page(request)
        ids = list(self._world.workspaces)[offset : offset + limit]
        after, before = _links("workspaces", {"includeDeleted": "false"}, limit, offset, bool(ids))
        return wire.answer({"previous": before, "next": after, "data": [self._workspace_row(i) for i in ids]})

    async def health(self, request: web.Request) -> web.Response:
        """GET /health."""
        return web.Response(text="Successful operation")

    def _workspace_row(self, workspace_id: str) -> dict[str, Any]:
        name = self._world.workspaces[workspace_id]
        return {"workspaceId": workspace_id, "name": name, "dataResidency": "auto", "notifications": {}}

    # --- who may see what

    def _unknown(self, resource_type: str, resource_id: str, role: str) -> wire.Refusal:
        if self._settings.instance_admin:
            return wire.not_found(_RESOURCE_TYPES[resource_type], resource_id)
        return wire.forbidden(role)

    def _uuid(self, text: str, role: str) -> str:
        try:
            return str(uuid.UUID(text))
        except ValueError:
            # ``UUID.fromString`` outside of the mapper of errors.
            raise wire.error_id(500) if self._settings.instance_admin else wire.forbidden(role) from None

    def _connection(self, connection_id: str, role: str) -> Connection:
        connection_id = self._uuid(connection_id, role)
        self._world.settle()
        if connection_id not in self._world.connections:
            raise self._unknown("connection", connection_id, role)
        return self._world.connections[connection_id]

    def _job(self, request: web.Request, role: str) -> Job:
        text = request.match_info["id"]
        try:
            job_id = int(text)
        except ValueError:
            message = f'Failed to convert argument [jobId] for value [{text}] due to: For input string: "{text}"'
            raise wire.micronaut(400, "Bad Request", message, request.path_qs) from None
        self._world.settle()
        job = self._world.jobs.get(job_id)
        if job is not None:
            return job
        raise wire.state_conflict(_NOT_RUNNING) if self._settings.instance_admin else wire.forbidden(role)

    def _visible(self, workspaces: list[str]) -> None:
        if not self._settings.instance_admin and not set(workspaces) <= set(self._world.workspaces):
            raise wire.forbidden("WORKSPACE_READER")


def _row(job: Job, now: int, stats: bool = False) -> web.Response:
    return wire.answer(wire.job_row(job, now, stats))


def _page(request: web.Request) -> tuple[int, int]:
    """Read the limit and the offset of a list."""
    limit, offset = _number(request, "limit", 20), _number(request, "offset", 0)
    if not 1 <= limit <= 100 or offset < 0:
        raise wire.error_id(400)
    return limit, offset


def _boolean(request: web.Request, name: str) -> bool:
    return _choice(request, name, frozenset({"true", "false"})) == "true"


def _rows(
    path: str, rows: list[dict[str, Any]], limit: int, offset: int, workspaces: list[str], deleted: bool
) -> web.Response:
    link = {"includeDeleted": str(deleted).lower()} | ({"workspaceIds": ",".join(workspaces)} if workspaces else {})
    after, before = _links(path, link, limit, offset, bool(rows))
    return wire.answer({"previous": before, "next": after, "data": rows})


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise _cannot_convert(request, name, text) from None


def _time(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if not text:
        return None
    try:
        return wire.read_time(text)
    except ValueError:
        raise _cannot_convert(request, name, text) from None


def _choice(request: web.Request, name: str, choices: frozenset[str]) -> str | None:
    text = request.query.get(name)
    if not text:
        return None
    if text not in choices:
        raise _cannot_convert(request, name, text)
    return text


def _uuids(request: web.Request, name: str) -> list[str]:
    """Read ids that come as a repeated key (the SDK) or joined by commas (Airbyte's own links)."""
    texts = [text for value in request.query.getall(name, []) for text in value.split(",") if text]
    try:
        return [str(uuid.UUID(text)) for text in texts]
    except ValueError:
        raise _cannot_convert(request, name, ",".join(texts)) from None


def _cannot_convert(request: web.Request, name: str, text: str) -> wire.Refusal:
    message = f"Failed to convert argument [{name}] for value [{text}]"
    return wire.micronaut(400, "Bad Request", message, request.path_qs)


def _links(path: str, query: dict[str, str], limit: int, offset: int, any_rows: bool) -> tuple[str, str]:
    """Return ``next`` and ``previous`` (``PaginationMapper``).

    ``next`` is there for every page that is not empty, also the last. Both leave out what narrowed and ordered the
    list. ``previous`` is made from the address that has ``limit`` already, so it says that twice.
    """
    base = f"{AIRBYTE_API_HOST}/v1/{path}?{urlencode(query, safe=',')}&limit={limit}"
    after = f"{base}&offset={offset + limit}" if any_rows else ""
    before = f"{base}&limit={limit}&offset={max(0, offset - limit)}" if offset > 0 else ""
    return after, before
