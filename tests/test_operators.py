"""The operator: the same in every way of waiting, and nothing is lost or done twice."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import pytest
from airflow.exceptions import AirflowNotFoundException
from one_task import (
    Task,
    TaskDeferred,
    TaskInstance,
    airflow_tells,
    connection_to,
    first_event,
    over_in_the_middle_of_a_look,
    run_in_loop,
    said,
    stored,
)

from airbyte_deferrable import _sync_task, hooks
from airbyte_deferrable._airflow import execution_timeout, kill, started_job
from airbyte_deferrable._airflow.kill import WAIT_MARKER
from airbyte_deferrable._compat import AirflowSkipException, AirflowTaskTimeout
from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable._job.submit import UNSEEN_BUSY
from airbyte_deferrable.exceptions import (
    AirbyteConfigError,
    AirbyteConflictError,
    AirbyteCredentialsError,
    AirbyteException,
    AirbyteInputError,
    AirbyteJobCancelled,
    AirbyteJobFailed,
    AirbyteNotVisibleError,
    AirbyteRequestError,
    AirbyteSettingsError,
    AirbyteTimeout,
)
from airbyte_deferrable.links import JOB_URL
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Attempt, Fault, Script, Simulator, public_api, world

QUICK = Script(duration=0.3, pending=0.05, rows=1000, bytes=100_000)
ENDLESS = Script(outcome=None, pending=0.0)
WAYS = ["worker", "deferred"]

Make = Callable[..., Task]


@pytest.fixture
def sim(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    monkeypatch.setattr(
        AirbyteTriggerSyncOperator, "submit_policy", SubmitPolicy(settle=0.6, unreachable=2.0, pause=0.1)
    )
    return airbyte_simulator


@pytest.fixture
def task(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Return a maker of tasks for a connection."""
    ti = TaskInstance()

    def make(connection_id: str, way: str = "worker", **parameters: Any) -> Task:
        arguments = {"wait_seconds": 0.1, "task_id": "sync", "deferrable": way == "deferred", **parameters}
        return Task(lambda: AirbyteTriggerSyncOperator(connection_id=connection_id, **arguments), ti=ti)

    with airflow_tells(monkeypatch, ti):
        yield make


# The three ways


@pytest.mark.parametrize(
    ("script", "raises", "xcom"),
    [
        (Script(duration=2.5, pending=0.05), None, "succeeded"),
        (Script(duration=2.5, pending=0.05, outcome="failed"), AirbyteJobFailed, "failed"),
        (Script(duration=2.5, pending=0.05, outcome="cancelled"), AirbyteJobCancelled, "cancelled"),
    ],
)
def test_every_way_ends_the_same(
    sim: Simulator, task: Make, script: Script, raises: type[AirbyteException] | None, xcom: str
) -> None:
    ends: list[tuple[Any, ...]] = []
    for way in WAYS:
        sync = task(cid := sim.add_connection(script=script), way)
        sync.ti.xcoms.clear()
        if raises is None:
            assert sync.run() == sim.jobs(cid)[0]["id"]
        else:
            with pytest.raises(raises) as failed:
                sync.run()
            assert (failed.value.conn_id, failed.value.connection_id) == ("airbyte_default", cid)
        [job] = sim.jobs(cid)
        xcoms = {key: value for key, value in sync.ti.xcoms.items() if key != "airbyte_wait_marker"}
        assert xcoms["final_status"] == xcom
        assert xcoms["airbyte_job"]["jobId"] == job["id"]
        assert f"/connections/{cid}/timeline" in xcoms["airbyte_job_url"]
        # One of the ways leaves the worker; how long it takes and when it is looked at is chance.
        hidden = ("Leaving the worker", "is pending", "is running", "is incomplete", "succeeded:", "cannot be called")
        # What the connection is called is told by whoever learns it first.
        hidden += ("Submitted", "is one of connection")
        lines = [line for line in sync.lines if not any(part in line for part in hidden)]
        ends.append(
            (
                sorted(xcoms),
                xcoms["rows_synced"],
                [re.sub(rf"job(s?|Id=) ?{job['id']}\b|{cid}", "X", line) for line in lines],
            )
        )
        assert any(line.startswith(f"Airbyte job {job['id']} is ") for line in sync.lines)
    assert ends[0] == ends[1]


def test_an_asynchronous_task_returns_the_job_and_leaves_it(sim: Simulator, task: Make) -> None:
    start = task(cid := sim.add_connection(script=ENDLESS), asynchronous=True)
    assert start.run() == sim.jobs(cid)[0]["id"]
    assert sim.jobs(cid)[0]["status"] == "running"
    # Airflow cleans the store up. A worker that dies before it has told of its success finds its job there.
    assert start.store["airbyte_retry"]["job_id"] == sim.jobs(cid)[0]["id"]


def test_a_job_that_is_over_already_is_not_left_for(sim: Simulator, task: Make) -> None:
    sync = task(sim.add_connection(script=Script(duration=0.0, pending=0.0)), "deferred")
    assert sync.operator().execute(sync.context)


@pytest.mark.parametrize("way", WAYS)
def test_an_unknown_status_is_waited_through_and_told_once(sim: Simulator, task: Make, way: str) -> None:
    script = Script(statuses=[(0.0, "running"), (0.3, "hibernating"), (1.2, "succeeded")])
    sync = task(sim.add_connection(script=script), way)
    assert sync.run()
    assert sum("hibernating" in line for line in sync.lines) == 1


def test_a_job_that_airbyte_itself_takes_out_of_its_queue_is_told_as_such(sim: Simulator, task: Make) -> None:
    """After eight hours, or when the next scheduled run is due."""
    cid = sim.add_connection(script=Script(statuses=[(0.1, "queued"), (0.5, "cancelled")]))
    with pytest.raises(AirbyteJobCancelled, match="queued for longer than Airbyte lets it"):
        task(cid).run()


@pytest.mark.parametrize("way", WAYS)
def test_a_failed_attempt_is_no_end(sim: Simulator, task: Make, way: str) -> None:
    script = Script(attempts=(Attempt(0.2, "failed"), Attempt(0.2, "succeeded")), retry_backoff=0.3, pending=0.0)
    sync = task(cid := sim.add_connection(script=script), way)
    assert sync.run() == sim.jobs(cid)[0]["id"]


