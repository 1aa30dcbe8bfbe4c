"""The trigger of a job has one event: its end, or a deadline that is over."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from airbyte_deferrable._airflow import base_trigger
from airbyte_deferrable.simulator import Script, Simulator
from airbyte_deferrable.triggers import AirbyteQueueTrigger
from harness.waiting import IN_VAIN
from helpers.airbyte import AT_ONCE, ENDLESS
from helpers.one_task import (
    TaskInstance,
    first_event,
)
from helpers.one_trigger import waiting


@pytest.mark.parametrize(("end", "status"), [("succeeded", "success"), ("failed", "error"), ("cancelled", "cancelled")])
async def test_event_is_the_end_of_the_job(sim: Simulator, end: str, status: str) -> None:
    job = sim.add_job(cid := sim.add_connection(), script=Script(duration=0.2, pending=0.0, outcome=end))
    event = await first_event(waiting(job["id"], try_number=3))
    assert (event["status"], event["job_id"], event["try_number"]) == (status, job["id"], 3)
    assert event["job"]["connectionId"] == cid
    assert str(job["id"]) in event["message"]


async def test_event_is_the_only_one(sim: Simulator) -> None:
    job = sim.add_job(sim.add_connection(), script=AT_ONCE)
    assert len([event async for event in waiting(job["id"]).run()]) == 1


async def test_event_of_a_timeout_is_an_error_and_of_an_execution_timeout_a_timeout(sim: Simulator) -> None:
    job = sim.add_job(sim.add_connection(), script=ENDLESS)
    soon = time.time() + 0.3
    event = await first_event(waiting(job["id"], end_time=soon))
    assert (event["status"], event["reason"], event["job"]["status"]) == ("error", "timeout", "running")
    event = await first_event(waiting(job["id"], execution_deadline=soon))
    assert (event["status"], event["reason"]) == ("timeout", "timeout")
    assert sim.job(job["id"])["status"] == "running"


async def test_event_after_the_deadline_is_that_of_a_final_check(sim: Simulator) -> None:
    job = sim.add_job(sim.add_connection(), script=ENDLESS)
    sim.finish(job["id"], "succeeded")
    assert (await first_event(waiting(job["id"], end_time=time.time() - 3600)))["status"] == "success"


async def test_event_of_a_deadline_comes_while_the_connection_cannot_be_read(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_trigger, "FINAL_CHECK_WITHIN", 0.2)
    event = await first_event(waiting(7, conn_id="missing", end_time=time.time()))
    assert (event["status"], event["reason"]) == ("error", "timeout")


async def test_event_of_an_unknown_job_is_an_error_of_its_own(sim: Simulator) -> None:
    event = await first_event(waiting(999))
    assert (event["status"], event["reason"]) == ("error", "not_visible")


async def test_event_that_is_early_is_held_back_where_a_scheduler_is(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3 can fail a task that is resumed while it still finishes to defer; in dag.test there is no such race."""
    monkeypatch.setattr(base_trigger, "HOLD_EVENTS", 10.0)
    job = sim.add_job(sim.add_connection(), script=AT_ONCE)
    later = time.time() + 0.6
    await first_event(waiting(job["id"], not_before=time.time() + 3600))
    await first_event(waiting(job["id"], TaskInstance(), not_before=later))
    assert time.time() >= later


async def test_event_is_not_held_for_long_by_a_worker_whose_clock_is_ahead(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_trigger, "HOLD_EVENTS", 0.1)
    ahead = time.time() + 3600
    job = sim.add_job(cid := sim.add_connection(), script=AT_ONCE)
    trigger = waiting(job["id"], TaskInstance(), not_before=ahead)
    assert (await asyncio.wait_for(first_event(trigger), IN_VAIN))["status"] == "success"
    turn: Any = AirbyteQueueTrigger(cid, "airbyte_default", 1.0, 0.1, not_before=ahead)
    turn.task_instance = TaskInstance()
    assert (await asyncio.wait_for(first_event(turn), IN_VAIN))["status"] == "free"
