"""What the tests of the triggers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from airbyte_deferrable._airflow import credentials
from airbyte_deferrable.simulator import Simulator
from helpers.airbyte import connection_to


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    mine = asyncio.current_task()
    # What ends may begin something else to clean up with.
    while left := asyncio.all_tasks() - {mine}:
        for task in left:
            task.cancel()
        await asyncio.wait(left)


@pytest.fixture
def rotated(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what gives Airbyte's application another secret, which its Airflow connection is given, too."""
    monkeypatch.setattr(credentials, "KNOWN_FOR", 0.0)
    monkeypatch.setattr(credentials, "LOOK_FOR_CHANGE", 0.1)

    def rotate() -> None:
        sim.rotate_secret()
        sim.revoke_tokens()
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim))

    return rotate
