"""The operator that runs a job of an Airbyte connection."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, NoReturn

from airbyte_deferrable._airflow import validation
from airbyte_deferrable._airflow.kill import (
    STARTED_OVER,
    WaitMarker,
    ask_while_killed,
    marker_of,
    read_marker,
    stopped_by_user,
    write_marker,
)
from airbyte_deferrable._airflow.results import fail, finish, is_of_another_try, push, read_event
from airbyte_deferrable._airflow.retry_store import AirflowRetryStore, begin_run, present_run, resume_run
from airbyte_deferrable._airflow.started_job import StartedJob, time_to_stop, try_to_cancel
from airbyte_deferrable._airflow.task_instance import task_instance, try_of
from airbyte_deferrable._compat import (
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseOperator,
    conf,
    get_current_context,
)
from airbyte_deferrable._job.connections import describe, find_connection
from airbyte_deferrable._job.events import OFFICIAL_TIMEOUT, Event, ended, ran_out
from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable._job.submit import ConnectionBusy, StoppedBeforeStart, Submission, TooLate, does_the_work
from airbyte_deferrable._job.wait import Deadlines
from airbyte_deferrable._watcher.directory import Description
from airbyte_deferrable.api.models import Job, JobStatus, JobType
from airbyte_deferrable.exceptions import AirbyteConflictError, AirbyteException, AirbyteInputError, AirbyteTimeout
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.links import AirbyteJobLink, leave_link_to_task, link_to_job, link_when_described, write_link
from airbyte_deferrable.triggers import HOLD_EVENTS, AirbyteSyncTrigger, AirbyteTurnTrigger, execution_deadline

if TYPE_CHECKING:
    from airbyte_deferrable._compat import Context

__all__ = ["AirbyteTriggerSyncOperator", "SubmitPolicy"]

POLL_ON_WORKER = 3.0
POLL_DEFERRED = 5.0
IF_RUNNING = ("wait", "attach", "skip", "fail")
#: Airflow's name for the method of a task that it has given up.
GIVEN_UP = "__fail__"
#: What a further run of a try leaves for its resumption: try and number. Taken out before the method is called.
RUN = "airbyte_run"


class Clocks(NamedTuple):
    """When the task's two clocks run out, seconds since the epoch; None for never."""

    end_time: float | None = None
    execution_deadline: float | None = None


