"""The page's app, which Airflow mounts: every route asks for a user, and only reads."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails, DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from airflow.utils.session import create_session
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from airbyte_deferrable.page.overview import Overviews
from airbyte_deferrable.page.sync import Key, sync_of

#: The page's own files: nothing is loaded from anywhere else.
STATIC = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}
#: Of all answers. Airflow's web pages show the page in a frame.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
#: What the page shows of a DAG: outcome, reason and streams are its tasks' XComs.
SHOWN = (DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)
NO_STORE = {"Cache-Control": "no-store"}
#: Of files: asked for again each time, since another version of this package has others.
NO_CACHE = {"Cache-Control": "private, no-cache"}

log = logging.getLogger(__name__)

Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def make_app() -> Asgi:
    """Return the app that Airflow mounts."""
    return with_headers(make_api())


def make_api(static: Path = STATIC) -> FastAPI:
    """Return the app's routes.

    :param static: Where the page's files are.
    """
    # Airflow protects its own routes alone: what a plugin brings is open to everybody, and so would be FastAPI's pages
    # of documentation.
    api = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)])
    api.add_exception_handler(Exception, _broken)
    files = _files(static)
    overviews = Overviews()

    # No coroutines: they block, so each has a thread.

    @api.get("/page")
    def page() -> Response:
        return _file(files, "page.html")

    @api.get("/sync")
    def sync_page() -> Response:
        return _file(files, "sync.html")

    @api.get("/static/{name}")
    def static_file(name: str) -> Response:
        return _file(files, name)

    @api.get("/api/syncs")
    def syncs(user: GetUserDep) -> Response:
        # Not of a DAG that the address names, as Airflow's own dependency would have it.
        if not all(_may_read(entity, user) for entity in SHOWN):
            raise HTTPException(403, "You may not read task instances and their XComs.", headers=NO_STORE)
        dag_ids = get_auth_manager().get_authorized_dag_ids(user=user)
        text = overviews.overview().for_user(dag_ids, lambda conn_id: _may_see(conn_id, user), time.time())
        return Response(text, media_type="application/json", headers=NO_STORE)

    @api.get("/api/sync")
    def sync(
        request: Request,
        user: GetUserDep,
        dag_id: Annotated[str, Query(max_length=250)],
        run_id: Annotated[str, Query(max_length=250)],
        task_id: Annotated[str, Query(max_length=250)],
        map_index: Annotated[str, Query(max_length=20)] = "-1",
    ) -> Response:
        try:
            for entity in SHOWN:
                requires_access_dag("GET", entity, dag_id)(request, user)
        except HTTPException:
            raise _no_such_task() from None
        if dag_id not in get_auth_manager().get_authorized_dag_ids(user=user):
            raise _no_such_task()
        # Before a connection to the database is taken: whoever makes one needs another, and there are few.
        record, usual = overviews.overview().record, overviews.usual()
        with create_session() as session:
            told = sync_of(session, record, usual, Key(dag_id, run_id, task_id, map_index), time.time())
        if told is None:
            raise _no_such_task()
        return JSONResponse(told, headers=NO_STORE)

    @api.get("/{path:path}")
    def nothing(path: str) -> Response:
        # A route, so that who is not logged in is told no more of this than of any other.
        raise HTTPException(404, "There is no such page.")

    return api


def with_headers(app: Asgi) -> Asgi:
    """Return an app whose answers all have the headers that keep a browser from harm, errors included.

    :param app: The app.
    """
    added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message.get("headers", ())}
                headers = [*message.get("headers", ()), *added]
                if b"cache-control" not in names:
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        await app(scope, receive, send_with_headers)

    return answer


def _files(static: Path) -> Mapping[str, Path]:
    """Return the files that there are: no name from a browser becomes a path."""
    return {each.name: each for each in static.glob("*") if each.suffix in TYPES} if static.is_dir() else {}


def _file(files: Mapping[str, Path], name: str) -> Response:
    path = files.get(name)
    if path is None:
        raise HTTPException(404, "There is no such file.")
    return FileResponse(path, media_type=TYPES[path.suffix], headers=NO_CACHE)


def _may_read(entity: DagAccessEntity, user: Any) -> bool:
    return bool(
        get_auth_manager().is_authorized_dag(method="GET", access_entity=entity, details=DagDetails(), user=user)
    )


def _may_see(conn_id: str, user: Any) -> bool:
    return bool(
        get_auth_manager().is_authorized_connection(method="GET", details=ConnectionDetails(conn_id=conn_id), user=user)
    )


def _no_such_task() -> HTTPException:
    return HTTPException(404, "There is no such task instance, or you may not read it.", headers=NO_STORE)


async def _broken(request: Request, error: Exception) -> Response:
    """Say that something is wrong here, and nothing of what: that is in the API server's log."""
    return JSONResponse({"detail": "The page cannot be made now: the API server's log says why."}, 500)
