"""What asyncio lacks: one call for all who ask at the same time, wake-ups in batches, one value for each event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

#: So many waiting tasks are woken in one round of the event loop: nothing else runs meanwhile.
WOKEN_AT_ONCE = 10


class SharedCallStopped(Exception):
    """The run was stopped, and with it the hope of those who wait for it; nobody has cancelled them themselves."""


class Shared(Generic[T]):
    """A call whose one run serves everybody who asks while it is under way, with its result or its error.

    The run belongs to none of them: it goes on when the caller that began it is cancelled.

    :param run: Begins the call.
    """

    def __init__(self, run: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._run = run
        self._task: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """Join the run that is under way, or begin one.

        :raises SharedCallStopped: If it is stopped.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._ended)
        run = self._task
        # Unlike awaiting the run, this passes no cancellation on, in neither direction.
        await asyncio.wait({run})
        if run.cancelled():
            raise SharedCallStopped
        return run.result()

    async def stop(self) -> None:
        """Cancel the run that is under way, if there is one."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _ended(self, task: asyncio.Task[T]) -> None:
        self._task = None
        if not task.cancelled():
            # All callers may have gone; asyncio would complain that nobody took the error.
            task.exception()


class PerLoop(Generic[T]):
    """One value for each event loop: what waits in one loop cannot be shared with another.

    :param make: Makes the value when a loop asks for it first.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def here(self) -> T:
        """Return the running loop's value."""
        return self.of(asyncio.get_running_loop())

    def of(self, loop: asyncio.AbstractEventLoop) -> T:
        """Return a loop's value.

        :param loop: The loop.
        """
        value = self._values.get(loop)
        if value is None:
            self._drop_closed()
            value = self._values.setdefault(loop, self._make())
        return value

    def _drop_closed(self) -> None:
        # A value may know its loop, so the weak reference would not let the two go.
        for reference in self._values.keyrefs():
            loop = reference()
            if loop is not None and loop.is_closed():
                self._values.pop(loop, None)


class _Sleepers:
    """Those who are to be woken in one event loop, and how many were in its present round."""

    def __init__(self) -> None:
        self._queue: deque[asyncio.Future[None]] = deque()
        self._woken = 0

    def wake(self, sleeper: asyncio.Future[None]) -> None:
        self._queue.append(sleeper)
        self._wake_some()

    def _wake_some(self) -> None:
        while self._queue and self._woken < WOKEN_AT_ONCE:
            sleeper = self._queue.popleft()
            if sleeper.done():
                continue
            if not self._woken:
                sleeper.get_loop().call_soon(self._next_round)
            sleeper.set_result(None)
            self._woken += 1

    def _next_round(self) -> None:
        self._woken = 0
        self._wake_some()


_sleepers = PerLoop(_Sleepers)


def wake(sleeper: asyncio.Future[None]) -> None:
    """Let a task go on, in a round of the event loop in which only a few others do.

    :param sleeper: What it awaits.
    """
    _sleepers.of(sleeper.get_loop()).wake(sleeper)


async def among_few() -> None:
    """Return in a round of the event loop in which only a few others do: for many who are about to write to a log."""
    loop = asyncio.get_running_loop()
    sleeper = loop.create_future()
    loop.call_soon(wake, sleeper)
    await sleeper
