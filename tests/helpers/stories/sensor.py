"""The sensor's stories."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airbyte_deferrable.simulator import Fault
from helpers.compat import TaskDeferred
from helpers.stories.stage import Seen, Stage, Story, differs, parameters, returns
from helpers.stories.subclass import told_of_success


def sensed(way: str, status: str) -> Story:
    def story(stage: Stage) -> Seen:
        stage.job()
        if way == "deferred":
            make = lambda: stage.sensor(deferrable=True)  # noqa: E731
            return stage.seen(lambda: stage.run(make, lambda: stage.sim.finish(1, status)))
        stage.sim.finish(1, status)
        return stage.seen(lambda: stage.run(lambda: stage.sensor(mode=way)))

    story.__name__ = f"a_sensor_{way}_whose_job_{status}"
    return story


for way in ("poke", "reschedule", "deferred"):
    differs(xcoms="S2", value="S1")(sensed(way, "succeeded"))
    for status in ("failed", "cancelled"):
        differs(xcoms="S2", raises="S3", message="S4")(sensed(way, status))


@differs()
def a_sensor_that_is_rescheduled(stage: Stage) -> Seen:
    stage.job()
    return stage.seen(lambda: stage.run(lambda: stage.sensor(mode="reschedule")))


@differs(interval="S6")
def a_sensors_deferred_interval(stage: Stage) -> Seen:
    stage.job()
    with pytest.raises(TaskDeferred) as deferred:
        stage.sensor(deferrable=True, poke_interval=7).execute(stage.context)
    return {"interval": deferred.value.trigger.poll_interval, "method": deferred.value.method_name}


@differs(new="S17", execute_complete="S18", links="S5")
def the_sensors_face(stage: Stage) -> Seen:
    face = parameters(stage.sensor_class)
    given = ["airbyte_job_id", "deferrable", "airbyte_conn_id", "api_version"]
    return {
        **{name: face[name].default for name in given},
        "new": set(face) - set(given),
        "templated": stage.sensor_class.template_fields,
        "color": stage.sensor_class.ui_color,
        "links": [type(link).__name__ for link in stage.sensor_class.operator_extra_links],
        **returns(stage.sensor_class, "poke", "execute", "execute_complete"),
    }


@differs()
def what_a_deferrable_sensor_has_by_default(stage: Stage) -> Seen:
    sensor = stage.sensor_class(task_id="wait", airbyte_job_id=1, deferrable=True)
    return {"poke_interval": sensor.poke_interval, "timeout": sensor.timeout}


def softly(soft: str, way: str, status: str | None) -> Story:
    def story(stage: Stage) -> Seen:
        stage.job()
        given: dict[str, Any] = {soft: True, "timeout": 0.1}
        if way == "deferred":
            make = lambda: stage.sensor(deferrable=True, **given)  # noqa: E731
            return stage.seen(lambda: stage.run(make, lambda: status and stage.sim.finish(1, status)))
        if status:
            stage.sim.finish(1, status)
        return stage.seen(lambda: stage.run(lambda: stage.sensor(**given)))

    story.__name__ = f"a_sensor_{way}_with_{soft}_whose_job_{status or 'goes_on'}"
    return story


differs(end="S7", raises="S7", message="S7", xcoms="S2")(softly("soft_fail", "poke", "failed"))
differs(end="S7", raises="S7", message="S7", xcoms="S2")(softly("soft_fail", "poke", "cancelled"))
differs()(softly("soft_fail", "poke", None))
differs(xcoms="S2")(softly("never_fail", "poke", "failed"))
differs(end="S8", raises="S8", message="S8")(softly("never_fail", "poke", None))
differs(raises="S3", message="S4", xcoms="S2")(softly("silent_fail", "poke", "failed"))
for soft in ("soft_fail", "never_fail"):
    differs(end="S9", raises="S9", message="S9", xcoms="S2")(softly(soft, "deferred", "failed"))


@differs(raises="S10", message="S4")
def a_sensors_timeout_deferred(stage: Stage) -> Seen:
    stage.job()
    return stage.seen(lambda: stage.run(lambda: stage.sensor(deferrable=True), end_time=1.0))


@differs(raises="S3", message="S4")
def a_sensors_timeout_on_the_worker(stage: Stage) -> Seen:
    stage.job()
    return stage.seen(lambda: stage.run(lambda: stage.sensor(timeout=0.2)))


@differs(raises="S3", message="S4")
def a_sensors_timeout_of_nought(stage: Stage) -> Seen:
    stage.job()
    return stage.seen(lambda: stage.run(lambda: stage.sensor(timeout=0)))


@differs(by_airflow="S11", by_trigger="S11")
def a_sensors_execution_timeout_deferred(stage: Stage) -> Seen:
    stage.job()
    with pytest.raises(TaskDeferred) as deferred:
        stage.sensor(deferrable=True, execution_timeout=timedelta(hours=1)).execute(stage.context)
    trigger = deferred.value.trigger
    return {"by_airflow": deferred.value.timeout, "by_trigger": trigger.execution_deadline is not None}


@differs(raises="S12", message="S12")
def a_sensors_execution_timeout_on_the_worker(stage: Stage) -> Seen:
    stage.job()

    def run() -> Any:
        with stage.clock():
            return stage.sensor(execution_timeout=timedelta(minutes=10)).execute(stage.context)

    return stage.seen(run)


def sensed_future(way: str) -> Story:
    def story(stage: Stage) -> Seen:
        stage.job(statuses=[(0.0, "resting")])
        with stage.ending_when_looked_at():
            return stage.seen(lambda: stage.run(lambda: stage.sensor(deferrable=way == "deferred")))

    story.__name__ = f"a_sensors_status_of_the_future_{way}"
    return story


for way in ("poke", "deferred"):
    differs(end="S14", raises="S14", message="S14", jobs="S14", value="S1", xcoms="S2")(sensed_future(way))


@differs(end="S15", raises="S15", message="S15", value="S1", xcoms="S2")
def a_sensors_look_that_fails(stage: Stage) -> Seen:
    stage.job("succeeded")
    stage.sim.add_fault(Fault("get", times=1))
    return stage.seen(lambda: stage.run(stage.sensor))


@differs(end="S16", raises="S16", message="S16", value="S1", xcoms="S2")
def a_sensors_job_that_ends_as_the_timeout_does(stage: Stage) -> Seen:
    stage.job()
    make = lambda: stage.sensor(deferrable=True)  # noqa: E731
    return stage.seen(lambda: stage.run(make, lambda: stage.sim.finish(1, "succeeded"), end_time=1.0))


@differs(value="S1", xcoms="S2")
def a_job_id_as_text(stage: Stage) -> Seen:
    stage.job("succeeded")
    return stage.seen(lambda: stage.run(lambda: stage.sensor(airbyte_job_id="1")))


@differs(raises="S19", message="S19")
def a_job_id_that_is_no_number_deferred(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.run(lambda: stage.sensor(airbyte_job_id="one", deferrable=True)), "asked")


@differs(raises="S19", message="S19")
def a_job_id_that_is_no_number(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.run(lambda: stage.sensor(airbyte_job_id="one")), "asked")


@differs()
def a_look_by_hand(stage: Stage) -> Seen:
    stage.job()
    sensor = stage.sensor()
    looks = [sensor.poke({})]
    stage.sim.finish(1, "succeeded")
    return {"looks": [*looks, sensor.poke({})]}


@differs(value="S1")
def a_sensor_by_hand(stage: Stage) -> Seen:
    stage.context = {}
    stage.job("succeeded")
    return stage.seen(lambda: stage.run(stage.sensor))


@differs(value="S1")
def a_sensor_by_hand_deferred(stage: Stage) -> Seen:
    stage.context = {}
    stage.job()
    make = lambda: stage.sensor(deferrable=True)  # noqa: E731
    return stage.seen(lambda: stage.run(make, lambda: stage.sim.finish(1, "succeeded")))


@differs(value="S1")
def a_sensor_without_xcoms(stage: Stage) -> Seen:
    stage.job("succeeded")
    return {**stage.seen(lambda: stage.run(lambda: stage.sensor(do_xcom_push=False))), "left": stage.ti.xcoms}


@differs(value="S1", xcoms="S2")
def a_subclass_that_looks_at_what_poke_returns(stage: Stage) -> Seen:
    looks: list[Any] = []

    class Counts(stage.sensor_class):
        def poke(self, context: Any) -> Any:
            looks.append(super().poke(context))
            return looks[-1]

    stage.job("succeeded")
    return {**stage.seen(lambda: stage.run(lambda: stage.sensor(Counts))), "looks": looks}


@differs(end="S20", raises="S20", message="S20", value="S1")
def a_sensor_is_told_of_success_that_is_none(stage: Stage) -> Seen:
    stage.job("failed")
    sensor, event = stage.sensor(deferrable=True), {"status": "success", "message": "", "job_id": 1}
    seen = stage.seen(lambda: sensor.execute_complete({}, event))
    again = stage.sensor(deferrable=True, airbyte_job_id=2)
    return {**seen, "value": stage.seen(lambda: told_of_success(stage, again))["value"]}


def told_by_hand(event: dict[str, Any], name: str) -> Story:
    def story(stage: Stage) -> Seen:
        stage.job()
        sensor = stage.sensor(deferrable=True)
        return stage.seen(lambda: sensor.execute_complete({}, {"job_id": 1, **event}))

    story.__name__ = f"a_sensor_is_told_of_{name}"
    return story


differs(raises="S10", message="S4")(
    told_by_hand({"status": "error", "message": "Job run 1 has not reached a terminal status after 1 seconds."}, "time")
)
differs(raises="S3", message="S4")(
    told_by_hand({"status": "timeout", "message": "Job run 1 has reached execution timeout."}, "execution_timeout")
)
