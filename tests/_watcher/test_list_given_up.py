"""What is asked while the list is forbidden, broken, or too long; when it is tried again."""

from __future__ import annotations

import asyncio
import logging

import pytest

from airbyte_deferrable._watcher import sweep
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable.api.models import Job
from helpers.followers import NEVER, POLL, START, Told, follow, running, watch_for
from helpers.model_airbyte import Fault, ModelAirbyte, run_in_virtual_time


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let a hundred jobs be as many pages as a thousand are."""
    monkeypatch.setattr(sweep, "PAGE_SIZE", 10)
    return 10


def test_forbidden_list_ends_no_wait_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    jobs = [running(number, START + 3000 + number) for number in range(1, 21)]
    server = ModelAirbyte(jobs, [Fault(START, NEVER, "forbidden", "list")])
    with caplog.at_level(logging.WARNING, "airbyte_deferrable"):
        told = watch_for(server, 3100)
    assert all((told[job.job_id].ended_at or NEVER) <= job.end.at + POLL + 2 for job in jobs)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "does not let its jobs be listed" in caplog.text


def test_list_that_is_refused_once_is_tried_again_soon() -> None:
    """Meanwhile, so many jobs take minutes one by one."""
    jobs = [running(number, START + 300 + number % 50) for number in range(1, 3001)]
    server = ModelAirbyte(jobs, [Fault(START + 200, POLL, "forbidden", "list")], latency=0.05)
    told = watch_for(server, 400)
    assert all((told[job.job_id].ended_at or NEVER) <= job.end.at + POLL + 2 for job in jobs)


def test_list_that_is_refused_again_and_again_is_asked_for_every_ten_minutes() -> None:
    server = ModelAirbyte([running(1), running(2)], [Fault(START, NEVER, "forbidden", "list")])
    watch_for(server, 3000)
    assert server.count("list") == 6


def test_list_that_always_fails_does_not_hide_jobs_that_can_be_asked_for() -> None:
    jobs = [running(number, START + 60 + number) for number in range(1, 21)]
    told = watch_for(ModelAirbyte(jobs, [Fault(START + 20, NEVER, "down", "list")]), 120)
    assert all((told[job.job_id].ended_at or NEVER) <= job.end.at + 4 * POLL for job in jobs)


def test_list_that_fails_the_moment_before_airbyte_is_back_is_tried_again() -> None:
    jobs = [running(number, START + 40 + number * 0.001) for number in range(1, 2001)]

    class BackBetween(ModelAirbyte):
        """Comes back with the first request for a single job."""

        async def get_job(self, job_id: int) -> Job:
            self.faults = []
            return await super().get_job(job_id)

    told = watch_for(BackBetween(jobs, [Fault(START + 33, NEVER)]), 90)
    assert max(each.ended_at or NEVER for each in told.values()) <= START + 45 + 3 * POLL


def test_where_too_much_else_changes_only_the_jobs_waited_for_are_asked_for_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours = [running(number, START + 100 + number) for number in range(1, 6)]
    others = [
        running(number, START + number * 0.01, created=START - 300 + number * 1e-3) for number in range(6, 13_000)
    ]
    server = ModelAirbyte(ours + others)
    with caplog.at_level(logging.INFO, "airbyte_deferrable"):
        told = watch_for(server, 125, [job.job_id for job in ours])
    assert all((told[job.job_id].ended_at or NEVER) <= job.end.at + POLL + 2 for job in ours)
    # Five waiters cost no more than a request each a poll, and a try of the list a minute.
    assert server.requests <= 5 * 125 / POLL + 3 * 15
    assert caplog.text.count("has too many changes to list") == 1


def test_many_jobs_are_found_in_lists_while_too_much_else_changes(small_pages: int) -> None:
    ours = [running(number, START + 30 + number * 0.2) for number in range(1, 101)]
    others = [
        running(number, START + (number - 100) * 0.01, created=START - 300 + number * 1e-3)
        for number in range(101, 7000)
    ]
    server = ModelAirbyte(ours + others, page_size=small_pages)
    told = watch_for(server, 60, [job.job_id for job in ours])
    assert all((told[job.job_id].ended_at or NEVER) <= job.end.at + 2 * POLL for job in ours)
    # The pages that ours fill, each poll, and one by one only what is not among the running ones any more.
    assert server.count("get") <= 150
    assert server.requests <= 60 / POLL * 60


def test_list_is_tried_again_when_many_more_wait() -> None:
    """The first of a thousand tasks see changes that are taken for others'."""
    server = ModelAirbyte([running(number, created=START - 20 + number * 0.01) for number in range(1, 1001)])

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(follow(watcher, each, Told())) for each in (1, 2)]
        await asyncio.sleep(3)
        tasks += [asyncio.ensure_future(follow(watcher, each, Told())) for each in range(3, 1001)]
        await asyncio.sleep(30)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    assert server.count("get") <= 10
