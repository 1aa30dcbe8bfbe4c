"""Who watches connections is told what ends there. In virtual time, against the model."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from airbyte_deferrable._watcher import connection_subscription, sweep
from airbyte_deferrable._watcher.connection_subscription import ConnectionNews, EndedJobs, Position
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable.api.aio import WOKEN_AT_ONCE
from airbyte_deferrable.api.errors import Forbidden, Unreachable
from airbyte_deferrable.api.models import Job
from helpers.followers import NEVER, POLL, START, Told, asked_since, follow, running
from helpers.listeners import Heard, listen, listen_to, sync
from helpers.model_airbyte import Fault, ModelAirbyte, ModelJob, Step, moment_at, run_in_virtual_time

MANY = [f"c{number}" for number in range(1000)]
#: Of another connection, and latest before all: Airbyte's clock is known from it to a second.
LATEST = sync(1, "foreign", START - 1)


class NoListOfAll(ModelAirbyte):
    """Refuses the list of all jobs, and not that of one connection's."""

    async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
        rows = await super().list_jobs(**query)
        if query.get("connection_id") is None:
            raise Forbidden("GET /jobs", "no", 403)
        return rows


def own_lists(server: ModelAirbyte, since: float = 0.0) -> Counter[str]:
    """Return how often each connection's own list was asked for."""
    lists = (query["connection_id"] for at, call, query in server.calls if call == "list" and at >= since)
    return Counter(each for each in lists if each is not None)


# What is told


def test_connections_tell_what_ends_there_and_nothing_of_others() -> None:
    jobs = [LATEST, sync(2, "a", START + 31), sync(3, "b", START + 32), sync(4, "foreign", START + 33)]
    heard = listen_to(ModelAirbyte(jobs), 60, ["a", "b"])
    assert heard.job_ids == [2, 3]
    assert heard.at(3) <= START + 32 + POLL + 1


def test_connections_tell_all_of_one_sweep_in_one_batch() -> None:
    jobs = [LATEST, *(sync(number, f"c{number}", START + 31) for number in range(2, 90))]
    heard = listen_to(ModelAirbyte(jobs), 60, MANY)
    assert [len(batch) for _, batch in heard.batches] == [88]


def test_connection_that_is_watched_alone_is_told_within_a_poll() -> None:
    heard = listen_to(ModelAirbyte([LATEST, sync(2, "a", START + 31)]), 60, ["a"])
    assert heard.at(2) <= START + 31 + POLL + 1


def test_connection_tells_each_outcome_and_an_end_of_which_airbyte_says_no_moment() -> None:
    class Vague(ModelAirbyte):
        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            rows = await super().list_jobs(**query)
            return tuple(job.model_copy(update={"last_updated_at": None, "start_time": None}) for job in rows)

    jobs = [
        ModelJob(number, (Step(START, "pending"), Step(START + 30, status)), connection_id=status)
        for number, status in enumerate(("succeeded", "failed", "cancelled"), 2)
    ]
    for server in (ModelAirbyte([LATEST, *jobs]), Vague([LATEST, *jobs])):
        assert listen_to(server, 90, ["succeeded", "failed", "cancelled"]).job_ids == [2, 3, 4]


def test_connection_is_known_whatever_the_case_of_its_id() -> None:
    heard = listen_to(ModelAirbyte([LATEST, sync(2, "ab", START + 31)]), 60, ["AB", "c"])
    assert heard.job_ids == [2]


def test_connection_with_an_absurd_stamp_hides_no_other_end() -> None:
    class Broken(ModelAirbyte):
        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            at = "9999-12-31T23:59:59Z"
            odd = Job(
                job_id=99, status="failed", connection_id="a", start_time="2024-01-01T00:00:00Z", last_updated_at=at
            )
            return (*await super().list_jobs(**query), odd)

    heard = listen_to(Broken([LATEST, sync(2, "a", START + 31), sync(3, "b", START + 32)]), 200, ["a", "b"])
    assert sorted(heard.job_ids) == [2, 3, 99]


def test_connections_since_a_moment_are_told_what_ended_within_its_second() -> None:
    """Airbyte's stamps are whole seconds, so what ended in the same one may have ended after it."""
    jobs = [LATEST, sync(2, "a", START - 50.9), sync(3, "a", START - 50.2), sync(4, "a", START - 49.9)]
    for watched in (["a"], ["a", "b"]):
        heard = listen_to(ModelAirbyte(jobs), 30, watched, since=moment_at(START - 49.5))
        assert heard.job_ids == [4]


def test_connections_since_a_moment_without_a_time_zone_are_refused() -> None:
    watcher = JobWatcher(ModelAirbyte())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="time zone"):
        watcher.watch_connections(["a"], since=datetime(2024, 1, 1), poll_interval=5)


