"""How the last sweeps went, and how long the watcher pauses for that."""

from __future__ import annotations

import random

from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable.api.errors import ApiError, Unreachable


class Backoff:
    """Counts the sweeps that went well or failed, one after the other.

    :param pace: The limits.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.reset()

    def reset(self) -> None:
        """Forget all sweeps."""
        #: Why the last sweep failed; None if it went well.
        self.error: ApiError | None = None
        #: How many failed in a row, and how many had gone well in a row before that.
        self._failures = 0
        self._successes = 0

    def succeeded(self) -> None:
        """Take note of a sweep that went well."""
        self._successes = 1 if self._failures else self._successes + 1
        self.error, self._failures = None, 0

    def failed(self, error: ApiError) -> None:
        """Take note of a sweep that failed.

        :param error: Why.
        """
        self.error = error
        self._failures += 1

    @property
    def is_outage(self) -> bool:
        """Whether so many failed that those who wait are to be notified."""
        return self._failures >= self._pace.outage_after

    def pause(self, interval: float) -> float:
        """Return the seconds until the next sweep.

        :param interval: The seconds between two sweeps that go well.
        """
        error = self.error
        if error is None:
            return interval
        longest = interval * self._pace.backoff_polls
        if error.status == 429:
            longest = max(longest, self._pace.throttled_pause)
        pause = min(interval * 2.0 ** (min(self._failures, 20) - 2), longest) * random.uniform(0.7, 1.0)
        hurried = self._failures == 1 and self._successes >= self._pace.hurry_after and error.status != 429
        asked = error.retry_after if isinstance(error, Unreachable) else None
        return max(pause if hurried else max(pause, interval), min(asked or 0.0, self._pace.longest_retry_after))


def wants_a_pause(error: ApiError) -> bool:
    """Whether the server itself wants to be left alone for a while.

    :param error: What it said.
    """
    return error.status == 429 or (isinstance(error, Unreachable) and error.retry_after is not None)
