"""Waking many tasks a few at a time, so that the event loop is never held by all of them at once."""

from __future__ import annotations

import asyncio
from collections import deque
from weakref import WeakKeyDictionary

#: So many waiting tasks are woken in one round of the event loop: nothing else runs meanwhile.
WOKEN_AT_ONCE = 10


class _Sleepers:
    """Those who are to be woken in one event loop, and how many were in its present round."""

    def __init__(self) -> None:
        self._line: deque[asyncio.Future[None]] = deque()
        self._woken = 0

    def wake(self, sleeper: asyncio.Future[None]) -> None:
        self._line.append(sleeper)
        self._wake_some()

    def _wake_some(self) -> None:
        while self._line and self._woken < WOKEN_AT_ONCE:
            sleeper = self._line.popleft()
            if sleeper.done():
                continue
            if not self._woken:
                sleeper.get_loop().call_soon(self._next_round)
            sleeper.set_result(None)
            self._woken += 1

    def _next_round(self) -> None:
        self._woken = 0
        self._wake_some()


_sleepers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Sleepers] = WeakKeyDictionary()


def wake(sleeper: asyncio.Future[None]) -> None:
    """Let a task go on, in a round of the event loop in which only a few others do.

    :param sleeper: What it awaits.
    """
    _sleepers.setdefault(sleeper.get_loop(), _Sleepers()).wake(sleeper)


async def among_few() -> None:
    """Return in a round of the event loop in which only a few others do: for many who are about to write to a log."""
    loop = asyncio.get_running_loop()
    sleeper = loop.create_future()
    loop.call_soon(wake, sleeper)
    await sleeper
