"""How long the pause until the next sweep is: the numbers by themselves."""

from __future__ import annotations

import pytest

from airbyte_deferrable._watcher.backoff import Backoff
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable.api.errors import Unreachable

DOWN = Unreachable("GET /jobs", "down", 503)
THROTTLED = Unreachable("GET /jobs", "later", 429)
INTERVAL = 10.0


@pytest.fixture
def backoff() -> Backoff:
    return Backoff(Pace())


def failed(backoff: Backoff, error: Unreachable, times: int) -> float:
    for _ in range(times):
        backoff.failed(error)
    return backoff.pause(INTERVAL)


def test_without_a_failure_it_is_the_interval(backoff: Backoff) -> None:
    assert backoff.pause(INTERVAL) == INTERVAL
    failed(backoff, DOWN, 5)
    backoff.succeeded()
    assert backoff.pause(INTERVAL) == INTERVAL


def test_after_one_failure_it_is_the_interval_and_half_of_it_where_many_sweeps_went_well(backoff: Backoff) -> None:
    assert failed(backoff, DOWN, 1) == INTERVAL
    for _ in range(Pace().hurry_after):
        backoff.succeeded()
    assert failed(backoff, DOWN, 1) <= INTERVAL / 2
    # Again at once it is not made up for.
    assert failed(backoff, DOWN, 1) == INTERVAL


def test_pause_grows_to_one_poll_and_a_half_for_an_outage_and_to_a_minute_for_an_airbyte_that_throttles(
    backoff: Backoff,
) -> None:
    assert INTERVAL <= failed(backoff, DOWN, 50) <= 1.5 * INTERVAL
    assert 0.7 * 60 <= failed(backoff, THROTTLED, 1) <= 60


@pytest.mark.parametrize(("asked", "pause"), [(100.0, 100.0), (1e6, 300.0), (1.0, INTERVAL)])
def test_pause_is_as_long_as_the_server_asks_within_reason(backoff: Backoff, asked: float, pause: float) -> None:
    assert failed(backoff, Unreachable("GET /jobs", "later", 503, retry_after=asked), 1) == pause


def test_outage_begins_with_the_second_failure_in_a_row(backoff: Backoff) -> None:
    failed(backoff, DOWN, 1)
    backoff.succeeded()
    failed(backoff, DOWN, 1)
    assert not backoff.is_outage
    failed(backoff, DOWN, 1)
    assert backoff.is_outage
