"""The chaos run's balance finds what must not be, and its plan leaves nobody out and can be repeated."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.plan import DEEDS, INTRUDES, KINDS, deeds, durations, plan
from chaos.report import Action, account

CONNECTIONS = ["a", "b"]
LONG_AGO, OVER = 1000.0, 1060.0


def job(
    job_id: int,
    connection_id: str,
    status: str = "succeeded",
    cancelled_by: int | None = None,
    *,
    created: float = LONG_AGO,
    ended: float = OVER,
    foreign: bool = False,
) -> dict[str, Any]:
    return {
        "id": job_id,
        "connectionId": connection_id,
        "status": status,
        "cancel_requested_by": cancelled_by,
        "createdAt": created,
        "updatedAt": ended,
        "foreign": foreign,
    }


def task(index: int, state: str = "success") -> dict[str, Any]:
    return {"map_index": index, "state": state, "try_number": 1}


def does(kind: str, at: float = 1030.0, **more: Any) -> Action:
    return Action(1, kind, at, at + 0.1, **more)


CANCELLED = job(2, "b", "cancelled", 2, ended=1031.0)
AGAIN = job(3, "b", created=1040.0, ended=1090.0)
LATER = job(3, "b", created=1070.0, ended=1090.0)
FOREIGN = job(4, "b", created=1032.0, ended=1038.0, foreign=True)


@pytest.mark.parametrize(
    ("jobs", "state", "actions", "explained"),
    [
        ([job(2, "b")], "success", [], "wanted"),
        ([CANCELLED, AGAIN], "success", [does("clear")], "cancelled on a user's behalf"),
        ([CANCELLED, FOREIGN, AGAIN], "success", [does("clear")], "somebody else's"),
        ([CANCELLED], "failed", [does("failed")], "cancelled on a user's behalf"),
        ([CANCELLED], "success", [does("success")], "cancelled on a user's behalf"),
        ([job(2, "b"), LATER], "success", [does("clear", 1062.0)], "wanted, until a user did something"),
        ([], "failed", [does("failed", 990.0)], "wanted"),
        (
            [job(2, "b")],
            "failed",
            [does("failed", state="up_for_retry")],
            "left: its task was marked while no process of it was alive",
        ),
        (
            [job(2, "b")],
            "failed",
            [does("failed", down=("triggerer",))],
            "left: its task was marked while a part of Airflow was down that could tell it",
        ),
        (
            [job(2, "b"), LATER],
            "success",
            [does("clear", down=("triggerer", "triggerer-2"))],
            "left: its task was cleared while a part of Airflow was down, and it ended first",
        ),
        (
            [job(2, "b"), LATER],
            "success",
            [does("clear", answered=False)],
            "left: nobody knows whether its task was stopped",
        ),
    ],
)
def test_verdict_explains_each_job(
    jobs: list[dict[str, Any]], state: str, actions: list[Action], explained: str
) -> None:
    balance = account(CONNECTIONS, [job(1, "a"), *jobs], [task(0), task(1, state)], actions)
    assert balance.balanced, list(balance.lines())
    assert balance.explained[explained]


@pytest.mark.parametrize(
    ("found", "jobs", "tasks", "actions"),
    [
        ("duplicates", [job(1, "a"), job(2, "b"), job(3, "b")], [task(0), task(1)], []),
        ("duplicates", [job(1, "a"), job(2, "b"), AGAIN], [task(0), task(1)], [does("clear", 800.0)]),
        ("losses", [job(1, "a"), job(2, "b")], [task(0), task(1, "failed")], []),
        ("losses", [job(1, "a"), job(2, "b")], [task(0)], []),
        ("losses", [job(1, "a")], [task(0), task(1)], []),
        ("losses", [job(1, "a"), CANCELLED], [task(0), task(1)], [does("clear")]),
        ("losses", [job(1, "a"), job(2, "b")], [task(0), task(1)], [does("clear", 1200.0)]),
        ("losses", [job(1, "a"), CANCELLED], [task(0), task(1, "running")], [does("failed")]),
        ("orphans", [job(1, "a"), job(2, "b", "running")], [task(0), task(1, "failed")], [does("failed")]),
        ("orphans", [job(1, "a"), job(2, "b")], [task(0), task(1, "failed")], [does("failed")]),
        ("orphans", [job(1, "a"), job(2, "b"), AGAIN], [task(0), task(1)], [does("clear")]),
        ("cancelled", [job(1, "a"), job(2, "b", "cancelled")], [task(0), task(1)], []),
        ("cancelled", [job(1, "a"), job(2, "b", cancelled_by=2)], [task(0), task(1)], []),
        ("cancelled", [job(1, "a"), job(2, "b", "cancelled", 1), AGAIN], [task(0), task(1)], [does("clear")]),
        (
            "foreign",
            [job(1, "a"), job(2, "b"), job(3, "b", "cancelled", 2, foreign=True)],
            [task(0), task(1)],
            [],
        ),
    ],
)
def test_verdict_names_what_must_not_be(
    found: str, jobs: list[dict[str, Any]], tasks: list[dict[str, Any]], actions: list[Action]
) -> None:
    balance = account(CONNECTIONS, jobs, tasks, actions)
    assert not balance.balanced
    assert len(getattr(balance, found)) == 1


def test_plan_has_users_do_everything_and_leave_the_longest_sync_alone() -> None:
    kills = plan(7, 1, (8, 14), (2, 5))
    planned = deeds(7, 60, kills)
    assert {deed.kind for deed in planned} == {*DEEDS, INTRUDES}
    assert all(0 < deed.index < 60 for deed in planned)
    assert planned == deeds(7, 60, kills)
    assert planned != deeds(8, 60, kills)


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
