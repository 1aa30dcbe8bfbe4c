"""A job that cannot be started says why, and one that can be is started, whatever else is out of order."""

from __future__ import annotations

import pytest

from airbyte_deferrable._compat import AirflowSkipException
from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable.exceptions import (
    AirbyteConflictError,
    AirbyteNotVisibleError,
    AirbyteUnreachableError,
)
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Fault, Simulator
from helpers.airbyte import AT_ONCE, BUSY_ANSWER, ENDLESS, NOWHERE, QUICK
from helpers.one_task import WAYS, Make, said, when_said


@pytest.fixture
def patient(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a task be as patient as in production: an answer that can be had must not take minutes."""
    monkeypatch.setattr(AirbyteTriggerSyncOperator, "submit_policy", SubmitPolicy())


# A create that fails for a reason that can be had


@pytest.mark.parametrize("status", [500, 502, 504])
@pytest.mark.parametrize(("state", "says"), [("inactive", "is inactive: activate it"), ("locked", "is locked")])
@pytest.mark.usefixtures("patient")
def test_create_that_fails_for_a_connection_that_is_not_active_says_so(
    sim: Simulator, task: Make, status: int, state: str, says: str
) -> None:
    sync = task(sim.add_connection(status=state))
    sim.add_fault(Fault("create", status=status))
    with pytest.raises(AirbyteConflictError, match=says):
        sync.run()
    assert sim.count("create") == 1


@pytest.mark.usefixtures("patient")
def test_create_that_a_gateway_gives_up_for_an_unknown_connection_says_so(sim: Simulator, task: Make) -> None:
    sim.add_fault(Fault("create", status=504))
    with pytest.raises(AirbyteNotVisibleError, match=NOWHERE):
        task(NOWHERE).run()
    assert sim.count("create") == 1


@pytest.mark.usefixtures("patient")
def test_create_without_the_list_asks_for_the_reason_too(sim: Simulator, task: Make) -> None:
    sim.add_fault(Fault("list", status=403))
    sim.add_fault(Fault("create", status=500))
    with pytest.raises(AirbyteConflictError, match="is inactive"):
        task(sim.add_connection(status="inactive")).run()
    assert sim.count("create") == 1


def test_connection_that_may_not_be_read_is_no_reason(sim: Simulator, task: Make) -> None:
    """Who may start jobs need not be let read connections; its jobs tell that there is one."""
    sim.add_job(cid := sim.add_connection(script=QUICK), script=AT_ONCE)
    sim.add_fault(Fault("create", status=504, times=1))
    sim.add_fault(Fault("connection", status=403))
    assert task(cid).run() == sim.jobs(cid)[1]["id"]


def test_job_that_was_made_is_found_before_anything_is_said_of_its_connection(sim: Simulator, task: Make) -> None:
    """Airbyte deactivates a connection whose syncs fail."""
    cid = sim.add_connection(script=QUICK)
    sim.add_fault(Fault("create", "lost_answer", status=504))
    sim.add_fault(Fault("connection", status=404))
    assert task(cid).run() == sim.jobs(cid)[0]["id"]


def test_create_that_succeeds_does_not_ask_for_the_connection(sim: Simulator, task: Make) -> None:
    task(sim.add_connection(script=ENDLESS), "deferred").leave()
    assert [sim.count(call) for call in ("token", "list", "create", "connection")] == [1, 1, 1, 0]
    assert sim.count() == 3


# Several live jobs


@pytest.fixture
def older(sim: Simulator) -> tuple[str, int]:
    """Return a connection whose newest job has ended while an older one runs, and that one."""
    cid = sim.add_connection(script=QUICK)
    live = sim.add_job(cid, script=ENDLESS)["id"]
    sim.add_job(cid, script=ENDLESS)
    over = sim.add_job(cid, script=ENDLESS)["id"]
    sim.finish(over - 1, "succeeded")
    sim.finish(over, "cancelled")
    return cid, live


@pytest.mark.parametrize(("if_running", "raises"), [("skip", AirflowSkipException), ("fail", AirbyteConflictError)])
def test_older_job_that_runs_is_seen(
    sim: Simulator, task: Make, older: tuple[str, int], if_running: str, raises: type[Exception]
) -> None:
    cid, live = older
    with pytest.raises(raises, match=f"runs job {live} already"):
        task(cid, if_running=if_running).run()
    assert sim.count("create") == 0


def test_older_job_that_runs_can_be_attached_to(sim: Simulator, task: Make, older: tuple[str, int]) -> None:
    cid, live = older
    deferred = task(cid, "deferred", if_running="attach").leave()
    assert deferred.trigger.job_id == live
    assert sim.count("create") == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("job_type", ["sync", "reset"])
def test_older_job_that_runs_is_waited_for(
    sim: Simulator, task: Make, older: tuple[str, int], way: str, job_type: str
) -> None:
    cid, live = older
    sync = task(cid, way, job_type=job_type)
    when_said(sync.log, f"runs job {live}: waiting for its end", lambda: sim.finish(live, "succeeded"))
    assert sync.run() == sim.jobs(cid)[-1]["id"] > live + 2
    assert sim.count("create") == 1
    assert sim.count("cancel") == 0


def test_older_job_that_runs_is_named_when_airbyte_says_busy(sim: Simulator, task: Make) -> None:
    """It began between the look and the request."""
    cid = sim.add_connection()
    sync = task(cid, if_running="fail")
    sim.add_fault(Fault("create", status=409, body=BUSY_ANSWER, times=1))
    live: list[int] = []

    def begin(call: str) -> None:
        if not live:
            live.append(sim.add_job(cid, script=ENDLESS)["id"])
            sim.finish(sim.add_job(cid, script=ENDLESS)["id"], "succeeded")

    write = sync.store.set
    sync.store.set = lambda key, value, **more: (write(key, value, **more), begin(key))[0]
    with pytest.raises(AirbyteConflictError, match=r"runs job \d+ already") as failed:
        sync.run()
    assert failed.value.job_id == live[0]


# A list that is out of order


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [500, 503, 504])
def test_sync_is_started_without_the_list(sim: Simulator, task: Make, way: str, status: int) -> None:
    cid = sim.add_connection(script=ENDLESS)
    sim.add_fault(Fault("list", status=status))
    sync = task(cid, way, asynchronous=way == "worker")
    job_id = sync.run() if way == "worker" else sync.leave().trigger.job_id
    assert [job["id"] for job in sim.jobs(cid)] == [job_id]
    assert said(sync.lines, "Airbyte does not list its jobs, but answers otherwise") == 1
    # A retry knows the job by its number.
    sync.next_try()
    assert (sync.run() if way == "worker" else sync.leave().trigger.job_id) == job_id


@pytest.mark.usefixtures("impatient")
def test_airbyte_that_answers_nothing_is_waited_for_as_ever(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection(script=ENDLESS)
    sim.add_fault(Fault("list", status=503))
    sim.add_fault(Fault("connection", status=503))
    with pytest.raises(AirbyteUnreachableError):
        task(cid).run()
    assert sim.count("create") == 0


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("job_type", ["reset", "clear"])
def test_reset_is_not_started_without_the_list(sim: Simulator, task: Make, job_type: str) -> None:
    """Airbyte would cancel the sync that runs."""
    cid = sim.add_connection()
    runs = sim.add_job(cid, script=ENDLESS)["id"]
    sim.add_fault(Fault("list", status=500))
    with pytest.raises(AirbyteUnreachableError):
        task(cid, job_type=job_type).run()
    assert sim.count("create") == 0
    assert sim.job(runs)["status"] == "running"


def test_answer_that_is_lost_while_the_list_is_out_is_not_asked_for_twice(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection(script=ENDLESS)
    sim.add_fault(Fault("list", status=500))
    sim.add_fault(Fault("create", "lost_answer", status=504))
    with pytest.raises(AirbyteUnreachableError):
        task(cid).run()
    assert len(sim.jobs(cid)) == sim.count("create") == 1


@pytest.mark.usefixtures("impatient")
def test_lost_answer_is_looked_for_in_the_list_alone(sim: Simulator, task: Make) -> None:
    """The list goes out of order after the request: a second job is not started for want of it."""
    cid = sim.add_connection(script=ENDLESS)
    sim.add_fault(Fault("create", "lost_answer", status=504))
    sync = task(cid)
    when_said(sync.log, "answer is lost", lambda: sim.add_fault(Fault("list", status=500)))
    with pytest.raises(AirbyteUnreachableError):
        sync.run()
    assert len(sim.jobs(cid)) == sim.count("create") == 1
    sim.clear_faults()
    sim.finish(job_id := sim.jobs(cid)[0]["id"], "succeeded")
    sync.next_try()
    assert sync.run() == job_id


@pytest.mark.parametrize("way", WAYS)
def test_busy_connection_is_waited_for_without_the_list(
    sim: Simulator, task: Make, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then only Airbyte's refusals tell when it is over."""
    monkeypatch.setattr("airbyte_deferrable._job.queue.UNLISTED", 0.2)
    cid = sim.add_connection(script=QUICK)
    other = sim.add_job(cid, script=ENDLESS)["id"]
    sim.add_fault(Fault("list", status=500))
    sync = task(cid, way)
    when_said(sync.log, "cannot be asked now whether the connection is idle", lambda: sim.finish(other, "succeeded"))
    assert sync.run() == sim.jobs(cid)[-1]["id"] != other
    assert len(sim.jobs(cid)) == 2
