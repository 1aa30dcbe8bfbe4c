"""Airflow's own parameters of sensors, in every way that a DAG sets them, and in every mode."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

try:
    from airflow.sdk import DAG, TaskGroup
except ImportError:
    from airflow import DAG
    from airflow.utils.task_group import TaskGroup
try:
    from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred
except ImportError:
    from airflow.exceptions import AirflowRescheduleException, TaskDeferred

from one_task import Task, TaskInstance, airflow_tells, connection_to

from airbyte_deferrable import links, sensors
from airbyte_deferrable._airflow import base_trigger, job_report
from airbyte_deferrable._compat import AirflowSkipException, BaseSensorOperator, PokeReturnValue
from airbyte_deferrable.exceptions import AirbyteJobFailed, AirbyteSensorTimeout, AirbyteTimeout
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.sensors import AirbyteJobSensor
from airbyte_deferrable.simulator import Fault, Script, Simulator

MODES = ["poke", "reschedule", "deferrable"]
ENDLESS = Script(outcome=None, pending=0.0)
DAY = 24 * 3600.0


class Sensing(Task):
    """A sensor; a rescheduled one is started again at once."""

    def run(self) -> Any:
        while True:
            try:
                return super().run()
            except AirflowRescheduleException:
                self.ti.first_rescheduled = self.ti.first_rescheduled or datetime.now(timezone.utc)
                self.ti.xcoms.clear()


@pytest.fixture
def sim(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    monkeypatch.setattr(sensors, "CONFIRM_NOT_FOUND_AFTER", 0.05)
    return airbyte_simulator


@pytest.fixture
def sensing(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Sensing]]:
    ti = TaskInstance()

    def make(job_id: Any, mode: str, **parameters: Any) -> Sensing:
        arguments: dict[str, Any] = {"task_id": "wait", "poke_interval": 0.1, "timeout": 30, **parameters}
        arguments |= {"deferrable": True} if mode == "deferrable" else {"mode": mode}
        return Sensing(lambda: AirbyteJobSensor(airbyte_job_id=job_id, **arguments), ti=ti)

    with airflow_tells(monkeypatch, ti):
        yield make


# What nobody has set


def by_argument(kind: type, given: dict[str, Any], **needs: Any) -> Any:
    with DAG("dag", schedule=None):
        return kind(task_id="task", **needs, **given)


def by_dag(kind: type, given: dict[str, Any], **needs: Any) -> Any:
    with DAG("dag", schedule=None, default_args=given):
        return kind(task_id="task", **needs)


def by_group(kind: type, given: dict[str, Any], **needs: Any) -> Any:
    with DAG("dag", schedule=None), TaskGroup("group", default_args=given):
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
    with DAG("dag", schedule=None), TaskGroup("group", default_args=given):
        return mapped(kind, {}, needs)


def by_expand(kind: type, given: dict[str, Any], **needs: Any) -> Any:
    with DAG("dag", schedule=None):
        return mapped(kind, given, needs)


WAYS = [by_argument, by_dag, by_group, by_own_default_args, by_partial, by_dag_mapped, by_group_mapped, by_expand]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("given", "has"),
    [
        ({"poke_interval": 60, "timeout": 1800}, (60.0, 1800.0)),
        ({"poke_interval": timedelta(minutes=1), "timeout": timedelta(hours=1)}, (60.0, 3600.0)),
        ({"poke_interval": 0, "timeout": 0}, (0.0, 0.0)),
    ],
    ids=["seconds", "timedelta", "zero"],
)
def test_what_a_dag_sets_counts_for_a_deferrable_sensor(
    way: Callable[..., Any], given: dict[str, Any], has: tuple[float, float]
) -> None:
    sensor = way(AirbyteJobSensor, {"deferrable": True, **given}, airbyte_job_id=1)
    assert (sensor.deferrable, sensor.poke_interval, sensor.timeout) == (True, *has)


@pytest.mark.parametrize("way", WAYS)
def test_what_a_dag_sets_counts_for_the_operator(way: Callable[..., Any]) -> None:
    given = {"deferrable": True, "timeout": 1800, "wait_seconds": 20, "progress_seconds": 0}
    operator = way(AirbyteTriggerSyncOperator, given, connection_id="c")
    assert {name: getattr(operator, name) for name in given} == given


@pytest.mark.parametrize("way", [each for each in WAYS if each is not by_own_default_args])
@pytest.mark.parametrize(("deferrable", "interval"), [(True, 5.0), (False, 60.0)])
def test_what_nobody_sets_is_ours(way: Callable[..., Any], deferrable: bool, interval: float) -> None:
    sensor = way(AirbyteJobSensor, {"deferrable": deferrable}, airbyte_job_id=1)
    assert (sensor.poke_interval, sensor.timeout) == (interval, 7 * DAY)


@pytest.mark.parametrize("deferrable", [True, False])
def test_airflows_own_configuration_counts(monkeypatch: pytest.MonkeyPatch, deferrable: bool) -> None:
    monkeypatch.setenv("AIRFLOW__SENSORS__DEFAULT_TIMEOUT", "1234")
    if inspect.signature(BaseSensorOperator.__init__).parameters["timeout"].default is not None:
        pytest.skip("this Airflow reads it when it is imported")
    sensor = AirbyteJobSensor(task_id="wait", airbyte_job_id=1, deferrable=deferrable)
    assert sensor.timeout == 1234.0


def test_a_deferrable_that_airflow_is_configured_to_has_what_a_dag_sets() -> None:
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
        timeout=120,
    )
    assert told.stdout.splitlines()[-1] == "[(True, 60.0, 1800.0), (True, 5.0, 604800.0)]"


def test_a_subclasss_own_defaults_count() -> None:
    class Patient(AirbyteJobSensor):
        def __init__(self, *, poke_interval: float = 30, timeout: float = 3600, **kwargs: Any) -> None:
            super().__init__(poke_interval=poke_interval, timeout=timeout, **kwargs)

    patient = Patient(task_id="wait", airbyte_job_id=1, deferrable=True)
    assert (patient.poke_interval, patient.timeout) == (30.0, 3600.0)
    with DAG("dag", schedule=None, default_args={"poke_interval": 9}):
        assert Patient(task_id="wait", airbyte_job_id=1, deferrable=True).poke_interval == 9.0


# Each of them in each mode


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("span", [0, 0.0, timedelta(0)])
def test_a_timeout_of_no_length_is_one_look(
    sim: Simulator, sensing: Callable[..., Sensing], mode: str, span: Any
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    with pytest.raises(AirbyteSensorTimeout, match=r"timeout \(0 s\)"):
        sensing(job_id, mode, timeout=span).run()
    sim.finish(job_id, "succeeded")
    assert sensing(job_id, mode, timeout=span).run() == job_id


@pytest.mark.parametrize("mode", MODES)
def test_spans_may_be_timedeltas(sim: Simulator, sensing: Callable[..., Sensing], mode: str) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.4, pending=0.0))["id"]
    spans = {
        "poke_interval": timedelta(seconds=0.1),
        "timeout": timedelta(seconds=30),
        "max_wait": timedelta(seconds=1),
    }
    assert sensing(job_id, mode, **spans).run() == job_id


@pytest.mark.parametrize("mode", MODES)
def test_an_interval_of_no_length_waits_all_the_same(
    sim: Simulator, sensing: Callable[..., Sensing], mode: str
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.5, pending=0.0))["id"]
    assert sensing(job_id, mode, poke_interval=0).run() == job_id


@pytest.mark.parametrize("mode", MODES)
def test_a_backoff_is_kept_within_max_wait(sim: Simulator, sensing: Callable[..., Sensing], mode: str) -> None:
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
def test_a_sensor_of_one_mode_is_deferred_in_every_mode(
    sim: Simulator, sensing: Callable[..., Sensing], deferrable: bool
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    wait = sensing(job_id, "reschedule", deferrable=deferrable)
    with pytest.raises(TaskDeferred if deferrable else AirflowRescheduleException):
        wait.operator().execute(wait.context)
    sim.finish(job_id, "succeeded")
    assert wait.run() == job_id


@pytest.mark.parametrize("mode", MODES)
def test_a_sensor_that_fails_silently_looks_until_its_timeout(
    sim: Simulator, sensing: Callable[..., Sensing], mode: str
) -> None:
    """Of a look that fails, Airflow says. Deferred, there are none."""
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.0, pending=0.0, outcome="failed"))["id"]
    with pytest.raises(AirbyteJobFailed if mode == "deferrable" else AirbyteSensorTimeout):
        sensing(job_id, mode, silent_fail=True, timeout=0.3).run()


# XComs


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("end", ["succeeded", "failed"])
def test_without_do_xcom_push_there_is_no_xcom(
    sim: Simulator, sensing: Callable[..., Sensing], monkeypatch: pytest.MonkeyPatch, mode: str, end: str
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


def test_without_do_xcom_push_airflow_writes_no_link(sim: Simulator, sensing: Callable[..., Sensing]) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.0, pending=0.0))["id"]
    sensor = sensing(job_id, "poke", do_xcom_push=False).operator()
    sensor.execute({})
    left = [link for link in sensor.operator_extra_links if isinstance(link, links.AirbyteJobLink)]
    assert bool(left) != links.AIRFLOW_3


# Called by hand, and by subclasses


@pytest.mark.parametrize("context", [{}, None], ids=["empty", "none"])
@pytest.mark.parametrize("mode", MODES)
def test_a_look_by_hand(sim: Simulator, sensing: Callable[..., Sensing], mode: str, context: Any) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    sensor = sensing(job_id, mode, execution_timeout=timedelta(seconds=60)).operator()
    assert sensor.poke(context) is False
    sim.add_fault(Fault("get", status=503, times=1))
    assert sensor.poke(context) is False
    sim.finish(job_id, "succeeded")
    assert sensor.poke(context) is True
    failed = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    sim.finish(failed, "failed")
    with pytest.raises(AirbyteJobFailed):
        sensing(failed, mode).operator().poke(context)


@pytest.mark.parametrize("context", [{}, None], ids=["empty", "none"])
@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_execute_by_hand(sim: Simulator, sensing: Callable[..., Sensing], mode: str, context: Any) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    wait = sensing(job_id, mode, timeout=0.3)
    if mode == "deferrable":
        with pytest.raises(TaskDeferred) as deferred:
            wait.operator().execute(context)
        assert deferred.value.trigger.try_number is None
    else:
        with pytest.raises(AirbyteSensorTimeout):
            wait.operator().execute(context)
    sim.finish(job_id, "succeeded")
    assert wait.operator().execute(context) == job_id


@pytest.mark.parametrize("context", [{}, None], ids=["empty", "none"])
def test_execute_complete_by_hand(sim: Simulator, sensing: Callable[..., Sensing], context: Any) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.0, pending=0.0))["id"]
    wait = sensing(job_id, "deferrable")
    event = {"status": "success", "message": "", "job_id": job_id}
    assert wait.operator().execute_complete(context, event) == job_id
    assert wait.operator().execute_complete(context, {**event, "try_number": 3, "job_url": "http://x"}) == job_id
    sim.add_fault(Fault("get", status=503))
    late = {"status": "error", "reason": "timeout", "message": "", "job_id": job_id, "try_number": 3}
    with pytest.raises(AirbyteSensorTimeout):
        wait.operator().execute_complete(context, late)


class Counting(AirbyteJobSensor):
    """As users of the official sensor write them."""

    looks: list[Any] = []
    brings: Any = None

    def poke(self, context: Any) -> Any:
        self.looks.append(done := super().poke(context))
        return PokeReturnValue(done, self.brings) if self.brings is not None else done


@pytest.mark.parametrize("brings", [None, {"rows": 3}])
@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_a_subclass_is_given_a_bool_and_the_task_its_value(
    sim: Simulator, sensing: Callable[..., Sensing], mode: str, brings: Any
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.3, pending=0.0))["id"]
    kind = type("Kind", (Counting,), {"looks": [], "brings": brings})
    wait = sensing(job_id, mode)
    wait._make = lambda: kind(task_id="wait", airbyte_job_id=job_id, mode=mode, poke_interval=0.1, timeout=30)
    assert wait.run() == (job_id if brings is None else brings)
    assert kind.looks[-1] is True
    assert set(kind.looks[:-1]) <= {False}


# The official trigger's word that time is up


OFFICIAL_TIMEOUTS = {
    "timeout": {"status": "error", "message": "Job run 7 has not reached a terminal status after 1.5 seconds."},
    "execution_timeout": {"status": "timeout", "message": "Job run 7 has reached execution timeout."},
}


@pytest.mark.parametrize("soft", [{}, {"soft_fail": True}], ids=["hard", "soft"])
@pytest.mark.parametrize(
    ("clock", "raises"), [("timeout", AirbyteSensorTimeout), ("execution_timeout", AirbyteTimeout)]
)
@pytest.mark.parametrize("end", [None, "succeeded", "failed"])
def test_a_wait_that_is_over_for_the_official_trigger_is_over(
    sim: Simulator,
    sensing: Callable[..., Sensing],
    clock: str,
    raises: type[Exception],
    end: str | None,
    soft: dict[str, bool],
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    if end is not None:
        sim.finish(job_id, end)
    event = {**OFFICIAL_TIMEOUTS[clock], "job_id": job_id}
    wait = sensing(job_id, "deferrable", **soft)
    sensor = wait.operator()
    if end == "succeeded":
        assert sensor.execute_complete(wait.context, event) == job_id
        return
    raises = AirflowSkipException if soft else AirbyteJobFailed if end == "failed" else raises
    with pytest.raises(raises) as over:
        sensor.execute_complete(wait.context, event)
    if end is None:
        assert clock in str(over.value)
        assert sim.job(job_id)["status"] == "running"
