"""What the tests of the operator share: an Airbyte, and tasks for its connections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Simulator
from helpers.one_task import Make, Task, TaskInstance, airflow_tells

PATIENCE = SubmitPolicy(settle=0.6, unreachable=60.0, pause=0.1, unlisted=0.2)


@pytest.fixture
def sim(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    monkeypatch.setattr(AirbyteTriggerSyncOperator, "submit_policy", PATIENCE)
    return sim


@pytest.fixture
def impatient(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give an Airbyte up soon that cannot be reached."""
    monkeypatch.setattr(AirbyteTriggerSyncOperator, "submit_policy", replace(PATIENCE, unreachable=2.0))


@pytest.fixture
def task(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Return a maker of tasks for a connection, by default of the operator itself."""
    ti = TaskInstance()

    def make(
        connection_id: str, way: str = "worker", kind: type[Any] = AirbyteTriggerSyncOperator, **parameters: Any
    ) -> Task:
        arguments = {"wait_seconds": 0.1, "task_id": "sync", "deferrable": way == "deferred", **parameters}
        return Task(lambda: kind(connection_id=connection_id, **arguments), ti=ti)

    with airflow_tells(monkeypatch, ti):
        yield make
