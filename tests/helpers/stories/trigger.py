"""The trigger's stories."""

from __future__ import annotations

from typing import Any

from airbyte_deferrable.simulator import Fault
from helpers.one_task import first_event, run_in_loop, stored
from helpers.stories.stage import Seen, Stage, Story, differs, parameters


def told(stage: Stage, kind: Any = None, **arguments: Any) -> dict[str, Any]:
    given = {"job_id": 1, "conn_id": "airbyte_default", "end_time": 2e9, "poll_interval": 0.1, **arguments}
    event = run_in_loop(first_event(stored((kind or stage.trigger_class)(**given))))
    return {"keys": set(event), **{key: event[key] for key in ("status", "message", "job_id")}}


def event_of(status: str) -> Story:
    def story(stage: Stage) -> Seen:
        stage.job(status)
        return told(stage)

    story.__name__ = f"the_event_of_a_job_that_{status}"
    return story


for status in ("succeeded", "failed", "cancelled"):
    differs(keys="T1")(event_of(status))


def event_in_time(clock: str, *, over: bool) -> Story:
    def story(stage: Stage) -> Seen:
        stage.job("succeeded" if over else None)
        return told(stage, **{clock: 1.0})

    story.__name__ = f"the_event_when_{clock}_is_over_{'and_the_job_too' if over else ''}"
    return story


for clock in ("end_time", "execution_deadline"):
    differs(keys="T1", message="T2")(event_in_time(clock, over=False))
    differs(keys="T1", message="T6", status="T6")(event_in_time(clock, over=True))


@differs(keys="T1", status="T5", message="T5")
def an_exception_while_a_trigger_waits(stage: Stage) -> Seen:
    stage.job("succeeded")
    for call in ("get", "list"):
        stage.sim.add_fault(Fault(call, times=1))
    return told(stage)


@differs(keys="T1", status="T7", message="T7")
def a_triggers_status_of_the_future(stage: Stage) -> Seen:
    stage.job(statuses=[(0.0, "resting")])
    with stage.ending_when_looked_at():
        return told(stage)


@differs(keys="T1", status="T8", message="T8")
def a_trigger_without_an_end(stage: Stage) -> Seen:
    stage.job("succeeded")
    return told(stage, end_time=None)


@differs(new="T3", path="T4", arguments="T3")
def the_triggers_face(stage: Stage) -> Seen:
    face = parameters(stage.trigger_class)
    given = ["job_id", "conn_id", "end_time", "poll_interval", "execution_deadline"]
    path, arguments = stage.trigger_class(1, "c", 2.0, 3.0).serialize()
    return {
        **{name: face[name].default for name in given},
        "new": set(face) - set(given),
        "order": list(face)[: len(given)],
        "path": path,
        "arguments": set(arguments),
        "official arguments": {name: arguments[name] for name in given},
    }


@differs(path="T4")
def a_trigger_subclass_with_the_official_arguments(stage: Stage) -> Seen:
    class Mine(stage.trigger_class):
        def __init__(
            self,
            job_id: int,
            conn_id: str,
            end_time: float,
            poll_interval: float,
            execution_deadline: float | None = None,
        ):
            super().__init__(job_id, conn_id, end_time, poll_interval, execution_deadline)

    path, arguments = Mine(1, "c", 2.0, 3.0).serialize()
    again = Mine(**arguments)
    return {"path": path, "arguments": arguments, "again": again.serialize()[1]}


@differs()
def a_trigger_is_asked_whether_its_job_runs(stage: Stage) -> Seen:
    stage.job()
    trigger = stage.trigger_class(1, "airbyte_default", 2e9, 0.1)
    running = run_in_loop(trigger.is_still_running(stage.hook()))
    stage.sim.finish(1, "succeeded")
    return {"then": running, "now": run_in_loop(trigger.is_still_running(stage.hook()))}
