"""The operator that runs a job of an Airbyte connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar
from uuid import UUID

from airbyte_deferrable import submission
from airbyte_deferrable._compat import (
    AIRFLOW_3,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseOperator,
    conf,
    get_current_context,
)
from airbyte_deferrable.api.models import Job, JobType
from airbyte_deferrable.exceptions import (
    AirbyteConflictError,
    AirbyteInputError,
    AirbyteNotVisibleError,
    AirbyteRequestError,
    AirbyteTimeout,
)
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.lease import own_job, write_lease
from airbyte_deferrable.links import AirbyteJobLink, lead_to_job
from airbyte_deferrable.memory import JobMemory, Record
from airbyte_deferrable.outcome import Event, conclude, ended, fail, push, read_event
from airbyte_deferrable.triggers import HOLD_EVENTS, AirbyteSyncTrigger, AirbyteTurnTrigger
from airbyte_deferrable.waiting import Deadlines

if TYPE_CHECKING:
    from airbyte_deferrable._compat import Context
    from airbyte_deferrable.api.client import AirbyteClient

T = TypeVar("T")

POLL_ON_WORKER = 3.0
POLL_DEFERRED = 10.0
IF_RUNNING = ("wait", "attach", "skip", "fail")
#: Airflow's name for the method of a task that it has given up.
GIVEN_UP = "__fail__"
#: Seconds that a task killed while it starts its job waits for the job's id.
STARTS_WITHIN = 3.0


class AirbyteTriggerSyncOperator(BaseOperator):
    """Run a job of an Airbyte connection, at most one for each task instance.

    Three ways: wait on the worker (the default), leave the worker and wait in the triggerer
    (``deferrable=True``), or do not wait (``asynchronous=True``, for
    :class:`~airbyte_deferrable.sensors.AirbyteJobSensor`). Result, XComs, exceptions and log are the same.

    The return value is the job's id. XComs: ``final_status``, ``rows_synced``, ``bytes_synced``,
    ``duration_seconds`` and ``airbyte_job``, the job as Airbyte tells it.

    :param connection_id: The Airbyte connection, a UUID. Templated.
    :param airbyte_conn_id: The Airflow connection to Airbyte. Templated. Default: ``airbyte_default``.
    :param asynchronous: Return the job's id as soon as it is started. Default: False.
    :param deferrable: Wait in the triggerer. Default: ``[operators] default_deferrable``.
    :param api_version: The version in the API's path, where the connection's Host names no path. Default: ``v1``.
    :param wait_seconds: Seconds between two looks at the job. Default: 3 on the worker, 10 in the triggerer.
    :param timeout: Seconds to wait for the job's end; when they are over the task fails and the job goes on. Not
        used with ``asynchronous``. Default: 3600.
    :param job_type: What to run: ``sync``, ``reset``, ``clear`` (the same as ``reset`` to Airbyte) or ``refresh``
        (refused by the public API of today's Airbyte). Templated. Default: ``sync``.
    :param if_running: What to do when the connection runs another job: ``wait`` for its end and then start ours,
        ``attach`` to it, so that its outcome is ours, ``skip`` the task, or ``fail``. Default: ``wait``.
    :param cancel_on_kill: Cancel the job when a person kills the task (marks it, clears it, deletes its run).
        Default: True.
    :param progress_seconds: Seconds between two log lines on rows and bytes; 0 for none. Default: 60.
    :param kwargs: Airflow's own. With ``execution_timeout`` the job is cancelled and the task fails when it is
        over; Airflow 3 does not apply it to a deferred task, the trigger does.
    """

    template_fields: Sequence[str] = ("connection_id", "airbyte_conn_id", "job_type")
    ui_color = "#6C51FD"
    operator_extra_links = (AirbyteJobLink(),)

    def __init__(
        self,
        connection_id: str,
        airbyte_conn_id: str = "airbyte_default",
        asynchronous: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        api_version: str = "v1",
        wait_seconds: float | None = None,
        timeout: float = 3600,
        *,
        job_type: str = "sync",
        if_running: Literal["wait", "attach", "skip", "fail"] = "wait",
        cancel_on_kill: bool = True,
        progress_seconds: float = 60.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.connection_id = connection_id
        self.airbyte_conn_id = airbyte_conn_id
        self.asynchronous = asynchronous
        self.deferrable = deferrable
        self.api_version = api_version
        self.wait_seconds = wait_seconds
        self.timeout = timeout
        self.job_type = job_type
        self.if_running = if_running
        self.cancel_on_kill = cancel_on_kill
        self.progress_seconds = progress_seconds
        self._hook: AirbyteHook | None = None
        # What on_kill must know: Airflow calls it in the middle of whatever the task does.
        self._our_job: int | None = None
        self._starting = False

    def execute(self, context: Context) -> int:
        """Find or start the job, then wait for its end in the way that was chosen.

        :param context: The task's context.
        :return: The job's id.
        """
        self._check_input()
        now = time.time()
        return self._run(context, now + self.timeout, self._execution_deadline(now))

    def execute_turn(
        self, context: Context, event: Any, end_time: float | None = None, execution_deadline: float | None = None
    ) -> int:
        """Resume when the connection, busy before, may run this task's job.

        :param context: The task's context.
        :param event: What :class:`~airbyte_deferrable.triggers.AirbyteTurnTrigger` tells.
        :param end_time: When ``timeout`` is over.
        :param execution_deadline: When ``execution_timeout`` is over.
        :return: The job's id.
        """
        if self._is_of_another_try(event, context):
            return self.execute(context)
        if event["status"] != "turn":
            raise self._never_our_turn(event["reason"])
        return self._run(context, end_time, execution_deadline)

    def execute_complete(self, context: Context, event: Any = None) -> int:
        """Resume with what the trigger tells.

        :param context: The task's context.
        :param event: See :class:`~airbyte_deferrable.outcome.Event`.
        :return: The job's id.
        """
        if self._is_of_another_try(event, context):
            return self.execute(context)
        with self._connect() as hook:
            self._our_job = own_job(context)
            return self._finish(hook, context, read_event(event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; if Airflow itself gave the deferred task up because of its ``execution_timeout``, cancel the job.

        Airflow 2 does so shortly after the trigger should have told.

        :param next_method: The method to go on with.
        :param next_kwargs: Its arguments.
        :param context: The task's context.
        """
        if next_method == GIVEN_UP and "timeout" in str((next_kwargs or {}).get("error", "")).lower():
            self._our_job = own_job(context)
            self._cancel_our_job()
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """Cancel the job that this task started, when Airflow stops the task on its worker."""
        if not self.cancel_on_kill:
            return
        if self._our_job is None and not self._starting:
            # A task that is stopped as soon as it is resumed has not read yet what it waited for.
            with suppress(Exception):
                self._our_job = own_job(get_current_context())
        self._cancel_our_job()

    # Its steps

    def _run(self, context: Context, end_time: float | None, execution_deadline: float | None) -> int:
        try:
            with self._connect() as hook:
                job = self._obtain(hook, context, end_time, execution_deadline)
                self._tell(hook, context, job)
                if self.asynchronous:
                    JobMemory(context).forget()
                    return job.job_id
                if self.deferrable and not job.terminal:
                    # A job that is over by now is not worth leaving for; and an event that comes too soon after
                    # the task has left can fail it (see HOLD_EVENTS).
                    job = hook.get_job_details(job.job_id)
                if job.terminal:
                    return self._finish(hook, context, ended(job))
                if self.deferrable:
                    self._leave(context, job, end_time, execution_deadline)
                event = hook.wait_for_end(
                    job.job_id,
                    Deadlines(end_time, None),
                    poll_interval=self._poll(POLL_ON_WORKER),
                    progress_interval=self.progress_seconds,
                )
                return self._finish(hook, context, event)
        except AirflowTaskTimeout:
            self._cancel_our_job()
            raise self._out_of_time() from None

    def _obtain(
        self, hook: AirbyteHook, context: Context, end_time: float | None, execution_deadline: float | None
    ) -> Job:
        """Find the job of an earlier try, or start one, or come to terms with one that runs."""
        memory = JobMemory(context)
        record = memory.recall(self.connection_id, self.job_type)
        if record is not None:
            job = self._call(hook, lambda client: submission.find_again(client, record, self.log), "looking for")
            if job is not None:
                self._our_job = job.job_id
                memory.remember(record.model_copy(update={"job_id": job.job_id}))
                return job
        while True:
            try:
                return self._start(hook, memory)
            except submission.Busy as busy:
                job = self._meet(hook, context, busy, end_time, execution_deadline)
                if job is not None:
                    return job

    def _start(self, hook: AirbyteHook, memory: JobMemory) -> Job:
        """Start a job, remembering before and after, so that a killed worker loses nothing."""
        after = self._newest_job_id(hook)
        record = Record(
            generation=memory.generation,
            connection_id=self.connection_id,
            job_type=self.job_type,
            after=after,
            written_at=time.time(),
        )
        memory.remember(record)

        async def start(client: AirbyteClient) -> Job:
            job = await submission.start_job(client, self.connection_id, self.job_type, after, log=self.log)
            # Here, not after the call: the main thread may be in on_kill, which waits for this.
            self._our_job = job.job_id
            return job

        self._starting = True
        try:
            job = self._call(hook, start, "starting")
        finally:
            self._starting = False
        memory.remember(record.model_copy(update={"job_id": job.job_id}))
        return job

    def _newest_job_id(self, hook: AirbyteHook) -> int | None:
        """Return the connection's newest job, 0 if it never ran, None if its jobs cannot be listed."""
        try:
            newest = hook.call(
                lambda client: submission.newest_job(client, self.connection_id),
                f"listing the jobs of connection {self.connection_id}",
                connection_id=self.connection_id,
            )
        except (AirbyteNotVisibleError, AirbyteRequestError):
            # If it is the connection that cannot be seen, the request to start the job will say so.
            return None
        if newest is not None and not newest.terminal:
            # Airbyte would refuse a sync with 409, but for a reset cancel the job that runs.
            raise submission.Busy(newest)
        return newest.job_id if newest else 0

    def _meet(
        self,
        hook: AirbyteHook,
        context: Context,
        busy: submission.Busy,
        end_time: float | None,
        execution_deadline: float | None,
    ) -> Job | None:
        """Do what ``if_running`` says; return the job to wait for, or None to try again."""
        runs = f"Connection {self.connection_id} runs job {busy.job.job_id if busy.job else '(ended since)'} already"
        if self.if_running == "skip":
            raise AirflowSkipException(f"{runs}, and if_running is 'skip'.")
        if self.if_running == "fail":
            raise AirbyteConflictError(
                f"{runs}, and if_running is 'fail'. Choose 'wait' or 'attach', or run the task later.",
                conn_id=self.airbyte_conn_id,
                connection_id=self.connection_id,
                job_id=busy.job.job_id if busy.job else None,
            )
        if self.if_running == "attach" and busy.job is not None:
            self.log.info("%s: its outcome is ours", runs)
            return busy.job
        self.log.info("%s: waiting for its end to start ours", runs)
        if self.deferrable:
            now = time.time()
            self.defer(
                trigger=AirbyteTurnTrigger(
                    connection_id=self.connection_id,
                    conn_id=self.airbyte_conn_id,
                    queued_at=now,
                    poll_interval=self._poll(POLL_DEFERRED),
                    end_time=end_time,
                    execution_deadline=execution_deadline,
                    api_version=self.api_version,
                    try_number=context["ti"].try_number,
                    not_before=now + HOLD_EVENTS,
                ),
                method_name=self.execute_turn.__name__,
                kwargs={"end_time": end_time, "execution_deadline": execution_deadline},
            )
        if not hook.wait_for_turn(
            self.connection_id, Deadlines(end_time, None), poll_interval=self._poll(POLL_ON_WORKER)
        ):
            raise self._never_our_turn("timeout")
        return None

    def _leave(self, context: Context, job: Job, end_time: float | None, execution_deadline: float | None) -> NoReturn:
        """Hand the job over to the triggerer."""
        ours = self._our_job == job.job_id
        write_lease(context, job.job_id, ours=ours)
        now = time.time()
        self.log.info("Leaving the worker; the triggerer waits for job %s", job.job_id)
        self.defer(
            trigger=AirbyteSyncTrigger(
                job_id=job.job_id,
                conn_id=self.airbyte_conn_id,
                end_time=end_time or now,
                poll_interval=self._poll(POLL_DEFERRED),
                execution_deadline=execution_deadline,
                api_version=self.api_version,
                cancel_on_kill=ours and self.cancel_on_kill,
                try_number=context["ti"].try_number,
                progress_interval=self.progress_seconds,
                not_before=now + HOLD_EVENTS,
            ),
            method_name=self.execute_complete.__name__,
        )

    def _finish(self, hook: AirbyteHook, context: Context, event: Event) -> int:
        """Turn what is known of the end into the task's end."""
        if event.reason is not None:
            if event.status == "timeout":
                self._cancel_our_job()
            patience = self._life() if event.status == "timeout" else self.timeout
            raise fail(event, self.airbyte_conn_id, self.connection_id, patience)
        # A trigger of the official provider tells no more than the status.
        job = event.job or hook.get_job_details(event.job_id)
        JobMemory(context).forget()
        push(job, context)
        return conclude(job, self.log, self.airbyte_conn_id)

    def _tell(self, hook: AirbyteHook, context: Context, job: Job) -> None:
        """Name the job and lead to it, in the log and from the task's page."""
        name, url = lead_to_job(hook, context, job)
        whose = "Submitted" if self._our_job == job.job_id else "Waiting for"
        self.log.info("%s job %s (%s) of connection %s", whose, job.job_id, job.job_type, name or self.connection_id)
        if url:
            self.log.info("See it in Airbyte: %s", url)

    def _cancel_our_job(self) -> None:
        """Cancel the job that this task started, if there is one; never another."""
        wait_until = time.monotonic() + STARTS_WITHIN
        while self._starting and self._our_job is None and time.monotonic() < wait_until:
            time.sleep(0.05)
        if self._our_job is None:
            return
        try:
            with self._connect() as hook:
                hook.cancel_job(self._our_job)
        except Exception as error:
            self.log.error("Airbyte job %s could not be cancelled: %s", self._our_job, error)

    def _connect(self) -> AirbyteHook:
        """Return the task's one hook, for one session and one token."""
        if self._hook is None:
            self._hook = AirbyteHook(self.airbyte_conn_id, self.api_version)
        return self._hook

    def _call(self, hook: AirbyteHook, use: Callable[[AirbyteClient], Coroutine[Any, Any, T]], doing: str) -> T:
        what = f"{doing} a {self.job_type} of connection {self.connection_id}"
        return hook.call(use, what, connection_id=self.connection_id)

    # Its clocks and its input

    def _poll(self, default: float) -> float:
        return default if self.wait_seconds is None else float(self.wait_seconds)

    def _life(self) -> float | None:
        return self.execution_timeout.total_seconds() if self.execution_timeout else None

    def _execution_deadline(self, now: float) -> float | None:
        life = self._life()
        if life is None:
            return None
        # Airflow 2 ends a deferred task itself when its time is up: the trigger is to tell before that.
        return now + life - (0.0 if AIRFLOW_3 else min(30.0, life / 10))

    def _is_of_another_try(self, event: Any, context: Context) -> bool:
        """Airflow 3.0 hands a new try the event of the old one instead of starting it over."""
        told = event.get("try_number") if isinstance(event, dict) else None
        if told is None or told == context["ti"].try_number:
            return False
        self.log.info("This event is of try %s: starting try %s", told, context["ti"].try_number)
        return True

    def _out_of_time(self) -> AirbyteTimeout:
        job = f"Airbyte job {self._our_job}" if self._our_job else "The task"
        return AirbyteTimeout(
            f"{job} of connection {self.connection_id} has not ended before the task's execution_timeout "
            f"({self._life():g} s) was over. The job is cancelled if this task started it.",
            conn_id=self.airbyte_conn_id,
            connection_id=self.connection_id,
            job_id=self._our_job,
        )

    def _never_our_turn(self, clock: str) -> AirbyteTimeout:
        return AirbyteTimeout(
            f"Connection {self.connection_id} was still busy with other jobs when the task's {clock} was over. "
            "No job was started.",
            conn_id=self.airbyte_conn_id,
            connection_id=self.connection_id,
        )

    def _check_input(self) -> None:
        """Refuse what cannot work before anything is started."""
        try:
            self.connection_id = str(UUID(str(self.connection_id)))
        except ValueError:
            raise self._bad("connection_id", self.connection_id, "the UUID of an Airbyte connection") from None
        if self.job_type not in set(JobType):
            raise self._bad("job_type", self.job_type, "one of " + ", ".join(JobType))
        if self.if_running not in IF_RUNNING:
            raise self._bad("if_running", self.if_running, "one of " + ", ".join(IF_RUNNING))
        for name in ("wait_seconds", "timeout", "progress_seconds"):
            value = getattr(self, name)
            if value is None and name == "wait_seconds":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise self._bad(name, value, "a number of seconds, not negative")

    def _bad(self, name: str, value: Any, wanted: str) -> AirbyteInputError:
        return AirbyteInputError(
            f"{name} must be {wanted}, not {value!r}. Nothing was started.", conn_id=self.airbyte_conn_id
        )