@pytest.mark.parametrize("watched", [["a"], ["a", "b"]], ids=["alone", "with another"])
@pytest.mark.parametrize("past", [[], [LATEST], [LATEST, sync(2, "a", START - 3)]], ids=["none", "others", "its own"])
def test_connections_from_now_on_are_not_told_what_had_ended(past: list[ModelJob], watched: list[str]) -> None:
    server, heard = ModelAirbyte([*past, sync(9, "a", START + 31, created=START + 20)]), Heard()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(watched, poll_interval=POLL) as subscription:
            assert subscription.position is None
            await asyncio.wait([asyncio.ensure_future(listen(subscription, heard))], timeout=200)
            assert subscription.position is not None
            assert subscription.position.moment > moment_at(START + 31)

    run_in_virtual_time(go())
    assert heard.job_ids == [9]


def test_connections_and_jobs_by_number_share_one_loop() -> None:
    jobs = [LATEST, sync(2, "a", START + 31), sync(3, "b", START + 32), sync(4, "foreign", START + 33)]
    server, heard, told = ModelAirbyte(jobs), Heard(), [Told(), Told()]

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        waits = [asyncio.ensure_future(follow(watcher, job_id, told[job_id - 3])) for job_id in (3, 4)]
        with watcher.watch_connections(["a", "b"], since=moment_at(START), poll_interval=POLL) as subscription:
            await asyncio.wait([*waits, asyncio.ensure_future(listen(subscription, heard))], timeout=60)

    run_in_virtual_time(go())
    assert heard.job_ids == [2, 3]
    assert all((each.ended_at or NEVER) <= START + 33 + POLL + 1 for each in told)


# What it costs


def test_connections_cost_the_same_requests_however_many_they_are() -> None:
    jobs = [LATEST, *(sync(2 + number, f"c{number}", START + 20 + number) for number in range(60))]
    counts = {}
    for many in (1, 2, 1000):
        server = ModelAirbyte(jobs)
        assert len(listen_to(server, 100, MANY[:many]).job_ids) == min(many, 60)
        counts[many] = asked_since(server, START + POLL)
    # The changes each poll; the first time, which job is the latest, too.
    assert len(set(counts.values())) == 1
    assert counts[1000] <= 100 / POLL + 1


def test_connections_of_hours_ago_are_read_in_one_walk_if_they_are_many() -> None:
    """After a restart of the triggerer."""
    jobs = [
        sync(number, f"c{number}", START - 7000 + number, created=START - 9000 + number) for number in range(1, 900)
    ]
    server = ModelAirbyte([*jobs, sync(1000, "foreign", START - 1)])
    heard = listen_to(server, 30, MANY, since=moment_at(START - 6900))
    assert heard.job_ids == list(range(100, 900))
    assert not own_lists(server)
    assert server.requests <= 9 + 2 * 30 / POLL


def test_connections_whose_jobs_share_a_stamp_are_read_until_no_row_can_have_hidden_between_pages() -> None:
    """They have no order among themselves: what one page has told, the next may tell again instead of another."""
    jobs = [sync(number, f"c{number}", START + 20 + number % 30, created=START - 50) for number in range(1, 301)]
    heard = listen_to(ModelAirbyte([*jobs, sync(1000, "foreign", START - 1)]), 200, MANY)
    assert sorted(heard.job_ids) == list(range(1, 301))


def test_connections_of_hours_ago_have_a_list_each_if_they_are_few_and_then_none() -> None:
    jobs = [
        sync(number, f"c{number}", START - 7000 + number, created=START - 9000 + number) for number in range(1, 900)
    ]
    server = ModelAirbyte([*jobs, sync(1000, "foreign", START - 1)])
    heard = listen_to(server, 100, MANY[100:104], since=moment_at(START - 6899))
    assert sorted(heard.job_ids) == [101, 102, 103]
    assert own_lists(server) == Counter(MANY[100:104])


def test_connections_that_need_a_list_each_hold_up_no_end_of_others() -> None:
    """A walk for all is in vain, for there is a week of changes. The lists take minutes."""
    old = [sync(number, "foreign", START - 4000 + number, created=START - 9000) for number in range(1, 3000)]
    server = ModelAirbyte([*old, sync(4000, "a", START + 61)], latency=0.5)
    heard = Heard()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with (
            watcher.watch_connections(["a"], since=moment_at(START), poll_interval=POLL) as now,
            watcher.watch_connections(MANY[:200], since=moment_at(START - 5000), poll_interval=POLL),
        ):
            await asyncio.wait([asyncio.ensure_future(listen(now, heard))], timeout=300)

    run_in_virtual_time(go())
    assert heard.at(4000) <= START + 61 + 2 * POLL
    assert own_lists(server) == Counter(MANY[:200])


def test_connections_with_more_changes_than_are_read_have_lists_of_their_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sweep, "PAGE_SIZE", 10)
    foreign = [sync(100 + number, "foreign", START + 20 + number * 0.01) for number in range(3000)]
    server = ModelAirbyte([LATEST, *foreign, sync(2, "a", START + 41), sync(3, "b", START + 47)], page_size=10)
    heard = listen_to(server, 300, ["a", "b"])
    assert heard.job_ids == [2, 3]
    assert heard.at(3) <= START + 47 + 2 * POLL
    assert "too many changes" in caplog.text
    # And then the sweeps tell again.
    assert not own_lists(server, START + 250)


