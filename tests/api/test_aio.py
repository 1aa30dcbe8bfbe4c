"""One call for all who ask at the same time, and one value for each event loop."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from airbyte_deferrable.api.aio import PerLoop, Shared, SharedCallStopped


class Call:
    """Something that takes as long as it is told, and counts how often it is begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.begun += 1
        await self.go.wait()
        if self.error:
            raise self.error
        return self.begun


async def waiting(shared: Shared[int], count: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(shared()) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_shared_call_gives_all_who_ask_meanwhile_one_result() -> None:
    call = Call()
    tasks = await waiting(Shared(call), 500)
    call.go.set()
    assert await asyncio.gather(*tasks) == [1] * 500


async def test_shared_call_gives_all_who_ask_meanwhile_one_error_and_starts_over() -> None:
    call = Call()
    shared = Shared(call)
    call.error = ValueError("no")
    tasks = await waiting(shared, 3)
    call.go.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [call.error] * 3
    call.error = None
    assert await shared() == 2


async def test_shared_call_is_not_disturbed_by_one_who_is_cancelled() -> None:
    call = Call()
    first, second = await waiting(Shared(call), 2)
    first.cancel()
    await asyncio.wait([first])
    call.go.set()
    assert await second == 1
    assert first.cancelled()


async def test_error_that_nobody_is_left_to_hear_is_no_complaint(caplog: pytest.LogCaptureFixture) -> None:
    call = Call()
    call.error = ValueError("no")
    (task,) = await waiting(Shared(call), 1)
    task.cancel()
    await asyncio.wait([task])
    call.go.set()
    await asyncio.sleep(0.01)
    gc.collect()
    assert caplog.records == []


async def test_stopping_ends_the_run_and_all_who_wait_for_it() -> None:
    call = Call()
    shared = Shared(call)
    await shared.stop()
    (task,) = await waiting(shared, 1)
    await shared.stop()
    await asyncio.wait([task])
    # It was not the caller who was cancelled: that would end whatever else the caller does.
    assert isinstance(task.exception(), SharedCallStopped)
    call.go.set()
    assert await shared() == 2


class Value:
    """Something that is kept for a loop, and may know it."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None


def in_new_loop(values: PerLoop[Value]) -> tuple[asyncio.AbstractEventLoop, Value]:
    async def ask() -> Value:
        value = values.here()
        assert values.here() is values.of(asyncio.get_running_loop()) is value
        return value

    loop = asyncio.new_event_loop()
    return loop, loop.run_until_complete(ask())


def test_per_loop_value_is_one_for_each_loop() -> None:
    values = PerLoop(Value)
    (one, first), (other, second) = in_new_loop(values), in_new_loop(values)
    assert first is not second
    assert (values.of(one), values.of(other)) == (first, second)
    one.close()
    other.close()


def test_value_of_a_closed_loop_is_dropped_although_it_knows_its_loop() -> None:
    values = PerLoop(Value)
    loop, value = in_new_loop(values)
    value.loop = loop
    loop.close()
    gone = weakref.ref(value)
    del loop, value
    later, _ = in_new_loop(values)
    gc.collect()
    assert gone() is None
    later.close()
