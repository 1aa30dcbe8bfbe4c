"""The sensor that waits for a job which was started elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NoReturn

from airbyte_deferrable._airflow import validation
from airbyte_deferrable._airflow.base_trigger import HOLD_EVENTS
from airbyte_deferrable._airflow.execution_timeout import execution_deadline
from airbyte_deferrable._airflow.results import fail, finish, is_of_another_try, push, read_event
from airbyte_deferrable._airflow.task_instance import first_rescheduled, task_instance, try_of
from airbyte_deferrable._compat import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    conf,
)
from airbyte_deferrable._job.connections import describe
from airbyte_deferrable._job.events import Deadline, Event, not_visible, ran_out
from airbyte_deferrable._job.retrying import WAITS_ON, Outage
from airbyte_deferrable._job.wait import FINAL_CHECK_WITHIN, Course
from airbyte_deferrable.exceptions import (
    AirbyteConflictError,
    AirbyteCredentialsError,
    AirbyteException,
    AirbyteInputError,
    AirbyteJobCancelled,
    AirbyteJobFailed,
    AirbyteNotVisibleError,
    AirbyteRequestError,
    AirbyteSensorTimeout,
    AirbyteTimeout,
    AirbyteUnreachableError,
)
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.links import AirbyteJobLink, leave_link_to_task, link_to_job, link_when_described, write_link
from airbyte_deferrable.triggers import AirbyteSyncTrigger

if TYPE_CHECKING:
    from airbyte_deferrable._compat import Context
    from airbyte_deferrable.api.models import Job

DEFERRED_POKE_INTERVAL = 5.0
#: What ``soft_fail`` is about: not what a user has to mend first.
SOFT = (AirbyteJobFailed, AirbyteJobCancelled, AirbyteTimeout, AirbyteNotVisibleError)
#: Seconds after which Airbyte is asked again whether there really is no such job.
CONFIRM_NOT_FOUND_AFTER = 1.0


class _OutOfTime(BaseException):
    """``execution_timeout`` is over, in words that Airflow does not know.

    Of its own ``AirflowTaskTimeout`` in a check it makes a skip where ``soft_fail`` is set, before the final check.
    """


class AirbyteJobSensor(BaseSensorOperator):
    """Wait for an Airbyte job that was started elsewhere. It never cancels the job.

    On a worker (``mode="poke"``), on one anew for each check (``mode="reschedule"``), or in the triggerer
    (``deferrable=True``). Result, XComs, exceptions and the meaning of ``soft_fail`` are the same: with it the task
    is skipped when the job fails, is cancelled, or does not end in time. With ``never_fail`` it is for whatever else
    would fail it, too.

    The return value is the job's id. XComs: as of
    :class:`~airbyte_deferrable.operators.AirbyteTriggerSyncOperator`.

    :param airbyte_job_id: The job: a number, its text, or another task's output. Templated.
    :param airbyte_conn_id: The Airflow connection to Airbyte. Templated. Default: ``airbyte_default``.
    :param deferrable: Wait in the triggerer. Default: ``[operators] default_deferrable``.
    :param api_version: The version in the API's path, where the connection's host names no path. Default: ``v1``.
    :param progress_seconds: Seconds between two log lines on rows and bytes while deferred; 0 for none.
        Default: 60.
    :param poke_interval: Airflow's own: seconds between two checks, or a ``timedelta``. Default: 60, deferred 5.
    :param kwargs: Airflow's own. ``timeout``: seconds to wait, or a ``timedelta``, default
        ``[sensors] default_timeout``, which is 7 days. ``execution_timeout``: likewise, but of the whole task; the job
        goes on. ``do_xcom_push=False``: no XCom at all.
    """

    template_fields: Sequence[str] = ("airbyte_job_id", "airbyte_conn_id")
    ui_color = "#6C51FD"
    operator_extra_links = (AirbyteJobLink(),)

    def __init__(
        self,
        *,
        airbyte_job_id: int | str,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        airbyte_conn_id: str = "airbyte_default",
        api_version: str = "v1",
        progress_seconds: float = 60.0,
        # Named, so that Airflow has looked through all default_args before it is told that nobody has set it.
        poke_interval: timedelta | float | None = None,
        **kwargs: Any,
    ) -> None:
        if poke_interval is None and deferrable:
            poke_interval = DEFERRED_POKE_INTERVAL
        if poke_interval is not None:
            kwargs["poke_interval"] = poke_interval
        super().__init__(**kwargs)
        self.airbyte_job_id = airbyte_job_id
        self.airbyte_conn_id = airbyte_conn_id
        self.deferrable = deferrable
        self.api_version = api_version
        self.progress_seconds = progress_seconds
        # Under a mangled name, as all that is not a parameter: subclasses of the official sensor name their own methods
        # and attributes as they like.
        self.__wait: _SensorWait | None = None

    def execute(self, context: Context) -> Any:
        """Wait in the way that was chosen.

        :return: The job's id.
        """
        began = time.time()
        leave_link_to_task(self)
        wait = self.__this_wait()
        # One session and one token for all the checks of this leg.
        with _skipping(self), wait.hook:
            wait.hook.warm_up()
            job_id = wait.job_id
            validation.seconds("progress_seconds", self.progress_seconds, self.airbyte_conn_id)
            try:
                if self.deferrable:
                    return wait.finish_or_defer(context, began)
                # What a subclass's poke has brought, else the job.
                brought = super().execute(context)
                return job_id if brought is None else brought
            except (AirflowTaskTimeout, _OutOfTime):
                return wait.end_late(context, "execution_timeout", job_id, wait.last_seen)
            except AirflowSensorTimeout:
                raise wait.without_end(ran_out("timeout", job_id, wait.last_seen)) from None

    def poke(self, context: Context) -> bool:
        """Check once.

        :return: Whether the job has succeeded.
        """
        wait = self.__this_wait()
        try:
            with wait.hook:
                job = wait.check(context)
            if job is not None and job.terminal:
                wait.finish(context, job)
                return True
            if wait.outlived(context):
                raise AirflowTaskTimeout
        except AirflowTaskTimeout:
            raise _OutOfTime from None
        return False

    def execute_complete(self, context: Context, event: Any = None) -> int:
        """Resume with what the trigger tells.

        :param event: See :class:`~airbyte_deferrable.triggers.Event`.
        :return: The job's id.
        """
        leave_link_to_task(self)
        wait = self.__this_wait()
        with _skipping(self), wait.hook:
            told = read_event(event)
            write_link(wait.for_xcoms(context), told.job_url)
            try:
                match "unknown" if is_of_another_try(event, context, self.log) else told.kind:
                    case "unknown":
                        # A trigger of the official provider tells no more than the status: a check tells the rest.
                        job_id: int = self.execute(context)
                        return job_id
                    case "ended" if told.job is not None:
                        return wait.finish(context, told.job, xcoms_written=told.xcoms_written)
                    case "timeout" | "execution_timeout" as deadline if told.job is None:
                        # The trigger's final check got no answer.
                        return wait.end_late(context, deadline, told.job_id, None)
                    case _:
                        raise wait.without_end(told)
            except AirflowTaskTimeout:
                return wait.end_late(context, "execution_timeout", told.job_id, told.job)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume. Where the trigger broke, Airflow applies ``never_fail`` only from 3.1 on."""
        with _skipping(self):
            return super().resume_execution(next_method, next_kwargs, context)

    def __this_wait(self) -> _SensorWait:
        # Airflow 2 runs copies of a task, each of which is to wait by itself.
        if self.__wait is None or self.__wait.sensor is not self:
            self.__wait = _SensorWait(self)
        return self.__wait


