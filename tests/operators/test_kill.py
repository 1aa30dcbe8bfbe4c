"""A user who kills the task cancels its job and no other, wherever the kill meets the operator on its worker."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airbyte_deferrable._airflow import kill, started_job
from airbyte_deferrable._airflow.kill import WAIT_MARKER
from airbyte_deferrable.exceptions import (
    AirbyteException,
    AirbyteJobCancelled,
    AirbyteTimeout,
)
from airbyte_deferrable.links import JOB_URL
from airbyte_deferrable.simulator import Fault, Simulator
from helpers.airbyte import ENDLESS, hits
from helpers.one_task import (
    WAYS,
    Make,
    TaskDeferred,
    TaskInstance,
    killed_when,
    said,
)
from helpers.waiting import Clock, meanwhile


def test_kill_while_waiting_cancels_the_job(sim: Simulator, task: Make) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS))
    operator = sync.operator()
    with killed_when(lambda: sim.count("get"), sync, operator), pytest.raises(AirbyteException):
        operator.execute(sync.context)
    assert sim.jobs(cid)[0]["status"] == "cancelled"


def test_kill_without_cancel_on_kill_leaves_the_job_alone(sim: Simulator, task: Make) -> None:
    sync = task(sim.add_connection(script=ENDLESS), cancel_on_kill=False)
    operator = sync.operator()
    with killed_when(lambda: sim.count("get"), sync, operator, then=lambda: sim.finish(1, "succeeded")):
        assert operator.execute(sync.context) == 1
    assert sim.count("cancel") == 0


@pytest.mark.parametrize("way", WAYS)
def test_kill_while_airbyte_makes_the_job_cancels_it(sim: Simulator, task: Make, way: str) -> None:
    cid = sim.add_connection(script=ENDLESS)
    creates = sim.add_fault(Fault("create", "lost_answer", seconds=1.5))
    sync = task(cid, way)
    operator = sync.operator()
    with killed_when(lambda: hits(sim, creates), sync, operator), pytest.raises(AirbyteException):
        operator.execute(sync.context)
    assert [job["status"] for job in sim.jobs(cid)] == ["cancelled"]


def test_kill_while_jobs_are_listed_starts_no_job(sim: Simulator, task: Make) -> None:
    """Airflow 3 ends the process 5 s after it has told it to stop: a job that is started then would be left running."""
    lists = sim.add_fault(Fault("list", "latency", seconds=1.5))
    sync = task(sim.add_connection(script=ENDLESS))
    operator = sync.operator()
    with (
        killed_when(lambda: hits(sim, lists), sync, operator),
        pytest.raises(AirbyteException, match="killed before it started"),
    ):
        operator.execute(sync.context)
    assert sim.count("create") == 0


def test_kill_while_the_connection_is_busy_starts_no_job(sim: Simulator, task: Make) -> None:
    other = sim.add_job(cid := sim.add_connection(script=ENDLESS), script=ENDLESS)["id"]
    sync = task(cid)
    operator = sync.operator()
    with (
        killed_when(
            lambda: said(sync.lines, "Connection"), sync, operator, then=lambda: sim.finish(other, "succeeded")
        ),
        pytest.raises(AirbyteException, match="killed before it started"),
    ):
        operator.execute(sync.context)
    assert sim.count("create") == 0


@pytest.mark.parametrize("way", WAYS)
def test_kill_while_the_name_is_looked_up_starts_no_job(sim: Simulator, task: Make, way: str) -> None:
    cid = sim.add_connection(name="Orders", script=ENDLESS)
    looks = sim.add_fault(Fault("connections", "latency", seconds=1.5))
    sync = task("", way, connection_name="Orders")
    operator = sync.operator()
    with (
        killed_when(lambda: hits(sim, looks), sync, operator),
        pytest.raises(AirbyteException, match="killed before it started"),
    ):
        operator.execute(sync.context)
    assert not sim.jobs(cid)


def test_kill_before_the_task_has_begun_starts_no_job(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3 calls on_kill while it still renders templates, and then goes on."""
    sync = task(cid := sim.add_connection(script=ENDLESS))
    monkeypatch.setattr("airbyte_deferrable._sync_task.get_current_context", lambda: sync.context)
    operator = sync.operator()
    sync.ti.state = "failed"
    operator.on_kill()
    with pytest.raises(AirbyteException, match="killed before it started"):
        operator.execute(sync.context)
    assert not sim.jobs(cid)


def test_kill_before_templates_are_rendered_starts_no_job(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), timeout=600)
    monkeypatch.setattr("airbyte_deferrable._sync_task.get_current_context", lambda: sync.context)
    operator = sync.operator()
    operator.connection_id = "{{ var.value.orders }}"
    sync.ti.state = "failed"
    operator.on_kill()
    operator.connection_id = cid
    with pytest.raises(AirbyteException, match="killed before it started"):
        operator.execute(sync.context)
    assert not sim.jobs(cid)


