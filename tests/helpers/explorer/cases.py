"""What happens at which step, in turn: all that is explored of a scenario."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from helpers.explorer.scenarios import Ran, Scenario
from helpers.explorer.steps import CLEARS, Harm, Kind, Step

#: What goes on beside the task, and only makes its log and its page nicer: when it comes is left to chance.
BESIDE = ("connections", "sources", "destinations", "workspaces", "airbyte_job_url")
#: What a trigger does beside its wait: which comes first, and whether at all before that is over, is left to chance.
BESIDE_THE_WAIT = ("state: get", "POST applications/token")
#: What a triggerer does as a whole, while no trigger runs that could be told anything.
MOMENTS = ("start", "event")

Harms = tuple[Harm, ...]
#: Runs a case, or passes it by.
Runner = Callable[[Scenario, Harms], Ran | None]


def cases(scenario: Scenario, run: Runner) -> Iterator[Ran]:
    """Run all that can happen, once or with what a user does afterwards."""
    unharmed = run(scenario, ())
    assert unharmed is not None
    yield unharmed
    for step in _steps_of(unharmed):
        for harm in _harms_at(step, scenario):
            ran = run(scenario, (harm,))
            if ran is None:
                continue
            yield ran
            if ran.course.complete:
                for harms in _then(ran):
                    yield from filter(None, [run(scenario, harms)])


def crashes(scenario: Scenario, run: Runner) -> Iterator[Ran]:
    """Run all that is two crashes in a row."""
    unharmed = run(scenario, ())
    assert unharmed is not None
    for step in _steps_of(unharmed):
        if step.where == "airflow":
            continue
        first = Harm(step, "dies")
        ran = run(scenario, (first,))
        if ran is None:
            continue
        for again in _steps_of(ran, after=step):
            if again.where != "airflow" and not _comes_by_chance(again):
                yield from filter(None, [run(scenario, (first, Harm(again, "dies")))])


def zombies(scenario: Scenario, run: Runner) -> Iterator[Ran]:
    """Run all in which a worker is taken for dead that is not, and the next try dies, or is cleared, too."""
    unharmed = run(scenario, ())
    assert unharmed is not None
    for step in _steps_of(unharmed):
        for first in _harms_at(step, scenario):
            ran = run(scenario, (first,)) if first.kind == "lost" else None
            for again in _steps_of_next_try(ran, first) if ran is not None else ():
                yield from filter(None, [run(scenario, (first, Harm(again, "dies")))])
                yield from filter(None, [run(scenario, (first, Harm(again, "clear", "dies")))])


def _steps_of_next_try(ran: Ran, first: Harm) -> Iterator[Step]:
    """Return the steps on a worker of the try after one that was taken for dead, as far as they come in order."""
    for step in _steps_of(ran):
        if step.try_number != first.step.try_number + 1 or step.where != "worker":
            continue
        if step.what.startswith("after the success"):
            return
        yield step
        if first.then == "beside" and step.what == "GET jobs/…":
            # From here on both run at once.
            return


def _comes_by_chance(step: Step) -> bool:
    return step.where == "triggerer" and any(word in step.what for word in BESIDE_THE_WAIT)


def _steps_of(ran: Ran, *, after: Step | None = None) -> list[Step]:
    """Return the steps that are worth harming.

    :param after: Only those that came later.
    """
    steps = ran.course.steps
    # One that comes again and again is harmed so often, in each try.
    times = 2 if ran.scenario.plain else 1
    return [
        step
        for step in (steps if after is None else steps[steps.index(after) + 1 :])
        if step.number <= times and not any(word in step.what for word in BESIDE)
    ]


def _harms_at(step: Step, scenario: Scenario) -> Iterator[Harm]:
    """Return what can happen at a step."""
    if scenario.execution_timeout:
        yield from _out_of_time(step)
        return
    by_user = list(_by_user(scenario))
    if step.where == "airflow":
        yield from (Harm(step, kind) for kind in by_user)
        return
    yield Harm(step, "dies")
    if step.where == "triggerer":
        if step.what not in MOMENTS:
            yield from _harms_in_triggerer(step, by_user, scenario)
        return
    if step.what not in ("start", "success", "defer"):
        yield Harm(step, "raises")
    if step.what.startswith("after the success"):
        return
    if scenario.runs == 1:
        # How many runs a try has begun is known to its process, and both are this one.
        yield Harm(step, "lost", "beside")
    if scenario.retries or scenario.has_store:
        # Else nothing is remembered.
        yield Harm(step, "reset", "dies")
        if scenario.plain:
            yield Harm(step, "reset", "goes on")
    if scenario.plain:
        yield Harm(step, "lost")
    for kind in by_user:
        if kind == "clear with fewer retries":
            if scenario.plain:
                yield Harm(step, kind, "goes on")
        else:
            yield Harm(step, kind, "dies")
            if scenario.plain or kind == "clear":
                yield Harm(step, kind, "goes on")


def _out_of_time(step: Step) -> Iterator[Harm]:
    """Return whether a task's ``execution_timeout`` can be over at a step: Airflow's clock runs in ``execute`` only."""
    outside = ("start", "success", "defer", "XCom return_value: set")
    if step.where == "worker":
        if step.what not in outside and not step.what.startswith("after the success"):
            yield Harm(step, "out of time")
    elif step.what == "the deferral":
        yield Harm(step, "out of time")


def _harms_in_triggerer(step: Step, by_user: list[Kind], scenario: Scenario) -> Iterator[Harm]:
    if scenario.plain:
        yield Harm(step, "raises")
        yield Harm(step, "stops")
    yield from (Harm(step, kind) for kind in by_user)
    yield Harm(step, "clear", "new try begins")
    yield Harm(step, "clear", "new try waits")


def _by_user(scenario: Scenario) -> Iterator[Kind]:
    yield "clear"
    if scenario.retries:
        yield "clear with fewer retries"
    yield "failed"
    if scenario.plain:
        yield "success"


def _then(ran: Ran) -> Iterator[Harms]:
    """Return what a user can do afterwards: while nobody is alive, or when the task has ended."""
    (*_, last) = ran.harms
    plain = ran.scenario.plain
    kinds: list[Kind] = ["clear"]
    if last.kind == "dies" and last.step.where == "worker":
        what = "the wait for a retry"
        kinds = [kind for kind in _by_user(ran.scenario) if plain or kind in CLEARS]
    elif last.kind == "out of time" or (last.kind == "raises" and last.step.where == "worker"):
        what = "the wait for a retry"
    elif last.kind == "failed":
        what = "the end"
    else:
        return
    steps = ran.course.steps
    for step in steps[steps.index(last.step) + 1 :]:
        if step.what == what:
            yield from ((*ran.harms, Harm(step, kind)) for kind in kinds)
            return
