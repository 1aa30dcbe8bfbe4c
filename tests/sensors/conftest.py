"""What the tests of the sensor share: an Airbyte, and sensors of its jobs in every mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airbyte_deferrable import sensors
from airbyte_deferrable.sensors import AirbyteJobSensor
from airbyte_deferrable.simulator import Simulator
from helpers.one_task import Sense, Sensing, TaskInstance, airflow_tells


@pytest.fixture
def sim(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    monkeypatch.setattr(sensors, "CONFIRM_NOT_FOUND_AFTER", 0.05)
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