def test_kill_before_airbyte_answers_cancels_the_job_as_soon_as_it_is_known(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(started_job, "NAMED_WITHIN", 0.1)
    cid = sim.add_connection(script=ENDLESS)
    creates = sim.add_fault(Fault("create", "lost_answer", seconds=1.5))
    sync = task(cid, "deferred")
    operator = sync.operator()
    with (
        killed_when(lambda: hits(sim, creates), sync, operator),
        pytest.raises(AirbyteException, match="killed while it started"),
    ):
        operator.execute(sync.context)
    assert [job["status"] for job in sim.jobs(cid)] == ["cancelled"]


@pytest.mark.parametrize("state", ["running", "up_for_retry", "queued", None])
def test_kill_by_nobody_leaves_the_job_alone(sim: Simulator, task: Make, state: str | None) -> None:
    """One without a state was reset by a scheduler that took over from another."""
    sync = task(sim.add_connection(script=ENDLESS))
    operator = sync.operator()
    with killed_when(lambda: sim.count("get"), sync, operator, state=state, then=lambda: sim.finish(1, "succeeded")):
        assert operator.execute(sync.context) == 1
    assert sim.count("cancel") == 0


def test_kill_by_nobody_before_the_task_has_begun_leaves_its_record_where_the_next_try_looks(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred")
    monkeypatch.setattr("airbyte_deferrable._sync_task.get_current_context", lambda: sync.context)
    operator = sync.operator()
    operator.on_kill()
    with pytest.raises(TaskDeferred):
        operator.execute(sync.context)
    sync.next_try()
    assert sync.leave().trigger.job_id == 1
    assert len(sim.jobs(cid)) == 1


def test_kill_leaves_an_attached_job_alone(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection()
    sim.add_job(cid, script=ENDLESS)
    sync = task(cid, if_running="attach")
    operator = sync.operator()
    with killed_when(lambda: sim.count("get"), sync, operator, then=lambda: sim.finish(1, "succeeded")):
        assert operator.execute(sync.context) == 1
    assert sim.count("cancel") == 0


def writes_its_record(sync: Any) -> bool:
    for record in sync.store.values():
        record["generation"]["try_number"] = 2
    return bool(sync.store)


def succeeds(sync: Any) -> bool:
    """An asynchronous task's job goes on after that."""
    sync.ti.xcom_push("return_value", 1)
    return True


@pytest.mark.parametrize(
    ("later_try", "line"),
    [
        (writes_its_record, "A later try of the task has begun: leaving its job alone"),
        (succeeds, "Airflow stops the task, whose later try has succeeded: leaving its job alone"),
    ],
)
def test_kill_of_a_worker_that_airflow_has_lost_leaves_the_later_trys_job_alone(
    sim: Simulator, task: Make, later_try: Callable[[Any], bool], line: str
) -> None:
    """What Airflow says of the task is of its later try by then."""
    sync = task(sim.add_connection(script=ENDLESS))
    operator = sync.operator()
    with killed_when(
        lambda: sim.count("get") and later_try(sync),
        sync,
        operator,
        state="success",
        then=lambda: sim.finish(1, "succeeded"),
    ):
        assert operator.execute(sync.context) == 1
    assert sim.count("cancel") == 0
    assert said(sync.lines, line) == 1


def test_kill_of_a_resumed_task_cancels_its_job(sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred")
    sync.leave()
    resumed = sync.operator()
    monkeypatch.setattr("airbyte_deferrable._sync_task.get_current_context", lambda: sync.context)
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

    monkeypatch.setattr(kill, "ANSWERS_ON_WORKER_WITHIN", 1.0)
    monkeypatch.setattr("airbyte_deferrable._sync_task.get_current_context", lambda: sync.context)
    monkeypatch.setattr(kill, "read_state", one_at_a_time(kill.read_state))
    monkeypatch.setattr(kill, "read_xcom", one_at_a_time(kill.read_xcom))
    monkeypatch.setattr(TaskInstance, "xcom_push", one_at_a_time(TaskInstance.xcom_push))
    before = signal.signal(signal.SIGUSR1, lambda *_: operator.on_kill())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert killed


@pytest.mark.parametrize(
    ("state", "raises", "status"),
    [("failed", AirbyteJobCancelled, "cancelled"), ("running", AirbyteTimeout, "running")],
    ids=["by a person", "by nobody"],
)
def test_kill_while_a_resumed_task_asks_what_it_waits_for_is_heeded_when_it_knows(
    sim: Simulator,
    task: Make,
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
    state: str,
    raises: type[Exception],
    status: str,
) -> None:
    sync = task(cid := sim.add_connection(script=ENDLESS), "deferred", timeout=600)
    sync.leave()
    job_id, resumed = sim.jobs(cid)[0]["id"], sync.operator()
    with (
        kill_in_the_middle_of(monkeypatch, WAIT_MARKER, sync, resumed, state),
        meanwhile(lambda: state == "running" and sim.count("get"), clock.jump, has_to=state == "running"),
        pytest.raises(raises),
    ):
        # As the official trigger says it, so that the task has yet to wait.
        resumed.execute_complete(sync.context, {"status": "success", "message": "", "job_id": job_id})
    assert sim.jobs(cid)[0]["status"] == status
    assert said(sync.lines, "The task is stopped before it has learned what it waits for (TimeoutError)") == 1


@pytest.mark.parametrize(("way", "what"), [("worker", JOB_URL), ("deferred", WAIT_MARKER)])
def test_kill_while_a_task_tells_airflow_of_its_job_is_heeded_right_after(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, way: str, what: str
) -> None:
    # With the workspace, the task itself writes the button's address; else a thread beside it may.
    sync = task(cid := sim.add_connection(script=ENDLESS), way, timeout=60, workspace_id=sim.workspace_id)
    operator = sync.operator()
    with (
        kill_in_the_middle_of(monkeypatch, what, sync, operator, "failed"),
        pytest.raises((AirbyteJobCancelled, TaskDeferred)),
    ):
        operator.execute(sync.context)
    assert sim.jobs(cid)[0]["status"] == "cancelled"
    assert said(sync.lines, "Airflow does not tell why the task is stopped (TimeoutError)") == 1
