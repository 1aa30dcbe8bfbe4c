"""The sensor's parameters, and Airflow's own ones of sensors, in every way that a DAG sets them, and in every mode."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airbyte_deferrable import links
from airbyte_deferrable._airflow import base_trigger, job_report
from airbyte_deferrable._compat import BaseSensorOperator
from airbyte_deferrable.exceptions import (
    AirbyteInputError,
    AirbyteJobFailed,
    AirbyteSensorTimeout,
)
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.sensors import AirbyteJobSensor
from airbyte_deferrable.simulator import Script, Simulator
from harness.waiting import IN_VAIN
from helpers.airbyte import AT_ONCE, ENDLESS
from helpers.compat import DAG, AirflowRescheduleException, TaskDeferred, TaskGroup
from helpers.one_task import MODES, Sense, TaskInstance


@pytest.mark.parametrize("job_id", ["", "seven", None, "1.5", "1_0", "-7", "٣", True])
@pytest.mark.parametrize("mode", MODES)
def test_job_id_that_is_no_number_is_refused(sim: Simulator, sensing: Sense, job_id: Any, mode: str) -> None:
    with pytest.raises(AirbyteInputError, match="must be the number"):
        sensing(job_id, mode, soft_fail=False).run()
    assert sim.count() == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("span", [None, "60", -5, float("nan")])
def test_progress_seconds_that_are_no_span_of_time_are_refused(
    sim: Simulator, sensing: Sense, mode: str, span: Any
) -> None:
    with pytest.raises(AirbyteInputError, match="progress_seconds must be a number of seconds"):
        sensing(1, mode, progress_seconds=span).run()
    assert sim.count() == 0


def test_job_id_is_a_template(sim: Simulator) -> None:
    from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

    try:
        from airflow.sdk import DAG
    except ImportError:
        from airflow import DAG
    with DAG("dag", schedule=None):
        start = AirbyteTriggerSyncOperator(task_id="start", connection_id="c", asynchronous=True)
        wait = AirbyteJobSensor(task_id="wait", airbyte_job_id=start.output)  # type: ignore[arg-type]
    assert "airbyte_job_id" in wait.template_fields
    assert wait.upstream_task_ids == {"start"}


def test_defaults_of_a_deferrable_sensor_are_the_official_ones(sim: Simulator, sensing: Sense) -> None:
    sensor = AirbyteJobSensor(task_id="wait", airbyte_job_id=1, deferrable=True)
    assert (sensor.poke_interval, sensor.timeout) == (5.0, 7 * 24 * 3600.0)
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    trigger = sensing(job_id, "deferrable", poke_interval=4).leave().trigger
    assert (trigger.poll_interval, trigger.cancel_on_kill) == (4.0, False)


DAY = 24 * 3600.0


def by_argument(kind: type, given: dict[str, Any], **needs: Any) -> Any:
    with DAG("dag", schedule=None):
        return kind(task_id="task", **needs, **given)


def by_dag(kind: type, given: dict[str, Any], **needs: Any) -> Any:
    with DAG("dag", schedule=None, default_args=given):
        return kind(task_id="task", **needs)


def by_group(kind: type, given: dict[str, Any], **needs: Any) -> Any:
    with DAG("dag", schedule=None), TaskGroup("group", default_args=given):  # type: ignore[arg-type]
        return kind(task_id="task", **needs)


def by_own_default_args(kind: type, given: dict[str, Any], **needs: Any) -> Any:
    with DAG("dag", schedule=None, default_args={"poke_interval": 7, "timeout": 7}):
        return kind(task_id="task", default_args=given, **needs)


def mapped(kind: Any, given: dict[str, Any], needs: dict[str, Any], **partial: Any) -> Any:
    (name, value), *rest = needs.items()
    expanded = kind.partial(task_id="task", **partial, **dict(rest)).expand(**{name: [value]})
    return expanded.unmap({**given, name: value})


def by_partial(kind: type, given: dict[str, Any], **needs: Any) -> Any:
    with DAG("dag", schedule=None):
        return mapped(kind, {}, needs, **given)


def by_dag_mapped(kind: type, given: dict[str, Any], **needs: Any) -> Any:
    with DAG("dag", schedule=None, default_args=given):
        return mapped(kind, {}, needs)


def by_group_mapped(kind: type, given: dict[str, Any], **needs: Any) -> Any:
    with DAG("dag", schedule=None), TaskGroup("group", default_args=given):  # type: ignore[arg-type]
        return mapped(kind, {}, needs)


def by_expand(kind: type, given: dict[str, Any], **needs: Any) -> Any:
    with DAG("dag", schedule=None):
        return mapped(kind, given, needs)


SETTINGS = [by_argument, by_dag, by_group, by_own_default_args, by_partial, by_dag_mapped, by_group_mapped, by_expand]


@pytest.mark.parametrize("way", SETTINGS)
@pytest.mark.parametrize(
    ("given", "has"),
    [
        ({"poke_interval": 60, "timeout": 1800}, (60.0, 1800.0)),
        ({"poke_interval": timedelta(minutes=1), "timeout": timedelta(hours=1)}, (60.0, 3600.0)),
        ({"poke_interval": 0, "timeout": 0}, (0.0, 0.0)),
    ],
    ids=["seconds", "timedelta", "zero"],
)
def test_parameters_that_a_dag_sets_count_for_a_deferrable_sensor(
    way: Callable[..., Any], given: dict[str, Any], has: tuple[float, float]
) -> None:
    sensor = way(AirbyteJobSensor, {"deferrable": True, **given}, airbyte_job_id=1)
    assert (sensor.deferrable, sensor.poke_interval, sensor.timeout) == (True, *has)


@pytest.mark.parametrize("way", SETTINGS)
def test_parameters_that_a_dag_sets_count_for_the_operator(way: Callable[..., Any]) -> None:
    given = {"deferrable": True, "timeout": 1800, "wait_seconds": 20, "progress_seconds": 0}
    operator = way(AirbyteTriggerSyncOperator, given, connection_id="c")
    assert {name: getattr(operator, name) for name in given} == given


@pytest.mark.parametrize("way", [each for each in SETTINGS if each is not by_own_default_args])
@pytest.mark.parametrize(("deferrable", "interval"), [(True, 5.0), (False, 60.0)])
def test_parameters_that_nobody_sets_have_our_defaults(
    way: Callable[..., Any], deferrable: bool, interval: float
) -> None:
    sensor = way(AirbyteJobSensor, {"deferrable": deferrable}, airbyte_job_id=1)
    assert (sensor.poke_interval, sensor.timeout) == (interval, 7 * DAY)


@pytest.mark.parametrize("deferrable", [True, False])
def test_parameters_are_those_of_airflows_configuration(monkeypatch: pytest.MonkeyPatch, deferrable: bool) -> None:
    monkeypatch.setenv("AIRFLOW__SENSORS__DEFAULT_TIMEOUT", "1234")
    if inspect.signature(BaseSensorOperator.__init__).parameters["timeout"].default is not None:
        pytest.skip("this Airflow reads it when it is imported")
    sensor = AirbyteJobSensor(task_id="wait", airbyte_job_id=1, deferrable=deferrable)
    assert sensor.timeout == 1234.0


def test_parameters_that_a_dag_sets_count_where_airflow_is_configured_to_defer() -> None:
    """Airflow's classes read it when they are imported."""
    code = (
        "from airbyte_deferrable.sensors import AirbyteJobSensor as Sensor\n"
        "given = Sensor(task_id='a', airbyte_job_id=1, default_args={'poke_interval': 60, 'timeout': 1800})\n"
        "plain = Sensor(task_id='b', airbyte_job_id=1)\n"
        "print([(each.deferrable, each.poke_interval, each.timeout) for each in (given, plain)])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True"},
        check=True,
        capture_output=True,
        text=True,
        timeout=IN_VAIN,
    )
    assert told.stdout.splitlines()[-1] == "[(True, 60.0, 1800.0), (True, 5.0, 604800.0)]"


