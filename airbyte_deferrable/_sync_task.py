"""One sync of one task, from the operator's parameters to its result.

Apart from the operator, so that nothing in here has the name of something in a user's subclass.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Coroutine
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from airbyte_deferrable._airflow import validation
from airbyte_deferrable._airflow.base_trigger import HOLD_EVENTS
from airbyte_deferrable._airflow.execution_timeout import execution_deadline, time_to_stop
from airbyte_deferrable._airflow.kill import (
    StopRequest,
    WaitMarker,
    ask_while_killed,
    marker_of,
    read_marker,
    write_marker,
)
from airbyte_deferrable._airflow.results import fail, finish, is_of_another_try, push, read_event
from airbyte_deferrable._airflow.retry_store import AirflowRetryStore, begin_run, present_run, resume_run
from airbyte_deferrable._airflow.started_job import StartedJob, try_to_cancel
from airbyte_deferrable._airflow.task_instance import task_instance, try_of
from airbyte_deferrable._compat import AirflowSkipException, AirflowTaskTimeout, get_current_context
from airbyte_deferrable._job.connections import describe, find_connection
from airbyte_deferrable._job.earlier import TRIGGER_CANCELS_WITHIN
from airbyte_deferrable._job.events import Event, ended, ran_out
from airbyte_deferrable._job.submit import (
    ConnectionBusy,
    StoppedBeforeStart,
    Submission,
    TooLate,
    does_the_work,
)
from airbyte_deferrable._job.wait import Deadlines
from airbyte_deferrable._watcher.directory import Description
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.models import Job, JobStatus
from airbyte_deferrable.exceptions import AirbyteConflictError, AirbyteException, AirbyteInputError, AirbyteTimeout
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.lineage.task import TaskStreams
from airbyte_deferrable.links import leave_link_to_task, link_to_job, link_when_described, write_link
from airbyte_deferrable.triggers.queue import AirbyteQueueTrigger
from airbyte_deferrable.triggers.sync import AirbyteSyncTrigger

if TYPE_CHECKING:
    from airbyte_deferrable._airflow.blocking import Outcome
    from airbyte_deferrable._compat import Context
    from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

T = TypeVar("T")

#: Airflow's name for the method of a task that it has given up.
GIVEN_UP = "__fail__"
#: What a further run of a try leaves for its resumption: try and number. Taken out before the method is called.
RUN = "airbyte_run"


class SyncTask:
    """What one process does of an operator's task: a leg of it, or all.

    Until it waits, in the queue or for its job, all that blocks goes through :meth:`_ask_airbyte` and
    :meth:`_tell_airflow`, which check for a kill afterwards.

    :param operator: Its parameters are read when they are needed: a subclass may set them late.
    """

    def __init__(self, operator: AirbyteTriggerSyncOperator) -> None:
        self.operator = operator
        #: What it tells of its job's streams.
        self.streams = TaskStreams(operator)
        #: What this task has started, once a run has begun or been resumed.
        self._started: StartedJob | None = None
        self._stop = StopRequest()
        self._context: Context = {}
        #: The connection that has the name, once it is known: a further run may be given another name.
        self._named: str | None = None
        #: The job that is in ``operator.job_id`` by our doing; another is one that a subclass has started itself.
        self._known_job: int | None = None
        # When the task's deadlines pass, seconds since the epoch; None for never.
        self._end_time: float | None = None
        self._execution_deadline: float | None = None
        #: Since when the task waits for a busy connection: its position in the queue.
        self._queued_at = 0.0

    @cached_property
    def hook(self) -> AirbyteHook:
        """The task's one hook, for one session and one token."""
        return AirbyteHook(self.operator.airbyte_conn_id, self.operator.api_version)

    # The ways into the task

    def start(self, context: Context) -> int:
        """Begin a run.

        :return: The job's id.
        """
        return self._start(context, begin_run(context))

    def go_on_in_queue(self, context: Context, event: Any) -> int:
        """Resume when the connection, busy before, may run this task's job.

        :param event: Of :class:`~airbyte_deferrable.triggers.AirbyteQueueTrigger`.
        :return: The job's id.
        """
        if is_of_another_try(event, context, self._log):
            return self.operator.execute(context)
        if not isinstance(event, dict):
            return self._start(context, resume_run(context))
        if event.get("status") == "timeout":
            raise self._queue_timeout(event["reason"])
        validation.check_sync(self.operator)
        self._end_time, self._execution_deadline = event["end_time"], event["execution_deadline"]
        self._queued_at = event["queued_at"]
        deadlines = Deadlines(self._end_time, self._execution_deadline)
        if deadlines.left() == 0:
            # The worker slot came too late: nobody would wait for the job.
            raise self._queue_timeout(deadlines.nearest)
        return self._run(context, resume_run(context))

    def complete(self, context: Context, payload: Any) -> int:
        """Resume with what the trigger tells.

        :return: The job's id.
        """
        if is_of_another_try(payload, context, self._log):
            return self.operator.execute(context)
        resume_run(context)
        event = read_event(payload)
        # An event of another version, or of the official provider's trigger, does not tell whose job it is.
        self._resume(context, marker_of(event) or read_marker(context) or _marker_of_subclass(event))
        self._know(event.job_id)
        self._tell_airflow(lambda: write_link(self._xcom_context, event.job_url))
        with self.hook:
            try:
                return self._finish(self._of_this_connection(event))
            except AirflowTaskTimeout:
                return self._finish(ran_out("execution_timeout", event.job_id, None))

    def before_resumption(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> dict[str, Any] | None:
        """Take what a further run has left for its resumption, and cancel the job of a task that Airflow gave up.

        Airflow 2 gives a deferred task up for its ``execution_timeout``, shortly after the trigger should have told.

        :return: The arguments for ``next_method``.
        """
        if next_kwargs and RUN in next_kwargs:
            next_kwargs = dict(next_kwargs)
            begun_in, run = next_kwargs.pop(RUN)
            # Airflow 3.0 hands it to the next try, too.
            if begun_in == try_of(context):
                resume_run(context, run)
        if next_method == GIVEN_UP and "timeout" in str((next_kwargs or {}).get("error", "")).lower():
            self._resume(context, read_marker(context)).cancel_out_of_time(self._execution_timeout)
        return next_kwargs

    def kill(self) -> None:
        """Cancel the job that this task started, if a user or the task's ``execution_timeout`` stops it.

        Airflow calls this in the middle of whatever the task does, and lets a task of Airflow 3 go on with it. It
        also does when nobody asked for it, see :func:`~airbyte_deferrable._airflow.kill.stopped_by_user`.
        """
        # Airflow calls this for a task whose execution_timeout is over, too, Airflow 2 also before it is resumed.
        out_of_time = isinstance(sys.exc_info()[1], AirflowTaskTimeout)
        if not out_of_time:
            self._stop.receive()
        of_subclass = self._started_by_subclass()
        if of_subclass is not None and (out_of_time or self.operator.cancel_on_kill):
            # Whoever stops the task: no next try would find it.
            within = time_to_stop(self._execution_timeout) if out_of_time else None
            try_to_cancel(self._cancel, of_subclass, "", within, self._log)
        if self._started is not None:
            self._check_for_kill()
        elif of_subclass is None:
            self._learn_what_it_waits_for(ask=(lambda read: read()) if out_of_time else ask_while_killed)
        if self._started is None:
            return
        if out_of_time:
            self._started.cancel_out_of_time(self._execution_timeout)
        else:
            self._started.store.told_to_stop = True

    # What blocks

    def _ask_airbyte(self, use: Callable[[AirbyteClient], Coroutine[Any, Any, T]], doing: str, **subject: Any) -> T:
        """Do something with the client; see :meth:`~airbyte_deferrable.hooks.AirbyteHook.call`."""
        try:
            return self.hook.call(use, doing, **subject)
        finally:
            self._check_for_kill()

    def _tell_airflow(self, tell: Callable[[], T]) -> T:
        """Tell Airflow something, and return what comes of it."""
        try:
            return tell()
        finally:
            self._check_for_kill()

    def _check_for_kill(self) -> None:
        """If a user wants the task to stop, have its job go with it.

        A task of Airflow 3 goes on after it was told to stop. It may have been told in the middle of a question of its
        own to Airflow, which then could not say who wants it, so it is asked again after each.
        """
        started = self._started
        if started is None or started.submission.stopped:
            return
        if self._stop.by_user(task_instance(self._context), self._log):
            started.kill(cancel=self.operator.cancel_on_kill)

    # Its steps

    def _start(self, context: Context, run: int) -> int:
        operator = self.operator
        store = AirflowRetryStore(context, self._log, fresh=True, run=run)
        # Before anything that can fail: nobody comes after a last try who would.
        store.take()
        if operator.connection_id and operator.connection_id == self._named:
            operator.connection_id = ""
        validation.check_sync(operator)
        now = time.time()
        self._end_time, self._queued_at = self._new_end_time(), now
        self._execution_deadline = execution_deadline(now, operator.execution_timeout)
        return self._run(context, run, store)

    def _run(self, context: Context, run: int, store: AirflowRetryStore | None = None) -> int:
        # Before anything that takes time: a kill is to find what it stops.
        started = self._begin(context, run, store)
        with self.hook:
            self.hook.warm_up()
            try:
                self._find_connection()
                started.submission.connection_id = self.operator.connection_id
                description = self._describe_beside()
                job = self._obtain(started)
                self._know(job.job_id)
                self._announce(job, description)
                if self.operator.asynchronous:
                    return job.job_id
                if job.terminal:
                    return self._finish(ended(job))
                if self.operator.deferrable:
                    self._defer(job)
                # Airflow itself keeps execution_timeout here.
                return self._finish(self._wait(job.job_id, Deadlines(self._end_time, None)))
            except AirflowTaskTimeout:
                return self._end_out_of_time()

    def _find_connection(self) -> None:
        """Learn the id of a connection that is given by its name."""
        operator = self.operator
        if operator.connection_id:
            return
        # Rendered as a native object, a name may be a number.
        name = str(operator.connection_name)
        try:
            operator.connection_id = self._named = self._ask_airbyte(
                lambda client: operator.submit_policy.retry(
                    lambda: find_connection(client, name, operator.workspace_id), self._log
                ),
                f"looking for the connection named {name!r}",
            )
        except AirbyteInputError as error:
            hint = validation.origin(operator, "connection_name")
            words = f"{error} {hint}{validation.NOTHING_STARTED}"
            raise AirbyteInputError(words, conn_id=operator.airbyte_conn_id) from None

    def _obtain(self, started: StartedJob) -> Job:
        """Find the job of an earlier try, or start one, or come to terms with one that runs."""
        what = f"a {self.operator.job_type} of connection {self.operator.connection_id}"
        while True:
            try:
                job = self._ask_airbyte(
                    started.submission.obtain, f"starting {what}", connection_id=self.operator.connection_id
                )
            except ConnectionBusy as busy:
                found = self._meet(busy)
                if found is None:
                    continue
                job = self._tell_airflow(partial(started.submission.attach, found))
            except TooLate:
                raise AirbyteTimeout(
                    f"The task's timeout ({float(self.operator.timeout):g} s) was over before Airbyte took the request "
                    f"for {what}. No job is known that it started.",
                    **self._subject,
                ) from None
            except StoppedBeforeStart:
                raise AirbyteException(f"The task was killed before it started {what}.", **self._subject) from None
            if started.killed:
                started.cancel_killed()
                raise AirbyteException(f"The task was killed while it started job {job.job_id}.", job_id=job.job_id)
            return job

    def _meet(self, busy: ConnectionBusy) -> Job | None:
        """Do what ``if_running`` says; return the job to wait for, or None to try again."""
        operator, other = self.operator, busy.job
        which = f"job {other.job_id}" if other else "another job"
        runs = f"Connection {operator.connection_id} runs {which} already"
        if_running = operator.if_running
        if busy.of_this_task and operator.cancel_on_kill:
            self._log.info("%s, which this task had started before it was cleared", runs)
            if_running = "wait"
        if if_running == "attach" and other is not None and not does_the_work(other, operator.job_type):
            self._log.info("%s, a %s, while this task is to run a %s", runs, other.job_type, operator.job_type)
            if_running = "wait"
        if if_running == "skip":
            raise AirflowSkipException(f"{runs}, and if_running is 'skip'.")
        if if_running == "fail":
            raise AirbyteConflictError(
                f"{runs}, and if_running is 'fail'. Choose 'wait' or 'attach', or run the task later.",
                **self._subject,
                job_id=other.job_id if other else None,
            )
        if if_running == "attach" and other is not None:
            return other
        self._log.info("%s: waiting for its end to start this task's", runs)
        if operator.deferrable:
            self._defer_in_queue()
        deadlines = Deadlines(self._end_time, None)
        if not self.hook.wait_in_queue(operator.connection_id, deadlines, poll_interval=self._poll_interval):
            raise self._queue_timeout("timeout")
        return None

    def _describe_beside(self) -> Outcome[Description] | None:
        """Begin to look up what the connection is called, where no trigger will: nothing waits for the answer."""
        if self.operator.deferrable and not self.operator.asynchronous:
            return None
        return self.hook.start(lambda client: describe(client, self.operator.connection_id))

    def _announce(self, job: Job, description: Outcome[Description] | None) -> None:
        """Name the job and link to it, in the log and from the task's page, as far as that is known by now."""
        about = description.result() if description is not None and description.done() else Description()
        how = "Submitted" if self._job_started_here(job) else "Waiting for"
        if self._begun.submission.found_again:
            how = "Found again:"
        name = str(about) or self.operator.connection_id
        self._log.info("%s job %s (%s) of connection %s", how, job.job_id, job.job_type, name)
        workspace_id = about.workspace_id or self.operator.workspace_id
        context, log = self._xcom_context, self._log
        if workspace_id:
            self._tell_airflow(lambda: link_to_job(self.hook, context, job, workspace_id, log))
        elif description is not None and not self.operator.asynchronous:
            # While the task waits, there is time for it.
            self.hook.start(lambda _: link_when_described(self.hook, context, job, description, log))

    def _wait(self, job_id: int, deadlines: Deadlines) -> Event:
        """Wait on the worker."""
        return self.hook.wait_for_end(
            job_id,
            deadlines,
            poll_interval=self._poll_interval,
            progress_interval=float(self.operator.progress_seconds),
        )

    def _defer(self, job: Job) -> NoReturn:
        """Hand the job over to the triggerer."""
        operator, started_here = self.operator, self._job_started_here(job)
        self._tell_airflow(
            lambda: write_marker(self._context, job.job_id, job.connection_id, started_here=started_here)
        )
        self._log.info("Leaving the worker; the triggerer waits for job %s", job.job_id)
        operator.defer(
            trigger=AirbyteSyncTrigger(
                job_id=job.job_id,
                poll_interval=self._poll_interval,
                **self._for_every_trigger(),
                cancel_on_kill=started_here and operator.cancel_on_kill,
                progress_interval=float(operator.progress_seconds),
                connection_id=job.connection_id,
                started_here=started_here,
                write_xcoms=bool(operator.do_xcom_push),
            ),
            method_name=operator.execute_complete.__name__,
            kwargs=self._run_for_resumption(),
        )

    def _defer_in_queue(self) -> NoReturn:
        """Wait for the connection in the triggerer."""
        self.operator.defer(
            trigger=AirbyteQueueTrigger(
                connection_id=self.operator.connection_id,
                queued_at=self._queued_at,
                poll_interval=self._poll_interval,
                **self._for_every_trigger(),
            ),
            method_name=self.operator.execute_queued.__name__,
            kwargs=self._run_for_resumption(),
        )

    def _for_every_trigger(self) -> dict[str, Any]:
        return {
            "conn_id": self.operator.airbyte_conn_id,
            "end_time": self._end_time,
            "execution_deadline": self._execution_deadline,
            "api_version": self.operator.api_version,
            "try_number": try_of(self._context),
            "not_before": time.time() + HOLD_EVENTS,
        }

    def _run_for_resumption(self) -> dict[str, Any] | None:
        """Return what tells the task which run it resumes; nothing for the first, which most are."""
        run = present_run(self._context)
        return {RUN: [try_of(self._context), run]} if run > 1 else None

    # Its end

    def _finish(self, event: Event) -> int:
        """Turn what is known of the end into the task's end."""
        if event.job is None and event.kind != "not_visible":
            event = self._learn_the_rest(event)
        started = self._begun
        if event.kind == "execution_timeout":
            job = started.cancel_out_of_time(self._execution_timeout)
            if job is None or not job.terminal or job.status == JobStatus.CANCELLED:
                raise self._failure(event, self._execution_timeout, started.fate(job))
            # It was faster.
            event = ended(job)
        if event.kind != "ended" or event.job is None:
            # A job that goes on is nobody's to cancel from now on, and a next try's to find.
            started.store.release()
            raise self._failure(event, float(self.operator.timeout))
        job = event.job
        if not event.xcoms_written:
            job = self.hook.with_figures(job)
            push(job, self._xcom_context)
        if event.status != "success":
            started.store.delete()
        self.streams.learn(self._context, self.hook, job)
        why = self.hook.explain(job, self.streams.details)
        return finish(job, self._log, self.operator.airbyte_conn_id, why)

    def _failure(self, event: Event, seconds: float | None, *then: str) -> AirbyteException:
        return fail(event, self.operator.airbyte_conn_id, self.operator.connection_id, seconds, *then)

    def _learn_the_rest(self, event: Event) -> Event:
        """Ask for what the trigger does not tell: ours where its final check got no answer, the official one always.

        An ``error`` of the official provider's may be a job that failed, a wait that took too long, or one check of its
        own that failed.
        """
        now = time.time()
        match event.kind:
            case "execution_timeout":
                deadlines = Deadlines(None, now)
            case "timeout":
                deadlines = Deadlines(now, None)
            case _:
                deadlines = Deadlines(self._new_end_time(), None)
        return self._of_this_connection(self._wait(event.job_id, deadlines))

    def _of_this_connection(self, event: Event) -> Event:
        """Doubt an event that tells of another connection's job.

        Airbytes number their jobs alike, and a triggerer may for a moment ask the one to which the Airflow connection
        led before it was changed.
        """
        if event.job is None or not self._is_foreign(event.job):
            return event
        self._log.warning("The triggerer tells of another connection's job %s: asking Airbyte here", event.job_id)
        job = self._ask_airbyte(
            lambda client: self.operator.submit_policy.retry(lambda: client.get_job(event.job_id), self._log),
            f"looking up job {event.job_id}",
            job_id=event.job_id,
        )
        if self._is_foreign(job):
            raise AirbyteException(
                f"Airbyte job {event.job_id} is not one of connection {self.operator.connection_id}: Airflow "
                f"connection {self.operator.airbyte_conn_id!r} leads to another Airbyte than when the job was started. "
                "Look the job up there, and run the task again.",
                **self._subject,
                job_id=event.job_id,
            )
        # After a wait of the triggerer's that was in vain, the task has its whole timeout anew.
        return ended(job) if job.terminal else self._wait(job.job_id, Deadlines(self._new_end_time(), None))

    def _is_foreign(self, job: Job) -> bool:
        here = self.operator.connection_id
        return bool(job.connection_id and here) and job.connection_id != here

    def _end_out_of_time(self) -> int:
        """Cancel the job for the ``execution_timeout``: contrary to a kill, Airflow leaves the task time for that."""
        job_id = self._begun.job_id
        which = self.operator.connection_id or self.operator.connection_name
        if job_id is None:
            self._log.info("The task's execution_timeout is over: finding out which job it has started, if any")
            job_id = self._ask_airbyte(
                self._begun.submission.find_out,
                "looking for the task's job",
                connection_id=self.operator.connection_id,
            )
        if job_id is None:
            raise AirbyteTimeout(
                f"The task's execution_timeout ({self._execution_timeout:g} s) was over before a job of connection "
                f"{which!r} had ended. No job is known that it started.",
                **self._subject,
            )
        return self._finish(ran_out("execution_timeout", job_id, None))

    def _queue_timeout(self, deadline: str) -> AirbyteTimeout:
        return AirbyteTimeout(
            f"The task's {deadline} was over before connection {self.operator.connection_id} was free for its job, and "
            "a worker for the task. No job was started.",
            **self._subject,
        )

    # Its job

    def _begin(
        self, context: Context, run: int, store: AirflowRetryStore | None = None, *, job_id: int | None = None
    ) -> StartedJob:
        operator = self.operator
        store = store or AirflowRetryStore(context, self._log, run=run)
        self._context = context
        leave_link_to_task(operator)
        submission = Submission(
            store,
            operator.connection_id,
            operator.job_type,
            log=self._log,
            submit_policy=operator.submit_policy,
            until=None if operator.asynchronous else self._end_time,
            waits=not operator.asynchronous,
            cancel_after=self._cancel_after,
        )
        self._started = started = StartedJob(submission, store, cancel=self._cancel, log=self._log)
        started.job_id = job_id
        store.delete_after_end()
        self._check_for_kill()
        return started

    def _resume(self, context: Context, marker: WaitMarker | None) -> StartedJob:
        """Learn again which job this task waits for, after it was deferred."""
        operator = self.operator
        if marker is not None and marker.connection_id:
            # Known by name until now; or a template, which may say something else by now.
            if not operator.connection_id:
                self._named = marker.connection_id
            operator.connection_id = marker.connection_id
        elif operator.connection_id:
            operator.connection_id = validation.connection_id(operator)
        job_id = marker.job_id if marker is not None and marker.started_here else None
        return self._begin(context, present_run(context), job_id=job_id)

    def _learn_what_it_waits_for(self, ask: Callable[[Callable[[], WaitMarker | None]], WaitMarker | None]) -> None:
        """Resume, on behalf of a kill that comes before the task itself has read what it waits for."""
        try:
            context = get_current_context()
            self._resume(context, ask(partial(read_marker, context)))
        except Exception as error:
            why = str(error) or type(error).__name__
            self._log.warning("The task is stopped before it has learned what it waits for (%s)", why)

    def _know(self, job_id: int) -> None:
        """Tell a subclass which job it is."""
        self.operator.job_id = self._known_job = job_id

    def _started_by_subclass(self) -> int | None:
        """Return the job that a subclass has started itself, and stored as the official class stores its own."""
        job_id = self.operator.job_id
        return int(job_id) if job_id and job_id != self._known_job else None

    def _job_started_here(self, job: Job) -> bool:
        return self._begun.is_it(job)

    @property
    def _begun(self) -> StartedJob:
        assert self._started is not None, "made by every way into the task"
        return self._started

    def _cancel(self, job_id: int, connection_id: str, within: float | None) -> Job:
        with self.hook as hook:
            return hook.cancel_job(job_id, connection_id, within)

    # What it knows

    @property
    def _log(self) -> Any:
        return self.operator.log

    @property
    def _subject(self) -> dict[str, Any]:
        """What an exception is about."""
        return {"conn_id": self.operator.airbyte_conn_id, "connection_id": self.operator.connection_id or None}

    @property
    def _poll_interval(self) -> float:
        return float(self.operator.wait_seconds)

    @property
    def _cancel_after(self) -> float | None:
        """After how many seconds the job of before a clear is cancelled that still runs; None for never."""
        if not self.operator.cancel_on_kill:
            return None
        return TRIGGER_CANCELS_WITHIN if self.operator.deferrable else 0.0

    @property
    def _execution_timeout(self) -> float | None:
        life = self.operator.execution_timeout
        return life.total_seconds() if life else None

    def _new_end_time(self) -> float | None:
        """Return when a ``timeout`` is over that begins now."""
        timeout = float(self.operator.timeout)
        return time.time() + timeout if 0 < timeout < math.inf else None

    @property
    def _xcom_context(self) -> Context:
        """The context for those who leave XComs; an empty one if there are to be none."""
        wanted = self.operator.do_xcom_push and task_instance(self._context) is not None
        return self._context if wanted else {}


def _marker_of_subclass(event: Event) -> WaitMarker:
    """Return the wait marker that nobody has left: who waits with a trigger of its own making has started the job.

    That is the official operator before the migration, or a subclass, whose job may be another connection's.
    """
    told = event.job.connection_id if event.job else ""
    return WaitMarker(event.job_id, event.connection_id or told, started_here=True)
