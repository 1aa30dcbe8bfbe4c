"""Runs the tests on every supported Airflow and Python, each pair in an environment of its own.

``make matrix`` runs all of it, ``make matrix CELLS="2.11 3.2"`` a part. Each cell runs the unit tests that its
Airflow takes part in; further tests run once for what they differ by: those without an Airflow and the tables of faults
for the oldest and the newest Python and each aiohttp, a whole Airflow with the examples and all outcomes in all ways of
waiting for each Airflow and each Python, the page in a browser for the oldest Airflow that has one. A table of the
cells comes last; the exit status is 1 if anything failed in any of them.

``make coverage`` runs the unit tests alone, on one Python, and tells what they reach together, and what on one Airflow
alone; the exit status is 1, too, if that is below the floor.

``make kill-matrix-2.11`` runs the kill matrix on Airflow 2.11, where a task's job is kept in a Variable. It takes the
environment that ``make matrix`` has made, if it has.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree import ElementTree

from tools import coverage_report

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
#: The Pythons of each Airflow, as its own metadata says, as far as they are ours.
SUPPORTED = {"2.11": PYTHONS[:3], "3.0": PYTHONS[:3], "3.1": PYTHONS, "3.2": PYTHONS, "3.3": PYTHONS}
#: One of them has the whole Airflow, see tests/conftest.py.
WORKERS = ("-n", "4", "--dist", "loadfile", "--no-loadscope-reorder")
UNIT = "not e2e and not journey and not package and not explore"
#: On one Airflow, so that it is all of pytest that runs; and with what it prints.
KILL_MATRIX = ("-s", "-m", "killmatrix", "tests/e2e/test_kill_matrix.py")
UNIT_AND_END_TO_END = "not killmatrix and not journey and not package and not explore"
#: The floor is for all cells together.
COVERAGE = ("--cov=airbyte_deferrable", "--cov-branch", "--cov-report=", "--cov-fail-under=0")
#: The tests that no Airflow takes part in: tests/test_matrix.py holds them to it.
WITHOUT_AIRFLOW = (
    "tests/api",
    "tests/simulator",
    "tests/_watcher",
    *(
        f"tests/_job/test_{each}.py"
        for each in ("cancel", "connections", "events", "failure", "freshness", "queue", "wait")
    ),
    "tests/demo",
    "tests/harness",
    "tests/test_bench_model.py",
    "tests/test_bench_slots.py",
    "tests/test_chaos.py",
)
#: The tables of faults: they go through operator and triggers, but what may differ is asyncio's and aiohttp's part.
FAULT_TABLES = ("tests/faults",)
#: What another aiohttp may change, with all that the oldest and the newest Python are to have.
THROUGH_AIOHTTP = (*WITHOUT_AIRFLOW, *FAULT_TABLES, "tests/_job", "tests/hooks", "tests/triggers")
#: With it, which each Airflow supports, coverage is measured: tests in which hundreds of threads and forks take part do
#: not end on 3.12 while they are traced.
TRACED = "3.11"
NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Cell:
    """One Airflow on one Python.

    :param airflow: Airflow's minor release: the name of a constraints file.
    :param python: Python's minor release.
    :param instead: A file in ``constraints`` with other versions, which are put in the place of those.
    :param without_airflow: Whether the tests run here that no Airflow takes part in, and the tables of faults: with the
        oldest and the newest Python, and each aiohttp that ``make test`` does not have.
    :param end_to_end: Whether a whole Airflow runs here: where no other cell, nor ``make test``, has one of this
        release or this Python.
    :param page: Whether the page is looked at in a browser here: on the oldest Airflow that has it. On the newest,
        ``make journeys`` does.
    :param only: The tests that run here. Default: all.
    """

    airflow: str
    python: str
    instead: str | None = None
    without_airflow: bool = False
    end_to_end: bool = True
    page: bool = False
    only: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "-".join(filter(None, [self.airflow, f"py{self.python}", self.instead]))

    @property
    def venv(self) -> Path:
        """Its environment."""
        return ROOT / f".venv-{self}"

    @property
    def python_path(self) -> Path:
        """The interpreter in it."""
        return self.venv / "bin/python"

    @property
    def coverage(self) -> Path:
        """What its unit tests have reached."""
        return self.venv / ".coverage"


#: Every Airflow and every Python at least once, and the oldest aiohttp line that is still in wide use. A whole Airflow
#: 3.3, with all else that can be run on one, is what `make test` has.
CELLS = (
    Cell("2.11", "3.10", without_airflow=True),
    Cell("3.0", "3.11"),
    Cell("3.1", "3.12", page=True),
    Cell("3.2", "3.13"),
    Cell("3.3", "3.13", "aiohttp-3.13", without_airflow=True, end_to_end=False, only=THROUGH_AIOHTTP),
)


@dataclass
class Outcome:
    """What became of one run of pytest, or of a step before it.

    :param text: For the table.
    :param ok: Whether tests ran, and all of them passed.
    :param failed: Each test that did not, by its name, with the end of what pytest says of it.
    """

    text: str
    ok: bool
    failed: dict[str, str] = field(default_factory=dict)


@dataclass
class Report:
    """A row of the table."""

    cell: Cell
    versions: dict[str, str] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=lambda: Outcome("could not run", False))
    seconds: float = 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cells one after the other; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", nargs="*", help=f"what to run, by name or its beginning: {' '.join(map(str, CELLS))}")
    parser.add_argument("--coverage", action="store_true", help="measure what the unit tests reach, and run no others")
    parser.add_argument("--kill-matrix", action="store_true", help="run the kill matrix, and no other tests")
    given = parser.parse_args(arguments)
    wanted = tuple(given.cells)
    # As after Ctrl-C, everything that was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    pythons = {minor: path for minor in PYTHONS if (path := find_python(minor))}
    chosen = [cell for cell in CELLS if not wanted or str(cell).startswith(wanted)]
    if given.coverage:
        chosen = [replace(cell, python=TRACED, instead=None, end_to_end=False) for cell in chosen]
    cells, notes = plan(chosen, list(pythons))
    if not cells:
        parser.error("no such cell, or no Python for it")
    reports = []
    for cell in cells:
        print(f"\n{'=' * 100}\n{cell}\n{'=' * 100}", flush=True)
        tests = KILL_MATRIX if given.kill_matrix else selection(cell, coverage=given.coverage)
        reports.append(run(cell, pythons[cell.python], tests, anew=not given.kill_matrix))
    covered = not given.coverage or coverage_report.report(measured(cells), ROOT)
    print("\n".join(["", *failures(reports), *table(reports), *notes]), flush=True)
    return 0 if covered and all(report.outcome.ok for report in reports) else 1


def measured(cells: Sequence[Cell]) -> dict[str, list[Path]]:
    """What the cells of each Airflow have reached."""
    found: dict[str, list[Path]] = {}
    for cell in cells:
        if cell.coverage.exists():
            found.setdefault(cell.airflow, []).append(cell.coverage)
    return found


def find_python(minor: str) -> Path | None:
    """An interpreter of this machine: pyenv's, uv's own or one on the PATH."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(pyenv.glob(f"{minor}.*/bin/python{minor}"), key=lambda path: [*map(int, NUMBER.findall(str(path)))])
    if found:
        return found[-1]
    asked = subprocess.run(
        [uv(), "python", "find", "--system", "--no-python-downloads", minor], capture_output=True, text=True, cwd="/"
    )
    return Path(asked.stdout.strip()) if asked.returncode == 0 else None


