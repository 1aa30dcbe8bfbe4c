"""What the kill matrix finds: of each thing that happens, what becomes of the job, and of the task.

``tests/e2e/test_kill_matrix.py`` holds a real Airflow to it, ``tests/docs/test_kill_matrix.py`` the page that tells it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

WORKER = ("on_worker",)
DEFERRED = ("deferred",)
BOTH = (*WORKER, *DEFERRED)


class Cell(NamedTuple):
    """Something that happens to a task in one of its ways to wait."""

    what: str
    way: str


class Outcome(NamedTuple):
    """What becomes of it.

    :param job: Of the job that it had, and of others.
    :param task: ``runs again`` is a new try, ``goes on`` the present one; else Airflow's state.
    """

    job: str
    task: str


class Found(NamedTuple):
    """What the matrix finds on each Airflow; None where that has no such thing."""

    before: Outcome | None
    now: Outcome | None


AFRESH = Outcome("cancelled, 1 new", "runs again")
CANCELLED_FAILED = Outcome("cancelled", "failed")
CANCELLED_SUCCESS = Outcome("cancelled", "success")
CANCELLED_SKIPPED = Outcome("cancelled", "skipped")
LEFT_FAILED = Outcome("goes on", "failed")
LEFT_SUCCESS = Outcome("goes on", "success")
LEFT_RUNS_AGAIN = Outcome("goes on", "runs again")
LEFT_GOES_ON = Outcome("goes on", "goes on")
FOUND_AGAIN = Outcome("found again, no other", "success")
WAITED_FOR = Outcome("waited for, then 1 new", "runs again")

_cells: dict[Cell, Found] = {}


def _add(what: str, ways: Sequence[str], now: Outcome, *before: Outcome | None) -> None:
    """Put down what is found; on Airflow 2.11 the same, if nothing else is said."""
    for way in ways:
        _cells[Cell(what, way)] = Found(before[0] if before else now, now)


# A user, while it waits
_add("mark failed", BOTH, CANCELLED_FAILED)
_add("mark success", BOTH, CANCELLED_SUCCESS)
# Airflow 2.11 answers 200 to a call that clears a running task. The task's next heartbeat writes over what the call has
# written (airflow.jobs.job: it merges what it knows into the database), so that it nearly always runs on.
_add("clear", WORKER, AFRESH, None)
_add("clear", DEFERRED, AFRESH)
_add("mark run failed", BOTH, CANCELLED_FAILED)
_add("mark failed, one map index", BOTH, CANCELLED_FAILED)
_add("mark success, one map index", BOTH, CANCELLED_SUCCESS)
# Airflow 2.11 cannot clear a single index over its API.
_add("clear, one map index", BOTH, AFRESH, None)
for _kind in ("cancel_on_kill=False", "job of somebody else"):
    _add(f"mark failed, {_kind}", BOTH, LEFT_FAILED)
    _add(f"mark success, {_kind}", BOTH, LEFT_SUCCESS)
    _add(f"clear, {_kind}", WORKER, LEFT_RUNS_AGAIN, None)
    _add(f"clear, {_kind}", DEFERRED, LEFT_RUNS_AGAIN)
    _add(f"mark run failed, {_kind}", BOTH, LEFT_FAILED)

# A user, while no process of the task is alive
for _moment, _ways in {
    "up for retry": BOTH,
    "queued for a retry": BOTH,
    "between event and resumption": DEFERRED,
}.items():
    _add(f"clear, {_moment}", _ways, AFRESH)
    _add(f"mark failed, {_moment}", _ways, LEFT_FAILED)
    _add(f"mark success, {_moment}", _ways, LEFT_SUCCESS)
_add("clear, between event and resumption, job succeeded", DEFERRED, Outcome("has ended, 1 new", "runs again"))
_add("clear, before its trigger begins", DEFERRED, AFRESH)
# A triggerer of Airflow 3 begins what triggers there are, and then drops what nobody wants; 2.11 does so the other way.
_add("mark failed, before its trigger begins", DEFERRED, Outcome("goes on or cancelled", "failed"), LEFT_FAILED)
_add("mark success, before its trigger begins", DEFERRED, Outcome("goes on or cancelled", "success"), LEFT_SUCCESS)
_add("clear, new try parses for long", DEFERRED, AFRESH)
_add("clear, up for retry, cancel_on_kill=False", BOTH, WAITED_FOR)
_add("clear, up for retry, retries lowered", WORKER, WAITED_FOR)

# Deadlines
_add("execution_timeout", BOTH, CANCELLED_FAILED)
_add("execution_timeout, cancel_on_kill=False", BOTH, CANCELLED_FAILED)
_add("dagrun_timeout", BOTH, CANCELLED_SKIPPED)
_add("timeout", BOTH, LEFT_FAILED)

# Machines
_add("triggerer killed", DEFERRED, LEFT_GOES_ON)
_add("triggerer terminated", DEFERRED, LEFT_GOES_ON)
_add("triggerer paused", DEFERRED, LEFT_GOES_ON)
_add("worker killed while it waits", WORKER, FOUND_AGAIN)
_add("worker killed before it knows its job", BOTH, FOUND_AGAIN)
_add("worker killed after the job's end", DEFERRED, FOUND_AGAIN)
_add("worker terminated", WORKER, FOUND_AGAIN)
_add("result cannot be pushed", WORKER, FOUND_AGAIN)
_add("map index cannot be rendered", WORKER, FOUND_AGAIN)
_add("last try fails early", WORKER, LEFT_FAILED)
_add("API server killed", WORKER, FOUND_AGAIN, LEFT_GOES_ON)
_add("scheduler killed", WORKER, FOUND_AGAIN)

#: All of it, by what happens and how the task waits.
CELLS: dict[Cell, Found] = _cells
