"""What is known of a job that somebody waits for, and how those who wait are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol

from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.api.models import Job, JobStatus


class JobNotVisible(Exception):
    """Airbyte said twice in a row that the job is not there to be seen.

    :param error: What it said the second time.
    """

    def __init__(self, error: ApiError) -> None:
        self.error = error
        super().__init__(str(error))


@dataclass(frozen=True)
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

    __slots__ = ("asked_at", "gone", "job", "job_id", "listed", "refused", "seen_at", "walks_missed", "watches")

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        self.watches: list[Watch] = []
        self.job: Job | None = None
        #: When an answer named the job last, by the loop's clock; None if a look is due at once.
        self.seen_at: float | None = None
        #: When the job was last asked for by itself.
        self.asked_at = 0.0
        #: Whether the list has named it: then sweeps tell of its changes.
        self.listed = False
        #: In how many lists it should have been and was not.
        self.walks_missed = 0
        self.refused = False
        self.gone: JobNotVisible | None = None

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
        changed = self.job is None or self.job.status != job.status
        self.job, self.seen_at, self.refused = job, now, False
        for watch in self.watches:
            watch.told(changed, now)

    def refuse(self, error: ApiError) -> None:
        """Take Airbyte's word that there is no such job; it is believed the second time in a row."""
        if not self.refused:
            self.refused = True
            return
        self.gone = JobNotVisible(error)
        for watch in self.watches:
            watch.nudge()


class Watcher(Protocol):
    """What a watch needs of its watcher."""

    trouble: Trouble | None

    def join(self, watch: Watch) -> TrackedJob:
        """Begin to look for the watch's job."""

    def leave(self, watch: Watch) -> None:
        """Stop looking for it if nobody else waits."""

    def now(self) -> float:
        """Return the event loop's time."""


class Watch:
    """One task's interest in one job, for ``with watcher.watch(job_id, …) as watch``.

    :param watcher: Who looks.
    :param job_id: The job.
    :param poll_interval: Seconds between two looks.
    :param progress_interval: Seconds between two reports of rows and bytes; 0 for none.
    """

    __slots__ = (
        "_job",
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
        self._wake = asyncio.Event()
        self._news = False
        self._progress_at = watcher.now() + progress_interval
        # Trouble that is over before this task came is none of its business.
        over = watcher.trouble is not None and watcher.trouble.error is None
        self._trouble = watcher.trouble if over else None

    def __enter__(self) -> Watch:
        self._job = self._watcher.join(self)
        self._news = self._job.job is not None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.leave(self)

    async def news(self) -> Job | Trouble:
        """Wait until there is something to tell.

        :return: The job, when it is seen first, its status has changed, a report of its progress is due, or it
            has ended (then at once, however often asked); or the trouble that began or ended.
        :raises JobNotVisible: If Airbyte says twice that there is no such job.
        """
        assert self._job is not None, "a watch is a context manager"
        while True:
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
            self._wake.clear()
            await self._wake.wait()

    def told(self, changed: bool, now: float) -> None:
        """Take note that an answer named the job.

        :param changed: Whether its status is another.
        :param now: The loop's time.
        """
        progress = self.progress_interval > 0 and now >= self._progress_at
        if changed or progress:
            self._progress_at = now + self.progress_interval
            self._news = True
            self._wake.set()

    def nudge(self) -> None:
        """Let the waiting task look for itself."""
        self._wake.set()


class ServerClock:
    """A lower bound of Airbyte's clock, from the stamps that Airbyte itself puts on jobs.

    The ``Date`` header would be the clock of whatever proxy answers, and may be hours off or missing. A job's
    last change cannot lie in the future of the clock that stamped it, so the latest stamp seen, moved on by the
    time since, never runs ahead of that clock.

    :param now: Returns the event loop's time.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._anchor: tuple[datetime, float] | None = None

    def saw(self, job: Job) -> None:
        """Learn from a job that was just read.

        :param job: The job.
        """
        stamp = job.updated_at
        bound = self.read()
        if stamp is not None and (bound is None or stamp > bound):
            self._anchor = (stamp, self._now())

    def read(self) -> datetime | None:
        """Return a moment that Airbyte's clock has passed; None before any job was seen."""
        if self._anchor is None:
            return None
        stamp, seen_at = self._anchor
        return stamp + timedelta(seconds=self._now() - seen_at)
