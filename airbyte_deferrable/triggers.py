"""What waits in the triggerer for one task."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airbyte_deferrable._airflow.credentials import (
    Renewal,
    known_settings,
    settings_for_trigger,
)
from airbyte_deferrable._airflow.kill import killed_by_user, warm_up
from airbyte_deferrable._airflow.off_loop import TaskLog, all_written, freeze_what_is_loaded, in_thread
from airbyte_deferrable._airflow.results import read_event, xcoms
from airbyte_deferrable._airflow.task_instance import write_xcoms
from airbyte_deferrable._compat import AIRFLOW_3, Stats
from airbyte_deferrable._job.cancel import cancel_job
from airbyte_deferrable._job.events import Event, ran_out
from airbyte_deferrable._job.queue import Admission, wait_in_queue
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable._job.wait import FINAL_CHECK_WITHIN, Course, CredentialsChanged, Deadlines, wait_for_end
from airbyte_deferrable._watcher.loop import JobWatcher, watcher_for
from airbyte_deferrable.api.aio import Shared
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.api.models import TERMINAL, Job
from airbyte_deferrable.api.rounds import among_few
from airbyte_deferrable.api.settings import Settings
from airbyte_deferrable.links import JOB_URL, job_url

if TYPE_CHECKING:
    from airbyte_deferrable.hooks import AirbyteHook

__all__ = ["AirbyteSyncTrigger", "AirbyteQueueTrigger", "Event", "read_event"]

#: Seconds for the job to end once its task was killed. One is cancelled at once. But all of a DAG run may be killed
#: together: at three a time, and half a second each as Airbyte stops them, two thousand take six minutes. No triggerer
#: that stops is held by it: Airflow ends that within half a minute.
CANCEL_KILLED_WITHIN = 600.0
#: Seconds after deferral before which Airflow 3 may fail a task that is resumed: the executor's late "success" of
#: the leg that deferred then hits the re-queued task (apache/airflow#66374, #71580). None was seen at 8 s.
HOLD_EVENTS = 10.0 if AIRFLOW_3 else 0.0
#: Seconds, at most, that Airflow 2 leaves a task to be resumed before its ``execution_timeout`` is over.
RESUMES_WITHIN = 30.0
#: Seconds after the task has left its worker in which its trigger tells what its connection is called. One that takes
#: over later from another triggerer would tell it again.
INTRODUCE_WITHIN = 120.0
#: And seconds that a job which ends at once is held back for that.
INTRODUCED_WITHIN = 3.0
#: So many triggers of a process, at most, write their jobs' XComs at a time; the tasks of the others do it themselves.
#: Each XCom is a call of 12 to 20 ms to Airflow, one after the other for all triggers of a process, and events wait
#: behind them.
WRITERS_AT_ONCE = 20
#: Airflow 3.3 tells a trigger that its task was killed; before, the trigger must find out by itself.
AIRFLOW_TELLS_OF_KILLS = hasattr(BaseTrigger, "on_kill")


#: Whether Airflow's metrics have been used once in this process.
_metrics_opened = False


def _open_metrics() -> None:
    global _metrics_opened
    with suppress(Exception):
        Stats.incr("airbyte_deferrable.sweeps", 0)
    _metrics_opened = True


_open_metrics_once = Shared(lambda: in_thread(_open_metrics))


async def _watcher(settings: Settings) -> JobWatcher:
    """Return the watcher of this Airbyte, which counts in Airflow's metrics.

    The first metric of a process reads a file and looks its server up (60 ms were measured): not in the event loop.
    """
    if not _metrics_opened:
        await _open_metrics_once()
    return watcher_for(settings, metrics=Stats)


def _task_log(trigger: BaseTrigger) -> TaskLog:
    # One logger for all triggers of a class, since Airflow finds the task of a line by other means. One each is six
    # objects for each of the thousands that wait, which the garbage collector goes through.
    trigger.logger()
    return TaskLog(trigger.log)


async def _hold_event(not_before: float) -> None:
    """Hold an event back, but not for longer than is of use: a worker's clock may be ahead."""
    await asyncio.sleep(min(not_before - time.time(), HOLD_EVENTS))


