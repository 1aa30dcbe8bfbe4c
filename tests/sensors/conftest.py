"""What the tests of the sensors share: an Airbyte, and sensors of its jobs and connections in every mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airbyte_deferrable._job import retrying
from airbyte_deferrable.sensors import AirbyteFreshnessSensor, AirbyteJobSensor
from airbyte_deferrable.simulator import Simulator
from helpers.freshness import MOMENT
from helpers.one_task import Sense, Sensing, TaskInstance, airflow_tells


@pytest.fixture
def sim(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    monkeypatch.setattr(retrying, "CONFIRM_NOT_FOUND_AFTER", 0.05)
    return sim


@pytest.fixture
def sensing(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sense]:
    """Return a maker of sensors of a job."""
    ti = TaskInstance()

    def make(job_id: Any, mode: str, kind: type[Any] = AirbyteJobSensor, **parameters: Any) -> Sensing:
        arguments: dict[str, Any] = {"task_id": "wait", "poke_interval": 0.1, "timeout": 30, **parameters}
        arguments |= {"deferrable": True} if mode == "deferrable" else {"mode": mode}
        return Sensing(lambda: kind(airbyte_job_id=job_id, **arguments), ti=ti)

    with airflow_tells(monkeypatch, ti):
        yield make


@pytest.fixture
def fresh(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sense]:
    """Return a maker of sensors of a connection, which look for what is not older than a moment long ago."""
    ti = TaskInstance()

    def make(connection_id: str, mode: str, kind: type[Any] = AirbyteFreshnessSensor, **parameters: Any) -> Sensing:
        arguments: dict[str, Any] = {
            "task_id": "wait",
            "connection_id": connection_id,
            "after": MOMENT,
            "poke_interval": 0.1,
            "timeout": 30,
            **parameters,
        }
        arguments |= {"deferrable": True} if mode == "deferrable" else {"mode": mode}
        return Sensing(lambda: kind(**arguments), ti=ti)

    with airflow_tells(monkeypatch, ti):
        yield make
