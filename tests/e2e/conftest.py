"""One real Airflow and two simulated Airbytes for all end-to-end tests."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Generator, Iterator

import pytest

from airbyte_deferrable._compat import AIRFLOW_3
from harness.airflow import LocalAirflow
from harness.statsd import StatsdServer

from .support import DAGS, EXAMPLES, MANY, REFUSED, Airbyte

COMPLAINT = re.compile(r"\[(error|critical) *\]|\b(ERROR|CRITICAL)\b|^\S*(Error|Exception)\b|status_code=5")


@pytest.fixture(scope="session")
def airbytes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Airbyte, Airbyte]]:
    logs = tmp_path_factory.mktemp("airbyte")
    with Airbyte(logs / "airbyte.log") as one, Airbyte(logs / "airbyte-2.log") as other:
        yield one, other


@pytest.fixture(scope="session")
def airbyte(airbytes: tuple[Airbyte, Airbyte]) -> Airbyte:
    return airbytes[0]


@pytest.fixture(scope="session")
def statsd() -> Iterator[StatsdServer]:
    """Where Airflow's metrics go."""
    with StatsdServer() as server:
        yield server


@pytest.fixture(scope="session")
def airflow(
    tmp_path_factory: pytest.TempPathFactory, airbytes: tuple[Airbyte, Airbyte], statsd: StatsdServer
) -> Iterator[LocalAirflow]:
    home = tmp_path_factory.mktemp("airflow")
    shutil.copytree(EXAMPLES, home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    # Before Airflow 3, assets have no watchers.
    left_out = ["__pycache__"] if AIRFLOW_3 else ["__pycache__", "ended_dags.py"]
    shutil.copytree(DAGS, home / "dags", ignore=shutil.ignore_patterns(*left_out), dirs_exist_ok=True)
    europe, america = (airbyte.airflow_connection for airbyte in airbytes)
    with (
        LocalAirflow(
            home,
            dags=home / "dags",
            parallelism=2,
            connections={
                "airbyte_default": europe,
                "airbyte_europe": europe,
                "airbyte_america": america,
                "airbyte_refused": {**europe, "password": REFUSED},
            },
            config={
                **statsd.settings,
                # Of those DAGs only that ask for it.
                "AIRFLOW__OPENLINEAGE__SELECTIVE_ENABLE": "True",
                "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                    {"type": "file", "log_file_path": str(home / "openlineage.json"), "append": True}
                ),
                "AIRBYTE_DEMO_CONNECTIONS": json.dumps(MANY),
                # The executor can keep a slot for this many seconds after its task has ended: the suite has many tasks.
                "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            },
        ) as running,
    ):
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a test that failed what Airflow's components complained of."""
    report = yield
    airflow = getattr(item, "funcargs", {}).get("airflow")
    if report.failed and isinstance(airflow, LocalAirflow):
        report.sections.append(("Airflow's complaints", "\n".join(complaints(airflow))))
    return report


def complaints(airflow: LocalAirflow) -> Iterator[str]:
    """The last lines about errors in the logs of all components."""
    for component in airflow.components:
        lines = (airflow.home / "logs" / f"{component}.log").read_text(errors="replace").splitlines()
        for line in [line for line in lines if COMPLAINT.search(line)][-10:]:
            yield f"{component}: {line[:500]}"
