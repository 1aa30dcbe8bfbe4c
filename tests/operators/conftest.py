"""What the tests of the operator share: an Airbyte, and tasks for its connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from one_task import Task, TaskInstance, airflow_tells, connection_to

from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Simulator


@pytest.fixture
def sim(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    policy = SubmitPolicy(settle=0.6, unreachable=2.0, pause=0.1, unlisted=0.2)
    monkeypatch.setattr(AirbyteTriggerSyncOperator, "submit_policy", policy)
    return airbyte_simulator


@pytest.fixture
def task(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Task]]:
    """Return a maker of tasks for a connection, by default of the operator itself."""
    ti = TaskInstance()

    def make(
        connection_id: str, way: str = "worker", kind: type[Any] = AirbyteTriggerSyncOperator, **parameters: Any
    ) -> Task:
        arguments = {"wait_seconds": 0.1, "task_id": "sync", "deferrable": way == "deferred", **parameters}
        return Task(lambda: kind(connection_id=connection_id, **arguments), ti=ti)

    with airflow_tells(monkeypatch, ti):
        yield make
