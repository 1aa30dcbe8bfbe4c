"""A simulated Airbyte that has whatever connection a page names, and an Airflow that can run DAGs."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow import settings

from airbyte_deferrable import operators, sensors
from airbyte_deferrable.simulator import Simulator
from helpers.airbyte import AT_ONCE, QUICK, connection_to

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NAME = re.compile(r'connection_name="([^"]+)"')
TAG = re.compile(r'\btag="([^"]+)"')


@contextmanager
def syncs_by_itself(sim: Simulator, connection_ids: Sequence[str]) -> Iterator[None]:
    """Sync connections again and again, as Airbyte's own schedule does."""
    left = threading.Event()

    def sync() -> None:
        while not left.wait(0.5):
            for each in connection_ids:
                sim.add_job(each, AT_ONCE)

    thread = threading.Thread(target=sync)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


@pytest.fixture
def airbyte_for(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Simulator]]:
    """Return a function that makes an Airbyte with all connections that a text names, reachable from Airflow."""

    def make(text: str) -> Simulator:
        ids = [airbyte_simulator.add_connection("Orders", QUICK, each) for each in sorted(set(UUID.findall(text)))]
        ids += [airbyte_simulator.add_connection(name, QUICK) for name in sorted(set(NAME.findall(text)))]
        for tag in sorted(set(TAG.findall(text))):
            for number in (1, 2):
                airbyte_simulator.add_connection(f"Tagged {tag} {number}", QUICK, tags=[tag])
        if "AirbyteFreshnessSensor" in text:
            beside.enter_context(syncs_by_itself(airbyte_simulator, ids))
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
        return airbyte_simulator

    # A reader's syncs take minutes, these take no second.
    monkeypatch.setattr(operators, "POLL_DEFERRED", 0.2)
    monkeypatch.setattr(operators, "POLL_ON_WORKER", 0.2)
    monkeypatch.setattr(sensors, "DEFERRED_POKE_INTERVAL", 0.2)
    with ExitStack() as beside:
        yield make


@pytest.fixture
def run_dags(
    airflow_database: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], dict[str, Any]]:
    """Return a function that runs all DAGs of a DAG file's source to their ends, and returns the runs by DAG."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before 3.2
        from airflow.models.dagbag import DagBag

    def run(source: str) -> dict[str, Any]:
        folder = tmp_path / "dags"
        folder.mkdir(exist_ok=True)
        (folder / "dag_file.py").write_text(source)
        # Airflow 3's dag.test() wants the DAG in the DAGs folder.
        monkeypatch.setattr(settings, "DAGS_FOLDER", str(folder))
        bag = DagBag(str(folder))
        assert not bag.import_errors, "\n".join(bag.import_errors.values())
        return {dag_id: dag.test() for dag_id, dag in bag.dags.items()}

    return run