def test_connections_cost_those_who_wait_by_number_no_list(caplog: pytest.LogCaptureFixture) -> None:
    """What changes in the minute that connections reach back is too much to read; what changes in a poll is not."""
    foreign = [
        sync(1000 + number, "foreign", START - 200 + number * 0.125, created=START - 210 + number * 0.125)
        for number in range(7000)
    ]
    by_number = [running(10 + number, START + 100 + number * 200) for number in range(3)]
    last = sync(9000, "foreign", START - 1)
    watched = [sync(500 + number, "a", START + 61 + number * 100) for number in range(5)]
    server = ModelAirbyte([last, *by_number, *watched, *foreign])
    heard, told = Heard(), {each.job_id: Told() for each in by_number}

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        waits = [asyncio.ensure_future(follow(watcher, job_id, each)) for job_id, each in told.items()]
        await asyncio.sleep(30)
        with watcher.watch_connections(["a"], since=moment_at(START), poll_interval=POLL) as subscription:
            await asyncio.wait([*waits, asyncio.ensure_future(listen(subscription, heard))], timeout=600)

    run_in_virtual_time(go())
    assert all((told[each.job_id].ended_at or NEVER) <= each.end.at + POLL + 1 for each in by_number)
    assert heard.job_ids == [each.job_id for each in watched]
    assert all(heard.at(each.job_id) <= each.end.at + 2 * POLL for each in watched)
    assert "only the jobs that are waited for" not in caplog.text
    # Said once, though it is tried again each minute.
    assert caplog.text.count("so the 1 connections that are watched have lists of their own") == 1
    # Not the jobs one by one: a few lists a poll, and now and then whether the connection can be told by them again.
    assert server.count("get") <= (630 / Pace().confirm_after + 1) * len(by_number)
    assert server.requests <= 2.8 * 630 / POLL


def test_connections_are_told_by_the_sweeps_again_when_less_changes() -> None:
    foreign = [
        sync(1000 + number, "foreign", START + number * 0.08, created=START - 10 + number * 0.08)
        for number in range(2500)
    ]
    by_number = [running(10 + number) for number in range(3)]
    watched = [sync(500 + number, "a", START + 61 + number * 100) for number in range(6)]
    server = ModelAirbyte([LATEST, *by_number, *watched, *foreign])
    heard = Heard()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        waits = [asyncio.ensure_future(follow(watcher, each.job_id, Told())) for each in by_number]
        with watcher.watch_connections(["a", "b"], since=moment_at(START), poll_interval=POLL) as subscription:
            await asyncio.wait([*waits, asyncio.ensure_future(listen(subscription, heard))], timeout=600)

    run_in_virtual_time(go())
    assert heard.job_ids == [each.job_id for each in watched]
    assert own_lists(server, START + 80)
    assert not own_lists(server, START + 340)


def test_connections_whose_end_is_the_thousandth_of_its_list_are_read_in_turns() -> None:
    jobs = [
        sync(number, "a", START - 30_000 + number * 10, created=START - 30_005 + number * 10)
        for number in range(1, 2501)
    ]
    server = ModelAirbyte([*jobs, sync(3000, "foreign", START - 1)])
    heard = listen_to(server, 60, ["a", "b"], since=moment_at(START - 29_000), pace=Pace(catch_up_pages=3))
    assert heard.job_ids == list(range(100, 2501))


def test_many_who_watch_one_connection_are_woken_a_few_in_a_round() -> None:
    server, woken = ModelAirbyte([LATEST, sync(2, "a", START + 31)]), Counter[int]()

    async def wait(watcher: JobWatcher) -> None:
        with watcher.watch_connections(["a"], since=moment_at(START), poll_interval=POLL) as subscription:
            async for news in subscription:
                assert isinstance(news, EndedJobs)
                woken[asyncio.get_running_loop().rounds] += 1  # type: ignore[attr-defined]
                return

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        await asyncio.gather(*(wait(watcher) for _ in range(95)))

    run_in_virtual_time(go())
    assert sum(woken.values()) == 95
    assert max(woken.values()) <= WOKEN_AT_ONCE
    # One list of the connection's own, or none, for all of them.
    assert sum(own_lists(server).values()) <= 40 / POLL


# What is in memory


def test_connections_of_who_takes_no_news_fill_no_memory_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_subscription, "MOST_PENDING", 20)
    jobs = [sync(number, f"c{number % 3}", START + number, created=START + number - 2) for number in range(1, 201)]
    heard = Heard()

    async def go() -> None:
        watcher = JobWatcher(ModelAirbyte([*jobs, sync(999, "foreign", START - 1)]))  # type: ignore[arg-type]
        with watcher.watch_connections(MANY[:3], since=moment_at(START), poll_interval=POLL) as subscription:
            await asyncio.sleep(250)
            first = subscription.news()
            assert isinstance(first, EndedJobs)
            assert len(first.jobs) == 20
            position = subscription.position
            assert position is not None
            assert position.moment <= moment_at(START + 21)
            heard.take(first)
            await asyncio.wait([asyncio.ensure_future(listen(subscription, heard))], timeout=300)

    run_in_virtual_time(go())
    assert sorted(heard.job_ids) == list(range(1, 201))
    for number in range(3):
        of_it = [each for each in heard.job_ids if each % 3 == number]
        assert of_it == sorted(of_it)


