"""Which of the tasks that wait for a connection may start the next job.

A connection runs one job at a time. If all tasks that wait for it were resumed when it falls idle, one would start its
job and the others would have taken a worker slot for nothing, again and again. So they queue: only the first one asks
Airbyte, and the next one moves up when the first has started its job.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from bisect import insort
from collections import defaultdict
from weakref import WeakKeyDictionary

from airbyte_deferrable._job.job_list import answers, newest_jobs, newest_live, newest_of
from airbyte_deferrable._job.retrying import Outage, SubmitPolicy
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable._job.wait import CredentialSource, until_terminal
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable._watcher.subscriptions import SHORTEST_POLL, JobNotVisible
from airbyte_deferrable.api.errors import DOUBTS, ApiError
from airbyte_deferrable.api.models import Job

#: Seconds within which a task that is admitted should have started its job: it needs a worker slot first.
ADMITTED_STARTS_WITHIN = 120.0
#: Seconds without a list of jobs after which tasks are admitted without it, if Airbyte answers otherwise.
UNLISTED = SubmitPolicy.unlisted

_number = itertools.count()


class Admission:
    """That a task may start the connection's next job. Meanwhile nobody else is admitted.

    :param queued_at: The task's position in the queue.
    :param after: The connection's newest job when it was admitted.
    :param pause: Seconds until it is admitted again, should it come back without having started a job.
    """

    def __init__(self, queued_at: float, after: int, pause: float) -> None:
        self.queued_at = queued_at
        self.after = after
        self.pause = pause
        self._until = time.monotonic() + ADMITTED_STARTS_WITHIN

    def holds(self, newest: int) -> bool:
        """Whether the task may still be about to start its job.

        :param newest: The connection's newest job now.
        """
        return newest == self.after and time.monotonic() < self._until

    def release(self, pause: float = 0.0) -> None:
        """Let the next task be admitted: this one will not start its job.

        :param pause: After so many seconds. Default: at once.
        """
        self._until = min(self._until, time.monotonic() + pause)


class _Queue:
    """The tasks that wait for one connection, in the order in which they came."""

    def __init__(self) -> None:
        self.positions: list[tuple[float, int]] = []
        self.moved = asyncio.Condition()
        #: The last one.
        self.admission: Admission | None = None

    def join(self, queued_at: float) -> tuple[float, int]:
        """Return the position of a task that came then."""
        if self.admission is not None and self.admission.queued_at == queued_at:
            # It was admitted, and Airbyte refused its job: busy, although the list of its jobs shows none that runs.
            # Its own admission must not hold it back, but a refusal that lasts must not take a worker slot each poll.
            self.admission.release(self.admission.pause)
        position = (queued_at, next(_number))
        insort(self.positions, position)
        return position

    def admit(self, queued_at: float, newest: int, pause: float) -> Admission | None:
        """Admit a task, unless another one is. Each admission that led to no job makes the next one's pause longer."""
        last = self.admission
        if last is not None and last.holds(newest):
            return None
        if last is not None and last.after == newest:
            pause = min(2 * last.pause, ADMITTED_STARTS_WITHIN)
        self.admission = Admission(queued_at, newest, pause)
        return self.admission


_queues: WeakKeyDictionary[JobWatcher, defaultdict[str, _Queue]] = WeakKeyDictionary()


async def wait_in_queue(
    watcher: JobWatcher,
    connection_id: str,
    queued_at: float,
    *,
    poll_interval: float,
    log: Log,
    renewal: CredentialSource | None = None,
) -> Admission:
    """Wait until the connection is idle and nobody who came earlier is to go first.

    :param watcher: Sees the jobs end that run before.
    :param queued_at: When the task came, seconds since the epoch: its position, by which it is known when it comes
        back to be admitted again.
    :param poll_interval: Seconds between two checks.
    :param renewal: Other credentials, should Airbyte refuse these. Default: none.
    :return: To be released if no job comes of it.
    :raises CredentialsChanged: If there are such: it is to be waited on with them.
    """
    queue = _queues.setdefault(watcher, defaultdict(_Queue))[connection_id]
    pause = max(poll_interval, SHORTEST_POLL)
    position = queue.join(queued_at)
    try:
        async with queue.moved:
            await queue.moved.wait_for(lambda: queue.positions[0] == position)
        outage = Outage(log, "Airbyte cannot be asked now whether the connection is idle, waiting on")
        while True:
            newest: int | None = None
            try:
                newest = await _newest_ended(watcher, connection_id, poll_interval, log, renewal)
                outage.recovered()
            except DOUBTS as error:
                outage.failed(error)
                if renewal is not None:
                    renewal.heard(error)
                    renewal.check(log)
                if outage.seconds >= UNLISTED and await answers(watcher.borrow_client(), connection_id):
                    # Its answer to the request for the job tells as well, at the price of a worker slot; a refusal
                    # makes the pause until the next admission longer.
                    newest = 0
            if newest is not None:
                admission = queue.admit(queued_at, newest, pause)
                if admission is not None:
                    return admission
            await asyncio.sleep(pause)
    finally:
        if renewal is not None:
            renewal.stop()
        queue.positions.remove(position)
        async with queue.moved:
            queue.moved.notify_all()


async def _newest_ended(
    watcher: JobWatcher, connection_id: str, poll_interval: float, log: Log, renewal: CredentialSource | None
) -> int:
    """See the connection's present job end, and return the number of its newest; 0 if there is none."""
    try:
        jobs = await newest_jobs(watcher.borrow_client(), connection_id)
        live, newest = newest_live(jobs), newest_of(jobs)
        if live is not None:
            await _see_end(watcher, live, poll_interval, log, renewal)
    except DOUBTS:
        raise
    except (ApiError, JobNotVisible):
        # Airbyte will say what is wrong when it is asked to start the job.
        newest = None
    return newest.job_id if newest else 0


async def _see_end(
    watcher: JobWatcher, job: Job, poll_interval: float, log: Log, renewal: CredentialSource | None
) -> Job:
    log.info("Connection %s runs job %s: waiting for its end", job.connection_id, job.job_id)
    with watcher.subscribe(job.job_id, poll_interval=poll_interval) as watch:
        return await until_terminal(watch, log, renewal=renewal)
