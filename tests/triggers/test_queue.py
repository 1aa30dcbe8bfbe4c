"""The trigger of a place in the queue has one event: the connection is free, or a deadline is over."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from airbyte_deferrable._airflow import base_trigger
from airbyte_deferrable.simulator import Simulator
from airbyte_deferrable.triggers import AirbyteQueueTrigger
from harness.waiting import IN_VAIN
from helpers.airbyte import ENDLESS
from helpers.one_task import (
    TaskInstance,
    first_event,
)
from helpers.one_trigger import end_as_airflow_does, queued
from helpers.waiting import until


async def test_queue_ends_with_an_event_and_its_deadlines_too(sim: Simulator) -> None:
    idle, busy = sim.add_connection(), sim.add_connection()
    sim.add_job(busy, script=ENDLESS)
    arguments: dict[str, Any] = {"conn_id": "airbyte_default", "queued_at": 1.0, "poll_interval": 0.1}
    assert (await first_event(AirbyteQueueTrigger(idle, **arguments, try_number=2)))["status"] == "free"
    event = await first_event(AirbyteQueueTrigger(busy, **arguments, end_time=time.time() + 0.3))
    assert (event["status"], event["reason"]) == ("timeout", "timeout")
    event = await first_event(AirbyteQueueTrigger(busy, **arguments, execution_deadline=time.time() + 0.3))
    assert (event["status"], event["reason"]) == ("timeout", "execution_timeout")


async def test_queue_goes_on_when_a_task_is_killed_while_its_event_is_held_back(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_trigger, "HOLD_EVENTS", 3600.0)
    cid = sim.add_connection()
    first = queued(cid, 1.0, TaskInstance(), not_before=time.time() + 3600)
    held, second = (asyncio.ensure_future(first_event(each)) for each in (first, queued(cid, 2.0)))
    await until(lambda: sim.count("list") >= 2)
    assert not second.done()
    await asyncio.wait_for(end_as_airflow_does(first, held), IN_VAIN)
    assert (await asyncio.wait_for(second, IN_VAIN))["status"] == "free"


async def test_queue_waits_for_a_task_that_has_heard_of_its_event(sim: Simulator) -> None:
    cid = sim.add_connection()
    told = queued(cid, 1.0).run()
    await anext(told)
    with pytest.raises(asyncio.CancelledError):
        await told.athrow(asyncio.CancelledError())
    second = asyncio.ensure_future(first_event(queued(cid, 2.0)))
    done, _ = await asyncio.wait({second}, timeout=0.5)
    assert not done
