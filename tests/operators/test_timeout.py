"""The operator's two deadlines: ``timeout`` leaves the job alone, ``execution_timeout`` cancels it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from airbyte_deferrable._airflow import execution_timeout, started_job
from airbyte_deferrable._compat import AirflowTaskTimeout
from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable.exceptions import (
    AirbyteException,
    AirbyteJobFailed,
    AirbyteTimeout,
)
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Fault, Script, Simulator, world
from helpers.airbyte import ENDLESS, QUICK, hits
from helpers.one_task import (
    WAYS,
    Make,
    execution_timeout_over_when,
    over_in_the_middle_of_a_check,
    said,
)
from helpers.waiting import Clock, meanwhile

#: An ``execution_timeout`` that is over when a test says so.
A_MINUTE = timedelta(seconds=60)


@pytest.mark.parametrize("way", WAYS)
def test_timeout_fails_the_task_and_leaves_the_job(sim: Simulator, task: Make, clock: Clock, way: str) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), way, timeout=600)
    with (
        meanwhile(lambda: said(sync.lines, "Airbyte job 1 is running"), clock.jump),
        pytest.raises(AirbyteTimeout, match=r"the task's timeout \(600 s\) was over. The job goes on"),
    ):
        sync.run()
    assert sim.jobs(cid)[0]["status"] == "running"
    sync.next_try()
    sim.finish(sim.jobs(cid)[0]["id"], "succeeded")
    assert sync.run() == sim.jobs(cid)[0]["id"]


@pytest.mark.parametrize("way", WAYS)
def test_timeout_of_nought_is_none(sim: Simulator, task: Make, way: str) -> None:
    cid = sim.add_connection(script=QUICK)
    sim.add_job(cid, script=QUICK)
    assert task(cid, way, timeout=0).run() == sim.jobs(cid)[1]["id"]


def test_timeout_over_before_the_request_is_taken_starts_no_job(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AirbyteTriggerSyncOperator, "submit_policy", SubmitPolicy(unreachable=600.0, pause=0.1))
    cid = sim.add_connection(script=QUICK)
    throttled = sim.add_fault(Fault("create", status=429))
    sync = task(cid, timeout=0.8)
    with pytest.raises(AirbyteTimeout, match=r"timeout \(0.8 s\) was over before Airbyte took the request"):
        sync.run()
    sim.clear_faults(throttled)
    assert not sim.jobs(cid)
    sync.next_try()
    somebody_elses = sim.add_job(cid, script=Script(duration=0.2, pending=0.0))["id"]
    assert task(cid).run() == somebody_elses + 1


def test_execution_timeout_of_a_deferred_task_cancels_the_job(sim: Simulator, task: Make) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred", execution_timeout=A_MINUTE)
    with pytest.raises(AirbyteTimeout, match=r"the task's execution_timeout \(60 s\) was over. The job is cancelled"):
        sync.come_back(sync.leave(), execution_deadline=time.time())
    assert sync.events[0]["status"] == "timeout"
    assert sim.jobs(cid)[0]["status"] == "cancelled"


def test_execution_timeout_on_the_worker_cancels_the_job(sim: Simulator, task: Make) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), execution_timeout=A_MINUTE)
    with (
        execution_timeout_over_when(lambda: sim.count("get")),
        pytest.raises(AirbyteTimeout, match=r"the task's execution_timeout \(60 s\) was over"),
    ):
        sync.run()
    assert sim.jobs(cid)[0]["status"] == "cancelled"


def test_execution_timeout_gives_the_job_time_to_stop(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contrary to a kill, Airflow leaves the task that time; and a retry would take a job that still stops for live."""
    monkeypatch.setattr(world, "CANCELLING", 1.5)
    monkeypatch.setattr(execution_timeout, "CANCEL_WITHIN", 0.3)
    monkeypatch.setattr(execution_timeout, "LONGEST_CANCEL", 60.0)
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred", execution_timeout=A_MINUTE)
    with pytest.raises(AirbyteTimeout, match="The job is cancelled"):
        sync.come_back(sync.leave(), execution_deadline=time.time())
    assert [job["status"] for job in sim.jobs(cid)] == ["cancelled"]


@pytest.mark.parametrize(
    ("answer", "settle", "fate"),
    [
        (Fault("create", "lost_answer", seconds=1.5), 20.0, "cancelled"),
        (Fault("create", "lost_answer", seconds=1.5, status=504), 20.0, "running"),
        (Fault("create", "lost_answer", seconds=60.0), 1.0, "running"),
    ],
    ids=["late", "late and lost", "never"],
)
def test_execution_timeout_while_airbyte_makes_the_job_cancels_it_if_airbyte_names_it(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, answer: Fault, settle: float, fate: str
) -> None:
    """A kill has 5 s, then Airflow ends the process; this has no limit. What is only found may be another's job."""
    monkeypatch.setattr(started_job, "NAMED_WITHIN", 0.1)
    monkeypatch.setattr(
        AirbyteTriggerSyncOperator, "submit_policy", SubmitPolicy(settle=settle, unreachable=2.0, pause=0.1)
    )
    cid = sim.add_connection(script=ENDLESS)
    creates = sim.add_fault(answer)
    sync = task(cid, execution_timeout=A_MINUTE)
    with (
        execution_timeout_over_when(lambda: hits(sim, creates)),
        pytest.raises(AirbyteTimeout, match=r"was over\. The job (is cancelled|goes on: .* not for certain)\."),
    ):
        sync.run()
    assert [job["status"] for job in sim.jobs(cid)] == [fate]


