"""The chaos run's balance finds what must not be, and its plan leaves nobody out and can be repeated."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from chaos.plan import DEEDS, INTRUDES, KINDS, deeds, durations, plan
from chaos.report import account
from chaos.rules import RULES, Action, Evidence, Outage, Triggerer
from chaos.users import MEETS, NOT_TOLD, said, silences_in

REPOSITORY = Path(__file__).parent.parent
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
    return Action(1, kind, at, at + 0.1, **{"triggerer": ALIVE, **more})


#: Numbers of triggerers, of which one has died at 1005.
ALIVE, DEAD = 7, 8


def known(
    *outages: Outage,
    again: float | None = 1039.0,
    silences: tuple[Outage, ...] = (),
    asked_in_vain: float | None = None,
    met: float | None = None,
) -> Evidence:
    """Return what else is known of a task that was deferred at 1001.

    :param again: When its second try began.
    :param asked_in_vain: When its process said that Airflow does not tell why it is stopped.
    :param met: When its second try said that it waits for a job of before.
    """
    triggerers = {ALIVE: Triggerer(2000.0), DEAD: Triggerer(1005.0)}
    tries = (999.0,) if again is None else (999.0, again)
    said = ({1: () if at is None else (at,)} for at in (asked_in_vain, met))
    return Evidence(outages, silences, triggerers, {1: tries}, *said)


def away(part: str, at: float = 1031.0, until: float = 1035.0) -> Outage:
    return Outage(part, at, until)


CANCELLED = job(2, "b", "cancelled", 2, ended=1031.0)
AGAIN = job(3, "b", created=1040.0, ended=1090.0)
LATER = job(3, "b", created=1070.0, ended=1090.0)
FOREIGN = job(4, "b", created=1032.0, ended=1038.0, foreign=True)
ON_WORKER: dict[str, Any] = {"state": "running"}
UP_FOR_RETRY: dict[str, Any] = {"state": "up_for_retry"}


@pytest.mark.parametrize(
    ("jobs", "state", "actions", "evidence", "explained"),
    [
        ([job(2, "b")], "success", [], known(), "wanted"),
        ([CANCELLED, AGAIN], "success", [does("clear")], known(), "cancelled on a user's behalf"),
        ([CANCELLED, FOREIGN, AGAIN], "success", [does("clear")], known(), "somebody else's"),
        ([CANCELLED], "failed", [does("failed")], known(), "cancelled on a user's behalf"),
        ([CANCELLED], "success", [does("success")], known(), "cancelled on a user's behalf"),
        # Not told yet, the process on the worker starts it, and is told a second later.
        (
            [job(2, "b", "cancelled", 2, created=1031.0, ended=1034.0), AGAIN],
            "success",
            [does("clear", **ON_WORKER)],
            known(),
            "cancelled on a user's behalf",
        ),
        (
            [job(2, "b"), LATER],
            "success",
            [does("clear", 1062.0)],
            known(again=1069.0),
            "wanted, until a user did something",
        ),
        ([], "failed", [does("failed", 990.0)], known(again=None), "wanted"),
        (
            [job(2, "b", ended=1036.0)],
            "failed",
            [does("failed")],
            known(),
            "left: it ended before anybody could be told",
        ),
        ([job(2, "b")], "failed", [does("failed", **UP_FOR_RETRY)], known(), "left: no process of its task was alive"),
        *(
            ([job(2, "b")], "failed", [does("failed", **more)], known(*outages), f"left: {why}")
            for why, outages, more in (
                (
                    "its worker had died, or did before it was told",
                    [away("worker-1", 1020.0)],
                    {**ON_WORKER, "alive": False},
                ),
                ("its worker had died, or did before it was told", [away("worker-2")], ON_WORKER),
                ("Airflow did not answer who was to cancel it", [away("api-server")], ON_WORKER),
                ("Airflow did not answer who was to cancel it", [away("postgresql")], ON_WORKER),
                ("Airflow did not answer who was to cancel it", [away("postgresql")], {}),
                ("Airbyte was away while its worker was stopped", [away("simulator", 1028.0)], ON_WORKER),
                ("its triggerer had died, or did before it was told", [], {"triggerer": DEAD}),
                ("its triggerer had died, or did before it was told", [], {"triggerer": None}),
                ("its trigger had not started", [], {"deferred_at": 1028.5}),
                # The dead one is given up at 1015.
                ("its trigger had not started", [], {"at": 1017.0}),
                ("its answer was lost", [away("simulator", 1000.5)], {}),
                ("its answer was lost", [away("worker-1", 1001.5)], {}),
            )
        ),
        (
            [job(2, "b"), LATER],
            "success",
            [does("clear", triggerer=DEAD)],
            known(again=1069.0),
            "left: cleared while nobody could be told, and it ended before the next try",
        ),
        (
            [job(2, "b"), LATER],
            "success",
            [does("clear", **UP_FOR_RETRY)],
            known(again=1069.0),
            "left: cleared while nobody could be told, and it ended before the next try",
        ),
        (
            [job(2, "b")],
            "success",
            [does("clear", alive=False, **ON_WORKER)],
            known(again=1069.0),
            "left: cleared while its worker could take no note, so that the next try went on with it",
        ),
        (
            [job(2, "b"), LATER],
            "success",
            [does("clear", answered=False)],
            known(again=1069.0),
            "left: nobody knows whether its task was stopped",
        ),
    ],
)
def test_verdict_explains_each_job(
    jobs: list[dict[str, Any]], state: str, actions: list[Action], evidence: Evidence, explained: str
) -> None:
    balance = account(CONNECTIONS, [job(1, "a"), *jobs], [task(0), task(1, state)], actions, evidence)
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
    balance = account(CONNECTIONS, [*jobs], tasks, actions, known())
    assert not balance.balanced
    assert len(getattr(balance, found)) == 1


@pytest.mark.parametrize(
    ("outages", "more"),
    [
        # Neither starts or stops a trigger, nor a process on a worker.
        ([away("scheduler")], {}),
        ([away("redis")], {}),
        ([away("scheduler")], ON_WORKER),
        ([away("redis")], ON_WORKER),
        # A trigger needs neither worker nor API server, and Airbyte has ten minutes to cancel.
        ([away("worker-1")], {}),
        ([away("api-server")], {}),
        ([away("simulator")], {}),
        # A task on a worker needs no triggerer.
        ([away("triggerer")], {**ON_WORKER, "triggerer": DEAD}),
        # Another triggerer than its own.
        ([away("triggerer"), away("triggerer-2")], {}),
        # Long before, and long after.
        ([away("postgresql", 1012.0, 1016.0)], {}),
        ([away("postgresql", 1045.0, 1049.0)], {}),
        ([away("worker-1", 1012.0)], ON_WORKER),
        ([away("api-server", 1012.0, 1022.0)], ON_WORKER),
        ([away("simulator", 1012.0, 1016.0)], ON_WORKER),
        ([away("simulator", 1010.0, 1014.0)], {}),
        # The trigger had started, also in the triggerer that has taken it over.
        ([], {"deferred_at": 1020.0}),
        ([away("triggerer", 1005.0)], {"at": 1025.0}),
    ],
)
@pytest.mark.parametrize("kind", ["failed", "clear"])
def test_verdict_excuses_nothing_by_what_was_away_elsewhere(
    kind: str, outages: list[Outage], more: dict[str, Any]
) -> None:
    jobs = [job(1, "a"), job(2, "b"), *([AGAIN] if kind == "clear" else [])]
    tasks = [task(0), task(1, "success" if kind == "clear" else kind)]
    balance = account(CONNECTIONS, jobs, tasks, [does(kind, **more)], known(*outages))
    assert len(balance.orphans) == 1, list(balance.lines())


@pytest.mark.parametrize(
    ("silence", "orphans"),
    [(away("triggerer", 1020.0, 1051.0), 0), (away("triggerer", 1020.0, 1045.0), 1), (away("triggerer", 1, 1025.0), 1)],
)
def test_verdict_waits_for_a_triggerer_that_stands_still(silence: Outage, orphans: int) -> None:
    jobs = [job(1, "a"), job(2, "b"), AGAIN]
    balance = account(CONNECTIONS, jobs, [task(0), task(1)], [does("clear")], known(silences=(silence,)))
    assert len(balance.orphans) == orphans


def test_evidence_knows_when_a_triggerer_stood_still(tmp_path: Path) -> None:
    log = tmp_path / "triggerer-2.log"
    log.write_text(
        "2026-11-30T07:03:31.700000Z [\x1b[32minfo\x1b[0m] Starting the triggerer\n"
        "\x1b[2m2026-11-30T07:04:13.500000Z\x1b[0m [\x1b[32minfo\x1b[0m] "
        "\x1b[1mHeartbeat recovered after 29.5 seconds\n"
    )
    (silence,) = silences_in(log)
    assert silence.part == "triggerer-2"
    assert silence.ended == datetime(2026, 11, 30, 7, 4, 13, 500000, timezone.utc).timestamp()
    assert silence.began == silence.ended - 29.5


def test_verdict_has_the_next_try_make_up_for_a_clear_of_which_nobody_could_be_told() -> None:
    jobs = [job(1, "a"), job(2, "b"), job(3, "b", created=1061.0, ended=1090.0)]
    balance = account(CONNECTIONS, jobs, [task(0), task(1)], [does("clear", triggerer=DEAD)], known())
    assert len(balance.orphans) == 1


@pytest.mark.parametrize(
    ("asked_in_vain", "orphans"),
    [
        (1033.5, 0),
        (None, 1),
        # Before the clear, and after the next try has begun: about something else.
        (1029.0, 1),
        (1045.0, 1),
    ],
)
@pytest.mark.parametrize("more", [{}, ON_WORKER], ids=["deferred", "on a worker"])
def test_verdict_excuses_a_process_that_says_it_was_not_told_why_it_is_stopped(
    more: dict[str, Any], asked_in_vain: float | None, orphans: int
) -> None:
    jobs = [job(1, "a"), job(2, "b", ended=1055.0), LATER]
    action, evidence = does("clear", **more), known(asked_in_vain=asked_in_vain)
    balance = account(CONNECTIONS, jobs, [task(0), task(1)], [action], evidence)
    assert len(balance.orphans) == orphans, list(balance.lines())


@pytest.mark.parametrize(("met", "orphans"), [(1045.0, 0), (None, 1), (1038.0, 1), (1061.0, 1)])
def test_verdict_gives_the_next_try_its_time_from_when_it_has_found_the_job(met: float | None, orphans: int) -> None:
    jobs = [job(1, "a"), job(2, "b", ended=1060.0), LATER]
    evidence = known(asked_in_vain=1033.5, met=met)
    balance = account(CONNECTIONS, jobs, [task(0), task(1)], [does("clear", **ON_WORKER)], evidence)
    assert len(balance.orphans) == orphans, list(balance.lines())


def test_evidence_knows_what_a_process_has_said(tmp_path: Path) -> None:
    log = tmp_path / "attempt=1.log"
    log.write_text(
        '{"timestamp":"2026-11-30T16:28:48.687779Z","level":"info","event":"::endgroup::"}\n'
        '{"timestamp":"2026-11-30T16:28:54.500000Z","event":"Airflow does not tell why the task is stopped"}\n'
    )
    assert list(said(log, NOT_TOLD)) == [datetime(2026, 11, 30, 16, 28, 54, 500000, timezone.utc).timestamp()]
    assert list(said(log, MEETS)) == []


@pytest.mark.parametrize("more", [{}, UP_FOR_RETRY, {**ON_WORKER, "alive": False}, ON_WORKER])
def test_verdict_finds_a_cancel_of_the_new_job_after_a_clear(more: dict[str, Any]) -> None:
    new = job(3, "b", "cancelled", 3, created=1040.0, ended=1042.0)
    newest = job(4, "b", created=1050.0, ended=1090.0)
    balance = account(
        CONNECTIONS, [job(1, "a"), CANCELLED, new, newest], [task(0), task(1)], [does("clear", **more)], known()
    )
    assert [each.split()[3] for each in balance.cancelled] == ["3"]


def test_verdict_finds_a_second_job_that_was_made_before_the_clear() -> None:
    jobs = [job(1, "a"), job(2, "b"), job(3, "b", created=1010.0), job(4, "b", created=1065.0, ended=1090.0)]
    balance = account(CONNECTIONS, jobs, [task(0), task(1)], [does("clear", 1061.0)], known(again=1064.0))
    assert balance.duplicates == ["task 1: jobs 2 and 3"]


def test_verdict_finds_a_second_job_of_the_try_after_a_clear() -> None:
    jobs = [job(1, "a"), CANCELLED, AGAIN, job(4, "b", created=1045.0, ended=1090.0)]
    balance = account(CONNECTIONS, jobs, [task(0), task(1)], [does("clear")], known())
    assert balance.duplicates == ["task 1: jobs 3 and 4"]


def test_verdict_finds_a_job_that_is_started_for_a_task_that_was_marked() -> None:
    balance = account(
        CONNECTIONS, [job(1, "a"), CANCELLED, AGAIN], [task(0), task(1, "failed")], [does("failed")], known()
    )
    assert len(balance.orphans) == 1


@pytest.mark.parametrize(("again", "orphans"), [(1039.0, 0), (None, 1)], ids=["a further try", "no further try"])
def test_verdict_allows_a_job_of_a_try_that_airflow_began_in_spite_of_a_mark(again: float | None, orphans: int) -> None:
    jobs, tasks = [job(1, "a"), CANCELLED, AGAIN], [task(0), task(1)]
    balance = account(CONNECTIONS, jobs, tasks, [does("success", **ON_WORKER)], known(again=again))
    assert len(balance.orphans) == orphans


def test_verdict_has_each_action_of_a_user_end_the_job() -> None:
    # That nobody was alive for the first is no excuse for the second.
    actions = [does("failed", **UP_FOR_RETRY), does("clear", 1035.0)]
    balance = account(CONNECTIONS, [job(1, "a"), job(2, "b"), AGAIN], [task(0), task(1)], actions, known())
    assert len(balance.orphans) == 1


def test_rules_stand_in_the_documentation() -> None:
    text = " ".join((REPOSITORY / "docs" / "kill-retry-timeout.md").read_text().split())
    assert [rule.name for rule in RULES if not rule.says or rule.says not in text] == []


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
