"""What triggers know of an Airflow connection: looked up once for all of them, beside the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from airbyte_deferrable._airflow.connection import load_settings
from airbyte_deferrable._airflow.off_loop import in_thread
from airbyte_deferrable._job.retrying import Outage
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable._job.wait import CredentialsChanged
from airbyte_deferrable.api.aio import PerLoop, Shared, among_few
from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.api.settings import Settings

#: How long a connection that was looked up in the triggerer is used for new triggers, seconds.
KNOWN_FOR = 30.0
#: Seconds between two attempts to look a connection up that could not be read.
LOOK_UP_AGAIN = 20.0
#: Seconds between two look-ups of a connection whose credentials are refused.
LOOK_FOR_CHANGE = 60.0


class _Known:
    """What is known of one connection in one event loop; looked up once for all who ask.

    :param api_version: The version in the public API's path.
    """

    def __init__(self, conn_id: str, api_version: str) -> None:
        self._look_up = Shared(lambda: in_thread(load_settings, conn_id, api_version=api_version))
        self._settings: Settings | None = None
        self._until = 0.0
        #: Those who wait for other settings than these.
        self._refused: list[tuple[Settings, asyncio.Future[Settings]]] = []
        self._asking: asyncio.Task[None] | None = None

    def fresh(self) -> Settings | None:
        """Return the settings; None if they are not known or too old."""
        return self._settings if time.monotonic() < self._until else None

    async def settings(self) -> Settings:
        """Return the settings, looked up if they are not known or too old."""
        settings = self.fresh()
        if settings is None:
            settings = self._settings = await self._look_up()
            self._until = time.monotonic() + KNOWN_FOR
        return settings

    @property
    def last(self) -> Settings | None:
        """What was looked up last, however old; None before the first time."""
        return self._settings

    def change_from(self, settings: Settings) -> asyncio.Future[Settings]:
        """Return what is done when the connection holds other settings for the same Airbyte.

        It is looked up once a minute at most, however many ask, until all of them have an answer or have cancelled.

        :param settings: Those that it held.
        """
        change: asyncio.Future[Settings] = asyncio.get_running_loop().create_future()
        if not self._answer(settings, change):
            self._refused.append((settings, change))
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask_again())
        return change

    def _answer(self, settings: Settings, change: asyncio.Future[Settings]) -> bool:
        """Tell of a change if there is one, and whether there is nothing more to wait for."""
        newest = self._settings
        # At another address may be another Airbyte, where the job's number is that of somebody else's job.
        if newest is not None and newest != settings and newest.base_url == settings.base_url and not change.done():
            change.set_result(newest)
        return change.done()

    async def _ask_again(self) -> None:
        try:
            while True:
                # One that cannot be read may be read the next time.
                with suppress(Exception):
                    await self.settings()
                self._refused = [each for each in self._refused if not self._answer(*each)]
                if not self._refused:
                    return
                await asyncio.sleep(LOOK_FOR_CHANGE)
        finally:
            self._refused, self._asking = [], None


_known: PerLoop[dict[tuple[str, str], _Known]] = PerLoop(dict)


def known_settings(conn_id: str, api_version: str) -> Settings | None:
    """Return what a trigger has learned of an Airflow connection within half a minute; None if it has to be looked up.

    :param api_version: The version in the public API's path, where the host names no path of its own.
    """
    known = _known.here().get((conn_id, api_version))
    return known.fresh() if known is not None else None


def conn_ids_of(settings: Settings) -> tuple[str, ...]:
    """Return the Airflow connections that lead to an Airbyte with the same credentials, as triggers have learned.

    :param settings: What they hold.
    """
    known = _known.here().items()
    return tuple(sorted({conn_id for (conn_id, _), each in known if each.last == settings}))


async def settings_for_trigger(conn_id: str, api_version: str, log: Log) -> Settings:
    """Look an Airflow connection up from a trigger, once for all that ask within half a minute.

    Airflow answers such look-ups one after the other (17 ms each were measured, 17 s for a thousand triggers). A
    connection that cannot be read is no reason to give a running job up: a secrets backend that is down looks
    just like a missing connection. So this tries again until the caller is cancelled.

    :param api_version: The version in the public API's path, where the host names no path of its own.
    :param log: The task's log; gets a line when the connection cannot be read, and one when it can again.
    :return: Everything that a client needs.
    """
    known = _known_connection(conn_id, api_version)
    outage = Outage(
        log,
        f"Cannot read Airflow connection {conn_id!r} now, trying again",
        f"Airflow connection {conn_id!r} can be read again",
    )
    while True:
        try:
            settings = await known.settings()
        except Exception as error:
            if not outage.lasts:
                await among_few()
            outage.failed(error)
            await asyncio.sleep(LOOK_UP_AGAIN)
        else:
            if outage.lasts:
                await among_few()
            outage.recovered()
            return settings


class Renewal:
    """Other credentials for a wait whose own are refused: a :class:`~airbyte_deferrable._job.wait.CredentialSource`.

    :param api_version: The version in the public API's path, where the host names no path of its own.
    :param settings: Those that the wait began with.
    """

    __slots__ = ("_api_version", "_change", "_conn_id", "settings")

    def __init__(self, conn_id: str, api_version: str, settings: Settings) -> None:
        self._conn_id = conn_id
        self._api_version = api_version
        self._change: asyncio.Future[Settings] | None = None
        #: Those to go on with.
        self.settings = settings

    def heard(self, error: ApiError | None, then: Callable[[], object] | None = None) -> None:
        """Begin to look for others if these may be refused, and stop when Airbyte answers.

        Another outage in between, as of a server that starts, changes nothing.

        :param error: What Airbyte, or a gateway before it, said; None if Airbyte answers.
        :param then: Called when there are others, for :meth:`check` to be.
        """
        if error is None:
            self.stop()
        elif error.credentials_in_doubt:
            self.seek(then)

    def seek(self, then: Callable[[], object] | None = None) -> None:
        """Begin to look for others.

        :param then: See :meth:`heard`.
        """
        if self._change is None:
            self._change = _known_connection(self._conn_id, self._api_version).change_from(self.settings)
            if then is not None:
                self._change.add_done_callback(lambda _: then())

    def check(self, log: Log) -> None:
        """Say so if there are others.

        :raises CredentialsChanged: If there are: the wait is to begin again with those.
        """
        if self._change is not None and self._change.done():
            self.settings = self._change.result()
            self._change = None
            log.info("Airflow connection %r was changed: this task goes on with its new credentials", self._conn_id)
            raise CredentialsChanged

    def stop(self) -> None:
        """Look for others no more."""
        if self._change is not None:
            self._change.cancel()
            self._change = None


def _known_connection(conn_id: str, api_version: str) -> _Known:
    in_this_loop = _known.here()
    return in_this_loop.setdefault((conn_id, api_version), _Known(conn_id, api_version))
