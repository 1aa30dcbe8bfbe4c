"""What was written for the official operator's subclasses, and for tests of DAGs, works with ours."""

from __future__ import annotations

import time
from contextlib import nullcontext
from datetime import timedelta
from typing import Any
from unittest.mock import MagicMock

import pytest

from airbyte_deferrable import operators
from airbyte_deferrable._airflow import execution_timeout
from airbyte_deferrable._compat import AirflowTaskTimeout
from airbyte_deferrable.exceptions import AirbyteException, AirbyteJobCancelled, AirbyteJobFailed, AirbyteTimeout
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Script, Simulator
from airbyte_deferrable.triggers import AirbyteSyncTrigger
from helpers.airbyte import ENDLESS, QUICK
from helpers.one_task import (
    WAYS,
    Make,
    TaskDeferred,
    killed_when,
    over_in_the_middle_of_a_check,
)


class Resets(AirbyteTriggerSyncOperator):
    """The official ``execute``, copied, with a reset."""

    def execute(self, context: Any) -> Any:
        hook = AirbyteHook(airbyte_conn_id=self.airbyte_conn_id, api_version=self.api_version)
        self.job_id = hook.submit_reset_connection(connection_id=self.connection_id).job_id
        end_time = time.time() + self.timeout
        if self.deferrable:
            deadline = time.time() + self.execution_timeout.total_seconds() if self.execution_timeout else None
            self.defer(
                trigger=AirbyteSyncTrigger(
                    conn_id=self.airbyte_conn_id,
                    job_id=self.job_id,
                    end_time=end_time,
                    execution_deadline=deadline,
                    poll_interval=self.wait_seconds * 1,
                ),
                method_name="execute_complete",
            )
        hook.wait_for_job(job_id=self.job_id, wait_seconds=self.wait_seconds, timeout=self.timeout)
        return self.job_id


# The attributes


@pytest.mark.parametrize(("deferrable", "given", "seconds"), [(False, None, 3), (True, None, 5), (True, 7, 7)])
def test_wait_seconds_is_the_number_that_is_used(
    sim: Simulator, task: Make, deferrable: bool, given: float | None, seconds: float
) -> None:
    sync = task(sim.add_connection(script=ENDLESS), deferrable=deferrable, wait_seconds=given)
    assert sync.operator().wait_seconds + 1 == seconds + 1
    if deferrable:
        assert sync.leave().trigger.poll_interval == seconds


