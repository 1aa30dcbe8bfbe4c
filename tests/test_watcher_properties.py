"""Whatever jobs, clocks, pages and the network do: each end is reported once, soon, and never before it happened."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_airbyte import Fault, ModelAirbyte, ModelJob, Step, run_in_virtual_time

from airbyte_deferrable import sweeps as module
from airbyte_deferrable.outcome import Event
from airbyte_deferrable.pace import Pace
from airbyte_deferrable.waiting import Deadlines, wait_for_end
from airbyte_deferrable.watcher import JobWatcher

#: Pages of three rows, so that a dozen jobs fill several and shift while they are read.
PAGE = 3
#: As in production, but for the long pauses, so that an example is a few minutes of virtual time.
PACE = Pace(
    first_overlap=30.0,
    confirm_after=60.0,
    busy_pause=20.0,
    refused_pause=30.0,
    throttled_pause=20.0,
    linger=10.0,
)
START = 1000.0
LIVES = (("running",), ("running", "incomplete", "running"), ("queued", "running", "incomplete"), ())
ENDS = ("succeeded", "failed", "cancelled")
QUIET = logging.getLogger("tests.silent")
QUIET.addFilter(lambda record: False)

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
def servers(draw: st.DrawFn, *, skew: float, lag: float, troubled: bool, ties: bool, hidden: bool) -> ModelAirbyte:
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
    faults = draw(st.lists(st.one_of(fault, fault, refusal), max_size=3)) if troubled else []
    latency = draw(st.sampled_from((0.001, 0.02, 0.4)))
    return ModelAirbyte(made, faults, latency=latency, page_size=PAGE, seed=draw(st.integers(0, 9)))


waits = st.fixed_dictionaries(
    {
        "ours": st.integers(1, 14),
        "poll": st.sampled_from((1.0, 2.0, 5.0)),
        "progress": st.sampled_from((0.0, 15.0)),
        "apart": st.sampled_from((0.0, 0.3, 7.0)),
    }
)


def watch_all(server: ModelAirbyte, ours: int, poll: float, progress: float, apart: float) -> list[Report]:
    """Wait for the first so-many jobs, each by a task of its own that comes a little after its job began."""

    async def one(watcher: JobWatcher, job: ModelJob, come_at: float) -> Report:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(come_at - loop.time())
        event = await wait_for_end(
            watcher,
            job.job_id,
            Deadlines(None, None),
            poll_interval=poll,
            progress_interval=progress,
            log=QUIET,
        )
        return Report(job, come_at, event, loop.time())

    async def all_of_them() -> list[Report]:
        watcher = JobWatcher(server, pace=PACE, quiet=True)  # type: ignore[arg-type]
        mine = server.jobs[:ours]
        coming = [max(START, job.steps[0].at) + number * apart for number, job in enumerate(mine)]
        waiting = asyncio.gather(*(one(watcher, job, at) for job, at in zip(mine, coming, strict=True)))
        return await asyncio.wait_for(waiting, 3600)

    return run_in_virtual_time(all_of_them())


class Report:
    """What one waiting task was told, and when."""

    def __init__(self, job: ModelJob, came_at: float, event: Event, told_at: float) -> None:
        self.job, self.event, self.told_at = job, event, told_at
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
@given(server=servers(skew=0.2, lag=0.0, troubled=False, ties=False, hidden=False), waits=waits)
def test_in_calm_times_every_end_is_reported_within_one_poll(server: ModelAirbyte, waits: dict[str, float]) -> None:
    reports = watch_all(server, **waits)
    assert_true(reports)
    # Beyond the poll: what the requests of one sweep take, one after the other.
    one_sweep = server.latency * (4 * len(server.jobs) + 10) + PACE.gather
    for report in reports:
        assert report.late <= waits["poll"] + one_sweep


@profile
@given(server=servers(skew=2.0, lag=4.0, troubled=False, ties=True, hidden=True), waits=waits)
def test_rows_that_share_a_stamp_or_become_visible_late_are_seen_in_a_bounded_time(
    server: ModelAirbyte, waits: dict[str, float]
) -> None:
    reports = watch_all(server, **waits)
    assert_true(reports)
    for report in reports:
        assert report.late <= PACE.confirm_after + 3 * waits["poll"] + 30


@profile
@given(server=servers(skew=7200.0, lag=20.0, troubled=False, ties=True, hidden=True), waits=waits)
def test_clocks_that_are_hours_apart_only_delay_a_report(server: ModelAirbyte, waits: dict[str, float]) -> None:
    reports = watch_all(server, **waits)
    assert_true(reports)
    for report in reports:
        assert report.late <= PACE.confirm_after + 3 * waits["poll"] + 30


@profile
@given(server=servers(skew=30.0, lag=4.0, troubled=True, ties=True, hidden=True), waits=waits)
def test_requests_that_fail_anywhere_end_no_wait_and_lose_no_end(server: ModelAirbyte, waits: dict[str, float]) -> None:
    reports = watch_all(server, **waits)
    assert_true(reports)
    calm_at = max((fault.start + fault.seconds for fault in server.faults), default=START)
    for report in reports:
        bound = PACE.confirm_after + PACE.refused_pause + PACE.throttled_pause + 3 * waits["poll"] + 30
        assert report.told_at - max(report.possible_at, calm_at) <= bound
