"""What waits in the triggerer for a job that a task has started or looks for."""

from __future__ import annotations

import inspect
import time
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger

from airbyte_deferrable._airflow.base_trigger import AirbyteDeferrableTrigger, Wait, logger_of
from airbyte_deferrable._airflow.cancel_killed import cancel_killed, to_the_end
from airbyte_deferrable._airflow.credentials import Renewal
from airbyte_deferrable._airflow.job_report import JobReport
from airbyte_deferrable._airflow.kill import killed_by_user, warm_up
from airbyte_deferrable._airflow.off_loop import all_written, in_thread
from airbyte_deferrable._airflow.shared_watcher import shared_watcher
from airbyte_deferrable._job.events import Event, ran_out
from airbyte_deferrable._job.wait import Course, CredentialsChanged, wait_for_end
from airbyte_deferrable.api.models import TERMINAL
from airbyte_deferrable.api.settings import Settings
from airbyte_deferrable.links import JOB_URL, job_url

if TYPE_CHECKING:
    from airbyte_deferrable.hooks import AirbyteHook

#: Seconds after the task has deferred in which its trigger tells what its connection is called. One that takes over
#: later from another triggerer would tell it again.
INTRODUCE_WITHIN = 120.0
#: Airflow 3.3 tells a trigger that its task was killed; before, the trigger must find out by itself.
AIRFLOW_TELLS_OF_KILLS = hasattr(BaseTrigger, "on_kill")


@cache
def _arguments_of(kind: type[AirbyteSyncTrigger]) -> frozenset[str]:
    """Return what a trigger's class may be made with."""
    names: set[str] = set()
    for each in kind.__mro__:
        if "__init__" in vars(each):
            parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
            names.update(parameter.name for parameter in parameters)
            if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
                break
            # It hands the others on.
    return frozenset(names)