def plan(cells: Sequence[Cell], pythons: Sequence[str]) -> tuple[list[Cell], list[str]]:
    """What can be run with the Pythons that there are, and what has to be said about the rest.

    A cell whose Python is missing moves to the newest one that its Airflow supports, so that each Airflow is run.
    """
    planned: list[Cell] = []
    notes: list[str] = []
    for cell in cells:
        here = cell
        if cell.python not in pythons:
            usable = [python for python in pythons if python in SUPPORTED[cell.airflow]]
            if not usable:
                raise SystemExit(f"{cell}: found none of the Pythons {', '.join(SUPPORTED[cell.airflow])}")
            here = replace(cell, python=usable[-1])
            notes.append(f"NOT RUN: {cell}. There is no Python {cell.python} on this machine; ran {here} instead.")
        if here not in planned:
            planned.append(here)
    return planned, notes


def selection(cell: Cell, *, coverage: bool) -> Sequence[str]:
    """Return what pytest is to run in a cell, and how.

    :param coverage: Whether to measure what the unit tests reach, and to run no others.
    """
    left_out = () if cell.without_airflow else (*WITHOUT_AIRFLOW, *FAULT_TABLES)
    ignored = [f"--ignore={path}" for path in left_out]
    wanted = UNIT_AND_END_TO_END if cell.end_to_end and not coverage else UNIT
    if cell.page and not coverage:
        wanted = f"({wanted}) or page"
    return (*WORKERS, "-m", wanted, *(COVERAGE if coverage else ()), *ignored, *(() if coverage else cell.only))


