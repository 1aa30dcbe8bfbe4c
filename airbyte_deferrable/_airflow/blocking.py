"""Waiting for coroutines from blocking code, on a worker."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")
#: What a loop does last.
Farewell = Callable[[], Coroutine[Any, Any, object]]

#: Seconds that closing waits for what still runs to take note of its cancellation.
LOOP_STOPS_WITHIN = 5.0
#: Seconds, at most, until a signal is taken note of that came just as a thread began to wait.
SIGNALS_SEEN_WITHIN = 1.0


class Outcome(Generic[T]):
    """What comes of a coroutine in a portal's loop, for a thread that waits for it.

    Not one of :mod:`concurrent.futures`: their lock is taken by code in Python. What a signal's handler raises in the
    middle of that (``execution_timeout``, a kill) leaves it taken, and the loop waits for it for ever; or it comes out
    as another error, "cannot release un-acquired lock". Here the thread waits in a single call into C.

    :param coroutine: What is run.
    :param loop: Where.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine = coroutine
        self._loop = loop
        #: In the loop, once it has begun there: for what runs beside it, in the same loop.
        self.task: asyncio.Task[T] | None = None
        #: Taken until it has ended.
        self._runs = threading.Lock()
        self._runs.acquire()

    def begin(self) -> asyncio.Task[T]:
        """Begin. Called in the loop."""
        self.task = self._loop.create_task(self._coroutine)
        self.task.add_done_callback(self._end)
        return self.task

    def done(self) -> bool:
        """Tell whether it has ended."""
        return self.task is not None and self.task.done()

    def result(self) -> T:
        """Wait for it, in slices, so that a kill or a deadline of Airflow's always gets through.

        Python runs a signal's handler between two of its instructions. A signal that comes behind the last of them,
        before the system has put the thread to sleep, does not wake it: without slices a task that is killed at that
        moment would wait on, to its job's end.

        :return: What comes of it.
        :raises concurrent.futures.CancelledError: The portal was closed first.
        """
        while not self.done():
            if self._loop.is_closed() and not self.done():
                # By who closed it in the very moment in which this was to begin.
                raise CancelledError
            self._runs.acquire(timeout=SIGNALS_SEEN_WITHIN)
        assert self.task is not None, "it has ended"
        if self.task.cancelled():
            # Not asyncio's, which is no Exception: here it is nobody's way to stop this thread.
            raise CancelledError
        return self.task.result()

    def _end(self, task: asyncio.Task[T]) -> None:
        # So that nobody complains of an error for which nobody has waited: asyncio does, of one that was never read.
        if not task.cancelled():
            task.exception()
        self._runs.release()


@dataclass(frozen=True)
class _Serving:
    """An event loop, the thread that it runs in, and what it does last."""

    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    farewells: list[Farewell]

    def stop(self) -> None:
        """Let the loop come to its end. Does not wait for that."""
        self.loop.call_soon_threadsafe(self.loop.stop)


class Portal:
    """An event loop in a thread of its own, started by the first call.

    ``asgiref.async_to_sync`` would make a new loop for every call, and with it a new session and a new token;
    and when Airflow interrupts the main thread (``execution_timeout``, a kill), the coroutine it waits for
    would go on. Here the loop outlives the call, an interrupted call is cancelled, and ``on_kill``, which
    Airflow runs in a signal handler in the middle of another call, can make calls of its own.

    In a process that is forked it begins anew: the thread stayed behind in the other one.

    :param forget: Called there first: forgets all that lives in the loop, and returns it. Default: there is nothing.
    """

    def __init__(self, forget: Callable[[], object] | None = None) -> None:
        self._forget = forget
        self._serving: _Serving | None = None
        #: What was started beside: asyncio itself keeps no task alive.
        self._beside: set[asyncio.Task[Any]] = set()
        # Re-entrant: a signal handler may call while the thread that it interrupts is in here.
        self._starting = threading.RLock()
        _portals.add(self)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return its result.

        :param coroutine: What to run; cancelled if the calling thread is interrupted by an exception.
        :return: What it returns.
        """
        loop = self._started().loop
        outcome = Outcome(coroutine, loop)
        try:
            # Not run_coroutine_threadsafe: an interruption just before it returns would leave nothing to cancel.
            loop.call_soon_threadsafe(outcome.begin)
            return outcome.result()
        except BaseException:
            # What is closed has cancelled it.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(lambda: outcome.task and outcome.task.cancel())
            raise

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Outcome[T]:
        """Run a coroutine beside what the calling thread does, until its end or :meth:`close`.

        :param coroutine: What to run.
        :return: What comes of it.
        """
        loop = self._started().loop
        outcome = Outcome(coroutine, loop)

        def begin() -> None:
            task = outcome.begin()
            self._beside.add(task)
            task.add_done_callback(self._beside.discard)

        loop.call_soon_threadsafe(begin)
        return outcome

    def at_end(self, farewell: Farewell) -> None:
        """Have something done in the loop when the portal is closed, after all else in it has been cancelled.

        The loop's own thread sees to it: what interrupts the thread that closes the portal does not cut it off.

        :param farewell: What to do. What it raises is lost.
        """
        self._started().farewells.append(farewell)

    def close(self) -> None:
        """Cancel what still runs in the loop, say farewell, stop the loop and its thread. A later call starts anew."""
        with self._starting:
            serving, self._serving = self._serving, None
            # In here: an interruption between the two would leave the loop running, and all in it open.
            if serving is not None:
                serving.stop()
        if serving is not None:
            serving.thread.join(LOOP_STOPS_WITHIN)

    def after_fork(self) -> None:
        """Take note that this process was forked from the one whose thread serves the loop."""
        _never_finalize((self._serving, self._forget() if self._forget is not None else None))
        self._serving = None
        # A thread that is not here may hold the old one.
        self._starting = threading.RLock()

    def _started(self) -> _Serving:
        with self._starting:
            if self._serving is None:
                loop, farewells = asyncio.new_event_loop(), list[Farewell]()
                # A daemon: a task that Airflow kills must not hang on a thread that still waits for Airbyte.
                thread = threading.Thread(target=_serve, args=(loop, farewells), name="airbyte", daemon=True)
                serving = _Serving(loop, thread, farewells)
                thread.start()
                if self._serving is None:
                    self._serving = serving
                else:  # a signal handler was faster
                    serving.stop()
                    thread.join(LOOP_STOPS_WITHIN)
            return self._serving


def _serve(loop: asyncio.AbstractEventLoop, farewells: list[Farewell]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(_ends_of(left))
        loop.run_until_complete(_ends_of([farewell() for farewell in farewells]))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


async def _ends_of(what: Iterable[Awaitable[object]]) -> None:
    # In a coroutine: outside the loop, gather asks the policy for one, and that may have been replaced meanwhile.
    await asyncio.gather(*what, return_exceptions=True)


_portals: WeakSet[Portal] = WeakSet()


def _after_fork() -> None:
    for portal in list(_portals):
        portal.after_fork()


def _never_finalize(what: object) -> None:
    """Keep something for good, also when Python ends.

    A process that is forked shares the loop's epoll and its connections with the other: to close or finalize them here
    takes the other's sockets out of its epoll, so that it waits for ever, and says farewell on its TLS connections.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(what))


os.register_at_fork(after_in_child=_after_fork)
