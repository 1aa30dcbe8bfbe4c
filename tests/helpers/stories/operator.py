"""The operator's stories, as the official documentation describes it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airbyte_deferrable._compat import AirflowTaskTimeout
from airbyte_deferrable.simulator import Fault, Script
from helpers.compat import TaskDeferred
from helpers.stories.stage import CONNECTION, Seen, Stage, Story, differs, parameters, returns


def ended(way: str, status: str) -> Story:
    def story(stage: Stage) -> Seen:
        if way == "deferred":
            make = lambda: stage.operator(deferrable=True)  # noqa: E731
            return stage.seen(lambda: stage.run(make, lambda: stage.sim.finish(1, status)))
        stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0, outcome=status))
        return stage.seen(lambda: stage.run(stage.operator))

    story.__name__ = f"an_operator_{way}_whose_job_{status}"
    return story


differs(xcoms="O2")(ended("on_the_worker", "succeeded"))
differs(xcoms="O2", value="O1")(ended("deferred", "succeeded"))
for how in ("on_the_worker", "deferred"):
    for status in ("failed", "cancelled"):
        differs(xcoms="O2", raises="O18", message="O19")(ended(how, status))


@differs()
def asynchronous(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.run(lambda: stage.operator(asynchronous=True)))


@differs()
def asynchronous_beats_deferrable(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.run(lambda: stage.operator(asynchronous=True, deferrable=True)))


@differs(interval="O3")
def a_deferred_interval(stage: Stage) -> Seen:
    with pytest.raises(TaskDeferred) as deferred:
        stage.operator(deferrable=True, wait_seconds=7).execute(stage.context)
    return {"interval": deferred.value.trigger.poll_interval, "method": deferred.value.method_name}


@differs(wait_seconds="O4", new="O25", templated="O24", execute="O28", execute_complete="O28")
def the_operators_face(stage: Stage) -> Seen:
    face = parameters(stage.operator_class)
    given = ["connection_id", "airbyte_conn_id", "asynchronous", "deferrable", "api_version", "wait_seconds", "timeout"]
    defaults = {name: face[name].default for name in given if name != "connection_id"}
    return {
        **defaults,
        "new": set(face) - set(given),
        "order": [name for name in face if name in given],
        "templated": stage.operator_class.template_fields,
        "color": stage.operator_class.ui_color,
        **returns(stage.operator_class, "execute", "execute_complete"),
    }


@differs(deferred="O4")
def what_an_operator_has_by_default(stage: Stage) -> Seen:
    ways = {"on the worker": False, "deferred": True}
    made = {
        way: stage.operator_class(task_id="sync", connection_id=CONNECTION, deferrable=deferrable)
        for way, deferrable in ways.items()
    }
    return {way: operator.wait_seconds for way, operator in made.items()} | {
        "timeouts": [operator.timeout for operator in made.values()]
    }


@differs(end="O29", raises="O29", message="O29")
def a_timeout_as_a_timedelta(stage: Stage) -> Seen:
    make = lambda: stage.operator(deferrable=True, timeout=timedelta(hours=1), do_xcom_push=False)  # noqa: E731
    seen = stage.seen(lambda: make().execute(stage.context))
    return {name: seen[name] for name in ("end", "raises", "message", "jobs")}


@differs(raises="O30", message="O30")
def a_connection_that_is_inactive(stage: Stage) -> Seen:
    stage.sim.set_connection_status(CONNECTION, "inactive")
    return stage.seen(lambda: stage.run(stage.operator))


@differs(links="O26")
def the_operators_button(stage: Stage) -> Seen:
    return {"links": [type(link).__name__ for link in stage.operator_class.operator_extra_links]}


@differs(jobs="O5", raises="O18", message="O19")
def a_timeout_on_the_worker(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.run(lambda: stage.operator(timeout=3)))


@differs(raises="O18", message="O19", xcoms="O2")
def a_timeout_deferred(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.run(lambda: stage.operator(deferrable=True), end_time=1.0))


@differs(end="O6", raises="O6", message="O6", value="O1", xcoms="O2")
def a_timeout_of_nought_deferred(stage: Stage) -> Seen:
    make = lambda: stage.operator(timeout=0, deferrable=True)  # noqa: E731
    return stage.seen(lambda: stage.run(make, lambda: stage.sim.finish(1, "succeeded")))


@differs(xcoms="O2")
def a_timeout_of_nought_on_the_worker(stage: Stage) -> Seen:
    stage.sim.script(CONNECTION, Script(duration=0.5, pending=0.0))
    return stage.seen(lambda: stage.run(lambda: stage.operator(timeout=0)))


@differs(end="O15", raises="O15", message="O15", value="O1", xcoms="O2")
def a_job_that_ends_as_the_timeout_does(stage: Stage) -> Seen:
    make = lambda: stage.operator(deferrable=True)  # noqa: E731
    return stage.seen(lambda: stage.run(make, lambda: stage.sim.finish(1, "succeeded"), end_time=1.0))


@differs(raises="O18", message="O19", xcoms="O2")
def an_execution_timeout_deferred(stage: Stage) -> Seen:
    make = lambda: stage.operator(deferrable=True, execution_timeout=timedelta(hours=1))  # noqa: E731
    return stage.seen(lambda: stage.run(make, lambda: stage.sim.advance(1), execution_deadline=1.0))


@differs(raises="O20", message="O20")
def an_execution_timeout_on_the_worker(stage: Stage) -> Seen:
    def run() -> Any:
        operator = stage.operator(execution_timeout=timedelta(minutes=10))
        try:
            with stage.clock():
                return operator.execute(stage.context)
        except AirflowTaskTimeout:
            # As Airflow does.
            operator.on_kill()
            raise

    seen = stage.seen(run)
    # A job that is cancelled before it runs may be seen to end, or not.
    return {name: seen[name] for name in ("end", "raises", "message", "jobs")}


def stopped(state: str) -> Story:
    def story(stage: Stage) -> Seen:
        operator = stage.operator(asynchronous=True)
        operator.execute(stage.context)
        stage.sim.advance(2)
        stage.ti.state = state
        return stage.seen(operator.on_kill)

    story.__name__ = f"a_worker_is_told_to_stop_a_task_that_is_{state}"
    return story


differs()(stopped("failed"))
differs(jobs="O8")(stopped("running"))


@differs(jobs="O9")
def a_job_that_has_ended_is_cancelled(stage: Stage) -> Seen:
    over = stage.job("succeeded")
    stage.job()
    stage.hook().cancel_job(over)
    return {"jobs": [job["status"] for job in stage.sim.jobs()]}


@differs(end="O10", raises="O10", message="O10", xcoms="O2")
def a_retry_while_the_job_runs(stage: Stage) -> Seen:
    with pytest.raises(TaskDeferred):
        stage.operator(deferrable=True).execute(stage.context)
    stage.sim.advance(2)
    stage.ti.try_number += 1
    stage.ti.xcoms.clear()
    return stage.seen(lambda: stage.operator(deferrable=True).execute(stage.context))


@differs(end="O11", raises="O11", message="O11", value="O11", jobs="O11", xcoms="O11")
def a_busy_connection(stage: Stage) -> Seen:
    other = stage.job()
    stage.sim.advance(1)
    stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0))
    with stage.ending_when_looked_at(other):
        return stage.seen(lambda: stage.run(stage.operator))


@differs(end="O12", raises="O12", message="O12", value="O12", xcoms="O12", jobs="O12")
def the_answer_to_create_is_lost(stage: Stage) -> Seen:
    stage.sim.add_fault(Fault("create", "lost_answer", times=1))
    with stage.ending_when_looked_at():
        return stage.seen(lambda: stage.run(stage.operator))


@differs(end="O13", raises="O13", message="O13", value="O13", xcoms="O2")
def a_look_that_fails_deferred(stage: Stage) -> Seen:
    def meanwhile() -> None:
        stage.sim.finish(1, "succeeded")
        for call in ("get", "list"):
            stage.sim.add_fault(Fault(call, times=1))

    return stage.seen(lambda: stage.run(lambda: stage.operator(deferrable=True), meanwhile))


@differs(xcoms="O2")
def a_look_that_fails_on_the_worker(stage: Stage) -> Seen:
    stage.sim.script(CONNECTION, Script(duration=0.3, pending=0.0))
    for call in ("get", "list"):
        stage.sim.add_fault(Fault(call, times=2))
    return stage.seen(lambda: stage.run(stage.operator))


@differs(raises="O14", message="O14", jobs="O14")
def a_job_that_cannot_be_seen_on_the_worker(stage: Stage) -> Seen:
    for call in ("get", "list"):
        stage.sim.add_fault(Fault(call, status=403))
    return stage.seen(lambda: stage.run(lambda: stage.operator(timeout=3)))


@differs(asked="O16", xcoms="O2", raises="O18", message="O19")
def calls_to_airbyte(stage: Stage) -> Seen:
    stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0, outcome="failed"))
    return stage.seen(lambda: stage.run(stage.operator), "asked")


@differs(end="O17", raises="O17", message="O17", xcoms="O2")
def a_status_of_the_future(stage: Stage) -> Seen:
    stage.sim.script(CONNECTION, Script(statuses=[(0.0, "resting")]))
    return stage.seen(lambda: stage.operator(deferrable=True).execute(stage.context))


@differs(loads="O21", raises="O21")
def an_operator_without_a_connection_id(stage: Stage) -> Seen:
    try:
        operator = stage.operator_class(task_id="sync")
    except Exception:
        return {"loads": False, "raises": None}
    return {"loads": True, "raises": stage.seen(lambda: operator.execute(stage.context))["raises"]}


@differs(raises="O18", message="O19", asked="O21")
def a_connection_id_that_is_none(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.run(lambda: stage.operator(connection_id="orders")), "asked")


@differs(asked="O23")
def an_api_version(stage: Stage) -> Seen:
    stage.connect(host=stage.sim.url.removesuffix("/api/public/v1"), login=None, password=None)
    stage.seen(lambda: stage.hook(api_version="v7").get_job_status(1))
    return {"asked": {"v7" in path for _, _, path, _ in stage.sim.requests}}


@differs(xcoms="O2")
def a_list_that_cannot_be_had(stage: Stage) -> Seen:
    stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0))
    stage.sim.add_fault(Fault("list", status=500))
    return stage.seen(lambda: stage.run(stage.operator))
