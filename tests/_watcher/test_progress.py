"""Reports of progress, and how many tasks are woken at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable.api.aio import WOKEN_AT_ONCE
from helpers.followers import NEVER, POLL, START, running, watch_for
from helpers.model_airbyte import Fault, ModelAirbyte, news_of, run_in_virtual_time


def test_long_lists_of_progress_do_not_delay_the_sweeps() -> None:
    jobs = [running(number) for number in range(1, 3000)] + [running(3000, START + 62)]
    server = ModelAirbyte(jobs, latency=0.4)
    told = watch_for(server, 90, progress=60.0)
    assert (told[3000].ended_at or NEVER) <= START + 62 + POLL + 2


def test_progress_is_told_once_an_interval_and_never_by_a_request_for_each_job() -> None:
    server = ModelAirbyte([running(number) for number in range(1, 301)])
    told = watch_for(server, 310, progress=60.0)
    assert {len(each.jobs) for each in told.values()} == {6}
    assert server.count("get") <= 2


def test_without_an_interval_progress_is_not_told() -> None:
    told = watch_for(ModelAirbyte([running(1), running(2)]), 600)
    assert [len(each.jobs) for each in told.values()] == [1, 1]


def test_few_tasks_are_woken_in_one_round_of_the_event_loop() -> None:
    """Each writes to its log then, and nothing else runs meanwhile: first checks, progress, an outage and its end."""
    server = ModelAirbyte([running(number) for number in range(1, 501)], [Fault(START + 130, 60)])
    woken: Counter[int] = Counter()

    async def count(watcher: JobWatcher, job_id: int) -> None:
        loop: Any = asyncio.get_running_loop()
        with watcher.subscribe(job_id, poll_interval=POLL, progress_interval=60) as subscription:
            while True:
                await news_of(subscription)
                woken[loop.rounds] += 1

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(count(watcher, job.job_id)) for job in server.jobs]
        await asyncio.wait(tasks, timeout=220)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    assert woken.total() >= 5 * 500
    assert max(woken.values()) <= WOKEN_AT_ONCE
