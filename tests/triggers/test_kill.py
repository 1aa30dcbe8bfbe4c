"""A job is cancelled when a user has killed its deferred task, and for nothing else that ends a trigger."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airbyte_deferrable._airflow import cancel_killed, credentials
from airbyte_deferrable._airflow.kill import WAIT_MARKER
from airbyte_deferrable.simulator import Fault, Simulator
from airbyte_deferrable.triggers import sync as sync_trigger
from harness.waiting import IN_VAIN
from helpers.airbyte import AT_ONCE, ENDLESS, connection_to
from helpers.one_task import (
    TaskInstance,
    airflow_tells,
)
from helpers.one_trigger import end_as_airflow_does, started, waiting
from helpers.waiting import until


@pytest.mark.parametrize("tells", [True, False], ids=["told", "finds out"])
@pytest.mark.parametrize(
    ("state", "parameters", "status"),
    [
        ("failed", {}, "cancelled"),
        ("success", {}, "cancelled"),
        ("queued", {}, "cancelled"),
        ("deferred", {}, "running"),
        ("failed", {"cancel_on_kill": False}, "running"),
        ("failed", {"end_time": 0.0}, "running"),
    ],
)
async def test_kill_by_a_user_cancels_the_job_and_nothing_else_does(
    sim: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    parameters: dict[str, Any],
    status: str,
    tells: bool,
) -> None:
    monkeypatch.setattr(sync_trigger, "AIRFLOW_TELLS_OF_KILLS", tells)
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    ti = TaskInstance(state=state, xcoms={WAIT_MARKER: {"job_id": job_id, "try": 1, "started_here": True}})
    trigger = waiting(job_id, ti, cancel_on_kill=True, try_number=1)
    running = await started(trigger, sim)
    trigger.end_time = parameters.get("end_time", trigger.end_time)
    trigger.cancel_on_kill = parameters.get("cancel_on_kill", True)
    with airflow_tells(monkeypatch, ti):
        await asyncio.wait_for(end_as_airflow_does(trigger, running), IN_VAIN)
    assert running.cancelled()
    assert sim.job(job_id)["status"] == status


async def test_kill_cancels_no_job_of_another_airbyte(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Airflow connection leads to another Airbyte than when the task began to wait."""
    monkeypatch.setattr(credentials, "KNOWN_FOR", 0.0)
    job_id = sim.add_job(cid := sim.add_connection(), script=ENDLESS)["id"]
    ti = TaskInstance(state="failed")
    trigger = waiting(job_id, ti, cancel_on_kill=True, try_number=1, connection_id=cid)
    running = await started(trigger, sim)
    with Simulator() as new, airflow_tells(monkeypatch, ti):
        others = new.add_job(new.add_connection(), script=ENDLESS)["id"]
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(new))
        await asyncio.wait_for(end_as_airflow_does(trigger, running), IN_VAIN)
        assert new.job(others)["status"] == "running"
        assert new.count("get") == 1


async def test_kill_after_the_event_does_nothing(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = sim.add_job(sim.add_connection(), script=AT_ONCE)["id"]
    ti = TaskInstance(state="failed")
    trigger = waiting(job_id, ti, cancel_on_kill=True, try_number=1)
    generator = trigger.run()
    await anext(generator)
    requests = sim.count()
    with airflow_tells(monkeypatch, ti):
        with pytest.raises(asyncio.CancelledError):
            await generator.athrow(asyncio.CancelledError())
        if sync_trigger.AIRFLOW_TELLS_OF_KILLS:
            await trigger.on_kill()
    assert sim.count() == requests


async def test_kill_by_dag_test_after_the_event_cancels_no_job(sim: Simulator) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    trigger = waiting(job_id, None, cancel_on_kill=True, try_number=1)
    running = await started(trigger, sim)
    await asyncio.wait_for(end_as_airflow_does(trigger, running), IN_VAIN)
    assert sim.job(job_id)["status"] == "running"


async def test_kill_in_an_outage_is_said_and_ends(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel_killed, "CANCEL_KILLED_WITHIN", 0.5)
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    ti = TaskInstance(state="failed")
    trigger = waiting(job_id, ti, cancel_on_kill=True, try_number=1)
    running = await started(trigger, sim)
    sim.add_fault(Fault("*", "hang"))
    with airflow_tells(monkeypatch, ti):
        await asyncio.wait_for(end_as_airflow_does(trigger, running), IN_VAIN)
    sim.clear_faults()
    assert running.cancelled()


async def test_kills_at_once_all_reach_their_jobs_and_hold_nobody_elses_checks(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airbyte answers a cancel call only when the job has stopped: the last of them has long to wait."""
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim, max_requests=1))
    *killed, other = sim.add_jobs(sim.add_connections(26), ENDLESS)
    sim.add_fault(Fault("cancel", "latency", seconds=0.45))
    waits_on = await started(waiting(other), sim)
    ti = TaskInstance(state="failed")
    with airflow_tells(monkeypatch, ti):
        kills = asyncio.gather(*(waiting(each, ti, cancel_on_kill=True, try_number=1).on_kill() for each in killed))
        await until(lambda: sim.count("cancel") >= 2)
        sim.finish(other, "succeeded")
        assert (await waits_on)["status"] == "success"
        assert sim.count("cancel") < 12
        await kills
    assert {sim.job(each)["status"] for each in killed} == {"cancelled"}
