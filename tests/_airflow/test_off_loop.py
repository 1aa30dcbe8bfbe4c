"""A task's lines are written beside the triggerer's event loop, and hold nobody."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from airbyte_deferrable._airflow import off_loop
from airbyte_deferrable._airflow.off_loop import TaskLog, all_written
from airbyte_deferrable.simulator import Script, Simulator
from airbyte_deferrable.triggers import AirbyteSyncTrigger
from helpers.airbyte import connection_to
from helpers.one_task import first_event, kept_log

task: ContextVar[str] = ContextVar("task")


class FullSocket(logging.Handler):
    """Takes no line before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.drained = threading.Event(), threading.Event()
        self.given_up = False

    def emit(self, record: logging.LogRecord) -> None:
        self.reached.set()
        # A test that writes in the event loop is to fail, and not to hang.
        self.given_up = not self.drained.wait(10)


@pytest.fixture
def full() -> Iterator[FullSocket]:
    handler = FullSocket()
    yield handler
    handler.drained.set()


async def test_lines_keep_their_order_and_the_context_of_their_task() -> None:
    log, lines = kept_log()
    told: list[str] = []
    log.addFilter(lambda _: told.append(task.get()) or True)

    async def say(name: str) -> None:
        task.set(name)
        for number in range(3):
            TaskLog(log).info("%s %s", name, number)
            await asyncio.sleep(0)

    await asyncio.gather(say("a"), say("b"))
    await all_written()
    assert [line for line in lines if line.startswith("a")] == ["a 0", "a 1", "a 2"]
    assert told == [line[0] for line in lines]


async def test_log_that_takes_no_line_holds_neither_the_event_loop_nor_an_event(
    airbyte_simulator: Simulator, full: FullSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = airbyte_simulator
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim))
    monkeypatch.setattr(off_loop, "WRITTEN_WITHIN", 0.1)
    job_id = sim.add_job(sim.add_connection(), script=Script(outcome=None, pending=0.0))["id"]
    trigger = AirbyteSyncTrigger(job_id, "airbyte_default", None, 0.1)
    trigger._log = log = logging.Logger("task")  # noqa: LOG001
    log.addHandler(full)
    event = asyncio.ensure_future(first_event(trigger))
    assert await asyncio.to_thread(full.reached.wait, 10)
    sim.finish(job_id, "succeeded")
    assert (await event)["status"] == "success"
    assert not full.given_up
