"""Several runs in one try of a task: each starts a job of its own, and a retry finds each one's."""

from __future__ import annotations

from typing import Any, cast

import pytest

from airbyte_deferrable._airflow import retry_store
from airbyte_deferrable._job.record import Record
from airbyte_deferrable._sync_task import RUN
from airbyte_deferrable.exceptions import AirbyteJobFailed
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Script, Simulator
from helpers.airbyte import ENDLESS, QUICK
from helpers.one_task import Make, Store, TaskInstance, Variables, WithoutStore, airflow_takes_down_the_success

FAILS = Script(duration=0.2, pending=0.0, outcome="failed")


class Twice(AirbyteTriggerSyncOperator):
    """Runs its connection twice, one job after the other, in every mode."""

    def execute(self, context: Any) -> Any:
        first = super().execute(context)
        return [first, super().execute(context)]


class TwiceDeferred(AirbyteTriggerSyncOperator):
    """Runs its connection twice, and leaves its worker for each."""

    def execute_complete(self, context: Any, event: Any = None) -> Any:
        job_id = super().execute_complete(context, event)
        context["ti"].xcom_push(key="done", value=[*(context["ti"].xcoms.get("done") or []), job_id])
        return job_id if len(context["ti"].xcoms["done"]) == 2 else self.execute(context)


@pytest.mark.parametrize("try_number", [1, 2])
def test_calls_in_one_try_start_a_job_each(sim: Simulator, task: Make, try_number: int) -> None:
    both = task(cid := sim.add_connection(script=QUICK), "worker", Twice)
    both.ti.try_number = try_number
    assert both.run() == [job["id"] for job in sim.jobs(cid)]
    assert len(sim.jobs(cid)) == 2


@pytest.mark.parametrize("try_number", [1, 2])
def test_operators_in_one_task_start_a_job_each(sim: Simulator, task: Make, try_number: int) -> None:
    """As nested in a Python task: both have its context."""
    both = task(cid := sim.add_connection(script=QUICK))
    both.ti.try_number = try_number
    first, second = both.operator(), both._make()
    started = [first.execute(both.context), second.execute(both.context)]
    assert started == [job["id"] for job in sim.jobs(cid)]


def test_calls_may_be_given_another_connection_each(sim: Simulator, task: Make) -> None:
    names = ["Orders", "Customers", "Orders"]
    ids = [sim.add_connection(name=name, script=QUICK) for name in names[:2]]

    class ByName(AirbyteTriggerSyncOperator):
        def execute(self, context: Any) -> Any:
            jobs = []
            for self.connection_name in names:
                jobs.append(super().execute(context))
            for self.connection_id in ids:
                jobs.append(super().execute(context))
            return jobs

    jobs = task("", "worker", ByName).run()
    assert [sim.job(job_id)["connectionId"] for job_id in jobs] == [ids[0], ids[1], ids[0], *ids]


def test_retry_finds_the_job_of_each_call(sim: Simulator, task: Make) -> None:
    """The first has succeeded and the second failed: only that is done again."""
    both = task(cid := sim.add_connection(script=QUICK), "worker", Twice)
    run = AirbyteTriggerSyncOperator.execute
    scripts = iter([QUICK, FAILS])

    class FailsInTheSecond(Twice):
        def execute(self, context: Any) -> Any:
            sim.script(cid, next(scripts))
            first = run(self, context)
            sim.script(cid, next(scripts))
            return [first, run(self, context)]

    failing = task(cid, "worker", FailsInTheSecond)
    failing.store = both.store
    with pytest.raises(AirbyteJobFailed):
        failing.run()
    first, second = (job["id"] for job in sim.jobs(cid))
    sim.script(cid, QUICK)
    both.next_try()
    assert both.run() == [first, second + 1]
    assert len(sim.jobs(cid)) == 3
    # And one more finds both.
    both.next_try()
    assert both.run() == [first, second + 1]
    assert len(sim.jobs(cid)) == 3


