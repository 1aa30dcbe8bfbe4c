"""The report of the matrix's coverage names what only one Airflow reaches, and holds its floor."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.coverage_report import report

MODULE = """
import sys

def greet(airflow):
    if airflow == "2.11":
        old = True
        return old
    return False

greet(sys.argv[1])
if len(sys.argv) > 2:
    never = 1
"""

RUN = (sys.executable, "-m", "coverage", "run", "--branch", "--source=airbyte_deferrable")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A package of its own, in a checkout of its own."""
    package = tmp_path / "airbyte_deferrable"
    (package / "api").mkdir(parents=True)
    (package / "airflow.py").write_text(MODULE)
    (package / "api" / "http.py").write_text(MODULE)
    return tmp_path


def measure(checkout: Path, airflow: str) -> Path:
    """Run the package as the tests of a cell do."""
    data = checkout / f".coverage-{airflow}"
    for number, module in enumerate(("airflow.py", "api/http.py")):
        subprocess.run(
            [*RUN, *["--append"][:number], f"airbyte_deferrable/{module}", airflow],
            cwd=checkout,
            env={name: value for name, value in os.environ.items() if not name.startswith("COV")}
            | {"COVERAGE_FILE": str(data)},
            check=True,
        )
    return data


@pytest.mark.parametrize(("floor", "reached"), [(80, True), (99, False)])
def test_coverage_is_combined_and_held_to_its_floor(
    checkout: Path, capsys: pytest.CaptureFixture[str], floor: int, reached: bool
) -> None:
    (checkout / "pyproject.toml").write_text(f"[tool.coverage.report]\nfail_under = {floor}\n")
    cells = {airflow: [measure(checkout, airflow)] for airflow in ("2.11", "3.3")}
    assert report(cells, checkout) is reached
    said = capsys.readouterr().out
    assert "Only Airflow 2.11 reaches airbyte_deferrable/airflow.py: 6-7" in said
    assert "Only Airflow 3.3 reaches airbyte_deferrable/airflow.py: 8" in said
    # Where no Airflow takes part, it says nothing about one.
    assert "api/http.py: " not in said
    assert f"the floor is {floor} %" in said
    # Both together miss one line of each module.
    assert re.findall(r"airbyte_deferrable/\S+ .* (\S+)$", said, re.M) == ["12", "12"]
