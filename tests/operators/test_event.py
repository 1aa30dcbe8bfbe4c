"""What the operator makes of an event: of its own trigger, of the official one, of another try, of another Airbyte."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from airbyte_deferrable import hooks
from airbyte_deferrable._job import wait
from airbyte_deferrable.exceptions import (
    AirbyteException,
    AirbyteJobCancelled,
    AirbyteJobFailed,
    AirbyteTimeout,
)
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import ENDLESS, QUICK, connection_to
from helpers.one_task import (
    Make,
)
from helpers.waiting import Clock, meanwhile


@pytest.mark.parametrize(
    ("status", "raises"), [("success", None), ("error", AirbyteJobFailed), ("cancelled", AirbyteJobCancelled)]
)
def test_event_of_the_official_trigger_is_understood(
    sim: Simulator, task: Make, status: str, raises: type[Exception] | None
) -> None:
    """It tells no more than this (``apache-airflow-providers-airbyte`` 6.2)."""
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred")
    deferred = sync.leave()
    job_id = deferred.trigger.job_id
    sim.finish(job_id, {"success": "succeeded", "error": "failed"}.get(status, status))
    event = {"status": status, "message": "Job run ended.", "job_id": job_id}
    if raises is None:
        assert sync.resume(deferred, event) == job_id
    else:
        with pytest.raises(raises):
            sync.resume(deferred, event)
    assert len(sim.jobs(cid)) == 1


def test_event_execution_timeout_of_the_official_trigger_cancels_the_job(sim: Simulator, task: Make) -> None:
    """The official operator had started it, and left no kill."""
    sync = task(cid := sim.add_connection(), "deferred", execution_timeout=timedelta(minutes=5))
    job_id = sim.add_job(cid, script=ENDLESS)["id"]
    event = {"status": "timeout", "message": f"Job run {job_id} has reached execution timeout.", "job_id": job_id}
    with pytest.raises(AirbyteTimeout, match=r"the task's execution_timeout \(300 s\) was over"):
        sync.operator().execute_complete(sync.context, event)
    assert sim.job(job_id)["status"] == "cancelled"


@pytest.mark.parametrize("status", ["success", "error"])
def test_event_of_the_official_trigger_is_checked_until_airbyte_answers(
    sim: Simulator, task: Make, status: str
) -> None:
    """Its ``error`` may be one look that failed: the job goes on."""
    cid = sim.add_connection(script=Script(duration=1.0, pending=0.0))
    job_id = sim.add_job(cid)["id"]
    if status == "success":
        sim.finish(job_id, "succeeded")
        sim.add_fault(Fault("get", status=503, times=2))
    event = {"status": status, "message": "API error occurred: Status 503", "job_id": job_id}
    sync = task(cid, "deferred")
    assert sync.operator().execute_complete(sync.context, event) == job_id


def test_event_timeout_of_the_official_trigger_is_one(sim: Simulator, task: Make) -> None:
    job_id = sim.add_job(cid := sim.add_connection(), script=ENDLESS)["id"]
    message = f"Job run {job_id} has not reached a terminal status after 1762000000.0 seconds."
    sync = task(cid, "deferred")
    with pytest.raises(AirbyteTimeout, match=r"the task's timeout \(3600 s\) was over"):
        sync.operator().execute_complete(sync.context, {"status": "error", "message": message, "job_id": job_id})


@pytest.mark.parametrize("elsewhere", [True, False])
def test_event_of_another_airbytes_job_is_not_taken_for_ours(sim: Simulator, task: Make, elsewhere: bool) -> None:
    """The Airflow connection led to another Airbyte a moment ago, whose job has succeeded."""
    ours, others = sim.add_connection(script=QUICK), sim.add_connection(script=QUICK)
    sync = task(ours, "deferred")
    deferred = sync.leave()
    job = {"jobId": deferred.trigger.job_id, "status": "succeeded", "connectionId": others}
    if elsewhere:
        sim.finish(deferred.trigger.job_id, "failed")
        raises, match = AirbyteJobFailed, f"of connection {ours} failed"
    else:
        job["jobId"] = sim.add_job(others, script=QUICK)["id"]
        raises, match = AirbyteException, "leads to another Airbyte"
    event = {"status": "success", "message": "", "job_id": job["jobId"], "job": job}
    with pytest.raises(raises, match=match):
        sync.resume(deferred, event)


def test_event_execution_timeout_cancels_no_job_of_another_airbyte(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could tell of the job any more: the Airflow connection leads to another Airbyte by now."""
    sync = task(sim.add_connection(name="Orders", script=ENDLESS), "deferred", connection_name="Orders")
    operator = sync.operator
    sync.operator = lambda: _by_name(operator())
    deferred = sync.leave()
    with Simulator() as new:
        others = new.add_job(new.add_connection(), script=ENDLESS)
        assert others["id"] == deferred.trigger.job_id
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(new))
        event = {"status": "timeout", "reason": "timeout", "message": "", "job_id": others["id"], "try_number": 1}
        with pytest.raises(AirbyteException, match="leads to another Airbyte"):
            sync.resume(deferred, event)
        assert new.job(others["id"])["status"] == "running"


