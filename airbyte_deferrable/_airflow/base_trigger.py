"""What the triggers have in common: their run, from the start to the event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent
from airflow.utils.log.logging_mixin import LoggingMixin

from airbyte_deferrable._airflow.credentials import known_settings, settings_for_trigger
from airbyte_deferrable._airflow.off_loop import TaskLog, all_written, freeze_what_is_loaded
from airbyte_deferrable._compat import AIRFLOW_3
from airbyte_deferrable._job.wait import FINAL_CHECK_WITHIN, Deadlines
from airbyte_deferrable.api.settings import Settings

#: Seconds after deferral before which Airflow 3 may fail a task that is resumed: the executor's late "success" of
#: the leg that deferred then hits the re-queued task (apache/airflow#66374, #71580). None was seen at 8 s.
HOLD_EVENTS = 10.0 if AIRFLOW_3 else 0.0


T = TypeVar("T", bound="AirbyteDeferrableTrigger")


class Wait(Generic[T]):
    """The wait of one trigger, from its start to its event.

    It is an object of its own, so that no name in it can be that of something in a user's subclass of the trigger.
    """

    __slots__ = ("deadlines", "log", "trigger")

    def __init__(self, trigger: T) -> None:
        self.trigger = trigger
        self.log = TaskLog(logger_of(trigger))
        self.deadlines = Deadlines(trigger.end_time, trigger.execution_deadline)

    async def until_over(self) -> None:
        """Wait until there is something to tell."""
        raise NotImplementedError

    async def find_settings(self) -> Settings | None:
        """Return what the Airflow connection holds; None if time is up before it can be read."""
        conn_id, api_version = self.trigger.conn_id, self.trigger.api_version
        settings = known_settings(conn_id, api_version)
        if settings is not None:
            return settings
        left = self.deadlines.left()
        # A trigger that starts after its deadline still has a final check to make.
        within = None if left is None else max(left, FINAL_CHECK_WITHIN)
        try:
            return await asyncio.wait_for(settings_for_trigger(conn_id, api_version, self.log), within)
        except asyncio.TimeoutError:
            return None

    def event(self) -> dict[str, Any]:
        """Return what to tell the task."""
        raise NotImplementedError

    async def stopped(self) -> None:
        """Do what is due when the trigger is cancelled before its event: killed, or moved to another triggerer."""

    async def killed(self) -> None:
        """Do what is due when Airflow says that the task was killed."""

    def close(self) -> None:
        """Leave nothing behind that runs."""


class AirbyteDeferrableTrigger(BaseTrigger):
    """What the triggers have in common. They differ in what waits for them, and in its arguments.

    The official provider's trigger has no private names, so a user's subclass of it may have any, and works over these
    classes as well: private names here are mangled by Python (``__x``), and what else is needed is in a :class:`Wait`.

    :param wait: Makes what waits, given the trigger.
    """

    def __init__(
        self,
        wait: Callable[[Any], Wait[Any]],
        *,
        conn_id: str,
        poll_interval: float,
        end_time: float | None,
        execution_deadline: float | None,
        api_version: str,
        try_number: int | None,
        not_before: float,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.poll_interval = poll_interval
        self.end_time = end_time
        self.execution_deadline = execution_deadline
        self.api_version = api_version
        self.try_number = try_number
        self.not_before = not_before
        self.__wait = wait
        self.__fired = False

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield one event."""
        if self.task_instance is not None:
            freeze_what_is_loaded()
        wait = self.__wait(self)
        try:
            try:
                await wait.until_over()
            finally:
                # Also those of a wait that was cut short.
                await all_written()
            if self.task_instance is not None:
                # Not for longer than is of use: a worker's clock may be ahead.
                await asyncio.sleep(min(self.not_before - time.time(), HOLD_EVENTS))
        except asyncio.CancelledError:
            await wait.stopped()
            raise
        finally:
            wait.close()
        # From here on the task has its answer. A trigger that lingers after its event is cancelled like one whose
        # task was killed.
        self.__fired = True
        yield TriggerEvent(wait.event())

    async def on_kill(self) -> None:
        """Cancel the job, if there is one, after a user killed the task. Called by Airflow 3.3 and later.

        Contrary to Airflow's documentation it is also called when a triggerer that paused for long comes back and
        finds that another has taken its triggers over (apache/airflow#73454).
        """
        if not self.__fired:
            await self.__wait(self).killed()


class _NoLog(LoggingMixin):
    """Has a logger where a user's subclass has something else by the name under which Airflow keeps its own."""

    _logger_name = "airbyte_deferrable.triggers"


def logger_of(trigger: BaseTrigger) -> Any:
    """Return the logger from which Airflow makes the task's log."""
    # One logger for all triggers of a class, since Airflow finds the task of a line by other means. One each is six
    # objects for each of the thousands that wait, which the garbage collector goes through.
    trigger.logger()
    logger = trigger.log
    return logger if hasattr(logger, "info") else _NoLog.logger()
