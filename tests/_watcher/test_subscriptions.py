"""Of what those who wait are notified."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone

import pytest

from airbyte_deferrable._watcher.subscriptions import (
    FAILED_CHECKS,
    JobNotVisible,
    OutageNews,
    SubscribedJob,
    Subscription,
)
from airbyte_deferrable.api.aio import WOKEN_AT_ONCE
from airbyte_deferrable.api.errors import Forbidden, Unreachable
from airbyte_deferrable.api.models import Job
from helpers.model_airbyte import news_of, run_in_virtual_time

NOON = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
FORBIDDEN = Forbidden("GET /jobs/7", "no", 403)
DOWN = Unreachable("GET /jobs/7", "down", 503)


class Desk:
    """The least that a subscription needs of a watcher."""

    def __init__(self) -> None:
        self.outage: OutageNews | None = None
        self.job = SubscribedJob(7)
        self.time = 0.0

    def add(self, subscription: Subscription) -> SubscribedJob:
        self.job.subscriptions.append(subscription)
        return self.job

    def remove(self, subscription: Subscription) -> None:
        self.job.subscriptions.remove(subscription)

    def now(self) -> float:
        return self.time


def job(status: str, **facts: object) -> Job:
    return Job(job_id=7, status=status, **facts)


async def nothing_more(subscription: Subscription) -> bool:
    """Whether the subscription has no news now."""
    asking = asyncio.ensure_future(news_of(subscription))
    for _ in range(3):
        await asyncio.sleep(0)
    silent = not asking.done()
    asking.cancel()
    return silent


async def test_status_is_told_once_and_its_change_again() -> None:
    desk = Desk()
    with Subscription(desk, 7, 5, 0) as subscription:
        for status in ("pending", "running"):
            desk.job.update(job(status), 1.0)
            assert (await news_of(subscription)) == job(status)
            desk.job.update(job(status), 2.0)
            assert await nothing_more(subscription)


async def test_end_is_told_however_often_it_is_asked_for() -> None:
    desk = Desk()
    with Subscription(desk, 7, 5, 0) as subscription:
        desk.job.update(job("succeeded"), 1.0)
        assert [await news_of(subscription) for _ in range(2)] == [job("succeeded")] * 2


async def test_subscription_that_joins_later_is_told_what_is_known_at_once() -> None:
    desk = Desk()
    desk.job.update(job("running"), 1.0)
    with Subscription(desk, 7, 5, 0) as subscription:
        assert await news_of(subscription) == job("running")


async def test_progress_is_told_at_its_interval_though_the_lists_come_a_little_early() -> None:
    desk = Desk()
    with Subscription(desk, 7, 5, 60) as subscription:
        desk.job.update(job("running"), 0.0)
        await news_of(subscription)
        desk.job.update(job("running", rows_synced=1), 30.0)
        assert await nothing_more(subscription)
        desk.job.update(job("running", rows_synced=2), 59.0)
        assert await news_of(subscription) == job("running", rows_synced=2)
        desk.job.update(job("running", rows_synced=3), 100.0)
        assert await nothing_more(subscription)


async def test_not_found_is_believed_when_it_comes_twice_in_a_row() -> None:
    desk = Desk()
    with Subscription(desk, 7, 5, 0) as subscription:
        desk.job.not_found(FORBIDDEN, 1.0)
        desk.job.update(job("running"), 2.0)
        desk.job.not_found(FORBIDDEN, 3.0)
        await news_of(subscription)
        assert await nothing_more(subscription)
        desk.job.not_found(FORBIDDEN, 4.0)
        with pytest.raises(JobNotVisible, match="403"):
            await news_of(subscription)


async def test_outage_is_news_when_it_begins_and_when_it_is_over() -> None:
    desk = Desk()
    with Subscription(desk, 7, 5, 0) as subscription:
        for outage in (OutageNews(DOWN), OutageNews(None, 30.0)):
            desk.outage = outage
            assert await news_of(subscription) is outage
            assert await nothing_more(subscription)


async def test_outage_that_is_over_is_no_news_for_who_comes_later_but_one_that_lasts_is() -> None:
    desk = Desk()
    desk.outage = OutageNews(None, 30.0)
    with Subscription(desk, 7, 5, 0) as subscription:
        assert await nothing_more(subscription)
    desk.outage = OutageNews(DOWN)
    with Subscription(desk, 7, 5, 0) as subscription:
        assert await news_of(subscription) is desk.outage


async def test_job_that_alone_cannot_be_read_has_an_outage_of_its_own_with_an_end() -> None:
    desk = Desk()
    with Subscription(desk, 7, 5, 0) as subscription:
        for number in range(FAILED_CHECKS - 1):
            desk.job.fail(DOWN, float(number))
        assert await nothing_more(subscription)
        for number in range(2):
            desk.job.fail(DOWN, 10.0 + number)
        began = await news_of(subscription)
        assert isinstance(began, OutageNews)
        assert began.error is DOWN
        assert await nothing_more(subscription)
        desk.job.update(job("running"), 60.0)
        told = [await news_of(subscription), await news_of(subscription)]
        assert job("running") in told
        assert any(isinstance(each, OutageNews) and each.error is None and each.seconds == 60.0 for each in told)


async def test_expired_subscription_still_tells_an_end() -> None:
    desk = Desk()
    with Subscription(desk, 7, 5, 0) as subscription:
        asking = asyncio.ensure_future(news_of(subscription))
        await asyncio.sleep(0)
        subscription.expire()
        with pytest.raises(asyncio.TimeoutError):
            await asking
        desk.job.update(job("failed"), 1.0)
        assert await news_of(subscription) == job("failed")


def expire_all(subscribed: SubscribedJob) -> None:
    for subscription in subscribed.subscriptions:
        subscription.expire()


def begin_outage(subscribed: SubscribedJob) -> None:
    for _ in range(FAILED_CHECKS):
        subscribed.fail(DOWN, 1.0)


def not_found_twice(subscribed: SubscribedJob) -> None:
    for _ in range(2):
        subscribed.not_found(FORBIDDEN, 1.0)


@pytest.mark.parametrize(
    "happens", [lambda subscribed: subscribed.update(job("running"), 1.0), begin_outage, not_found_twice, expire_all]
)
def test_many_who_wait_for_one_job_are_woken_a_few_in_a_round(happens: Callable[[SubscribedJob], None]) -> None:
    desk = Desk()
    woken: Counter[int] = Counter()

    async def wait() -> None:
        with Subscription(desk, 7, 5, 0) as subscription, suppress(asyncio.TimeoutError, JobNotVisible):
            try:
                await news_of(subscription)
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