def _by_name(operator: AirbyteTriggerSyncOperator) -> AirbyteTriggerSyncOperator:
    operator.connection_id = ""
    return operator


@pytest.mark.parametrize("event", [None, {}, "success", {"status": "success"}, {"status": "done", "job_id": 1}])
def test_event_that_is_unreadable_is_no_success(sim: Simulator, task: Make, event: Any) -> None:
    sync = task(sim.add_connection(script=ENDLESS), "deferred")
    deferred = sync.leave()
    with pytest.raises(AirbyteException, match="without a readable event"):
        sync.resume(deferred, event)


def test_event_timeout_is_followed_by_a_check_on_the_worker(sim: Simulator, task: Make) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred")
    deferred = sync.leave()
    job_id = sim.jobs(cid)[0]["id"]
    sim.finish(job_id, "succeeded")
    event = {"status": "error", "reason": "timeout", "message": "", "job_id": job_id, "try_number": 1}
    assert sync.resume(deferred, event) == job_id


def test_event_with_another_connection_is_waited_for_no_longer_than_timeout(
    sim: Simulator, task: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "FINAL_CHECK_WITHIN", 1.0)
    monkeypatch.setattr(wait, "FINAL_CHECK_WITHIN", 1.0)
    cid = sim.add_connection(script=ENDLESS)
    sync = task(cid, "deferred", timeout=600)
    deferred = sync.leave()
    job_id = sim.jobs(cid)[0]["id"]
    other = {"jobId": job_id, "status": "succeeded", "connectionId": sim.add_connection()}
    event = {"status": "success", "message": "", "job_id": job_id, "try_number": 1, "job": other}
    # The first look is at what the event tells of, before the new wait and its deadline begin.
    with meanwhile(lambda: sim.count("get") >= 2, clock.jump), pytest.raises(AirbyteTimeout):
        sync.resume(deferred, event)


@pytest.mark.parametrize("end", ["succeeded", "execution_timeout"])
def test_event_is_of_the_job_that_was_started_whatever_a_template_says_by_now(
    sim: Simulator, task: Make, end: str
) -> None:
    cid = sim.add_connection(script=ENDLESS)
    life = timedelta(seconds=60)
    sync = task(cid, "deferred", execution_timeout=life)
    deferred = sync.leave()
    later = task(sim.add_connection(), "deferred", execution_timeout=life)
    later.ti, later.store = sync.ti, sync.store
    if end == "succeeded":
        sim.finish(sim.jobs(cid)[0]["id"], end)
        assert later.come_back(deferred) == sim.jobs(cid)[0]["id"]
    else:
        with pytest.raises(AirbyteTimeout, match="The job is cancelled"):
            later.come_back(deferred, execution_deadline=time.time())
        assert sim.jobs(cid)[0]["status"] == "cancelled"


def test_event_of_airflow_2_for_its_execution_timeout_cancels_the_job(sim: Simulator, task: Make) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred")
    sync.leave()
    with pytest.raises(Exception, match="timeout"):
        sync.operator().resume_execution("__fail__", {"error": "Trigger/execution timeout"}, sync.context)
    assert sim.jobs(cid)[0]["status"] == "cancelled"


def test_event_of_a_trigger_that_failed_cancels_nothing(sim: Simulator, task: Make) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred")
    sync.leave()
    with pytest.raises(Exception, match="Trigger failure"):
        sync.operator().resume_execution("__fail__", {"error": "Trigger failure"}, sync.context)
    assert sim.jobs(cid)[0]["status"] == "running"
