"""The matrix runs every test where it differs: what it leaves out of a cell runs in another."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from helpers.blocks import ROOT
from tools.matrix import CELLS, PYTHONS, SUPPORTED, WITHOUT_AIRFLOW, WORKERS, Report, failures, outcome, selection

#: The Airflow and the Python of `make test`, which leaves nothing out.
MAIN = ("3.3", "3.11")
PACKAGE = "airbyte_deferrable"


def test_matrix_runs_a_whole_airflow_of_each_release_and_on_each_python() -> None:
    whole = {MAIN, *((cell.airflow, cell.python) for cell in CELLS if cell.end_to_end)}
    assert {airflow for airflow, _ in whole} == {cell.airflow for cell in CELLS} == SUPPORTED.keys()
    assert {python for _, python in whole} == {cell.python for cell in CELLS} | {MAIN[1]} == set(PYTHONS)


def test_matrix_runs_what_needs_no_airflow_on_the_pythons_at_both_ends_and_with_each_aiohttp() -> None:
    cells = [cell for cell in CELLS if cell.without_airflow]
    assert {cell.python for cell in cells} == {PYTHONS[0], PYTHONS[-1]}
    assert {cell.instead for cell in CELLS} == {None, *(cell.instead for cell in cells)}


def test_matrix_runs_what_goes_through_aiohttp_with_each_aiohttp() -> None:
    (cell,) = (cell for cell in CELLS if cell.instead)
    assert {f"tests/{room}" for room in ("api", "simulator", "_watcher", "_job", "hooks", "triggers", "faults")} <= {
        *cell.only
    }
    assert all((ROOT / path).exists() for path in cell.only)
    assert selection(cell, coverage=False)[-len(cell.only) :] == cell.only
    assert not {*cell.only} & {*selection(cell, coverage=True)}


def test_matrix_looks_at_the_page_in_a_browser_on_the_oldest_airflow_that_has_one() -> None:
    (cell,) = (cell for cell in CELLS if cell.page)
    assert cell.airflow == "3.1"
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
        + [each for each in selection(cell, coverage=False) if each not in WORKERS]
        + ["tests/e2e"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    assert "test_page_in_browser.py" in found
    assert "test_browser.py" not in found


def test_matrix_leaves_out_only_what_needs_no_airflow() -> None:
    # That these rooms of the package need none is held by test_imports.py.
    allowed = re.compile(r"airbyte_deferrable(\.(api|simulator|_watcher|_job)\b.*)?$")
    for path in WITHOUT_AIRFLOW:
        assert (ROOT / path).exists()
        for file in [ROOT / "tests/conftest.py", *files(ROOT / path)]:
            for module in imported(file):
                assert module.partition(".")[0] not in ("airflow", "example_dags"), file
                assert not module.startswith("airbyte_deferrable") or allowed.match(module), f"{file}: {module}"


def test_matrix_names_what_failed_at_the_end(tmp_path: Path) -> None:
    tests = tmp_path / "test_some.py"
    tests.write_text("def test_good():\n    pass\n\ndef test_bad():\n    assert 'cause' == 'found'\n")
    result = tmp_path / "tests.xml"
    run = subprocess.run([sys.executable, "-m", "pytest", "-q", tests, f"--junit-xml={result}"], capture_output=True)
    found = outcome(result, run.returncode)
    assert (found.text, found.ok) == ("1 passed, 1 FAILED", False)
    told = "\n".join(failures([Report(CELLS[0], outcome=found)]))
    assert re.search(rf"^FAILED on {CELLS[0]}: .*test_some\.test_bad$", told, re.MULTILINE)
    assert "assert 'cause' == 'found'" in told


def test_matrix_tells_of_a_run_that_came_to_nothing(tmp_path: Path) -> None:
    found = outcome(tmp_path / "missing.xml", 5)
    assert (found.ok, failures([Report(CELLS[0], outcome=found)])) == (False, [])
    assert "status 5" in found.text


def files(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("*.py"))


def imported(file: Path) -> set[str]:
    """Return all that a file imports, wherever in it, and what the helpers import that it does."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names if node.module == PACKAGE)}
    helpers = [ROOT / f"tests/{module.replace('.', '/')}.py" for module in found if module.startswith("helpers.")]
    return found.union(*map(imported, helpers))