@pytest.mark.parametrize(
    ("parameters", "way", "poll"),
    [({"wait_seconds": 7}, "deferred", 7.0), ({"wait_seconds": None}, "deferred", 5.0)],
)
def test_wait_seconds_is_the_interval_of_the_looks(
    sim: Simulator, task: Make, parameters: dict[str, Any], way: str, poll: float
) -> None:
    deferred = task(sim.add_connection(script=ENDLESS), way, **parameters).leave()
    assert deferred.trigger.poll_interval == poll
    assert deferred.timeout is None


def test_wait_seconds_is_the_interval_on_the_worker_too(sim: Simulator, task: Make) -> None:
    sync = task(sim.add_connection(script=Script(duration=1.0, pending=0.0)), wait_seconds=0.25)
    sync.run()
    assert 3 <= sim.count("get") <= 7


def test_mapped_tasks_each_run_their_own_connection(sim: Simulator) -> None:
    connections = sim.add_connections(3, script=QUICK)
    mapped = AirbyteTriggerSyncOperator.partial(task_id="sync", wait_seconds=0.1).expand(connection_id=connections)
    for index, cid in enumerate(connections):
        sync = Task(lambda cid=cid: mapped.unmap({"connection_id": cid}), ti=TaskInstance(map_index=index))
        assert sync.run() == sim.jobs(cid)[0]["id"]


@pytest.mark.parametrize("fault", [None, Fault("create", "lost_answer")], ids=["answered", "lost"])
def test_a_pending_reset_that_airbyte_runs_for_a_sync_is_ours(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, fault: Fault | None
) -> None:
    """Airbyte does what is pending for the connection first."""
    monkeypatch.setattr(public_api, "SYNC", "reset_connection")
    if fault is not None:
        sim.add_fault(fault)
    sync = task(cid := sim.add_connection(script=Script(duration=1.0, pending=0.05)))
    job_id = sync.run()
    assert [(job["id"], job["jobType"], job["status"]) for job in sim.jobs(cid)] == [(job_id, "reset", "succeeded")]
    assert said(sync.lines, f"Submitted job {job_id} (reset)") == 1


@pytest.mark.parametrize("job_type", ["reset", "clear"])
def test_a_reset_is_a_job_like_any_other(sim: Simulator, task: Make, job_type: str) -> None:
    task(cid := sim.add_connection(script=QUICK), job_type=job_type).run()
    assert [job["jobType"] for job in sim.jobs(cid)] == ["reset"]


# Bad input


