"""Whatever jobs, clocks, pages, the network and kills do: each end at a watched connection is handed out, in order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airbyte_deferrable._watcher import catch_up, connection_subscription, sweep
from airbyte_deferrable._watcher.connection_subscription import ConnectionSubscription, EndedJobs, Position
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable.api.models import Job
from helpers.followers import Told, follow
from helpers.listeners import Heard, listen, listen_to
from helpers.model_airbyte import PAGE, ModelAirbyte, moment_at, run_in_virtual_time
from helpers.model_histories import CONNECTIONS, OVER, PACE, START, servers

#: How long after the last job has ended all is to have been handed out.
AFTER = 200.0

profile = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sweep, catch_up):
        monkeypatch.setattr(module, "PAGE_SIZE", PAGE)
    monkeypatch.setattr(connection_subscription, "MOST_PENDING", 4)


@dataclass(frozen=True)
class Life:
    """One process, until it is killed.

    :param seconds: How long it lives at the most.
    :param steps: After how many of its steps it is killed, if it lives so long.
    :param poll: Its poll interval.
    :param slow: Seconds that dealing with a batch takes.
    :param waits_for: Jobs for which tasks wait beside it in the same loop, by number.
    :param apart: Whether it subscribes once for each connection.
    :param arrivals: So many more come at once: for connections of which nobody knows, and these.
    :param arrive_at: When, seconds after it began.
    """

    seconds: float
    steps: int
    poll: float
    slow: float
    waits_for: tuple[int, ...]
    apart: bool
    arrivals: int
    arrive_at: float


life = st.builds(
    Life,
    seconds=st.sampled_from((0.5, 7.0, 31.0, 90.0)),
    steps=st.integers(1, 12),
    poll=st.sampled_from((1.0, 5.0, 30.0, 120.0, 300.0)),
    slow=st.sampled_from((0.0, 0.0, 12.0)),
    waits_for=st.lists(st.integers(1, 12), max_size=3).map(tuple),
    apart=st.booleans(),
    arrivals=st.sampled_from((0, 0, 10, 14)),
    arrive_at=st.sampled_from((3.0, 40.0, 290.0)),
)
#: How far this machine's clock is ahead.
machines = st.sampled_from((0.0, 0.0, -90.0, 3600.0))
lives = st.lists(life, min_size=1, max_size=4)
watched = st.sets(st.sampled_from(CONNECTIONS), min_size=1).map(lambda ids: tuple(sorted(ids)))


@dataclass
class Ledger:
    """What a consumer was handed out in its lives, and what it had kept when it was killed."""

    positions: dict[tuple[str, ...], Position]
    #: Each life's, in order, with the moments.
    handed_out: list[list[tuple[float, Job]]] = field(default_factory=list)
    #: What was dealt with when a position was kept: no later life may be handed it out again.
    kept: set[int] = field(default_factory=set)
    again: set[int] = field(default_factory=set)


class Killed(Exception):
    """The process is gone."""


async def consume(watcher: JobWatcher, ledger: Ledger, group: tuple[str, ...], life: Life) -> None:
    """Deal with each batch, then keep the position: between any two steps the process may be killed."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps > life.steps:
            raise Killed

    position = ledger.positions[group]
    with watcher.watch_connections(
        group, since=position.moment, handed_out=position.handed_out, poll_interval=life.poll
    ) as subscription:
        dealt_with: list[int] = []
        while True:
            news = subscription.news()
            step()
            if isinstance(news, EndedJobs):
                await asyncio.sleep(life.slow)
                now = asyncio.get_running_loop().time()
                ledger.handed_out[-1] += [(now, job) for job in news.jobs]
                ledger.again |= {job.job_id for job in news.jobs} & ledger.kept
                dealt_with += [job.job_id for job in news.jobs]
                step()
            keep(ledger, group, subscription)
            ledger.kept.update(dealt_with)
            step()
            if news is None:
                # A position moves on without news, too.
                await asyncio.wait([subscription.woken()], timeout=3.0)


def keep(ledger: Ledger, group: tuple[str, ...], subscription: ConnectionSubscription) -> None:
    position = subscription.position
    assert position is not None
    assert position.moment >= ledger.positions[group].moment
    ledger.positions[group] = position


async def arrive(watcher: JobWatcher, number: int, life: Life) -> None:
    """Come in the middle of a life, for what ended a moment ago or from now on, and stay."""
    await asyncio.sleep(life.arrive_at)
    since = moment_at(asyncio.get_running_loop().time() - 10 * (number % 3))
    connection_id = CONNECTIONS[number] if number < 2 else f"unknown{number}"
    with watcher.watch_connections(
        [connection_id], since=None if number == 5 else since, poll_interval=life.poll
    ) as subscription:
        await listen(subscription, Heard())


