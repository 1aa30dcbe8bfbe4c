"""Whose turn it is to start a connection's next job, among the tasks that wait for the connection.

A connection runs one job at a time. If all tasks that wait for it came back when it falls idle, one would start its
job and the others would have taken a worker slot for nothing, again and again. So they form a line: only its head
asks Airbyte, and the next one moves up when the head has started its job.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from bisect import insort
from collections import defaultdict
from weakref import WeakKeyDictionary

from airbyte_deferrable._airflow.credentials import Renewal
from airbyte_deferrable._airflow.off_loop import Log
from airbyte_deferrable._job.submit import Patience, answers, newest_jobs, newest_live, newest_of
from airbyte_deferrable._job.wait import until_terminal
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable._watcher.subscriptions import SHORTEST_POLL, JobNotVisible
from airbyte_deferrable.api.errors import DOUBTS, ApiError
from airbyte_deferrable.api.models import Job

#: Seconds within which a task whose turn it is should have started its job: it needs a worker slot first.
STARTS_WITHIN = 120.0
#: Seconds without a list of jobs after which turns are given without it, if Airbyte answers otherwise.
UNLISTED = Patience.unlisted

_number = itertools.count()


class Turn:
    """A task's turn to start the connection's next job. While it may do so, nobody else gets one.

    :param queued_at: The task's place in the line.
    :param after: The newest job when it was given.
    :param pause: Seconds until the next turn, should the task come back for another without having started a job.
    """

    def __init__(self, queued_at: float, after: int, pause: float) -> None:
        self.queued_at = queued_at
        self.after = after
        self.pause = pause
        self._until = time.monotonic() + STARTS_WITHIN

    def holds(self, newest: int) -> bool:
        """Whether the task may still be about to start its job.

        :param newest: The newest job now.
        """
        return newest == self.after and time.monotonic() < self._until

    def give_back(self, pause: float = 0.0) -> None:
        """Let the next one in: the task will not start its job.

        :param pause: After so many seconds. Default: at once.
        """
        self._until = min(self._until, time.monotonic() + pause)


class _Line:
    """The tasks that wait for one connection, in the order in which they came."""

    def __init__(self) -> None:
        self.places: list[tuple[float, int]] = []
        self.moved = asyncio.Condition()
        #: The one that was given last.
        self.turn: Turn | None = None

    def come(self, queued_at: float) -> tuple[float, int]:
        """Return the place of a task that came then."""
        if self.turn is not None and self.turn.queued_at == queued_at:
            # It had its turn, and Airbyte refused its job: busy, although the list of its jobs shows none that runs.
            # Its own turn must not hold it back, but a refusal that lasts must not take a worker slot each poll.
            self.turn.give_back(self.turn.pause)
        place = (queued_at, next(_number))
        insort(self.places, place)
        return place

    def give(self, queued_at: float, newest: int, pause: float) -> Turn | None:
        """Give a turn, unless somebody has one. Each that led to no job makes the next one's pause longer."""
        last = self.turn
        if last is not None and last.holds(newest):
            return None
        if last is not None and last.after == newest:
            pause = min(2 * last.pause, STARTS_WITHIN)
        self.turn = Turn(queued_at, newest, pause)
        return self.turn


_lines: WeakKeyDictionary[JobWatcher, defaultdict[str, _Line]] = WeakKeyDictionary()


async def wait_for_turn(
    watcher: JobWatcher,
    connection_id: str,
    queued_at: float,
    *,
    poll_interval: float,
    log: Log,
    renewal: Renewal | None = None,
) -> Turn:
    """Wait until the connection is idle and nobody who came earlier is to go first.

    :param watcher: Who looks at the jobs that run before.
    :param connection_id: The connection.
    :param queued_at: When the task came, seconds since the epoch: its place in the line, by which it is known when it
        comes back for another turn.
    :param poll_interval: Seconds between two looks.
    :param log: The task's log.
    :param renewal: Other credentials, should Airbyte refuse these. Default: none.
    :return: The task's turn, to be given back if nothing comes of it.
    :raises CredentialsChanged: If there are such: it is to be waited on with them.
    """
    line = _lines.setdefault(watcher, defaultdict(_Line))[connection_id]
    pause = max(poll_interval, SHORTEST_POLL)
    place = line.come(queued_at)
    try:
        async with line.moved:
            await line.moved.wait_for(lambda: line.places[0] == place)
        troubled_since: float | None = None
        while True:
            newest: int | None = None
            try:
                newest = await _newest_ended(watcher, connection_id, poll_interval, log, renewal)
                troubled_since = None
            except DOUBTS as error:
                if troubled_since is None:
                    log.warning("Airbyte cannot be asked now whether the connection is idle, waiting on: %s", error)
                    troubled_since = time.monotonic()
                if renewal is not None:
                    renewal.heard(error)
                    renewal.check(log)
                unlisted = time.monotonic() - troubled_since >= UNLISTED
                if unlisted and await answers(watcher.borrow_client(), connection_id):
                    # Its answer to the request for the job tells as well, at the price of a worker slot; a refusal
                    # makes the pause until the next turn longer.
                    newest = 0
            if newest is not None:
                turn = line.give(queued_at, newest, pause)
                if turn is not None:
                    return turn
            await asyncio.sleep(pause)
    finally:
        if renewal is not None:
            renewal.stop()
        line.places.remove(place)
        async with line.moved:
            line.moved.notify_all()


async def _newest_ended(
    watcher: JobWatcher, connection_id: str, poll_interval: float, log: Log, renewal: Renewal | None
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


async def _see_end(watcher: JobWatcher, job: Job, poll_interval: float, log: Log, renewal: Renewal | None) -> Job:
    log.info("Connection %s runs job %s: waiting for its end", job.connection_id, job.job_id)
    with watcher.subscribe(job.job_id, poll_interval=poll_interval) as watch:
        return await until_terminal(watch, log, renewal=renewal)
