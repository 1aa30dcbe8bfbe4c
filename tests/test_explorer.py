"""No crash, kill or clear at any step doubles a job, loses one, or cancels what it must not.

A sample of the cases in the unit tests; all of them by ``make explore``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, get_args

import pytest

from airbyte_deferrable._airflow.retry_store import AirflowRetryStore
from airbyte_deferrable._airflow.started_job import StartedJob
from airbyte_deferrable._compat import AIRFLOW_3
from airbyte_deferrable._job.submit import Submission
from airbyte_deferrable.api.models import Job
from airbyte_deferrable.simulator import Simulator
from helpers.explorer.accounting import problems
from helpers.explorer.cases import BESIDE, BESIDE_THE_WAIT, Harms, Runner, cases, crashes, zombies
from helpers.explorer.scenarios import Ran, Scenario, run, scenarios
from helpers.explorer.steps import Harm, Kind, Step

pytestmark = pytest.mark.skipif(not AIRFLOW_3, reason="The rules that it plays are Airflow 3's")

#: So many cases make one of the sample. A prime, so that it meets all kinds of them.
SAMPLE = 127
#: And of those in which two things happen in turn.
SAMPLE_OF_PAIRS = 41

Explore = Callable[[Scenario, Runner], Iterator[Ran]]


def unaccounted(explored: Iterable[Ran]) -> dict[str, list[str]]:
    """Return the cases that are not as they must be, and what is wrong."""
    found = {str(ran): problems(ran) for ran in explored}
    return {case: wrong for case, wrong in found.items() if wrong}


def in_pairs(scenario: Scenario) -> bool:
    """Whether two things happen to it in turn: what differs for a try that finds the job of another."""
    return scenario.retries > 0 and scenario.runs == 1 and not scenario.fates and not scenario.execution_timeout


@pytest.mark.explore
@pytest.mark.parametrize("scenario", list(scenarios()), ids=str)
def test_explore_harm_at_each_step(sim: Simulator, scenario: Scenario) -> None:
    assert not unaccounted(cases(scenario, partial(run, sim)))


@pytest.mark.explore
@pytest.mark.parametrize("scenario", [each for each in scenarios() if in_pairs(each)], ids=str)
def test_explore_two_crashes_in_a_row(sim: Simulator, scenario: Scenario) -> None:
    assert not unaccounted(crashes(scenario, partial(run, sim)))


@pytest.mark.explore
@pytest.mark.parametrize("scenario", [each for each in scenarios() if each.plain], ids=str)
def test_explore_zombie_beside_a_try_that_is_harmed(sim: Simulator, scenario: Scenario) -> None:
    assert not unaccounted(zombies(scenario, partial(run, sim)))


def sample(sim: Simulator, explore: Explore, of: Iterable[Scenario], *, one_in: int) -> Iterator[Ran]:
    """Run some of the cases, always the same."""
    number = itertools.count()
    second = itertools.count()
    met: set[Kind] = set()

    def run_some(scenario: Scenario, harms: Harms) -> Ran | None:
        if len(harms) == 2 and explore is not cases:
            # Of one first harm in so many, so many of the second.
            return run(sim, scenario, harms) if next(second) % 7 == 0 else None
        # And the first of each kind.
        new = {harm.kind for harm in harms} - met
        met.update(new)
        return run(sim, scenario, harms) if not harms or next(number) % one_in == 0 or new else None

    for scenario in of:
        yield from explore(scenario, run_some)


def test_explorer_accounts_for_all_jobs_of_a_sample(sim: Simulator) -> None:
    explored = list(sample(sim, cases, scenarios(), one_in=SAMPLE))
    assert not unaccounted(explored)
    # And none of what can happen is left out.
    assert {harm.kind for ran in explored for harm in ran.harms} == set(get_args(Kind))


@pytest.mark.parametrize("explore", [crashes, zombies])
def test_explorer_accounts_for_all_jobs_of_a_sample_of_pairs(sim: Simulator, explore: Explore) -> None:
    of = [each for each in scenarios() if (in_pairs(each) if explore is crashes else each.plain)]
    assert not unaccounted(sample(sim, explore, of, one_in=SAMPLE_OF_PAIRS))


def steps_in_order(ran: Ran) -> list[str]:
    """Return the steps of a case that do not come by chance."""
    chance = (*BESIDE, *BESIDE_THE_WAIT)
    # A triggerer does several things at once.
    steps = [step for step in ran.course.steps if step.where != "triggerer"]
    return [str(step) for step in steps if not any(word in step.what for word in chance)]


@pytest.mark.parametrize("scenario", [Scenario("worker"), Scenario("deferred", has_store=False)], ids=str)
def test_explorer_plays_a_case_the_same_way_twice(sim: Simulator, scenario: Scenario) -> None:
    for ran in sample(sim, cases, [scenario], one_in=SAMPLE):
        if any(harm.kind == "lost" for harm in ran.harms):
            # Two run at once.
            continue
        assert steps_in_order(run(sim, scenario, ran.harms)) == steps_in_order(ran), str(ran)


# What must be found: a product that breaks a rule.


def named(ran: Ran, *, phase: str = "after") -> Step:
    """Return the step at which the task's job is made."""
    return next(step for step in ran.course.steps if step.what == "POST jobs" and step.phase == phase)


def test_explorer_finds_a_job_that_is_not_cancelled(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = Scenario("worker")
    step = named(run(sim, scenario))
    monkeypatch.setattr(StartedJob, "cancel_killed", lambda _: None)
    assert any("not cancelled" in each for each in problems(run(sim, scenario, [Harm(step, "failed", "goes on")])))


def test_explorer_finds_a_cancel_without_certainty(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = Scenario("worker")
    step = named(run(sim, scenario))
    found = Submission._found

    def take_for_certain(submission: Submission, job: Job) -> Job:
        submission.started_job = job.job_id
        return found(submission, job)

    monkeypatch.setattr(Submission, "_found", take_for_certain)
    (wait, *_) = (
        each
        for each in run(sim, scenario, [Harm(step, "raises")]).course.steps
        if each.what == "GET jobs/…" and each.phase == "after"
    )
    harms = [Harm(step, "raises"), Harm(wait, "failed", "goes on")]
    assert any("not known for certain" in each for each in problems(run(sim, scenario, harms)))


@pytest.mark.parametrize(("kind", "then"), [("failed", "goes on"), ("lost", "")])
def test_explorer_finds_a_variable_that_is_left(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, kind: Kind, then: Any
) -> None:
    scenario = Scenario("worker", has_store=False)
    (wait, *_) = (
        each for each in run(sim, scenario).course.steps if each.what == "GET jobs/…" and each.phase == "after"
    )
    monkeypatch.setattr(AirflowRetryStore, "drop_abandoned", lambda _: None)
    monkeypatch.setattr(AirflowRetryStore, "_finish", lambda _: None)
    assert any("Variable left" in each for each in problems(run(sim, scenario, [Harm(wait, kind, then)])))
