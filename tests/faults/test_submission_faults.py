"""Every fault at every call of a submission, through real sockets: one job on the server, or a clear error."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable.exceptions import AirbyteCredentialsError, AirbyteException, AirbyteUnreachableError
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import connection_to
from helpers.fault_table import CARRIED_OUT, FAULTS, HANGING, add_fault, all_were_met
from helpers.one_task import Task, TaskInstance, said, when_said

PATIENT = SubmitPolicy(settle=0.3, unreachable=60.0, pause=0.05, unlisted=60.0)
#: For trouble that does not pass.
IMPATIENT = replace(PATIENT, unreachable=2.0, unlisted=1.2)
CALLS = ["token", "create", "list", "get", "connection"]


@pytest.fixture
def sim(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Simulator:
    fault = request.getfixturevalue("fault") if "fault" in request.fixturenames else None
    # Only what hangs has to be given up soon: on a busy machine any answer may take a second.
    soon = {"timeout": 0.5, "create_timeout": 0.6} if fault in HANGING else {}
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator, **soon))
    monkeypatch.setattr(AirbyteTriggerSyncOperator, "submit_policy", PATIENT)
    return airbyte_simulator


def sync(connection_id: str, ti: TaskInstance, **parameters: Any) -> Task:
    arguments = {"task_id": "sync", "wait_seconds": 0.1, "asynchronous": True, **parameters}
    return Task(lambda: AirbyteTriggerSyncOperator(connection_id=connection_id, **arguments), ti=ti)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("times", ["once", "flapping"])
def test_trouble_that_passes_costs_nothing(sim: Simulator, ti: TaskInstance, call: str, fault: str, times: str) -> None:
    cid = sim.add_connection(script=Script(outcome=None, pending=0.0))
    task = sync(cid, ti)
    if call == "get":
        # Only a retry looks at a single job: at that of the try before.
        task.run()
        task.next_try()
    add_fault(sim, call, fault, times)
    assert task.run() == sim.jobs(cid)[0]["id"]
    assert all_were_met(sim)
    assert len(sim.jobs(cid)) == 1
    # What is only found may be somebody else's.
    found = call == "create" and fault in CARRIED_OUT and fault != "expired token"
    assert any(line.startswith("Waiting for job" if found else "Submitted job") for line in task.lines)
    if call == "create" and times == "once" and fault not in ("429", "expired token"):
        assert any("Airbyte's answer is lost" in line for line in task.lines)
        found = any(line.startswith("The request whose answer was lost") for line in task.lines)
        assert found == (fault in CARRIED_OUT)
    # aiohttp itself repeats a GET whose kept connection was closed on it.
    if call == "list" and times == "once" and fault not in ("expired token", "drop", "lost"):
        assert [line for line in task.lines if "Airbyte answers again" in line]


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "expired token"])
@pytest.mark.parametrize("call", ["token", "create", "list"])
def test_trouble_that_stays_ends_in_one_error_and_at_most_one_job(
    sim: Simulator, ti: TaskInstance, monkeypatch: pytest.MonkeyPatch, call: str, fault: str
) -> None:
    monkeypatch.setattr(AirbyteTriggerSyncOperator, "submit_policy", IMPATIENT)
    cid = sim.add_connection(script=Script(outcome=None, pending=0.0))
    add_fault(sim, call, fault, "always")
    task = sync(cid, ti)
    made = (call == "list" and fault != "429") or (call == "create" and fault in CARRIED_OUT)
    if made:
        # The list still tells of the job; and a sync is started without one.
        assert task.run() == sim.jobs(cid)[0]["id"]
    else:
        # A token endpoint that answers 500 to JSON may want a form; what it says to both counts.
        with pytest.raises((AirbyteUnreachableError, AirbyteCredentialsError)):
            task.run()
    assert all_were_met(sim)
    assert len(sim.jobs(cid)) == made
    sim.clear_faults()
    monkeypatch.setattr(AirbyteTriggerSyncOperator, "submit_policy", PATIENT)
    if not made:
        task.next_try()
        assert task.run() == sim.jobs(cid)[0]["id"]
        assert len(sim.jobs(cid)) == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_retry_that_cannot_check_its_job_starts_no_other_and_a_later_one_finds_it(
    sim: Simulator, ti: TaskInstance, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    cid = sim.add_connection(script=Script(outcome=None, pending=0.0))
    task = sync(cid, ti)
    job_id = task.run()
    task.next_try()
    add_fault(sim, "get", fault, "always")
    monkeypatch.setattr(AirbyteTriggerSyncOperator, "submit_policy", IMPATIENT)
    with pytest.raises(AirbyteCredentialsError if fault == "expired token" else AirbyteUnreachableError):
        task.run()
    assert all_were_met(sim)
    sim.clear_faults()
    monkeypatch.setattr(AirbyteTriggerSyncOperator, "submit_policy", PATIENT)
    task.next_try()
    assert task.run() == job_id
    assert [(job["id"], job["status"]) for job in sim.jobs(cid)] == [(job_id, "running")]


@pytest.mark.parametrize("fault", FAULTS)
def test_connection_whose_name_cannot_be_looked_up_is_run_all_the_same(
    sim: Simulator, ti: TaskInstance, fault: str
) -> None:
    cid = sim.add_connection(name="Orders", script=Script(outcome=None, pending=0.0))
    task = sync(cid, ti)
    add_fault(sim, "connection", fault, "always")
    job_id = task.run()
    assert all_were_met(sim)
    assert f"Submitted job {job_id} (sync) of connection {cid}" in task.lines
    sim.clear_faults()
    task.next_try()
    assert task.run() == job_id
    assert len(sim.jobs(cid)) == 1


def test_job_that_airbyte_makes_late_is_found(sim: Simulator, ti: TaskInstance) -> None:
    """409 state-conflict: Airbyte gave its own answer up after 60 s, and the job comes later."""
    cid = sim.add_connection()
    sim.add_fault(Fault("create", status=409))
    task = sync(cid, ti)
    late: dict[str, Any] = {}
    answered = task.log.warning

    def make_it_now(line: str, *args: Any) -> None:
        answered(line, *args)
        if "answer is lost" in line and not late:
            late.update(sim.add_job(cid, script=Script(outcome=None, pending=0.0)))

    task.log.warning = make_it_now
    assert task.run() == late["id"]
    assert len(sim.jobs(cid)) == 1


def test_job_that_comes_after_it_was_given_up_is_ours_when_the_next_request_is_refused(
    sim: Simulator, ti: TaskInstance
) -> None:
    cid = sim.add_connection()
    sim.add_fault(Fault("create", status=503, times=1))
    task = sync(cid, ti)
    late: dict[str, Any] = {}
    told = task.log.info

    def make_it_now(line: str, *args: Any) -> None:
        told(line, *args)
        if "was started: asking Airbyte again" in line:
            late.update(sim.add_job(cid, script=Script(outcome=None, pending=0.0)))

    task.log.info = make_it_now
    assert task.run() == late["id"]
    assert len(sim.jobs(cid)) == 1


def test_reset_does_not_mistake_a_sync_for_itself(sim: Simulator, ti: TaskInstance) -> None:
    cid = sim.add_connection(script=Script(duration=0.0, pending=0.0))
    sim.add_fault(Fault("create", status=503, times=1))
    task = sync(cid, ti, job_type="reset")
    told = task.log.warning

    def start_a_sync(line: str, *args: Any) -> None:
        told(line, *args)
        if not sim.jobs(cid):
            sim.add_job(cid, script=Script(duration=0.0, pending=0.0))

    task.log.warning = start_a_sync
    job_id = task.run()
    assert [job["jobType"] for job in sim.jobs(cid)] == ["sync", "reset"]
    assert job_id == sim.jobs(cid)[1]["id"]


def test_lost_answer_where_jobs_cannot_be_listed_is_not_asked_for_twice(sim: Simulator, ti: TaskInstance) -> None:
    cid = sim.add_connection(script=Script(outcome=None, pending=0.0))
    sim.add_fault(Fault("list", status=403))
    sim.add_fault(Fault("create", "lost_answer"))
    with pytest.raises(AirbyteUnreachableError):
        sync(cid, ti).run()
    assert len(sim.jobs(cid)) == 1
    assert sim.count("create") == 1


@pytest.mark.parametrize(("listed", "jobs"), [(False, 2), (True, 1)], ids=["without the permission", "with it"])
def test_retry_after_a_lost_answer_finds_the_job_where_jobs_can_be_listed(
    sim: Simulator, ti: TaskInstance, listed: bool, jobs: int
) -> None:
    """What mends it is the permission, as the documentation says."""
    cid = sim.add_connection(script=Script(duration=0.0, pending=0.0))
    if not listed:
        sim.add_fault(Fault("list", status=403))
    lost = sim.add_fault(Fault("create", "lost_answer", status=504))
    task = sync(cid, ti)
    with nullcontext() if listed else pytest.raises(AirbyteUnreachableError):
        task.run()
    sim.clear_faults(lost)
    task.next_try()
    task.run()
    assert len(sim.jobs(cid)) == jobs


def test_jobs_can_be_started_where_they_cannot_be_listed(sim: Simulator, ti: TaskInstance) -> None:
    cid = sim.add_connection(script=Script(outcome=None, pending=0.0))
    sim.add_fault(Fault("list", status=403))
    assert sync(cid, ti).run() == sim.jobs(cid)[0]["id"]


def test_refusal_is_not_repeated(sim: Simulator, ti: TaskInstance) -> None:
    cid = sim.add_connection()
    sim.add_fault(Fault("create", status=403))
    with pytest.raises(AirbyteException):
        sync(cid, ti).run()
    assert sim.count("create") == 1


@pytest.mark.parametrize(
    "fault", [name for name in FAULTS if name not in ("expired token",) and not name.startswith("lost to")]
)
@pytest.mark.parametrize("way", ["worker", "deferred"])
def test_trouble_while_a_task_waits_is_no_outcome(sim: Simulator, ti: TaskInstance, fault: str, way: str) -> None:
    """And it is told once when it begins and once when it is over."""
    cid = sim.add_connection(script=Script(outcome=None, pending=0.0))
    task = sync(cid, ti, asynchronous=False, deferrable=way == "deferred")
    waits = "Leaving the worker" if way == "deferred" else "Submitted job"
    when_said(task.log, waits, lambda: add_fault(sim, "get", fault, "always"))
    when_said(task.log, "Airbyte cannot be asked now", sim.clear_faults)
    when_said(task.log, "Airbyte answers again", lambda: sim.finish(sim.jobs(cid)[0]["id"], "succeeded"))
    assert task.run() == sim.jobs(cid)[0]["id"]
    assert said(task.lines, "Airbyte cannot be asked now") == 1
    assert said(task.lines, "Airbyte answers again") == 1