def test_connections_watched_for_long_keep_only_the_ends_of_the_last_minutes() -> None:
    jobs = [
        sync(number, "ab"[number % 2], START + number * 5, created=START + number * 5 - 4) for number in range(1, 1001)
    ]
    sizes = []

    async def go() -> None:
        watcher = JobWatcher(ModelAirbyte([LATEST, *jobs][1:]))  # type: ignore[arg-type]
        with watcher.watch_connections(["a", "b"], since=moment_at(START), poll_interval=POLL) as subscription:
            listening = asyncio.ensure_future(listen(subscription, Heard()))
            for _ in range(50):
                await asyncio.sleep(100)
                position = subscription.position
                assert position is not None
                sizes.append(len(position.handed_out))
                kept = [len(each._handed_out) for each in subscription.interests.values()]
                assert max(kept) <= 16 + 2 * 20
                assert position.moment >= moment_at(asyncio.get_running_loop().time() - Pace().late - 2 * POLL)
            listening.cancel()

    run_in_virtual_time(go())
    assert max(sizes) <= 20


# What goes wrong


def test_connections_lose_nothing_in_an_outage_and_are_told_of_it() -> None:
    jobs = [LATEST, *(sync(number, "ab"[number % 2], START + number * 2) for number in range(2, 100))]
    server = ModelAirbyte(jobs, [Fault(START + 30, 150)])
    heard = listen_to(server, 250, ["a", "b"])
    assert heard.job_ids == list(range(2, 100))
    assert [outage.lasts for outage in heard.outages] == [True, False]


