"""What the README and the table show of the benchmark is of one run: the one whose results are kept."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import model, slots_report
from benchmarks.__main__ import RESULTS
from benchmarks.measure import Result
from benchmarks.report import BEGIN, END, brief, machine, table
from helpers.blocks import ROOT


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


def test_table_is_that_of_the_results(results: list[Result], kept_table: str, measured_on: str) -> None:
    assert table(results).replace(machine(), measured_on) == kept_table


def test_readme_shows_these_results(results: list[Result], measured_on: str) -> None:
    _, _, rest = (ROOT / "README.md").read_text().partition(BEGIN)
    shown, _, _ = rest.partition(END)
    assert shown.strip() == brief(results).replace(machine(), measured_on).strip()


# What it costs the workers


@pytest.fixture
def slots() -> slots_report.Report:
    return slots_report.Report.from_json(json.loads((ROOT / RESULTS / "slots.json").read_text()))


def between(page: str, marks: tuple[str, str]) -> str:
    _, _, rest = (ROOT / page).read_text().partition(marks[0])
    return rest.partition(marks[1])[0].strip()


def test_table_of_worker_slots_is_that_of_the_results(slots: slots_report.Report) -> None:
    assert slots_report.table(slots) == (ROOT / RESULTS / "slots.md").read_text()
    assert between("README.md", slots_report.MARKS) == slots_report.brief(slots).strip()


def test_model_is_fitted_to_these_results(slots: slots_report.Report) -> None:
    assert between("docs/at-scale.md", model.MARKS) == model.text(slots).strip()


def test_runs_of_the_results_made_a_job_for_each_task_and_none_failed(slots: slots_report.Report) -> None:
    for run in slots.runs:
        assert (run.failed, run.jobs) == (0, run.tasks if slots_report.KINDS[run.kind].syncs else 0), run.key
