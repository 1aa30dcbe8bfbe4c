"""A user who clears a task wants it done again: its old job is cancelled and seen to end, then it has a new one."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from airbyte_deferrable import hooks
from airbyte_deferrable._airflow import retry_store, started_job, task_instance
from airbyte_deferrable._compat import AirflowSkipException
from airbyte_deferrable._job import earlier
from airbyte_deferrable.exceptions import AirbyteConflictError, AirbyteJobFailed, AirbyteTimeout
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Fault, Simulator
from helpers.airbyte import ENDLESS, QUICK, hits
from helpers.one_task import (
    Make,
    Task,
    TaskDeferred,
    Variables,
    WithoutStore,
    airflow_takes_down,
    killed_when,
    when_said,
)
from helpers.waiting import Clock, meanwhile

IF_RUNNING = ["wait", "skip", "fail", "attach"]
#: A connection and what else the task has, or has by now.
Again = Callable[..., Task]


class Killed(BaseException):
    """As by kill -9: nothing of the process runs any more."""


@pytest.fixture(autouse=True)
def quick_to_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a trigger less time to cancel the old job, and Airbyte to do it."""
    monkeypatch.setattr("airbyte_deferrable._sync_task.TRIGGER_CANCELS_WITHIN", 0.5)
    monkeypatch.setattr(earlier, "CANCEL_WITHIN", 1.0)
    monkeypatch.setattr(hooks, "CANCEL_WITHIN", 0.3)


@pytest.fixture(params=["task state store", "variables"])
def again(request: pytest.FixtureRequest, task: Make, monkeypatch: pytest.MonkeyPatch) -> Again:
    """Return a maker of one task that has retries, over and over, with what it has by then; for both stores."""
    first = task("")
    first.ti.max_tries = first.ti.retries = 3
    variables = Variables()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)

    def make(connection_id: str, way: str = "deferred", **parameters: Any) -> Task:
        arguments = {"wait_seconds": 0.1, "task_id": "sync", "deferrable": way == "deferred", **parameters}
        in_variables = request.param == "variables"
        kept: Any = variables if in_variables else first.store
        return (WithoutStore if in_variables else Task)(
            lambda: AirbyteTriggerSyncOperator(connection_id=connection_id, **arguments), ti=first.ti, store=kept
        )

    return make


def statuses(sim: Simulator, connection_id: str) -> list[str]:
    return [job["status"] for job in sim.jobs(connection_id)]


# A clear, or a retry?


@pytest.mark.parametrize(("before", "after"), [(1, 0), (3, 2)])
def test_clear_that_leaves_max_tries_alike_runs_the_task_again(
    sim: Simulator, again: Again, before: int, after: int
) -> None:
    """The user has lowered ``retries`` by as many as were used."""
    sync = again(cid := sim.add_connection(script=ENDLESS))
    sync.ti.max_tries = sync.ti.retries = before
    old = sync.leave().trigger.job_id
    sim.finish(old, "succeeded")
    sync.clear(retries=after)
    assert sync.ti.max_tries == before
    assert again(cid).leave().trigger.job_id == sim.jobs(cid)[1]["id"]


def test_clear_of_a_sibling_is_none_of_the_task(sim: Simulator, again: Again) -> None:
    sync = again(cid := sim.add_connection(script=ENDLESS))
    old = sync.leave().trigger.job_id
    sync.ti.clear_number += 1
    sync.next_try()
    assert again(cid).leave().trigger.job_id == old


def test_clear_that_leaves_max_tries_alike_runs_the_task_again_also_where_the_dag_had_changed_before(
    sim: Simulator, again: Again
) -> None:
    """The run was made with three ``retries``, and the task began when there were two."""
    sync = again(cid := sim.add_connection(script=ENDLESS))
    sync.ti.retries = 2
    sim.finish(sync.leave().trigger.job_id, "succeeded")
    sync.clear()
    assert sync.ti.max_tries == 3
    assert again(cid).leave().trigger.job_id == sim.jobs(cid)[1]["id"]


