"""Whatever clocks and pages do, each end is seen soon."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airbyte_deferrable._watcher import sweep
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable.api.errors import Unreachable
from airbyte_deferrable.api.models import Job
from helpers.followers import NEVER, POLL, START, Told, follow, running, watch_for
from helpers.model_airbyte import ModelAirbyte, ModelJob, Step, run_in_virtual_time


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let a hundred jobs be as many pages as a thousand are."""
    monkeypatch.setattr(sweep, "PAGE_SIZE", 10)
    return 10


@pytest.mark.parametrize("latency", [0.1, 0.5])
def test_ends_are_not_skipped_while_pages_shift(latency: float) -> None:
    """Jobs change status while the pages are read: in an order by change, each would push another out of sight."""
    jobs = []
    for number in range(1, 601):
        # The odd ones go to and fro all the time, while the even ones end.
        turns = range(30) if number % 2 else ()
        flips = [Step(START + 20 + turn * 2 + number * 0.003, "incomplete") for turn in turns]
        end = Step(START + (100 if number % 2 else 30) + number * 0.04, "succeeded")
        created = START - 600 + number * 0.01
        jobs.append(ModelJob(number, (Step(created, "pending"), Step(created + 0.005, "running"), *flips, end)))
    server = ModelAirbyte(jobs, latency=latency)
    told = watch_for(server, 150)
    for job in jobs:
        ended_at = told[job.job_id].ended_at
        assert ended_at is not None
        # The poll, and a sweep's eight pages.
        assert ended_at - job.end.at <= POLL + 8 * latency + 2


def test_first_reading_of_the_changes_that_fails_reaches_back_as_far_the_next_time() -> None:
    """A task waits alone for a while, its job ends, and the changes are read again when another task comes."""

    class FailsOnce(ModelAirbyte):
        armed = False

        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            rows = await super().list_jobs(**query)
            if self.armed and query.get("updated_since") is not None:
                self.armed = False
                raise Unreachable("GET /jobs", "Service Unavailable", 503)
            return rows

    # What ends after it moves Airbyte's clock, as far as it is known, well past its end.
    others = [running(100 + number, START + 64 + number * 0.02, created=START - 500) for number in range(150)]
    server = FailsOnce([running(1, START + 62), running(2, START + 30), running(3), *others])
    told = Told()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        waits = [asyncio.ensure_future(follow(watcher, 1, told, 20.0))]
        waits.append(asyncio.ensure_future(follow(watcher, 2, Told(), 20.0)))
        await asyncio.sleep(61)
        server.armed = True
        waits.append(asyncio.ensure_future(follow(watcher, 3, Told(), 20.0)))
        await asyncio.wait(waits, timeout=200)

    run_in_virtual_time(go())
    assert not server.armed
    assert (told.ended_at or NEVER) <= START + 62 + 2 * 20


def test_pod_whose_clock_is_behind_delays_few_reports_until_that_is_learned() -> None:
    """Half of the ends are stamped by a pod that is 15 s behind: behind what the sweeps have read."""
    jobs = []
    for number in range(1, 41):
        created, end = START - 600 + number * 0.01, START + 20 + number * 11
        steps = Step(created, "pending"), Step(created + 0.005, "running")
        jobs.append(ModelJob(number, (*steps, Step(end, "succeeded", skew=-15.0 if number % 2 else 0.0))))
    told = watch_for(ModelAirbyte(jobs), 500, progress=20.0)
    late = [(told[job.job_id].ended_at or NEVER) - job.end.at for job in jobs]
    # A report of progress that saw one of them run later than the stamp of its end taught that, or a part of it.
    assert 1 <= sum(seconds > POLL + 1 for seconds in late) <= 6


def test_changes_that_become_visible_half_a_second_after_their_stamp_are_seen_within_a_poll() -> None:
    """Airbyte stamps a change before it commits it. A few of these are stamped before a sweep and seen after it."""
    # At whole seconds, from which Airbyte's clock is learned as well as can be.
    punctual = [running(number, START + 20 + number) for number in range(1, 21)]
    late = []
    for number in range(21, 221):
        created = START - 600 + number * 0.01
        end = Step(START + 30 + number * 0.1, "succeeded", lag=0.5)
        late.append(ModelJob(number, (Step(created, "pending"), Step(created + 0.005, "running"), end)))
    told = watch_for(ModelAirbyte([*punctual, *late]), 120)
    for job in late:
        assert (told[job.job_id].ended_at or NEVER) <= job.end.visible_at + POLL + 1


def test_job_that_no_list_names_is_seen_within_a_poll() -> None:
    jobs = [running(number) for number in range(1, 50)] + [running(50, START + 33, listed=False)]
    told = watch_for(ModelAirbyte(jobs), 60)
    assert (told[50].ended_at or NEVER) <= START + 33 + POLL + 1


