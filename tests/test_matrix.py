"""The matrix runs every test where it differs: what it leaves out of a cell runs in another."""

from __future__ import annotations

import subprocess
import sys

from helpers.blocks import ROOT
from tools.matrix import CELLS, PYTHONS, SUPPORTED, WITHOUT_AIRFLOW

#: The Python of `make test`, which leaves nothing out.
MAIN = "3.11"


def test_matrix_runs_a_whole_airflow_of_each_release_and_on_each_python() -> None:
    cells = [cell for cell in CELLS if cell.end_to_end]
    assert {cell.airflow for cell in cells} == SUPPORTED.keys()
    assert {cell.python for cell in cells} == set(PYTHONS)


def test_matrix_runs_what_needs_no_airflow_on_each_python_and_with_each_aiohttp() -> None:
    cells = [cell for cell in CELLS if cell.without_airflow]
    assert {MAIN, *(cell.python for cell in cells)} == set(PYTHONS)
    assert {cell.instead for cell in CELLS} == {None, *(cell.instead for cell in cells)}


def test_matrix_leaves_out_only_what_needs_no_airflow() -> None:
    paths = [path for path in WITHOUT_AIRFLOW if (ROOT / path).exists()]
    # An Airflow that cannot be imported: whoever tries fails.
    code = "import sys, pytest; sys.modules['airflow'] = None; sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--collect-only", "-q", "-p", "no:cacheprovider", *paths]
    collected = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert collected.returncode == 0, collected.stdout + collected.stderr