def test_connections_that_have_just_caught_up_lose_no_end_that_becomes_visible_in_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first changes are too many, so each has a list of its own; then Airbyte is away."""
    monkeypatch.setattr(sweep, "PAGE_SIZE", 10)
    foreign = [sync(100 + number, "foreign", START - 110 + number) for number in range(40)]
    late = ModelJob(2, (Step(START - 50, "running"), Step(START - 3, "failed", lag=6)), connection_id="a")
    server = ModelAirbyte([LATEST, *foreign, late], [Fault(START + 4, 200)], page_size=10)
    heard = listen_to(server, 300, ["a", "b"], since=moment_at(START - 10))
    assert own_lists(server, START) == {"a": 1, "b": 1}
    assert heard.job_ids == [2]


def test_connections_of_a_list_that_is_refused_have_lists_of_their_own() -> None:
    server = NoListOfAll([LATEST, *(sync(number, f"c{number}", START + 31 + number) for number in range(2, 20))])
    heard = listen_to(server, 100, MANY[:20])
    assert heard.job_ids == list(range(2, 20))
    assert all(heard.at(number) <= START + 31 + number + 2 * POLL for number in heard.job_ids)
    assert not heard.outages
    # As often as they want, and no more.
    assert max(own_lists(server).values()) <= 100 / POLL + 1


def test_connections_of_lists_that_are_all_refused_are_told_so_while_jobs_can_be_had() -> None:
    server = ModelAirbyte(
        [LATEST, sync(2, "a", START + 61), sync(3, "b", START + 62)], [Fault(START, 700, "forbidden", "list")]
    )
    heard, told = Heard(), Told()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        waiting = asyncio.ensure_future(follow(watcher, 3, told))
        with watcher.watch_connections([*MANY[:50], "a"], since=moment_at(START), poll_interval=POLL) as subscription:
            await asyncio.wait([waiting, asyncio.ensure_future(listen(subscription, heard))], timeout=1500)

    run_in_virtual_time(go())
    assert (told.ended_at or NEVER) <= START + 62 + POLL + 1
    assert not told.outages
    assert heard.job_ids == [2]
    assert [outage.lasts for outage in heard.outages] == [True, False]
    assert not heard.connections
    # Each time one list, and whether its connection is to be seen.
    assert server.count("connection") <= 5


@pytest.mark.parametrize(
    ("kind", "others"),
    [("forbidden", ["b", "c"]), ("forbidden", []), ("down", ["b", "c"])],
    ids=["not to be seen", "not to be seen, alone", "not to be read"],
)
def test_connection_that_cannot_be_read_is_told_once_and_holds_up_no_other(kind: str, others: list[str]) -> None:
    jobs = [sync(2, "a", START - 500), sync(3, "b", START - 500), sync(4, "b", START + 31), LATEST]
    faults = [Fault(START, 300, kind, call, connection_id="a") for call in ("list", "connection")]
    heard = listen_to(ModelAirbyte(jobs, faults), 1000, ["a", *others], since=moment_at(START - 600))
    assert [(each.connection_id, each.error is None) for each in heard.connections] == [("a", False), ("a", True)]
    assert heard.connections[0].not_visible == (kind == "forbidden")
    assert not heard.outages
    assert sorted(heard.job_ids) == ([2, 3, 4] if others else [2])
    if others:
        assert heard.at(4) <= START + 31 + POLL + 1


def test_connections_whose_own_lists_alone_are_refused_are_told_so_once() -> None:
    class NoOwnList(ModelAirbyte):
        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            rows = await super().list_jobs(**query)
            if query.get("connection_id") is not None:
                raise Forbidden("GET /jobs", "no", 403)
            return rows

    server = NoOwnList([sync(2, "a", START - 500), sync(3, "b", START + 31), LATEST])
    heard = Heard()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(["b"], since=moment_at(START), poll_interval=POLL) as subscription:
            subscription.change(["a", "b"], since=moment_at(START - 600))
            await asyncio.wait([asyncio.ensure_future(listen(subscription, heard))], timeout=500)

    run_in_virtual_time(go())
    assert heard.job_ids == [3]
    assert [outage.lasts for outage in heard.outages] == [True]
    assert sum(own_lists(server).values()) <= 4


def test_connections_of_an_airbyte_that_had_no_job_lose_none_in_an_outage() -> None:
    """It has no clock by which to ask for changes, until it has a job."""
    jobs = [sync(2, "a", START + 60, created=START + 40), sync(3, "b", START + 560, created=START + 540)]
    heard = listen_to(ModelAirbyte(jobs, [Fault(START + 30, 600)]), 700, ["a", "b"])
    assert sorted(heard.job_ids) == [2, 3]


def test_connection_that_is_not_to_be_seen_holds_no_position_back() -> None:
    faults = [Fault(START, NEVER, "forbidden", call, connection_id="a") for call in ("list", "connection")]
    server = ModelAirbyte([LATEST, sync(2, "b", START + 31)], faults)

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(["a", "b"], since=moment_at(START - 600), poll_interval=POLL) as subscription:
            await asyncio.sleep(300)
            news = subscription.news(), subscription.news(), subscription.news()
            assert isinstance(news[0], EndedJobs)
            assert isinstance(news[1], ConnectionNews)
            assert news[2] is None
            position = subscription.position
            assert position is not None
            assert position.moment > moment_at(START + 200)

    run_in_virtual_time(go())
    # Once in ten minutes.
    assert own_lists(server)["a"] <= 3


def test_connection_that_is_not_to_be_seen_holds_back_the_position_of_nobody_who_comes_later() -> None:
    faults = [Fault(START, NEVER, "forbidden", call, connection_id="a") for call in ("list", "connection")]
    server = ModelAirbyte([LATEST, sync(2, "b", START + 31)], faults)
    positions: list[Position | None] = []

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        which, since = ["a", "b"], moment_at(START - 600)
        with watcher.watch_connections(which, since=since, poll_interval=POLL) as first:
            await asyncio.sleep(300)
            with watcher.watch_connections(which, since=since, poll_interval=POLL) as second:
                listening = [asyncio.ensure_future(listen(each, Heard())) for each in (first, second)]
                await asyncio.wait(listening, timeout=1500)
                positions.extend((first.position, second.position))

    run_in_virtual_time(go())
    assert [position is not None and position.moment > moment_at(START + 1000) for position in positions] == [True] * 2


def test_connection_that_comes_again_holds_the_position_back_until_it_was_read() -> None:
    """It could not be seen when it was dropped. What it may have had since is not told yet."""
    faults = [
        *(Fault(START, 400, "forbidden", call, connection_id="a") for call in ("list", "connection")),
        Fault(START + 400, 200, "down", "list"),
    ]
    server = ModelAirbyte([LATEST, sync(2, "b", START + 31), sync(3, "a", START + 385)], faults)
    since, told = moment_at(START + 200), Heard()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(["a", "b"], since=moment_at(START - 600), poll_interval=POLL) as subscription:
            listening = asyncio.ensure_future(listen(subscription, told))
            await asyncio.sleep(380)
            subscription.change(["b"])
            await asyncio.sleep(30)
            subscription.change(["a", "b"], since)
            await asyncio.sleep(100)
            position = subscription.position
            assert position is not None
            assert position.moment == since
            await asyncio.wait([listening], timeout=900)

    run_in_virtual_time(go())
    assert sorted(told.job_ids) == [2, 3]


def test_connections_lists_that_fail_with_all_else_between_sweeps_are_no_fault_of_the_connection() -> None:
    """Each time one comes that needs a list of its own Airbyte is away, though it answered the sweep before."""
    server = ModelAirbyte(
        [LATEST, sync(2, "a", START - 900), sync(3, "b", START + 500)],
        [Fault(START + at, 12) for at in (50, 150, 250, 350)],
    )
    heard, early = Heard(), [Heard() for _ in range(4)]

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with (
            watcher.watch_connections(["b", "c"], since=moment_at(START), poll_interval=1800.0),
            watcher.watch_connections(["a"], since=moment_at(START - 1000), poll_interval=1800.0) as first,
        ):
            listening = asyncio.ensure_future(listen(first, heard))
            await asyncio.sleep(45)
            for each in early:
                await asyncio.sleep(8)
                with watcher.watch_connections(["a"], since=moment_at(START - 1000), poll_interval=1800.0) as more:
                    await asyncio.wait([asyncio.ensure_future(listen(more, each))], timeout=92)
            listening.cancel()

    run_in_virtual_time(go())
    assert heard.job_ids == [2]
    assert not heard.connections
    assert not any(each.connections for each in early)


def test_connection_whose_refusal_was_a_hiccup_is_not_told() -> None:
    faults = [Fault(START, 2, "forbidden", call, connection_id="a") for call in ("list", "connection")]
    server = ModelAirbyte([sync(2, "a", START - 500), LATEST], faults)
    heard = listen_to(server, 100, ["a", "b"], since=moment_at(START - 600))
    assert heard.job_ids == [2]
    assert not heard.connections


def test_connections_survive_an_error_in_a_walk_for_all() -> None:
    class FailsOnce(ModelAirbyte):
        failed = False

        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            rows = await super().list_jobs(**query)
            since = query.get("updated_since")
            if since is not None and since < moment_at(START - 1000) and query["offset"] == 200 and not self.failed:
                self.failed = True
                raise Unreachable("GET /jobs", "You are being rate limited.", 429)
            return rows

    jobs = [
        sync(number, f"c{number}", START - 7000 + number, created=START - 9000 + number) for number in range(1, 900)
    ]
    server = FailsOnce([*jobs, sync(1000, "foreign", START - 1)])
    heard = listen_to(server, 120, MANY, since=moment_at(START - 6900))
    assert server.failed
    assert sorted(heard.job_ids) == list(range(100, 900))


@pytest.mark.parametrize("arrive", [9, 10, 30])
def test_connections_lose_no_end_to_a_walk_for_those_who_come_between_rare_sweeps(arrive: int) -> None:
    """It is read from the position of those who come, which is far later than where the last sweep has read."""
    server = ModelAirbyte([LATEST, *(sync(10 + number, "ab"[number % 2], START + 400 + number) for number in range(4))])
    heard = Heard()

    async def wait(watcher: JobWatcher, connection_id: str) -> None:
        with watcher.watch_connections([connection_id], since=moment_at(START + 580), poll_interval=300.0) as late:
            await listen(late, Heard())

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(["a", "b"], since=moment_at(START), poll_interval=300.0) as subscription:
            listening = asyncio.ensure_future(listen(subscription, heard))
            await asyncio.sleep(590)
            others = [asyncio.ensure_future(wait(watcher, each)) for each in MANY[:arrive]]
            await asyncio.wait([listening, *others], timeout=700)

    run_in_virtual_time(go())
    assert heard.job_ids == [10, 11, 12, 13]


def test_connections_lose_no_end_to_a_walk_after_a_sweep_in_which_a_row_came_twice() -> None:
    """What such a sweep has missed the next one is to read, so its position stays, whatever is read between."""

    class Swaps(ModelAirbyte):
        """The last row of the first page comes again instead of the first one of the second, for a while."""

        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            offset = query.get("offset", 0)
            if offset and START + 500 < asyncio.get_running_loop().time() < START + 605 and not query.get("status"):
                page = await super().list_jobs(**{**query, "offset": offset - 1})
                return page[:1] + (await super().list_jobs(**query))[1:]
            return await super().list_jobs(**query)

    foreign = [
        sync(100 + number, "foreign", START + 450 + number, created=START + 200 + number) for number in range(100)
    ]
    ended = sync(300, "a", START + 460, created=START + 301)
    later = [sync(400 + number, "foreign", START + 470, created=START + 302) for number in range(20)]
    server, heard = Swaps([LATEST, *foreign, ended, *later]), Heard()

    async def wait(watcher: JobWatcher, connection_id: str) -> None:
        with watcher.watch_connections([connection_id], since=moment_at(START + 605), poll_interval=300.0) as late:
            await listen(late, Heard())

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(["a", "b"], since=moment_at(START), poll_interval=300.0) as subscription:
            listening = asyncio.ensure_future(listen(subscription, heard))
            await asyncio.sleep(610)
            assert not heard.job_ids
            others = [asyncio.ensure_future(wait(watcher, each)) for each in MANY[:10]]
            await asyncio.wait([listening, *others], timeout=700)

    run_in_virtual_time(go())
    assert heard.job_ids == [300]


# Clocks that are wrong


def stamped(job_id: int, connection_id: str, end: float, skew: float, *, created: float | None = None) -> ModelJob:
    """Return a job whose end is stamped by a pod with a clock that is so far ahead."""
    begun = sync(job_id, connection_id, end, created=created)
    return replace(begun, steps=(*begun.steps[:-1], replace(begun.end, skew=skew)))


@pytest.mark.parametrize("watched", [["a", "b"], ["a"]], ids=["two", "one"])
@pytest.mark.parametrize("whose", ["foreign", "a"])
@pytest.mark.parametrize("skew", [90.0, 600.0, 86400.0])
@pytest.mark.parametrize("at", [START - 500, START + 31], ids=["before", "meanwhile"])
def test_connections_lose_no_end_to_one_that_is_stamped_ahead(
    skew: float, whose: str, at: float, watched: list[str]
) -> None:
    """Nothing confirms a job of which nobody knows the number, so what is passed over is lost."""
    ends = [sync(10 + number, "ab"[number % 2], START + 60 + number * 40) for number in range(11)]
    server = ModelAirbyte([LATEST, stamped(2, whose, at, skew), *ends])
    heard = listen_to(server, 900, watched)
    wanted = {each.job_id for each in ends if each.connection_id in watched}
    assert wanted <= set(heard.job_ids)
    assert all(heard.at(each.job_id) <= each.end.at + POLL + 1 for each in ends if each.job_id in wanted)


@pytest.mark.parametrize("watched", [["a", "b"], ["a"]], ids=["two", "one"])
@pytest.mark.parametrize("whose", ["foreign", "a"])
def test_connections_from_now_on_lose_no_end_to_an_old_one_that_is_stamped_ahead(
    whose: str, watched: list[str]
) -> None:
    server, heard = ModelAirbyte([LATEST, stamped(2, whose, START - 500, 86400), sync(3, "a", START + 61)]), Heard()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(watched, poll_interval=POLL) as subscription:
            await asyncio.wait([asyncio.ensure_future(listen(subscription, heard))], timeout=200)

    run_in_virtual_time(go())
    assert heard.job_ids == [3]


def test_connections_from_now_on_lose_no_end_to_a_page_of_old_ones_that_are_stamped_ahead() -> None:
    """A connection's own first list has a page of the latest; all of them may be of the pod that is wrong."""
    old = [stamped(number, "a", START - 500 + number, 3600, created=START - 501 + number) for number in range(2, 120)]
    server, heard = NoListOfAll([LATEST, *old, sync(900, "a", START + 61)]), Heard()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(["a", "b"], poll_interval=POLL) as subscription:
            await asyncio.wait([asyncio.ensure_future(listen(subscription, heard))], timeout=300)

    run_in_virtual_time(go())
    assert 900 in heard.job_ids