def run(cell: Cell, python: Path, tests: Sequence[str], *, anew: bool) -> Report:
    """Install a cell, and test it.

    :param tests: What to tell pytest.
    :param anew: Whether to install it also where it is.
    """
    report = Report(cell)
    begin = time.monotonic()
    try:
        if anew or not cell.python_path.exists():
            install(cell, python)
        report.versions = versions(cell)
        report.outcome = pytest(cell, tests)
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(error, flush=True)
    report.seconds = time.monotonic() - begin
    return report


def install(cell: Cell, python: Path) -> None:
    """Make the cell's environment what its constraints say."""
    subprocess.run([uv(), "venv", "--quiet", "--clear", "--python", python, cell.venv], check=True)

    def pip(*arguments: str) -> None:
        command: list[str | Path] = [uv(), "pip", *arguments, "--quiet", "--python", cell.python_path]
        subprocess.run(command, cwd=ROOT, check=True)

    constraints = f"constraints/airflow-{cell.airflow}.txt"
    pip("install", "--editable", ".", "--group", "test", "--group", "postgresql", "--constraints", constraints)
    if cell.instead:
        pip("install", "--requirements", f"constraints/{cell.instead}.txt")
    pip("check")


def versions(cell: Cell) -> dict[str, str]:
    """What has been installed."""
    code = (
        "import platform; from importlib.metadata import version;"
        "print(version('apache-airflow'), platform.python_version(), version('aiohttp'))"
    )
    answer = subprocess.run([cell.python_path, "-c", code], check=True, capture_output=True, text=True)
    return dict(zip(("Airflow", "Python", "aiohttp"), answer.stdout.split(), strict=True))


def pytest(cell: Cell, arguments: Sequence[str]) -> Outcome:
    """Run tests in the cell's environment.

    :param arguments: Which tests, and how.
    """
    result = cell.venv / "tests.xml"
    result.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment["COVERAGE_FILE"] = str(cell.coverage)
    command: list[str | Path] = [cell.python_path, "-m", "pytest", "-q", *arguments, f"--junit-xml={result}"]
    return outcome(result, subprocess.run(command, cwd=ROOT, env=environment).returncode)


def outcome(result: Path, status: int) -> Outcome:
    """Tell what became of a run of pytest.

    :param result: Where pytest wrote it, in JUnit's form; there may be none.
    :param status: Its exit status.
    """
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    failed: dict[str, str] = {}
    if result.exists():
        tree = ElementTree.parse(result)
        for suite in tree.iter("testsuite"):
            for count in counts:
                counts[count] += int(suite.get(count, 0))
        for case in tree.iter("testcase"):
            for kind in (*case.iter("failure"), *case.iter("error")):
                failed[f"{case.get('classname')}.{case.get('name')}"] = str(kind.text or kind.get("message"))
    bad = counts["failures"] + counts["errors"]
    passed = counts["tests"] - bad - counts["skipped"]
    parts = [f"{passed} passed"]
    if bad:
        parts.append(f"{bad} FAILED")
    if counts["skipped"]:
        parts.append(f"{counts['skipped']} skipped")
    if status not in (0, 1):
        # 5, for example, is pytest's word for "no tests": as bad as a failure.
        parts.append(f"pytest ended with status {status}")
    return Outcome(", ".join(parts), status == 0 and passed > 0, failed)


def failures(reports: Sequence[Report]) -> list[str]:
    """What failed, where it is looked for: pytest's own report of it may be half an hour of output further up."""
    lines = []
    for report in reports:
        for test, told in report.outcome.failed.items():
            lines += [f"FAILED on {report.cell}: {test}", *(f"    {line}" for line in told.splitlines()[-25:]), ""]
    return lines


def table(reports: Sequence[Report]) -> list[str]:
    """All cells at a glance."""
    rows: list[tuple[str, ...]] = [("Airflow", "Python", "aiohttp", "tests", "a whole Airflow", "seconds", "")]
    for report in reports:
        seen = [report.versions.get(name, "?") for name in rows[0][:3]]
        whole = "among them" if report.cell.end_to_end else "elsewhere"
        ok = "ok" if report.outcome.ok else "FAILED"
        rows.append((*seen, report.outcome.text, whole, f"{report.seconds:.0f}", ok))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    minutes = sum(report.seconds for report in reports) / 60
    return [*lines, f"{len(reports)} environments in {minutes:.1f} minutes on {os.cpu_count()} cores"]


def uv() -> str:
    """The uv that stands beside this Python, as the Makefile installs it, or else any other."""
    return shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv") or sys.exit("uv is missing")


if __name__ == "__main__":
    sys.exit(main())
