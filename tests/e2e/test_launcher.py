"""An Airflow that can't start says why, and leaves nothing running."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from harness.airflow import LocalAirflow

from .support import processes_with

pytestmark = [pytest.mark.e2e, pytest.mark.journey]


def start_fails(tmp_path: Path, reason: str, **arguments: Any) -> None:
    mark = uuid.uuid4().hex
    airflow = LocalAirflow(tmp_path / "home", dags=tmp_path / "dags", config={"LAUNCHER_TEST": mark}, **arguments)
    with pytest.raises(RuntimeError, match=reason), airflow:
        pytest.fail("it started")
    assert processes_with("LAUNCHER_TEST", mark) == []
    assert airflow.pids() == []


def test_dag_file_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "spoilt.py").write_text("from airflow.sdk import DAG\nraise ValueError('spoilt')")
    start_fails(tmp_path, "ValueError: spoilt")


def test_database_that_cannot_be_opened(tmp_path: Path) -> None:
    start_fails(tmp_path, "unable to open database file", database=f"sqlite:///{tmp_path}/missing/airflow.db")
