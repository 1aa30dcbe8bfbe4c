"""A subclass of the sensor names its own methods and attributes as it likes, as one of the official provider's does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.providers.airbyte.sensors.airbyte import AirbyteJobSensor as OfficialSensor

from airbyte_deferrable._compat import BaseSensorOperator
from airbyte_deferrable._job import retrying
from airbyte_deferrable.exceptions import (
    AirbyteJobCancelled,
    AirbyteJobFailed,
    AirbyteNotVisibleError,
    AirbyteSensorTimeout,
)
from airbyte_deferrable.sensors import AirbyteFreshnessSensor, AirbyteJobSensor
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import ENDLESS, connection_to
from helpers.freshness import MOMENT, ended
from helpers.one_task import Sensing, Task, TaskInstance, airflow_tells
from helpers.subclass_names import MINE, assert_untouched, free_names, names_to_take, with_attributes, with_methods

MODES = ["poke", "reschedule", "deferrable"]
NAMES = free_names(OfficialSensor, BaseSensorOperator)
SUBCLASSES = {"methods": with_methods(AirbyteJobSensor, NAMES), "attributes": with_attributes(AirbyteJobSensor, NAMES)}
Wait = Callable[..., Task]


class Used(Sensing):
    """A sensor with a subclass's names; the one of the last leg is kept."""

    def operator(self) -> Any:
        self.used = super().operator()
        return self.used


@pytest.fixture
def sim(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    monkeypatch.setattr(retrying, "CONFIRM_NOT_FOUND_AFTER", 0.05)
    return airbyte_simulator


@pytest.fixture(params=SUBCLASSES)
def wait(request: pytest.FixtureRequest, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wait]:
    """Return a maker of sensors, and check afterwards that they have what is theirs."""
    ti, made = TaskInstance(), []

    def make(job_id: Any, mode: str, **parameters: Any) -> Used:
        arguments: dict[str, Any] = {"task_id": "wait", "poke_interval": 0.1, "timeout": 30, **parameters}
        arguments |= {"deferrable": True} if mode == "deferrable" else {"mode": mode}
        made.append(Used(lambda: SUBCLASSES[request.param](airbyte_job_id=job_id, **arguments), ti=ti))
        return made[-1]

    with airflow_tells(monkeypatch, ti):
        yield make
    if request.param == "attributes":
        for each in made:
            assert_untouched(each.used, NAMES)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("end", "raises"), [("succeeded", None), ("failed", AirbyteJobFailed), ("cancelled", AirbyteJobCancelled)]
)
def test_job_that_ends_ends_it_the_same(sim: Simulator, wait: Wait, mode: str, end: str, raises: Any) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.4, pending=0.0, outcome=end))["id"]
    sensing = wait(str(job_id), mode)
    if raises is None:
        assert sensing.run() == job_id
    else:
        with pytest.raises(raises):
            sensing.run()
    assert sensing.ti.xcoms["final_status"] == end
    assert "airbyte_job_url" in sensing.ti.xcoms


@pytest.mark.parametrize("mode", MODES)
def test_timeout_ends_it_the_same(sim: Simulator, wait: Wait, mode: str) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    with pytest.raises(AirbyteSensorTimeout, match="timeout"):
        wait(job_id, mode, timeout=0.3).run()


@pytest.mark.parametrize("mode", MODES)
def test_job_that_cannot_be_seen_ends_it_the_same(sim: Simulator, wait: Wait, mode: str) -> None:
    with pytest.raises(AirbyteNotVisibleError):
        wait(999, mode).run()


@pytest.mark.parametrize("mode", MODES)
def test_outage_is_waited_out(sim: Simulator, wait: Wait, mode: str) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.0, pending=0.0))["id"]
    sim.add_fault(Fault("get", status=503, times=4))
    assert wait(job_id, mode).run() == job_id


def test_event_that_tells_nothing_makes_it_check_again(sim: Simulator, wait: Wait) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.0, pending=0.0))["id"]
    sensing = wait(job_id, "deferrable")
    event = {"status": "success", "message": "", "job_id": job_id}
    assert sensing.operator().execute_complete(sensing.context, event) == job_id


FRESH = {"methods": with_methods, "attributes": with_attributes}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("taken", FRESH)
def test_fresh_sync_ends_it_the_same(sim: Simulator, monkeypatch: pytest.MonkeyPatch, mode: str, taken: str) -> None:
    cid = sim.add_connection()
    arguments = {"task_id": "wait", "connection_id": cid, "after": MOMENT, "poke_interval": 0.1, "timeout": 0.3}
    arguments |= {"deferrable": True} if mode == "deferrable" else {"mode": mode}
    kind, ti = FRESH[taken](AirbyteFreshnessSensor, NAMES), TaskInstance()
    with airflow_tells(monkeypatch, ti):
        sensing = Used(lambda: kind(**arguments), ti=ti)
        with pytest.raises(AirbyteSensorTimeout):
            sensing.run()
        job_id = ended(sim, cid, 5)
        assert sensing.run() == job_id
    if taken == "attributes":
        assert_untouched(sensing.used, NAMES)


def test_private_names_of_ours_are_not_there_to_be_taken_of_a_fresh_sync(sim: Simulator) -> None:
    cid = sim.add_connection()
    job_id = ended(sim, cid, 5)
    sensor = AirbyteFreshnessSensor(task_id="wait", connection_id=cid, after=MOMENT)
    assert sensor.execute({}) == job_id
    assert names_to_take(AirbyteFreshnessSensor, sensor, BaseSensorOperator(task_id="base")) == set()


def test_private_names_of_ours_are_not_there_to_be_taken(sim: Simulator) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.0, pending=0.0))["id"]
    sensor = AirbyteJobSensor(task_id="wait", airbyte_job_id=job_id)
    assert sensor.execute({}) == job_id
    assert names_to_take(AirbyteJobSensor, sensor, BaseSensorOperator(task_id="base")) == set()


class WaitingSensor(AirbyteJobSensor):
    """A user's own, of a name that is close at hand, whose private names Python mangles with it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.__wait = self.__wait_of = MINE

    def mine(self) -> bool:
        return self.__wait is self.__wait_of is MINE


@pytest.mark.parametrize("mode", MODES)
def test_subclass_may_have_any_name(sim: Simulator, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.4, pending=0.0))["id"]
    arguments = {"task_id": "wait", "airbyte_job_id": job_id, "poke_interval": 0.1, "timeout": 30}
    arguments |= {"deferrable": True} if mode == "deferrable" else {"mode": mode}
    with airflow_tells(monkeypatch, ti := TaskInstance()):
        sensing = Used(lambda: WaitingSensor(**arguments), ti=ti)
        assert sensing.run() == job_id
    assert sensing.used.mine()
