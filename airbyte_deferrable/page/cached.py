"""One answer for all who ask within some seconds, however many they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

#: What took long to make is kept for so many times as long, so that making it never takes more than this part of the
#: time of the database.
KEPT_FOR_TIMES = 10
#: Seconds for which an old value is good enough for those who ask while another is being made. Waiting for it, they
#: would hold the threads that the whole API server shares.
GOOD_ENOUGH = 120.0


class Cached(Generic[T]):
    """A value that is made by whoever asks first, and kept for a while. Safe for threads.

    :param make: Makes it. Its errors go to those who wait for it, and are not kept.
    :param seconds: For how long it is kept at least.
    :param now: Returns the time, seconds. Default: a clock that never goes back.
    """

    def __init__(self, make: Callable[[], T], seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._seconds = seconds
        self._now = now
        self._making = threading.Lock()
        #: The value, until when it is fresh, and until when it is good enough.
        self._kept: tuple[T, float, float] | None = None

    def get(self) -> T:
        """Return the value."""
        kept = self._kept
        if kept is not None and self._now() < kept[1]:
            return kept[0]
        if not self._making.acquire(blocking=kept is None or self._now() >= kept[2]):
            assert kept is not None, "only then it is not waited for"
            return kept[0]
        try:
            kept = self._kept
            if kept is not None and self._now() < kept[1]:
                return kept[0]
            began = self._now()
            value = self._make()
            fresh_until = self._now() + max(self._seconds, KEPT_FOR_TIMES * (self._now() - began))
            self._kept = (value, fresh_until, fresh_until + GOOD_ENOUGH)
            return value
        finally:
            self._making.release()