def execution_deadline(now: float, life: timedelta | None) -> float | None:
    """Return when the trigger is to say that a task's ``execution_timeout`` is over, seconds since the epoch.

    Airflow 3 does not apply it to a deferred task. Airflow 2 does, so the trigger is to tell before that.

    :param now: When the task began.
    :param life: Its ``execution_timeout``; to Airflow, one of no length is none.
    """
    if not life:
        return None
    seconds = life.total_seconds()
    return now + seconds - (0.0 if AIRFLOW_3 else min(RESUMES_WITHIN, seconds / 10))


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


class AirbyteSyncTrigger(BaseTrigger):
    """Waits for an Airbyte job in the triggerer's event loop, together with all others that wait there.

    The arguments are stored in Airflow's database and may be read by a later version of this package: they are
    plain JSON, hold no secret, and those after the official provider's have defaults.

    :param job_id: The job.
    :param conn_id: The Airflow connection to Airbyte.
    :param end_time: When the task's ``timeout`` runs out, seconds since the epoch; None for never.
    :param poll_interval: Seconds between two looks.
    :param execution_deadline: When its ``execution_timeout`` runs out, seconds since the epoch. Default: never.
        Kept by the trigger: Airflow 3 does not apply ``execution_timeout`` to a deferred task.
    :param api_version: The version in the API's path, where the connection's host names no path. Default: ``v1``.
    :param cancel_on_kill: Cancel the job when a person kills the task. Only for a job that the task started.
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

    #: How many of this process are writing their job's XComs.
    _writers: ClassVar[int] = 0

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
        super().__init__()  # type: ignore[no-untyped-call]
        self.job_id = int(job_id)
        self.conn_id = conn_id
        self.end_time = end_time
        self.poll_interval = poll_interval
        self.execution_deadline = execution_deadline
        self.api_version = api_version
        self.cancel_on_kill = cancel_on_kill
        self.try_number = try_number
        self.progress_interval = progress_interval
        self.not_before = not_before
        self.connection_id = connection_id
        self.started_here = started_here
        self.write_xcoms = write_xcoms
        #: Where the job's page is, until Airflow has it.
        self._job_url = ""
        self._fired = False

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

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield one event: see :class:`Event`."""
        if self.task_instance is not None:
            freeze_what_is_loaded()
        introduction: asyncio.Task[None] | None = None
        try:
            deadlines, log = Deadlines(self.end_time, self.execution_deadline), _task_log(self)
            settings = await self._find_settings(deadlines, log)
            if settings is None:
                event = ran_out(deadlines.nearest, self.job_id, None, self.try_number)
            else:
                introduction = self._introduce_soon(settings, log)
                course, renewal = Course(), Renewal(self.conn_id, self.api_version, settings)
                while True:
                    try:
                        event = await wait_for_end(
                            await _watcher(renewal.settings),
                            self.job_id,
                            deadlines,
                            poll_interval=self.poll_interval,
                            progress_interval=self.progress_interval,
                            log=log,
                            try_number=self.try_number,
                            course=course,
                            renewal=renewal,
                        )
                        break
                    except CredentialsChanged:
                        continue
            if introduction is not None:
                # Most are done long ago.
                await asyncio.wait({introduction}, timeout=INTRODUCED_WITHIN)
            written = await self._write_results(event.job)
            await all_written()
            if self.task_instance is not None:
                await _hold_event(self.not_before)
        except asyncio.CancelledError:
            if not AIRFLOW_TELLS_OF_KILLS:
                await self._finish(self._clean_up_after_kill())
            raise
        finally:
            if introduction is not None:
                introduction.cancel()
        # From here on the task has its answer. A trigger that lingers after its event is cancelled like one whose
        # task was killed.
        self._fired = True
        known = {
            "connection_id": self.connection_id,
            "started_here": self.started_here,
            "job_url": self._job_url,
            "xcoms_written": written,
        }
        yield TriggerEvent(event.model_copy(update=known).payload())

    async def is_still_running(self, hook: AirbyteHook) -> bool:
        """Ask once whether the job is live, for subclasses of the official provider's trigger.

        :param hook: Asked beside the event loop.
        """
        return await in_thread(hook.get_job_status, self.job_id) not in TERMINAL

    async def on_kill(self) -> None:
        """Cancel the job after a person killed the task. Called by Airflow 3.3 and later.

        Contrary to Airflow's documentation it is also called when a triggerer that paused for long comes back and
        finds that another has taken its triggers over (apache/airflow#73454).
        """
        await self._finish(self._clean_up_after_kill())

    async def _find_settings(self, deadlines: Deadlines, log: Log) -> Settings | None:
        """Return what the connection holds; None if time is up before it can be read."""
        settings = known_settings(self.conn_id, self.api_version)
        if settings is None:
            left = deadlines.left()
            look_up = settings_for_trigger(self.conn_id, self.api_version, log)
            try:
                # A trigger that comes back after its deadline still has a last look at the job to take.
                settings = await asyncio.wait_for(look_up, None if left is None else max(left, FINAL_CHECK_WITHIN))
            except asyncio.TimeoutError:
                return None
        if self.cancel_on_kill and self.task_instance is not None:
            warm_up(self.task_instance)
        return settings

    def _introduce_soon(self, settings: Settings, log: Log) -> asyncio.Task[None] | None:
        """Begin to tell the task what its connection is called, if it has left its worker only now."""
        if not self.connection_id or time.time() > self.not_before + INTRODUCE_WITHIN:
            return None
        return asyncio.create_task(self._introduce(settings, log))

    async def _introduce(self, settings: Settings, log: Log) -> None:
        about = await (await _watcher(settings)).directory.describe(self.connection_id)
        url = job_url(settings.web_url, about.workspace_id, self.connection_id, self.job_id)
        await among_few()
        if about.name:
            log.info("Airbyte job %s is one of connection %s", self.job_id, about)
        if url:
            log.info("See it in Airbyte: %s", url)
            if not self.write_xcoms:
                return
            self._job_url = url
            if self.task_instance is not None:
                # What fails here the task does when it is resumed.
                with suppress(Exception):
                    await in_thread(write_xcoms, self.task_instance, {JOB_URL: url})
                    self._job_url = ""

    async def _write_results(self, job: Job | None) -> bool:
        """Write how the job ended into the task's XComs, which spares its last leg three calls to Airflow.

        :return: Whether that was done. What was not, the task does.
        """
        # Who defers to this trigger by code of its own pushes what it likes.
        ours = self.try_number is not None and self.started_here is not None
        if not (ours and self.write_xcoms and self.task_instance) or AirbyteSyncTrigger._writers >= WRITERS_AT_ONCE:
            return False
        if job is None or not job.terminal or job.rows_synced is None:
            # The task asks for the rest.
            return False
        AirbyteSyncTrigger._writers += 1
        try:
            await in_thread(write_xcoms, self.task_instance, xcoms(job))
        except Exception:
            return False
        finally:
            AirbyteSyncTrigger._writers -= 1
        return True

    async def _clean_up_after_kill(self) -> None:
        log = _task_log(self)
        try:
            if await self._job_is_to_go(log):
                log.info("The task was killed by a user action")
                await self._cancel_job(log)
        finally:
            # Those of the wait, too, which was stopped.
            await all_written()

    async def _job_is_to_go(self, log: Log) -> bool:
        if self._fired or not self.cancel_on_kill or self.try_number is None:
            return False
        if self.end_time is not None and time.time() >= self.end_time:
            # Another triggerer may have said so already, and the job is to go on then.
            return False
        return await killed_by_user(self.task_instance, self.job_id, self.try_number, log)

    async def _cancel_job(self, log: Log) -> None:
        try:
            look_up = settings_for_trigger(self.conn_id, self.api_version, log)
            renewal = Renewal(self.conn_id, self.api_version, await asyncio.wait_for(look_up, CANCEL_KILLED_WITHIN))
            await _watcher(renewal.settings)

            def borrow() -> AirbyteClient:
                with suppress(CredentialsChanged):
                    renewal.check(log)
                return watcher_for(renewal.settings, metrics=Stats).borrow_client()

            renewal.seek()
            try:
                await cancel_job(
                    borrow, self.job_id, within=CANCEL_KILLED_WITHIN, log=log, connection_id=self.connection_id
                )
            finally:
                renewal.stop()
        except (ApiError, asyncio.TimeoutError) as error:
            why = str(error) or "the connection cannot be read"
            log.error("Airbyte job %s could not be cancelled: %s", self.job_id, why)

    async def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Run to the end: Airflow cancels a trigger again each second until it has ended."""
        task = asyncio.ensure_future(work)
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                continue
            except Exception:
                self.log.exception("Cleaning up after a kill failed")


class AirbyteQueueTrigger(BaseTrigger):
    """Waits until a busy connection may run the task's job.

    :param connection_id: The Airbyte connection.
    :param conn_id: The Airflow connection to Airbyte.
    :param queued_at: When the task began to wait, seconds since the epoch: its place in the line.
    :param poll_interval: Seconds between two looks.
    :param end_time: When the task's ``timeout`` runs out, seconds since the epoch. Default: never.
    :param execution_deadline: When its ``execution_timeout`` runs out, likewise. Default: never.
    :param api_version: The version in the API's path, where the connection's host names no path. Default: ``v1``.
    :param try_number: The try that waits. Default: not known.
    :param not_before: An earlier event is held back until then, seconds since the epoch. Default: 0.
    """

    def __init__(
        self,
        connection_id: str,
        conn_id: str,
        queued_at: float,
        poll_interval: float,
        end_time: float | None = None,
        execution_deadline: float | None = None,
        api_version: str = "v1",
        try_number: int | None = None,
        not_before: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.connection_id = connection_id
        self.conn_id = conn_id
        self.queued_at = queued_at
        self.poll_interval = poll_interval
        self.end_time = end_time
        self.execution_deadline = execution_deadline
        self.api_version = api_version
        self.try_number = try_number
        self.not_before = not_before
        self._admission: Admission | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments, for Airflow's database."""
        return (
            "airbyte_deferrable.triggers.AirbyteQueueTrigger",
            {
                "connection_id": self.connection_id,
                "conn_id": self.conn_id,
                "queued_at": self.queued_at,
                "poll_interval": self.poll_interval,
                "end_time": self.end_time,
                "execution_deadline": self.execution_deadline,
                "api_version": self.api_version,
                "try_number": self.try_number,
                "not_before": self.not_before,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield one event: ``status`` is ``free``, or ``timeout`` with the clock as ``reason``.

        It also brings what the task is to go on with: its clocks and its place in the line.
        """
        if self.task_instance is not None:
            freeze_what_is_loaded()
        deadlines = Deadlines(self.end_time, self.execution_deadline)
        event = {
            "status": "free",
            "try_number": self.try_number,
            "queued_at": self.queued_at,
            "end_time": self.end_time,
            "execution_deadline": self.execution_deadline,
        }
        try:
            try:
                await asyncio.wait_for(self._wait(), deadlines.left())
            except asyncio.TimeoutError:
                event.update(status="timeout", reason=deadlines.nearest)
            finally:
                # Not within the time that is limited: the lines of a wait that ran out of it are to be written, too.
                await all_written()
            if self.task_instance is not None:
                await _hold_event(self.not_before)
        except asyncio.CancelledError:
            # The task was killed, or goes on to wait in another triggerer: it never hears of its turn.
            if self._admission is not None:
                self._admission.release()
            raise
        yield TriggerEvent(event)

    async def _wait(self) -> None:
        log = _task_log(self)
        settings = await settings_for_trigger(self.conn_id, self.api_version, log)
        renewal = Renewal(self.conn_id, self.api_version, settings)
        # Kept here, not returned: before Python 3.12 what a wait_for that is cancelled waits for may end all the same.
        while self._admission is None:
            with suppress(CredentialsChanged):
                self._admission = await wait_in_queue(
                    await _watcher(renewal.settings),
                    self.connection_id,
                    self.queued_at,
                    poll_interval=self.poll_interval,
                    log=log,
                    renewal=renewal,
                )