def test_retry_waits_for_the_live_job_of_the_second_call(sim: Simulator, task: Make) -> None:
    both = task(cid := sim.add_connection(script=QUICK), "worker", Twice, asynchronous=True)
    operator, context = both.operator(), cast(Any, both.context)
    first = AirbyteTriggerSyncOperator.execute(operator, context)
    sim.finish(first, "succeeded")
    sim.script(cid, ENDLESS)
    second = AirbyteTriggerSyncOperator.execute(operator, context)
    both.next_try()
    assert both.run() == [first, second]
    assert len(sim.jobs(cid)) == 2


@pytest.mark.parametrize("try_number", [1, 2])
def test_call_after_a_deferral_is_a_further_one(sim: Simulator, task: Make, try_number: int) -> None:
    both = task(cid := sim.add_connection(script=Script(duration=1.0, pending=0.0)), "deferred", TwiceDeferred)
    both.ti.try_number = try_number
    assert both.run() == sim.jobs(cid)[1]["id"]
    assert both.ti.xcoms["done"] == [job["id"] for job in sim.jobs(cid)]
    assert [record["job_id"] for record in both.store.values()] == both.ti.xcoms["done"]


def test_deferred_second_call_that_fails_is_done_again_alone(sim: Simulator, task: Make) -> None:
    both = task(cid := sim.add_connection(script=Script(duration=1.0, pending=0.0)), "deferred", TwiceDeferred)
    deferred = both.leave()
    sim.finish(first := deferred.trigger.job_id, "succeeded")
    sim.script(cid, ENDLESS)
    event = {"status": "success", "message": "", "job_id": first}
    with pytest.raises(type(deferred)) as again:
        both.resume(deferred, event)
    second = again.value.trigger.job_id
    assert (again.value.kwargs or {})[RUN] == [1, 2]
    sim.finish(second, "failed")
    with pytest.raises(AirbyteJobFailed):
        both.resume(again.value, {"status": "error", "message": "", "job_id": second})
    assert [record["job_id"] for record in both.store.values()] == [first]
    both.next_try()
    sim.script(cid, QUICK)
    # Airflow 3.0 resumes a new try with what the one before has left.
    stale = {"status": "error", "message": "", "job_id": second, "try_number": 1}
    with pytest.raises(type(deferred)) as anew:
        both.resume(again.value, stale)
    assert both.ti.xcoms["done"] == [first]
    assert anew.value.trigger.job_id == sim.jobs(cid)[2]["id"]
    assert (anew.value.kwargs or {})[RUN] == [2, 2]


def test_first_run_of_a_deferred_task_leaves_nothing_to_be_resumed_with(sim: Simulator, task: Make) -> None:
    assert not task(sim.add_connection(script=ENDLESS), "deferred").leave().kwargs


def test_user_who_clears_the_task_has_all_of_it_done_again(sim: Simulator, task: Make) -> None:
    both = task(cid := sim.add_connection(script=QUICK), "worker", Twice)
    both.run()
    both.clear()
    assert both.run() == [job["id"] for job in sim.jobs(cid)][2:]


def test_variables_are_one_for_each_run_and_go_when_the_task_has_succeeded(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = Variables()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)
    cid = sim.add_connection(script=QUICK)
    ti = task(cid).ti
    ti.max_tries = 2
    both = WithoutStore(lambda: Twice(task_id="sync", connection_id=cid, wait_seconds=0.1), ti=ti)
    operator = both.operator()
    jobs = operator.execute(both.context)
    assert [record["job_id"] for record in variables.values()] == jobs
    both.next_try()
    operator = both.operator()
    assert operator.execute(both.context) == jobs
    airflow_takes_down_the_success(both.ti)
    assert not variables


def test_kill_in_the_second_run_lets_the_first_be_forgotten_too(sim: Simulator, task: Make) -> None:
    """To Airflow, the next try of a task that is cleared while it runs is a retry."""
    store = Store()
    context: Any = {"ti": TaskInstance(), "task_state_store": store}
    log = task(sim.add_connection()).log
    for run in (1, 2):
        kept = retry_store.AirflowRetryStore(context, log, run=run)
        fields = {"connection_id": "c", "job_type": "sync", "written_at": 1.0}
        kept.write(Record(generation=kept.generation, state="started", job_id=run, **fields))
    kept.abandon(cancelled=True)
    first, second = (retry_store.AirflowRetryStore(context, log, run=run).read() for run in (1, 2))
    assert first is None
    assert second is not None
    assert second.abandoned
