"""One call for all who ask at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The run was stopped, and with it the hope of those who wait for it; nobody has cancelled them themselves."""


class Shared(Generic[T]):
    """A call whose one run serves everybody who asks while it is under way, with its result or its error.

    The run is nobody's own: it goes on when the caller that began it is cancelled.

    :param run: Begins the call.
    """

    def __init__(self, run: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._run = run
        self._task: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """Join the run that is under way, or begin one.

        :raises Stopped: If it is stopped.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(self._ended)
        run = self._task
        # Unlike awaiting the run, this passes no cancellation on, in neither direction.
        await asyncio.wait({run})
        if run.cancelled():
            raise Stopped
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