class _SensorWait:
    """A sensor's wait for its job: what is known from one check to the next, and what comes of a check.

    :param sensor: The sensor, of which this uses its parameters and what Airflow has given it.
    """

    def __init__(self, sensor: AirbyteJobSensor) -> None:
        self.sensor = sensor
        self.hook = AirbyteHook(sensor.airbyte_conn_id, sensor.api_version)
        #: The job as it was when Airbyte answered last; None before.
        self.last_seen: Job | None = None
        self._log = sensor.log
        self._outage = Outage(sensor.log, WAITS_ON)
        self._course = Course()
        self._first_check: datetime | None = None
        self._linked = False

    @property
    def job_id(self) -> int:
        """The job's id as a number.

        :raises AirbyteInputError: If it is none.
        """
        given = self.sensor.airbyte_job_id
        job_id = str(given).strip()
        # Not all that int() takes: 1_0, -7, digits of other scripts.
        if not (job_id.isascii() and job_id.isdecimal()):
            raise AirbyteInputError(
                f"airbyte_job_id must be the number of an Airbyte job, not {given!r}.",
                conn_id=self.sensor.airbyte_conn_id,
            )
        return int(job_id)

    def check(self, context: Context) -> Job | None:
        """Return the job; None if Airbyte cannot tell now, which is no reason to give up."""
        try:
            job = self._ask(self.job_id)
        except (AirbyteUnreachableError, AirbyteCredentialsError, AirbyteRequestError) as error:
            if not isinstance(error, AirbyteUnreachableError) and self._began(context) is None:
                # Wrong from the start; later, that is what an Airbyte says, or a gateway before it, that restarts.
                raise
            self._outage.failed(error)
            return None
        self._outage.recovered()
        self._link(context, job)
        self.last_seen = job
        if not job.terminal and (change := self._course.change(job)) is not None:
            self._log.info(change)
        self._first_check = self._first_check or datetime.now(timezone.utc)
        return job

    def finish_or_defer(self, context: Context, began: float) -> int:
        """Check once, and defer if the job has not ended.

        :param began: When the wait began, seconds since the epoch.
        """
        job = self.check(context)
        if job is None or not job.terminal:
            self._defer(context, job.connection_id if job else "", began)
        return self.finish(context, job)

    def finish(self, context: Context, job: Job, *, xcoms_written: bool = False) -> int:
        """Turn the job's end into the task's end."""
        with self.hook as hook:
            if not xcoms_written:
                job = hook.with_figures(job)
                push(job, self.for_xcoms(context))
            return finish(job, self._log, self.sensor.airbyte_conn_id, hook.explain(job))

    def end_late(self, context: Context, deadline: Deadline, job_id: int, last_seen: Job | None) -> int:
        """End because a deadline has passed; if the job has ended since it was seen last, with that."""
        job = None
        with suppress(AirbyteException, asyncio.TimeoutError):
            job = self.hook.call(
                lambda client: asyncio.wait_for(client.get_job(job_id), FINAL_CHECK_WITHIN),
                f"looking up job {job_id}",
            )
        if job is not None and job.terminal:
            return self.finish(context, job)
        raise self.without_end(ran_out(deadline, job_id, job or last_seen))

    def without_end(self, event: Event) -> AirbyteException:
        """Return the exception for a wait that is over without the job's end."""
        conn_id, limit = self.sensor.airbyte_conn_id, self.sensor.execution_timeout
        if event.kind != "timeout":
            return fail(event, conn_id, None, limit.total_seconds() if limit else None)
        error = fail(event, conn_id, None, self.sensor.timeout)
        return AirbyteSensorTimeout(
            str(error), conn_id=error.conn_id, connection_id=error.connection_id, job_id=error.job_id
        )

    def outlived(self, context: Context) -> bool:
        """Whether ``execution_timeout`` is over, which Airflow measures anew for each leg of a rescheduled task."""
        if not self.sensor.execution_timeout or not self.sensor.reschedule:
            return False
        began = self._began(context)
        return began is not None and datetime.now(timezone.utc) >= began + self.sensor.execution_timeout

    def for_xcoms(self, context: Context) -> Context:
        """Return the context for those who leave XComs; an empty one if there are to be none."""
        return context if context and self.sensor.do_xcom_push else {}

    def _ask(self, job_id: int) -> Job:
        """Ask for the job; Airbyte's word that there is none is believed when it comes twice."""
        try:
            return self.hook.get_job_details(job_id)
        except (AirbyteNotVisibleError, AirbyteConflictError):
            time.sleep(CONFIRM_NOT_FOUND_AFTER)
        try:
            return self.hook.get_job_details(job_id)
        except (AirbyteNotVisibleError, AirbyteConflictError) as error:
            raise fail(not_visible(job_id, str(error)), self.sensor.airbyte_conn_id, None, None) from None

    def _link(self, context: Context, job: Job) -> None:
        """Link the button to the job, once. The trigger of a deferred task does it, too."""
        # Airflow clears XComs before each leg of a rescheduled task: one link, at its end, is enough there.
        waits_elsewhere = not job.terminal and (self.sensor.reschedule or self.sensor.deferrable)
        if self._linked or waits_elsewhere:
            return
        self._linked = True
        context = self.for_xcoms(context)
        description = self.hook.start(lambda client: describe(client, job.connection_id, ends=not job.terminal))
        if job.terminal:
            link_to_job(self.hook, context, job, description.result().workspace_id, self._log)
        else:
            self.hook.start(lambda _: link_when_described(self.hook, context, job, description, self._log))

    def _began(self, context: Context) -> datetime | None:
        """When the first check was, if that was before this one."""
        by_airflow = self.sensor.reschedule and task_instance(context) is not None
        return first_rescheduled(context) if by_airflow else self._first_check

    def _defer(self, context: Context, connection_id: str, began: float) -> NoReturn:
        """Hand the job over to the triggerer."""
        sensor, job_id = self.sensor, self.job_id
        self._log.info("Leaving the worker; the triggerer waits for job %s", job_id)
        sensor.defer(
            trigger=AirbyteSyncTrigger(
                job_id=job_id,
                conn_id=sensor.airbyte_conn_id,
                end_time=began + sensor.timeout,
                poll_interval=sensor.poke_interval,
                execution_deadline=execution_deadline(began, sensor.execution_timeout),
                api_version=sensor.api_version,
                try_number=try_of(context),
                progress_interval=sensor.progress_seconds,
                not_before=time.time() + HOLD_EVENTS,
                connection_id=connection_id,
                started_here=False,
                write_xcoms=bool(sensor.do_xcom_push),
            ),
            method_name=sensor.execute_complete.__name__,
        )


@contextmanager
def _skipping(sensor: AirbyteJobSensor) -> Iterator[None]:
    """Skip the task instead of failing it, if that was asked for."""
    try:
        yield
    except AirflowSkipException:
        raise
    except Exception as error:
        # On a worker, Airflow itself skips for all that a check raises, and what comes from it may be no failure: a
        # task that is rescheduled leaves with an exception.
        never = sensor.never_fail and (sensor.deferrable or isinstance(error, AirbyteException))
        if never or (sensor.soft_fail and isinstance(error, SOFT)):
            raise AirflowSkipException(f"Skipped instead of failed: {error}") from error
        raise