@pytest.mark.parametrize("skew", [90.0, 3000.0, 86400.0])
def test_connection_with_more_ends_than_are_read_at_once_loses_none_to_one_that_is_stamped_ahead(skew: float) -> None:
    """How far a list was read is known from the stamp of its last row."""
    jobs = [sync(number, "a", START - 3000 + number * 5, created=START - 3004 + number * 5) for number in range(2, 500)]
    jobs[99] = stamped(101, "a", START - 2495, skew, created=START - 2499)
    server = ModelAirbyte([*jobs, sync(999, "foreign", START - 1)])
    heard = listen_to(server, 120, ["a"], since=moment_at(START - 3100), pace=Pace(catch_up_pages=1))
    assert [each for each in heard.job_ids if each < 500] == list(range(2, 500))


def test_connections_are_told_all_whose_pods_are_known_to_be_further_behind_than_ends_are_late() -> None:
    """How far is learned from an end that the clocks of the others had passed before."""
    ends = [
        stamped(10 + number, "ab"[number % 2], START + 61 + number * 100, -50.0 - number * 12) for number in range(12)
    ]
    live = [replace(each, steps=(each.steps[0], Step(each.end.at - 10, "running"), each.end)) for each in ends]
    foreign = [sync(100 + number, "foreign", START + number * 3) for number in range(500)]
    heard = listen_to(ModelAirbyte([LATEST, *live, *foreign]), 1500, ["a", "b"])
    assert heard.job_ids == [each.job_id for each in ends]


