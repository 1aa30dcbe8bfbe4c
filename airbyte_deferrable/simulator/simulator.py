"""The simulator in this process: its own thread, its own event loop, a real port."""

from __future__ import annotations

import asyncio
import secrets
import threading
import uuid
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

from airbyte_deferrable.simulator.server import Server
from airbyte_deferrable.simulator.settings import AuthMode, Release, Settings
from airbyte_deferrable.simulator.surface import Surface
from airbyte_deferrable.simulator.world import World


class Simulator(Surface):
    """An Airbyte public API in one process. Use it as a context manager, or :meth:`start` and :meth:`stop` it.

    :param port: Where it listens; 0 for any free port.
    :param auth: How callers show who they are: ``client_credentials``, ``bearer``, ``basic`` or ``none``.
    :param client_id: The application's id, or with ``basic`` the user; made up when left out.
    :param client_secret: The application's secret, or with ``basic`` the password; made up when left out.
    :param token_lifetime: Seconds that a token is good for. Airbyte's default is 15 minutes.
    :param release: Which Airbyte: ``head`` or ``2.0``.
    :param handler_threads: Public API requests that are worked on at a time. Airbyte's pod has five.
    :param handler_seconds: How long each of them takes at least.
    :param state_file: Where jobs, connections and tokens survive; None for nowhere. Jobs go on while it is stopped.
    :param instance_admin: Whether tokens are instance-admin, as Airbyte Core's are.
    :param config_api: Whether there is an ``/api/v1``.
    :param address: The address to listen on.
    :param token: The fixed token of ``bearer``; made up when left out.
    :param workspace_id: The UUID of its workspace; made up when left out.
    :param commit_lag: Seconds, at most, between the stamp of a change of status and its becoming visible.
    :param seed: For what is left to chance: the order of equal stamps, faults with a rate, the commit lag.
    :param switches: Any other of :class:`~airbyte_deferrable.simulator.settings.Settings`.
    """

    def __init__(
        self,
        port: int = 0,
        auth: AuthMode = "client_credentials",
        client_id: str | None = None,
        client_secret: str | None = None,
        token_lifetime: float = 900.0,
        release: Release = "head",
        handler_threads: int = 5,
        handler_seconds: float = 0.0,
        state_file: str | Path | None = None,
        instance_admin: bool = True,
        config_api: bool = True,
        *,
        address: str = "127.0.0.1",
        token: str | None = None,
        workspace_id: str | None = None,
        commit_lag: float = 0.0,
        seed: int = 0,
        **switches: Any,
    ) -> None:
        self._port = port
        self._address = address
        self._settings = Settings(
            auth=auth,
            release=release,
            handler_threads=handler_threads,
            handler_seconds=handler_seconds,
            config_api=config_api,
            token_lifetime=token_lifetime,
            instance_admin=instance_admin,
            **switches,
        )
        self._world = World(state_file, release, commit_lag, seed)
        made_up = {
            "client_id": str(uuid.uuid4()),
            "client_secret": secrets.token_urlsafe(24),
            "token": secrets.token_urlsafe(32),
            "workspace_id": str(uuid.uuid4()),
        }
        told = {"client_id": client_id, "client_secret": client_secret, "token": token, "workspace_id": workspace_id}
        given = {name: value for name, value in told.items() if value is not None}
        self._world.identify(**{**made_up, **self._world.identity, **given})
        self._server = Server(self._world, self._settings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None

    def __enter__(self) -> Simulator:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; returns when requests are answered.

        :raises OSError: If the port is taken.
        """
        ready: Future[int] = Future()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(ready),), name="airbyte-simulator")
        self._thread.daemon = True
        self._thread.start()
        try:
            self._port = ready.result()
        except BaseException:
            self._thread.join()
            self._thread = None
            raise
        name = "127.0.0.1" if self._address in ("0.0.0.0", "::") else self._address
        self.host = f"http://{name}:{self._port}"

    def stop(self) -> None:
        """Stop listening and drop what is still open. What it remembers can be asked afterwards."""
        if self._thread is not None and self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None
        self._world.close()

    async def _serve(self, ready: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        runner = web.AppRunner(self._server.application(), access_log=None, shutdown_timeout=0.05)
        try:
            await runner.setup()
            await web.TCPSite(runner, self._address, self._port, backlog=1024).start()
        except BaseException as error:
            ready.set_exception(error)
            await runner.cleanup()
            return
        ready.set_result(runner.addresses[0][1])
        await self._stopping.wait()
        await runner.cleanup()

    def _do(self, op: str, **arguments: Any) -> Any:
        method = getattr(self._server.control, op)
        if self._thread is None or self._loop is None:
            return method(**arguments)

        # All of it happens in one thread, so nothing needs a lock.
        async def in_loop() -> Any:
            return method(**arguments)

        return asyncio.run_coroutine_threadsafe(in_loop(), self._loop).result()
