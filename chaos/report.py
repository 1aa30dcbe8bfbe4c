"""What the run came to: counted by Airbyte and by Airflow, not by the package under test.

Each job is explained: it is wanted, it was cancelled on a user's behalf, it had ended before a user did anything, or it
is left by a rule that docs/kill-retry-timeout.md names. What no sentence explains must not be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Any

from chaos.rules import ENDED, GOES_ON, Action, Evidence, Job


@dataclass
class Account:
    """The balance of a run; the lists from ``duplicates`` on have to be empty.

    :param tasks: How many tasks there were.
    :param jobs: How many jobs Airbyte ran.
    :param explained: How many of them by which explanation.
    :param left: Those that a documented rule leaves, with what was done.
    :param duplicates: Tasks that had a job more than anybody wanted.
    :param losses: Tasks that did not end as they had to.
    :param orphans: Jobs that still run, or ran on, although their task was stopped, by no rule.
    :param cancelled: Jobs that were cancelled on nobody's behalf.
    :param foreign: Somebody else's jobs that were cancelled.
    """

    tasks: int
    jobs: int
    explained: Counter[str] = field(default_factory=Counter)
    left: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        """Whether every task got what it wanted, and every job is explained."""
        trouble = [*self.duplicates, *self.losses, *self.orphans, *self.cancelled, *self.foreign]
        return not trouble and self.explained.total() == self.jobs

    def lines(self) -> Iterable[str]:
        """The balance as text."""
        yield f"{'tasks':<12}{self.tasks:>5}"
        yield f"{'jobs':<12}{self.jobs:>5}"
        yield from (f"    {number:>4}  {why}" for why, number in self.explained.most_common())
        yield from (f"          {what}" for what in self.left)
        for name in ("duplicates", "losses", "orphans", "cancelled", "foreign"):
            found = getattr(self, name)
            yield f"{name:<12}{len(found):>5}"
            yield from (f"    {what}" for what in found)


def account(
    connection_ids: Sequence[str],
    jobs: Sequence[Job],
    tasks: Sequence[Mapping[str, Any]],
    actions: Sequence[Action] = (),
    evidence: Evidence | None = None,
) -> Account:
    """Draw the balance.

    :param connection_ids: The connections, in the order of the tasks' map indexes.
    :param jobs: The simulator's records of all jobs.
    :param tasks: Airflow's task instances.
    :param actions: What users did to them.
    :param evidence: What else is known of the run. Default: nothing went down, and no task was tried again.
    """
    evidence = evidence or Evidence()
    balance = Account(tasks=len(connection_ids), jobs=len(jobs))
    states = {task["map_index"]: task for task in tasks}
    for index, connection_id in enumerate(connection_ids):
        of_it = [job for job in jobs if job["connectionId"] == connection_id]
        for job in of_it:
            if job["foreign"]:
                _account_for_foreign(balance, job)
        own = [job for job in of_it if not job["foreign"]]
        done = [each for each in actions if each.index == index]
        _Task(balance, index, states.get(index), own, done, evidence).account()
    return balance


def _account_for_foreign(balance: Account, job: Job) -> None:
    if _is_cancelled(job):
        balance.foreign.append(f"job {job['id']}: {job['status']}, asked by {job['cancel_requested_by']}")
    else:
        balance.explained["somebody else's"] += 1


class _Task:
    """One task with its jobs, and what users did to it."""

    def __init__(
        self,
        balance: Account,
        index: int,
        task: Mapping[str, Any] | None,
        jobs: Sequence[Job],
        actions: Sequence[Action],
        evidence: Evidence,
    ) -> None:
        self.balance = balance
        self.name = f"task {index}"
        self.task = task
        self.jobs = sorted(jobs, key=lambda job: int(job["id"]))
        self.actions = actions
        self.evidence = evidence

    def account(self) -> None:
        wanted = self._wanted()
        for job in self.jobs:
            why = self._explanation(job, wanted)
            if why:
                self.balance.explained[why] += 1
        good = [job for job in self.jobs if not _is_cancelled(job) and job["status"] != "failed"]
        self.balance.duplicates += [
            f"{self.name}: jobs {one['id']} and {other['id']}"
            for one, other in pairwise(good)
            if not self._cleared_between(one, other)
        ]
        self.balance.losses += [f"{self.name}: {why}" for why in self._losses(wanted)]

    def _wanted(self) -> Job | None:
        """Return the job whose success is the task's, if it has one."""
        last = self.jobs[-1] if self.jobs else None
        return last if last is not None and last["status"] == "succeeded" and not _is_cancelled(last) else None

    def _explanation(self, job: Job, wanted: Job | None) -> str:
        """Return why there is this job; if nothing explains it, that is put down."""
        begins, ends = job["createdAt"], job["updatedAt"] if job["status"] in ENDED else inf
        # Not of a job that was started since: to cancel that is what must not be.
        stopped_by = [each for each in self.actions if each.began <= ends and self.evidence.is_stopped(job, each)]
        if _is_cancelled(job):
            if stopped_by and job["cancel_requested_by"] == job["id"]:
                return "cancelled on a user's behalf"
            asked = job["cancel_requested_by"]
            self.balance.cancelled.append(f"{self.name}: job {job['id']} {job['status']}, asked by {asked}")
            return ""
        if self._is_of_nobody(job):
            return self._orphan(job)
        if job is wanted and not any(each.answered for each in stopped_by):
            return "wanted"
        if not stopped_by:
            return "wanted, until a user did something" if job["status"] in ENDED else self._orphan(job)
        # Each that is known to have been done had to end it.
        sure = [each for each in stopped_by if each.answered] or stopped_by
        rules = [self.evidence.rule(job, each, wanted=job is wanted) for each in sure]
        last = rules[-1]
        if last is None or None in rules:
            return self._orphan(job)
        self.balance.left.append(f"{self.name}: job {job['id']} from {begins:.1f} to {ends:.1f}, {self._told()}")
        return last.name

    def _is_of_nobody(self, job: Job) -> bool:
        """Tell whether it was started for a task that a user has marked.

        Not where it ran and Airflow itself has begun a further try since: it then has lost the mark, as 3.3 did of a
        task that failed in the same seconds. Only without a further try can it be the task's own doing.
        """
        before = [
            each for each in self.actions if each.began < job["createdAt"] and not self.evidence.is_stopped(job, each)
        ]
        if not before or not before[-1].answered or before[-1].kind == "clear":
            return False
        return before[-1].state != "running" or job["createdAt"] < self.evidence.next_try(before[-1])

    def _orphan(self, job: Job) -> str:
        begins, ends = job["createdAt"], job["updatedAt"]
        what = f"job {job['id']} {job['status']}, from {begins:.1f} to {ends:.1f}"
        self.balance.orphans.append(f"{self.name}: {what}, {self._told()}")
        return ""

    def _cleared_between(self, one: Job, other: Job) -> bool:
        return any(
            each.kind == "clear" and self.evidence.is_stopped(one, each) and not self.evidence.is_stopped(other, each)
            for each in self.actions
        )

    def _losses(self, wanted: Job | None) -> Iterator[str]:
        state = self.task["state"] if self.task else "never made"
        sure = [each for each in self.actions if each.answered]
        if any(each.kind != "clear" for each in sure[-1:]) or len(sure) < len(self.actions):
            # As a user has it, or nobody knows how a user has it.
            if state not in ("success", "failed"):
                yield f"{state}, {self._told()}"
            return
        if state != "success":
            yield f"{state} (try {self.task['try_number'] if self.task else 0}), {self._told()}"
        elif wanted is None:
            yield f"success, but no job is, {self._told()}"
        elif sure and self.evidence.is_stopped(wanted, sure[-1]) and not self._goes_on(wanted, sure[-1]):
            yield f"cleared, and not done again, {self._told()}"

    def _goes_on(self, wanted: Job, clear: Action) -> bool:
        """Tell whether a clear was no different from a retry."""
        return self.evidence.rule(wanted, clear, wanted=True) is GOES_ON

    def _told(self) -> str:
        return ", ".join(map(self._tell, self.actions)) or "nobody did anything to it"

    def _tell(self, action: Action) -> str:
        again = self.evidence.next_try(action)
        told = f"{action.kind} at {action.began:.1f} when {action.state}"
        told += "" if action.answered else ", no answer"
        told += "" if action.alive else ", its process dead"
        if action.state == "deferred":
            triggerer = self.evidence.triggerers.get(action.triggerer or 0)
            heard = f"heard last at {triggerer.last_heard:.1f}" if triggerer else "none"
            told += f" at {action.deferred_at:.1f}, its triggerer {heard}"
        return told if again == inf else f"{told}, next try at {again:.1f}"


def _is_cancelled(job: Job) -> bool:
    return job["status"] == "cancelled" or job["cancel_requested_by"] is not None
