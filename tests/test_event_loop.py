"""The triggerer's event loop is never held: asyncio itself tells of callbacks that take too long."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airbyte_deferrable.simulator import Script
from airbyte_deferrable.triggers import AirbyteSyncTrigger
from harness.simulator import SimulatorProcess

WAITERS = 1000
#: Seconds of one callback, above which asyncio's debug mode speaks up. What waits for a network, a disk or another
#: thread takes longer; what computing takes is a few milliseconds on a quiet machine, as `make bench` shows.
SLOW = 0.25


class FairLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands while the thread waits for a processor: a busy machine makes nothing slow.

    Computing and blocking count as ever. Linux tells of the waiting; elsewhere it is an ordinary loop.
    """

    def __init__(self) -> None:
        try:
            self._waits = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:
            self._waits = -1
        super().__init__()

    def time(self) -> float:
        waited = int(os.pread(self._waits, 100, 0).split()[1]) / 1e9 if self._waits >= 0 else 0.0
        return time.monotonic() - waited

    def close(self) -> None:
        super().close()
        if self._waits >= 0:
            os.close(self._waits)
            self._waits = -1


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    """Run the simulator as a process of its own: in this one it would share the interpreter with the loop."""
    with SimulatorProcess(tmp_path / "simulator.log") as process:
        yield process


@pytest.fixture
def without_collections() -> Iterator[None]:
    """Keep the garbage collector out: going through all of Airflow takes it longer than any callback may."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collections")
def test_callbacks_are_quick_while_a_thousand_triggers_start_wait_and_end(
    simulator: SimulatorProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_MANY", json.dumps(simulator.airflow_connection))
    job_ids = simulator.add_jobs(simulator.add_connections(WAITERS), Script(duration=30))
    # What a triggerer has loaded long before: a first request of one trigger.
    warm_up = simulator.add_jobs(simulator.add_connections(1), Script(duration=0))
    events: list[dict[str, Any]] = []

    async def wait(job_id: int) -> None:
        trigger = AirbyteSyncTrigger(job_id, "airbyte_many", time.time() + 600, poll_interval=0.5)
        async for event in trigger.run():
            events.append(event.payload)

    async def start_wait_and_end() -> None:
        await wait(warm_up[0])
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = SLOW
        caplog.clear()
        tasks = []
        for job_id in job_ids:
            # As the triggerer does, which yields before each start.
            await asyncio.sleep(0)
            tasks.append(asyncio.create_task(wait(job_id)))
        await asyncio.sleep(1.5)
        # All jobs end at once: the worst case for those who are told.
        await asyncio.to_thread(simulator.advance, 60)
        await asyncio.gather(*tasks)

    # Debug mode with tracebacks of where each task was made would itself be what is slow.
    monkeypatch.setattr("asyncio.format_helpers.extract_stack", lambda *_, **__: None)
    with caplog.at_level(logging.WARNING, "asyncio"):
        loop = FairLoop()
        loop.set_debug(True)
        try:
            loop.run_until_complete(start_wait_and_end())
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
    slow = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert slow == []
    assert [event["status"] for event in events] == ["success"] * (WAITERS + 1)
    # One watcher for all: the list was asked, not each job.
    assert simulator.count("get") < WAITERS / 10
    assert simulator.count("token") == 1