class AirbyteSyncTrigger(AirbyteDeferrableTrigger):
    """Waits for an Airbyte job in the triggerer's event loop, together with all others that wait there.

    Its one event is an :class:`Event`.

    The arguments are stored in Airflow's database and may be read by a later version of this package: they are
    plain JSON, hold no secret, and those after the official provider's have defaults.

    :param conn_id: The Airflow connection to Airbyte.
    :param end_time: When the task's ``timeout`` runs out, seconds since the epoch; None for never.
    :param poll_interval: Seconds between two checks.
    :param execution_deadline: When its ``execution_timeout`` runs out, seconds since the epoch. Default: never.
        Kept by the trigger: Airflow 3 does not apply ``execution_timeout`` to a deferred task.
    :param api_version: The version in the API's path, where the connection's host names no path. Default: ``v1``.
    :param cancel_on_kill: Cancel the job when a user kills the task. Only for a job that the task started.
        Default: False.
    :param try_number: The try that waits. Default: not known.
    :param progress_interval: Seconds between two log lines on rows and bytes; 0 for none. Default: 60.
    :param not_before: An earlier event is held back until then, seconds since the epoch. Default: 0. Airflow 3
        can fail a task that is resumed while it is still deferring.
    :param connection_id: The Airbyte connection whose job it is: no other's is cancelled. Default: not known.
    :param started_here: Whether the task has started the job. Default: not known.
    :param write_xcoms: Write the task's XComs on the job: its address, for the task's button, and how it ended. What
        cannot be written here the task writes when it is resumed. Default: True.
    """

    def __init__(
        self,
        job_id: int,
        conn_id: str,
        end_time: float | None,
        poll_interval: float,
        execution_deadline: float | None = None,
        api_version: str = "v1",
        cancel_on_kill: bool = False,
        try_number: int | None = None,
        progress_interval: float = 60.0,
        not_before: float = 0.0,
        connection_id: str = "",
        started_here: bool | None = None,
        write_xcoms: bool = True,
    ) -> None:
        super().__init__(
            _JobWait,
            conn_id=conn_id,
            poll_interval=poll_interval,
            end_time=end_time,
            execution_deadline=execution_deadline,
            api_version=api_version,
            try_number=try_number,
            not_before=not_before,
        )
        self.job_id = int(job_id)
        self.cancel_on_kill = cancel_on_kill
        self.progress_interval = progress_interval
        self.connection_id = connection_id
        self.started_here = started_here
        self.write_xcoms = write_xcoms

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments, for Airflow's database.

        As with the official class, that is this class for a subclass, too: one that is to be stored itself returns its
        own path. The official class's arguments are always there, the further ones where a subclass takes them.
        """
        official = {
            "job_id": self.job_id,
            "conn_id": self.conn_id,
            "end_time": self.end_time,
            "poll_interval": self.poll_interval,
            "execution_deadline": self.execution_deadline,
        }
        further = {
            "api_version": self.api_version,
            "cancel_on_kill": self.cancel_on_kill,
            "try_number": self.try_number,
            "progress_interval": self.progress_interval,
            "not_before": self.not_before,
            "connection_id": self.connection_id,
            "started_here": self.started_here,
            "write_xcoms": self.write_xcoms,
        }
        taken = _arguments_of(type(self))
        return (
            "airbyte_deferrable.triggers.AirbyteSyncTrigger",
            official | {name: value for name, value in further.items() if name in taken},
        )

    async def is_still_running(self, hook: AirbyteHook) -> bool:
        """Ask once whether the job is live, for subclasses of the official provider's trigger.

        :param hook: Asked beside the event loop.
        """
        return await in_thread(hook.get_job_status, self.job_id) not in TERMINAL


class _JobWait(Wait[AirbyteSyncTrigger]):
    """Waits for the job of an :class:`AirbyteSyncTrigger`."""

    __slots__ = ("end", "report", "xcoms_written")
    end: Event

    def __init__(self, trigger: AirbyteSyncTrigger) -> None:
        super().__init__(trigger)
        self.report = JobReport(trigger.task_instance, self.log, JOB_URL if trigger.write_xcoms else None)
        self.xcoms_written = False

    async def until_over(self) -> None:
        trigger = self.trigger
        settings = await self.find_settings()
        if settings is None:
            self.end = ran_out(self.deadlines.nearest, trigger.job_id, None, trigger.try_number)
        else:
            if trigger.cancel_on_kill and trigger.task_instance is not None:
                warm_up(trigger.task_instance)
            self.introduce(settings)
            course, renewal = Course(), Renewal(trigger.conn_id, trigger.api_version, settings)
            while True:
                with suppress(CredentialsChanged):
                    self.end = await wait_for_end(
                        await shared_watcher(renewal.settings),
                        trigger.job_id,
                        self.deadlines,
                        poll_interval=trigger.poll_interval,
                        progress_interval=trigger.progress_interval,
                        log=self.log,
                        try_number=trigger.try_number,
                        course=course,
                        renewal=renewal,
                    )
                    break
        await self.report.introduced()
        # Code of a user's own that defers to this trigger pushes what it likes.
        if trigger.write_xcoms and trigger.try_number is not None and trigger.started_here is not None:
            self.xcoms_written = await self.report.write_end(self.end.job)

    def introduce(self, settings: Settings) -> None:
        """Begin to tell the task what its connection is called, if it has deferred only now."""
        job_id, connection_id = self.trigger.job_id, self.trigger.connection_id
        if connection_id and time.time() <= self.trigger.not_before + INTRODUCE_WITHIN:
            self.report.introduce(
                settings,
                job_id,
                connection_id,
                lambda workspace_id: job_url(settings.web_url, workspace_id, connection_id, job_id),
            )

    def event(self) -> dict[str, Any]:
        known = {
            "connection_id": self.trigger.connection_id,
            "started_here": self.trigger.started_here,
            "job_url": self.report.job_url,
            "xcoms_written": self.xcoms_written,
        }
        return self.end.model_copy(update=known).payload()

    async def stopped(self) -> None:
        if not AIRFLOW_TELLS_OF_KILLS:
            await self.killed()

    async def killed(self) -> None:
        await to_the_end(self.cancel_if_killed(), logger_of(self.trigger))

    async def cancel_if_killed(self) -> None:
        trigger = self.trigger
        try:
            if await self.was_killed():
                self.log.info("The task was killed by a user action")
                await cancel_killed(
                    trigger.conn_id, trigger.api_version, trigger.job_id, trigger.connection_id, self.log
                )
        finally:
            # Those of the wait, too, which was stopped.
            await all_written()

    async def was_killed(self) -> bool:
        """Tell whether a user killed the task, whose job then is to be cancelled."""
        trigger = self.trigger
        if not trigger.cancel_on_kill or trigger.try_number is None:
            return False
        if trigger.end_time is not None and time.time() >= trigger.end_time:
            # Another triggerer may have said so already, and the job is to go on then.
            return False
        return await killed_by_user(trigger.task_instance, trigger.job_id, trigger.try_number, self.log)

    def close(self) -> None:
        self.report.stop()