@pytest.mark.parametrize("retries", [1, 0])
def test_clear_of_a_sibling_is_none_of_the_task_also_with_fewer_retries(
    sim: Simulator, again: Again, retries: int
) -> None:
    """A clear of the task itself would have left another ``max_tries``: 1 + ``retries``, and not 3."""
    sync = again(cid := sim.add_connection(script=ENDLESS))
    old = sync.leave().trigger.job_id
    sync.ti.clear_number += 1
    sync.ti.retries = retries
    sync.next_try()
    assert again(cid).leave().trigger.job_id == old
    assert sim.count("cancel") == 0


def test_retry_with_fewer_retries_is_one_where_airflow_counts_no_clear(
    sim: Simulator, again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_instance, "COUNTS_CLEARS", True)
    sync = again(cid := sim.add_connection(script=ENDLESS))
    old = sync.leave().trigger.job_id
    sync.next_try()
    sync.ti.retries = 2
    assert again(cid).leave().trigger.job_id == old


@pytest.mark.parametrize("counts", [True, False])
def test_clear_that_is_not_certain_has_the_old_job_waited_for_and_not_cancelled(
    sim: Simulator, again: Again, monkeypatch: pytest.MonkeyPatch, counts: bool
) -> None:
    """``retries`` is lower by as many as were used, and the task may have been cleared, or another one of the run.

    Airflow before 3.2 counts no clear of a run that goes on.
    """
    monkeypatch.setattr(task_instance, "COUNTS_CLEARS", counts)
    sync = again(cid := sim.add_connection(script=ENDLESS), if_running="skip")
    old = sync.leave().trigger.job_id
    sync.next_try()
    sync.ti.retries = 2
    sync.ti.clear_number += counts
    assert again(cid, if_running="skip").leave().method_name == "execute_queued"
    assert sim.count("cancel") == 0
    sim.finish(old, "succeeded")
    sync.next_try()
    assert again(cid).leave().trigger.job_id == sim.jobs(cid)[1]["id"]


def test_retry_with_fewer_retries_than_before_but_not_by_as_many_as_it_used_is_a_retry(
    sim: Simulator, again: Again
) -> None:
    sync = again(cid := sim.add_connection(script=ENDLESS))
    sync.next_try()
    old = again(cid).leave().trigger.job_id
    sync.ti.retries = 2
    sync.next_try()
    assert again(cid).leave().trigger.job_id == old


# The old job


@pytest.mark.parametrize("if_running", IF_RUNNING)
@pytest.mark.parametrize("way", ["worker", "deferred"])
def test_clear_while_nothing_of_the_task_runs_cancels_the_old_job(
    sim: Simulator, again: Again, way: str, if_running: str
) -> None:
    """Up for retry, queued, between event and resumption; and before its trigger has begun."""
    sync = again(cid := sim.add_connection(script=ENDLESS))
    sync.leave()
    sync.clear()
    sim.script(cid, QUICK)
    after = again(cid, way, if_running=if_running)
    assert after.run() == sim.jobs(cid)[1]["id"]
    assert statuses(sim, cid) == ["cancelled", "succeeded"]


def test_clear_leaves_the_old_job_to_its_trigger_for_a_while(sim: Simulator, again: Again) -> None:
    """Airflow starts the next try before it tells the old trigger; two cancellations could hit the new job."""
    sync = again(cid := sim.add_connection(script=ENDLESS))
    old = sync.leave().trigger.job_id
    sync.clear()
    after = again(cid)
    when_said(after.log, "is to end first", lambda: sim.finish(old, "cancelled"))
    assert after.leave().trigger.job_id == sim.jobs(cid)[1]["id"]
    assert sim.count("cancel") == 0


