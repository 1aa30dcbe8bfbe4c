"""The operator ends the same in every way of waiting, tells why, and leaves nothing behind."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import Any

import pytest

from airbyte_deferrable._airflow import job_report
from airbyte_deferrable.exceptions import (
    AirbyteConfigError,
    AirbyteException,
    AirbyteJobCancelled,
    AirbyteJobFailed,
)
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Attempt, Fault, Script, Simulator, public_api
from helpers.airbyte import AT_ONCE, ENDLESS, QUICK, connection_to
from helpers.one_task import (
    WAYS,
    Make,
    Task,
    TaskInstance,
    said,
    when_said,
)
from helpers.waiting import meanwhile, wait_until

#: What is said of a job that runs, sooner or later.
BEFORE_THE_END = (" is running", "See it in Airbyte")


def finish_when_all_is_said(sync: Task, sim: Simulator, connection_id: str, end: str) -> None:
    if all(any(each in line for line in sync.lines) for each in BEFORE_THE_END):
        sim.finish(sim.jobs(connection_id)[0]["id"], end)


@pytest.mark.parametrize(
    ("raises", "end"),
    [
        (None, "succeeded"),
        (AirbyteJobFailed, "failed"),
        (AirbyteJobCancelled, "cancelled"),
    ],
)
def test_outcome_is_the_same_in_every_way(
    sim: Simulator, task: Make, raises: type[AirbyteException] | None, end: str
) -> None:
    ends: list[tuple[Any, ...]] = []
    for way in WAYS:
        # Rows of a job that fails are as many as have come by then.
        script = replace(ENDLESS, rows=1000 if raises is None else 0)
        sync = task(cid := sim.add_connection(script=script), way)
        sync.ti.xcoms.clear()
        for line in BEFORE_THE_END:
            when_said(sync.log, line, lambda sync=sync, cid=cid: finish_when_all_is_said(sync, sim, cid, end))
        if raises is None:
            assert sync.run() == sim.jobs(cid)[0]["id"]
        else:
            with pytest.raises(raises) as failed:
                sync.run()
            assert (failed.value.conn_id, failed.value.connection_id) == ("airbyte_default", cid)
        [job] = sim.jobs(cid)
        xcoms = {key: value for key, value in sync.ti.xcoms.items() if key != "airbyte_wait_marker"}
        assert xcoms["final_status"] == end
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


def test_outcome_of_an_asynchronous_task_is_the_job_that_it_leaves(sim: Simulator, task: Make) -> None:
    start = task(cid := sim.add_connection(script=ENDLESS), asynchronous=True)
    assert start.run() == sim.jobs(cid)[0]["id"]
    assert sim.jobs(cid)[0]["status"] == "running"
    # Airflow cleans the store up. A worker that dies before it has told of its success finds its job there.
    assert start.store["airbyte_retry"]["job_id"] == sim.jobs(cid)[0]["id"]


def test_outcome_of_a_job_that_is_over_already_is_there_without_deferring(sim: Simulator, task: Make) -> None:
    sync = task(sim.add_connection(script=AT_ONCE), "deferred")
    assert sync.operator().execute(sync.context)


@pytest.mark.parametrize("way", WAYS)
def test_outcome_is_no_unknown_status_which_is_told_once(sim: Simulator, task: Make, way: str) -> None:
    script = Script(statuses=[(0.0, "running"), (0.3, "hibernating")])
    sync = task(sim.add_connection(script=script), way)
    with meanwhile(lambda: said(sync.lines, "Airbyte job 1 is hibernating"), lambda: sim.finish(1, "succeeded")):
        assert sync.run()
    assert sum("hibernating" in line for line in sync.lines) == 1


def test_outcome_of_a_job_that_airbyte_takes_out_of_its_queue_says_so(sim: Simulator, task: Make) -> None:
    """After eight hours, or when the next scheduled run is due."""
    cid = sim.add_connection(script=Script(statuses=[(0.1, "queued"), (0.5, "cancelled")]))
    with pytest.raises(AirbyteJobCancelled, match="queued for longer than Airbyte lets it"):
        task(cid).run()


@pytest.mark.parametrize("way", WAYS)
def test_outcome_is_no_failed_attempt(sim: Simulator, task: Make, way: str) -> None:
    script = Script(attempts=(Attempt(0.2, "failed"), Attempt(0.2, "succeeded")), retry_backoff=0.3, pending=0.0)
    sync = task(cid := sim.add_connection(script=script), way)
    assert sync.run() == sim.jobs(cid)[0]["id"]


def test_outcome_of_mapped_tasks_is_that_of_each_ones_connection(sim: Simulator) -> None:
    connections = sim.add_connections(3, script=QUICK)
    mapped = AirbyteTriggerSyncOperator.partial(task_id="sync", wait_seconds=0.1).expand(connection_id=connections)
    for index, cid in enumerate(connections):
        sync = Task(lambda cid=cid: mapped.unmap({"connection_id": cid}), ti=TaskInstance(map_index=index))
        assert sync.run() == sim.jobs(cid)[0]["id"]


@pytest.mark.parametrize("fault", [None, Fault("create", "lost_answer")], ids=["answered", "lost"])
def test_outcome_of_a_pending_reset_that_airbyte_runs_for_a_sync_is_ours(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, fault: Fault | None
) -> None:
    """Airbyte does what is pending for the connection first."""
    monkeypatch.setattr(public_api, "SYNC", "reset_connection")
    if fault is not None:
        sim.add_fault(fault)
    sync = task(cid := sim.add_connection(script=Script(duration=1.0, pending=0.05)))
    job_id = sync.run()
    assert [(job["id"], job["jobType"], job["status"]) for job in sim.jobs(cid)] == [(job_id, "reset", "succeeded")]
    assert said(sync.lines, f"{'Waiting for' if fault else 'Submitted'} job {job_id} (reset)") == 1


@pytest.mark.parametrize("job_type", ["reset", "clear"])
def test_outcome_of_a_reset_is_that_of_any_job(sim: Simulator, task: Make, job_type: str) -> None:
    task(cid := sim.add_connection(script=QUICK), job_type=job_type).run()
    assert [job["jobType"] for job in sim.jobs(cid)] == ["reset"]


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
def test_outcome_has_figures_that_the_list_leaves_out(sim: Simulator, task: Make, told: bool) -> None:
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


def test_outcome_has_the_figures_of_a_job_that_ended_before_the_create_was_answered(
    task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Releases up to 2.0 answer late."""
    with Simulator(release="2.0") as old:
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(old))
        sync = task(old.add_connection(script=Script(duration=0.0, pending=0.05)))
        assert sync.run() == 1
    assert sync.ti.xcoms["rows_synced"] == 1000