def test_ends_are_not_missed_when_changes_are_read_again_and_not_to_their_end(small_pages: int) -> None:
    """A task waits alone for a while, and its job ends just before another task comes."""
    others = [running(number, START + number / 3, created=START - 300 + number * 1e-3) for number in range(1, 301)]
    # Its change to running is read in a list, so that the changes are relied on for its end.
    first = ModelJob(301, (Step(START, "pending"), Step(START + 8, "running"), Step(START + 40.5, "succeeded")))
    ours = {"first": first, "gone": running(302, START + 12), "later": running(303)}
    server = ModelAirbyte([*others, *ours.values()], page_size=small_pages)
    told = {name: Told() for name in ours}

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        waits = [asyncio.ensure_future(follow(watcher, ours[name].job_id, told[name])) for name in ("first", "gone")]
        await asyncio.sleep(44)
        later = asyncio.ensure_future(follow(watcher, ours["later"].job_id, told["later"]))
        await asyncio.wait(waits, timeout=60)
        later.cancel()

    run_in_virtual_time(go())
    assert (told["first"].ended_at or NEVER) <= START + 40.5 + POLL + 2


def test_many_jobs_that_end_together_are_not_taken_for_those_of_others(small_pages: int) -> None:
    """Those whose end has been told are gone, but their changes are still in the next sweep's window."""
    jobs = [running(number, START + 60 + number * 0.02) for number in range(1, 1001)]
    server = ModelAirbyte(jobs, page_size=small_pages)
    told = watch_for(server, 120)
    assert all((told[job.job_id].ended_at or NEVER) <= job.end.at + POLL + 3 for job in jobs)
    assert server.count("get") <= 10


@pytest.mark.parametrize("absurd", ["9999-12-31T23:59:59Z", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
def test_job_with_an_absurd_stamp_hides_no_others_end(absurd: str) -> None:
    class Broken(ModelAirbyte):
        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            odd = Job(job_id=99, status="succeeded", start_time="2024-01-01T00:00:00Z", last_updated_at=absurd)
            return (*await super().list_jobs(**query), odd)

    told = watch_for(Broken([running(1, START + 32), running(2, START + 33)]), 60)
    assert all(each.ended_at is not None and each.ended_at <= START + 33 + POLL + 1 for each in told.values())
    assert not any(each.outages for each in told.values())


def test_jobs_that_change_while_pages_are_read_push_no_end_out_of_sight(small_pages: int) -> None:
    """In the order of changes, those of the first page would move behind all others, and the next begin further on."""

    class Restless(ModelAirbyte):
        """Ten of its jobs change as soon as a first page of changes was read."""

        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            rows = await super().list_jobs(**query)
            if query.get("updated_since") is not None and query["offset"] == 0:
                now = asyncio.get_running_loop().time()
                self.jobs[:small_pages] = [
                    ModelJob(job.job_id, (*job.steps, Step(now, "incomplete"))) for job in self.jobs[:small_pages]
                ]
            return rows

    restless = [
        ModelJob(number, (Step(START - 600, "pending"), Step(START - 1, "running")))
        for number in range(1, small_pages + 1)
    ]
    # Between two sweeps, and out of reach of the overlap.
    ending = [running(number, START + 21.5 + number * 0.01) for number in range(small_pages + 1, 4 * small_pages + 1)]
    server = Restless([*restless, *ending], page_size=small_pages)
    told = watch_for(server, 60, [job.job_id for job in ending])
    assert all((told[job.job_id].ended_at or NEVER) <= job.end.at + POLL + 2 for job in ending)


@pytest.mark.parametrize("page", [0, 1, 3], ids=["the first page", "the second page", "the last page"])
def test_sweep_that_fails_before_its_last_page_is_read_again_from_where_it_began(small_pages: int, page: int) -> None:
    """Otherwise the ends on the pages that were not read would be between two sweeps' windows."""

    class FailsOnce(ModelAirbyte):
        """Gives no answer for a page of changes in the first sweep after a moment, however often it is asked."""

        failed_at: float | None = None

        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            now = asyncio.get_running_loop().time()
            if query.get("updated_since") is not None and query["offset"] == page * small_pages and now > START + 23:
                self.failed_at = self.failed_at or now
                if now < self.failed_at + POLL / 2:
                    raise Unreachable("GET /jobs", "Service Unavailable", 503)
            return await super().list_jobs(**query)

    # In the window of one sweep, and out of reach of the overlap of the next.
    jobs = [running(number, START + 20.5 + number * 0.01) for number in range(1, 4 * small_pages)]
    # Its stamp tells Airbyte's clock to a second. Otherwise each window would reach back to the last stamp before.
    latest = running(100, START - 1, created=START - 500)
    server = FailsOnce([*jobs, latest], page_size=small_pages)
    told = watch_for(server, 60, [job.job_id for job in jobs])
    assert server.failed_at is not None
    assert all((told[job.job_id].ended_at or NEVER) <= server.failed_at + 2 * POLL for job in jobs)
