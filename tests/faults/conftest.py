"""What the tests of trouble share: a task instance of which Airflow tells."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.one_task import TaskInstance, airflow_tells


@pytest.fixture
def ti(monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskInstance]:
    instance = TaskInstance()
    with airflow_tells(monkeypatch, instance):
        yield instance