@pytest.mark.parametrize("if_running", IF_RUNNING)
def test_clear_with_an_old_job_that_does_not_end_waits_for_it(sim: Simulator, again: Again, if_running: str) -> None:
    """Also when it is cleared once more, or its worker dies, at this meeting."""
    sync = again(cid := sim.add_connection(script=ENDLESS), if_running=if_running)
    old = sync.leave().trigger.job_id
    fault = sim.add_fault(Fault("cancel", status=500))
    for ends in (sync.clear, sync.next_try, sync.clear, sync.next_try):
        ends()
        assert again(cid, if_running=if_running).leave().method_name == "execute_queued"
    sim.clear_faults(fault)
    sim.finish(old, "cancelled")
    sync.next_try()
    assert again(cid, if_running=if_running).leave().trigger.job_id == sim.jobs(cid)[1]["id"]


def test_clear_of_a_task_that_has_another_connection_by_now_cancels_the_old_job(sim: Simulator, again: Again) -> None:
    old, new = (sim.add_connection(script=ENDLESS) for _ in range(2))
    sync = again(old)
    sync.leave()
    sync.clear()
    assert again(new).leave().trigger.job_id == sim.jobs(new)[0]["id"]
    assert statuses(sim, old) == ["cancelled"]


def test_clear_in_the_second_run_of_a_task_cancels_its_job(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Twice(AirbyteTriggerSyncOperator):
        def execute(self, context: Any) -> Any:
            return [super().execute(context), super().execute(context)]

    cid = sim.add_connection(script=QUICK)
    both = task(cid, "worker", Twice, if_running="skip")
    when_said(both.log, "Submitted job 2", lambda: (_ for _ in ()).throw(Killed))
    when_said(both.log, "Submitted job 1", lambda: sim.script(cid, ENDLESS))
    with pytest.raises(Killed):
        both.run()
    both.clear()
    sim.script(cid, QUICK)
    again = task(cid, "worker", Twice, if_running="skip")
    again.store = both.store
    assert again.run() == [3, 4]
    assert statuses(sim, cid) == ["succeeded", "cancelled", "succeeded", "succeeded"]


@pytest.mark.parametrize("if_running", IF_RUNNING)
def test_clear_without_cancel_on_kill_meets_the_old_job_as_any_other(
    sim: Simulator, again: Again, if_running: str
) -> None:
    sync = again(cid := sim.add_connection(script=ENDLESS), cancel_on_kill=False)
    old = sync.leave().trigger.job_id
    sync.clear()
    after = again(cid, cancel_on_kill=False, if_running=if_running)
    meets(after, old, if_running)
    assert sim.count("cancel") == 0


@pytest.mark.parametrize("if_running", IF_RUNNING)
@pytest.mark.parametrize("left_by", ["asynchronous", "timeout"])
def test_clear_meets_a_job_that_the_task_had_left_as_anybodys(
    sim: Simulator, again: Again, clock: Clock, if_running: str, left_by: str
) -> None:
    sync = again(
        cid := sim.add_connection(script=ENDLESS), "worker", asynchronous=left_by == "asynchronous", timeout=60
    )
    if left_by == "asynchronous":
        sync.run()
    else:
        with meanwhile(lambda: sim.count("get"), clock.jump), pytest.raises(AirbyteTimeout):
            sync.run()
    old = sim.jobs(cid)[0]["id"]
    sync.clear()
    meets(again(cid, if_running=if_running), old, if_running)
    assert sim.count("cancel") == 0


@pytest.mark.parametrize("live", [True, False])
def test_clear_without_cancel_on_kill_leaves_no_variable_of_a_task_that_is_skipped_then(
    sim: Simulator, again: Again, live: bool
) -> None:
    sync = again(cid := sim.add_connection(script=ENDLESS), cancel_on_kill=False)
    old = sync.leave().trigger.job_id
    sync.clear()
    if not live:
        sim.finish(old, "succeeded")
        sim.add_job(cid, script=ENDLESS)
    after = again(cid, cancel_on_kill=False, if_running="skip")
    with pytest.raises(AirflowSkipException):
        after.run()
    airflow_takes_down(after.ti, "skipped")
    assert len(after.store) == (not isinstance(after, WithoutStore) and live)


def meets(sync: Task, other: int, if_running: str) -> None:
    """See a task do with a job what ``if_running`` says."""
    if if_running == "attach":
        assert sync.leave().trigger.job_id == other
    elif if_running == "wait":
        assert sync.leave().method_name == "execute_queued"
    else:
        with pytest.raises(AirflowSkipException if if_running == "skip" else AirbyteConflictError):
            sync.run()


# A kill by a clear, while the task runs


@pytest.mark.parametrize("if_running", IF_RUNNING)
def test_clear_of_a_running_task_lets_the_next_try_cancel_what_the_kill_could_not(
    sim: Simulator, again: Again, clock: Clock, if_running: str
) -> None:
    """Airflow may leave max_tries alone then."""
    sync = again(cid := sim.add_connection(script=ENDLESS), "worker", timeout=600)
    fault = sim.add_fault(Fault("cancel", status=500))
    operator = sync.operator()
    with (
        killed_when(lambda: sim.count("get"), sync, operator, state="restarting", then=clock.jump),
        pytest.raises(AirbyteTimeout),
    ):
        operator.execute(sync.context)
    sim.clear_faults(fault)
    sync.next_try()
    assert again(cid, if_running=if_running).leave().trigger.job_id == sim.jobs(cid)[1]["id"]
    assert statuses(sim, cid) == ["cancelled", "running"]


@pytest.mark.parametrize("if_running", IF_RUNNING)
def test_clear_while_airbyte_takes_long_to_make_the_job_lets_the_next_try_find_it(
    sim: Simulator, again: Again, monkeypatch: pytest.MonkeyPatch, if_running: str
) -> None:
    """Airflow 3 ends the process 5 s after it has told it to stop. What is only found may be another's."""
    monkeypatch.setattr(started_job, "NAMED_WITHIN", 0.1)
    sync = again(cid := sim.add_connection(script=ENDLESS), "worker")
    creates = sim.add_fault(Fault("create", "lost_answer", seconds=60.0))
    operator = sync.operator()
    with pytest.raises(Killed), killed_when(lambda: hits(sim, creates), sync, operator, state="restarting", then=die):
        operator.execute(sync.context)
    [record] = sync.store.values()
    assert (record["abandoned"], record["after"], record["job_id"]) == (True, 0, None)
    sim.clear_faults(creates)
    sync.next_try()
    assert again(cid, if_running=if_running).leave().method_name == "execute_queued"
    assert statuses(sim, cid) == ["running"]
    sim.finish(sim.jobs(cid)[0]["id"], "succeeded")
    sync.next_try()
    assert again(cid, if_running=if_running).leave().trigger.job_id == sim.jobs(cid)[1]["id"]


@pytest.mark.parametrize("state", ["failed", "restarting"])
def test_kill_of_a_running_task_whose_job_is_seen_to_end_leaves_nothing_to_clean_up(
    sim: Simulator, again: Again, state: str
) -> None:
    sync = again(sim.add_connection(script=ENDLESS), "worker")
    operator = sync.operator()
    with pytest.raises(Killed), killed_when(lambda: sim.count("get"), sync, operator, state=state, then=die):
        operator.execute(sync.context)
    left = [record["abandoned"] for record in sync.store.values()]
    assert left == ([] if isinstance(sync, WithoutStore) else [True])


def die() -> None:
    raise Killed


# A last try


@pytest.mark.parametrize("fails", ["name", "input", "connection"])
def test_last_try_that_fails_before_it_looks_for_its_job_leaves_no_variable(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    variables: Any = Variables()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)
    ti = task("").ti
    ti.max_tries = 1

    def sync(**parameters: Any) -> Task:
        arguments = {"task_id": "sync", "deferrable": True, "connection_id": cid, **parameters}
        return WithoutStore(lambda: AirbyteTriggerSyncOperator(**arguments), ti=ti)

    cid = sim.add_connection(script=ENDLESS)
    first = sync()
    first.leave()
    assert variables
    first.next_try()
    wrong = {
        "name": {"connection_id": "", "connection_name": "nobody's"},
        "input": {"if_running": "whatever"},
        "connection": {"airbyte_conn_id": "nowhere"},
    }
    with pytest.raises(Exception, match=r"nobody's|whatever|nowhere"):
        sync(**wrong[fails]).run()
    assert not variables


# What is not certain


@pytest.mark.parametrize("how", ["killed", "cleared"])
def test_job_that_is_only_found_is_waited_for_and_never_cancelled(sim: Simulator, again: Again, how: str) -> None:
    """Somebody else may have started it, in the very moments of the lost request."""
    sync = again(cid := sim.add_connection(script=ENDLESS), "worker" if how == "killed" else "deferred")
    sim.add_fault(Fault("create", "drop", times=1))
    when_said(sync.log, "Airbyte's answer is lost", lambda: sim.add_job(cid, script=ENDLESS))
    operator = sync.operator()
    if how == "killed":
        with killed_when(lambda: sim.count("get"), sync, operator, then=lambda: sim.finish(1, "succeeded")):
            operator.execute(sync.context)
    else:
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(sync.context)
        assert not deferred.value.trigger.cancel_on_kill
        sync.clear()
        assert again(cid, if_running="skip").leave().method_name == "execute_queued"
    assert sim.count("cancel") == 0


def test_job_that_was_there_before_the_task_asked_is_never_cancelled(sim: Simulator, again: Again) -> None:
    """Where jobs cannot be listed, its age tells."""
    cid = sim.add_connection(script=ENDLESS)
    old = sim.add_job(cid, script=ENDLESS, created_ago=600.0)
    sim.add_fault(Fault("create", status=200, body=answer_about(old)))
    sim.add_fault(Fault("list", status=403))
    sync = again(cid, "worker")
    operator = sync.operator()
    with killed_when(lambda: sim.count("get"), sync, operator, then=lambda: sim.finish(old["id"], "succeeded")):
        assert operator.execute(sync.context) == old["id"]
    assert sim.count("cancel") == 0


@pytest.mark.parametrize("how", ["killed", "cleared"])
def test_job_that_airbyte_had_listed_before_it_answers_with_it_is_never_cancelled(
    sim: Simulator, again: Again, how: str
) -> None:
    """It had ended when the task asked for its jobs, and runs again when that asks for one."""
    cid = sim.add_connection(script=ENDLESS)
    old = sim.add_job(cid, script=ENDLESS)
    sim.finish(old["id"], "failed")
    running = answer_about({**old, "status": "running"})
    sim.add_fault(Fault("create", status=200, body=running))
    gets = sim.add_fault(Fault("get", status=200, body=running))
    sync = again(cid, "worker" if how == "killed" else "deferred")
    operator = sync.operator()
    if how == "killed":
        with (
            pytest.raises(AirbyteJobFailed),
            killed_when(lambda: hits(sim, gets), sync, operator, then=lambda: sim.clear_faults(gets)),
        ):
            operator.execute(sync.context)
    else:
        trigger = sync.leave().trigger
        assert (trigger.job_id, trigger.cancel_on_kill) == (old["id"], False)
        sync.clear()
        assert again(cid, if_running="skip").leave().method_name == "execute_queued"
    assert sim.count("cancel") == 0


def answer_about(job: dict[str, Any]) -> str:
    """Return what Airbyte answers a create with that has made this job."""
    made_at = datetime.fromtimestamp(job["createdAt"], timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps(
        {**{key: job[key] for key in ("status", "jobType", "connectionId")}, "jobId": job["id"], "startTime": made_at}
    )
