"""What those who wait are told, and what is known of Airbyte's clock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest

from airbyte_deferrable._watcher.server_clock import ServerClock
from airbyte_deferrable._watcher.subscriptions import FAILED_LOOKS, JobNotVisible, TrackedJob, Trouble, Watch
from airbyte_deferrable.api.errors import Forbidden, Unreachable
from airbyte_deferrable.api.models import Job
from airbyte_deferrable.api.rounds import WOKEN_AT_ONCE
from helpers.model_airbyte import news_of, run_in_virtual_time

NOON = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
FORBIDDEN = Forbidden("GET /jobs/7", "no", 403)
DOWN = Unreachable("GET /jobs/7", "down", 503)


class Desk:
    """The least that a watch needs of a watcher."""

    def __init__(self) -> None:
        self.trouble: Trouble | None = None
        self.job = TrackedJob(7)
        self.time = 0.0

    def join(self, watch: Watch) -> TrackedJob:
        self.job.watches.append(watch)
        return self.job

    def leave(self, watch: Watch) -> None:
        self.job.watches.remove(watch)

    def now(self) -> float:
        return self.time


def job(status: str, **facts: object) -> Job:
    return Job(job_id=7, status=status, **facts)  # type: ignore[arg-type]


async def nothing_more(watch: Watch) -> bool:
    """Whether the watch has nothing to tell now."""
    asking = asyncio.ensure_future(news_of(watch))
    for _ in range(3):
        await asyncio.sleep(0)
    silent = not asking.done()
    asking.cancel()
    return silent


async def test_a_status_is_told_once_and_its_change_again() -> None:
    desk = Desk()
    with Watch(desk, 7, 5, 0) as watch:
        for status in ("pending", "running"):
            desk.job.saw(job(status), 1.0)
            assert (await news_of(watch)) == job(status)
            desk.job.saw(job(status), 2.0)
            assert await nothing_more(watch)


async def test_an_end_is_told_however_often_it_is_asked_for() -> None:
    desk = Desk()
    with Watch(desk, 7, 5, 0) as watch:
        desk.job.saw(job("succeeded"), 1.0)
        assert [await news_of(watch) for _ in range(2)] == [job("succeeded")] * 2


async def test_who_joins_later_is_told_what_is_known_at_once() -> None:
    desk = Desk()
    desk.job.saw(job("running"), 1.0)
    with Watch(desk, 7, 5, 0) as watch:
        assert await news_of(watch) == job("running")


async def test_progress_is_told_at_its_interval_though_the_lists_come_a_little_early() -> None:
    desk = Desk()
    with Watch(desk, 7, 5, 60) as watch:
        desk.job.saw(job("running"), 0.0)
        await news_of(watch)
        desk.job.saw(job("running", rows_synced=1), 30.0)
        assert await nothing_more(watch)
        desk.job.saw(job("running", rows_synced=2), 59.0)
        assert await news_of(watch) == job("running", rows_synced=2)
        desk.job.saw(job("running", rows_synced=3), 100.0)
        assert await nothing_more(watch)


async def test_a_refusal_is_believed_when_it_comes_twice_in_a_row() -> None:
    desk = Desk()
    with Watch(desk, 7, 5, 0) as watch:
        desk.job.refuse(FORBIDDEN, 1.0)
        desk.job.saw(job("running"), 2.0)
        desk.job.refuse(FORBIDDEN, 3.0)
        await news_of(watch)
        assert await nothing_more(watch)
        desk.job.refuse(FORBIDDEN, 4.0)
        with pytest.raises(JobNotVisible, match="403"):
            await news_of(watch)


async def test_trouble_is_told_when_it_begins_and_when_it_ends() -> None:
    desk = Desk()
    with Watch(desk, 7, 5, 0) as watch:
        for trouble in (Trouble(DOWN), Trouble(None, 30.0)):
            desk.trouble = trouble
            assert await news_of(watch) is trouble
            assert await nothing_more(watch)


async def test_trouble_that_is_over_is_no_news_for_who_comes_later_but_present_trouble_is() -> None:
    desk = Desk()
    desk.trouble = Trouble(None, 30.0)
    with Watch(desk, 7, 5, 0) as watch:
        assert await nothing_more(watch)
    desk.trouble = Trouble(DOWN)
    with Watch(desk, 7, 5, 0) as watch:
        assert await news_of(watch) is desk.trouble


async def test_a_job_that_alone_cannot_be_read_has_trouble_of_its_own_with_an_end() -> None:
    desk = Desk()
    with Watch(desk, 7, 5, 0) as watch:
        for number in range(FAILED_LOOKS - 1):
            desk.job.fail(DOWN, float(number))
        assert await nothing_more(watch)
        for number in range(2):
            desk.job.fail(DOWN, 10.0 + number)
        began = await news_of(watch)
        assert isinstance(began, Trouble)
        assert began.error is DOWN
        assert await nothing_more(watch)
        desk.job.saw(job("running"), 60.0)
        told = [await news_of(watch), await news_of(watch)]
        assert job("running") in told
        assert any(isinstance(each, Trouble) and each.error is None and each.seconds == 60.0 for each in told)


async def test_an_expired_watch_still_tells_an_end() -> None:
    desk = Desk()
    with Watch(desk, 7, 5, 0) as watch:
        asking = asyncio.ensure_future(news_of(watch))
        await asyncio.sleep(0)
        watch.expire()
        with pytest.raises(asyncio.TimeoutError):
            await asking
        desk.job.saw(job("failed"), 1.0)
        assert await news_of(watch) == job("failed")


def expire_all(tracked: TrackedJob) -> None:
    for watch in tracked.watches:
        watch.expire()


def begin_trouble(tracked: TrackedJob) -> None:
    for _ in range(FAILED_LOOKS):
        tracked.fail(DOWN, 1.0)


def refuse_twice(tracked: TrackedJob) -> None:
    for _ in range(2):
        tracked.refuse(FORBIDDEN, 1.0)


@pytest.mark.parametrize(
    "happens", [lambda tracked: tracked.saw(job("running"), 1.0), begin_trouble, refuse_twice, expire_all]
)
def test_many_who_wait_for_one_job_are_woken_a_few_in_a_round(happens: Callable[[TrackedJob], None]) -> None:
    desk = Desk()
    woken: Counter[int] = Counter()

    async def wait() -> None:
        with Watch(desk, 7, 5, 0) as watch, suppress(asyncio.TimeoutError, JobNotVisible):
            try:
                await news_of(watch)
            finally:
                woken[asyncio.get_running_loop().rounds] += 1  # type: ignore[attr-defined]

    async def all_wait() -> None:
        waits = [asyncio.ensure_future(wait()) for _ in range(95)]
        gone = asyncio.ensure_future(wait())
        await asyncio.sleep(1)
        gone.cancel()
        await asyncio.wait([gone])
        woken.clear()
        happens(desk.job)
        await asyncio.gather(*waits)

    run_in_virtual_time(all_wait())
    assert sum(woken.values()) == 95
    assert max(woken.values()) == WOKEN_AT_ONCE


class TestServerClock:
    """A lower bound of the clock that stamps the jobs."""

    def setup_method(self) -> None:
        self.time = 100.0
        self.clock = ServerClock(lambda: self.time)

    def ended(self, at: datetime) -> Job:
        return job("succeeded", start_time=NOON.isoformat(), last_updated_at=at.isoformat())

    def test_is_not_known_before_a_job_was_seen(self) -> None:
        assert self.clock.read() is None

    def test_goes_on_from_the_latest_stamp(self) -> None:
        self.clock.saw(self.ended(NOON))
        self.time += 10
        assert self.clock.read() == NOON + timedelta(seconds=10)
        self.clock.saw(self.ended(NOON + timedelta(seconds=12)))
        self.clock.saw(self.ended(NOON + timedelta(seconds=3)))
        assert self.clock.read() == NOON + timedelta(seconds=12)

    @pytest.mark.parametrize("absurd", ["9999-12-31T23:59:59Z", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
    def test_does_not_believe_a_stamp_that_no_clock_can_show(self, absurd: str) -> None:
        broken = job("succeeded", start_time=NOON.isoformat(), last_updated_at=absurd)
        self.clock.saw(broken)
        assert self.clock.read() is None
        self.clock.saw(self.ended(NOON))
        self.clock.saw(broken)
        assert self.clock.read() == NOON

    def test_takes_a_running_jobs_stamp_from_its_duration(self) -> None:
        self.clock.saw(job("running", start_time="2024-01-01T12:00Z", duration="PT1M5S"))
        assert self.clock.read() == NOON + timedelta(seconds=65)

    def test_learns_how_far_pods_are_apart_from_a_job_that_ends_before_it_was_seen_running(self) -> None:
        tracked = TrackedJob(7)
        self.clock.saw(self.ended(NOON + timedelta(minutes=5)))
        tracked.saw(job("running", start_time=NOON.isoformat()), self.time)
        self.time += 60
        self.clock.saw(self.ended(NOON + timedelta(minutes=1)), tracked)
        assert self.clock.spread == timedelta(minutes=4)

    def test_an_end_after_the_last_look_says_nothing_of_the_pods(self) -> None:
        tracked = TrackedJob(7)
        self.clock.saw(self.ended(NOON))
        tracked.saw(job("running", start_time=NOON.isoformat()), self.time)
        self.time += 60
        self.clock.saw(self.ended(NOON + timedelta(seconds=30)), tracked)
        assert self.clock.spread == timedelta(0)
