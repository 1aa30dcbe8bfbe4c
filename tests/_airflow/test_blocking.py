"""Waiting for coroutines from blocking code."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FuturesTimeout
from contextlib import contextmanager
from itertools import count
from types import FrameType
from typing import Any

import pytest

from airbyte_deferrable._airflow import blocking
from airbyte_deferrable._airflow.blocking import Portal


async def value(result: object) -> object:
    await asyncio.sleep(0)
    return result


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_result_or_an_error_comes_back() -> None:
    portal = Portal()
    assert portal.call(value(7)) == 7

    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        portal.call(fail())
    portal.close()


def test_calls_share_one_loop_until_it_is_closed() -> None:
    portal = Portal()

    first = portal.call(running_loop())
    assert portal.call(running_loop()) is first
    portal.close()
    assert first.is_closed()
    assert portal.call(running_loop()) is not first
    portal.close()


def test_thread_is_not_there_before_the_first_call_nor_after_closing() -> None:
    before = threading.active_count()
    portal = Portal()
    portal.close()
    assert threading.active_count() == before
    portal.call(value(1))
    assert threading.active_count() == before + 1
    portal.close()
    portal.close()
    assert threading.active_count() == before


def test_closing_cancels_what_still_runs() -> None:
    portal, cancelled = Portal(), threading.Event()

    async def background() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def start() -> asyncio.Task[None]:
        task = asyncio.create_task(background())
        await asyncio.sleep(0)
        return task

    task = portal.call(start())
    portal.close()
    assert cancelled.is_set()
    assert task.cancelled()


def test_what_nobody_waits_for_may_end_as_it_likes(caplog: pytest.LogCaptureFixture) -> None:
    portal = Portal()
    proceed = threading.Event()

    async def fails() -> None:
        await asyncio.to_thread(proceed.wait)
        raise ValueError

    async def the_other_ends() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        proceed.set()
        await asyncio.wait(others)

    portal.start(fails())
    portal.call(the_other_ends())
    portal.close()
    assert not caplog.records


def test_closing_does_not_mind_another_event_loop_policy() -> None:
    """An error of the thread would be this test's."""
    portal = Portal()
    assert portal.call(value(3)) == 3
    asyncio.set_event_loop_policy(None)
    portal.close()
    assert [thread for thread in threading.enumerate() if thread.name == "airbyte"] == []


class Interruption(BaseException):
    """As Airflow throws into a task's main thread when its time is over."""


class Endless:
    """A coroutine that never ends by itself, and says when it begins and is cancelled."""

    def __init__(self) -> None:
        self.begun, self.cancelled = threading.Event(), threading.Event()

    async def __call__(self) -> None:
        self.begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            self.cancelled.set()


def signal_when(begun: threading.Event) -> threading.Thread:
    """Send this process a signal as soon as something has begun."""

    def send() -> None:
        begun.wait(20)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


#: Sets what a signal calls.
OnSignal = Callable[[Callable[[int, FrameType | None], object]], object]


@pytest.fixture
def on_signal() -> Iterator[OnSignal]:
    old = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGUSR1, old)


def test_interrupted_call_is_cancelled(on_signal: OnSignal) -> None:
    portal, endless = Portal(), Endless()

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interruption

    on_signal(interrupt)
    sender = signal_when(endless.begun)
    with pytest.raises(Interruption):
        portal.call(endless())
    sender.join()
    assert endless.cancelled.wait(20)
    assert portal.call(value("still good")) == "still good"
    portal.close()


