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

Job = Mapping[str, Any]

ENDED = frozenset({"succeeded", "failed", "cancelled"})
#: Seconds before its job was made at which a user may have stopped a task that was about to start it.
STARTS_WITHIN = 60.0
#: States of a task on a worker or in the triggerer: of one in any other no process is alive.
ALIVE = frozenset({"running", "deferred"})


@dataclass(frozen=True)
class Action:
    """What a user did to a task.

    :param index: The task's map index.
    :param kind: ``clear``, or how the task was marked: ``failed``, ``success``.
    :param began: When Airflow was asked for it, seconds since the epoch.
    :param ended: When it had answered, or had not.
    :param answered: Whether it has; else nobody knows whether it was done.
    :param state: The task's state before.
    :param down: What was down then, or until a moment ago.
    """

    index: int
    kind: str
    began: float
    ended: float
    answered: bool = True
    state: str | None = "deferred"
    down: tuple[str, ...] = ()


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
) -> Account:
    """Draw the balance.

    :param connection_ids: The connections, in the order of the tasks' map indexes.
    :param jobs: The simulator's records of all jobs.
    :param tasks: Airflow's task instances.
    :param actions: What users did to them.
    """
    balance = Account(tasks=len(connection_ids), jobs=len(jobs))
    states = {task["map_index"]: task for task in tasks}
    for index, connection_id in enumerate(connection_ids):
        of_it = [job for job in jobs if job["connectionId"] == connection_id]
        for job in of_it:
            if job["foreign"]:
                _account_for_foreign(balance, job)
        own = [job for job in of_it if not job["foreign"]]
        _Task(balance, index, states.get(index), own, [each for each in actions if each.index == index]).account()
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
    ) -> None:
        self.balance = balance
        self.name = f"task {index}"
        self.task = task
        self.jobs = sorted(jobs, key=lambda job: int(job["id"]))
        self.actions = actions

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
        stopped_by = [each for each in self.actions if begins - STARTS_WITHIN <= each.ended and each.began <= ends]
        if _is_cancelled(job):
            if stopped_by and job["cancel_requested_by"] == job["id"]:
                return "cancelled on a user's behalf"
            asked = job["cancel_requested_by"]
            self.balance.cancelled.append(f"{self.name}: job {job['id']} {job['status']}, asked by {asked}")
            return ""
        during = [each for each in stopped_by if begins <= each.ended]
        if job is wanted and not any(each.answered for each in during):
            return "wanted"
        if not during:
            return "wanted, until a user did something" if job["status"] in ENDED else self._orphan(job)
        rules = list(filter(None, map(_rule, during)))
        if not rules:
            return self._orphan(job)
        self.balance.left.append(f"{self.name}: job {job['id']} from {begins:.1f} to {ends:.1f}, {self._told()}")
        return rules[0]

    def _orphan(self, job: Job) -> str:
        self.balance.orphans.append(f"{self.name}: job {job['id']} {job['status']}, {self._told()}")
        return ""

    def _cleared_between(self, one: Job, other: Job) -> bool:
        return any(
            each.kind == "clear" and one["createdAt"] <= each.ended and each.began <= other["createdAt"] + STARTS_WITHIN
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
        elif sure and wanted["createdAt"] < sure[-1].began - STARTS_WITHIN:
            yield f"cleared, and not done again, {self._told()}"

    def _told(self) -> str:
        told = [f"{each.kind} at {each.began:.1f} when {each.state}, down {each.down}" for each in self.actions]
        return ", ".join(told) or "nobody did anything to it"


def _is_cancelled(job: Job) -> bool:
    return job["status"] == "cancelled" or job["cancel_requested_by"] is not None


def _rule(action: Action) -> str:
    """Return the documented rule by which a job may go on after an action; empty if there is none."""
    if not action.answered:
        return "left: nobody knows whether its task was stopped"
    if action.kind == "clear":
        # Else the next try cancels it at once. Where a part of Airflow is down, that begins late.
        return "left: its task was cleared while a part of Airflow was down, and it ended first" if action.down else ""
    if action.state not in ALIVE:
        return "left: its task was marked while no process of it was alive"
    return "left: its task was marked while a part of Airflow was down that could tell it" if action.down else ""
