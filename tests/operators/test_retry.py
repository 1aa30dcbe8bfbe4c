"""A retry goes on with the job of the try before. What a clear does is in ``test_clear.py``."""

from __future__ import annotations

from typing import Any

import pytest

from airbyte_deferrable._airflow import retry_store
from airbyte_deferrable.exceptions import AirbyteException
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import AT_ONCE, ENDLESS, QUICK, connection_to
from helpers.one_task import (
    WAYS,
    Make,
    Variables,
    WithoutStore,
    airflow_takes_down,
    airflow_takes_down_the_success,
    airflow_tells,
    said,
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("fate", "started"), [("live", 1), ("succeeded", 1), ("failed", 2), ("cancelled", 2), ("gone", 2), ("cleared", 2)]
)
def test_retry_finds_the_job_of_the_try_before(sim: Simulator, task: Make, way: str, fate: str, started: int) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred")
    first = sync.leave().trigger.job_id
    sim.script(cid, QUICK)
    if fate == "gone":
        sim.delete_job(first)
    elif fate == "cleared":
        sim.finish(first, "succeeded")
        sync.clear()
    elif fate != "live":
        sim.finish(first, fate)
    sync.next_try()
    again = task(cid, way)
    again.store = sync.store
    if fate == "live":
        sim.script(cid, QUICK)
        deferred = task(cid, "deferred")
        deferred.store = sync.store
        assert deferred.leave().trigger.job_id == first
        sim.finish(first, "succeeded")
    jobs = {job["id"] for job in sim.jobs(cid)} | {first}
    result = again.run()
    jobs |= {job["id"] for job in sim.jobs(cid)}
    assert len(jobs) == started
    assert result == (first if started == 1 else max(jobs))
    assert again.store["airbyte_retry"]["job_id"] == result


def test_retry_does_not_say_submitted_of_a_job_that_it_finds(sim: Simulator, task: Make) -> None:
    sync = task(sim.add_connection(name="Orders", script=ENDLESS), "deferred")
    job_id = sync.leave().trigger.job_id
    assert said(sync.lines, f"Submitted job {job_id} (sync) of connection") == 1
    sync.next_try()
    sync.leave()
    assert said(sync.lines, "Submitted") == 1
    assert said(sync.lines, f"Found again: job {job_id} (sync) of connection") == 1


@pytest.mark.parametrize("place", ["task state store", "variables"])
def test_retry_after_a_map_index_that_cannot_be_rendered_finds_its_job(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Airflow renders it after ``post_execute``, and fails the task if it cannot."""
    variables = Variables()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)
    cid = sim.add_connection(script=QUICK)
    sync = task(cid, map_index_template="{{ 1 // (ti.try_number - 1) }}")
    sync.ti.max_tries = 2
    if place == "variables":
        sync = WithoutStore(sync._make, ti=sync.ti)

    def run() -> Any:
        operator, context = sync.operator(), sync.context
        result = operator.execute(context)
        operator.post_execute(context, result)
        # As _render_map_index of Airflow's task runner does.
        operator.get_template_env().from_string(operator.map_index_template).render(context)
        airflow_takes_down_the_success(sync.ti)
        return result

    with pytest.raises(ZeroDivisionError):
        run()
    airflow_takes_down(sync.ti, "up_for_retry")
    sync.next_try()
    assert run() == sim.jobs(cid)[0]["id"]
    assert len(sim.jobs(cid)) == 1
    assert not variables


def test_retry_that_finds_its_job_has_the_record_for_its_own(sim: Simulator, task: Make) -> None:
    """A worker that Airflow has lost touch with knows by it that the record is another's."""
    sync = task(sim.add_connection(script=ENDLESS), "deferred")
    sync.leave()
    sync.next_try()
    sync.leave()
    assert sync.store["airbyte_retry"]["generation"]["try_number"] == 2


def test_retry_finds_the_job_that_airbyte_named_after_the_task_was_killed(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by kill -9 while Airbyte makes the job: nothing runs any more after the request is carried out."""

    class Killed(BaseException):
        pass

    cid = sim.add_connection(script=QUICK)
    sync = task(cid)
    real = sync.store.set

    def set_until_killed(key: str, value: Any, **options: Any) -> None:
        if value["job_id"] is not None:
            raise Killed
        real(key, value, **options)

    monkeypatch.setattr(sync.store, "set", set_until_killed)
    with pytest.raises(Killed):
        sync.run()
    monkeypatch.undo()
    with airflow_tells(monkeypatch, sync.ti):
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim))
        sync.next_try()
        assert sync.run() == sim.jobs(cid)[0]["id"]
    assert len(sim.jobs(cid)) == 1


@pytest.mark.usefixtures("impatient")
def test_retry_starts_its_job_once_after_a_request_that_never_arrived(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cid = sim.add_connection(script=QUICK)
    sync = task(cid)
    fault = sim.add_fault(Fault("create", "drop"))
    with pytest.raises(AirbyteException):
        sync.run()
    assert sync.store
    assert sim.jobs(cid) == []
    sim.clear_faults(fault)
    sync.next_try()
    assert sync.run() == sim.jobs(cid)[0]["id"]
    assert len(sim.jobs(cid)) == 1


def test_retry_with_another_connection_is_other_work(sim: Simulator, task: Make) -> None:
    first, second = sim.add_connection(script=ENDLESS), sim.add_connection(script=QUICK)
    sync = task(first, "deferred")
    sync.leave()
    sync.next_try()
    other = task(second)
    other.store = sync.store
    assert other.run() == sim.jobs(second)[0]["id"]


def test_retry_starts_over_at_an_event_for_another_try(sim: Simulator, task: Make) -> None:
    sync = task(cid := sim.add_connection(script=Script(duration=0.3, pending=0.0, outcome="failed")), "deferred")
    deferred = sync.leave()
    stale = {"status": "error", "message": "", "job_id": deferred.trigger.job_id, "try_number": 1}
    sim.finish(deferred.trigger.job_id, "failed")
    sim.script(cid, AT_ONCE)
    sync.next_try()
    assert sync.resume(deferred, stale) == sim.jobs(cid)[1]["id"]
