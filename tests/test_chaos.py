"""The chaos run's balance finds what must not be, and its plan leaves nobody out and can be repeated."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.plan import KINDS, durations, plan
from chaos.report import account

CONNECTIONS = ["a", "b"]


def job(job_id: int, connection_id: str, status: str = "succeeded", cancelled_by: int | None = None) -> dict[str, Any]:
    return {"id": job_id, "connectionId": connection_id, "status": status, "cancel_requested_by": cancelled_by}


def task(index: int, state: str = "success") -> dict[str, Any]:
    return {"map_index": index, "state": state, "try_number": 1}


def test_verdict_on_one_job_for_each_task_is_good() -> None:
    assert account(CONNECTIONS, [job(1, "a"), job(2, "b")], [task(0), task(1)]).balanced


@pytest.mark.parametrize(
    ("found", "jobs", "tasks"),
    [
        ("duplicates", [job(1, "a"), job(2, "b"), job(3, "b")], [task(0), task(1)]),
        ("losses", [job(1, "a"), job(2, "b")], [task(0), task(1, "failed")]),
        ("losses", [job(1, "a"), job(2, "b")], [task(0)]),
        ("losses", [job(1, "a")], [task(0), task(1)]),
        ("orphans", [job(1, "a"), job(2, "b", "running")], [task(0), task(1)]),
        ("cancelled", [job(1, "a"), job(2, "b", "cancelled")], [task(0), task(1)]),
        ("cancelled", [job(1, "a"), job(2, "b", cancelled_by=2)], [task(0), task(1)]),
    ],
)
def test_verdict_names_what_must_not_be(found: str, jobs: list[dict[str, Any]], tasks: list[dict[str, Any]]) -> None:
    balance = account(CONNECTIONS, jobs, tasks)
    assert not balance.balanced
    assert len(getattr(balance, found)) == 1


def test_plan_kills_everything_once_a_round_and_follows_from_its_seed() -> None:
    kills = plan(7, 3, (8, 20), (2, 6))
    assert [sorted(kill.kind for kill in kills[begin : begin + 7]) for begin in (0, 7, 14)] == [sorted(KINDS)] * 3
    assert [kill.at for kill in kills] == sorted(kill.at for kill in kills)
    assert kills == plan(7, 3, (8, 20), (2, 6))
    assert kills != plan(8, 3, (8, 20), (2, 6))


@pytest.mark.parametrize("seed", range(20))
def test_sync_is_in_flight_at_the_last_kill_though_all_begin_at_once(seed: int) -> None:
    kills = plan(seed, 1, (8, 14), (2, 5))
    seconds = durations(seed, 60, 20, kills)
    assert len(seconds) == 60
    assert min(seconds) >= 20
    assert max(seconds) > kills[-1].at + 10
    assert seconds == durations(seed, 60, 20, kills)
