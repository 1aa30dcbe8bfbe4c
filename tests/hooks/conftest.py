"""What the tests of the hook share: Airflow connections to an Airbyte of the test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.simulator import Simulator
from helpers.airbyte import Connect


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Make the Airflow connection ``mine``."""

    def connect(host: str, login: str | None = None, password: str | None = None, **extra: Any) -> None:
        fields = {"conn_type": "airbyte", "host": host, "login": login, "password": password, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_MINE", json.dumps(fields))

    return connect


@pytest.fixture
def mine(sim: Simulator, connect: Connect) -> str:
    """The Airflow connection to the simulator."""
    connect(sim.url, sim.client_id, sim.client_secret)
    return "mine"


@pytest.fixture
def hook(mine: str) -> Iterator[AirbyteHook]:
    with AirbyteHook(mine) as made:
        yield made
