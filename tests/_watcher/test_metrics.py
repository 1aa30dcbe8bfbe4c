"""What is counted."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from airbyte_deferrable._watcher.loop import JobWatcher
from helpers.followers import POLL, START, Told, follow, running, watch_for
from helpers.model_airbyte import Fault, ModelAirbyte, run_in_virtual_time


class Counters:
    """Keeps what Airflow's ``Stats`` would pass on."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.levels: dict[str, float] = {}
        self.spans: dict[str, list[timedelta]] = {}

    def incr(self, stat: str, count: int = 1) -> None:
        self.counts[stat] = self.counts.get(stat, 0) + count

    def gauge(self, stat: str, value: float) -> None:
        self.levels[stat] = value

    def timing(self, stat: str, dt: timedelta) -> None:
        self.spans.setdefault(stat, []).append(dt)


def test_metrics_count_sweeps_requests_errors_and_how_late_ends_are_seen() -> None:
    metrics = Counters()
    jobs = [running(1, START + 62), running(2, START + 63), running(3, START - 300)]
    server = ModelAirbyte(jobs, [Fault(START + 20, 8)])
    watch_for(server, 90, metrics=metrics)
    assert set(metrics.counts) == {f"airbyte_deferrable.{name}" for name in ("sweeps", "requests", "errors")}
    assert metrics.counts["airbyte_deferrable.requests"] == pytest.approx(server.requests, abs=2)
    late = metrics.spans["airbyte_deferrable.seen_after"]
    # Not the job that had ended before anybody waited for it.
    assert len(late) == 2
    assert all(timedelta(0) <= each <= timedelta(seconds=POLL + 2) for each in late)
    assert set(metrics.levels) == {"airbyte_deferrable.waiting", "airbyte_deferrable.watching"}


def test_metrics_tell_how_long_ago_a_job_had_ended_when_it_was_seen() -> None:
    metrics = Counters()
    # The first ends just before a sweep, which teaches Airbyte's clock; the second eight seconds before one.
    watch_for(ModelAirbyte([running(1, START + 50), running(2, START + 62)]), 90, poll=10.0, metrics=metrics)
    just_now, long_ago = metrics.spans["airbyte_deferrable.seen_after"]
    assert timedelta(0) <= just_now <= timedelta(seconds=1)
    # Stamps are in whole seconds.
    assert timedelta(seconds=7) <= long_ago <= timedelta(seconds=9)


def test_requests_between_two_rare_sweeps_are_counted_within_a_minute() -> None:
    metrics, server = Counters(), ModelAirbyte([running(number) for number in range(1, 5)])

    async def go() -> None:
        watcher = JobWatcher(server, metrics=metrics)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(follow(watcher, each, Told(), 600.0)) for each in (1, 2)]
        await asyncio.sleep(100)
        before = server.requests
        tasks += [asyncio.ensure_future(follow(watcher, each, Told(), 600.0)) for each in (3, 4)]
        await asyncio.sleep(60)
        assert metrics.counts["airbyte_deferrable.requests"] == server.requests > before
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
