"""Waiting for a job's end, told in the log of the task: the same in the triggerer and on a worker."""

from __future__ import annotations

import asyncio
import time
from contextvars import Context
from weakref import WeakKeyDictionary

from airbyte_deferrable._airflow import results
from airbyte_deferrable._airflow.credentials import Renewal
from airbyte_deferrable._airflow.off_loop import Log
from airbyte_deferrable._airflow.results import Clock, Event
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable._watcher.subscriptions import JobNotVisible, OutageNews, Subscription
from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.api.models import Job, JobStatus

#: Seconds for the last look that is given to a job when the wait is over. Where many are over at once, Airbyte needs
#: longer to answer for all of them: it gets these seconds again with each answer that it gives, but no more than the
#: longest.
LAST_LOOK = 5.0
LONGEST_LAST_LOOK = 60.0
#: Last looks that ask for a job of their own at once. One that Airbyte cannot tell of must not hold the others, but
#: most are answered by the watcher's list.
LOOKS_AT_ONCE = 2
#: Seconds until the next last look after one that failed.
LOOK_AGAIN = 1.0
#: Seconds that Airbyte pauses, at least, after an attempt that failed and brought nothing. A job that has run since
#: earlier is in its first.
SECOND_ATTEMPT_AFTER = 10.0
_EMPTY = Context()
_BEFORE_ATTEMPTS = (JobStatus.PENDING, JobStatus.QUEUED)
#: A change to running from one of these begins a new attempt, also from running: nobody looked between the two.
_BETWEEN_ATTEMPTS = (JobStatus.RUNNING, JobStatus.INCOMPLETE)


class Course:
    """How a live job goes on, in lines for a log: one for each change of its status, and for each new attempt.

    The public API does not name attempts. But each begins with a change to ``running``, and the duration of a live
    job is that from its creation to its last change (``JobResponseMapper`` in airbyte-platform).
    """

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
        line = f"Airbyte job {job.job_id} is {job.status}"
        if job.status != JobStatus.RUNNING:
            if job.status != before:
                return line
            if job.status == JobStatus.INCOMPLETE and job.duration_seconds != lasted:
                # How many there were between the two looks, nobody knows.
                self._attempt = None
                return f"{line} again: another attempt failed"
            return None
        if before in _BETWEEN_ATTEMPTS:
            if (before, lasted) == (self._status, self._lasted):
                return None
            if self._attempt is None:
                return f"{line} again: another attempt started"
            self._attempt += 1
            return f"{line} again: attempt {self._attempt} started"
        first = before in _BEFORE_ATTEMPTS or (job.duration_seconds or 0.0) < SECOND_ATTEMPT_AFTER
        self._attempt = 1 if first else None
        return line


class Deadlines:
    """When a wait is over, and which clock says so.

    :param end_time: When the task's ``timeout`` runs out, seconds since the epoch; None for never.
    :param execution_deadline: When its ``execution_timeout`` runs out, likewise.
    """

    def __init__(self, end_time: float | None, execution_deadline: float | None) -> None:
        clocks: list[tuple[float, Clock]] = []
        if execution_deadline is not None:
            clocks.append((execution_deadline, "execution_timeout"))
        if end_time is not None:
            clocks.append((end_time, "timeout"))
        self._first = min(clocks, default=None, key=lambda clock: clock[0])

    @property
    def clock(self) -> Clock:
        """The clock that runs out first."""
        return self._first[1] if self._first else "timeout"

    def left(self) -> float | None:
        """Return the seconds that are left, 0 if it is over; None if it never is."""
        return max(0.0, self._first[0] - time.time()) if self._first else None


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
    renewal: Renewal | None = None,
) -> Event:
    """Wait until the job has ended, cannot be seen, or time is up. Nothing else ends the wait.

    :param watcher: Who looks.
    :param job_id: The job.
    :param deadlines: When to give up.
    :param poll_interval: Seconds between two looks.
    :param progress_interval: Seconds between two log lines on rows and bytes; 0 for none.
    :param log: The task's log: a line for each change.
    :param try_number: The try that waits, for the event.
    :param course: What the log was told so far, by another watcher's word. Default: nothing.
    :param renewal: Other credentials, should Airbyte refuse these. Default: none.
    :return: What to tell the task.
    :raises CredentialsChanged: If there are such: it is to be waited on with them.
    """
    with watcher.subscribe(job_id, poll_interval=poll_interval, progress_interval=progress_interval) as watch:
        left = deadlines.left()
        # No wait_for: before Python 3.12 it takes a task of its own for each of the thousands that wait. And one
        # context for all of them, for waking needs none.
        loop = asyncio.get_running_loop()
        alarm = None if left is None else loop.call_later(left, watch.expire, context=_EMPTY)
        try:
            job = await until_terminal(watch, log, course, renewal)
        except JobNotVisible as error:
            return results.not_visible(job_id, str(error), try_number)
        except asyncio.TimeoutError:
            last = await _last_look(watcher, watch)
            if last is None or not last.terminal:
                return results.ran_out(deadlines.clock, job_id, last, try_number)
            job = last
        finally:
            if alarm is not None:
                alarm.cancel()
            if renewal is not None:
                renewal.stop()
    return results.ended(job, try_number)


async def until_terminal(
    watch: Subscription, log: Log, course: Course | None = None, renewal: Renewal | None = None
) -> Job:
    """Follow a job to its end, and tell each change.

    :param watch: The watch on the job.
    :param log: The task's log.
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
            _tell(news, log)
            if renewal is not None:
                renewal.heard(news.error, watch.wake)
            continue
        if news.terminal:
            return news
        if (change := course.change(news)) is not None:
            log.info(change)
        else:
            log.info("Airbyte job %s is %s: %s so far", news.job_id, news.status, results.facts(news))


def _tell(trouble: OutageNews, log: Log) -> None:
    if trouble.error is None:
        log.info("Airbyte answers again after %.0f s", trouble.seconds)
    else:
        log.warning("Airbyte cannot be asked now. The job may well go on, so this task waits on. %s", trouble.error)


class _LastLooks:
    """What those have in common whose wait is over, and who wait at one watcher."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(LOOKS_AT_ONCE)
        self.answered_at = 0.0


_last_looks: WeakKeyDictionary[JobWatcher, _LastLooks] = WeakKeyDictionary()


async def _last_look(watcher: JobWatcher, watch: Subscription) -> Job | None:
    """Give the job one more chance: it may have ended since the last look.

    The watcher is asked for many at once, but may rest, or be in trouble that is over by now. So the job is asked for
    by itself, too, unless the watcher was faster by the time that it is the job's turn.
    """
    looks = _last_looks.setdefault(watcher, _LastLooks())
    began = watcher.now()
    watch.resubscribe()
    while True:
        async with looks.turns:
            asked_at = watcher.now()
            left = min(max(began, looks.answered_at) + LAST_LOOK, began + LONGEST_LAST_LOOK) - asked_at
            if left > 0 and watch.answer_since() is None:
                try:
                    job = await asyncio.wait_for(watcher.client.get_job(watch.job_id), max(left, LOOK_AGAIN))
                except asyncio.TimeoutError:
                    continue
                except ApiError:
                    await asyncio.sleep(LOOK_AGAIN)
                    continue
                watch.answered(job, asked_at)
            last = watch.answer_since()
            if last is not None:
                looks.answered_at = watcher.now()
            return last
