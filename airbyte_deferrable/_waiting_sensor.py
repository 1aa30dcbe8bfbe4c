"""What the sensors have in common: the three ways to wait, from the first check to the task's end.

They differ in what a check asks for: that is a :class:`SensorWait`, an object of its own, so that nothing in it has the
name of something in a user's subclass of a sensor.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeVar

from airbyte_deferrable._airflow.failure_note import noting_failures
from airbyte_deferrable._airflow.results import finish, is_of_another_try, push, read_event
from airbyte_deferrable._airflow.task_instance import first_rescheduled, task_instance
from airbyte_deferrable._compat import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
)
from airbyte_deferrable._job import retrying
from airbyte_deferrable._job.connections import describe
from airbyte_deferrable._job.events import Deadline, Event, not_visible, ran_out
from airbyte_deferrable._job.retrying import WAITS_ON, Outage
from airbyte_deferrable.exceptions import (
    AirbyteConflictError,
    AirbyteCredentialsError,
    AirbyteException,
    AirbyteJobCancelled,
    AirbyteJobFailed,
    AirbyteNotVisibleError,
    AirbyteRequestError,
    AirbyteSensorTimeout,
    AirbyteTimeout,
    AirbyteUnreachableError,
)
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.lineage.task import TaskStreams, check, in_dag, mapped
from airbyte_deferrable.links import AirbyteJobLink, leave_link_to_task, link_to_job, link_when_described, write_link

if TYPE_CHECKING:
    from airbyte_deferrable._compat import Context
    from airbyte_deferrable.api.models import Job
    from airbyte_deferrable.lineage.asset_events import Which

#: What ``soft_fail`` is about: not what a user has to mend first.
SOFT = (AirbyteJobFailed, AirbyteJobCancelled, AirbyteTimeout, AirbyteNotVisibleError)


class _OutOfTime(BaseException):
    """``execution_timeout`` is over, in words that Airflow does not know.

    Of its own ``AirflowTaskTimeout`` in a check it makes a skip where ``soft_fail`` is set, before the final check.
    """


class AirbyteDeferrableWaitingSensor(BaseSensorOperator):
    """A sensor that waits on its worker, on one anew for each check, or in the triggerer, with the same result.

    What it asks for is in a :class:`SensorWait`, which each sensor names as
    ``_AirbyteDeferrableWaitingSensor__wait_of``. That, as all that is no parameter, has a mangled name, with a class in
    it that nobody names so by chance: users' subclasses name themselves, their methods and attributes as they like.
    """

    ui_color = "#6C51FD"
    operator_extra_links = (AirbyteJobLink(),)

    airbyte_conn_id: str
    api_version: str
    deferrable: bool

    __wait_of: ClassVar[type[SensorWait[Any]]]
    __wait: SensorWait[Any] | None = None

    def __init__(
        self,
        *,
        push_streams: bool | None = None,
        stream_assets: Which | None = None,
        dataset_names: Mapping[str, str] | Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.push_streams = push_streams
        self.stream_assets = stream_assets
        self.dataset_names = dataset_names
        check(self)

    def execute(self, context: Context) -> Any:
        """Wait in the way that was chosen.

        :return: The job's id.
        """
        began = time.time()
        leave_link_to_task(self)
        wait = self.__this_wait()
        # One session and one token for all the checks of this leg.
        noting = noting_failures(context, wanted=bool(self.do_xcom_push))
        # Of one that is skipped in place of a failure, nothing is noted.
        with noting, skipping(self), wait.hook:
            wait.hook.warm_up()
            job_id = wait.begin(context)
            try:
                if self.deferrable:
                    return wait.finish_or_defer(context, began)
                # What a subclass's poke has brought, else the job.
                brought = super().execute(context)
                return wait.result if brought is None else brought
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
        with noting_failures(context, wanted=bool(self.do_xcom_push)), skipping(self), wait.hook:
            told = read_event(event)
            wait.resume(told)
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
                        # The trigger's final check got no answer, or it made none.
                        return wait.end_late(context, deadline, told.job_id, None)
                    case _:
                        raise wait.without_end(told)
            except AirflowTaskTimeout:
                return wait.end_late(context, "execution_timeout", told.job_id, told.job)

    @property
    def dag(self) -> Any:
        """The DAG that the task is in."""
        return super().dag

    @dag.setter
    def dag(self, dag: Any) -> None:
        BaseSensorOperator.dag.fset(self, dag)  # type: ignore[attr-defined]
        in_dag(self)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Begin a mapped task, as Airflow's own; with ``stream_assets`` it has their alias among its outlets.

        :param kwargs: As of Airflow's.
        """
        return mapped(super().partial(**kwargs))

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return what OpenLineage is told of the job: its tables, how much was moved, where it is in Airbyte.

        :param task_instance: The task instance.
        :return: An ``OperatorLineage``; None where no job is known.
        """
        wait, job_id = self.__this_wait(), None
        with suppress(AirbyteException):
            job_id = wait.result
        return wait.streams.lineage(task_instance, job_id)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume. Where the trigger broke, Airflow applies ``never_fail`` only from 3.1 on."""
        with skipping(self):
            return super().resume_execution(next_method, next_kwargs, context)

    def __this_wait(self) -> SensorWait[Any]:
        # Airflow 2 runs copies of a task, each of which is to wait by itself.
        if self.__wait is None or self.__wait.sensor is not self:
            self.__wait = self.__wait_of(self)
        return self.__wait


S = TypeVar("S", bound=AirbyteDeferrableWaitingSensor)
T = TypeVar("T")


