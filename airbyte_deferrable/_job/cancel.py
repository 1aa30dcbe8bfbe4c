"""Cancelling a job, and only that job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import DOUBTS, ApiError, Conflict, Rejected, Unreachable
from airbyte_deferrable.api.models import Job

#: Seconds within which a job that a worker cancels should have ended.
CANCEL_WITHIN = 10.0
#: Seconds between the first two checks of a job that is being cancelled; the pauses grow to the second.
CHECK_AGAIN, CHECK_AGAIN_LATER = 0.5, 2.0
#: A job is only checked, and not cancelled again, for so many times as long as requests to cancel it went without an
#: answer: Airbyte goes on with them until the job has stopped, and each holds one of the five threads that it has.
PAUSE_PER_UNANSWERED = 4.0

#: Of each client as many cancellations go on at once as leave one request for others: Airbyte's DELETE answers only
#: when the job has stopped.
_gates: WeakKeyDictionary[AirbyteClient, asyncio.Semaphore] = WeakKeyDictionary()


async def cancel_job(
    borrow: Callable[[], AirbyteClient], job_id: int, *, within: float, log: Log, connection_id: str = ""
) -> Job:
    """Cancel a job and see it end.

    Airbyte cancels whatever the job's *connection* runs, whichever job is named, and does nothing while the job
    is still pending although it answers 200. So the job is checked before each attempt, and again until it has
    ended. Between the check and the attempt the job may end and another begin; nothing in Airbyte's API closes
    that gap of one round trip.

    :param borrow: Returns the client; asked before each request, so that a watcher that lingers does not close it.
    :param within: Seconds after which to give up.
    :param log: Gets a line when the cancellation begins and when it has happened.
    :param connection_id: Whose job it is. Airbytes number their jobs alike, so that another one, to which the Airflow
        connection leads by now, may have a job of that number, too. Default: not known.
    :return: The job as it was last: terminal, unless time was up.
    :raises airbyte_deferrable.api.errors.ApiError: If Airbyte refused, or gave no answer in that time, or the job is
        another connection's.
    """
    cancellation = _Cancellation(borrow, job_id, connection_id, log)
    try:
        # Around all of it: a single request may hang for longer than there is time.
        return await asyncio.wait_for(cancellation.run(), within)
    except asyncio.TimeoutError:
        if cancellation.job is None:
            raise cancellation.error or Unreachable(f"GET /jobs/{job_id}", "No answer in time.") from None
        log.warning("Airbyte job %s is still %s after %.0f s of cancelling", job_id, cancellation.job.status, within)
        return cancellation.job


class _Cancellation:
    def __init__(self, borrow: Callable[[], AirbyteClient], job_id: int, connection_id: str, log: Log) -> None:
        self.job: Job | None = None
        self.error: ApiError | None = None
        self._borrow = borrow
        self._job_id = job_id
        self._connection_id = connection_id
        self._log = log
        self._asked = False
        self._unanswered = 0.0
        self._ask_again_at = 0.0

    async def run(self) -> Job:
        pause = CHECK_AGAIN
        while True:
            try:
                async with _gate(self._borrow()):
                    if (job := await self._attempt()).terminal:
                        return job
            except DOUBTS as error:
                self.error = error
            await asyncio.sleep(pause)
            pause = min(2 * pause, CHECK_AGAIN_LATER)

    async def _attempt(self) -> Job:
        """Check the job, and cancel it if it is live."""
        job = self.job = await self._borrow().get_job(self._job_id)
        if job.connection_id and self._connection_id not in ("", job.connection_id):
            raise Rejected(
                f"DELETE /jobs/{job.job_id}",
                f"Not asked for: there, this is a job of connection {job.connection_id}, not of {self._connection_id}. "
                "The Airflow connection leads to another Airbyte than when the job was started.",
            )
        if job.terminal and not self._asked:
            self._log.info("Airbyte job %s has ended already (%s): nothing to cancel", job.job_id, job.status)
            return job
        if not job.terminal:
            if not self._asked:
                self._log.info("Cancelling Airbyte job %s of connection %s", job.job_id, job.connection_id)
            self._asked = True
            job = await self._ask_to_stop(job)
        if job.terminal:
            self._log.info("Airbyte job %s is %s", job.job_id, job.status)
        return job

    async def _ask_to_stop(self, job: Job) -> Job:
        began = time.monotonic()
        if began < self._ask_again_at:
            return job
        try:
            self.job = await self._borrow().cancel_job(job.job_id)
        except Conflict:
            # "Job is not currently running": it has ended meanwhile, or its attempt has not begun. The next check
            # tells.
            return job
        except Unreachable as error:
            if error.may_have_arrived:
                now = time.monotonic()
                self._unanswered += now - began
                self._ask_again_at = now + PAUSE_PER_UNANSWERED * self._unanswered
            raise
        return self.job


def _gate(client: AirbyteClient) -> asyncio.Semaphore:
    if client not in _gates:
        _gates[client] = asyncio.Semaphore(max(1, client.settings.max_requests - 1))
    return _gates[client]
