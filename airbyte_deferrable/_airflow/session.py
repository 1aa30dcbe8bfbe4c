"""One session with an Airbyte for all that blocking code asks of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import cached_property
from importlib import import_module
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from airbyte_deferrable._airflow.blocking import Outcome, Portal
from airbyte_deferrable._airflow.connection import load_settings
from airbyte_deferrable._airflow.token_cache import token_cache_for
from airbyte_deferrable._job.connections import UnresolvedName
from airbyte_deferrable._job.selection import InvalidFilter
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.api.settings import Settings
from airbyte_deferrable.exceptions import AirbyteInputError, from_api

T = TypeVar("T")
Watcher = TypeVar("Watcher")


class Parameters(Protocol):
    """What a hook is made with. It is read at first use, so that a subclass of the hook may set it later."""

    airbyte_conn_id: str
    api_version: str
    timeout: float | None


class BlockingSession(Generic[Watcher]):
    """A client, its token and the event loop that they live in: made at first use, closed by the last user.

    As a context manager it is one of its users.

    :param make_watcher: Makes what sees jobs end by this client.
    """

    def __init__(self, parameters: Parameters, make_watcher: Callable[[AirbyteClient], Watcher]) -> None:
        self._parameters = parameters
        self._make_watcher = make_watcher
        self._users = 0
        self._portal = Portal(forget=self._forget)

    @cached_property
    def settings(self) -> Settings:
        """The connection, read at first use. Blocks."""
        given = self._parameters
        return load_settings(given.airbyte_conn_id, api_version=given.api_version, timeout=given.timeout)

    @cached_property
    def client(self) -> AirbyteClient:
        """The client. Only for what runs in the session's loop."""
        client = AirbyteClient(self.settings, token_cache_for(self.settings))
        self._portal.at_end(client.close)
        return client

    @cached_property
    def watcher(self) -> Watcher:
        """What sees jobs end. Likewise."""
        return self._make_watcher(self.client)

    def __enter__(self) -> BlockingSession[Watcher]:
        self._users += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._users -= 1
        if not self._users:
            self.close()

    def close(self) -> None:
        """Close the client. The next call opens a new one."""
        self.__dict__.pop("client", None)
        self.__dict__.pop("watcher", None)
        self._portal.close()

    def call(self, use: Callable[[AirbyteClient], Coroutine[Any, Any, T]], doing: str, **subject: Any) -> T:
        """Do something with the client and wait for it.

        :param use: Takes the client and returns the coroutine to wait for.
        :param doing: What is being done, for messages: ``"looking up job 7"``.
        :param subject: ``connection_id`` and ``job_id``, as far as they are known, for messages.
        :return: What the coroutine returns.
        :raises airbyte_deferrable.exceptions.AirbyteException: What Airbyte says, or why there is no answer.
        """
        with self:
            conn_id = self._parameters.airbyte_conn_id
            try:
                return self._portal.call(use(self.client))
            except ApiError as error:
                raise from_api(error, doing, conn_id=conn_id, **subject) from None
            except (UnresolvedName, InvalidFilter) as error:
                raise AirbyteInputError(str(error), conn_id=conn_id, **subject) from None

    def start(self, use: Callable[[AirbyteClient], Coroutine[Any, Any, T]]) -> Outcome[T]:
        """Do something with the client beside what the calling thread does, until the session is closed.

        :param use: Takes the client and returns the coroutine.
        :return: What comes of it.
        """
        return self._portal.start(use(self.client))

    def warm_up(self) -> None:
        """Load what the first request needs, beside what the calling thread does until then."""
        # aiohttp takes 80 ms of a processor, of which Airflow has loaded nothing.
        self._portal.start(asyncio.to_thread(import_module, "aiohttp"))

    def _forget(self) -> object:
        """Forget what lives in the loop, and return it, for a process that was forked."""
        return self.__dict__.pop("watcher", None), self.__dict__.pop("client", None)