@pytest.mark.parametrize("ahead", [-3000.0, -90.0, 3600.0, 86400.0])
def test_connections_are_told_all_whatever_this_machines_clock_says(ahead: float) -> None:
    ends = [sync(10 + number, "ab"[number % 2], START + 60 + number * 40) for number in range(11)]
    heard = listen_to(ModelAirbyte([LATEST, *ends]), 900, ["a", "b"], ahead=ahead)
    assert heard.job_ids == [each.job_id for each in ends]
    assert all(heard.at(each.job_id) <= each.end.at + POLL + 1 for each in ends)


# How it is used


def test_connections_may_become_others_while_they_are_watched() -> None:
    jobs = [
        LATEST,
        sync(2, "a", START + 31),
        sync(3, "b", START + 32),
        sync(4, "c", START + 33),
        sync(5, "c", START - 9),
    ]
    jobs += [sync(6, "a", START + 71), sync(7, "b", START + 72), sync(8, "c", START + 73), sync(9, "d", START + 50)]
    server, heard = ModelAirbyte(jobs), Heard()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(["a", "b"], since=moment_at(START), poll_interval=POLL) as subscription:
            listening = asyncio.ensure_future(listen(subscription, heard))
            await asyncio.sleep(60)
            subscription.change(["b", "c"])
            subscription.change(["b", "c", "d"], since=moment_at(START + 40))
            await asyncio.wait([listening], timeout=60)
            subscription.change([])
            assert subscription.position is None

    run_in_virtual_time(go())
    assert sorted(heard.job_ids) == [2, 3, 7, 8, 9]


