"""When the list is given up, and when it is tried again: the breaker by itself, without HTTP."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pytest

from airbyte_deferrable._watcher.fallback import ListBreaker, ListEvent, ListState
from airbyte_deferrable._watcher.pace import Pace

PACE = Pace(busy_pause=60.0, refused_pause=600.0, failed_lists=3)
LOG = logging.getLogger("tests.fallback")
#: So many jobs are waited for, unless said otherwise.
JOBS = 50
ALONE = (ListEvent.FAILED, ListEvent.FAILED_ALONE)


class Breaker(ListBreaker):
    """A breaker whose time is the test's."""

    def __init__(self) -> None:
        self.time = 1000.0
        super().__init__(PACE, LOG, lambda: self.time)

    def see(self, *events: ListEvent, jobs: int = JOBS) -> bool:
        """Let these happen, and return whether the last one gave the list up."""
        given_up = [self.move(event, "why", jobs=jobs) for event in events]
        return given_up[-1]

    def usable_after(self, seconds: float, jobs: int = JOBS) -> tuple[bool, bool]:
        """Return whether the list, and the list of changes, are usable then."""
        self.time += seconds
        return self.usable(jobs), self.changes_usable(jobs)


@pytest.fixture
def breaker() -> Breaker:
    return Breaker()


def test_is_usable_from_the_beginning(breaker: Breaker) -> None:
    assert breaker.state is ListState.USABLE
    assert breaker.usable_after(0) == (True, True)


@pytest.mark.parametrize("jobs", [0, 1])
def test_is_of_no_use_to_a_lone_waiter(breaker: Breaker, jobs: int) -> None:
    assert breaker.usable_after(0, jobs) == (False, False)


def test_refused_once_is_left_alone_for_a_short_while(breaker: Breaker) -> None:
    assert breaker.see(ListEvent.REFUSED)
    assert breaker.state is ListState.REFUSED
    assert breaker.usable_after(59) == (False, False)
    assert breaker.usable_after(1) == (True, True)


def test_refused_again_is_left_alone_for_long(breaker: Breaker) -> None:
    breaker.see(ListEvent.REFUSED)
    breaker.time += 60
    assert breaker.see(ListEvent.REFUSED)
    assert breaker.usable_after(599) == (False, False)
    assert breaker.usable_after(1) == (True, True)


def test_refused_after_a_sweep_that_went_well_counts_as_once(breaker: Breaker) -> None:
    breaker.see(ListEvent.REFUSED, ListEvent.CHANGES_READ, ListEvent.SWEPT, ListEvent.REFUSED)
    assert breaker.usable_after(60) == (True, True)


def test_refused_after_changes_alone_were_read_counts_as_again(breaker: Breaker) -> None:
    """As by a server that refuses one of the parameters, which only a part of the sweeps send."""
    breaker.see(ListEvent.REFUSED, ListEvent.CHANGES_READ, ListEvent.REFUSED)
    assert breaker.usable_after(60) == (False, False)
    assert breaker.usable_after(540) == (True, True)


def test_failing_is_in_doubt_from_the_third_time_on_and_not_given_up(breaker: Breaker) -> None:
    doubts = []
    for _ in range(4):
        assert not breaker.see(ListEvent.FAILED)
        doubts.append(breaker.in_doubt)
    assert doubts == [False, False, True, True]
    assert (breaker.state, breaker.usable_after(0)) == (ListState.USABLE, (True, True))


def test_failing_is_forgotten_with_a_sweep_that_goes_well(breaker: Breaker) -> None:
    breaker.see(*[ListEvent.FAILED] * 3, ListEvent.SWEPT)
    assert not breaker.in_doubt
    breaker.see(ListEvent.FAILED)
    assert not breaker.in_doubt


def test_failing_alone_twice_in_a_row_is_left_alone_for_a_while(breaker: Breaker) -> None:
    assert not breaker.see(ListEvent.FAILED, ListEvent.FAILED, *ALONE)
    assert breaker.usable_after(0) == (True, True)
    assert breaker.see(*ALONE)
    assert breaker.state is ListState.FAILING
    assert breaker.usable_after(59) == (False, False)
    assert breaker.usable_after(1) == (True, True)


def test_failing_alone_is_no_fault_of_the_list_where_single_jobs_fail_between(breaker: Breaker) -> None:
    breaker.see(ListEvent.FAILED, ListEvent.FAILED, *ALONE)
    assert not breaker.see(ListEvent.FAILED, ListEvent.FAILED_WITH_ALL)
    assert not breaker.see(*ALONE)
    assert breaker.see(*ALONE)


def test_failing_still_when_it_is_tried_again_is_left_alone_at_once(breaker: Breaker) -> None:
    breaker.see(ListEvent.FAILED, ListEvent.FAILED, *ALONE, *ALONE)
    breaker.time += 60
    assert breaker.see(*ALONE)
    assert breaker.usable_after(59) == (False, False)


def test_too_many_changes_are_left_alone_but_not_the_list(breaker: Breaker) -> None:
    assert breaker.see(ListEvent.TOO_MANY)
    assert breaker.state is ListState.TOO_MANY_CHANGES
    assert breaker.usable_after(59) == (True, False)
    assert breaker.usable_after(1) == (True, True)


def test_too_many_changes_are_tried_again_when_more_than_twice_as_many_wait(breaker: Breaker) -> None:
    breaker.see(ListEvent.TOO_MANY, jobs=JOBS)
    assert breaker.usable_after(0, 2 * JOBS) == (True, False)
    assert breaker.usable_after(0, 2 * JOBS + 1) == (True, True)


def test_too_many_changes_stay_unread_while_the_rest_of_a_sweep_goes_well(breaker: Breaker) -> None:
    breaker.see(ListEvent.TOO_MANY, ListEvent.SWEPT)
    assert breaker.usable_after(30) == (True, False)


def test_too_many_changes_give_way_to_a_refusal(breaker: Breaker) -> None:
    breaker.see(ListEvent.TOO_MANY, ListEvent.REFUSED)
    assert breaker.state is ListState.REFUSED
    assert breaker.usable_after(0, 10 * JOBS) == (False, False)


@pytest.mark.parametrize(
    "events", [(ListEvent.REFUSED,), (ListEvent.TOO_MANY,), (*ALONE, *ALONE)], ids=["refused", "too many", "failing"]
)
def test_read_again_it_is_usable(breaker: Breaker, events: Iterable[ListEvent]) -> None:
    breaker.see(*events)
    breaker.time += 60
    assert not breaker.see(ListEvent.CHANGES_READ)
    assert breaker.state is ListState.USABLE
    assert breaker.usable_after(0) == (True, True)


def test_says_each_state_once_and_that_it_is_over(breaker: Breaker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOG.name)
    breaker.see(ListEvent.CHANGES_READ, ListEvent.REFUSED, ListEvent.REFUSED, ListEvent.TOO_MANY, ListEvent.TOO_MANY)
    breaker.see(*ALONE, *ALONE, ListEvent.CHANGES_READ, ListEvent.CHANGES_READ)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "This Airbyte does not let its jobs be listed, so each job is asked for by itself: why"),
        (
            "WARNING",
            "This Airbyte has too many changes to list, so only the jobs that are waited for are asked for: why",
        ),
        ("WARNING", "This Airbyte fails to list its jobs, so each job is asked for by itself: why"),
        ("INFO", "The changes of this Airbyte's jobs can be listed again"),
    ]
