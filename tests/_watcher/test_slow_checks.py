"""Requests that hang or take long hold up nobody else."""

from __future__ import annotations

import asyncio

import pytest

from airbyte_deferrable._watcher.loop import JobWatcher
from helpers.followers import NEVER, POLL, START, Told, follow, running, watch_for
from helpers.model_airbyte import Fault, ModelAirbyte, run_in_virtual_time


@pytest.mark.parametrize("hanging", [1, 3])
def test_jobs_whose_check_hangs_do_not_delay_the_others(hanging: int) -> None:
    jobs = [running(number, START + 40 + number * 7) for number in range(1, 11)]
    stuck = [running(number, listed=False) for number in range(11, 11 + hanging)]
    faults = [Fault(START + 10, NEVER, "hang", "get", job_id=job.job_id) for job in stuck]
    # Another that goes on, so that those whose check hangs are never left alone.
    told = watch_for(ModelAirbyte([*jobs, *stuck, running(99)], faults, timeout=30.0), 400)
    late = [(told[job.job_id].ended_at or NEVER) - job.end.at for job in jobs]
    assert max(late) <= POLL * (1 + hanging) + 1
    assert all([outage.error is not None for _, outage in told[job.job_id].outages] == [True] for job in stuck)


def test_check_that_still_goes_on_is_no_sign_of_life() -> None:
    """First one job's check hangs, then all of Airbyte; and the one is left alone with the watcher."""
    faults = [Fault(START + 10, 50, "hang", "get", job_id=2), Fault(START + 60, 340, "hang")]
    server = ModelAirbyte([running(1), running(2, START + 420, listed=False)], faults, timeout=30.0)
    told = Told()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        other = asyncio.ensure_future(follow(watcher, 1, Told()))
        waiting = asyncio.ensure_future(follow(watcher, 2, told))
        await asyncio.sleep(220)
        other.cancel()
        await asyncio.wait([waiting], timeout=300)

    run_in_virtual_time(go())
    assert told.ended_at is not None
    assert any(outage.error is not None for _, outage in told.outages)
    assert all(at >= START + 400 for at, outage in told.outages if outage.error is None)


@pytest.mark.parametrize("latency", [8.0, 20.0])
@pytest.mark.parametrize("lists", [True, False])
def test_server_that_is_slow_with_every_answer_still_gives_one(latency: float, lists: bool) -> None:
    jobs = [running(number, START + 40 + number, listed=number % 2 == 0) for number in range(1, 7)]
    faults = [] if lists else [Fault(START, NEVER, "forbidden", "list")]
    told = watch_for(ModelAirbyte(jobs, faults, latency=latency, timeout=30.0), 900)
    assert all(each.ended_at is not None for each in told.values())


def test_airbyte_that_hangs_does_not_delay_the_waiters_of_another() -> None:
    hanging = ModelAirbyte([running(1), running(2)], [Fault(START, NEVER, "hang")], timeout=30.0)
    healthy = ModelAirbyte([running(1, START + 21), running(2, START + 22)])
    told = {1: Told(), 2: Told()}

    async def go() -> None:
        watchers = [JobWatcher(server) for server in (hanging, healthy)]  # type: ignore[arg-type]
        stuck = [asyncio.ensure_future(follow(watchers[0], each, Told())) for each in (1, 2)]
        await asyncio.gather(*(follow(watchers[1], each, told[each]) for each in (1, 2)))
        for task in stuck:
            task.cancel()

    run_in_virtual_time(go())
    assert max(each.ended_at or NEVER for each in told.values()) <= START + 22 + POLL + 1
