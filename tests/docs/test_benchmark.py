"""What the README and the table show of the benchmark is of one run: the one whose results are kept."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks.__main__ import RESULTS
from benchmarks.measure import Result
from benchmarks.report import BEGIN, END, brief, machine, table

from .blocks import ROOT


@pytest.fixture
def results() -> list[Result]:
    return [Result(**each) for each in json.loads((ROOT / RESULTS / "results.json").read_text())]


@pytest.fixture
def kept_table() -> str:
    return (ROOT / RESULTS / "table.md").read_text()


@pytest.fixture
def measured_on(kept_table: str) -> str:
    """The machine that measured, which is not this one."""
    (found,) = re.findall(r"^Measured on (.+)\.$", kept_table, re.M)
    return str(found)


def test_the_table_is_that_of_the_results(results: list[Result], kept_table: str, measured_on: str) -> None:
    assert table(results).replace(machine(), measured_on) == kept_table


def test_the_readme_shows_these_results(results: list[Result], measured_on: str) -> None:
    _, _, rest = (ROOT / "README.md").read_text().partition(BEGIN)
    shown, _, _ = rest.partition(END)
    assert shown.strip() == brief(results).replace(machine(), measured_on).strip()