def test_outage_right_after_the_start_fails_no_task(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_report, "INTRODUCED_WITHIN", 0.3)
    sync = task(cid := sim.add_connection(script=QUICK), "deferred")
    sim.add_fault(Fault("get", status=503, times=2))
    sim.add_fault(Fault("connection", status=503))
    assert sync.run() == sim.jobs(cid)[0]["id"]


def test_session_and_thread_are_not_left(sim: Simulator, task: Make) -> None:
    task(sim.add_connection(script=QUICK)).run()
    wait_until(lambda: not any(thread.name == "airbyte" for thread in threading.enumerate()))


BAD_PASSWORD = {
    "failureOrigin": "source",
    "failureType": "config_error",
    "externalMessage": "password authentication failed",
}


@pytest.mark.parametrize("way", WAYS)
def test_failure_tells_why(sim: Simulator, task: Make, way: str) -> None:
    script = Script(duration=0.3, pending=0.0, outcome="failed", rows=12, failure=BAD_PASSWORD, log_lines=("hello",))
    sync = task(sim.add_connection(script=script), way)
    with pytest.raises(AirbyteConfigError, match=r"Failed in source \(config_error\) after 1 attempt.*password") as why:
        sync.run()
    assert why.value.explanation is not None
    assert why.value.explanation.rows_committed == 12
    assert any("hello" in line for line in sync.lines)


def test_failure_of_another_kind_is_no_config_error(sim: Simulator, task: Make) -> None:
    failure = {**BAD_PASSWORD, "failureType": "system_error"}
    sync = task(sim.add_connection(script=Script(duration=0.1, pending=0.0, outcome="failed", failure=failure)))
    with pytest.raises(AirbyteJobFailed) as failed:
        sync.run()
    assert type(failed.value) is AirbyteJobFailed


def test_failure_without_the_config_api_is_the_same_failure(sim: Simulator, task: Make) -> None:
    sync = task(sim.add_connection(script=Script(duration=0.1, pending=0.0, outcome="failed", failure=BAD_PASSWORD)))
    sim.add_fault(Fault(call="config", kind="status", status=403))
    with pytest.raises(AirbyteJobFailed, match="see the job's log in Airbyte") as failed:
        sync.run()
    assert failed.value.explanation is None


@pytest.mark.parametrize("way", WAYS)
def test_log_names_the_connection_and_its_ends(sim: Simulator, task: Make, way: str) -> None:
    sync = task(sim.add_connection(name="Orders", script=QUICK), way)
    sync.run()
    assert any("of connection 'Orders' (Postgres shop → BigQuery warehouse)" in line for line in sync.lines)


@pytest.mark.parametrize(
    ("story", "line"),
    [
        ("new", "Submitted job {}"),
        ("answer lost", "Waiting for job {}"),
        ("earlier try", "Found again: job {}"),
        ("attached to", "Waiting for job {}"),
    ],
)
def test_log_names_the_job_in_one_line(sim: Simulator, task: Make, story: str, line: str) -> None:
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
