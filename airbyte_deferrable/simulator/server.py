"""The HTTP face: routes, who may call, how many at a time, and the faults."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import secrets
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import web

from airbyte_deferrable.simulator import wire
from airbyte_deferrable.simulator.config_api import ConfigApi
from airbyte_deferrable.simulator.control import Control
from airbyte_deferrable.simulator.faults import Fault, Faults
from airbyte_deferrable.simulator.ledger import Ledger
from airbyte_deferrable.simulator.public_api import PublicApi
from airbyte_deferrable.simulator.records import SECOND
from airbyte_deferrable.simulator.settings import Settings
from airbyte_deferrable.simulator.web_app import WebApp
from airbyte_deferrable.simulator.world import World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PUBLIC, CONFIG, CONTROL = "/api/public/v1", "/api/v1", "/_simulator"


class Server:
    """Makes the aiohttp application.

    :param world: What is behind it.
    :param settings: How it behaves.
    """

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings
        self._faults = Faults(world.random)
        self._ledger = Ledger()
        self._threads = asyncio.Semaphore(settings.handler_threads)
        self._shed: deque[int] = deque()
        self.control = Control(world, settings, self._faults, self._ledger)

    def application(self) -> web.Application:
        """Return the application with all routes."""
        app = web.Application(client_max_size=64 * 2**20)
        app.on_response_prepare.append(self._stamp)
        public, config = PublicApi(self._world, self._settings), ConfigApi(self._world, self._settings)
        pooled: list[tuple[str, str, str, Handler]] = [
            ("POST", "/jobs", "create", public.create),
            ("GET", "/jobs", "list", public.list_jobs),
            ("GET", "/jobs/{id}", "get", public.get),
            ("DELETE", "/jobs/{id}", "cancel", public.cancel),
            ("GET", "/connections", "connections", public.connections),
            ("GET", "/connections/{id}", "connection", public.connection),
            ("PATCH", "/connections/{id}", "patch_connection", public.patch_connection),
            ("GET", "/sources", "sources", public.sources),
            ("GET", "/sources/{id}", "source", public.source),
            ("GET", "/destinations", "destinations", public.destinations),
            ("GET", "/destinations/{id}", "destination", public.destination),
            ("GET", "/workspaces", "workspaces", public.workspaces),
            ("GET", "/workspaces/{id}", "workspace", public.workspace),
            ("GET", "/tags", "tags", public.tags),
        ]
        routes: dict[str, dict[str, Handler]] = defaultdict(dict)
        for method, path, call, handler in pooled:
            guarded = self._authorized(self._pooled(handler, sheds=True))
            routes[PUBLIC + path][method] = self._route(call, guarded)
        routes[f"{PUBLIC}/applications/token"]["POST"] = self._route("token", self._pooled(self._public_token))
        routes[f"{PUBLIC}/health"]["GET"] = self._route("health", public.health)

        for path, handler in (
            ("/jobs/get", config.get),
            ("/jobs/get_without_logs", config.get_without_logs),
            ("/jobs/get_light", config.get_light),
            ("/jobs/list", config.list_jobs),
            ("/jobs/list_for_workspaces", config.list_for_workspaces),
            ("/jobs/cancel", config.cancel),
            ("/attempt/get_for_job", config.attempt),
            ("/connections/get", config.connection),
            ("/connections/sync", config.sync),
        ):
            guarded = self._if_config_api(self._authorized(handler))
            routes[CONFIG + path]["POST"] = self._route(f"config:{path[1:]}", guarded)
        routes[f"{CONFIG}/health"]["GET"] = self._route("config:health", self._if_config_api(config.health))
        token = self._if_config_api(self._config_token)
        routes[f"{CONFIG}/applications/token"]["POST"] = self._route("token", token)
        for path, methods in routes.items():
            self._mount(app, path, methods)

        add = app.router.add_route
        add("GET", "/workspaces/{workspace}/connections/{id}/timeline", WebApp(self._world).timeline)
        add("POST", CONTROL + "/{op}", self._control)
        add("*", "/{path:.*}", self._route("unknown", self._unknown))
        return app

    def _mount(self, app: web.Application, path: str, methods: dict[str, Handler]) -> None:
        """Put an address in, also with the one trailing slash that Micronaut strips."""

        async def not_allowed(request: web.Request) -> web.StreamResponse:
            raise wire.not_allowed(request, methods)

        wrong = self._if_config_api(not_allowed) if path.startswith(CONFIG) else not_allowed
        for each in (path, f"{path}/"):
            resource = app.router.add_resource(each)
            for method, handler in methods.items():
                resource.add_route(method, handler)
            resource.add_route("*", self._route("unknown", wrong))

    # --- from the socket inwards: ledger, faults, authorization, threads, handler

    def _route(self, call: str, handler: Handler) -> Handler:
        async def route(request: web.Request) -> web.StreamResponse:
            span = self._ledger.begin(call)
            status = 0
            try:
                response = await self._with_faults(call, handler, request)
                if response is None:
                    return _hang_up(request)
                status = response.status
                return response
            finally:
                self._ledger.end(span, request.method, request.path_qs, status)

        return route

    async def _with_faults(self, call: str, handler: Handler, request: web.Request) -> web.StreamResponse | None:
        """Return the answer; None to close the connection without one."""
        for fault_id, fault in self._faults.hits(call, *await self._about(call, request)):
            if fault.kind == "latency":
                await asyncio.sleep(fault.seconds)
            elif fault.kind == "reset_token":
                self._world.revoke_tokens()
            elif fault.kind == "drop":
                return None
            elif fault.kind == "hang":
                # Either end may come from outside: the fault is cleared, or the client leaves.
                while self._faults.is_on(fault_id) and request.transport is not None:
                    await asyncio.sleep(0.02)
                return None
            elif fault.kind == "lost_answer":
                response = await _carried_out(handler, request)
                if fault.status is not None:
                    return _error(fault, fault.status, request.path_qs)
                if fault.seconds:
                    await asyncio.sleep(fault.seconds)
                    return response
                return None
            elif fault.kind == "garbage":
                text = fault.body if fault.body is not None else '{"jobId": 1, "status": "runn'
                return web.Response(text=text, content_type="application/json", headers=fault.headers)
            elif fault.kind == "html":
                status = fault.status or 502
                page = wire.nginx(status, _reason(status), fault.headers)
                if fault.body is not None:
                    page.text = fault.body
                return page
            else:
                return _error(fault, fault.status or 503, request.path_qs)
        return await _carried_out(handler, request)

    async def _about(self, call: str, request: web.Request) -> tuple[str | None, int | None]:
        """Return the connection and the job that a request is about."""
        if call in ("get", "cancel"):
            try:
                job_id = int(request.match_info["id"])
            except ValueError:
                return None, None
            job = self._world.jobs.get(job_id)
            return (job.connection.id if job else None), job_id
        if call == "list":
            return request.query.get("connectionId"), None
        if call in ("connection", "patch_connection"):
            return request.match_info["id"], None
        if call != "create" and not call.startswith("config:"):
            return None, None
        try:
            body = json.loads(await request.read())
            job_id = body.get("jobId", body.get("id"))
            if job_id is not None and (job := self._world.jobs.get(job_id)) is not None:
                return job.connection.id, job_id
            return body.get("connectionId"), job_id
        except (ValueError, AttributeError, TypeError):
            return None, None

    def _authorized(self, handler: Handler) -> Handler:
        async def authorized(request: web.Request) -> web.StreamResponse:
            mode = self._settings.auth
            if mode == "none":
                return await handler(request)
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            identity = self._world.identity
            if mode == "basic":
                pair = f"{identity['client_id']}:{identity['client_secret']}".encode()
                if scheme.lower() == "basic" and secrets.compare_digest(given, base64.b64encode(pair).decode()):
                    return await handler(request)
                # The docker-compose proxy answered with its own page.
                headers = {"WWW-Authenticate": 'Basic realm="Welcome to Airbyte"'}
                return wire.nginx(401, "Unauthorized", headers)
            good = self._world.token_is_good(given) if mode == "client_credentials" else given == identity["token"]
            if scheme.lower() != "bearer" or not good:
                raise wire.micronaut(401, "Unauthorized", "Unauthorized", request.path_qs)
            return await handler(request)

        return authorized

    def _pooled(self, handler: Handler, sheds: bool = False) -> Handler:
        async def pooled(request: web.Request) -> web.StreamResponse:
            if sheds and self._is_too_much():
                # Deliberately without Retry-After (``PublicApiLoadShedFilter``).
                raise wire.Refusal(wire.answer({"message": "You are being rate limited."}, status=429))
            async with self._threads:
                if self._settings.handler_seconds:
                    await asyncio.sleep(self._settings.handler_seconds)
                return await handler(request)

        return pooled

    def _is_too_much(self) -> bool:
        if self._settings.load_shed is None or self._settings.release == "2.0":
            return False
        now = self._world.now()
        while self._shed and self._shed[0] <= now - SECOND:
            self._shed.popleft()
        if len(self._shed) >= self._settings.load_shed:
            return True
        self._shed.append(now)
        return False

    def _if_config_api(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            return await (handler if self._settings.config_api else self._unknown)(request)

        return guarded

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        raise wire.micronaut(404, "Not Found", "Page Not Found", request.path_qs)

    async def _stamp(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        response.headers.popall("Server", None)
        response.headers.popall("Date", None)
        if self._settings.send_date:
            now = self._world.now() / SECOND + self._settings.clock_skew
            response.headers["Date"] = formatdate(now, usegmt=True)

    # --- tokens

    async def _public_token(self, request: web.Request) -> web.StreamResponse:
        is_json = request.content_type == "application/json"
        if self._settings.token_form_only and is_json:
            raise wire.micronaut(415, "Unsupported Media Type", "Content Type not allowed", request.path)
        if self._settings.token_json_only and not is_json:
            # What releases that read every body as JSON made of a form.
            raise wire.micronaut(401, "Unauthorized", "JsonParseException: Unrecognized token", request.path)
        token = await self._token(request)
        seconds = max(1, math.floor(self._settings.token_lifetime))
        return wire.answer({"access_token": token, "token_type": "Bearer", "expires_in": seconds})

    async def _config_token(self, request: web.Request) -> web.StreamResponse:
        if request.content_type != "application/json":
            raise wire.micronaut(415, "Unsupported Media Type", "Content Type not allowed", request.path)
        return wire.answer({"access_token": await self._token(request)})

    async def _token(self, request: web.Request) -> str:
        if self._settings.auth != "client_credentials":
            # Without its authentication, Airbyte has no service for applications, hence no such address.
            await self._unknown(request)
        if request.content_type == "application/json":
            try:
                given = json.loads(await request.read())
            except ValueError:
                raise wire.error_id(422) from None
        else:
            given = await request.post()
        identity = self._world.identity
        if not isinstance(given, dict) and not hasattr(given, "get"):
            raise wire.error_id(422)
        names = ("client_id", "client_secret")
        if any(str(given.get(name, "")) != identity[name] for name in names):
            if self._settings.bad_credentials_status == 400:
                raise wire.micronaut(400, "Bad Request", "Invalid client id or token", request.path)
            raise wire.error_id(self._settings.bad_credentials_status)
        token = secrets.token_urlsafe(32)
        self._world.add_token(token, self._settings.token_lifetime)
        return token

    # --- the simulator's own

    async def _control(self, request: web.Request) -> web.StreamResponse:
        method = getattr(self.control, request.match_info["op"], None)
        if method is None or request.match_info["op"].startswith("_"):
            raise web.HTTPNotFound
        try:
            result = method(**json.loads(await request.read() or b"{}"))
        except (LookupError, ValueError, TypeError) as error:
            kind = "LookupError" if isinstance(error, LookupError) else "ValueError"
            return web.json_response({"error": kind, "message": str(error)}, status=400)
        return web.json_response({"result": result})


async def _carried_out(handler: Handler, request: web.Request) -> web.StreamResponse:
    try:
        return await handler(request)
    except wire.Refusal as refusal:
        return refusal.response


def _hang_up(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.close()
    # aiohttp wants one, and finds nobody to send it to.
    return web.Response()


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _error(fault: Fault, status: int, path: str) -> web.Response:
    """Return the answer that this status has in Airbyte or in the proxy before it."""
    if fault.body is not None:
        kind = "application/json" if fault.body.lstrip().startswith(("{", "[")) else "text/html"
        return web.Response(text=fault.body, status=status, content_type=kind, headers=fault.headers)
    if status == 403:
        response = wire.forbidden("WORKSPACE_READER").response
    elif status == 408:
        response = wire.problem(408, "request-timeout", "The request timed out.").response
    elif status == 409:
        response = wire.state_conflict("Could not fulfill request").response
    elif status == 429:
        response = wire.answer({"message": "You are being rate limited."}, status=429)
    elif status == 500:
        response = wire.error_id(500).response
    elif status in (502, 503, 504):
        response = wire.nginx(status, _reason(status))
    else:
        response = wire.micronaut(status, _reason(status), _reason(status), path).response
    response.headers.update(fault.headers)
    return response