def test_connections_that_go_leave_the_ends_behind_that_wait() -> None:
    async def go() -> None:
        server = ModelAirbyte([LATEST, sync(2, "a", START + 3), sync(3, "b", START + 4)])
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(["a", "b"], since=moment_at(START), poll_interval=POLL) as subscription:
            await asyncio.sleep(30)
            subscription.change(["b"])
            news = subscription.news()
            assert isinstance(news, EndedJobs)
            assert [job.job_id for job in news.jobs] == [2, 3]

    run_in_virtual_time(go())


def test_connections_that_all_go_let_the_position_wait_for_the_ends_they_leave() -> None:
    async def go() -> None:
        server = ModelAirbyte([LATEST, sync(2, "a", START + 3)])
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(["a"], since=moment_at(START), poll_interval=POLL) as subscription:
            await asyncio.sleep(30)
            subscription.change([])
            position = subscription.position
            assert position is not None
            assert position.moment <= moment_at(START + 3)
            assert position.handed_out == frozenset()
            assert isinstance(subscription.news(), EndedJobs)
            assert subscription.position is None

    run_in_virtual_time(go())


def test_connections_end_the_loop_with_the_last_of_them() -> None:
    async def go() -> list[int]:
        server = ModelAirbyte([LATEST])
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(["a", "b"], poll_interval=POLL):
            await asyncio.sleep(200)
            closed = [server.closed]
        await asyncio.sleep(70)
        return [*closed, server.closed]

    assert run_in_virtual_time(go()) == [0, 1]


def test_connections_are_told_as_soon_as_the_most_eager_wants() -> None:
    server, heard = ModelAirbyte([LATEST, sync(2, "a", START + 100), sync(3, "a", START - 900)]), Heard()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(["a", "b"], since=moment_at(START), poll_interval=1800.0):
            await asyncio.sleep(60)
            with watcher.watch_connections(["a"], since=moment_at(START - 1000), poll_interval=POLL) as eager:
                await asyncio.wait([asyncio.ensure_future(listen(eager, heard))], timeout=60)

    run_in_virtual_time(go())
    assert heard.job_ids == [3, 2]
    assert heard.at(3) <= START + 60 + 2 * POLL
    assert heard.at(2) <= START + 100 + POLL + 1


def test_connections_are_found_with_one_list_by_who_comes_between_rare_sweeps() -> None:
    server, heard = ModelAirbyte([LATEST, sync(2, "a", START - 900)]), Heard()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(["b", "c"], since=moment_at(START), poll_interval=1800.0):
            await asyncio.sleep(60)
            with watcher.watch_connections(["a"], since=moment_at(START - 1000), poll_interval=1800.0) as later:
                await asyncio.wait([asyncio.ensure_future(listen(later, heard))], timeout=60)

    run_in_virtual_time(go())
    assert heard.at(2) <= START + 60 + Pace().gather + 1
    assert own_lists(server) == {"a": 1}


def test_connection_subscription_that_expires_still_hands_out_what_there_is() -> None:
    async def go() -> None:
        server = ModelAirbyte([LATEST, sync(2, "a", START + 3)])
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(["a", "b"], since=moment_at(START), poll_interval=POLL) as subscription:
            await asyncio.sleep(30)
            subscription.expire()
            assert isinstance(subscription.news(), EndedJobs)
            with pytest.raises(asyncio.TimeoutError):
                subscription.news()

    run_in_virtual_time(go())


def test_log_says_what_is_watched(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "airbyte_deferrable"):
        listen_to(ModelAirbyte([LATEST], [Fault(START + 100, 30)]), 200, ["a", "b"])
    assert "Waiting for the ends at 2 connections of http" in caplog.text
    assert "Airbyte cannot be asked, the ends at 2 connections are waited for: GET /jobs: HTTP 503" in caplog.text


def test_position_goes_no_further_than_what_was_taken() -> None:
    async def go() -> None:
        server = ModelAirbyte([LATEST, sync(2, "a", START + 31), sync(3, "b", START + 200)])
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        with watcher.watch_connections(["a", "b"], since=moment_at(START), poll_interval=POLL) as subscription:
            await asyncio.sleep(400)
            before = subscription.position
            news = subscription.news()
            after = subscription.position
            assert before is not None
            assert after is not None
            assert before.moment == moment_at(START + 31)
            assert not before.handed_out
            assert isinstance(news, EndedJobs)
            assert [job.job_id for job in news.jobs] == [2, 3]
            assert after.moment >= moment_at(START + 400) - timedelta(seconds=Pace().late + 2 * POLL)

    run_in_virtual_time(go())
