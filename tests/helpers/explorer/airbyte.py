"""The Airbyte of a case: how its jobs go on, and who has asked for which."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from airbyte_deferrable.simulator import Simulator
from helpers.explorer.steps import Course, Process

#: Questions about jobs after which a job ends: by then each step of a wait was taken twice.
ENDS_AFTER = 4
#: And one that nobody is to wait for any more: whoever should cancel it has had the time.
ENDS_AFTER_CLEAR = 60
NUMBER = re.compile(r"(?<=/)(\d+|[0-9a-f]{8}-[0-9a-f-]{27})(?=/|$)")

Fate = Literal["succeeded", "failed"]


def name_of(method: str, path: str) -> str:
    """Return what a request asks, whatever it asks it about."""
    return f"{method} {NUMBER.sub('…', path.partition('/v1/')[2])}"


@dataclass
class Made:
    """A job that the task has started.

    :param process: Which has asked for it.
    :param by_zombie: Whether Airflow took its worker for dead by then.
    :param named: Whether the answer reached the process that had asked: only such a job is this task's for certain.
    :param kept_at: When that process had written it down for a later try, in steps; None if it has not.
    """

    job_id: int
    process: Process
    by_zombie: bool
    named: bool = False
    kept_at: int | None = None

    @property
    def generation(self) -> int:
        return self.process.generation

    @property
    def try_number(self) -> int:
        return self.process.try_number


@dataclass(frozen=True)
class Cancel:
    """The first request to cancel a job.

    :param at: When, in steps.
    :param try_number: The try that asked.
    :param by_zombie: Whether Airflow took its worker for dead by then.
    :param state: How the task stood to Airflow.
    """

    at: int
    try_number: int
    by_zombie: bool
    state: str | None


@dataclass
class Airbyte:
    """The simulator, one of whose connections is the task's.

    Jobs end by what is asked, not by the clock, so that a case is the same each time.

    :param fates: How the task's jobs end, in their order; the others succeed.
    :param generation: How often a user has stopped the task.
    """

    sim: Simulator
    course: Course
    connection_id: str
    fates: tuple[Fate, ...] = ()
    generation: int = 0
    made: list[Made] = field(default_factory=list)
    #: When each job was ended, in steps.
    ended_at: dict[int, int] = field(default_factory=dict)
    cancels: dict[int, Cancel] = field(default_factory=dict)
    _asked: dict[int, int] = field(default_factory=dict)

    def before(self, process: Process, state: str | None, method: str, path: str) -> None:
        """Take note of a request.

        :param state: How the task stands to Airflow.
        """
        if method == "DELETE":
            cancel = Cancel(len(self.course.steps), process.try_number, process.lost.is_set(), state)
            self.cancels.setdefault(int(path.rpartition("/")[2]), cancel)
        if method != "GET" or "/jobs" not in path:
            return
        for job in self.jobs():
            if job["status"] in ("succeeded", "failed", "cancelled") or job["cancel_requested_by"] is not None:
                continue
            asked = self._asked[job["id"]] = self._asked.get(job["id"], 0) + 1
            if asked >= (ENDS_AFTER if self._wanted(job["id"]) else ENDS_AFTER_CLEAR):
                self.finish(job["id"])

    def answered(self, process: Process, method: str, path: str, status: int, body: bytes) -> Made | None:
        """Take note of an answer, and return the job that it is about if that was made for it."""
        if method != "POST" or not path.endswith("/jobs") or status != 200:
            return None
        job_id = int(json.loads(body)["jobId"])
        self.made.append(Made(job_id, process, process.lost.is_set()))
        return self.made[-1]

    def kept(self, process: Process, job_id: int | None) -> None:
        """Take note that a process has written a job down for a later try."""
        for each in self.made:
            if (each.job_id, each.process) == (job_id, process) and each.kept_at is None:
                each.kept_at = len(self.course.steps)

    def finish(self, job_id: int) -> None:
        """End a job as it is to end."""
        order = [each.job_id for each in self.made]
        place = order.index(job_id) if job_id in order else len(self.fates)
        self.ended_at[job_id] = len(self.course.steps)
        self.sim.finish(job_id, self.fates[place] if place < len(self.fates) else "succeeded")

    def jobs(self) -> list[dict[str, Any]]:
        """Return all jobs of the connection."""
        return self.sim.jobs(self.connection_id)

    def _wanted(self, job_id: int) -> bool:
        return all(each.generation == self.generation for each in self.made if each.job_id == job_id)
