"""No crash, kill or clear at any step doubles a job, loses one, or cancels what it must not.

A sample of the cases in the unit tests; all of them by ``make explore``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from functools import partial

import pytest

from airbyte_deferrable._compat import AIRFLOW_3
from airbyte_deferrable.simulator import Simulator
from helpers.explorer.accounting import problems
from helpers.explorer.cases import Harms, cases, crashes
from helpers.explorer.scenarios import Ran, Scenario, run, scenarios

pytestmark = pytest.mark.skipif(not AIRFLOW_3, reason="The rules that it plays are Airflow 3's")

#: So many cases make one of the sample. A prime, so that it meets all kinds of them.
SAMPLE = 127


def unaccounted(explored: Iterable[Ran]) -> dict[str, list[str]]:
    """Return the cases that are not as they must be, and what is wrong."""
    found = {str(ran): problems(ran) for ran in explored}
    return {case: wrong for case, wrong in found.items() if wrong}


@pytest.mark.explore
@pytest.mark.parametrize("scenario", list(scenarios()), ids=str)
def test_explore_harm_at_each_step(sim: Simulator, scenario: Scenario) -> None:
    assert not unaccounted(cases(scenario, partial(run, sim)))


@pytest.mark.explore
@pytest.mark.parametrize("scenario", [each for each in scenarios() if each.plain], ids=str)
def test_explore_two_crashes_in_a_row(sim: Simulator, scenario: Scenario) -> None:
    assert not unaccounted(crashes(scenario, partial(run, sim)))


def sample(sim: Simulator) -> Iterator[Ran]:
    """Run some of the cases."""
    number = itertools.count()

    def run_some(scenario: Scenario, harms: Harms) -> Ran | None:
        return run(sim, scenario, harms) if not harms or next(number) % SAMPLE == 0 else None

    for scenario in scenarios():
        yield from cases(scenario, run_some)


def test_explorer_accounts_for_all_jobs_of_a_sample(sim: Simulator) -> None:
    assert not unaccounted(sample(sim))
