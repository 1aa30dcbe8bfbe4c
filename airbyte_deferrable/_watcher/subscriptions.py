"""Who waits for which job, what is known of it, and how those who wait are told."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from airbyte_deferrable.api.aio import wake
from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.api.models import Job, JobStatus

#: Looks at one job that fail, one after the other, until those who wait for it are told.
FAILED_LOOKS = 3
#: A report of progress may come early by this share of its interval: the lists that bring it are read a little
#: sooner one time and a little later the next, and a report must not wait for the list after.
EARLY = 0.1
#: Seconds; shorter poll intervals are raised to it.
SHORTEST_POLL = 0.1


class JobNotVisible(Exception):
    """Airbyte said twice in a row that the job is not there to be seen.

    :param error: What it said the second time.
    """

    def __init__(self, error: ApiError) -> None:
        self.error = error
        super().__init__(str(error))


@dataclass(frozen=True, eq=False)
class Trouble:
    """Airbyte could not be asked, or it can again.

    :param error: What went wrong; None when the trouble is over.
    :param seconds: How long it lasted, when it is over.
    """

    error: ApiError | None
    seconds: float = 0.0


class TrackedJob:
    """A job, what the last answer said of it, and who waits for it.

    :param job_id: The job.
    """

    __slots__ = (
        "asked_at",
        "failed",
        "gone",
        "job",
        "job_id",
        "listed",
        "overdue",
        "refused",
        "seen_at",
        "trouble",
        "trouble_since",
        "walks_missed",
        "watches",
    )

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        self.watches: list[Watch] = []
        self.job: Job | None = None
        #: When an answer named the job last, by the loop's clock; None before the first.
        self.seen_at: float | None = None
        #: Whether a look is due at once.
        self.overdue = True
        #: When the job was last asked for by itself; None before the first time.
        self.asked_at: float | None = None
        #: Whether the list has named it: then sweeps tell of its changes.
        self.listed = False
        #: In how many lists it should have been and was not.
        self.walks_missed = 0
        self.refused = False
        self.gone: JobNotVisible | None = None
        self.failed = 0
        #: The trouble that this job alone has.
        self.trouble: Trouble | None = None
        self.trouble_since = 0.0

    @property
    def over(self) -> bool:
        """Whether there is nothing left to look for."""
        return self.gone is not None or (self.job is not None and self.job.terminal)

    @property
    def status(self) -> str:
        """The last status, or the likeliest for a job not seen yet."""
        return self.job.status if self.job else str(JobStatus.RUNNING)

    def saw(self, job: Job, now: float) -> None:
        """Take an answer that names the job.

        :param job: The job as Airbyte told it.
        :param now: The loop's time.
        """
        # The duration of a live job is that until its last change, so it tells of a new attempt, too.
        changed = self.job is None or (self.job.status, self.job.duration) != (job.status, job.duration)
        self.job, self.seen_at, self.overdue, self.refused = job, now, False, False
        self._answered(now)
        for watch in self.watches:
            watch.told(changed, now)

    def refuse(self, error: ApiError, now: float) -> None:
        """Take Airbyte's word that there is no such job; it is believed the second time in a row.

        :param error: What Airbyte said.
        :param now: The loop's time.
        """
        self._answered(now)
        if not self.refused:
            self.refused = True
            return
        self.gone = JobNotVisible(error)
        self._nudge()

    def fail(self, error: ApiError, now: float) -> None:
        """Take note that the job could not be asked for, while others could.

        :param error: What went wrong.
        :param now: The loop's time.
        """
        if not self.failed:
            self.trouble_since = now
        self.failed += 1
        if self.failed == FAILED_LOOKS:
            self.trouble = Trouble(error)
            self._nudge()

    def _answered(self, now: float) -> None:
        self.failed = 0
        if self.trouble is not None and self.trouble.error is not None:
            self.trouble = Trouble(None, now - self.trouble_since)
            self._nudge()

    def _nudge(self) -> None:
        for watch in self.watches:
            watch.nudge()


class Watcher(Protocol):
    """What a watch needs of its watcher."""

    trouble: Trouble | None

    def join(self, watch: Watch) -> TrackedJob:
        """Begin to look for the watch's job.

        :param watch: The watch.
        :return: What is known of the job.
        """

    def leave(self, watch: Watch) -> None:
        """Stop looking for it if nobody else waits.

        :param watch: The watch.
        """

    def now(self) -> float:
        """Return the event loop's time."""