class SensorWait(ABC, Generic[S]):
    """A sensor's wait: what is known from one check to the next, and what comes of a check.

    :param sensor: The sensor, of which this uses its parameters and what Airflow has given it.
    """

    #: What the log says when Airbyte cannot be asked.
    waits_on: ClassVar[str] = WAITS_ON

    def __init__(self, sensor: S) -> None:
        self.sensor = sensor
        self.hook = AirbyteHook(sensor.airbyte_conn_id, sensor.api_version)
        #: The job as it was when Airbyte answered last; None before.
        self.last_seen: Job | None = None
        #: What is told of the job's streams.
        self.streams = TaskStreams(sensor)
        self.log = sensor.log
        self._outage = Outage(sensor.log, self.waits_on)
        self._first_check: datetime | None = None
        self._linked = False

    @abstractmethod
    def begin(self, context: Context) -> int:
        """Refuse parameters that are none, before anything is asked.

        :return: The job's id; :data:`~airbyte_deferrable._job.events.NO_JOB` if it is not known yet.
        :raises AirbyteInputError: For the first that is none.
        """

    def resume(self, event: Event) -> None:
        """Take what the trigger has learned.

        :param event: What it tells.
        """

    @property
    @abstractmethod
    def result(self) -> int | None:
        """The task's result once the wait is over: the job's id."""

    @abstractmethod
    def ask(self, context: Context) -> Job | None:
        """Ask Airbyte once.

        :return: The job, ended or live; None if there is none yet.
        """

    @abstractmethod
    def final_check(self, context: Context, job_id: int) -> Job | None:
        """Ask once more when time is up, for a few seconds at most.

        :param job_id: What :meth:`begin` or the trigger's event said.
        """

    @abstractmethod
    def no_end(self, event: Event, seconds: float | None) -> AirbyteException:
        """Return the exception for a wait that is over without a job's end.

        :param seconds: The deadline that is over, if one is.
        """

    @abstractmethod
    def defer(self, context: Context, job: Job | None, began: float) -> NoReturn:
        """Hand the wait over to the triggerer.

        :param job: What the check saw.
        :param began: When the wait began, seconds since the epoch.
        """

    def said(self, job: Job) -> None:
        """Say what is new of a live job."""

    def check(self, context: Context) -> Job | None:
        """Return the job; None if Airbyte cannot tell now, which is no reason to give up."""
        try:
            job = self.ask(context)
        except (AirbyteUnreachableError, AirbyteCredentialsError, AirbyteRequestError) as error:
            if not isinstance(error, AirbyteUnreachableError) and self._began(context) is None:
                # Wrong from the start; later, that is what an Airbyte says, or a gateway before it, that restarts.
                raise
            self._outage.failed(error)
            return None
        self._outage.recovered()
        if job is not None:
            self._link(context, job)
            self.last_seen = job
            if not job.terminal:
                self.said(job)
        self._first_check = self._first_check or datetime.now(timezone.utc)
        return job

    def confirmed(self, ask: Callable[[], T], job_id: int) -> T:
        """Ask Airbyte, a second time if it says that what is asked for is not there: then it is believed.

        :param job_id: What is asked for, or :data:`~airbyte_deferrable._job.events.NO_JOB`.
        """
        try:
            return ask()
        except (AirbyteNotVisibleError, AirbyteConflictError):
            time.sleep(retrying.CONFIRM_NOT_FOUND_AFTER)
        try:
            return ask()
        except (AirbyteNotVisibleError, AirbyteConflictError) as error:
            raise self.no_end(not_visible(job_id, str(error)), None) from None

    def finish_or_defer(self, context: Context, began: float) -> int:
        """Check once, and defer if the job has not ended.

        :param began: When the wait began, seconds since the epoch.
        """
        job = self.check(context)
        if job is None or not job.terminal:
            self.defer(context, job, began)
        return self.finish(context, job)

    def finish(self, context: Context, job: Job, *, xcoms_written: bool = False) -> int:
        """Turn the job's end into the task's end."""
        with self.hook as hook:
            if not xcoms_written:
                job = hook.with_figures(job)
                push(job, self.for_xcoms(context))
            self.streams.learn(context, hook, job)
            return finish(job, self.log, self.sensor.airbyte_conn_id, hook.explain(job, self.streams.details))

    def end_late(self, context: Context, deadline: Deadline, job_id: int, last_seen: Job | None) -> int:
        """End because a deadline has passed; if the job has ended since it was seen last, with that."""
        job = None
        with suppress(AirbyteException, asyncio.TimeoutError):
            job = self.final_check(context, job_id)
        if job is not None and job.terminal:
            return self.finish(context, job)
        raise self.without_end(ran_out(deadline, job_id, job or last_seen))

    def without_end(self, event: Event) -> AirbyteException:
        """Return the exception for a wait that is over without the job's end."""
        limit = self.sensor.execution_timeout
        if event.kind != "timeout":
            return self.no_end(event, limit.total_seconds() if limit else None)
        error = self.no_end(event, self.sensor.timeout)
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
            link_to_job(self.hook, context, job, description.result().workspace_id, self.log)
        else:
            self.hook.start(lambda _: link_when_described(self.hook, context, job, description, self.log))

    def _began(self, context: Context) -> datetime | None:
        """When the first check was, if that was before this one."""
        by_airflow = self.sensor.reschedule and task_instance(context) is not None
        return first_rescheduled(context) if by_airflow else self._first_check


@contextmanager
def skipping(sensor: AirbyteDeferrableWaitingSensor) -> Iterator[None]:
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