def test_parameters_have_a_subclasss_own_defaults() -> None:
    class Patient(AirbyteJobSensor):
        def __init__(self, *, poke_interval: float = 30, timeout: float = 3600, **kwargs: Any) -> None:
            super().__init__(poke_interval=poke_interval, timeout=timeout, **kwargs)

    patient = Patient(task_id="wait", airbyte_job_id=1, deferrable=True)
    assert (patient.poke_interval, patient.timeout) == (30.0, 3600.0)
    with DAG("dag", schedule=None, default_args={"poke_interval": 9}):
        assert Patient(task_id="wait", airbyte_job_id=1, deferrable=True).poke_interval == 9.0


@pytest.mark.parametrize("mode", MODES)
def test_spans_may_be_timedeltas(sim: Simulator, sensing: Sense, mode: str) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.4, pending=0.0))["id"]
    spans = {
        "poke_interval": timedelta(seconds=0.1),
        "timeout": timedelta(seconds=30),
        "max_wait": timedelta(seconds=1),
    }
    assert sensing(job_id, mode, **spans).run() == job_id


@pytest.mark.parametrize("mode", MODES)
def test_interval_of_no_length_waits_all_the_same(sim: Simulator, sensing: Sense, mode: str) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.5, pending=0.0))["id"]
    assert sensing(job_id, mode, poke_interval=0).run() == job_id


