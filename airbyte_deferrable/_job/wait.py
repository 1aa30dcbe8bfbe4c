"""Waiting for a job's end, told in the log of the task: the same in the triggerer and on a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from typing import Protocol
from weakref import WeakKeyDictionary

from airbyte_deferrable._job import events
from airbyte_deferrable._job.events import Deadline, Event
from airbyte_deferrable._job.retrying import RECOVERED, WAITS_ON
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable._watcher.attempts import BETWEEN_ATTEMPTS, attempt_of
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable._watcher.subscriptions import JobNotVisible, OutageNews, Subscription
from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.api.models import Job, JobStatus

#: Seconds for the final check of a job when the wait for it is over. Where many waits are over at once, Airbyte needs
#: longer to answer for all of them: it gets these seconds again with each answer that it gives, but no more than the
#: longest.
FINAL_CHECK_WITHIN = 5.0
LONGEST_FINAL_CHECK = 60.0
#: Final checks that ask for a job of their own at once. One that Airbyte cannot tell of must not hold the others, but
#: most are answered by the watcher's list.
FINAL_CHECKS_AT_ONCE = 2
#: Seconds until the next final check after one that failed.
FINAL_CHECK_AGAIN = 1.0
_EMPTY = Context()


class CredentialsChanged(Exception):
    """There are other credentials than those that are refused: the wait is to begin again with them."""


class CredentialSource(Protocol):
    """Where a wait whose credentials are refused gets others."""

    def heard(self, error: ApiError | None, then: Callable[[], object] | None = None) -> None:
        """Begin to look for others if these may be refused, and stop when Airbyte answers.

        :param error: What Airbyte, or a gateway before it, said; None if Airbyte answers.
        :param then: Called when there are others, for :meth:`check` to be.
        """

    def check(self, log: Log) -> None:
        """Say so if there are others.

        :raises CredentialsChanged: If there are.
        """

    def stop(self) -> None:
        """Look for others no more."""


class Course:
    """How a live job goes on, in lines for a log: one for each change of its status, and for each new attempt."""

    __slots__ = ("_attempt", "_lasted", "_status")

    def __init__(self) -> None:
        self._status = ""
        self._lasted: float | None = None
        #: The attempt that runs, or ran last; None if that cannot be told.
        self._attempt: int | None = None

    def change(self, job: Job) -> str | None:
        """Return what has changed since the job was seen last; None if nothing has.

        :param job: The job as it is now.
        """
        before, lasted = self._status, self._lasted
        self._status, self._lasted = job.status, job.duration_seconds
        self._attempt = attempt_of(job, before, lasted, self._attempt)
        line = f"Airbyte job {job.job_id} is {job.status}"
        if job.status != JobStatus.RUNNING:
            if job.status != before:
                return line
            if job.status == JobStatus.INCOMPLETE and self._lasted != lasted:
                return f"{line} again: another attempt failed"
            return None
        if before in BETWEEN_ATTEMPTS:
            if (before, lasted) == (self._status, self._lasted):
                return None
            if self._attempt is None:
                return f"{line} again: another attempt started"
            return f"{line} again: attempt {self._attempt} started"
        return line


class Deadlines:
    """When a wait is over, and which deadline says so.

    :param end_time: When the task's ``timeout`` runs out, seconds since the epoch; None for never.
    :param execution_deadline: When its ``execution_timeout`` runs out, likewise.
    """

    def __init__(self, end_time: float | None, execution_deadline: float | None) -> None:
        deadlines: list[tuple[float, Deadline]] = []
        if execution_deadline is not None:
            deadlines.append((execution_deadline, "execution_timeout"))
        if end_time is not None:
            deadlines.append((end_time, "timeout"))
        self._first = min(deadlines, default=None, key=lambda each: each[0])

    @property
    def nearest(self) -> Deadline:
        """The deadline that passes first."""
        return self._first[1] if self._first else "timeout"

    def left(self) -> float | None:
        """Return the seconds that are left, 0 if it is over; None if it never is."""
        return max(0.0, self._first[0] - time.time()) if self._first else None

    def alarm(self, expire: Callable[[], object]) -> asyncio.TimerHandle | None:
        """Have something called when it is over, unless the timer is cancelled before.

        No wait_for: before Python 3.12 it takes a task of its own for each of the thousands that wait. And one context
        for all of them, for waking needs none.

        :param expire: Ends the wait.
        :return: The timer; None if it never is over.
        """
        left = self.left()
        return None if left is None else asyncio.get_running_loop().call_later(left, expire, context=_EMPTY)


async def wait_for_end(
    watcher: JobWatcher,
    job_id: int,
    deadlines: Deadlines,
    *,
    poll_interval: float,
    progress_interval: float,
    log: Log,
    try_number: int | None = None,
    course: Course | None = None,
    renewal: CredentialSource | None = None,
) -> Event:
    """Wait until the job has ended, cannot be seen, or time is up. Nothing else ends the wait.

    :param watcher: Sees the job end.
    :param deadlines: When to give up.
    :param poll_interval: Seconds between two checks.
    :param progress_interval: Seconds between two log lines on rows and bytes; 0 for none.
    :param log: The task's log: a line for each change.
    :param try_number: The try that waits, for the event.
    :param course: What the log was told so far, by another watcher's word. Default: nothing.
    :param renewal: Other credentials, should Airbyte refuse these. Default: none.
    :return: What to tell the task.
    :raises CredentialsChanged: If there are such: it is to be waited on with them.
    """
    with watcher.subscribe(job_id, poll_interval=poll_interval, progress_interval=progress_interval) as watch:
        alarm = deadlines.alarm(watch.expire)
        try:
            job = await until_terminal(watch, log, course, renewal)
        except JobNotVisible as error:
            return events.not_visible(job_id, str(error), try_number)
        except asyncio.TimeoutError:
            last = await _final_check(watcher, watch)
            if last is None or not last.terminal:
                return events.ran_out(deadlines.nearest, job_id, last, try_number)
            job = last
        finally:
            if alarm is not None:
                alarm.cancel()
            if renewal is not None:
                renewal.stop()
    return events.ended(job, try_number)


async def until_terminal(
    watch: Subscription, log: Log, course: Course | None = None, renewal: CredentialSource | None = None
) -> Job:
    """Follow a job to its end, and tell each change.

    :param watch: The watch on the job.
    :param course: What the log was told so far. Default: nothing.
    :param renewal: Other credentials, should Airbyte refuse these. Default: none.
    :return: The job, ended.
    :raises JobNotVisible: If Airbyte says that it is not there.
    :raises CredentialsChanged: If there are other credentials.
    :raises asyncio.TimeoutError: If the watch expires before.
    """
    course = course or Course()
    while True:
        news = watch.news()
        if news is None:
            if renewal is not None:
                renewal.check(log)
            await watch.woken()
            continue
        if isinstance(news, OutageNews):
            say_outage(news, log)
            if renewal is not None:
                renewal.heard(news.error, watch.wake)
            continue
        if news.terminal:
            return news
        if (change := course.change(news)) is not None:
            log.info(change)
        else:
            log.info("Airbyte job %s is %s: %s so far", news.job_id, news.status, events.facts(news))


def say_outage(news: OutageNews, log: Log, begins: str = WAITS_ON) -> None:
    """Say what the watcher has told, which tells of an outage once.

    :param log: The task's log.
    :param begins: What is said when it begins; the error follows. Default: that the job may well go on.
    """
    if news.error is None:
        log.info("%s after %.0f s", RECOVERED, news.seconds)
    else:
        log.warning("%s: %s", begins, news.error)


class _FinalChecks:
    """What those have in common whose wait is over, and who wait at one watcher."""

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(FINAL_CHECKS_AT_ONCE)
        self.answered_at = 0.0


_final_checks: WeakKeyDictionary[JobWatcher, _FinalChecks] = WeakKeyDictionary()


async def _final_check(watcher: JobWatcher, watch: Subscription) -> Job | None:
    """Give the job one more chance: it may have ended since it was checked last.

    The watcher asks for many at once, but may rest, or wait out an outage that is over by now. So the job is asked for
    by itself, too, unless the watcher is faster.
    """
    checks = _final_checks.setdefault(watcher, _FinalChecks())
    began = watcher.now()
    watch.resubscribe()
    while True:
        async with checks.slots:
            asked_at = watcher.now()
            left = min(max(began, checks.answered_at) + FINAL_CHECK_WITHIN, began + LONGEST_FINAL_CHECK) - asked_at
            if left > 0 and watch.answer_since() is None:
                try:
                    job = await asyncio.wait_for(watcher.client.get_job(watch.job_id), max(left, FINAL_CHECK_AGAIN))
                except asyncio.TimeoutError:
                    continue
                except ApiError:
                    await asyncio.sleep(FINAL_CHECK_AGAIN)
                    continue
                watch.answered(job, asked_at)
            last = watch.answer_since()
            if last is not None:
                checks.answered_at = watcher.now()
            return last
