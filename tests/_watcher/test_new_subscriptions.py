"""Tasks that come while others wait."""

from __future__ import annotations

import asyncio

import pytest

from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable.api.models import Job
from helpers.followers import NEVER, POLL, START, Told, follow, running
from helpers.model_airbyte import Fault, ModelAirbyte, run_in_virtual_time


@pytest.mark.parametrize("faults", [[], [Fault(START, 2)]], ids=["no outage", "outage"])
@pytest.mark.parametrize("job_id", [3, 1], ids=["a job of its own", "a job of theirs"])
def test_task_that_joins_more_patient_ones_is_told_within_its_own_poll(job_id: int, faults: list[Fault]) -> None:
    server = ModelAirbyte([running(1, START + 100), running(2), running(3, START + 100)], faults)
    told = Told()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        slow = [asyncio.ensure_future(follow(watcher, each, Told(), 1800.0)) for each in (1, 2)]
        await asyncio.sleep(60)
        await follow(watcher, job_id, told)
        for task in slow:
            task.cancel()

    run_in_virtual_time(go())
    assert (told.ended_at or NEVER) <= START + 100 + POLL + 1
    assert server.requests <= 60 / POLL + 5


def test_long_sweep_for_patient_tasks_does_not_hold_up_a_task_that_joins() -> None:
    """It lasts a minute, for 500 jobs are asked for one by one."""
    server = ModelAirbyte([running(number) for number in range(1, 502)], [Fault(START, NEVER, "forbidden", "list")])
    server.latency = 0.1
    told = Told()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(follow(watcher, each, Told(), 600.0)) for each in range(1, 501)]
        await asyncio.sleep(20)
        tasks.append(asyncio.ensure_future(follow(watcher, 501, told)))
        await asyncio.sleep(60)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    assert told.jobs[0][0] <= START + 20 + POLL + 1


def test_new_subscriptions_whose_jobs_the_sweeps_have_named_are_not_checked() -> None:
    """A task leaves its worker some seconds after its job was made."""
    server = ModelAirbyte([running(number, created=START + number, end=START + 200) for number in range(1, 101)])
    told = {number: Told() for number in range(1, 101)}

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        await asyncio.sleep(3)
        tasks = []
        for number in range(1, 101):
            tasks.append(asyncio.ensure_future(follow(watcher, number, told[number])))
            await asyncio.sleep(1)
        await asyncio.sleep(POLL)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    # But for the first, who waits alone until the second comes.
    assert server.count("get") <= 3
    assert server.count("list") <= 100 / POLL + 5
    assert all(each.jobs[0][0] <= START + 3 + number + POLL for number, each in told.items())


def test_answers_of_long_ago_are_no_news_to_a_new_subscription() -> None:
    server, told = ModelAirbyte([running(number) for number in range(1, 4)]), Told()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(follow(watcher, each, Told(), 600.0)) for each in (1, 2)]
        await asyncio.sleep(100)
        tasks.append(asyncio.ensure_future(follow(watcher, 3, told, 600.0)))
        await asyncio.sleep(10)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    assert told.jobs[0][0] >= START + 100 + Pace().gather
    assert server.calls[-1][0] >= START + 100


def test_error_while_new_subscriptions_are_checked_leaves_nobody_waiting_for_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(ModelAirbyte):
        async def get_job(self, job_id: int) -> Job:
            if job_id == 2 and asyncio.get_running_loop().time() < START + 10:
                raise ValueError("never thought of")
            return await super().get_job(job_id)

    server, told = Broken([running(1, START + 21), running(2, START + 22)]), {1: Told(), 2: Told()}

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        first = asyncio.ensure_future(follow(watcher, 1, told[1], 20.0))
        await asyncio.sleep(2)
        await asyncio.wait([first, asyncio.ensure_future(follow(watcher, 2, told[2], 20.0))], timeout=60)

    run_in_virtual_time(go())
    assert max(each.ended_at or NEVER for each in told.values()) <= START + 22 + 20 + 1
    assert "Checking new subscriptions failed" in caplog.text
