"""A trigger's last lines are written before it ends."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from airbyte_deferrable._airflow import off_loop
from airbyte_deferrable.simulator import Simulator
from helpers.airbyte import ENDLESS
from helpers.one_task import (
    TaskInstance,
    airflow_is_silent,
    first_event,
)
from helpers.one_trigger import end_as_airflow_does, queued, waiting


class SlowLog(logging.Logger):
    """Has a line written when it is told to."""

    def __init__(self) -> None:
        super().__init__("slow")
        self.reached, self.free = threading.Event(), threading.Event()
        self.lines: list[str] = []

    def handle(self, record: logging.LogRecord) -> None:
        self.reached.set()
        self.free.wait(200)
        self.lines.append(record.getMessage())


@pytest.fixture
def slow_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowLog]:
    monkeypatch.setattr(off_loop, "WRITTEN_WITHIN", 200.0)
    log = SlowLog()
    yield log
    log.free.set()


async def ends_when_all_is_written(ending: asyncio.Task[Any], log: SlowLog) -> None:
    assert await asyncio.to_thread(log.reached.wait, 100)
    done, _ = await asyncio.wait({ending}, timeout=1.0)
    assert not done
    log.free.set()
    await asyncio.wait({ending})


@pytest.mark.parametrize("ends", ["runs out of time", "is killed"])
async def test_log_of_a_wait_in_the_queue_is_written_before_it_ends(
    sim: Simulator, slow_log: SlowLog, ends: str
) -> None:
    sim.add_job(cid := sim.add_connection(), script=ENDLESS)
    turn = queued(cid, 1.0, end_time=time.time() + (3 if ends == "runs out of time" else 3600))
    turn._log = slow_log
    waits = asyncio.ensure_future(first_event(turn))
    if ends == "is killed":
        assert await asyncio.to_thread(slow_log.reached.wait, 100)
        waits.cancel()
    await ends_when_all_is_written(waits, slow_log)
    assert waits.cancelled() or waits.result()["status"] == "timeout"
    assert slow_log.lines[0].startswith(f"Connection {cid} runs job")


async def test_log_says_why_a_job_is_left_alone_before_a_kill_is_over(
    slow_log: SlowLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow_is_silent(monkeypatch)
    trigger = waiting(7, TaskInstance(), cancel_on_kill=True, try_number=1)
    trigger._log = slow_log
    await ends_when_all_is_written(asyncio.ensure_future(trigger.on_kill()), slow_log)
    assert "leaving job 7 alone" in slow_log.lines[0]


async def test_log_of_a_wait_whose_job_goes_on_is_written_before_a_kill_is_over(
    sim: Simulator, slow_log: SlowLog
) -> None:
    trigger = waiting(sim.add_job(sim.add_connection(), script=ENDLESS)["id"])
    trigger._log = slow_log
    waits = asyncio.ensure_future(first_event(trigger))
    assert await asyncio.to_thread(slow_log.reached.wait, 100)
    await ends_when_all_is_written(asyncio.ensure_future(end_as_airflow_does(trigger, waits)), slow_log)
    assert waits.cancelled()
    assert slow_log.lines[0].endswith("is running")