class Watch:
    """One task's interest in one job, for ``with watcher.watch(job_id, …) as watch``.

    There may be tens of thousands: it holds no more than it needs.

    :param watcher: Who looks.
    :param job_id: The job.
    :param poll_interval: Seconds between two looks.
    :param progress_interval: Seconds between two reports of rows and bytes; 0 for none.
    """

    __slots__ = (
        "_anew_at",
        "_expired",
        "_job",
        "_job_trouble",
        "_news",
        "_progress_at",
        "_trouble",
        "_wake",
        "_watcher",
        "job_id",
        "poll_interval",
        "progress_interval",
    )

    def __init__(self, watcher: Watcher, job_id: int, poll_interval: float, progress_interval: float) -> None:
        self.job_id = job_id
        self.poll_interval = poll_interval
        self.progress_interval = progress_interval
        self._watcher = watcher
        self._job: TrackedJob | None = None
        self._wake: asyncio.Future[None] | None = None
        self._news = False
        self._expired = False
        self._anew_at = 0.0
        self._progress_at = 0.0
        self._trouble: Trouble | None = None
        self._job_trouble: Trouble | None = None

    def __enter__(self) -> Watch:
        self._job = self._watcher.join(self)
        self._news = self._job.job is not None
        self._progress_at = self._watcher.now() + self.progress_interval
        # Trouble that is over before this task came is none of its business.
        self._trouble = _if_over(self._watcher.trouble)
        self._job_trouble = _if_over(self._job.trouble)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.leave(self)

    def news(self) -> Job | Trouble | None:
        """Return what there is to tell; None if there is nothing, then wait until :meth:`woken`.

        :return: The job, when it is seen first, its status has changed, a report of its progress is due, or it
            has ended (then at once, however often asked); or the trouble that began or ended.
        :raises JobNotVisible: If Airbyte says twice that there is no such job.
        :raises asyncio.TimeoutError: If the watch has expired.
        """
        assert self._job is not None, "a watch is a context manager"
        if self._job.gone is not None:
            raise self._job.gone
        job = self._job.job
        if job is not None and (job.terminal or self._news):
            self._news = False
            return job
        trouble = self._watcher.trouble
        if trouble is not None and trouble is not self._trouble:
            self._trouble = trouble
            return trouble
        trouble = self._job.trouble
        if trouble is not None and trouble is not self._job_trouble:
            self._job_trouble = trouble
            return trouble
        if self._expired:
            raise asyncio.TimeoutError
        return None

    def woken(self) -> asyncio.Future[None]:
        """Return what to await until there may be news. For one task at a time.

        Not a coroutine: the garbage collector would have one more to go through for each of the thousands that wait.
        """
        self._wake = asyncio.get_running_loop().create_future()
        return self._wake

    def told(self, changed: bool, now: float) -> None:
        """Take note that an answer named the job.

        :param changed: Whether its status is another.
        :param now: The loop's time.
        """
        early = self.progress_interval * EARLY
        if changed or (self.progress_interval > 0 and now >= self._progress_at - early):
            self._progress_at = now + self.progress_interval
            self._news = True
            self.nudge()

    def expire(self) -> None:
        """Let the wait end with a timeout, unless there are news."""
        self._expired = True
        self.nudge()

    def begin_anew(self) -> None:
        """Have the job looked for as a newcomer's: soon, and together with all others that are."""
        self._anew_at = self._watcher.now()
        self._watcher.leave(self)
        self._job = self._watcher.join(self)

    def answer_since(self) -> Job | None:
        """Return the job as it was since the watch began anew, or its end; None if Airbyte has not told it yet."""
        assert self._job is not None, "a watch is a context manager"
        job, seen_at = self._job.job, self._job.seen_at
        return job if job is not None and (job.terminal or (seen_at or 0.0) >= self._anew_at) else None

    def answered(self, job: Job, asked_at: float) -> None:
        """Take an answer that the watcher did not ask for; all who wait for the job are told.

        :param job: The job.
        :param asked_at: When it was asked for, by the loop's time.
        """
        assert self._job is not None, "a watch is a context manager"
        if job.terminal or self.answer_since() is None:
            self._job.saw(job, asked_at)

    def nudge(self) -> None:
        """Let the waiting task look for itself."""
        if self._wake is not None:
            wake(self._wake)
            self._wake = None


class Watched:
    """All that one watcher looks for, and how eagerly those who wait want it."""

    def __init__(self) -> None:
        self.jobs: dict[int, TrackedJob] = {}
        self._polls: Counter[float] = Counter()
        self._progress: Counter[float] = Counter()

    def __len__(self) -> int:
        return len(self.jobs)

    def add(self, watch: Watch) -> TrackedJob:
        """Begin to look for a watch's job.

        :param watch: The watch.
        :return: What is known of the job.
        """
        tracked = self.jobs.setdefault(watch.job_id, TrackedJob(watch.job_id))
        tracked.watches.append(watch)
        self._polls[watch.poll_interval] += 1
        self._progress[watch.progress_interval] += 1
        return tracked

    def remove(self, watch: Watch) -> None:
        """Stop looking for a watch's job if nobody else waits for it.

        :param watch: The watch.
        """
        tracked = self.jobs[watch.job_id]
        tracked.watches.remove(watch)
        if not tracked.watches:
            del self.jobs[watch.job_id]
        for counter, key in ((self._polls, watch.poll_interval), (self._progress, watch.progress_interval)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]

    @property
    def poll_interval(self) -> float:
        """The shortest of all; :data:`SHORTEST_POLL` if nobody waits."""
        return min(self._polls, default=SHORTEST_POLL)

    @property
    def progress_interval(self) -> float | None:
        """The shortest of those who want reports of progress; None if nobody does."""
        return min((each for each in self._progress if each > 0), default=None)


def _if_over(trouble: Trouble | None) -> Trouble | None:
    return trouble if trouble is not None and trouble.error is None else None
