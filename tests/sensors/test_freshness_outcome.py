"""A connection's fresh sync ends the sensor the same in every mode; what is old, or of others, does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airbyte_deferrable._airflow import job_report
from airbyte_deferrable._compat import AirflowSkipException
from airbyte_deferrable.exceptions import (
    AirbyteConfigError,
    AirbyteJobCancelled,
    AirbyteJobFailed,
    AirbyteSensorTimeout,
    AirbyteTimeout,
)
from airbyte_deferrable.simulator import Script, Simulator
from helpers.airbyte import AT_ONCE, ENDLESS
from helpers.compat import TaskDeferred
from helpers.freshness import MOMENT, ended
from helpers.one_task import MODES, Sense, TaskInstance, execution_timeout_over_when
from helpers.waiting import meanwhile

XCOMS = {"final_status", "rows_synced", "airbyte_job", "airbyte_job_url"}


def lists(sim: Simulator) -> Callable[[], bool]:
    """Tell whether the sensor has looked in vain: on its worker, or its trigger after it."""
    before = sim.count("list")
    return lambda: sim.count("list") >= before + 2


@pytest.mark.parametrize("mode", MODES)
def test_sync_that_had_ended_is_found_with_one_request(sim: Simulator, fresh: Sense, mode: str) -> None:
    cid = sim.add_connection()
    ended(sim, cid, -1)
    ended(sim, cid, 5, "failed")
    first = ended(sim, cid, 10)
    ended(sim, cid, 20)
    wait = fresh(cid, mode)
    assert wait.run() == first
    # The other one leads the task's button to the job's workspace.
    assert (sim.count("list"), sim.count("connection"), sim.count() - sim.count("token")) == (1, 1, 2)
    assert wait.triggers == []
    assert wait.ti.xcoms.keys() == XCOMS
    assert wait.ti.xcoms["airbyte_job"]["jobId"] == first
    assert f"jobId={first}" in wait.ti.xcoms["airbyte_job_url"]


@pytest.mark.parametrize("mode", MODES)
def test_sync_that_ends_later_is_waited_for(sim: Simulator, fresh: Sense, mode: str) -> None:
    cid, other = sim.add_connection(), sim.add_connection()
    ended(sim, cid, -1)
    ended(sim, cid, 5, job_type="reset")
    ended(sim, other, 5)
    wait = fresh(cid, mode)
    with meanwhile(lists(sim), lambda: sim.add_job(cid, script=Script(duration=0.3, pending=0.0))):
        job_id = wait.run()
    assert job_id == sim.jobs(cid)[-1]["id"]
    assert bool(wait.triggers) == (mode == "deferrable")
    assert wait.ti.xcoms.keys() == XCOMS
    assert (wait.ti.xcoms["final_status"], wait.ti.xcoms["rows_synced"]) == ("succeeded", 1000)
    assert f"jobId={job_id}" in wait.ti.xcoms["airbyte_job_url"]
    assert [job["cancel_requested_by"] for job in sim.jobs()] == [None] * 4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_failed_sync_is_waited_past(sim: Simulator, fresh: Sense, mode: str, end: str) -> None:
    cid = sim.add_connection()
    ended(sim, cid, 5, end)
    wait = fresh(cid, mode)
    with meanwhile(lists(sim), lambda: (sim.add_job(cid, script=AT_ONCE), None)):
        assert wait.run() == sim.jobs(cid)[-1]["id"]
    assert mode != "deferrable" or f"Airbyte job {sim.jobs(cid)[0]['id']} {end}. This task waits for one" in "\n".join(
        wait.lines
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("before", [True, False], ids=["before", "meanwhile"])
@pytest.mark.parametrize(("end", "raises"), [("failed", AirbyteJobFailed), ("cancelled", AirbyteJobCancelled)])
@pytest.mark.parametrize("soft", [{}, {"soft_fail": True}, {"never_fail": True}], ids=["hard", "soft", "never"])
def test_failed_sync_fails_the_task_where_that_is_asked_for(
    sim: Simulator, fresh: Sense, mode: str, before: bool, end: str, raises: Any, soft: dict[str, bool]
) -> None:
    cid = sim.add_connection()
    wait = fresh(cid, mode, if_failed="fail", **soft)
    raises = AirflowSkipException if soft else raises
    if before:
        ended(sim, cid, 5, end)
        with pytest.raises(raises):
            wait.run()
    else:
        script = Script(duration=0.0, pending=0.0, outcome=end)
        with meanwhile(lists(sim), lambda: sim.add_job(cid, script=script)), pytest.raises(raises):
            wait.run()
    assert wait.ti.xcoms.keys() == XCOMS
    assert wait.ti.xcoms["final_status"] == end


@pytest.mark.parametrize("mode", MODES)
def test_failed_sync_tells_why(sim: Simulator, fresh: Sense, mode: str) -> None:
    cid = sim.add_connection()
    failure = {"failureOrigin": "source", "failureType": "config_error", "externalMessage": "The password is wrong"}
    ended(sim, cid, 5, "failed", failure=failure)
    with pytest.raises(AirbyteConfigError, match="The password is wrong"):
        fresh(cid, mode, if_failed="fail").run()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("if_failed", ["wait", "fail"])
def test_success_counts_before_a_failure(sim: Simulator, fresh: Sense, mode: str, if_failed: str) -> None:
    cid = sim.add_connection()
    ended(sim, cid, 5, "failed")
    good = ended(sim, cid, 10)
    ended(sim, cid, 15, "failed")
    assert fresh(cid, mode, if_failed=if_failed).run() == good


@pytest.mark.parametrize("mode", MODES)
def test_sync_that_must_have_started_is_none_that_ran_across_the_moment(
    sim: Simulator, fresh: Sense, mode: str
) -> None:
    cid = sim.add_connection()
    ended(sim, cid, 5)
    wait = fresh(cid, mode, must_have="started")
    with meanwhile(lists(sim), lambda: sim.add_job(cid, script=AT_ONCE)):
        assert wait.run() == sim.jobs(cid)[-1]["id"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("types", ["clear", ["sync", "reset"]])
def test_other_types_count_if_asked_for(sim: Simulator, fresh: Sense, mode: str, types: Any) -> None:
    cid = sim.add_connection()
    ended(sim, cid, 5, job_type="refresh")
    wait = fresh(cid, mode, job_types=types)
    with meanwhile(lists(sim), lambda: sim.add_job(cid, script=AT_ONCE, job_type="reset")):
        assert wait.run() == sim.jobs(cid)[-1]["id"]
    assert wait.ti.xcoms["airbyte_job"]["jobType"] == "reset"


@pytest.mark.parametrize("mode", MODES)
def test_moment_ahead_is_waited_for(sim: Simulator, fresh: Sense, mode: str) -> None:
    """A sync that ends before it is none, also where nobody else would tell."""
    cid = sim.add_connection()
    ahead = datetime.now(timezone.utc) + timedelta(hours=1)

    def pass_it() -> None:
        sim.add_job(cid, script=AT_ONCE)
        sim.advance(3700)
        sim.add_job(cid, script=AT_ONCE)

    with meanwhile(lists(sim), pass_it):
        assert fresh(cid, mode, after=ahead).run() == sim.jobs(cid)[-1]["id"]


@pytest.mark.parametrize("mode", MODES)
def test_name_leads_to_the_connection(sim: Simulator, fresh: Sense, mode: str) -> None:
    workspace = "a1b7e000-0000-4000-8000-00000000000a"
    sim.add_connection(name="Orders")
    cid = sim.add_connection(name="Orders", workspace_id=workspace)
    wait = fresh("", mode, connection_name="orders", workspace_id=workspace)
    with meanwhile(lists(sim), lambda: sim.add_job(cid, script=AT_ONCE)):
        assert wait.run() == sim.jobs(cid)[-1]["id"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("soft", [{}, {"soft_fail": True}, {"never_fail": True}], ids=["hard", "soft", "never"])
def test_timeout_is_a_sensors_timeout_and_says_what_the_connection_did_last(
    sim: Simulator, fresh: Sense, mode: str, soft: dict[str, bool]
) -> None:
    cid = sim.add_connection()
    job_id = ended(sim, cid, 5, "failed")
    words = rf"No sync of connection {cid} that ended at 2026-01-01 12:00:00 UTC or later has succeeded before the "
    words += rf"task's timeout \(0.5 s\) was over. The connection's newest job, {job_id}, is a sync and 'failed'"
    with pytest.raises(AirflowSkipException if soft else AirbyteSensorTimeout, match=None if soft else words) as over:
        fresh(cid, mode, timeout=0.5, **soft).run()
    if isinstance(over.value, AirbyteSensorTimeout):
        assert (over.value.job_id, over.value.connection_id) == (None, cid)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("jobs", [0, 1])
def test_timeout_says_that_there_is_no_job_or_that_one_runs(sim: Simulator, fresh: Sense, mode: str, jobs: int) -> None:
    cid = sim.add_connection()
    if jobs:
        sim.add_job(cid, script=ENDLESS)
    with pytest.raises(AirbyteSensorTimeout, match="is a sync and 'running'" if jobs else "has no job"):
        fresh(cid, mode, timeout=0).run()
    assert [job["status"] for job in sim.jobs()] == ["running"] * jobs


def test_timeout_is_followed_by_a_check_on_the_worker(sim: Simulator, fresh: Sense) -> None:
    cid = sim.add_connection()
    wait = fresh(cid, "deferrable", timeout=0)
    deferred = wait.leave()
    sim.add_job(cid, script=AT_ONCE)
    event = {"status": "error", "reason": "timeout", "message": "", "job_id": 0, "try_number": 1}
    assert wait.resume(deferred, event) == sim.jobs(cid)[-1]["id"]


@pytest.mark.parametrize("mode", ["reschedule", "deferrable"])
def test_execution_timeout_is_that_of_the_whole_task(sim: Simulator, fresh: Sense, mode: str) -> None:
    with pytest.raises(AirbyteTimeout, match=r"execution_timeout \(0.5 s\)") as over:
        fresh(sim.add_connection(), mode, execution_timeout=timedelta(seconds=0.5)).run()
    assert not isinstance(over.value, AirbyteSensorTimeout)


def test_execution_timeout_on_the_worker_ends_with_the_final_check(sim: Simulator, fresh: Sense) -> None:
    cid = sim.add_connection()
    wait = fresh(cid, "poke", execution_timeout=timedelta(seconds=60), poke_interval=60)
    before = sim.count("connection")
    with (
        execution_timeout_over_when(lambda: sim.count("connection") > before),
        pytest.raises(AirbyteTimeout, match=r"execution_timeout \(60 s\)"),
    ):
        wait.run()

    def ends() -> bool:
        if looked := sim.count("connection") > before + 1:
            sim.add_job(cid, script=AT_ONCE)
        return looked

    with execution_timeout_over_when(ends):
        assert wait.run() in {job["id"] for job in sim.jobs(cid)}


@pytest.mark.parametrize("mode", MODES)
def test_xcoms_are_not_there_without_do_xcom_push(
    sim: Simulator, fresh: Sense, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    pushed: list[str] = []
    monkeypatch.setattr(TaskInstance, "xcom_push", lambda _, key, value: pushed.append(key))
    monkeypatch.setattr(job_report, "write_xcoms", lambda _, values: pushed.extend(values))
    for wanted in (False, True):
        cid = sim.add_connection()
        wait = fresh(cid, mode, do_xcom_push=wanted)
        with meanwhile(lists(sim), lambda cid=cid: sim.add_job(cid, script=AT_ONCE)):
            wait.run()
        assert any("See it in Airbyte" in line for line in wait.lines)
        assert bool(pushed) == wanted


@pytest.mark.parametrize("context", [{}, None], ids=["empty", "none"])
@pytest.mark.parametrize("mode", MODES)
def test_by_hand_poke_is_one_check(sim: Simulator, fresh: Sense, mode: str, context: Any) -> None:
    cid = sim.add_connection()
    sensor = fresh(cid, mode).operator()
    assert sensor.poke(context) is False
    job_id = sim.add_job(cid, script=AT_ONCE)["id"]
    assert sensor.poke(context) is True
    if mode != "reschedule":
        assert fresh(cid, mode).operator().execute(context) == job_id


def test_event_of_another_try_is_followed_by_a_check(sim: Simulator, fresh: Sense) -> None:
    cid = sim.add_connection()
    wait = fresh(cid, "deferrable")
    deferred = wait.leave()
    late = {"status": "error", "message": "", "job_id": 0, "reason": "timeout", "try_number": 9}
    with pytest.raises(TaskDeferred):
        wait.resume(deferred, late)
    job_id = sim.add_job(cid, script=AT_ONCE)["id"]
    assert wait.resume(deferred, late) == job_id


def test_event_tells_the_job_and_its_connection(sim: Simulator, fresh: Sense) -> None:
    cid = sim.add_connection()
    wait = fresh(cid, "deferrable")
    with meanwhile(lists(sim), lambda: sim.add_job(cid, script=AT_ONCE)):
        wait.run()
    (event,) = wait.events
    assert (event["status"], event["connection_id"]) == ("success", cid)
    assert event["job"]["lastUpdatedAt"] > MOMENT.isoformat()
