"""Whatever jobs, clocks, pages and the network do: each end is reported once, soon, and never before it happened."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airbyte_deferrable._job.events import Event
from airbyte_deferrable._job.wait import Deadlines, wait_for_end
from airbyte_deferrable._watcher import sweep as module
from airbyte_deferrable._watcher.loop import JobWatcher
from helpers.model_airbyte import (
    ENDS,
    LIVES,
    PAGE,
    SHORT_PAUSES,
    Fault,
    ModelAirbyte,
    ModelJob,
    Step,
    run_in_virtual_time,
)

PACE = SHORT_PAUSES
START = 1000.0
QUIET = logging.getLogger("tests.silent")
QUIET.addFilter(lambda record: False)

#: Longer than any job lives.
NEVER = 3600.0


@dataclass(frozen=True)
class Waiter:
    """A task that waits.

    :param job: For the job of this number, counted around.
    :param comes: How many seconds after the job began.
    :param poll: Its poll interval.
    :param progress: Its interval of reports.
    :param stays: After how many seconds it is cancelled.
    """

    job: int
    comes: float
    poll: float
    progress: float
    stays: float


profile = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_SIZE", PAGE)


def instants(low: float, high: float) -> st.SearchStrategy[float]:
    """Return moments; whole seconds often, so that rows share a stamp."""
    whole = st.integers(int(low), int(high)).map(float)
    return st.one_of(whole, st.floats(low, high, allow_nan=False, width=32))


@st.composite
def jobs(draw: st.DrawFn, job_id: int, skews: tuple[float, ...], most_lag: float, created: float) -> ModelJob:
    """Return a job whose changes are stamped by any pod, and may become visible late."""
    at = created
    steps = [Step(at, "pending", draw(st.sampled_from(skews)))]
    for status in (*draw(st.sampled_from(LIVES)), draw(st.sampled_from(ENDS))):
        at += draw(st.sampled_from((0.0, 0.5, 1.0, 7.0, 20.0, 60.0)))
        lag = draw(st.sampled_from((0.0, 0.0, most_lag))) if most_lag else 0.0
        steps.append(Step(max(at, steps[-1].visible_at - lag), status, draw(st.sampled_from(skews)), lag))
        at = steps[-1].visible_at
    return ModelJob(job_id, tuple(steps), listed=draw(st.sampled_from((True, True, True, False))))


@st.composite
def servers(draw: st.DrawFn, *, skew: float, lag: float, faulty: bool, ties: bool, hidden: bool) -> ModelAirbyte:
    """Return an Airbyte with a past and a future."""
    skews = tuple(draw(st.lists(st.floats(-skew, skew), min_size=1, max_size=3))) if skew else (0.0,)
    count = draw(st.integers(1, 14))
    created = sorted(draw(st.lists(instants(START - 200, START + 60), min_size=count, max_size=count)))
    if not ties:
        # A microsecond apart is enough for the database to have an order.
        created = [at + number * 1e-4 for number, at in enumerate(created)]
    made = [draw(jobs(number, skews, lag, at)) for number, at in enumerate(created, 1)]
    if not hidden:
        made = [ModelJob(job.job_id, job.steps) for job in made]
    fault = st.builds(
        Fault,
        start=instants(START, START + 120),
        seconds=st.sampled_from((1.0, 10.0, 60.0)),
        kind=st.sampled_from(("down", "throttled", "hang")),
        call=st.sampled_from(("list", "get", "all")),
        every=st.sampled_from((1, 2, 3)),
    )
    refusal = st.builds(Fault, instants(START, START + 120), st.just(40.0), st.just("forbidden"), st.just("list"))
    faults = draw(st.lists(st.one_of(fault, fault, refusal), max_size=3)) if faulty else []
    latency = draw(st.sampled_from((0.001, 0.02, 0.4)))
    return ModelAirbyte(made, faults, latency=latency, page_size=PAGE, seed=draw(st.integers(0, 9)))


waiters = st.lists(
    st.builds(
        Waiter,
        # Some wait for the same job, and for some jobs nobody waits.
        job=st.integers(0, 13),
        comes=st.sampled_from((0.0, 0.3, 7.0, 45.0)),
        poll=st.sampled_from((1.0, 5.0, 60.0)),
        progress=st.sampled_from((0.0, 15.0)),
        stays=st.sampled_from((NEVER, NEVER, NEVER, 0.0, 3.0, 50.0)),
    ),
    min_size=1,
    max_size=20,
)


def watch_all(server: ModelAirbyte, waiters: list[Waiter]) -> list[Report]:
    """Let each wait for its job, and return what those were told who stayed until its end."""

    async def one(watcher: JobWatcher, waiter: Waiter) -> Report | None:
        loop = asyncio.get_running_loop()
        job = server.jobs[waiter.job % len(server.jobs)]
        come_at = max(START, job.steps[0].at) + waiter.comes
        await asyncio.sleep(come_at - loop.time())
        waiting = asyncio.ensure_future(
            wait_for_end(
                watcher,
                job.job_id,
                Deadlines(None, None),
                poll_interval=waiter.poll,
                progress_interval=waiter.progress,
                log=QUIET,
            )
        )
        done, _ = await asyncio.wait({waiting}, timeout=waiter.stays)
        waiting.cancel()
        assert done or waiter.stays < NEVER
        return Report(job, waiter.poll, come_at, waiting.result(), loop.time()) if done else None

    async def all_of_them() -> list[Report]:
        watcher = JobWatcher(server, pace=PACE, quiet=True)  # type: ignore[arg-type]
        reports = await asyncio.gather(*(one(watcher, waiter) for waiter in waiters))
        return [report for report in reports if report is not None]

    return run_in_virtual_time(all_of_them())


class Report:
    """What one waiting task was told, and when."""

    def __init__(self, job: ModelJob, poll: float, came_at: float, event: Event, told_at: float) -> None:
        self.job, self.poll, self.event, self.told_at = job, poll, event, told_at
        #: The earliest moment at which it could have been told.
        self.possible_at = max(came_at, job.end.visible_at)

    @property
    def late(self) -> float:
        return self.told_at - self.possible_at


def assert_true(reports: list[Report]) -> None:
    """Each task was told once (it returned), the truth, and not before it was true."""
    for report in reports:
        assert report.event.job is not None
        assert report.event.job_id == report.job.job_id
        assert report.event.job.status == report.job.end.status
        assert report.told_at >= report.job.end.visible_at


@profile
@given(server=servers(skew=0.2, lag=0.0, faulty=False, ties=False, hidden=False), waiters=waiters)
def test_ends_are_reported_within_the_poll_of_who_waits_in_times_without_faults(
    server: ModelAirbyte, waiters: list[Waiter]
) -> None:
    reports = watch_all(server, waiters)
    assert_true(reports)
    # Beyond the poll: what the requests of one sweep take, one after the other.
    one_sweep = server.latency * (4 * len(server.jobs) + 10) + PACE.gather
    for report in reports:
        assert report.late <= report.poll + one_sweep


@profile
@given(server=servers(skew=2.0, lag=4.0, faulty=False, ties=True, hidden=True), waiters=waiters)
def test_rows_that_share_a_stamp_or_become_visible_late_are_seen_in_a_bounded_time(
    server: ModelAirbyte, waiters: list[Waiter]
) -> None:
    reports = watch_all(server, waiters)
    assert_true(reports)
    for report in reports:
        assert report.late <= PACE.confirm_after + 3 * report.poll + 30


@profile
@given(server=servers(skew=7200.0, lag=20.0, faulty=False, ties=True, hidden=True), waiters=waiters)
def test_clocks_that_are_hours_apart_only_delay_a_report(server: ModelAirbyte, waiters: list[Waiter]) -> None:
    reports = watch_all(server, waiters)
    assert_true(reports)
    for report in reports:
        assert report.late <= PACE.confirm_after + 3 * report.poll + 30


@profile
@given(server=servers(skew=30.0, lag=4.0, faulty=True, ties=True, hidden=True), waiters=waiters)
def test_requests_that_fail_anywhere_end_no_wait_and_lose_no_end(server: ModelAirbyte, waiters: list[Waiter]) -> None:
    reports = watch_all(server, waiters)
    assert_true(reports)
    faults_over_at = max((fault.start + fault.seconds for fault in server.faults), default=START)
    for report in reports:
        bound = PACE.confirm_after + PACE.refused_pause + PACE.throttled_pause + 3 * report.poll + 30
        assert report.told_at - max(report.possible_at, faults_over_at) <= bound
