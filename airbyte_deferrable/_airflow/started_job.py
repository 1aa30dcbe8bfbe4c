"""The job that a task has started, which goes with it when a user kills it or its ``execution_timeout`` is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from airbyte_deferrable._airflow.execution_timeout import time_to_stop
from airbyte_deferrable._airflow.kill import ask_while_killed
from airbyte_deferrable._airflow.retry_store import AirflowRetryStore
from airbyte_deferrable._job.submit import Submission
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable.api.models import Job

#: Cancels a job, of a connection or, if that is empty, of any, within so many seconds; None for as many as a task has
#: that is killed.
Cancel = Callable[[int, str, float | None], Job]

#: Seconds that a task killed while it starts its job waits for the job's id. Airflow 3 ends the process after 5.
NAMED_WITHIN = 3.0


class StartedJob:
    """What a task has started, as far as that is known at any moment, also in the middle of the start.

    :param submission: Starts it, and knows it.
    :param store: What the task's tries leave for each other.
    :param cancel: Cancels a job.
    """

    def __init__(self, submission: Submission, store: AirflowRetryStore, *, cancel: Cancel, log: Log) -> None:
        self.submission = submission
        self.store = store
        #: Whether the job is to be cancelled as soon as it is known.
        self.killed = False
        self._cancel = cancel
        self._log = log

    @property
    def job_id(self) -> int | None:
        """The job; None if none is known that this task has started for certain."""
        return self.submission.started_job

    @job_id.setter
    def job_id(self, job_id: int | None) -> None:
        self.submission.started_job = job_id

    def is_it(self, job: Job) -> bool:
        """Tell whether this task has started the job."""
        return self.job_id == job.job_id

    def kill(self, *, cancel: bool) -> None:
        """Let none be started any more, and no later try take one for its own. May be called in a signal handler.

        :param cancel: Whether to cancel the job.
        """
        store = self.store
        self.submission.stopped = True
        try:
            if not ask_while_killed(lambda: store.abandon(cancelled=cancel)):
                self._log.warning("A later try of the task has begun: leaving its job alone")
                return
        except Exception as error:
            # Airflow 3.3 no longer knows a try that was cleared while it runs.
            self._log.warning("Airflow does not take down that the task was stopped, its next try finds out: %r", error)
        if cancel:
            self.killed = True
            self.cancel_killed()

    def cancel_killed(self) -> None:
        """Cancel the job of a task that was killed, if it is known. No later try has to know of one that has ended."""
        job = self.cancel()
        if job is not None and job.terminal:
            with suppress(Exception):
                # A record that stays does no harm.
                ask_while_killed(self.store.drop_abandoned)

    def cancel_out_of_time(self, execution_timeout: float | None) -> Job | None:
        """Cancel the job because the task's ``execution_timeout`` is over.

        :return: As of :meth:`cancel`.
        """
        return self.cancel(time_to_stop(execution_timeout))

    def cancel(self, within: float | None = None) -> Job | None:
        """Cancel the job, if there is one; never another.

        :param within: Seconds that it is given to stop. Default: as many as a task has that is killed.
        :return: The job as it was last; None if there is none, or it could not be cancelled.
        """
        wait_until = time.monotonic() + NAMED_WITHIN
        while self.submission.starting and time.monotonic() < wait_until:
            time.sleep(0.05)
        if self.job_id is None:
            return None
        return try_to_cancel(self._cancel, self.job_id, self.submission.connection_id, within, self._log)

    def fate(self, cancelled: Job | None) -> str:
        """Say what became of the job when the task's ``execution_timeout`` was over.

        :param cancelled: What :meth:`cancel_out_of_time` returned.
        """
        if self.job_id is None:
            return "The job goes on: this task did not start it, or not for certain."
        if cancelled is not None and cancelled.terminal:
            return "The job is cancelled."
        return "The job could not be cancelled: see the task's log, and cancel it in Airbyte."


def try_to_cancel(cancel: Cancel, job_id: int, connection_id: str, within: float | None, log: Log) -> Job | None:
    """Cancel a job, and only say so if that cannot be done.

    :param connection_id: The Airbyte connection whose job it has to be; empty for any.
    :param within: Seconds that it is given to stop; None for as many as a task has that is killed.
    :return: The job as it was last; None if it could not be cancelled.
    """
    try:
        return cancel(job_id, connection_id, within)
    except Exception as error:
        log.error("Airbyte job %s could not be cancelled: %s", job_id, error)
        return None
