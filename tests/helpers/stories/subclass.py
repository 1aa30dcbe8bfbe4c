"""Stories of those who subclass the operator and those who test it."""

from __future__ import annotations

from typing import Any

import pytest

from airbyte_deferrable.simulator import Script
from helpers.compat import TaskDeferred
from helpers.stories.stage import CONNECTION, Seen, Stage, differs


@differs()
def an_operator_by_hand(stage: Stage) -> Seen:
    stage.context = {}
    stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0))
    return stage.seen(lambda: stage.run(stage.operator))


@differs(value="O1")
def an_operator_by_hand_deferred(stage: Stage) -> Seen:
    stage.context = {}
    make = lambda: stage.operator(deferrable=True)  # noqa: E731
    return stage.seen(lambda: stage.run(make, lambda: stage.sim.finish(1, "succeeded")))


@differs()
def an_operator_without_xcoms(stage: Stage) -> Seen:
    stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0))
    return {**stage.seen(lambda: stage.run(lambda: stage.operator(do_xcom_push=False))), "left": stage.ti.xcoms}


@differs(before="O31", kill="O31")
def the_job_id(stage: Stage) -> Seen:
    operator = stage.operator(asynchronous=True)
    before, kill = hasattr(operator, "job_id"), stage.seen(operator.on_kill)["raises"]
    operator.execute(stage.context)
    return {"before": before, "kill": kill, "after": operator.job_id}


@differs(end="O32", raises="O32", message="O32", value="O1")
def an_operator_is_told_of_success_that_is_none(stage: Stage) -> Seen:
    stage.job("failed")
    operator, event = stage.operator(deferrable=True), {"status": "success", "message": "", "job_id": 1}
    seen = stage.seen(lambda: operator.execute_complete({}, event))
    return {**seen, "value": stage.seen(lambda: told_of_success(stage, operator))["value"]}


def told_of_success(stage: Stage, told: Any) -> Any:
    done = stage.job("succeeded")
    return told.execute_complete({}, {"status": "success", "message": "", "job_id": done})


@differs(xcoms="O2")
def two_runs_within_one_task(stage: Stage) -> Seen:
    kind = stage.operator_class

    class Twice(kind):
        def execute(self, context: Any) -> Any:
            return [super().execute(context), super().execute(context)]

    stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0))
    return stage.seen(lambda: stage.run(lambda: stage.operator(Twice)))


@differs()
def official_code_in_a_subclass(stage: Stage) -> Seen:
    """The official ``execute``, as it was copied to be changed."""

    class Copied(stage.operator_class):
        def execute(self, context: Any) -> Any:
            hook = stage.hook(airbyte_conn_id=self.airbyte_conn_id, api_version=self.api_version)
            self.job_id = hook.submit_sync_connection(connection_id=self.connection_id).job_id
            hook.wait_for_job(job_id=self.job_id, wait_seconds=self.wait_seconds / 10, timeout=self.timeout)
            return self.job_id

    stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0))
    return stage.seen(lambda: Copied(task_id="sync", connection_id=CONNECTION).execute(stage.context))


def resetting(stage: Stage) -> Any:
    class Resets(stage.operator_class):
        def execute(self, context: Any) -> Any:
            self.job_id = stage.hook().submit_reset_connection(self.connection_id).job_id
            stage.sim.advance(2)
            self.defer(
                trigger=stage.trigger_class(
                    job_id=self.job_id,
                    conn_id=self.airbyte_conn_id,
                    end_time=2e9,
                    poll_interval=0.1,
                    execution_deadline=1.0,
                ),
                method_name="execute_complete",
            )

    return Resets


@differs()
def a_kill_of_a_subclass_that_started_the_job(stage: Stage) -> Seen:
    operator = stage.operator(resetting(stage))
    with pytest.raises(TaskDeferred):
        operator.execute(stage.context)
    stage.ti.state = "failed"
    return stage.seen(operator.on_kill)


@differs(raises="O18", message="O19")
def an_execution_deadline_of_a_subclass_that_started_the_job(stage: Stage) -> Seen:
    kind = resetting(stage)
    return stage.seen(lambda: stage.run(lambda: stage.operator(kind)))
