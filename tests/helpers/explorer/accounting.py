"""Whether each job of a case is accounted for, and the task ends as it has to.

A *generation* is what a task does between two actions of a user: of its jobs one is wanted. Every other has failed, or
was cancelled on the user's behalf, or is left by one of the rules that the documentation names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from helpers.explorer.airbyte import Cancel, Made
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

    def made_of(self, job: dict[str, Any]) -> Made:
        return next(each for each in self.made if each.job_id == job["id"])

    def is_certain(self, job: dict[str, Any], action: Harm, at: int) -> bool:
        """Whether who is to cancel it knows it from Airbyte's answer: the process that had asked, or a later try.

        :param at: When the user did that, in steps.
        """
        made = self.made_of(job)
        if not made.named:
            return False
        if action.step.where != "airflow" and action.step.try_number == made.try_number:
            return True
        # Which includes that there was a place to write it down.
        return made.kept_at is not None and made.kept_at <= at

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
    for job in account.own:
        # Also where it was too late: the request is what must not be.
        if account.stopped(job) or job["id"] in account.ran.airbyte.cancels:
            yield from _of_cancelled(account, job)
    yield from _end(account)
    yield from _left_behind(account)


def _of_generation(account: _Account, generation: int, jobs: list[dict[str, Any]]) -> Iterator[str]:
    good = [job for job in jobs if job["status"] != "failed" and not account.stopped(job)]
    wanted = [job["id"] for job in good if job["id"] not in account.by_zombies]
    if len(wanted) > account.ran.scenario.runs:
        yield f"doubled: jobs {wanted} in generation {generation}"
    if generation == len(account.actions):
        return
    # A user has ended this generation.
    action, at = account.actions[generation]
    for job in good:
        if not account.ended_before(job, at) and not _may_be_left(account, action, at, job):
            yield f"job {job['id']} ({job['status']}) of generation {generation} not cancelled after: {action}"


def _of_cancelled(account: _Account, job: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a job that was cancelled: who did it, what they knew, whether anybody wanted that."""
    cancel, made = account.ran.airbyte.cancels.get(job["id"]), account.made_of(job)
    if cancel is None:
        yield f"job {job['id']} cancelled in the place of another"
        return
    if not made.named or (cancel.try_number != made.try_number and made.kept_at is None):
        yield f"job {job['id']} cancelled, and it was not known for certain"
    if not _may_be_cancelled(account, made, cancel):
        yield f"job {job['id']} cancelled, and nobody wanted that"


def _may_be_cancelled(account: _Account, made: Made, cancel: Cancel) -> bool:
    if account.ran.scenario.cancel_on_kill:
        if made.generation < len(account.actions) and account.actions[made.generation][1] <= cancel.at:
            # A user has ended its generation by then.
            return True
        # A worker that is taken for dead in the last try, and is not, is told to stop, and finds the task failed: to it
        # that is no different from a task that a user has marked.
        if cancel.by_zombie and cancel.state == "failed":
            return True
    return any(
        harm.kind == "out of time" and at <= cancel.at and harm.step.try_number >= made.try_number
        for harm, at in account.ran.course.came
    )


def _may_be_left(account: _Account, action: Harm, at: int, job: dict[str, Any]) -> bool:
    """Whether the documentation says that this job goes on."""
    scenario = account.ran.scenario
    if not scenario.cancel_on_kill or (action.step.where == "airflow" and scenario.mode == "asynchronous"):
        # Nobody is to cancel it; or nobody waits for it once it is started.
        return True
    if not account.is_certain(job, action, at):
        # Somebody else may have started it in the same moments, or nobody remembers it.
        return True
    if action.kind == "clear with fewer retries" and action.step.where == "airflow":
        # It may as well be a retry: such a job is waited for.
        return True
    # Else the next try makes up for it. Of a task that was marked, nobody is alive who could.
    return action.step.where == "airflow" and action.kind not in CLEARS


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
        if (
            scenario.busy
            and scenario.if_running == "fail"
            and (row.state, tries_left) == ("failed", False)
            and not account.of_generation(len(account.actions))
        ):
            return
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
    yield from _variables_left(account)


def _variables_left(account: _Account) -> Iterator[str]:
    """Yield the Variables that are left by no rule."""
    row, course = account.row, account.ran.course
    # The worker dies, or Airflow fails, between the success and the deletion.
    if any(harm.step.what.startswith(("after the success", "Variable: delete")) for harm, _ in course.came):
        return
    for key, value in row.variables.items():
        # A worker writes it late that Airflow takes for dead; or a user ends the task before its last try, so that its
        # job is not seen to end.
        if key not in row.by_zombies and not (account.last_action in ("failed", "success") and _is_unseen(account)):
            yield f"Variable left: {value.get('state')}"


def _is_unseen(account: _Account) -> bool:
    """Whether nobody has seen the end of the job of a task that was marked at last."""
    action, _ = account.actions[-1]
    if action.step.where != "worker":
        return True
    return not any(account.stopped(job) for job in account.of_generation(len(account.actions) - 1))
