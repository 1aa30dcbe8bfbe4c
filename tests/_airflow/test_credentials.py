"""A connection is looked up once for all triggers that ask, and beside the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter

import pytest
from airflow.models import Connection

from airbyte_deferrable._airflow import connection, credentials
from airbyte_deferrable._airflow.credentials import settings_for_trigger
from airbyte_deferrable._airflow.off_loop import in_thread
from airbyte_deferrable.api.aio import WOKEN_AT_ONCE
from airbyte_deferrable.api.settings import Settings

HOST = "https://airbyte.example.com/api/public/v1"
log = logging.getLogger("task")


class LookUp:
    """Airflow's answers to look-ups: how often they were asked for, and when they come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.begun = threading.Event()
        self.go = threading.Event()
        self.broken = False
        monkeypatch.setattr(connection.BaseHook, "get_connection", self.get_connection)

    def get_connection(self, conn_id: str) -> Connection:
        self.count += 1
        self.begun.set()
        assert self.go.wait(20)
        if self.broken:
            raise LookupError("the vault is sealed")
        return Connection(conn_id=conn_id, conn_type="airbyte", host=HOST)


@pytest.fixture
def look_up(monkeypatch: pytest.MonkeyPatch) -> LookUp:
    return LookUp(monkeypatch)


async def callers(count: int) -> list[asyncio.Task[Settings]]:
    tasks = [asyncio.create_task(settings_for_trigger("mine", "v1", log)) for _ in range(count)]
    await asyncio.sleep(0.01)
    return tasks


async def test_five_hundred_triggers_cost_one_look_up(look_up: LookUp) -> None:
    tasks = await callers(500)
    look_up.go.set()
    assert {settings.base_url for settings in await asyncio.gather(*tasks)} == {HOST}
    await settings_for_trigger("mine", "v1", log)
    assert look_up.count == 1
    await settings_for_trigger("mine", "v2", log)
    await settings_for_trigger("other", "v1", log)
    assert look_up.count == 3


async def test_cancelled_trigger_neither_ends_the_look_up_nor_disturbs_others(look_up: LookUp) -> None:
    first, second = await callers(2)
    first.cancel()
    await asyncio.wait([first])
    look_up.go.set()
    assert (await second).base_url == HOST
    assert look_up.count == 1


async def test_look_up_is_never_cancelled_itself(look_up: LookUp) -> None:
    (only,) = await callers(1)
    only.cancel()
    await asyncio.wait([only])
    look_up.go.set()
    assert (await settings_for_trigger("mine", "v1", log)).base_url == HOST
    assert look_up.count == 1


async def test_connection_is_looked_up_again_after_a_while(look_up: LookUp, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up.go.set()
    await settings_for_trigger("mine", "v1", log)
    monkeypatch.setattr(credentials, "KNOWN_FOR", -1.0)
    await settings_for_trigger("another", "v1", log)
    await settings_for_trigger("another", "v1", log)
    assert look_up.count == 3


async def test_connection_that_cannot_be_read_is_tried_again_and_told_of_once(
    look_up: LookUp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="task")
    monkeypatch.setattr(credentials, "LOOK_UP_AGAIN", 0.02)
    look_up.broken = True
    look_up.go.set()
    tasks = await callers(3)
    while look_up.count < 3:
        await asyncio.sleep(0.01)
    look_up.broken = False
    await asyncio.gather(*tasks)
    told = [record.getMessage() for record in caplog.records if record.name == "task"]
    assert len([line for line in told if "trying again: the vault is sealed" in line]) == 3
    assert len([line for line in told if "can be read again" in line]) == 3
    assert len(told) == 6


async def test_many_triggers_tell_of_a_connection_that_cannot_be_read_a_few_in_a_round(
    look_up: LookUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "LOOK_UP_AGAIN", 0.1)
    rounds = 0
    lines: Counter[int] = Counter()

    async def count_rounds() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    class CountLines(logging.Logger):
        def handle(self, record: logging.LogRecord) -> None:
            lines[rounds] += 1

    task_log = CountLines("task", logging.INFO)
    counting = asyncio.create_task(count_rounds())
    look_up.broken = True
    tasks = [asyncio.create_task(settings_for_trigger("mine", "v1", task_log)) for _ in range(95)]
    look_up.go.set()
    while sum(lines.values()) < 95:
        await asyncio.sleep(0)
    look_up.broken = False
    await asyncio.gather(*tasks)
    counting.cancel()
    assert sum(lines.values()) == 2 * 95
    assert max(lines.values()) <= WOKEN_AT_ONCE


async def test_blocking_code_runs_beside_the_loop_and_is_not_cancelled_with_its_caller() -> None:
    loop_thread, begun, go, done = threading.get_ident(), threading.Event(), threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        go.wait(20)
        done.set()
        return threading.get_ident()

    async def call() -> tuple[object, ...]:
        try:
            await in_thread(work)
        except asyncio.CancelledError as cancelled:
            return cancelled.args
        return ()

    caller = asyncio.create_task(call())
    while not begun.is_set():
        await asyncio.sleep(0.01)
    caller.cancel("a message that Airflow looks for")
    assert await caller == ("a message that Airflow looks for",)
    go.set()
    assert await in_thread(threading.get_ident) != loop_thread
    assert done.is_set()
