"""What waiting costs: requests follow change, not waiting. In virtual time, against the model."""

from __future__ import annotations

import asyncio

import pytest

from airbyte_deferrable._watcher.loop import JobWatcher
from helpers.followers import NEVER, POLL, START, Told, asked_since, follow, running, watch_for
from helpers.model_airbyte import Fault, ModelAirbyte, run_in_virtual_time


def test_lone_waiter_just_gets_its_job() -> None:
    server = ModelAirbyte([running(1, START + 31)])
    told = watch_for(server, 60)
    assert told[1].ended_at == pytest.approx(START + 35, abs=1)
    assert (server.count("list"), server.count("get")) == (0, 8)


def test_quiet_jobs_cost_one_request_a_sweep_however_many_they_are() -> None:
    server = ModelAirbyte([running(number) for number in range(1, 1001)])
    watch_for(server, 100)
    # From 20 s on the first checks are over, and the first confirmation is not due.
    assert asked_since(server, START + 20) <= 80 / POLL + 1
    assert server.count("get") <= 2


def test_confirmation_of_many_is_one_list_although_they_were_read_over_seconds() -> None:
    server = ModelAirbyte([running(number) for number in range(1, 3001)], latency=0.05)
    watch_for(server, 355, poll=10.0)
    assert server.count("get") <= 2
    # From 60 s on: the changes each poll, and thirty pages two or three times.
    assert asked_since(server, START + 60) <= 295 / 10 + 1 + 3 * 31


def test_first_checks_of_many_are_taken_through_the_list() -> None:
    """After a restart: 2,000 wait, a quarter of the jobs ended hours ago, among 3,000 of others."""
    jobs = []
    for number in range(1, 5001):
        created = START - 20_000 + number * 3.8
        ended = number % 5 in (2, 3, 4) or number % 20 == 0
        jobs.append(running(number, created + 600 if ended else NEVER, created=created))
    ours = [job.job_id for job in jobs if job.job_id % 5 in (0, 1)]
    server = ModelAirbyte(jobs)
    told = watch_for(server, 60, ours)
    assert all(told[each].jobs for each in ours)
    assert sum(told[each].ended_at is not None for each in ours) == 250
    assert server.requests < 120


def test_shortest_poll_interval_is_followed_and_forgotten_with_its_waiter() -> None:
    server = ModelAirbyte([running(1), running(2), running(3, START + 30)])

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        slow = [asyncio.ensure_future(follow(watcher, each, Told(), 30.0)) for each in (1, 2)]
        await follow(watcher, 3, Told(), 1.0)
        await asyncio.sleep(60)
        for task in slow:
            task.cancel()

    run_in_virtual_time(go())
    assert 25 <= asked_since(server, START) - asked_since(server, START + 30) <= 40
    assert asked_since(server, START + 32) <= 3


def test_jobs_that_are_asked_for_one_by_one_are_asked_for_as_often_as_each_of_their_tasks_wants() -> None:
    jobs = [running(number) for number in range(1, 101)] + [running(101, START + 333)]
    server, told = ModelAirbyte(jobs, [Fault(START, NEVER, "forbidden", "list")]), Told()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(follow(watcher, each, Told(), 600.0)) for each in range(1, 101)]
        await follow(watcher, 101, told)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    assert (told.ended_at or NEVER) <= START + 333 + POLL + 1
    # A check of each, and then of one each poll.
    assert server.count("get") <= 100 + 335 / POLL + 2


def test_tasks_that_trickle_in_do_not_hurry_the_sweeps() -> None:
    server = ModelAirbyte([running(number) for number in range(1, 61)])

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        tasks = []
        for number in range(1, 61):
            tasks.append(asyncio.ensure_future(follow(watcher, number, Told(), 10.0)))
            await asyncio.sleep(1)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    changes = sum(call == "list" and query["updated"] is not None for _, call, query in server.calls)
    assert changes <= 8