@pytest.mark.parametrize("way", WAYS)
def test_official_execute_copied_into_a_subclass_works(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(operators, "POLL_ON_WORKER", 0.1)
    monkeypatch.setattr(operators, "POLL_DEFERRED", 0.1)
    reset = task(cid := sim.add_connection(script=QUICK), way, Resets, wait_seconds=None)
    assert reset.run() == sim.jobs(cid)[0]["id"]
    assert [job["jobType"] for job in sim.jobs(cid)] == ["reset"]


@pytest.mark.parametrize("parameters", [{}, {"asynchronous": True}, {"deferrable": True}])
def test_execute_sets_the_job_id(sim: Simulator, task: Make, parameters: dict[str, Any]) -> None:
    sync = task(cid := sim.add_connection(script=Script(duration=1.0, pending=0.0)), **parameters)
    operator = sync.operator()
    assert operator.job_id is None
    with pytest.raises(TaskDeferred) if "deferrable" in parameters else nullcontext():
        operator.execute(sync.context)
    job_id = sim.jobs(cid)[0]["id"]
    assert operator.job_id == job_id
    resumed = sync.operator()
    resumed.execute_complete(sync.context, {"status": "success", "message": "", "job_id": job_id})
    assert resumed.job_id == job_id


# A job that a subclass has started


@pytest.mark.parametrize("state", ["failed", "running"], ids=["by a person", "by nobody"])
def test_on_kill_cancels_the_job_that_a_subclass_has_started(sim: Simulator, task: Make, state: str) -> None:
    """As the official one; no next try would find it."""
    reset = task(cid := sim.add_connection(script=ENDLESS), "worker", Resets)
    operator = reset.operator()
    with killed_when(lambda: sim.count("get"), reset, operator, state=state), pytest.raises(AirbyteJobCancelled):
        operator.execute(reset.context)
    assert [job["status"] for job in sim.jobs(cid)] == ["cancelled"]


def test_cancel_on_kill_counts_for_it_too(sim: Simulator, task: Make) -> None:
    reset = task(sim.add_connection(script=ENDLESS), "worker", Resets, cancel_on_kill=False)
    operator = reset.operator()
    with killed_when(lambda: sim.count("get"), reset, operator, then=lambda: sim.finish(1, "succeeded")):
        assert operator.execute(reset.context) == 1
    assert sim.count("cancel") == 0


@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_execution_timeout_cancels_it(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, cancel_on_kill: bool
) -> None:
    monkeypatch.setattr(execution_timeout, "LONGEST_CANCEL", 10.0)
    life = timedelta(seconds=60)
    reset = task(
        cid := sim.add_connection(script=ENDLESS),
        "worker",
        Resets,
        cancel_on_kill=cancel_on_kill,
        execution_timeout=life,
    )
    operator = reset.operator()
    with over_in_the_middle_of_a_check(sim):
        try:
            operator.execute(reset.context)
        except AirflowTaskTimeout:
            # As Airflow's task runner does.
            operator.on_kill()
    assert [job["status"] for job in sim.jobs(cid)] == ["cancelled"]


def test_inherited_execute_complete_cancels_it_for_the_execution_timeout(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection(script=ENDLESS)
    reset = task(cid, "deferred", Resets, execution_timeout=timedelta(seconds=60))
    with pytest.raises(AirbyteTimeout, match="The job is cancelled"):
        reset.come_back(reset.leave(), execution_deadline=time.time())
    assert [job["status"] for job in sim.jobs(cid)] == ["cancelled"]


@pytest.mark.parametrize(("end", "raises"), [("succeeded", None), ("failed", AirbyteJobFailed)])
def test_inherited_execute_complete_takes_another_connections_job(
    sim: Simulator, task: Make, end: str, raises: type[Exception] | None
) -> None:
    """A subclass may start what it likes, with parameters of its own."""
    other = sim.add_connection(script=Script(duration=0.3, pending=0.0, outcome=end))

    class ResetsAnother(Resets):
        def execute(self, context: Any) -> Any:
            self.connection_id = other
            return super().execute(context)

    reset = task(sim.add_connection(), "deferred", ResetsAnother)
    if raises is None:
        assert reset.run() == sim.jobs(other)[0]["id"]
    else:
        with pytest.raises(raises):
            reset.run()


def test_job_that_is_over_when_the_inherited_execute_runs_is_not_cancelled_again(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection(script=QUICK)

    class ResetsAndSyncs(AirbyteTriggerSyncOperator):
        def execute(self, context: Any) -> Any:
            hook = AirbyteHook(self.airbyte_conn_id)
            self.job_id = hook.submit_reset_connection(self.connection_id).job_id
            hook.wait_for_job(self.job_id, self.wait_seconds, self.timeout)
            sim.script(cid, ENDLESS)
            return super().execute(context)

    both = task(cid, "worker", ResetsAndSyncs)
    operator = both.operator()
    with killed_when(lambda: len(sim.jobs(cid)) == 2, both, operator), pytest.raises(AirbyteException):
        operator.execute(both.context)
    assert [(job["jobType"], job["status"]) for job in sim.jobs(cid)] == [("reset", "succeeded"), ("sync", "cancelled")]


# By hand, as tests of DAGs do


@pytest.fixture(params=["none", "empty", "a mock", "a mock task instance"])
def by_hand(request: pytest.FixtureRequest) -> Any:
    contexts: dict[str, Any] = {"none": None, "empty": {}, "a mock": MagicMock()}
    return contexts.get(request.param, {"ti": MagicMock(), "task_instance": MagicMock()})


@pytest.mark.parametrize("parameters", [{}, {"asynchronous": True}, {"retries": 2}, {"if_running": "attach"}])
def test_execute_works_by_hand(sim: Simulator, task: Make, by_hand: Any, parameters: dict[str, Any]) -> None:
    cid = sim.add_connection(script=QUICK)
    operator = task(cid, **parameters).operator()
    assert operator.execute(by_hand) == sim.jobs(cid)[0]["id"] == operator.job_id


def test_execute_by_hand_defers(sim: Simulator, task: Make, by_hand: Any) -> None:
    cid = sim.add_connection(script=ENDLESS)
    with pytest.raises(TaskDeferred) as deferred:
        task(cid, "deferred").operator().execute(by_hand)
    assert deferred.value.trigger.job_id == sim.jobs(cid)[0]["id"]
    assert deferred.value.method_name == "execute_complete"
    assert isinstance(deferred.value.trigger.try_number, int | None)


@pytest.mark.parametrize(
    ("status", "end", "raises"),
    [
        ("success", "succeeded", None),
        ("error", "failed", AirbyteJobFailed),
        ("cancelled", "cancelled", AirbyteJobCancelled),
        ("timeout", None, AirbyteTimeout),
    ],
)
def test_execute_complete_works_by_hand(
    sim: Simulator, task: Make, by_hand: Any, status: str, end: str | None, raises: type[Exception] | None
) -> None:
    """With what the official trigger tells."""
    job_id = sim.add_job(cid := sim.add_connection(), script=ENDLESS)["id"]
    if end:
        sim.finish(job_id, end)
    operator = task(cid, "deferred").operator()
    event = {"status": status, "message": "Job run ended.", "job_id": job_id}
    if raises is None:
        assert operator.execute_complete(by_hand, event) == job_id
    else:
        with pytest.raises(raises):
            operator.execute_complete(context=by_hand, event=event)
    assert sim.job(job_id)["status"] == (end or "cancelled")


def test_on_kill_by_hand_cancels_the_job(sim: Simulator, task: Make) -> None:
    started = task(cid := sim.add_connection(script=ENDLESS), asynchronous=True).operator()
    started.execute({})
    started.on_kill()
    assert [job["status"] for job in sim.jobs(cid)] == ["cancelled"]


def test_on_kill_by_hand_cancels_the_job_that_the_test_names(sim: Simulator, task: Make) -> None:
    operator = task(cid := sim.add_connection()).operator()
    operator.job_id = sim.add_job(cid, script=ENDLESS)["id"]
    operator.on_kill()
    assert [job["status"] for job in sim.jobs(cid)] == ["cancelled"]