@pytest.mark.parametrize(
    "parameters",
    [
        {"connection_id": "orders"},
        {"connection_id": ""},
        {"connection_id": None},
        {"job_type": "resync"},
        {"if_running": "queue"},
        {"wait_seconds": -1},
        {"wait_seconds": "3"},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": None},
        {"timeout": True},
        {"progress_seconds": -0.1},
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_bad_input_is_refused_before_anything_is_started(
    sim: Simulator, task: Make, parameters: dict[str, Any], way: str
) -> None:
    arguments = {"connection_id": sim.add_connection(), **parameters}
    with pytest.raises(AirbyteInputError, match=f"{next(iter(parameters))} must be .*Nothing was started"):
        task(arguments.pop("connection_id"), way, **arguments).run()
    assert sim.count() == 0


@pytest.mark.parametrize(
    "fields", ['{"conn_type": "airbyte"}', '{"conn_type":"airbyte","host":"http://a","extra":"x"}']
)
def test_a_bad_airflow_connection_is_refused_before_anything_is_started(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, fields: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", fields)
    # Airflow 3.0 and 3.1 do not even hand over a connection whose extra they cannot read.
    with pytest.raises((AirbyteSettingsError, AirflowNotFoundException), match="airbyte_default"):
        task(sim.add_connection()).run()
    assert sim.count() == 0


def test_what_airbyte_refuses_names_its_cause(sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirbyteNotVisibleError):
        task("00000000-0000-4000-8000-000000000000").run()
    with pytest.raises(AirbyteRequestError, match="Refreshes are not supported"):
        task(sim.add_connection(), job_type="refresh").run()
    with pytest.raises(AirbyteConflictError, match="is inactive: activate it"):
        task(sim.add_connection(status="inactive")).run()
    with pytest.raises(AirbyteConflictError, match="is locked: Airbyte runs only what is active"):
        task(sim.add_connection(status="locked")).run()
    with pytest.raises(AirbyteConflictError, match="deleted"):
        task(sim.add_connection(status="deleted")).run()
    sim.add_fault(Fault("token", status=401))
    with pytest.raises(AirbyteCredentialsError):
        task(sim.add_connection()).run()
    assert sim.jobs() == []


# A retry


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("fate", "started"), [("live", 1), ("succeeded", 1), ("failed", 2), ("cancelled", 2), ("gone", 2), ("cleared", 2)]
)
def test_a_retry_finds_the_job_of_the_try_before(sim: Simulator, task: Make, way: str, fate: str, started: int) -> None:
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


def test_a_job_that_was_found_again_is_not_said_to_be_submitted(sim: Simulator, task: Make) -> None:
    sync = task(sim.add_connection(name="Orders", script=ENDLESS), "deferred")
    job_id = sync.leave().trigger.job_id
    assert said(sync.lines, f"Submitted job {job_id} (sync) of connection") == 1
    sync.next_try()
    sync.leave()
    assert said(sync.lines, "Submitted") == 1
    assert said(sync.lines, f"Found again: job {job_id} (sync) of connection") == 1


def test_a_task_killed_before_airbyte_named_the_job_finds_it(
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


def test_a_task_killed_before_it_asked_starts_its_job_once(
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


def test_another_connection_or_type_in_the_next_try_is_other_work(sim: Simulator, task: Make) -> None:
    first, second = sim.add_connection(script=ENDLESS), sim.add_connection(script=QUICK)
    sync = task(first, "deferred")
    sync.leave()
    sync.next_try()
    other = task(second)
    other.store = sync.store
    assert other.run() == sim.jobs(second)[0]["id"]


def test_an_event_for_another_try_starts_over(sim: Simulator, task: Make) -> None:
    sync = task(cid := sim.add_connection(script=Script(duration=0.3, pending=0.0, outcome="failed")), "deferred")
    deferred = sync.leave()
    stale = {"status": "error", "message": "", "job_id": deferred.trigger.job_id, "try_number": 1}
    sim.finish(deferred.trigger.job_id, "failed")
    sim.script(cid, Script(duration=0.0, pending=0.0))
    sync.next_try()
    assert sync.resume(deferred, stale) == sim.jobs(cid)[1]["id"]


@pytest.mark.parametrize(
    ("status", "raises"), [("success", None), ("error", AirbyteJobFailed), ("cancelled", AirbyteJobCancelled)]
)
def test_the_official_triggers_event_is_understood(
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


def test_the_official_triggers_execution_timeout_cancels_the_job(sim: Simulator, task: Make) -> None:
    """The official operator had started it, and left no kill."""
    sync = task(cid := sim.add_connection(), "deferred", execution_timeout=timedelta(minutes=5))
    job_id = sim.add_job(cid, script=ENDLESS)["id"]
    event = {"status": "timeout", "message": f"Job run {job_id} has reached execution timeout.", "job_id": job_id}
    with pytest.raises(AirbyteTimeout, match=r"the task's execution_timeout \(300 s\) was over"):
        sync.operator().execute_complete(sync.context, event)
    assert sim.job(job_id)["status"] == "cancelled"


@pytest.mark.parametrize("status", ["success", "error"])
def test_what_the_official_trigger_says_is_looked_at_until_airbyte_answers(
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


def test_the_official_triggers_timeout_is_one(sim: Simulator, task: Make) -> None:
    job_id = sim.add_job(cid := sim.add_connection(), script=ENDLESS)["id"]
    message = f"Job run {job_id} has not reached a terminal status after 1762000000.0 seconds."
    sync = task(cid, "deferred")
    with pytest.raises(AirbyteTimeout, match=r"the task's timeout \(3600 s\) was over"):
        sync.operator().execute_complete(sync.context, {"status": "error", "message": message, "job_id": job_id})


@pytest.mark.parametrize("elsewhere", [True, False])
def test_another_airbytes_job_of_the_same_number_is_not_taken_for_ours(
    sim: Simulator, task: Make, elsewhere: bool
) -> None:
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


def test_another_airbytes_job_is_not_cancelled_for_the_execution_timeout(
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


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
def test_figures_that_the_triggers_list_leaves_out_are_asked_for(sim: Simulator, task: Make, told: bool) -> None:
    """Airbyte can be set up to list jobs without rows and bytes, and has none in its answers to create and cancel."""
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred")
    deferred = sync.leave()
    sim.finish(job_id := sim.jobs(cid)[0]["id"], "succeeded")
    if not told:
        sim.add_fault(Fault("get", status=503))
    job = {"jobId": job_id, "status": "succeeded", "connectionId": cid, "duration": "PT3S"}
    assert sync.resume(deferred, {"status": "success", "job_id": job_id, "job": job}) == job_id
    assert sync.ti.xcoms["rows_synced"] == (1000 if told else None)
    assert sync.ti.xcoms["final_status"] == "succeeded"
    assert said(sync.lines, f"Job {job_id} succeeded: {'1,000 rows, 100 kB' if told else '3s'}") == 1


def test_a_job_that_has_ended_when_airbyte_answers_the_create_has_its_figures(
    task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Releases up to 2.0 answer late."""
    with Simulator(release="2.0") as old:
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(old))
        sync = task(old.add_connection(script=Script(duration=0.0, pending=0.05)))
        assert sync.run() == 1
    assert sync.ti.xcoms["rows_synced"] == 1000


@pytest.mark.parametrize("event", [None, {}, "success", {"status": "success"}, {"status": "done", "job_id": 1}])
def test_an_unreadable_event_is_no_success(sim: Simulator, task: Make, event: Any) -> None:
    sync = task(sim.add_connection(script=ENDLESS), "deferred")
    deferred = sync.leave()
    with pytest.raises(AirbyteException, match="without a readable event"):
        sync.resume(deferred, event)


# A busy connection


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("job_type", ["sync", "reset"])
def test_a_busy_connection_is_waited_for(sim: Simulator, task: Make, way: str, job_type: str) -> None:
    cid = sim.add_connection(script=QUICK)
    other = sim.add_job(cid, script=Script(duration=0.8, pending=0.0))["id"]
    sync = task(cid, way, job_type=job_type)
    job_id = sync.run()
    assert [job["id"] for job in sim.jobs(cid)] == [other, job_id]
    assert [job["status"] for job in sim.jobs(cid)] == ["succeeded", "succeeded"]
    assert sim.count("cancel") == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_running_job_can_be_attached_to(sim: Simulator, task: Make, way: str) -> None:
    cid = sim.add_connection()
    other = sim.add_job(cid, script=Script(duration=0.8, pending=0.0, outcome="failed"))["id"]
    with pytest.raises(AirbyteJobFailed) as failed:
        task(cid, way, if_running="attach").run()
    assert failed.value.job_id == other
    assert len(sim.jobs(cid)) == 1


def test_a_job_that_was_attached_to_is_found_again_but_never_cancelled(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection()
    other = sim.add_job(cid, script=ENDLESS)["id"]
    sync = task(cid, "deferred", if_running="attach")
    assert sync.leave().trigger.cancel_on_kill is False
    sync.next_try()
    sim.finish(other, "succeeded")
    assert sync.run() == other
    assert len(sim.jobs(cid)) == 1


def test_a_running_job_can_skip_or_fail_the_task(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection()
    other = sim.add_job(cid, script=ENDLESS)["id"]
    with pytest.raises(AirflowSkipException, match=str(other)):
        task(cid, if_running="skip").run()
    with pytest.raises(AirbyteConflictError, match=str(other)):
        task(cid, if_running="fail").run()
    assert len(sim.jobs(cid)) == 1
    assert sim.count("create") == 0


def test_somebody_elses_job_is_not_taken_for_ours_after_the_wait(sim: Simulator, task: Make) -> None:
    """Airbyte says busy only when it is asked: the other job began between the look and the request."""
    cid = sim.add_connection(script=QUICK)
    sync = task(cid, "deferred")
    body = '{"title": "try-again-later", "data": {"message": "A sync is already running"}}'
    sim.add_fault(Fault("create", status=409, body=body, times=UNSEEN_BUSY + 1))
    deferred = sync.leave()
    assert deferred.method_name == "execute_queued"
    other = sim.add_job(cid, script=Script(duration=0.0, pending=0.0))["id"]
    job_id = sync.come_back(deferred)
    assert job_id != other
    assert len(sim.jobs(cid)) == 2


def test_a_task_that_finds_the_connection_busy_again_keeps_its_place(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection()
    sim.add_job(cid, script=ENDLESS)
    sync = task(cid, "deferred", execution_timeout=timedelta(hours=1))
    first = sync.leave()
    # As when the job before has ended and another has begun at once.
    sim.finish(sim.jobs(cid)[0]["id"], "succeeded")
    event = run_in_loop(first_event(stored(first.trigger)))
    sim.add_job(cid, script=ENDLESS)
    # dag.test() hands over the event and nothing else.
    with pytest.raises(type(first)) as deferred:
        sync.operator().resume_execution(first.method_name, {"event": event}, sync.context)
    again = deferred.value.trigger
    assert (again.queued_at, again.end_time) == (first.trigger.queued_at, first.trigger.end_time)
    assert again.execution_deadline == first.trigger.execution_deadline is not None


def test_a_turn_that_cannot_be_read_starts_over(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection(script=QUICK)
    other = sim.add_job(cid, script=ENDLESS)["id"]
    sync = task(cid, "deferred")
    first = sync.leave()
    sim.finish(other, "succeeded")
    with pytest.raises(type(first)) as deferred:
        sync.resume(first, None)
    assert deferred.value.trigger.job_id == sim.jobs(cid)[1]["id"]


@pytest.mark.parametrize("way", WAYS)
def test_a_turn_that_never_comes_ends_with_the_timeout(sim: Simulator, task: Make, way: str) -> None:
    cid = sim.add_connection()
    sim.add_job(cid, script=ENDLESS)
    with pytest.raises(AirbyteTimeout, match=r"timeout was over before .* No job was started"):
        task(cid, way, timeout=0.5).run()
    assert len(sim.jobs(cid)) == 1


# The two clocks


@pytest.mark.parametrize("way", WAYS)
def test_timeout_fails_the_task_and_leaves_the_job(sim: Simulator, task: Make, way: str) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), way, timeout=0.6)
    with pytest.raises(AirbyteTimeout, match=r"the task's timeout \(0.6 s\) was over. The job goes on"):
        sync.run()
    assert sim.jobs(cid)[0]["status"] == "running"
    sync.next_try()
    sim.finish(sim.jobs(cid)[0]["id"], "succeeded")
    assert sync.run() == sim.jobs(cid)[0]["id"]


@pytest.mark.parametrize("if_running", ["skip", "fail", "attach", "wait"])
def test_a_cleared_task_waits_for_its_own_old_job_to_be_gone(sim: Simulator, task: Make, if_running: str) -> None:
    """Airflow starts the new try before it tells the old trigger, which then cancels the job."""
    sync = task(sim.add_connection(script=ENDLESS), "deferred", if_running=if_running)
    sync.leave()
    sync.clear()
    assert sync.leave().method_name == "execute_queued"


@pytest.mark.parametrize("if_running", ["skip", "fail", "attach"])
@pytest.mark.parametrize("left_by", ["asynchronous", "timeout"])
def test_a_cleared_task_meets_a_job_that_it_had_left_as_anybodys(
    sim: Simulator, task: Make, if_running: str, left_by: str
) -> None:
    """Nobody is about to cancel it."""
    parameters = {"asynchronous": True} if left_by == "asynchronous" else {"timeout": 0.6}
    sync = task(cid := sim.add_connection(script=ENDLESS), if_running=if_running, **parameters)
    operator = sync.operator()
    with nullcontext() if left_by == "asynchronous" else pytest.raises(AirbyteTimeout):
        operator.post_execute(sync.context, operator.execute(sync.context))
    sync.clear()
    again = task(cid, "deferred", if_running=if_running)
    again.store = sync.store
    if if_running == "attach":
        assert again.leave().trigger.job_id == sim.jobs(cid)[0]["id"]
    else:
        with pytest.raises(AirflowSkipException if if_running == "skip" else AirbyteConflictError):
            again.run()


@pytest.mark.parametrize(("wanted", "runs"), [("sync", "reset"), ("reset", "sync")])
def test_a_job_that_does_other_work_is_not_attached_to(sim: Simulator, task: Make, wanted: str, runs: str) -> None:
    cid = sim.add_connection(script=QUICK)
    sim.add_job(cid, job_type=runs, script=Script(duration=0.5, pending=0.0))
    sync = task(cid, if_running="attach", job_type=wanted)
    assert sync.run() == sim.jobs(cid)[1]["id"]
    assert sync.ti.xcoms["airbyte_job"]["jobType"] == wanted


@pytest.mark.parametrize("if_running", ["skip", "fail", "wait"])
def test_a_connection_that_is_busy_for_a_moment_only_is_asked_again(
    sim: Simulator, task: Make, if_running: str
) -> None:
    """Airbyte says so, too, in the moments between two jobs."""
    cid = sim.add_connection(script=QUICK)
    body = '{"title": "try-again-later", "data": {"message": "A sync is already running"}}'
    sim.add_fault(Fault("create", status=409, body=body, times=2))
    assert task(cid, if_running=if_running).run() == sim.jobs(cid)[0]["id"]


@pytest.mark.parametrize("way", WAYS)
def test_no_timeout_is_for_ever(sim: Simulator, task: Make, way: str) -> None:
    cid = sim.add_connection(script=Script(duration=2.5, pending=0.0))
    sim.add_job(cid, script=Script(duration=1.0, pending=0.0))
    assert task(cid, way, timeout=0).run() == sim.jobs(cid)[1]["id"]


def test_timeout_limits_the_wait_for_a_busy_connection_also_of_an_asynchronous_task(sim: Simulator, task: Make) -> None:
    sim.add_job(cid := sim.add_connection(), script=ENDLESS)
    with pytest.raises(AirbyteTimeout, match="No job was started"):
        task(cid, asynchronous=True, timeout=0.5).run()


def test_a_deferred_tasks_execution_timeout_cancels_the_job(sim: Simulator, task: Make) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred", execution_timeout=timedelta(seconds=0.8))
    with pytest.raises(AirbyteTimeout, match=r"the task's execution_timeout \(0.8 s\) was over. The job is cancelled"):
        sync.run()
    assert sync.events[0]["status"] == "timeout"
    assert sim.jobs(cid)[0]["status"] == "cancelled"


def test_execution_timeout_on_the_worker_cancels_the_job(
    sim: Simulator, task: Make, interrupt_after: Callable[[float], Any]
) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), execution_timeout=timedelta(seconds=1.5))
    with pytest.raises(AirbyteTimeout, match=r"the task's execution_timeout \(1.5 s\) was over"), interrupt_after(1.5):
        sync.run()
    assert sim.jobs(cid)[0]["status"] == "cancelled"


def test_a_job_is_given_time_to_stop_when_the_execution_timeout_is_over(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contrary to a kill, Airflow leaves the task that time; and a retry would take a job that still stops for live."""
    monkeypatch.setattr(world, "CANCELLING", 1.5)
    monkeypatch.setattr(execution_timeout, "CANCEL_WITHIN", 0.3)
    monkeypatch.setattr(execution_timeout, "LONGEST_CANCEL", 60.0)
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred", execution_timeout=timedelta(seconds=4))
    with pytest.raises(AirbyteTimeout, match="The job is cancelled"):
        sync.run()
    assert [job["status"] for job in sim.jobs(cid)] == ["cancelled"]


@pytest.mark.parametrize(
    ("answer", "settle"),
    [
        (Fault("create", "lost_answer", seconds=2.5), 20.0),
        (Fault("create", "lost_answer", seconds=2.5, status=504), 20.0),
        (Fault("create", "lost_answer", seconds=60.0), 1.0),
    ],
    ids=["late", "late and lost", "never"],
)
def test_execution_timeout_while_airbyte_makes_the_job_cancels_it(
    sim: Simulator,
    task: Make,
    interrupt_after: Callable[[float], Any],
    monkeypatch: pytest.MonkeyPatch,
    answer: Fault,
    settle: float,
) -> None:
    """A kill has 5 s, then Airflow ends the process; this has no such limit."""
    monkeypatch.setattr(started_job, "NAMED_WITHIN", 0.1)
    monkeypatch.setattr(
        AirbyteTriggerSyncOperator, "submit_policy", SubmitPolicy(settle=settle, unreachable=2.0, pause=0.1)
    )
    cid = sim.add_connection(script=ENDLESS)
    sim.add_fault(answer)
    sync = task(cid, execution_timeout=timedelta(seconds=1))
    with pytest.raises(AirbyteTimeout, match=r"was over\. The job is cancelled\."), interrupt_after(1.0):
        sync.run()
    assert [job["status"] for job in sim.jobs(cid)] == ["cancelled"]


def test_execution_timeout_before_a_job_is_started_says_so(
    sim: Simulator, task: Make, interrupt_after: Callable[[float], Any]
) -> None:
    cid = sim.add_connection()
    sim.add_fault(Fault("create", "hang"))
    with pytest.raises(AirbyteTimeout, match="No job is known that it started"), interrupt_after(1.0):
        task(cid, execution_timeout=timedelta(seconds=1)).run()
    assert sim.count("cancel") == 0


def test_execution_timeout_does_not_say_cancelled_of_a_job_that_goes_on(
    sim: Simulator, task: Make, interrupt_after: Callable[[float], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_timeout, "CANCEL_WITHIN", 0.5)
    monkeypatch.setattr(execution_timeout, "LONGEST_CANCEL", 0.5)
    cid = sim.add_connection(script=ENDLESS)
    sim.add_fault(Fault("cancel", status=500))
    with pytest.raises(AirbyteTimeout, match="could not be cancelled"), interrupt_after(2.0):
        task(cid, execution_timeout=timedelta(seconds=2)).run()


def test_a_deferred_task_does_not_say_cancelled_either(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection(script=ENDLESS)
    sim.add_fault(Fault("cancel", status=403))
    with pytest.raises(AirbyteTimeout, match="could not be cancelled"):
        task(cid, "deferred", execution_timeout=timedelta(seconds=0.8)).run()
    assert sim.jobs(cid)[0]["status"] == "running"


@pytest.mark.parametrize(("end", "raises"), [("succeeded", None), ("failed", AirbyteJobFailed)])
def test_a_job_that_has_ended_when_the_execution_timeout_is_over_is_the_outcome(
    sim: Simulator,
    task: Make,
    interrupt_after: Callable[[float], Any],
    end: str,
    raises: type[AirbyteException] | None,
) -> None:
    cid = sim.add_connection(script=Script(duration=1.0, pending=0.0, outcome=end))
    sync = task(cid, wait_seconds=60, execution_timeout=timedelta(seconds=3))
    with interrupt_after(3.0):
        if raises is None:
            assert sync.run() == sim.jobs(cid)[0]["id"]
        else:
            with pytest.raises(raises):
                sync.run()
    assert sync.ti.xcoms["final_status"] == end


@pytest.mark.parametrize("clock", ["end_time", "execution_deadline"])
def test_a_turn_that_comes_too_late_starts_nothing(sim: Simulator, task: Make, clock: str) -> None:
    """A worker slot may be long in coming."""
    cid = sim.add_connection(script=ENDLESS)
    event = {"status": "free", "try_number": 1, "queued_at": time.time() - 6}
    event |= {"end_time": None, "execution_deadline": None, clock: time.time() - 1}
    sync = task(cid, "deferred")
    with pytest.raises(AirbyteTimeout, match="No job was started"):
        sync.operator().execute_queued(sync.context, event)
    assert sim.count("create") == 0


def test_a_job_that_the_triggers_last_look_did_not_see_end_is_looked_at_on_the_worker(
    sim: Simulator, task: Make
) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred")
    deferred = sync.leave()
    job_id = sim.jobs(cid)[0]["id"]
    sim.finish(job_id, "succeeded")
    event = {"status": "error", "reason": "timeout", "message": "", "job_id": job_id, "try_number": 1}
    assert sync.resume(deferred, event) == job_id


def test_a_job_is_not_started_when_nobody_would_wait_for_it(sim: Simulator, task: Make) -> None:
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


def test_a_job_of_ours_that_the_triggerer_took_for_another_is_waited_for_no_longer_than_timeout(
    sim: Simulator, task: Make
) -> None:
    cid = sim.add_connection(script=ENDLESS)
    sync = task(cid, "deferred", timeout=1)
    deferred = sync.leave()
    job_id = sim.jobs(cid)[0]["id"]
    other = {"jobId": job_id, "status": "succeeded", "connectionId": sim.add_connection()}
    event = {"status": "success", "message": "", "job_id": job_id, "try_number": 1, "job": other}
    with pytest.raises(AirbyteTimeout):
        sync.resume(deferred, event)


def _upper(connection_id: str) -> str:
    return connection_id.upper()


def _without_hyphens(connection_id: str) -> str:
    return connection_id.replace("-", "")


@pytest.mark.parametrize("written", [_upper, _without_hyphens])
def test_however_the_connection_id_is_written_the_job_is_cancelled(
    sim: Simulator, task: Make, written: Callable[[str], str]
) -> None:
    cid = sim.add_connection(script=ENDLESS)
    with pytest.raises(AirbyteTimeout, match="The job is cancelled"):
        task(written(cid), "deferred", execution_timeout=timedelta(seconds=0.8)).run()
    assert sim.jobs(cid)[0]["status"] == "cancelled"


@pytest.mark.parametrize("end", ["succeeded", "execution_timeout"])
def test_a_template_that_says_something_else_by_now_does_not_change_whose_job_it_is(
    sim: Simulator, task: Make, end: str
) -> None:
    cid = sim.add_connection(script=Script(duration=0.5, pending=0.0) if end == "succeeded" else ENDLESS)
    life = None if end == "succeeded" else timedelta(seconds=0.8)
    sync = task(cid, "deferred", execution_timeout=life)
    deferred = sync.leave()
    later = task(sim.add_connection(), "deferred", execution_timeout=life)
    later.ti, later.store = sync.ti, sync.store
    if end == "succeeded":
        assert later.come_back(deferred) == sim.jobs(cid)[0]["id"]
    else:
        with pytest.raises(AirbyteTimeout, match="The job is cancelled"):
            later.come_back(deferred)
        assert sim.jobs(cid)[0]["status"] == "cancelled"


def test_an_adopted_job_outlives_the_execution_timeout(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection()
    sim.add_job(cid, script=ENDLESS)
    with pytest.raises(AirbyteTimeout, match="The job goes on: this task did not start it"):
        task(cid, "deferred", if_running="attach", execution_timeout=timedelta(seconds=0.8)).run()
    assert sim.jobs(cid)[0]["status"] == "running"


@pytest.fixture
def interrupt_after() -> Callable[[float], Any]:
    """Return what Airflow's task runner has around a task with an ``execution_timeout``."""
    try:
        from airflow.sdk.execution_time.timeout import timeout
    except ImportError:
        from airflow.utils.timeout import timeout
    return lambda seconds: timeout(seconds=int(seconds + 0.5))


# A kill on the worker


def kill_in(seconds: float, sync: Any, operator: Any, state: str = "failed") -> Callable[[], None]:
    """Let a signal handler call on_kill in the middle of what the operator does, as Airflow's task runner has it.

    By then the task is in the given state to Airflow: ``failed`` if a person has marked it so.
    """

    def handle(*_: Any) -> None:
        sync.ti.state = state
        operator.on_kill()

    before = signal.signal(signal.SIGUSR1, handle)
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()

    def undo() -> None:
        timer.join()
        signal.signal(signal.SIGUSR1, before)

    return undo


@pytest.mark.parametrize(
    ("parameters", "status"), [({}, "cancelled"), ({"cancel_on_kill": False, "timeout": 1.5}, "running")]
)
def test_a_kill_while_waiting_cancels_the_job(
    sim: Simulator, task: Make, parameters: dict[str, Any], status: str
) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), **parameters)
    operator = sync.operator()
    undo = kill_in(0.8, sync, operator)
    with pytest.raises(AirbyteException):
        operator.execute(sync.context)
    undo()
    assert sim.jobs(cid)[0]["status"] == status


@pytest.mark.parametrize("way", WAYS)
def test_a_kill_while_airbyte_makes_the_job_cancels_it(sim: Simulator, task: Make, way: str) -> None:
    cid = sim.add_connection(script=ENDLESS)
    sim.add_fault(Fault("create", "lost_answer", seconds=1.5))
    sync = task(cid, way)
    operator = sync.operator()
    undo = kill_in(0.7, sync, operator)
    with pytest.raises(AirbyteException):
        operator.execute(sync.context)
    undo()
    assert [job["status"] for job in sim.jobs(cid)] == ["cancelled"]


@pytest.mark.parametrize("busy", [False, True], ids=["listing", "waiting for a turn"])
def test_a_kill_before_airbyte_is_asked_starts_no_job(sim: Simulator, task: Make, busy: bool) -> None:
    """Airflow 3 ends the process 5 s after it has told it to stop: a job that is started then would be left running."""
    cid = sim.add_connection(script=ENDLESS)
    if busy:
        other = sim.add_job(cid, script=ENDLESS)["id"]
        threading.Timer(2.0, sim.finish, (other, "succeeded")).start()
    else:
        sim.add_fault(Fault("list", "latency", seconds=1.5))
    sync = task(cid)
    operator = sync.operator()
    undo = kill_in(0.7, sync, operator)
    with pytest.raises(AirbyteException, match="killed before it started"):
        operator.execute(sync.context)
    undo()
    assert sim.count("create") == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_kill_while_the_name_is_looked_up_starts_no_job(sim: Simulator, task: Make, way: str) -> None:
    cid = sim.add_connection(name="Orders", script=ENDLESS)
    sim.add_fault(Fault("connections", "latency", seconds=1.5))
    sync = task("", way, connection_name="Orders")
    operator = sync.operator()
    undo = kill_in(0.7, sync, operator)
    with pytest.raises(AirbyteException, match="killed before it started"):
        operator.execute(sync.context)
    undo()
    assert not sim.jobs(cid)


def test_a_kill_before_the_task_has_begun_starts_no_job(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3 calls on_kill while it still renders templates, and then goes on."""
    sync = task(cid := sim.add_connection(script=ENDLESS))
    monkeypatch.setattr(_sync_task, "get_current_context", lambda: sync.context)
    operator = sync.operator()
    sync.ti.state = "failed"
    operator.on_kill()
    with pytest.raises(AirbyteException, match="killed before it started"):
        operator.execute(sync.context)
    assert not sim.jobs(cid)


def test_a_kill_before_airbyte_answers_cancels_the_job_as_soon_as_it_is_known(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(started_job, "NAMED_WITHIN", 0.1)
    cid = sim.add_connection(script=ENDLESS)
    sim.add_fault(Fault("create", "lost_answer", seconds=1.5))
    sync = task(cid, "deferred")
    operator = sync.operator()
    undo = kill_in(0.7, sync, operator)
    with pytest.raises(AirbyteException, match="killed while it started"):
        operator.execute(sync.context)
    undo()
    assert [job["status"] for job in sim.jobs(cid)] == ["cancelled"]


@pytest.mark.parametrize("state", ["running", "up_for_retry", "queued"])
def test_a_task_that_nobody_asked_to_stop_leaves_its_job_alone(sim: Simulator, task: Make, state: str) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), timeout=1.5)
    operator = sync.operator()
    undo = kill_in(0.7, sync, operator, state)
    with pytest.raises(AirbyteTimeout):
        operator.execute(sync.context)
    undo()
    assert sim.count("cancel") == 0
    assert sim.jobs(cid)[0]["status"] == "running"


@pytest.mark.parametrize(
    ("cancel_on_kill", "if_running"),
    [(True, "wait"), (True, "skip"), (True, "fail"), (True, "attach"), (False, "wait")],
)
def test_a_task_that_is_cleared_while_it_runs_starts_afresh(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, cancel_on_kill: bool, if_running: str
) -> None:
    """Airflow leaves max_tries alone then; and Airbyte may still wind the job down when the next try asks for one."""
    monkeypatch.setattr(hooks, "CANCEL_WITHIN", 0.3)
    sync = task(cid := sim.add_connection(script=ENDLESS), cancel_on_kill=cancel_on_kill, timeout=2.5)
    fault = sim.add_fault(Fault("cancel", status=500))
    operator = sync.operator()
    undo = kill_in(0.8, sync, operator, "restarting")
    with pytest.raises(AirbyteTimeout):
        operator.execute(sync.context)
    undo()
    sim.clear_faults(fault)
    sync.next_try()
    again = task(cid, "deferred", cancel_on_kill=cancel_on_kill, if_running=if_running)
    again.store = sync.store
    # It waits for the first to end, which runs still.
    assert again.leave().method_name == "execute_queued"


def test_a_kill_leaves_an_adopted_job_alone(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection()
    sim.add_job(cid, script=ENDLESS)
    sync = task(cid, if_running="attach", timeout=1.5)
    operator = sync.operator()
    undo = kill_in(0.7, sync, operator)
    with pytest.raises(AirbyteTimeout):
        operator.execute(sync.context)
    undo()
    assert sim.count("cancel") == 0


def test_a_kill_of_a_resumed_task_cancels_its_own_job_only(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred")
    sync.leave()
    resumed = sync.operator()
    monkeypatch.setattr(_sync_task, "get_current_context", lambda: sync.context)
    sync.ti.state = "failed"
    resumed.on_kill()
    assert sim.jobs(cid)[0]["status"] == "cancelled"


@contextmanager
def kill_in_the_middle_of(
    monkeypatch: pytest.MonkeyPatch, what: str, sync: Any, operator: Any, state: str
) -> Iterator[None]:
    """Let a signal handler call on_kill while the task waits for Airflow's answer.

    Airflow 3 answers a process one question at a time, and lets the next, the handler's own ones too, wait for a lock.

    :param what: The XCom that the task reads or writes then.
    """
    asking = threading.Lock()
    killed = False

    def one_at_a_time(ask: Callable[..., Any]) -> Callable[..., Any]:
        def wait_and_ask(ti: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal killed
            # Not for ever, so that a handler that waits here fails its test, and does not hang it.
            assert asking.acquire(timeout=5)
            try:
                if what in (*args, kwargs.get("key")) and not killed:
                    killed, sync.ti.state = True, state
                    signal.raise_signal(signal.SIGUSR1)
                return ask(ti, *args, **kwargs)
            finally:
                asking.release()

        return wait_and_ask

    monkeypatch.setattr(kill, "ANSWERS_ON_WORKER_WITHIN", 0.3)
    monkeypatch.setattr(_sync_task, "get_current_context", lambda: sync.context)
    monkeypatch.setattr(kill, "read_state", one_at_a_time(kill.read_state))
    monkeypatch.setattr(kill, "read_xcom", one_at_a_time(kill.read_xcom))
    monkeypatch.setattr(TaskInstance, "xcom_push", one_at_a_time(TaskInstance.xcom_push))
    before = signal.signal(signal.SIGUSR1, lambda *_: operator.on_kill())
    yield
    signal.signal(signal.SIGUSR1, before)
    assert killed


@pytest.mark.parametrize(
    ("state", "raises", "status"),
    [("failed", AirbyteJobCancelled, "cancelled"), ("running", AirbyteTimeout, "running")],
    ids=["by a person", "by nobody"],
)
def test_a_kill_while_a_resumed_task_asks_what_it_waits_for_is_heeded_when_it_knows(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, state: str, raises: type[Exception], status: str
) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred", timeout=1.5)
    sync.leave()
    job_id, resumed = sim.jobs(cid)[0]["id"], sync.operator()
    with kill_in_the_middle_of(monkeypatch, WAIT_MARKER, sync, resumed, state), pytest.raises(raises):
        # As the official trigger says it, so that the task has yet to wait.
        resumed.execute_complete(sync.context, {"status": "success", "message": "", "job_id": job_id})
    assert sim.jobs(cid)[0]["status"] == status
    assert said(sync.lines, "The task is stopped before it has learned what it waits for (TimeoutError)") == 1


@pytest.mark.parametrize(("way", "what"), [("worker", JOB_URL), ("deferred", WAIT_MARKER)])
def test_a_kill_while_a_task_tells_airflow_of_its_job_is_heeded_right_after(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, way: str, what: str
) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), way, timeout=5)
    operator = sync.operator()
    with (
        kill_in_the_middle_of(monkeypatch, what, sync, operator, "failed"),
        pytest.raises((AirbyteJobCancelled, TaskDeferred)),
    ):
        operator.execute(sync.context)
    assert sim.jobs(cid)[0]["status"] == "cancelled"
    assert said(sync.lines, "Airflow does not tell why the task is stopped (TimeoutError)") == 1


def test_a_kill_before_templates_are_rendered_starts_no_job(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), timeout=2)
    monkeypatch.setattr(_sync_task, "get_current_context", lambda: sync.context)
    operator = sync.operator()
    operator.connection_id = "{{ var.value.orders }}"
    sync.ti.state = "failed"
    operator.on_kill()
    operator.connection_id = cid
    with pytest.raises(AirbyteException, match="killed before it started"):
        operator.execute(sync.context)
    assert not sim.jobs(cid)


@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_the_execution_timeout_of_a_resumed_task_cancels_its_job(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, cancel_on_kill: bool
) -> None:
    """Airflow calls on_kill for it."""
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred", cancel_on_kill=cancel_on_kill)
    sync.leave()
    monkeypatch.setattr(_sync_task, "get_current_context", lambda: sync.context)
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
def test_an_execution_timeout_in_the_middle_of_a_resumed_tasks_look_is_told_as_ever(
    sim: Simulator, task: Make, ours: bool, says: str, status: str
) -> None:
    cid = sim.add_connection(script=ENDLESS)
    if not ours:
        sim.add_job(cid, script=ENDLESS)
    sync = task(cid, "deferred", if_running="attach", execution_timeout=timedelta(seconds=60))
    sync.leave()
    job_id = sim.jobs(cid)[0]["id"]
    # As the official trigger says it, so that the task has yet to look.
    event = {"status": "success", "message": "", "job_id": job_id}
    with (
        over_in_the_middle_of_a_look(sim),
        pytest.raises(AirbyteTimeout, match=rf"execution_timeout \(60 s\).*{says}"),
    ):
        sync.operator().execute_complete(sync.context, event)
    assert sim.jobs(cid)[0]["status"] == status


def test_what_airflow_2_gives_up_for_its_execution_timeout_is_cancelled(sim: Simulator, task: Make) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred")
    sync.leave()
    with pytest.raises(Exception, match="timeout"):
        sync.operator().resume_execution("__fail__", {"error": "Trigger/execution timeout"}, sync.context)
    assert sim.jobs(cid)[0]["status"] == "cancelled"


def test_a_trigger_that_failed_cancels_nothing(sim: Simulator, task: Make) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred")
    sync.leave()
    with pytest.raises(Exception, match="Trigger failure"):
        sync.operator().resume_execution("__fail__", {"error": "Trigger failure"}, sync.context)
    assert sim.jobs(cid)[0]["status"] == "running"


# Trouble in the middle


def test_an_airbyte_that_goes_away_right_after_the_start_does_not_fail_the_task(sim: Simulator, task: Make) -> None:
    sync = task(cid := sim.add_connection(script=QUICK), "deferred")
    sim.add_fault(Fault("get", status=503, times=2))
    sim.add_fault(Fault("connection", status=503))
    assert sync.run() == sim.jobs(cid)[0]["id"]


def test_no_session_and_no_thread_is_left(sim: Simulator, task: Make) -> None:
    task(sim.add_connection(script=QUICK)).run()
    deadline = time.monotonic() + 5
    while any(thread.name == "airbyte" for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [thread for thread in threading.enumerate() if thread.name == "airbyte"]


# What people see

BAD_PASSWORD = {
    "failureOrigin": "source",
    "failureType": "config_error",
    "externalMessage": "password authentication failed",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_failure_tells_why(sim: Simulator, task: Make, way: str) -> None:
    script = Script(duration=0.3, pending=0.0, outcome="failed", rows=12, failure=BAD_PASSWORD, log_lines=("hello",))
    sync = task(sim.add_connection(script=script), way)
    with pytest.raises(AirbyteConfigError, match=r"Failed in source \(config_error\) after 1 attempt.*password") as why:
        sync.run()
    assert why.value.explanation is not None
    assert why.value.explanation.rows_committed == 12
    assert any("hello" in line for line in sync.lines)


def test_a_failure_of_another_kind_is_no_config_error(sim: Simulator, task: Make) -> None:
    failure = {**BAD_PASSWORD, "failureType": "system_error"}
    sync = task(sim.add_connection(script=Script(duration=0.1, pending=0.0, outcome="failed", failure=failure)))
    with pytest.raises(AirbyteJobFailed) as failed:
        sync.run()
    assert type(failed.value) is AirbyteJobFailed


def test_a_failure_without_the_config_api_is_the_same_failure(sim: Simulator, task: Make) -> None:
    sync = task(sim.add_connection(script=Script(duration=0.1, pending=0.0, outcome="failed", failure=BAD_PASSWORD)))
    sim.add_fault(Fault(call="config", kind="status", status=403))
    with pytest.raises(AirbyteJobFailed, match="see the job's log in Airbyte") as failed:
        sync.run()
    assert failed.value.explanation is None


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_and_its_ends_are_named_in_the_log(sim: Simulator, task: Make, way: str) -> None:
    sync = task(sim.add_connection(name="Orders", script=QUICK), way)
    sync.run()
    assert any("of connection 'Orders' (Postgres shop → BigQuery warehouse)" in line for line in sync.lines)


@pytest.mark.parametrize(
    ("story", "line"),
    [
        ("new", "Submitted job {}"),
        ("answer lost", "Submitted job {}"),
        ("earlier try", "Found again: job {}"),
        ("attached to", "Waiting for job {}"),
    ],
)
def test_one_line_names_the_job(sim: Simulator, task: Make, story: str, line: str) -> None:
    cid = sim.add_connection(name="Orders", script=ENDLESS)
    if story == "attached to":
        sim.add_job(cid)
    if story == "answer lost":
        sim.add_fault(Fault("create", "lost_answer", times=1))
    sync = task(cid, "deferred", if_running="attach")
    sync.leave()
    if story == "earlier try":
        sync.next_try()
        sync.lines.clear()
        sync.leave()
    [job] = sim.jobs(cid)
    names_it = [told for told in sync.lines if re.search(rf"\bjob {job['id']}\b", told)]
    assert [told.partition(f" (sync) of connection {cid}")[0] for told in names_it] == [
        line.format(job["id"]),
        f"Leaving the worker; the triggerer waits for job {job['id']}",
    ]
    assert said(sync.lines, "The request whose answer was lost had arrived after all") == (story == "answer lost")


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_can_be_given_by_name(sim: Simulator, task: Make, way: str) -> None:
    cid = sim.add_connection(name="Orders", script=Script(duration=1.5, pending=0.0))
    sync = task("", way, connection_name="Orders", workspace_id=sim.workspace_id)
    sim.add_fault(Fault("connections", status=503, times=2))
    assert sync.run() == sim.jobs(cid)[0]["id"]
    assert said(sync.lines, "Airbyte cannot be asked now") == 1


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({}, "connection_id must be the UUID of an Airbyte connection, or connection_name its name"),
        ({"connection_name": "Order"}, "near matches: 'Orders'"),
        ({"connection_name": "Orders", "workspace_id": "mine"}, "workspace_id must be the UUID"),
    ],
)
def test_a_name_that_leads_nowhere_starts_nothing(
    sim: Simulator, task: Make, parameters: dict[str, str], says: str
) -> None:
    sim.add_connection(name="Orders")
    with pytest.raises(AirbyteInputError, match=says):
        task("", **parameters).run()
    assert sim.count("create") == 0
