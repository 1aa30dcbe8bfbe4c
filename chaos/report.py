"""What the run came to: counted by Airbyte and by Airflow, not by the package under test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ENDED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class Account:
    """The balance of a run; everything but the first two has to be empty.

    :param tasks: How many tasks there were.
    :param jobs: How many jobs Airbyte ran.
    :param duplicates: Connections with more than one job.
    :param losses: Tasks that did not succeed, and connections that never ran.
    :param orphans: Jobs that still run although no task waits for them any more.
    :param cancelled: Jobs that were cancelled, or that somebody asked to cancel.
    """

    tasks: int
    jobs: int
    duplicates: list[str]
    losses: list[str]
    orphans: list[str]
    cancelled: list[str]

    @property
    def balanced(self) -> bool:
        """Whether there is exactly one job for each task, and every task got its own."""
        trouble = [*self.duplicates, *self.losses, *self.orphans, *self.cancelled]
        return not trouble and self.jobs == self.tasks

    def lines(self) -> Iterable[str]:
        """The balance as text."""
        yield f"{'tasks':<12}{self.tasks:>5}"
        yield f"{'jobs':<12}{self.jobs:>5}"
        for name in ("duplicates", "losses", "orphans", "cancelled"):
            found = getattr(self, name)
            yield f"{name:<12}{len(found):>5}"
            yield from (f"    {what}" for what in found)


def account(
    connection_ids: Sequence[str], jobs: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]
) -> Account:
    """Draw the balance.

    :param connection_ids: The connections, in the order of the tasks' map indexes.
    :param jobs: The simulator's records of all jobs.
    :param tasks: Airflow's task instances.
    """
    runs = Counter(job["connectionId"] for job in jobs)
    of = {connection_id: [job["id"] for job in jobs if job["connectionId"] == connection_id] for connection_id in runs}
    done = {task["map_index"] for task in tasks if task["state"] == "success"}
    states = {task["map_index"]: f"{task['state']} (try {task['try_number']})" for task in tasks}
    losses = [
        f"task {index}: {states.get(index, 'never made')}" for index in range(len(connection_ids)) if index not in done
    ]
    losses += [f"task {index}: no job" for index, each in enumerate(connection_ids) if each not in runs]
    return Account(
        tasks=len(connection_ids),
        jobs=len(jobs),
        duplicates=[
            f"task {index}: jobs {of[each]}" for index, each in enumerate(connection_ids) if runs.get(each, 0) > 1
        ],
        losses=losses,
        orphans=[f"job {job['id']}: {job['status']}" for job in jobs if job["status"] not in ENDED],
        cancelled=[
            f"job {job['id']}: {job['status']}, asked by {job['cancel_requested_by']}"
            for job in jobs
            if job["status"] == "cancelled" or job["cancel_requested_by"] is not None
        ],
    )
