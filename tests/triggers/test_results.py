"""How a job ended is written into the task's XComs by its trigger, which has the time; else by the task."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from airbyte_deferrable import triggers
from airbyte_deferrable._airflow import base_trigger, job_report
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import connection_to
from helpers.one_task import Task, TaskInstance, airflow_tells, first_event, stored

RESULTS = {"final_status", "rows_synced", "airbyte_job"}
ENDS = ["succeeded", "failed", "cancelled"]


@pytest.fixture
def sim(airbyte_simulator: Simulator) -> Simulator:
    return airbyte_simulator


@pytest.fixture
def ti(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW_CONN_MINE", connection_to(sim))
    monkeypatch.setattr(base_trigger, "HOLD_EVENTS", 0.0)
    ti = TaskInstance()
    with airflow_tells(monkeypatch, ti):
        yield ti


def trigger_for(job_id: int, ti: TaskInstance | None, **parameters: Any) -> Any:
    known = {"try_number": 1, "started_here": True} | parameters
    trigger = stored(triggers.AirbyteSyncTrigger(job_id, "mine", None, 0.1, **known))
    trigger.task_instance = ti
    return trigger


def ended_job(sim: Simulator, end: str = "succeeded") -> int:
    job_id: int = sim.add_job(sim.add_connection(), script=Script(duration=0.0, pending=0.0, outcome=end))["id"]
    return job_id


@pytest.mark.parametrize("end", ENDS)
async def test_trigger_writes_how_the_job_ended(sim: Simulator, ti: TaskInstance, end: str) -> None:
    event = await first_event(trigger_for(ended_job(sim, end), ti))
    assert event["xcoms_written"] is True
    assert ti.xcoms["final_status"] == end
    assert ti.xcoms.keys() >= RESULTS


@pytest.mark.parametrize(
    "parameters",
    [{"write_xcoms": False}, {"try_number": None}, {"started_here": None}],
    ids=["do_xcom_push=False", "a trigger of a user's own operator", "a trigger of the official operator"],
)
async def test_trigger_writes_nothing_that_nobody_asked_for(
    sim: Simulator, ti: TaskInstance, parameters: dict[str, Any]
) -> None:
    event = await first_event(trigger_for(ended_job(sim), ti, **parameters))
    assert not event["xcoms_written"]
    assert RESULTS.isdisjoint(ti.xcoms)


async def test_trigger_without_a_task_writes_nothing(sim: Simulator, ti: TaskInstance) -> None:
    """As in ``dag.test()``."""
    assert not (await first_event(trigger_for(ended_job(sim), None)))["xcoms_written"]
    assert ti.xcoms == {}


async def test_trigger_leaves_to_the_task_what_airflow_does_not_take(
    sim: Simulator, ti: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("away")

    monkeypatch.setattr(ti, "xcom_push", refuse)
    assert not (await first_event(trigger_for(ended_job(sim), ti)))["xcoms_written"]


async def test_trigger_holds_no_event_back_for_an_airflow_that_takes_no_xcoms(
    sim: Simulator, ti: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = threading.Event()
    monkeypatch.setattr(ti, "xcom_push", lambda *_: back.wait())
    monkeypatch.setattr(job_report, "WRITTEN_WITHIN", 0.1)
    monkeypatch.setattr(job_report, "WRITERS_AT_ONCE", 1)
    try:
        assert not (await first_event(trigger_for(ended_job(sim), ti)))["xcoms_written"]
        assert len(job_report._writing) == 1, "what is under way counts until it is over"
        monkeypatch.setattr(job_report, "WRITTEN_WITHIN", 3600.0)
        assert not (await first_event(trigger_for(ended_job(sim), ti)))["xcoms_written"]
    finally:
        back.set()
    await asyncio.wait(job_report._writing)


async def test_trigger_leaves_to_the_task_what_many_write_at_once(
    sim: Simulator, ti: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_report, "WRITERS_AT_ONCE", 0)
    assert not (await first_event(trigger_for(ended_job(sim), ti)))["xcoms_written"]
    monkeypatch.setattr(job_report, "WRITERS_AT_ONCE", 1)
    for _ in range(3):
        # One that has written makes room for the next.
        assert (await first_event(trigger_for(ended_job(sim), ti)))["xcoms_written"]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("by_trigger", [True, False])
def test_task_has_the_same_xcoms_whoever_writes_them(
    sim: Simulator, ti: TaskInstance, monkeypatch: pytest.MonkeyPatch, end: str, by_trigger: bool
) -> None:
    connection_id = sim.add_connection()
    sim.script(connection_id, Script(duration=0.3, pending=0.0, outcome=end))
    if not by_trigger:
        monkeypatch.setattr(job_report, "WRITERS_AT_ONCE", 0)
    task = Task(
        lambda: AirbyteTriggerSyncOperator(
            task_id="sync", connection_id=connection_id, airbyte_conn_id="mine", deferrable=True, wait_seconds=0.1
        ),
        ti=ti,
    )
    deferred = task.leave()
    pushed_by_task: list[str] = []
    push = TaskInstance.xcom_push
    trigger = stored(deferred.trigger)
    trigger.task_instance = ti

    event = asyncio.run(first_event(trigger))
    monkeypatch.setattr(
        TaskInstance, "xcom_push", lambda self, key, value: (pushed_by_task.append(key), push(self, key, value))[0]
    )
    if end == "succeeded":
        task.resume(deferred, event)
    else:
        with pytest.raises(Exception, match=f"Airbyte job {event['job_id']}"):
            task.resume(deferred, event)
    assert ti.xcoms["final_status"] == end
    assert ti.xcoms.keys() >= RESULTS
    assert ti.xcoms["airbyte_job"]["jobId"] == event["job_id"]
    assert bool(RESULTS & set(pushed_by_task)) != by_trigger


async def test_trigger_leaves_to_the_task_a_job_whose_end_it_does_not_know(
    sim: Simulator, ti: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airbyte_deferrable._job.wait.FINAL_CHECK_WITHIN", 1.0)
    job_id = ended_job(sim)
    sim.add_fault(Fault("get", "status", status=500))
    trigger = trigger_for(job_id, ti)
    trigger.end_time = 0.0
    event = await first_event(trigger)
    assert event.get("job") is None
    assert not event["xcoms_written"]
