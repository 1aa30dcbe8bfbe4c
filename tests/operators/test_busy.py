"""A connection that runs a job already: the operator waits for its turn, attaches, skips or fails."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest

from airbyte_deferrable._compat import AirflowSkipException
from airbyte_deferrable._job.submit import UNSEEN_BUSY
from airbyte_deferrable.exceptions import (
    AirbyteConflictError,
    AirbyteJobFailed,
    AirbyteTimeout,
)
from airbyte_deferrable.simulator import Fault, Simulator
from helpers.airbyte import AT_ONCE, ENDLESS, QUICK
from helpers.one_task import (
    WAYS,
    Make,
    Task,
    first_event,
    run_in_loop,
    said,
    stored,
)
from helpers.waiting import Clock, meanwhile


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("job_type", ["sync", "reset"])
def test_busy_connection_is_waited_for(sim: Simulator, task: Make, way: str, job_type: str) -> None:
    cid = sim.add_connection(script=QUICK)
    other = sim.add_job(cid, script=ENDLESS)["id"]
    sync = task(cid, way, job_type=job_type)
    with meanwhile(lambda: said(sync.lines, "Connection"), lambda: sim.finish(other, "succeeded")):
        job_id = sync.run()
    assert [job["id"] for job in sim.jobs(cid)] == [other, job_id]
    assert [job["status"] for job in sim.jobs(cid)] == ["succeeded", "succeeded"]
    assert sim.count("cancel") == 0


@pytest.mark.parametrize("way", WAYS)
def test_busy_connections_job_can_be_attached_to(sim: Simulator, task: Make, way: str) -> None:
    cid = sim.add_connection()
    other = sim.add_job(cid, script=ENDLESS)["id"]
    sync = task(cid, way, if_running="attach")
    with (
        meanwhile(lambda: said(sync.lines, "Waiting for"), lambda: sim.finish(other, "failed")),
        pytest.raises(AirbyteJobFailed) as failed,
    ):
        sync.run()
    assert failed.value.job_id == other
    assert len(sim.jobs(cid)) == 1


def test_busy_connections_job_is_found_again_and_never_cancelled(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection()
    other = sim.add_job(cid, script=ENDLESS)["id"]
    sync = task(cid, "deferred", if_running="attach")
    assert sync.leave().trigger.cancel_on_kill is False
    sync.next_try()
    sim.finish(other, "succeeded")
    assert sync.run() == other
    assert len(sim.jobs(cid)) == 1


def test_busy_connection_can_skip_or_fail_the_task(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection()
    other = sim.add_job(cid, script=ENDLESS)["id"]
    with pytest.raises(AirflowSkipException, match=str(other)):
        task(cid, if_running="skip").run()
    with pytest.raises(AirbyteConflictError, match=str(other)):
        task(cid, if_running="fail").run()
    assert len(sim.jobs(cid)) == 1
    assert sim.count("create") == 0


def test_busy_connections_job_is_not_taken_for_ours_after_the_wait(sim: Simulator, task: Make) -> None:
    """Airbyte says busy only when it is asked: the other job began between the look and the request."""
    cid = sim.add_connection(script=QUICK)
    sync = task(cid, "deferred")
    body = '{"title": "try-again-later", "data": {"message": "A sync is already running"}}'
    sim.add_fault(Fault("create", status=409, body=body, times=UNSEEN_BUSY + 1))
    deferred = sync.leave()
    assert deferred.method_name == "execute_queued"
    other = sim.add_job(cid, script=AT_ONCE)["id"]
    job_id = sync.come_back(deferred)
    assert job_id != other
    assert len(sim.jobs(cid)) == 2


@pytest.mark.parametrize(("wanted", "runs"), [("sync", "reset"), ("reset", "sync")])
def test_busy_connections_job_of_another_type_is_not_attached_to(
    sim: Simulator, task: Make, wanted: str, runs: str
) -> None:
    cid = sim.add_connection(script=QUICK)
    other = sim.add_job(cid, job_type=runs, script=ENDLESS)["id"]
    sync = task(cid, if_running="attach", job_type=wanted)
    with meanwhile(lambda: said(sync.lines, "Connection"), lambda: sim.finish(other, "succeeded")):
        assert sync.run() == sim.jobs(cid)[1]["id"]
    assert sync.ti.xcoms["airbyte_job"]["jobType"] == wanted


@pytest.mark.parametrize("if_running", ["skip", "fail", "wait"])
def test_busy_for_a_moment_only_is_asked_again(sim: Simulator, task: Make, if_running: str) -> None:
    """Airbyte says so, too, in the moments between two jobs."""
    cid = sim.add_connection(script=QUICK)
    body = '{"title": "try-again-later", "data": {"message": "A sync is already running"}}'
    sim.add_fault(Fault("create", status=409, body=body, times=2))
    assert task(cid, if_running=if_running).run() == sim.jobs(cid)[0]["id"]


def test_queue_position_is_kept_when_the_connection_is_busy_again(sim: Simulator, task: Make) -> None:
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


def test_queue_event_that_cannot_be_read_starts_over(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection(script=QUICK)
    other = sim.add_job(cid, script=ENDLESS)["id"]
    sync = task(cid, "deferred")
    first = sync.leave()
    sim.finish(other, "succeeded")
    with pytest.raises(type(first)) as deferred:
        sync.resume(first, None)
    assert deferred.value.trigger.job_id == sim.jobs(cid)[1]["id"]


@pytest.mark.parametrize("way", WAYS)
def test_queue_ends_with_the_timeout(sim: Simulator, task: Make, clock: Clock, way: str) -> None:
    cid = sim.add_connection()
    sim.add_job(cid, script=ENDLESS)
    sync = task(cid, way, timeout=600)
    with waits_in_vain(sync, clock), pytest.raises(AirbyteTimeout, match=r"timeout was over .* No job was started"):
        sync.run()
    assert len(sim.jobs(cid)) == 1


def test_queue_ends_with_the_timeout_also_of_an_asynchronous_task(sim: Simulator, task: Make, clock: Clock) -> None:
    sim.add_job(cid := sim.add_connection(), script=ENDLESS)
    sync = task(cid, asynchronous=True, timeout=600)
    with waits_in_vain(sync, clock), pytest.raises(AirbyteTimeout, match="No job was started"):
        sync.run()


def waits_in_vain(sync: Task, clock: Clock) -> AbstractContextManager[None]:
    """Let a task's deadlines pass while it waits for another job's end."""
    return meanwhile(lambda: [line for line in sync.lines if "waiting for its end" in line], clock.jump)


@pytest.mark.parametrize("clock", ["end_time", "execution_deadline"])
def test_queue_that_ends_too_late_starts_nothing(sim: Simulator, task: Make, clock: str) -> None:
    """A worker slot may be long in coming."""
    cid = sim.add_connection(script=ENDLESS)
    event = {"status": "free", "try_number": 1, "queued_at": time.time() - 6}
    event |= {"end_time": None, "execution_deadline": None, clock: time.time() - 1}
    sync = task(cid, "deferred")
    with pytest.raises(AirbyteTimeout, match="No job was started"):
        sync.operator().execute_queued(sync.context, event)
    assert sim.count("create") == 0
