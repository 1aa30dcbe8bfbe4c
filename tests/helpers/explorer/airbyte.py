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

    :param generation: How often a user had stopped the task before the process began that did.
    :param try_number: The try that did.
    :param by_zombie: Whether Airflow took its worker for dead by then.
    :param named: Whether the answer reached the process that had asked: only such a job is this task's for certain.
    """

    job_id: int
    generation: int
    try_number: int
    by_zombie: bool
    named: bool = False


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
    _asked: dict[int, int] = field(default_factory=dict)

    def before(self, method: str, path: str) -> None:
        """Take note of a request."""
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
        self.made.append(Made(job_id, process.generation, process.try_number, process.lost.is_set()))
        return self.made[-1]

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
