"""Credentials that change while a trigger waits: it goes on with the new ones, and nowhere else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from airbyte_deferrable._airflow import credentials
from airbyte_deferrable._job import wait as waiting_module
from airbyte_deferrable.simulator import Fault, Simulator
from harness.waiting import IN_VAIN
from helpers.airbyte import AT_ONCE, ENDLESS, connection_to
from helpers.one_task import (
    TaskInstance,
    airflow_tells,
    first_event,
    said,
)
from helpers.one_trigger import end_as_airflow_does, is_said, queued, started, waiting, with_log
from helpers.waiting import until


async def test_credentials_that_were_changed_meanwhile_are_gone_on_with(
    sim: Simulator, rotated: Callable[[], None]
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    trigger = waiting(job_id, try_number=1)
    lines = with_log(trigger)
    running = await started(trigger, sim)
    await is_said(lines, "is running")
    rotated()
    await is_said(lines, "goes on with its new credentials")
    sim.finish(job_id, "succeeded")
    assert (await asyncio.wait_for(running, IN_VAIN))["status"] == "success"
    assert said(lines, f"Airbyte job {job_id} is running: ") <= 1
    assert [line.partition(".")[0] for line in lines if "so far" not in line] == [
        f"Airbyte job {job_id} is running",
        "Airbyte cannot be asked now",
        "Airflow connection 'airbyte_default' was changed: this task goes on with its new credentials",
    ]
    assert sim.client_secret not in "".join(lines)


async def test_credentials_that_are_refused_but_unchanged_are_waited_for(
    sim: Simulator, rotated: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = 0
    load = credentials.load_settings

    def count(*args: Any, **kwargs: Any) -> Any:
        nonlocal looked_up
        looked_up += 1
        return load(*args, **kwargs)

    monkeypatch.setattr(credentials, "load_settings", count)
    job_ids = sim.add_jobs(sim.add_connections(30), ENDLESS)
    triggers_ = [waiting(job_id) for job_id in job_ids]
    lines = [with_log(each) for each in triggers_]
    waits = [asyncio.ensure_future(first_event(each)) for each in triggers_]
    for each in lines:
        await is_said(each, "is running")
    before = looked_up
    fault = sim.add_fault(Fault("token", "status", status=401))
    sim.revoke_tokens()
    for each in lines:
        await is_said(each, "cannot be asked now")
    await until(lambda: looked_up >= before + 3)
    # One look-up for all of them each time, not one each.
    assert looked_up < before + 30
    assert not any(each.done() for each in waits)
    sim.clear_faults(fault)
    for each in lines:
        await is_said(each, "answers again")
    for job_id in job_ids:
        sim.finish(job_id, "succeeded")
    assert {event["status"] for event in await asyncio.gather(*waits)} == {"success"}
    assert not any("goes on with" in line for each in lines for line in each)


async def test_credentials_of_another_airbyte_are_not_gone_on_with(
    sim: Simulator, rotated: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, a job of that number is another."""
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    trigger = waiting(job_id)
    lines = with_log(trigger)
    running = await started(trigger, sim)
    with Simulator() as other:
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(other))
        fault = sim.add_fault(Fault("token", "status", status=401))
        sim.revoke_tokens()
        await is_said(lines, "cannot be asked now")
        sim.clear_faults(fault)
        await is_said(lines, "answers again")
        sim.finish(job_id, "succeeded")
        assert (await asyncio.wait_for(running, IN_VAIN))["status"] == "success"
        assert other.count() == 0


async def test_credentials_that_are_refused_keep_neither_deadline_nor_kill(
    sim: Simulator, rotated: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    late, killed = sim.add_jobs(sim.add_connections(2), ENDLESS)
    ti = TaskInstance(state="failed")
    trigger = waiting(killed, ti, cancel_on_kill=True, try_number=1)
    lines = with_log(trigger)
    running = await started(trigger, sim)
    monkeypatch.setattr(waiting_module, "FINAL_CHECK_WITHIN", 0.2)
    runs_out = asyncio.ensure_future(first_event(waiting(late, end_time=time.time() + 2)))
    sim.rotate_secret()
    sim.revoke_tokens()
    await is_said(lines, "cannot be asked now")
    assert (await asyncio.wait_for(runs_out, IN_VAIN))["reason"] == "timeout"
    with airflow_tells(monkeypatch, ti):
        kill = asyncio.ensure_future(end_as_airflow_does(trigger, running))
        refused = sim.count("token") + 1
        await is_said(lines, "was killed by a user action")
        await until(lambda: sim.count("token") >= refused)
        assert sim.job(killed)["status"] == "running"
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim))
        await asyncio.wait_for(kill, IN_VAIN)
    assert sim.job(killed)["status"] == "cancelled"


@pytest.mark.parametrize("asks", ["for the job that runs", "whether it is idle"])
async def test_credentials_that_were_changed_meanwhile_are_gone_on_with_in_the_queue(
    sim: Simulator, rotated: Callable[[], None], asks: str
) -> None:
    job_id = sim.add_job(cid := sim.add_connection(), script=ENDLESS)["id"]
    if asks == "whether it is idle":
        # Somebody has a turn already.
        sim.finish(job_id, "succeeded")
        told = queued(cid, 0.5).run()
        await anext(told)
    line = [queued(cid, float(place)) for place in (1, 2)]
    lines = [with_log(each) for each in line]
    waits = [asyncio.ensure_future(first_event(each)) for each in line]
    calls = sim.count("list")
    await until(lambda: sim.count("list") >= calls + 1)
    rotated()
    await is_said(lines[0], "goes on with its new credentials")
    if asks == "for the job that runs":
        sim.finish(job_id, "succeeded")
    assert (await asyncio.wait_for(waits[0], IN_VAIN))["status"] == "free"
    sim.add_job(cid, script=AT_ONCE)
    assert (await asyncio.wait_for(waits[1], IN_VAIN))["status"] == "free"
