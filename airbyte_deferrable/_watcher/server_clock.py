"""Airbyte's clock, as far as it can be known from outside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from airbyte_deferrable._watcher.subscriptions import SubscribedJob
from airbyte_deferrable.api.models import Job


def utc_now() -> datetime:
    """Return what this machine's clock says."""
    return datetime.now(timezone.utc)


class ServerClock:
    """A lower bound of Airbyte's clock, from the stamps that Airbyte itself puts on jobs.

    The ``Date`` header would be the clock of whatever proxy answers, and may be hours off or missing. A job's
    last change cannot lie in the future of the clock that stamped it, so the latest stamp seen, moved on by the
    time since, never runs ahead of that clock.

    Airbyte's server pods have a clock each. The bound is that of the one that is furthest ahead; by how much the
    others are behind shows when a job that was seen running ends with a stamp from before.

    One clock that is badly wrong must not hide all changes from then on: a stamp in the far future counts for nothing.
    One that is wrong by less may: what it hides of jobs that are waited for is found when they are checked, and for
    what nothing checks there is :meth:`passed_by_all`.

    :param now: Returns the event loop's time.
    """

    #: The most that one pod's clock is believed to be behind another's.
    MOST_BEHIND = timedelta(hours=1)
    #: Stamps are rounded down to whole seconds.
    ROUNDED = timedelta(seconds=1)
    #: What stamps are believed: those since the beginning of Unix time, and until a year from this machine's own. A
    #: simulator's clock is moved on by weeks.
    EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)
    MOST_AHEAD = timedelta(days=365)

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._anchor: tuple[datetime, float] | None = None
        #: How far the pods' clocks are known to be apart.
        self.spread = timedelta()

    def update(self, job: Job, before: SubscribedJob | None = None) -> None:
        """Learn from a job that was just read.

        :param job: The job.
        :param before: What was known of it until now, if it is waited for.
        """
        stamp = job.updated_at
        if stamp is None or not self.EARLIEST <= stamp <= utc_now() + self.MOST_AHEAD:
            return
        bound = self.read()
        if bound is None or stamp > bound:
            self._anchor = (stamp, self._now())
        if before is not None and before.seen_at is not None and job.terminal and not before.over:
            seen_running = self.read(before.seen_at)
            if seen_running is not None and stamp + self.ROUNDED < seen_running:
                self.spread = max(self.spread, min(seen_running - stamp, self.MOST_BEHIND))

    def read(self, at: float | None = None) -> datetime | None:
        """Return a moment that Airbyte's clock had passed; None before any job was seen.

        :param at: When, by the event loop's time. Default: now.
        """
        if self._anchor is None:
            return None
        stamp, seen_at = self._anchor
        return stamp + timedelta(seconds=(self._now() if at is None else at) - seen_at)

    def passed_by_all(self, at: float) -> datetime | None:
        """Return a moment that the clocks of all pods had passed, as far as is known; None before any job was seen.

        The bound is that of the clock furthest ahead, and one row that was stamped ahead raises it for good. Where
        what is stamped before a moment is never read again, that would lose all that the others stamp. So here it is
        no later than this machine's own clock. If that is behind, only more is read than needed.

        :param at: When, by the event loop's time.
        """
        bound = self.read(at)
        if bound is None:
            return None
        return min(bound - self.spread, utc_now() - timedelta(seconds=self._now() - at))
