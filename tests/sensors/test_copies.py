"""Airflow 2 runs copies of a task, one for each try and leg."""

from __future__ import annotations

import pytest

from airbyte_deferrable.sensors import AirbyteJobSensor
from airbyte_deferrable.simulator import Script, Simulator
from helpers.airbyte import connection_to


def test_copy_waits_for_its_own_job(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    scripts = (Script(outcome=None, pending=0.0), Script(duration=0.0, pending=0.0))
    live, ended = (airbyte_simulator.add_job(airbyte_simulator.add_connection(), script=each)["id"] for each in scripts)
    sensor = AirbyteJobSensor(task_id="wait", airbyte_job_id=live)
    assert sensor.poke({}) is False
    copy = sensor.prepare_for_execution()
    copy.airbyte_job_id = ended
    assert copy.poke({}) is True
    assert sensor.poke({}) is False
