"""The sensor that waits for a job which somebody else started."""

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
from airbyte_deferrable._job.events import Event, not_visible, ran_out
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
from airbyte_deferrable.hooks import AirbyteHook, with_figures
from airbyte_deferrable.links import AirbyteJobLink, lead_to_job, lead_when_described, leave_link_to_task, write_link
from airbyte_deferrable.triggers import AirbyteSyncTrigger

if TYPE_CHECKING:
    from airbyte_deferrable._compat import Context
    from airbyte_deferrable.api.models import Job

DEFERRED_POKE_INTERVAL = 5.0
#: What ``soft_fail`` is about: not what somebody has to mend first.
SOFT = (AirbyteJobFailed, AirbyteJobCancelled, AirbyteTimeout, AirbyteNotVisibleError)
#: Seconds after which Airbyte is asked again whether there really is no such job.
ASK_AGAIN = 1.0


class _OutOfTime(BaseException):
    """``execution_timeout`` is over, in words that Airflow does not know.

    Of its own ``AirflowTaskTimeout`` in a look it makes a skip where ``soft_fail`` is set, before the last look.
    """


class AirbyteJobSensor(BaseSensorOperator):
    """Wait for an Airbyte job that was started elsewhere. It never cancels the job.

    On a worker (``mode="poke"``), coming back to one for each look (``mode="reschedule"``), or in the triggerer
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
    :param poke_interval: Airflow's own: seconds between two looks, or a ``timedelta``. Default: 60, deferred 5.
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
        self._hook: AirbyteHook | None = None
        self._seen: Job | None = None
        self._course = Course()
        self._outage: Outage | None = None
        self._led = False
        self._first_look: datetime | None = None

    def execute(self, context: Context) -> Any:
        """Wait in the way that was chosen.

        :param context: The task's context.
        :return: The job's id.
        """
        began = time.time()
        leave_link_to_task(self)
        # One session and one token for all the looks of this leg.
        with self._skipping(), self._connect() as hook:
            hook.warm_up()
            job_id = self._job_id()
            validation.seconds("progress_seconds", self.progress_seconds, self.airbyte_conn_id)
            try:
                if not self.deferrable:
                    # What a subclass's look has brought, else the job.
                    brought = super().execute(context)
                    return job_id if brought is None else brought
                job = self._look(hook, context, job_id)
                if job is None or not job.terminal:
                    self._leave(context, job_id, job.connection_id if job else "", began)
                return self._finish(context, job)
            except (AirflowTaskTimeout, _OutOfTime):
                return self._end_late(hook, context, ran_out("execution_timeout", job_id, self._seen))
            except AirflowSensorTimeout:
                raise self._no_end(ran_out("timeout", job_id, self._seen)) from None

    def poke(self, context: Context) -> bool:
        """Look once.

        :param context: The task's context.
        :return: Whether the job has succeeded.
        """
        try:
            with self._connect() as hook:
                job = self._look(hook, context, self._job_id())
            if job is not None and job.terminal:
                self._finish(context, job)
                return True
            if self._outlived(context):
                raise AirflowTaskTimeout
        except AirflowTaskTimeout:
            raise _OutOfTime from None
        return False

    def execute_complete(self, context: Context, event: Any = None) -> int:
        """Resume with what the trigger tells.

        :param context: The task's context.
        :param event: See :class:`~airbyte_deferrable.triggers.Event`.
        :return: The job's id.
        """
        leave_link_to_task(self)
        with self._skipping(), self._connect() as hook:
            told = read_event(event)
            write_link(self._for_xcoms(context), told.job_url)
            try:
                # A trigger of the official provider tells no more than the status: a look tells the rest.
                if is_of_another_try(event, context, self.log) or told.kind == "unknown":
                    job_id: int = self.execute(context)
                    return job_id
                if told.kind == "ended" and told.job is not None:
                    return self._finish(context, told.job, xcoms_written=told.xcoms_written)
                if told.kind != "not_visible" and told.job is None:
                    # Its last look got no answer.
                    return self._end_late(hook, context, told)
                raise self._no_end(told)
            except AirflowTaskTimeout:
                return self._end_late(hook, context, ran_out("execution_timeout", told.job_id, told.job))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume. Where the trigger broke, Airflow heeds ``never_fail`` only from 3.1 on.

        :param next_method: The method to go on with.
        :param next_kwargs: Its arguments.
        :param context: The task's context.
        """
        with self._skipping():
            return super().resume_execution(next_method, next_kwargs, context)

    def _end_late(self, hook: AirbyteHook, context: Context, event: Event) -> int:
        """End because time is up; if the job has ended since it was seen last, with that."""
        job = None
        with suppress(AirbyteException, asyncio.TimeoutError):
            job = hook.call(
                lambda client: asyncio.wait_for(client.get_job(event.job_id), FINAL_CHECK_WITHIN),
                f"looking up job {event.job_id}",
            )
        if job is not None and job.terminal:
            return self._finish(context, job)
        raise self._no_end(event.model_copy(update={"job": job or event.job}))

    def _leave(self, context: Context, job_id: int, connection_id: str, began: float) -> NoReturn:
        """Hand the job over to the triggerer."""
        self.log.info("Leaving the worker; the triggerer waits for job %s", job_id)
        self.defer(
            trigger=AirbyteSyncTrigger(
                job_id=job_id,
                conn_id=self.airbyte_conn_id,
                end_time=began + self.timeout,
                poll_interval=self.poke_interval,
                execution_deadline=execution_deadline(began, self.execution_timeout),
                api_version=self.api_version,
                try_number=try_of(context),
                progress_interval=self.progress_seconds,
                not_before=time.time() + HOLD_EVENTS,
                connection_id=connection_id,
                started_here=False,
                write_xcoms=bool(self.do_xcom_push),
            ),
            method_name=self.execute_complete.__name__,
        )

    def _look(self, hook: AirbyteHook, context: Context, job_id: int) -> Job | None:
        """Return the job; None if Airbyte cannot tell now, which is no reason to give up."""
        try:
            job = self._see(hook, job_id)
        except (AirbyteUnreachableError, AirbyteCredentialsError, AirbyteRequestError) as error:
            if not isinstance(error, AirbyteUnreachableError) and self._began(context) is None:
                # Wrong from the start; later, that is what an Airbyte says, or a gateway before it, that restarts.
                raise
            self._outage = self._outage or Outage(self.log, WAITS_ON)
            self._outage.failed(error)
            return None
        if self._outage is not None:
            self._outage.recovered()
        self._lead(hook, context, job)
        self._seen = job
        if not job.terminal and (change := self._course.change(job)) is not None:
            self.log.info(change)
        self._first_look = self._first_look or datetime.now(timezone.utc)
        return job

    def _lead(self, hook: AirbyteHook, context: Context, job: Job) -> None:
        """Let the button lead to the job, once. The trigger of a deferred task does it, too."""
        # Airflow clears XComs before each leg of a rescheduled task: one link, at its end, is enough there.
        waits_elsewhere = not job.terminal and (self.reschedule or self.deferrable)
        if self._led or waits_elsewhere:
            return
        self._led = True
        context = self._for_xcoms(context)
        description = hook.start(lambda client: describe(client, job.connection_id, ends=not job.terminal))
        if job.terminal:
            lead_to_job(hook, context, job, description.result().workspace_id, self.log)
        else:
            hook.start(lambda _: lead_when_described(hook, context, job, description, self.log))

    def _see(self, hook: AirbyteHook, job_id: int) -> Job:
        """Ask for the job; Airbyte's word that there is none is believed when it comes twice."""
        try:
            return hook.get_job_details(job_id)
        except (AirbyteNotVisibleError, AirbyteConflictError):
            time.sleep(ASK_AGAIN)
        try:
            return hook.get_job_details(job_id)
        except (AirbyteNotVisibleError, AirbyteConflictError) as error:
            raise fail(not_visible(job_id, str(error)), self.airbyte_conn_id, None, None) from None

    def _began(self, context: Context) -> datetime | None:
        """When the first look was, if that was before this one."""
        by_airflow = self.reschedule and task_instance(context) is not None
        return first_rescheduled(context) if by_airflow else self._first_look

    def _outlived(self, context: Context) -> bool:
        """Whether ``execution_timeout`` is over, which Airflow measures anew for each leg of a rescheduled task."""
        if not self.execution_timeout or not self.reschedule:
            return False
        began = self._began(context)
        return began is not None and datetime.now(timezone.utc) >= began + self.execution_timeout

    def _finish(self, context: Context, job: Job, *, xcoms_written: bool = False) -> int:
        """Turn the job's end into the task's end."""
        with self._connect() as hook:
            if not xcoms_written:
                job = with_figures(hook, job)
                push(job, self._for_xcoms(context))
            return finish(job, self.log, self.airbyte_conn_id, hook.explain(job))

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        """Skip the task instead of failing it, if that was asked for."""
        try:
            yield
        except AirflowSkipException:
            raise
        except Exception as error:
            # On a worker, Airflow itself skips for all that a look raises, and what comes from it may be no failure: a
            # task that is rescheduled leaves with an exception.
            never = self.never_fail and (self.deferrable or isinstance(error, AirbyteException))
            if never or (self.soft_fail and isinstance(error, SOFT)):
                raise AirflowSkipException(f"Skipped instead of failed: {error}") from error
            raise

    def _for_xcoms(self, context: Context) -> Context:
        """Return the context for those who leave XComs; an empty one if there are to be none."""
        return context if context and self.do_xcom_push else {}

    def _no_end(self, event: Event) -> AirbyteException:
        life = self.execution_timeout.total_seconds() if self.execution_timeout else None
        if event.kind == "timeout":
            error = fail(event, self.airbyte_conn_id, None, self.timeout)
            return AirbyteSensorTimeout(
                str(error), conn_id=error.conn_id, connection_id=error.connection_id, job_id=error.job_id
            )
        return fail(event, self.airbyte_conn_id, None, life)

    def _job_id(self) -> int:
        """Return the job's id as a number."""
        job_id = str(self.airbyte_job_id).strip()
        # Not all that int() takes: 1_0, -7, digits of other scripts.
        if not (job_id.isascii() and job_id.isdecimal()):
            raise AirbyteInputError(
                f"airbyte_job_id must be the number of an Airbyte job, not {self.airbyte_job_id!r}.",
                conn_id=self.airbyte_conn_id,
            )
        return int(job_id)

    def _connect(self) -> AirbyteHook:
        if self._hook is None:
            self._hook = AirbyteHook(self.airbyte_conn_id, self.api_version)
        return self._hook