class AirbyteTriggerSyncOperator(BaseOperator):
    """Run a job of an Airbyte connection, at most one for each task instance, however often it is tried.

    Three ways: wait on the worker (the default), leave the worker and wait in the triggerer (``deferrable=True``), with
    the same result, XComs, exceptions and log; or do not wait (``asynchronous=True``, for
    :class:`~airbyte_deferrable.sensors.AirbyteJobSensor`).

    The return value is the job's id. XComs of a job that was waited for: ``final_status``, ``rows_synced`` and
    ``airbyte_job``, the job as Airbyte tells it, with its bytes, its times, and its duration as ``durationSeconds``.

    For subclasses: :attr:`job_id` is the job, as soon as it is known. A job that a subclass starts itself and stores
    there is cancelled by :meth:`on_kill`, as the official provider does. Each call of :meth:`execute` in one try runs a
    job of its own; a retry's first call finds the job of the first one before, its second that of the second.

    :param connection_id: The Airbyte connection, a UUID. Templated. Or else:
    :param connection_name: The Airbyte connection's name. Templated. Not used beside a ``connection_id``.
    :param workspace_id: The workspace in which the name is looked for, a UUID. Templated. Default: all that the
        credentials may see. Beside a ``connection_id`` it only leads the task's button there.
    :param airbyte_conn_id: The Airflow connection to Airbyte. Templated. Default: ``airbyte_default``.
    :param asynchronous: Return the job's id as soon as it is started. Default: False.
    :param deferrable: Wait in the triggerer. Default: ``[operators] default_deferrable``.
    :param api_version: The version in the API's path, where the connection's host names no path. Default: ``v1``.
    :param wait_seconds: Seconds between two looks at the job, or a ``timedelta``. Default: 3, with ``deferrable`` 5.
        The attribute is always a number.
    :param timeout: Seconds to wait for the job's end, or a ``timedelta``; 0 or infinity for ever. When they are over
        the task fails and the job goes on. They include the wait for a busy connection, which is all that they limit
        with ``asynchronous``. Default: 3600.
    :param job_type: What to run: ``sync``, ``reset``, ``clear`` (the same as ``reset`` to Airbyte) or ``refresh``
        (refused by the public API of today's Airbyte). Templated. Default: ``sync``.
    :param if_running: What to do when the connection runs another job: ``wait`` for its end and then start ours,
        ``attach`` to it, so that its outcome is ours, ``skip`` the task, or ``fail``. Default: ``wait``.
    :param cancel_on_kill: Cancel the job when a person kills the task (marks it, clears it, marks its run).
        Default: True.
    :param progress_seconds: Seconds between two log lines on rows and bytes; 0 for none. Default: 60.
    :param kwargs: Airflow's own. With ``execution_timeout`` the job is cancelled and the task fails when it is
        over; Airflow 3 does not apply it to a deferred task, the trigger does. With ``do_xcom_push=False`` there is no
        XCom but the one by which a deferred task's trigger tells a kill, and no address for the button.
    """

    #: How long a submission goes on while Airbyte gives no answer that counts. Not Airflow's retry_policy.
    submit_policy: ClassVar[SubmitPolicy] = SubmitPolicy()

    template_fields: Sequence[str] = (
        "connection_id",
        "airbyte_conn_id",
        "job_type",
        "connection_name",
        "workspace_id",
    )
    ui_color = "#6C51FD"
    operator_extra_links = (AirbyteJobLink(),)

    def __init__(
        self,
        connection_id: str = "",
        airbyte_conn_id: str = "airbyte_default",
        asynchronous: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        api_version: str = "v1",
        wait_seconds: float | timedelta | None = None,
        timeout: float | timedelta = 3600,
        *,
        job_type: str = "sync",
        if_running: Literal["wait", "attach", "skip", "fail"] = "wait",
        cancel_on_kill: bool = True,
        progress_seconds: float | timedelta = 60.0,
        connection_name: str | None = None,
        workspace_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.connection_id = connection_id
        self.connection_name = connection_name
        self.workspace_id = workspace_id
        self.airbyte_conn_id = airbyte_conn_id
        self.asynchronous = asynchronous
        self.deferrable = deferrable
        self.api_version = api_version
        if wait_seconds is None:
            wait_seconds = POLL_DEFERRED if deferrable else POLL_ON_WORKER
        # Subclasses compute with these, and hand them to the hook.
        self.wait_seconds: float = validation.in_seconds(wait_seconds)
        self.timeout: float = validation.in_seconds(timeout)
        self.job_type = job_type
        self.if_running = if_running
        self.cancel_on_kill = cancel_on_kill
        self.progress_seconds: float = validation.in_seconds(progress_seconds)
        #: The job, once it is known; what a subclass stores here is one that it has started itself.
        self.job_id: int | None = None
        #: The job that this class has stored there.
        self._known_job: int | None = None
        #: The connection that has the name, once it is known: a further run may be given another name.
        self._named: str | None = None
        self._hook: AirbyteHook | None = None
        self._ti: Any = None
        self._own: StartedJob | None = None
        #: Whether Airflow has told the task to stop, and it is not known yet that nobody had asked for it.
        self._told_to_stop = False
        #: How the task stands since a person wants it to stop, once Airflow has told.
        self._stopped_as: str | None = None

    def execute(self, context: Context) -> int:
        """Find or start the job, then wait for its end in the way that was chosen.

        :param context: The task's context.
        :return: The job's id.
        """
        return self._execute(context, begin_run(context))

    def execute_turn(self, context: Context, event: Any = None) -> int:
        """Resume when the connection, busy before, may run this task's job.

        :param context: The task's context.
        :param event: What :class:`~airbyte_deferrable.triggers.AirbyteTurnTrigger` tells. It brings back the task's
            clocks and its place in the line: in ``dag.test()`` a task is given nothing else.
        :return: The job's id.
        """
        if is_of_another_try(event, context, self.log):
            return self.execute(context)
        if not isinstance(event, dict):
            return self._execute(context, present_run(context))
        if event.get("status") == "timeout":
            raise self._never_our_turn(event["reason"])
        self._check_input()
        clocks = Clocks(event["end_time"], event["execution_deadline"])
        deadlines = Deadlines(*clocks)
        if deadlines.left() == 0:
            # The worker slot came too late: nobody would wait for the job.
            raise self._never_our_turn(deadlines.nearest)
        return self._run(context, clocks, event["queued_at"], present_run(context))

    def execute_complete(self, context: Context, event: Any = None) -> int:
        """Resume with what the trigger tells.

        :param context: The task's context.
        :param event: See :class:`~airbyte_deferrable.triggers.Event`.
        :return: The job's id.
        """
        if is_of_another_try(event, context, self.log):
            return self.execute(context)
        told = read_event(event)
        # An event of another version, or of the official provider's trigger, does not tell whose job it is.
        self._resume(context, marker_of(told) or read_marker(context) or self._marker_of_subclass(told))
        self._know(told.job_id)
        write_link(self._for_xcoms(context), told.job_url)
        with self._connect() as hook:
            try:
                return self._finish(hook, context, self._of_this_connection(hook, told))
            except AirflowTaskTimeout:
                return self._finish(hook, context, ran_out("execution_timeout", told.job_id, None))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; if Airflow itself gave the deferred task up because of its ``execution_timeout``, cancel the job.

        Airflow 2 does so shortly after the trigger should have told.

        :param next_method: The method to go on with.
        :param next_kwargs: Its arguments.
        :param context: The task's context.
        """
        if next_kwargs and RUN in next_kwargs:
            next_kwargs = dict(next_kwargs)
            begun_in, run = next_kwargs.pop(RUN)
            # Airflow 3.0 hands it to the next try, too.
            if begun_in == try_of(context):
                resume_run(context, run)
        if next_method == GIVEN_UP and "timeout" in str((next_kwargs or {}).get("error", "")).lower():
            self._resume(context, read_marker(context)).cancel_out_of_time(self._life())
        return super().resume_execution(next_method, next_kwargs, context)

    def post_execute(self, context: Context, result: Any = None) -> None:
        """Drop what was remembered for a next try, as the last thing that a successful task does.

        :param context: The task's context.
        :param result: The task's return value.
        """
        super().post_execute(context, result)
        if self._own is not None:
            self._own.submission.store.finish()

    def on_kill(self) -> None:
        """Cancel the job that this task started, when a person stops the task on its worker, and let it be forgotten.

        Airflow calls this in the middle of whatever the task does, and lets a task of Airflow 3 go on with it. It
        also does when nobody asked for it, see :func:`~airbyte_deferrable._airflow.kill.stopped_by_user`.
        """
        # Airflow calls this for a task whose execution_timeout is over, too, Airflow 2 also before it is resumed.
        out_of_time = isinstance(sys.exc_info()[1], AirflowTaskTimeout)
        self._told_to_stop = self._told_to_stop or not out_of_time
        started = self._started_by_subclass()
        if started is not None and (out_of_time or self.cancel_on_kill):
            # Whoever stops the task: no next try would find it.
            within = time_to_stop(self._life()) if out_of_time else None
            try_to_cancel(self._cancel, started, "", within, self.log)
        if self._own is None:
            if started is not None:
                return
            # A task that is stopped as soon as it is resumed has not read yet what it waited for.
            try:
                context = get_current_context()
                read = partial(read_marker, context)
                self._resume(context, read() if out_of_time else ask_while_killed(read))
            except Exception as error:
                why = str(error) or type(error).__name__
                self.log.warning("The task is stopped before it has learned what it waits for (%s)", why)
        elif not out_of_time:
            self._heed_kill()
        if out_of_time and self._own is not None:
            self._own.cancel_out_of_time(self._life())

    # Its steps

    def _execute(self, context: Context, run: int) -> int:
        """Begin a run, or begin it anew."""
        if self.connection_id and self.connection_id == self._named:
            self.connection_id = ""
        self._check_input()
        now = time.time()
        clocks = Clocks(self._end_time(now), execution_deadline(now, self.execution_timeout))
        return self._run(context, clocks, now, run, fresh=True)

    def _run(self, context: Context, clocks: Clocks, queued_at: float, run: int, *, fresh: bool = False) -> int:
        # Before anything that takes time: a kill is to find what it stops.
        own = self._begin(context, run, until=None if self.asynchronous else clocks.end_time, fresh=fresh)
        with self._connect() as hook:
            hook.warm_up()
            try:
                self._find_connection(hook)
                own.submission.connection_id = self.connection_id
                about = self._describe_beside(hook)
                job = self._obtain(hook, context, clocks, queued_at)
                self._know(job.job_id)
                self._tell(hook, context, job, about)
                if self.asynchronous:
                    return job.job_id
                if job.terminal:
                    return self._finish(hook, context, ended(job))
                if self.deferrable:
                    self._leave(context, job, clocks)
                # Airflow itself keeps execution_timeout here.
                return self._finish(hook, context, self._wait(hook, job.job_id, Deadlines(clocks.end_time, None)))
            except AirflowTaskTimeout:
                return self._out_of_time(hook, context)

    def _find_connection(self, hook: AirbyteHook) -> None:
        """Learn the id of a connection that is given by its name."""
        if self.connection_id:
            return
        # Rendered as a native object, a name may be a number.
        name = str(self.connection_name)
        try:
            self.connection_id = self._named = hook.call(
                lambda client: self.submit_policy.retry(
                    lambda: find_connection(client, name, self.workspace_id), self.log
                ),
                f"looking for the connection named {name!r}",
            )
        except AirbyteInputError as error:
            hint = self._origin("connection_name")
            if not hint:
                raise
            raise AirbyteInputError(f"{error} {hint.strip()}", conn_id=self.airbyte_conn_id) from None

    def _obtain(self, hook: AirbyteHook, context: Context, clocks: Clocks, queued_at: float) -> Job:
        """Find the job of an earlier try, or start one, or come to terms with one that runs."""
        own = self._own_job
        while True:
            try:
                job = hook.call(
                    own.submission.obtain,
                    f"starting a {self.job_type} of connection {self.connection_id}",
                    connection_id=self.connection_id,
                )
            except ConnectionBusy as busy:
                found = self._meet(hook, context, busy.job, clocks, queued_at)
                if found is None:
                    continue
                job = own.submission.attach(found)
            except TooLate:
                raise AirbyteTimeout(
                    f"The task's timeout ({float(self.timeout):g} s) was over before Airbyte took the request for a "
                    f"{self.job_type} of connection {self.connection_id}. No job is known that it started.",
                    conn_id=self.airbyte_conn_id,
                    connection_id=self.connection_id,
                ) from None
            except StoppedBeforeStart:
                raise AirbyteException(
                    f"The task was killed before it started a {self.job_type} of connection {self.connection_id}.",
                    conn_id=self.airbyte_conn_id,
                    connection_id=self.connection_id,
                ) from None
            self._heed_kill()
            if own.killed:
                own.cancel()
                raise AirbyteException(f"The task was killed while it started job {job.job_id}.", job_id=job.job_id)
            return job

    def _meet(
        self, hook: AirbyteHook, context: Context, other: Job | None, clocks: Clocks, queued_at: float
    ) -> Job | None:
        """Do what ``if_running`` says; return the job to wait for, or None to try again."""
        which = f"job {other.job_id}" if other else "another job"
        runs = f"Connection {self.connection_id} runs {which} already"
        if_running = self.if_running
        if other is not None and self.cancel_on_kill and other.job_id == self._own_job.submission.store.cleared_job:
            self.log.info("%s, which this task had started before it was cleared", runs)
            if_running = "wait"
        if if_running == "attach" and other is not None and not does_the_work(other, self.job_type):
            self.log.info("%s, a %s, while this task is to run a %s", runs, other.job_type, self.job_type)
            if_running = "wait"
        if if_running == "skip":
            raise AirflowSkipException(f"{runs}, and if_running is 'skip'.")
        if if_running == "fail":
            raise AirbyteConflictError(
                f"{runs}, and if_running is 'fail'. Choose 'wait' or 'attach', or run the task later.",
                conn_id=self.airbyte_conn_id,
                connection_id=self.connection_id,
                job_id=other.job_id if other else None,
            )
        if if_running == "attach" and other is not None:
            return other
        self.log.info("%s: waiting for its end to start ours", runs)
        if self.deferrable:
            self._leave_for_turn(context, clocks, queued_at)
        deadlines = Deadlines(clocks.end_time, None)
        if not hook.wait_in_queue(self.connection_id, deadlines, poll_interval=self._poll()):
            raise self._never_our_turn("timeout")
        return None

    def _wait(self, hook: AirbyteHook, job_id: int, deadlines: Deadlines) -> Event:
        """Wait on the worker."""
        return hook.wait_for_end(
            job_id,
            deadlines,
            poll_interval=self._poll(),
            progress_interval=float(self.progress_seconds),
        )

    def _leave(self, context: Context, job: Job, clocks: Clocks) -> NoReturn:
        """Hand the job over to the triggerer."""
        ours = self._own_job.is_it(job)
        write_marker(context, job.job_id, job.connection_id, started_here=ours)
        self._heed_kill()
        self.log.info("Leaving the worker; the triggerer waits for job %s", job.job_id)
        self.defer(
            trigger=AirbyteSyncTrigger(
                job_id=job.job_id,
                conn_id=self.airbyte_conn_id,
                end_time=clocks.end_time,
                poll_interval=self._poll(),
                execution_deadline=clocks.execution_deadline,
                api_version=self.api_version,
                cancel_on_kill=ours and self.cancel_on_kill,
                try_number=try_of(context),
                progress_interval=float(self.progress_seconds),
                not_before=time.time() + HOLD_EVENTS,
                connection_id=job.connection_id,
                started_here=ours,
                write_xcoms=bool(self.do_xcom_push),
            ),
            method_name=self.execute_complete.__name__,
            kwargs=self._run_for_resumption(context),
        )

    def _leave_for_turn(self, context: Context, clocks: Clocks, queued_at: float) -> NoReturn:
        """Wait for the connection in the triggerer."""
        self.defer(
            trigger=AirbyteTurnTrigger(
                connection_id=self.connection_id,
                conn_id=self.airbyte_conn_id,
                queued_at=queued_at,
                poll_interval=self._poll(),
                **clocks._asdict(),
                api_version=self.api_version,
                try_number=try_of(context),
                not_before=time.time() + HOLD_EVENTS,
            ),
            method_name=self.execute_turn.__name__,
            kwargs=self._run_for_resumption(context),
        )

    def _run_for_resumption(self, context: Context) -> dict[str, Any] | None:
        """Return what tells the task which run it resumes; nothing for the first, which most are."""
        run = present_run(context)
        return {RUN: [try_of(context), run]} if run > 1 else None

    def _of_this_connection(self, hook: AirbyteHook, event: Event) -> Event:
        """Doubt an event that tells of another connection's job.

        Airbytes number their jobs alike, and a triggerer may for a moment ask the one to which the Airflow connection
        led before it was changed.
        """
        if event.job is None or not self._is_foreign(event.job):
            return event
        self.log.warning("The triggerer tells of another connection's job %s: asking Airbyte here", event.job_id)
        job = hook.call(
            lambda client: self.submit_policy.retry(lambda: client.get_job(event.job_id), self.log),
            f"looking up job {event.job_id}",
            job_id=event.job_id,
        )
        if self._is_foreign(job):
            raise AirbyteException(
                f"Airbyte job {event.job_id} is not one of connection {self.connection_id}: Airflow connection "
                f"{self.airbyte_conn_id!r} leads to another Airbyte than when the job was started. Look the job up "
                "there, and run the task again.",
                conn_id=self.airbyte_conn_id,
                connection_id=self.connection_id,
                job_id=event.job_id,
            )
        return ended(job) if job.terminal else self._wait(hook, job.job_id, self._new_deadlines())

    def _is_foreign(self, job: Job) -> bool:
        return bool(job.connection_id and self.connection_id) and job.connection_id != self.connection_id

    def _finish(self, hook: AirbyteHook, context: Context, event: Event) -> int:
        """Turn what is known of the end into the task's end."""
        if event.job is None and event.reason != "not_visible":
            event = self._learn_the_rest(hook, event)
        if event.status == "timeout":
            job = self._own_job.cancel_out_of_time(self._life())
            if job is not None and job.terminal and job.status != JobStatus.CANCELLED:
                # It was faster.
                return self._finish(hook, context, ended(job))
            raise fail(event, self.airbyte_conn_id, self.connection_id, self._life(), self._own_job.fate(job))
        if event.reason is not None or event.job is None:
            # A job that goes on is nobody's to cancel from now on, and a next try's to find.
            self._own_job.submission.store.release()
            raise fail(event, self.airbyte_conn_id, self.connection_id, float(self.timeout))
        job = event.job
        if not event.xcoms_written:
            job = hook.with_figures(job)
            push(job, self._for_xcoms(context))
        if event.status != "success":
            self._own_job.submission.store.delete()
        return finish(job, self.log, self.airbyte_conn_id, hook.explain(job))

    def _learn_the_rest(self, hook: AirbyteHook, event: Event) -> Event:
        """Ask for what the trigger does not tell: ours where its last look got no answer, the official one always.

        An ``error`` of the official provider's may be a job that failed, a wait that took too long, or one look of its
        own that failed.
        """
        now, official = time.time(), event.reason is None
        if event.status == "timeout":
            deadlines = Deadlines(None, now)
        elif not official or OFFICIAL_TIMEOUT in event.message:
            deadlines = Deadlines(now, None)
        else:
            deadlines = self._new_deadlines()
        return self._of_this_connection(hook, self._wait(hook, event.job_id, deadlines))

    def _describe_beside(self, hook: AirbyteHook) -> Future[Description] | None:
        """Begin to look up what the connection is called, where no trigger will: nothing waits for the answer."""
        if self.deferrable and not self.asynchronous:
            return None
        return hook.start(lambda client: describe(client, self.connection_id))

    def _tell(self, hook: AirbyteHook, context: Context, job: Job, description: Future[Description] | None) -> None:
        """Name the job and lead to it, in the log and from the task's page, as far as that is known by now."""
        about = description.result() if description is not None and description.done() else Description()
        how = "Submitted" if self._own_job.is_it(job) else "Waiting for"
        if self._own_job.submission.found_again:
            how = "Found again:"
        name = str(about) or self.connection_id
        self.log.info("%s job %s (%s) of connection %s", how, job.job_id, job.job_type, name)
        workspace_id = about.workspace_id or self.workspace_id
        context = self._for_xcoms(context)
        if workspace_id:
            link_to_job(hook, context, job, workspace_id, self.log)
        elif description is not None and not self.asynchronous:
            # While the task waits, there is time for it.
            hook.start(lambda _: link_when_described(hook, context, job, description, self.log))
        self._heed_kill()

    # Its job

    def _begin(
        self, context: Context, run: int, *, job_id: int | None = None, until: float | None = None, fresh: bool = False
    ) -> StartedJob:
        self._ti = task_instance(context)
        resume_run(context, run)
        leave_link_to_task(self)
        submission = Submission(
            AirflowRetryStore(context, self.log, fresh=fresh, run=run),
            self.connection_id,
            self.job_type,
            log=self.log,
            submit_policy=self.submit_policy,
            until=until,
            waits=not self.asynchronous,
        )
        own = StartedJob(submission, cancel=self._cancel, log=self.log)
        own.job_id = job_id
        self._own = own
        self._heed_kill()
        return own

    def _resume(self, context: Context, marker: WaitMarker | None) -> StartedJob:
        """Learn again which job is ours, after the task was away."""
        if marker is not None and marker.connection_id:
            # Known by name until now; or a template, which may say something else by now.
            if not self.connection_id:
                self._named = marker.connection_id
            self.connection_id = marker.connection_id
        elif self.connection_id:
            self.connection_id = self._valid_connection_id()
        job_id = marker.job_id if marker is not None and marker.started_here else None
        return self._begin(context, present_run(context), job_id=job_id)

    def _marker_of_subclass(self, event: Event) -> WaitMarker:
        """Return the wait marker that nobody has left: who waits with a trigger of its own making has started the job.

        That is the official operator before the migration, or a subclass, whose job may be another connection's.
        """
        told = event.job.connection_id if event.job else ""
        return WaitMarker(event.job_id, event.connection_id or told, started_here=True)

    def _know(self, job_id: int) -> None:
        """Tell a subclass which job it is."""
        self.job_id = self._known_job = job_id

    def _started_by_subclass(self) -> int | None:
        """Return the job that a subclass has started itself, and stored as the official class stores its own."""
        return int(self.job_id) if self.job_id and self.job_id != self._known_job else None

    def _heed_kill(self) -> None:
        """If a person wants the task to stop, have its job go with it.

        A task of Airflow 3 goes on after it was told, and calls this again wherever it may have been told in the middle
        of a question of its own to Airflow, which then could not say who wants it.
        """
        own = self._own
        if not self._told_to_stop or own is None or own.submission.stopped:
            return
        if self._stopped_as is None:
            try:
                self._stopped_as = stopped_by_user(self._ti, self.log)
            except Exception as error:
                why = str(error) or type(error).__name__
                self.log.warning("Airflow does not tell why the task is stopped (%s): leaving its job alone", why)
                return
            self._told_to_stop = self._stopped_as is not None
        if self._stopped_as is not None:
            own.kill(cancel=self.cancel_on_kill, cleared=self._stopped_as in STARTED_OVER)

    @property
    def _own_job(self) -> StartedJob:
        assert self._own is not None, "made by every way into the task"
        return self._own

    def _cancel(self, job_id: int, connection_id: str, within: float | None) -> Job:
        with self._connect() as hook:
            return hook.cancel_job(job_id, connection_id, within)

    def _connect(self) -> AirbyteHook:
        """Return the task's one hook, for one session and one token."""
        if self._hook is None:
            self._hook = AirbyteHook(self.airbyte_conn_id, self.api_version)
        return self._hook

    # Its clocks and its input

    def _poll(self) -> float:
        return float(self.wait_seconds)

    def _end_time(self, now: float) -> float | None:
        """Return when the ``timeout`` is over that begins now; None for never."""
        return now + float(self.timeout) if 0 < self.timeout < math.inf else None

    def _new_deadlines(self) -> Deadlines:
        """Return the task's ``timeout`` anew, for a wait that begins after the triggerer's was in vain."""
        return Deadlines(self._end_time(time.time()), None)

    def _life(self) -> float | None:
        return self.execution_timeout.total_seconds() if self.execution_timeout else None

    def _out_of_time(self, hook: AirbyteHook, context: Context) -> int:
        """Cancel the job for the ``execution_timeout``: contrary to a kill, Airflow leaves the task time for that."""
        own = self._own
        if own is not None and own.job_id is None:
            self.log.info("The task's execution_timeout is over: finding out which job it has started, if any")
            hook.call(own.submission.find_out, "looking for the task's job", connection_id=self.connection_id)
        if own is None or own.job_id is None:
            raise AirbyteTimeout(
                f"The task's execution_timeout ({self._life():g} s) was over before a job of connection "
                f"{self.connection_id or self.connection_name!r} had ended. No job is known that it started.",
                conn_id=self.airbyte_conn_id,
                connection_id=self.connection_id or None,
            )
        return self._finish(hook, context, ran_out("execution_timeout", own.job_id, None))

    def _never_our_turn(self, clock: str) -> AirbyteTimeout:
        return AirbyteTimeout(
            f"The task's {clock} was over before connection {self.connection_id} was free for its job, and a worker "
            "for the task. No job was started.",
            conn_id=self.airbyte_conn_id,
            connection_id=self.connection_id,
        )

    def _valid_connection_id(self) -> str:
        hint = self._origin("connection_id")
        return validation.uuid("connection_id", self.connection_id, "connection", self.airbyte_conn_id, hint)

    def _for_xcoms(self, context: Context) -> Context:
        """Return the context for those who leave XComs; an empty one if there are to be none."""
        return context if self.do_xcom_push and task_instance(context) is not None else {}

    def _check_input(self) -> None:
        """Refuse what cannot work before anything is started."""
        conn_id, origin = self.airbyte_conn_id, self._origin
        if self.connection_id:
            # It says all. A name or a workspace beside it may well be meant for other operators.
            self.connection_id = self._valid_connection_id()
        elif not self.connection_name:
            raise AirbyteInputError(
                "connection_id must be the UUID of an Airbyte connection, or connection_name its name: give one of "
                "the two. Nothing was started.",
                conn_id=conn_id,
            )
        if self.workspace_id:
            try:
                hint = origin("workspace_id")
                self.workspace_id = validation.uuid("workspace_id", self.workspace_id, "workspace", conn_id, hint)
            except AirbyteInputError:
                if not self.connection_id:
                    raise
                self.log.info("workspace_id %r is no UUID, so not one of Airbyte's: not used", self.workspace_id)
                self.workspace_id = None
        job_types = (job_type.value for job_type in JobType)
        validation.one_of("job_type", self.job_type, job_types, conn_id, origin("job_type"))
        validation.one_of("if_running", self.if_running, IF_RUNNING, conn_id, origin("if_running"))
        validation.seconds("wait_seconds", self.wait_seconds, conn_id, origin("wait_seconds"))
        validation.seconds("timeout", self.timeout, conn_id, origin("timeout"), endless=True)
        validation.seconds("progress_seconds", self.progress_seconds, conn_id, origin("progress_seconds"))

    def _origin(self, name: str) -> str:
        """Say, for an error, that a parameter may have come from where it was meant for other operators."""
        dag = self.dag if self.has_dag() else None  # type: ignore[no-untyped-call]
        for place in (getattr(self, "task_group", None), dag):
            if name in (getattr(place, "default_args", None) or {}):
                return (
                    f"The default_args of the DAG or of a task group have a {name}, which reaches every operator with "
                    f"such a parameter: give this task its own {name}, or None. "
                )
        return ""
