"""What all tests share: an Airflow home of their own, and the simulator."""

from __future__ import annotations

import os
import sys
import tempfile

# Airflow reads these when it is imported, which the first test module does.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airbyte-deferrable-tests-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = os.path.join(os.environ["AIRFLOW_HOME"], "no-dags")
# A task that fails unexpectedly is to show it at once, not after Airflow's five minutes.
os.environ["AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY"] = "1"
os.environ.pop("AIRFLOW__CORE__UNIT_TEST_MODE", None)
# What one test leaves on this machine is not to be the next one's; where it is the topic, it is turned on.
os.environ["AIRFLOW__AIRBYTE_DEFERRABLE__TOKEN_CACHE"] = "False"
# Nor does each test of a failure ask what is left of it for a page.
os.environ["AIRFLOW__AIRBYTE_DEFERRABLE__PAGE"] = "False"

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from airbyte_deferrable.simulator import Simulator
from airbyte_deferrable.simulator.testing import airbyte_simulator
from harness.database import make_database
from helpers.airbyte import connection_to
from helpers.certificate import certificate, server_tls
from helpers.patience import be_patient
from helpers.sharing import OneAirflow
from helpers.waiting import Clock

#: Folders whose tests take longest: no worker is to be left with one of them at the end.
SLOWEST = ("e2e", "faults", "docs")

__all__ = ["airbyte_simulator", "certificate", "server_tls"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what takes longest begin first."""
    folders = {item: item.path.parent.name for item in items}
    items.sort(key=lambda item: SLOWEST.index(folders[item]) if folders[item] in SLOWEST else len(SLOWEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneAirflow | None:
    """Let all end-to-end tests have one Airflow; but a journey has one of its own, and the explorer needs none."""
    return None if config.option.markexpr in ("journey", "explore") else OneAirflow(config, log)


@pytest.fixture
def sim(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """An Airbyte of the test's own, to which Airflow's usual connection leads."""
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    return airbyte_simulator


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Make Airflow's database, in the test run's own Airflow home."""
    make_database()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the test say when time passes."""
    return Clock(monkeypatch)


@pytest.fixture(autouse=True)
def _others_sessions_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what Airbyte's SDK leaves open: the garbage collector would warn of it in the middle of another test."""
    opened: list[httpx.Client] = []
    begin = httpx.Client.__init__

    def begin_and_keep(client: httpx.Client, *args: Any, **kwargs: Any) -> None:
        begin(client, *args, **kwargs)
        # One that refuses its arguments has opened nothing.
        opened.append(client)

    monkeypatch.setattr(httpx.Client, "__init__", begin_and_keep)
    yield
    for client in opened:
        client.close()


@pytest.fixture(autouse=True)
def _no_run_begun() -> None:
    """Let each test begin as a task does: in a process that has begun no run."""
    if "airbyte_deferrable._airflow.retry_store" in sys.modules:
        sys.modules["airbyte_deferrable._airflow.retry_store"]._begun.clear()


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test depend on how quickly this machine answers."""
    be_patient(monkeypatch)
