"""What is known of Airbyte's clock."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from airbyte_deferrable._watcher import server_clock
from airbyte_deferrable._watcher.server_clock import ServerClock
from airbyte_deferrable._watcher.subscriptions import SubscribedJob
from airbyte_deferrable.api.models import Job

NOON = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)


def job(status: str, **facts: object) -> Job:
    return Job(job_id=7, status=status, **facts)


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
        self.clock.update(self.ended(NOON))
        self.time += 10
        assert self.clock.read() == NOON + timedelta(seconds=10)
        self.clock.update(self.ended(NOON + timedelta(seconds=12)))
        self.clock.update(self.ended(NOON + timedelta(seconds=3)))
        assert self.clock.read() == NOON + timedelta(seconds=12)

    @pytest.mark.parametrize("absurd", ["9999-12-31T23:59:59Z", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
    def test_does_not_believe_a_stamp_that_no_clock_can_show(self, absurd: str) -> None:
        broken = job("succeeded", start_time=NOON.isoformat(), last_updated_at=absurd)
        self.clock.update(broken)
        assert self.clock.read() is None
        self.clock.update(self.ended(NOON))
        self.clock.update(broken)
        assert self.clock.read() == NOON

    def test_takes_a_running_jobs_stamp_from_its_duration(self) -> None:
        self.clock.update(job("running", start_time="2024-01-01T12:00Z", duration="PT1M5S"))
        assert self.clock.read() == NOON + timedelta(seconds=65)

    def test_learns_how_far_pods_are_apart_from_a_job_that_ends_before_it_was_seen_running(self) -> None:
        subscribed = SubscribedJob(7)
        self.clock.update(self.ended(NOON + timedelta(minutes=5)))
        subscribed.update(job("running", start_time=NOON.isoformat()), self.time)
        self.time += 60
        self.clock.update(self.ended(NOON + timedelta(minutes=1)), subscribed)
        assert self.clock.spread == timedelta(minutes=4)

    def test_end_after_the_last_check_says_nothing_of_the_pods(self) -> None:
        subscribed = SubscribedJob(7)
        self.clock.update(self.ended(NOON))
        subscribed.update(job("running", start_time=NOON.isoformat()), self.time)
        self.time += 60
        self.clock.update(self.ended(NOON + timedelta(seconds=30)), subscribed)
        assert self.clock.spread == timedelta(0)

    def test_of_all_pods_is_never_beyond_this_machines_own_nor_the_slowest_that_is_known(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.clock.passed_by_all(self.time) is None
        monkeypatch.setattr(server_clock, "utc_now", lambda: NOON + timedelta(seconds=self.time - 100))
        self.clock.update(self.ended(NOON - timedelta(seconds=30)))
        assert self.clock.passed_by_all(self.time) == NOON - timedelta(seconds=30)
        self.clock.update(self.ended(NOON + timedelta(days=1)))
        self.time += 20
        assert self.clock.passed_by_all(110.0) == NOON + timedelta(seconds=10)
        self.clock.spread = timedelta(days=1, minutes=1)
        assert self.clock.passed_by_all(110.0) == NOON + timedelta(seconds=10 - 60)
