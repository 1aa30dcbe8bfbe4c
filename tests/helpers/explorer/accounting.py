"""Whether each job of a case is accounted for, and the task ends as it has to.

A *generation* is what a task does between two actions of a user: of its jobs one is wanted. Every other has failed, or
was cancelled on the user's behalf, or is left by one of the rules that the documentation names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from helpers.explorer.scenarios import Ran
from helpers.explorer.steps import BY_USER, CLEARS, Harm

LIVE = ("pending", "running", "incomplete")


def problems(ran: Ran) -> list[str]:
    """Return what must not be, in words; none if all is accounted for."""
    found = list(_problems(_Account(ran)))
    return found if ran.course.complete else [*found, "not reached"]


class _Account:
    """What is known of a case."""

    def __init__(self, ran: Ran) -> None:
        self.ran = ran
        self.row = ran.airflow.row
        self.jobs = {job["id"]: job for job in ran.jobs}
        self.made = ran.airbyte.made
        self.kinds = [harm.kind for harm, _ in ran.course.came]
        #: What users did, with the steps that were taken by then.
        self.actions = [(harm, at) for harm, at in ran.course.came if harm.kind in BY_USER]
        self.last_action = self.actions[-1][0].kind if self.actions else None

    @property
    def own(self) -> list[dict[str, Any]]:
        return [job for job in self.jobs.values() if not job["foreign"]]

    @property
    def by_zombies(self) -> set[int]:
        """Jobs that a worker has started which Airflow took for dead by then: nothing tells the next try of it."""
        return {each.job_id for each in self.made if each.by_zombie}

    def of_generation(self, generation: int) -> list[dict[str, Any]]:
        return [self.jobs[each.job_id] for each in self.made if each.generation == generation]

    def is_certain(self, job: dict[str, Any], action: Harm) -> bool:
        """Whether who is to cancel it knows it from Airbyte's answer: the process that had asked, or a later try."""
        if action.step.where == "airflow" and job["id"] not in self.row.recorded:
            return False
        return any(each.named for each in self.made if each.job_id == job["id"])

    def stopped(self, job: dict[str, Any]) -> bool:
        """Whether somebody asked to cancel it."""
        return job["cancel_requested_by"] is not None or job["status"] == "cancelled"

    def ended_before(self, job: dict[str, Any], at: int) -> bool:
        """Whether it had ended by itself by then."""
        return self.ran.airbyte.ended_at.get(job["id"], at + 1) <= at


def _problems(account: _Account) -> Iterator[str]:
    for job in account.jobs.values():
        if job["foreign"] and account.stopped(job):
            yield f"foreign job {job['id']} cancelled"
    last = len(account.actions)
    for generation in range(last + 1):
        yield from _of_generation(account, generation, account.of_generation(generation))
    yield from _end(account)
    yield from _left_behind(account)


def _of_generation(account: _Account, generation: int, jobs: list[dict[str, Any]]) -> Iterator[str]:
    scenario = account.ran.scenario
    runs = scenario.runs
    good = [job for job in jobs if job["status"] != "failed" and not account.stopped(job)]
    if len(good) > runs + min(1, len(account.by_zombies)):
        yield f"doubled: jobs {[job['id'] for job in good]} in generation {generation}"
    if generation == len(account.actions):
        for job in jobs:
            if account.stopped(job) and not _may_be_cancelled(account, job):
                yield f"job {job['id']} cancelled, and nobody wanted that"
        return
    # A user has ended this generation.
    action, at = account.actions[generation]
    for job in good:
        if not account.ended_before(job, at) and not _may_be_left(account, action, job):
            yield f"job {job['id']} ({job['status']}) of generation {generation} not cancelled after: {action.kind}"


def _may_be_cancelled(account: _Account, job: dict[str, Any]) -> bool:
    """Whether a job may be cancelled that no user wants to be."""
    if job["id"] in account.by_zombies:
        return True
    # A worker that is taken for dead in the last try, and is not, is told to stop, and finds the task failed: to it
    # that is no different from a task that a user has marked.
    return "lost" in account.kinds and account.row.state == "failed"


def _may_be_left(account: _Account, action: Harm, job: dict[str, Any]) -> bool:
    """Whether the documentation says that this job goes on."""
    if action.step.where == "airflow" and account.ran.scenario.mode == "asynchronous":
        # Nobody waits for it once it is started.
        return True
    if not account.is_certain(job, action):
        # Somebody else may have started it in the same moments.
        return True
    if action.kind == "clear with fewer retries" and action.step.where == "airflow":
        # It may as well be a retry: such a job is waited for.
        return True
    if action.kind in CLEARS:
        # A task that has no further try has nowhere to write it down, before 3.3.
        return account.ran.scenario.retries == 0 and not account.ran.scenario.has_store
    # Nobody is alive who could cancel it; or Airflow ends the process before it does.
    return action.step.where == "airflow"


def _end(account: _Account) -> Iterator[str]:
    """Yield what is wrong with how the task ended."""
    row, ran = account.row, account.ran
    scenario = ran.scenario
    if account.last_action in ("failed", "success"):
        if row.state != account.last_action:
            yield f"marked {account.last_action}, and is {row.state}"
        return
    if scenario.busy and scenario.if_running == "skip" and row.state == "skipped":
        foreign = [job for job in account.jobs.values() if job["foreign"]]
        if not account.own and foreign:
            return
    tries_left = row.max_tries and row.try_number <= row.max_tries
    if row.state != "success":
        hurt = [kind for kind in account.kinds if kind not in BY_USER]
        if tries_left or not hurt or row.state != "failed":
            yield f"ends {row.state} after try {row.try_number} of {row.max_tries + 1}"
        return
    results = row.result if isinstance(row.result, list) else [row.result]
    wanted = {job["id"] for job in account.of_generation(len(account.actions))}
    for result in results:
        job = account.jobs.get(result)
        if job is None:
            yield f"result {result} is no job"
        elif job["status"] != "succeeded" and scenario.mode != "asynchronous":
            yield f"success with job {result}, which is {job['status']}"
        elif job["foreign"]:
            if not (scenario.is_sensor or (scenario.busy and scenario.if_running == "attach")):
                yield f"success with foreign job {result}"
        elif result not in wanted:
            yield f"success with job {result} of an earlier generation"
    if len(set(results)) != scenario.runs:
        yield f"{scenario.runs} runs, with jobs {results}"


def _left_behind(account: _Account) -> Iterator[str]:
    """Yield what is left: jobs that run for nobody, Variables that nobody deletes."""
    row, scenario = account.row, account.ran.scenario
    if row.state == "success" and account.last_action != "success" and scenario.mode != "asynchronous":
        for job in account.own:
            if job["status"] in LIVE and job["id"] not in account.by_zombies:
                yield f"job {job['id']} still {job['status']}"
    # A Variable stays where Airflow does not get to delete it, where a user ends the task before its last try, and
    # where a worker writes it late that Airflow takes for dead.
    marked = account.last_action in ("failed", "success") or "lost" in account.kinds
    undeleted = ("after the success", "Variable: delete")
    late = any(harm.step.what.startswith(undeleted) for harm, _ in account.ran.course.came)
    if row.variables and not marked and not late:
        yield f"Variable left: {[value.get('state') for value in row.variables.values()]}"
