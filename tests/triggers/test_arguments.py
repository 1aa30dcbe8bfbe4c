"""A trigger's arguments: what Airflow stores of it, and loads again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airbyte_deferrable._airflow import execution_timeout
from airbyte_deferrable._airflow.execution_timeout import execution_deadline
from airbyte_deferrable.simulator import Simulator
from airbyte_deferrable.triggers import AirbyteQueueTrigger, AirbyteSyncTrigger
from helpers.one_task import (
    stored,
)
from helpers.one_trigger import SERVED


@pytest.mark.parametrize(
    "trigger",
    [
        AirbyteSyncTrigger(7, "c", 1.5, 0.5, 2.5, "v2", True, 3, 4.0, 5.0),
        AirbyteQueueTrigger("u", "c", 1.0, 2.0, 3.0, None, "v2", 4, 5.0),
    ],
    ids=["job", "turn"],
)
def test_arguments_survive_airflows_database(trigger: Any) -> None:
    assert stored(trigger).serialize() == trigger.serialize()


@pytest.mark.parametrize(
    "arguments",
    [
        {"conn_id": "c", "job_id": 7, "end_time": 1.0, "poll_interval": 3},
        {"conn_id": "c", "job_id": 7, "end_time": 1.0, "poll_interval": 3, "execution_deadline": None},
        {"conn_id": "c", "job_id": "7", "end_time": 1.0, "poll_interval": 3.0},
    ],
)
def test_arguments_of_the_official_provider_and_older_versions_load(arguments: dict[str, Any]) -> None:
    trigger = AirbyteSyncTrigger(**arguments)
    assert trigger.job_id == 7
    assert trigger.cancel_on_kill is False


def test_arguments_hold_no_secret(sim: Simulator) -> None:
    text = str(AirbyteSyncTrigger(**SERVED).serialize())
    assert sim.client_secret not in text
    assert sim.client_id not in text


def test_execution_deadline_is_before_airflow_2_ends_the_task_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert execution_deadline(100.0, None) is None
    monkeypatch.setattr(execution_timeout, "AIRFLOW_3", True)
    assert execution_deadline(100.0, timedelta(seconds=50)) == 150.0
    monkeypatch.setattr(execution_timeout, "AIRFLOW_3", False)
    assert execution_deadline(100.0, timedelta(seconds=50)) == 145.0
    assert execution_deadline(100.0, timedelta(hours=5)) == 100.0 + 5 * 3600 - 30


@pytest.mark.parametrize("airflow_3", [True, False])
def test_execution_deadline_of_no_length_is_none_as_to_airflow(
    monkeypatch: pytest.MonkeyPatch, airflow_3: bool
) -> None:
    monkeypatch.setattr(execution_timeout, "AIRFLOW_3", airflow_3)
    assert execution_deadline(100.0, timedelta(0)) is None