@contextmanager
def interrupted_at(step: int) -> Iterator[None]:
    """Raise in this thread as a signal's handler does, at one of the first steps of what the block calls."""
    steps, before = count(), sys.gettrace()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if next(steps) == step:
            sys.settrace(before)
            raise Interruption
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def test_call_may_be_interrupted_at_any_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception comes out as it is, and leaves no lock taken for which the loop would wait."""
    monkeypatch.setattr(blocking, "SIGNALS_SEEN_WITHIN", 0.001)
    portal = Portal()
    portal.call(value("the loop is there"))
    for step in range(100):
        endless = Endless()
        coroutine = endless()
        with pytest.raises(Interruption), interrupted_at(step):
            portal.call(coroutine)
        assert portal.call(value(step)) == step
        if endless.begun.is_set():
            assert endless.cancelled.wait(20)
        # Else nobody has awaited it.
        coroutine.close()
    portal.close()


def test_call_that_could_not_begin_before_the_loop_was_closed_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blocking, "SIGNALS_SEEN_WITHIN", 0.01)
    portal = Portal()
    loop = portal.call(running_loop())
    # As long as the loop's last round lasts, it takes calls, and forgets them.
    coroutine = value("never")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_soon_threadsafe", lambda call: (patch.undo(), portal.close()))
        with pytest.raises(CancelledError):
            portal.call(coroutine)
    coroutine.close()


def test_signal_that_wakes_nobody_interrupts_all_the_same(on_signal: OnSignal) -> None:
    """One that comes between the thread's last instruction and its sleep does not end the sleep.

    Nor does one that another thread receives.
    """
    portal, endless = Portal(), Endless()

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interruption

    def receive() -> None:
        endless.begun.wait(20)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    on_signal(interrupt)
    receiver = threading.Thread(target=receive)
    receiver.start()
    with pytest.raises(Interruption):
        portal.call(endless())
    receiver.join()
    portal.close()


def test_call_that_takes_longer_than_a_slice_of_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "SIGNALS_SEEN_WITHIN", 0.01)
    portal = Portal()

    async def slow(outcome: Exception | None) -> str:
        await asyncio.sleep(0.1)
        if outcome is not None:
            raise outcome
        return "late"

    assert portal.call(slow(None)) == "late"
    with pytest.raises(asyncio.TimeoutError, match="its own"):
        portal.call(slow(asyncio.TimeoutError("its own")))
    with pytest.raises(FuturesTimeout, match="its own"):
        portal.call(slow(FuturesTimeout("its own")))
    portal.close()


def test_interruption_does_not_cut_off_the_farewell(on_signal: OnSignal) -> None:
    """What a kill or a deadline finds being closed would stay open."""
    portal, begun, proceed, done = Portal(), threading.Event(), threading.Event(), threading.Event()

    async def farewell() -> None:
        begun.set()
        await asyncio.to_thread(proceed.wait)
        done.set()

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interruption

    on_signal(interrupt)
    portal.at_end(farewell)
    assert portal.call(value("used")) == "used"
    sender = signal_when(begun)
    with pytest.raises(Interruption):
        portal.close()
    sender.join()
    proceed.set()
    assert done.wait(20)
    assert portal.call(value("anew")) == "anew"
    portal.close()


def test_signal_handler_may_call_in_the_middle_of_a_call(on_signal: OnSignal) -> None:
    portal, endless, heard = Portal(), Endless(), []

    def handle(number: int, frame: FrameType | None) -> None:
        heard.append(portal.call(value("from the handler")))
        raise Interruption

    on_signal(handle)
    sender = signal_when(endless.begun)
    with pytest.raises(Interruption):
        portal.call(endless())
    sender.join()
    assert heard == ["from the handler"]
    portal.close()


def test_signal_handler_may_call_while_the_loop_is_being_started(
    on_signal: OnSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    portal, heard = Portal(), []
    before = threading.active_count()
    on_signal(lambda number, frame: heard.append(portal.call(value("from the handler"))))
    make_loop = asyncio.new_event_loop

    def interrupted() -> asyncio.AbstractEventLoop:
        monkeypatch.setattr(asyncio, "new_event_loop", make_loop)
        signal.raise_signal(signal.SIGUSR1)
        return make_loop()

    monkeypatch.setattr(asyncio, "new_event_loop", interrupted)
    assert portal.call(value("from below")) == "from below"
    assert heard == ["from the handler"]
    portal.close()
    assert threading.active_count() == before