def live(server: ModelAirbyte, watched: tuple[str, ...], lives: list[Life], ahead: float = 0.0) -> Ledger:
    """Watch connections from :data:`START` on, in some lives and then one that lasts."""
    ledger = Ledger({})

    async def one(life: Life) -> None:
        ledger.handed_out.append([])
        watcher = JobWatcher(server, pace=PACE, quiet=True)  # type: ignore[arg-type]
        groups = [(each,) for each in watched] if lives[0].apart else [watched]
        for group in groups:
            ledger.positions.setdefault(group, Position(moment_at(START)))
        consumers = {asyncio.ensure_future(consume(watcher, ledger, group, life)) for group in groups}
        now = asyncio.get_running_loop().time()
        there = {job.job_id for job in server.jobs if job.steps[0].visible_at <= now}
        told = {job_id: Told() for job_id in there.intersection(life.waits_for)}
        waits = [asyncio.ensure_future(follow(watcher, job_id, each, life.poll)) for job_id, each in told.items()]
        others = [asyncio.ensure_future(arrive(watcher, number, life)) for number in range(life.arrivals)]
        done, _ = await asyncio.wait(consumers, timeout=life.seconds, return_when=asyncio.FIRST_COMPLETED)
        for consumer in done:
            assert isinstance(consumer.exception(), Killed)
        if life.steps >= FOREVER:
            unended = {job_id for job_id, each in told.items() if each.ended_at is None and each.gone is None}
            assert not unended
        assert all(not wait.done() or wait.exception() is None for wait in waits)
        assert not any(other.done() for other in others)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def all_of_them() -> None:
        for each in lives:
            await one(each)
        now = asyncio.get_running_loop().time()
        poll = max(lives[-1].poll, 5.0)
        # A sweep that failed is made up for after a poll and a half.
        seconds = max(OVER - now, 0) + AFTER + (3 * poll if poll > 30 else 0)
        await one(replace(lives[-1], seconds=seconds, steps=FOREVER, poll=poll))

    run_in_virtual_time(all_of_them(), ahead=ahead)
    return ledger


FOREVER = 10**9


def assert_handed_out(ledger: Ledger, server: ModelAirbyte, watched: tuple[str, ...]) -> None:
    """Each end at least once over all lives, once a life, in order, the truth, and nobody else's."""
    by_id = {job.job_id: job for job in server.jobs}
    first: list[int] = []
    for handed_out in ledger.handed_out:
        ids = [job.job_id for _, job in handed_out]
        assert len(ids) == len(set(ids))
        for connection_id in watched:
            of_it = [job.job_id for _, job in handed_out if job.connection_id == connection_id]
            assert of_it == sorted(of_it)
        for at, job in handed_out:
            assert job.connection_id in watched
            assert job.status == by_id[job.job_id].end.status
            assert at >= by_id[job.job_id].end.visible_at
            assert by_id[job.job_id].end.stamp >= START
        first += [each for each in ids if each not in first]
    wanted = {job.job_id for job in server.jobs if job.connection_id in watched and job.end.stamp >= START}
    assert set(first) == wanted
    for connection_id in watched:
        of_it = [each for each in first if by_id[each].connection_id == connection_id]
        assert of_it == sorted(of_it)
    # What was dealt with when the position was kept, its next life knows.
    assert not ledger.again


@profile
@given(server=servers(skew=0.0, lag=0.0, faulty=False), watched=watched, lives=lives, ahead=machines)
def test_ends_at_connections_are_handed_out_over_all_lives_in_order(
    server: ModelAirbyte, watched: tuple[str, ...], lives: list[Life], ahead: float
) -> None:
    assert_handed_out(live(server, watched, lives, ahead), server, watched)


@profile
@given(server=servers(skew=2.0, lag=4.0, faulty=False), watched=watched, lives=lives, ahead=machines)
def test_ends_at_connections_that_become_visible_late_or_share_a_stamp_are_handed_out_in_order(
    server: ModelAirbyte, watched: tuple[str, ...], lives: list[Life], ahead: float
) -> None:
    assert_handed_out(live(server, watched, lives, ahead), server, watched)


@profile
@given(server=servers(skew=2.0, lag=4.0, faulty=True), watched=watched, lives=lives, ahead=machines)
def test_ends_at_connections_survive_requests_that_fail_anywhere(
    server: ModelAirbyte, watched: tuple[str, ...], lives: list[Life], ahead: float
) -> None:
    assert_handed_out(live(server, watched, lives, ahead), server, watched)


@profile
@given(
    server=servers(skew=2.0, lag=4.0, faulty=True, far=(-15.0, 25.0, 90.0, 3600.0)),
    watched=watched,
    lives=lives,
    ahead=st.sampled_from((0.0, 0.0, -90.0)),
)
def test_ends_at_connections_survive_clocks_that_are_far_apart(
    server: ModelAirbyte, watched: tuple[str, ...], lives: list[Life], ahead: float
) -> None:
    """Ahead as far as may be, unless this machine's clock is, too; behind by what is left of :attr:`Pace.late`."""
    assert_handed_out(live(server, watched, lives, ahead), server, watched)


@settings(profile, max_examples=40)
@given(server=servers(skew=2.0, lag=4.0, faulty=False), poll=st.sampled_from((1.0, 5.0, 30.0)))
def test_connections_without_trouble_cost_the_same_requests_however_many_they_are(
    server: ModelAirbyte, poll: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in (sweep, catch_up):
            patch.setattr(module, "PAGE_SIZE", 100)
        patch.setattr(connection_subscription, "MOST_PENDING", 1000)
        counts = set()
        for watched in (CONNECTIONS[:2], CONNECTIONS, (*CONNECTIONS, *map(str, range(200)))):
            again = ModelAirbyte(server.jobs, latency=server.latency, seed=server.seed)
            listen_to(again, 200.0, watched, poll=poll, pace=PACE)
            counts.add(again.requests)
    assert len(counts) == 1