def test_execution_timeout_before_a_job_is_started_says_so(sim: Simulator, task: Make) -> None:
    creates = sim.add_fault(Fault("create", "hang"))
    sync = task(sim.add_connection(), execution_timeout=A_MINUTE)
    with (
        execution_timeout_over_when(lambda: hits(sim, creates)),
        pytest.raises(AirbyteTimeout, match="No job is known that it started"),
    ):
        sync.run()
    assert sim.count("cancel") == 0


def test_execution_timeout_does_not_say_cancelled_of_a_job_that_goes_on(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_timeout, "CANCEL_WITHIN", 0.5)
    monkeypatch.setattr(execution_timeout, "LONGEST_CANCEL", 0.5)
    sync = task(sim.add_connection(script=ENDLESS), execution_timeout=A_MINUTE)
    sim.add_fault(Fault("cancel", status=500))
    with (
        execution_timeout_over_when(lambda: sim.count("get")),
        pytest.raises(AirbyteTimeout, match="could not be cancelled"),
    ):
        sync.run()


def test_execution_timeout_of_a_deferred_task_does_not_say_cancelled_either(sim: Simulator, task: Make) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred", execution_timeout=A_MINUTE)
    sim.add_fault(Fault("cancel", status=403))
    with pytest.raises(AirbyteTimeout, match="could not be cancelled"):
        sync.come_back(sync.leave(), execution_deadline=time.time())
    assert sim.jobs(cid)[0]["status"] == "running"


@pytest.mark.parametrize(("end", "raises"), [("succeeded", None), ("failed", AirbyteJobFailed)])
def test_execution_timeout_of_a_job_that_has_ended_is_its_outcome(
    sim: Simulator, task: Make, end: str, raises: type[AirbyteException] | None
) -> None:
    cid = sim.add_connection(script=ENDLESS)
    sync = task(cid, wait_seconds=60, execution_timeout=A_MINUTE)

    def ended() -> bool:
        """The task has checked its job, and does not do so again before it is interrupted."""
        if checked := sim.count("get"):
            sim.finish(sim.jobs(cid)[0]["id"], end)
        return bool(checked)

    with execution_timeout_over_when(ended):
        if raises is None:
            assert sync.run() == sim.jobs(cid)[0]["id"]
        else:
            with pytest.raises(raises):
                sync.run()
    assert sync.ti.xcoms["final_status"] == end


def _upper(connection_id: str) -> str:
    return connection_id.upper()


def _without_hyphens(connection_id: str) -> str:
    return connection_id.replace("-", "")


@pytest.mark.parametrize("written", [_upper, _without_hyphens])
def test_execution_timeout_cancels_the_job_however_the_connection_id_is_written(
    sim: Simulator, task: Make, written: Callable[[str], str]
) -> None:
    cid = sim.add_connection(script=ENDLESS)
    sync = task(written(cid), "deferred", execution_timeout=A_MINUTE)
    with pytest.raises(AirbyteTimeout, match="The job is cancelled"):
        sync.come_back(sync.leave(), execution_deadline=time.time())
    assert sim.jobs(cid)[0]["status"] == "cancelled"


def test_execution_timeout_leaves_an_attached_job_alone(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection()
    sim.add_job(cid, script=ENDLESS)
    sync = task(cid, "deferred", if_running="attach", execution_timeout=A_MINUTE)
    with pytest.raises(AirbyteTimeout, match="The job goes on: this task did not start it"):
        sync.come_back(sync.leave(), execution_deadline=time.time())
    assert sim.jobs(cid)[0]["status"] == "running"


@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_execution_timeout_of_a_resumed_task_cancels_its_job(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, cancel_on_kill: bool
) -> None:
    """Airflow calls on_kill for it."""
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred", cancel_on_kill=cancel_on_kill)
    sync.leave()
    monkeypatch.setattr("airbyte_deferrable._sync_task.get_current_context", lambda: sync.context)
    try:
        raise AirflowTaskTimeout
    except AirflowTaskTimeout:
        sync.operator().on_kill()
    assert sim.jobs(cid)[0]["status"] == "cancelled"


@pytest.mark.parametrize(
    ("ours", "says", "status"),
    [(True, "The job is cancelled", "cancelled"), (False, "this task did not start it", "running")],
    ids=["ours", "adopted"],
)
def test_execution_timeout_in_the_middle_of_a_resumed_tasks_check_is_told_as_ever(
    sim: Simulator, task: Make, ours: bool, says: str, status: str
) -> None:
    cid = sim.add_connection(script=ENDLESS)
    if not ours:
        sim.add_job(cid, script=ENDLESS)
    sync = task(cid, "deferred", if_running="attach", execution_timeout=A_MINUTE)
    sync.leave()
    job_id = sim.jobs(cid)[0]["id"]
    # As the official trigger says it, so that the task has yet to look.
    event = {"status": "success", "message": "", "job_id": job_id}
    with (
        over_in_the_middle_of_a_check(sim),
        pytest.raises(AirbyteTimeout, match=rf"execution_timeout \(60 s\).*{says}"),
    ):
        sync.operator().execute_complete(sync.context, event)
    assert sim.jobs(cid)[0]["status"] == status
