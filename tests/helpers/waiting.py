"""Wait for what will happen; the test's own timeout ends a wait that is in vain."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest


def wait_until(happened: Callable[[], object]) -> None:
    """Return when a condition holds."""
    while not happened():
        time.sleep(0.01)


async def until(happened: Callable[[], object]) -> None:
    """Return when a condition holds, and let the event loop run meanwhile."""
    while not happened():
        await asyncio.sleep(0.01)


class Clock:
    """The clocks of this process, which a test moves on: deadlines pass when it says so, however busy the machine is.

    The simulator's own clock stays where it is.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        for name in ("time", "monotonic"):
            monkeypatch.setattr(time, name, self._moved(getattr(time, name)))

    def jump(self, seconds: float = 3600.0) -> None:
        """Let so much time be over."""
        self._ahead += seconds

    def _moved(self, clock: Callable[[], float]) -> Callable[[], float]:
        return lambda: clock() + self._ahead


@contextmanager
def meanwhile(happened: Callable[[], object], do: Callable[[], object], *, has_to: bool = True) -> Iterator[None]:
    """Do something once, in another thread, when something has happened during the ``with`` block.

    :param happened: Asked again and again.
    :param do: What to do then.
    :param has_to: Whether it is an error that the block ends without.
    """
    left, done = threading.Event(), threading.Event()

    def watch() -> None:
        while not left.wait(0.01):
            if happened():
                done.set()
                do()
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()
    assert done.is_set() or not has_to, "all was over before it happened"