@pytest.mark.parametrize("mode", MODES)
def test_backoff_is_kept_within_max_wait(sim: Simulator, sensing: Sense, mode: str) -> None:
    """Deferred, the looks are not the task's own: they stay at poke_interval."""
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    wait = sensing(job_id, mode, exponential_backoff=True, max_wait=0.2)
    if mode == "deferrable":
        assert wait.leave().trigger.poll_interval == 0.1
        return
    sensor = wait.operator()
    assert sensor._get_next_poke_interval(datetime.now(timezone.utc), lambda: 1.0, 9) == 0.2
    sim.finish(job_id, "succeeded")
    assert wait.run() == job_id


@pytest.mark.parametrize("deferrable", [True, False])
def test_mode_does_not_matter_to_a_deferrable_sensor(sim: Simulator, sensing: Sense, deferrable: bool) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    wait = sensing(job_id, "reschedule", deferrable=deferrable)
    with pytest.raises(TaskDeferred if deferrable else AirflowRescheduleException):
        wait.operator().execute(wait.context)
    sim.finish(job_id, "succeeded")
    assert wait.run() == job_id


@pytest.mark.parametrize("mode", MODES)
def test_silent_fail_checks_until_the_timeout(sim: Simulator, sensing: Sense, mode: str) -> None:
    """Of a look that fails, Airflow says. Deferred, there are none."""
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.0, pending=0.0, outcome="failed"))["id"]
    with pytest.raises(AirbyteJobFailed if mode == "deferrable" else AirbyteSensorTimeout):
        sensing(job_id, mode, silent_fail=True, timeout=0.3).run()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", ["succeeded", "failed"])
def test_xcoms_are_not_there_without_do_xcom_push(
    sim: Simulator, sensing: Sense, monkeypatch: pytest.MonkeyPatch, mode: str, end: str
) -> None:
    pushed: list[str] = []
    monkeypatch.setattr(TaskInstance, "xcom_push", lambda _, key, value: pushed.append(key))
    written: list[str] = []
    monkeypatch.setattr(job_report, "write_xcoms", lambda _, values: written.extend(values))
    # So that the trigger has somebody to write for.
    monkeypatch.setattr(base_trigger, "HOLD_EVENTS", 0.0)
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.5, pending=0.0, outcome=end))["id"]
    for wanted in (False, True):
        wait = sensing(job_id, mode, do_xcom_push=wanted)
        try:
            assert wait.run() == job_id
        except AirbyteJobFailed:
            assert end == "failed"
        assert any("See it in Airbyte" in line for line in wait.lines), "the log is none"
        assert bool(pushed + written) == wanted
        assert all(not event.get("job_url") for event in wait.events if not wanted)


def test_xcoms_without_do_xcom_push_hold_no_link(sim: Simulator, sensing: Sense) -> None:
    job_id = sim.add_job(sim.add_connection(), script=AT_ONCE)["id"]
    sensor = sensing(job_id, "poke", do_xcom_push=False).operator()
    sensor.execute({})
    left = [link for link in sensor.operator_extra_links if isinstance(link, links.AirbyteJobLink)]
    assert bool(left) != links.AIRFLOW_3
