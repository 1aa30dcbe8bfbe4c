"""The sensor: the same in poke, reschedule and deferrable mode."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:
    from airflow.exceptions import AirflowRescheduleException

from one_task import Task, TaskInstance, airflow_tells, connection_to, over_in_the_middle_of_a_look

from airbyte_deferrable import sensors
from airbyte_deferrable._compat import AirflowException, AirflowSkipException
from airbyte_deferrable.exceptions import (
    AirbyteCredentialsError,
    AirbyteException,
    AirbyteInputError,
    AirbyteJobCancelled,
    AirbyteJobFailed,
    AirbyteNotVisibleError,
    AirbyteSensorTimeout,
    AirbyteTimeout,
)
from airbyte_deferrable.sensors import AirbyteJobSensor
from airbyte_deferrable.simulator import Fault, Script, Simulator

MODES = ["poke", "reschedule", "deferrable"]
ENDLESS = Script(outcome=None, pending=0.0)
Wait = Callable[..., Any]


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


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("end", "raises"), [("succeeded", None), ("failed", AirbyteJobFailed), ("cancelled", AirbyteJobCancelled)]
)
@pytest.mark.parametrize("soft", [{}, {"soft_fail": True}, {"never_fail": True}], ids=["hard", "soft", "never"])
def test_every_mode_ends_the_same(
    sim: Simulator, sensing: Callable[..., Sensing], mode: str, end: str, raises: Any, soft: dict[str, bool]
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.4, pending=0.0, outcome=end))["id"]
    wait = sensing(str(job_id), mode, **soft)
    if raises is None:
        assert wait.run() == job_id
    else:
        with pytest.raises(AirflowSkipException if soft else raises):
            wait.run()
    assert wait.ti.xcoms["final_status"] == end
    assert wait.ti.xcoms["airbyte_job"]["jobId"] == job_id
    assert "airbyte_job_url" in wait.ti.xcoms


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("soft", [{}, {"soft_fail": True}, {"never_fail": True}], ids=["hard", "soft", "never"])
def test_timeout_is_a_sensors_timeout_and_leaves_the_job(
    sim: Simulator, sensing: Callable[..., Sensing], mode: str, soft: dict[str, bool]
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    # Airflow itself says why it skips.
    told = None if soft else "seen last as 'running'"
    with pytest.raises(AirflowSkipException if soft else AirbyteSensorTimeout, match=told) as over:
        sensing(job_id, mode, timeout=0.5, **soft).run()
    assert sim.job(job_id)["status"] == "running"
    if isinstance(over.value, AirbyteSensorTimeout):
        assert (over.value.job_id, over.value.connection_id) == (job_id, sim.job(job_id)["connectionId"])


@pytest.mark.parametrize("mode", ["reschedule", "deferrable"])
def test_execution_timeout_is_that_of_the_whole_task(
    sim: Simulator, sensing: Callable[..., Sensing], mode: str
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    with pytest.raises(AirbyteTimeout, match=r"execution_timeout \(0.5 s\)"):
        sensing(job_id, mode, execution_timeout=timedelta(seconds=0.5)).run()
    assert sim.job(job_id)["status"] == "running"


@pytest.mark.parametrize("mode", MODES)
def test_an_execution_timeout_of_no_length_is_none_as_to_airflow(
    sim: Simulator, sensing: Callable[..., Sensing], mode: str
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.5, pending=0.0))["id"]
    assert sensing(job_id, mode, execution_timeout=timedelta(0)).run() == job_id


def test_execution_timeout_on_the_worker_names_itself(sim: Simulator, sensing: Callable[..., Sensing]) -> None:
    try:
        from airflow.sdk.execution_time.timeout import timeout
    except ImportError:
        from airflow.utils.timeout import timeout
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    wait = sensing(job_id, "poke", execution_timeout=timedelta(seconds=1))
    with pytest.raises(AirbyteTimeout, match=r"execution_timeout \(1 s\)"), timeout(seconds=1):
        wait.run()


@pytest.mark.parametrize(("end", "raises"), [("succeeded", None), ("failed", AirbyteJobFailed)])
def test_a_job_that_has_ended_when_the_execution_timeout_is_over_is_the_outcome(
    sim: Simulator, sensing: Callable[..., Sensing], end: str, raises: Any
) -> None:
    try:
        from airflow.sdk.execution_time.timeout import timeout
    except ImportError:
        from airflow.utils.timeout import timeout
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=1.0, pending=0.0, outcome=end))["id"]
    wait = sensing(job_id, "poke", poke_interval=60, timeout=600, execution_timeout=timedelta(seconds=3))
    with timeout(seconds=3):
        if raises is None:
            assert wait.run() == job_id
        else:
            with pytest.raises(raises):
                wait.run()


@pytest.mark.parametrize(
    ("soft", "skips"), [(None, False), ("soft_fail", True), ("never_fail", True), ("silent_fail", False)]
)
@pytest.mark.parametrize(("end", "raises"), [("succeeded", None), ("failed", AirbyteJobFailed), (None, AirbyteTimeout)])
def test_an_execution_timeout_in_the_middle_of_a_look_ends_with_the_last_look(
    sim: Simulator, sensing: Callable[..., Sensing], end: str | None, raises: Any, soft: str | None, skips: bool
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    if end is not None:
        sim.finish(job_id, end)
    wait = sensing(job_id, "poke", execution_timeout=timedelta(seconds=60), **({soft: True} if soft else {}))
    with over_in_the_middle_of_a_look(sim):
        if raises is None:
            assert wait.run() == job_id
        else:
            with pytest.raises(AirflowSkipException if skips else raises):
                wait.run()
    assert wait.ti.xcoms.get("final_status") == end


@pytest.mark.parametrize("soft", [{}, {"soft_fail": True}], ids=["hard", "soft"])
@pytest.mark.parametrize(("end", "raises"), [("succeeded", None), ("failed", AirbyteJobFailed), (None, AirbyteTimeout)])
def test_an_execution_timeout_in_the_middle_of_a_resumed_tasks_look_ends_with_the_last_look(
    sim: Simulator, sensing: Callable[..., Sensing], end: str | None, raises: Any, soft: dict[str, bool]
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    if end is not None:
        sim.finish(job_id, end)
    wait = sensing(job_id, "deferrable", execution_timeout=timedelta(seconds=60), **soft)
    event = {"status": "error", "reason": "timeout", "message": "", "job_id": job_id, "try_number": 1}
    with over_in_the_middle_of_a_look(sim):
        if raises is None:
            assert wait.operator().execute_complete(wait.context, event) == job_id
        else:
            with pytest.raises(AirflowSkipException if soft else raises):
                wait.operator().execute_complete(wait.context, event)
    assert wait.ti.xcoms.get("final_status") == end


def test_a_job_that_the_triggers_last_look_did_not_see_end_is_looked_at_on_the_worker(
    sim: Simulator, sensing: Callable[..., Sensing]
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.0, pending=0.0))["id"]
    wait = sensing(job_id, "deferrable")
    event = {"status": "error", "reason": "timeout", "message": "", "job_id": job_id, "try_number": 1}
    assert wait.operator().execute_complete(wait.context, event) == job_id


@pytest.mark.parametrize("mode", MODES)
def test_a_job_that_cannot_be_seen_fails_at_the_second_look(
    sim: Simulator, sensing: Callable[..., Sensing], mode: str
) -> None:
    with pytest.raises(AirbyteNotVisibleError):
        sensing(999, mode).run()
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.2, pending=0.0))["id"]
    sim.add_fault(Fault("get", status=403, times=1))
    assert sensing(job_id, mode).run() == job_id
    with pytest.raises(AirflowSkipException):
        sensing(999, mode, soft_fail=True).run()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", [{"status": 503}, {"kind": "drop"}, {"kind": "garbage"}])
def test_an_airbyte_that_is_away_for_a_while_is_waited_for(
    sim: Simulator, sensing: Callable[..., Sensing], mode: str, fault: dict[str, Any]
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.0, pending=0.0))["id"]
    sim.add_fault(Fault("get", **fault, times=4))
    assert sensing(job_id, mode).run() == job_id


@pytest.mark.parametrize("mode", MODES)
def test_wrong_credentials_are_an_error_at_once(sim: Simulator, sensing: Callable[..., Sensing], mode: str) -> None:
    sim.add_fault(Fault("token", status=401))
    with pytest.raises(AirbyteCredentialsError):
        sensing(1, mode).run()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("status", [400, 401])
def test_what_is_refused_later_is_a_doubt(
    sim: Simulator, sensing: Callable[..., Sensing], mode: str, status: int
) -> None:
    """So an Airbyte answers whose login service restarts, or a gateway before it."""
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=1.0, pending=0.0))["id"]
    wait = sensing(job_id, mode)
    info = wait.log.info

    def trouble(line: str, *args: Any) -> None:
        info(line, *args)
        if "is running" in line % args and not sim.faults():
            sim.add_fault(Fault("get", status=status, times=4))

    wait.log.info = trouble  # type: ignore[method-assign]
    assert wait.run() == job_id


@pytest.mark.parametrize("job_id", ["", "seven", None, "1.5", "1_0", "-7", "٣", True])
@pytest.mark.parametrize("mode", MODES)
def test_a_job_id_that_is_no_number_is_refused(
    sim: Simulator, sensing: Callable[..., Sensing], job_id: Any, mode: str
) -> None:
    with pytest.raises(AirbyteInputError, match="must be the number"):
        sensing(job_id, mode, soft_fail=False).run()
    assert sim.count() == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("span", [None, "60", -5, float("nan")])
def test_a_progress_seconds_that_is_no_span_of_time_is_refused(
    sim: Simulator, sensing: Callable[..., Sensing], mode: str, span: Any
) -> None:
    with pytest.raises(AirbyteInputError, match="progress_seconds must be a number of seconds"):
        sensing(1, mode, progress_seconds=span).run()
    assert sim.count() == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wrong", ["no number", "no Airflow connection", "refused credentials"])
def test_never_fail_skips_for_whatever_would_fail_the_task(
    sim: Simulator, sensing: Callable[..., Sensing], mode: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wrong == "no Airflow connection":
        monkeypatch.delenv("AIRFLOW_CONN_AIRBYTE_DEFAULT")
    if wrong == "refused credentials":
        sim.add_fault(Fault("token", status=401))
    job_id = "seven" if wrong == "no number" else "7"
    with pytest.raises(AirflowSkipException):
        sensing(job_id, mode, never_fail=True).run()
    with pytest.raises((AirflowException, ValueError)) as failed:
        sensing(job_id, mode).run()
    assert not isinstance(failed.value, AirflowSkipException)


def test_never_fail_skips_where_a_deferred_task_cannot_be_resumed(
    sim: Simulator, sensing: Callable[..., Sensing]
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    wait = sensing(job_id, "deferrable", never_fail=True)
    deferred = wait.leave()
    with pytest.raises(AirflowSkipException):
        wait.resume(deferred, None)
    with pytest.raises(AirflowSkipException):
        # What Airflow makes of a trigger that broke.
        wait.operator().resume_execution("__fail__", {"error": "Trigger failure"}, wait.context)


def test_another_tasks_output_is_a_template(sim: Simulator) -> None:
    from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

    try:
        from airflow.sdk import DAG
    except ImportError:
        from airflow import DAG
    with DAG("dag", schedule=None):
        start = AirbyteTriggerSyncOperator(task_id="start", connection_id="c", asynchronous=True)
        wait = AirbyteJobSensor(task_id="wait", airbyte_job_id=start.output)
    assert "airbyte_job_id" in wait.template_fields
    assert wait.upstream_task_ids == {"start"}


def test_deferred_it_has_the_official_sensors_defaults(sim: Simulator, sensing: Callable[..., Sensing]) -> None:
    sensor = AirbyteJobSensor(task_id="wait", airbyte_job_id=1, deferrable=True)
    assert (sensor.poke_interval, sensor.timeout) == (5.0, 7 * 24 * 3600.0)
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    trigger = sensing(job_id, "deferrable", poke_interval=4).leave().trigger
    assert (trigger.poll_interval, trigger.cancel_on_kill) == (4.0, False)


def test_an_event_without_facts_or_of_another_try_makes_it_look_again(
    sim: Simulator, sensing: Callable[..., Sensing]
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    wait = sensing(job_id, "deferrable")
    deferred = wait.leave()
    sim.finish(job_id, "failed")
    with pytest.raises(AirbyteJobFailed):
        wait.resume(deferred, {"status": "success", "message": "", "job_id": job_id})
    with pytest.raises(AirbyteException, match="without a readable event"):
        wait.resume(deferred, None)
    late = {"status": "error", "message": "", "job_id": job_id, "reason": "timeout", "try_number": 9}
    with pytest.raises(AirbyteJobFailed):
        wait.resume(deferred, late)


def test_figures_that_the_triggers_list_leaves_out_are_asked_for(
    sim: Simulator, sensing: Callable[..., Sensing]
) -> None:
    job_id = sim.add_job(cid := sim.add_connection(), script=ENDLESS)["id"]
    wait = sensing(job_id, "deferrable")
    deferred = wait.leave()
    sim.finish(job_id, "succeeded")
    job = {"jobId": job_id, "status": "succeeded", "connectionId": cid}
    assert wait.resume(deferred, {"status": "success", "job_id": job_id, "job": job}) == job_id
    assert wait.ti.xcoms["rows_synced"] == 1000


def test_no_thread_is_left(sim: Simulator, sensing: Callable[..., Sensing]) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.0, pending=0.0))["id"]
    sensing(job_id, "poke").run()
    for thread in threading.enumerate():
        if thread.name == "airbyte":
            thread.join(5)
            assert not thread.is_alive()
