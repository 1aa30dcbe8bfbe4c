"""Whatever jobs, the network, kills and Airflow do: each sync is told, and handed out to one run of a DAG, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airbyte_deferrable._job import ended
from airbyte_deferrable._job import watched as selected
from airbyte_deferrable._job.ended import Asking, Batch, WhichEnds, tell_ends
from airbyte_deferrable._job.selection import ConnectionFilter
from airbyte_deferrable._job.watched import WhichConnections
from airbyte_deferrable._watcher import catch_up, connection_subscription, sweep
from airbyte_deferrable._watcher.connection_subscription import Position
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable.assets import ended_syncs
from helpers.model_airbyte import PAGE, ModelAirbyte, moment_at, run_in_virtual_time
from helpers.model_histories import CONNECTIONS, OVER, PACE, START, servers

context = pytest.importorskip("airflow.sdk.execution_time.context", reason="before Airflow 3, assets have no watchers")

profile = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
#: How long after the last job has ended all is to have been told.
AFTER = 300.0
FOREVER = 10**9
#: Seconds until it is asked again which connections are meant.
READ_AGAIN = 120.0


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sweep, catch_up):
        monkeypatch.setattr(module, "PAGE_SIZE", PAGE)
    for module in (ended, selected):
        monkeypatch.setattr(module, "READ_AGAIN_SOON", 30.0)
    monkeypatch.setattr(selected, "READ_AGAIN", READ_AGAIN)
    monkeypatch.setattr(connection_subscription, "MOST_PENDING", 4)


@dataclass(frozen=True)
class Life:
    """One triggerer, until it is killed.

    :param seconds: How long it lives at the most.
    :param steps: After how many of its steps it is killed, if it lives so long.
    :param poll: The trigger's poll interval.
    :param lingers: Seconds for which it goes on after another has taken over.
    """

    seconds: float
    steps: int
    poll: float
    lingers: float


life = st.builds(
    Life,
    seconds=st.sampled_from((0.5, 7.0, 31.0, 90.0)),
    steps=st.integers(1, 12),
    poll=st.sampled_from((1.0, 5.0, 30.0)),
    lingers=st.sampled_from((0.0, 0.0, 20.0)),
)
lives = st.lists(life, min_size=1, max_size=4)
#: One that is killed only when it is about to ask again which connections are meant: of one that came to fit it has
#: told nothing, and later ends of others it has, so that all before them might be taken for told.
ignorant_life = life.map(lambda life: replace(life, seconds=READ_AGAIN - 5.0, steps=FOREVER))
lives_with_ignorant_one = st.builds(
    lambda before, ignorant, after: [*before, ignorant, *after],
    st.lists(life, max_size=1),
    ignorant_life,
    st.lists(life, max_size=2),
)
watched = st.sets(st.sampled_from(CONNECTIONS), min_size=1).map(lambda ids: tuple(sorted(ids)))


@dataclass(frozen=True)
class Event:
    """An event of the asset, as Airflow keeps it."""

    timestamp: datetime
    extra: dict[str, Any]


@dataclass
class Run:
    """A run of the DAG, and what its tasks were handed out, each time they asked."""

    events: list[Event]
    handed_out: list[list[int]] = field(default_factory=list)


@dataclass
class Airflow:
    """One asset, its events, and a DAG that is scheduled on it: Airflow's rules, from its scheduler's code.

    :param random: When the scheduler looks, how long runs take, when an event is stored.
    :param at_once: Whether one run of the DAG may begin while another goes on.
    """

    random: Random
    at_once: bool
    events: list[Event] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    #: What was kept of the position; None if nothing was.
    position: Position | None = None
    _queued_at: datetime | None = None
    _run_after: datetime | None = None
    _busy_until: float = 0.0

    def store(self, payload: dict[str, Any]) -> None:
        """Store an event, and queue the DAG unless it is."""
        event = Event(now(), {"from_trigger": True, "payload": payload})
        self.events.append(event)
        self._queued_at = self._queued_at or event.timestamp

    def keep(self, position: Position) -> None:
        """Only ever raise the position."""
        if self.position is None or self.position.moment <= position.moment:
            self.position = position

    async def schedule(self) -> None:
        """Begin runs, for ever."""
        while True:
            await asyncio.sleep(self.random.choice((0.2, 1.0, 12.0)))
            if self._queued_at is not None and (self.at_once or time() >= self._busy_until):
                self.begin_run(self._queued_at)
                self._busy_until = time() + self.random.choice((1.0, 40.0))

    def begin_run(self, until: datetime) -> None:
        """Begin a run with the events since the run before; those after the first one queued are left to the next."""
        since = self._run_after or moment_at(0)
        run = Run([each for each in self.events if since < each.timestamp <= until])
        self._queued_at, self._run_after = None, until
        self.runs.append(run)
        self.ask(run)

    def ask(self, run: Run) -> None:
        """Let a task of the run ask for what has ended."""
        told = ended_syncs({"triggering_asset_events": {ASSET: run.events}})
        run.handed_out.append([sync.job_id for sync in told])


@dataclass(frozen=True)
class Asset:
    name: str
    uri: str


ASSET = Asset("orders", "airbyte://orders")


class Accessors:
    """What Airflow's SDK gives a task to read an asset's events with."""

    airflow: Airflow

    def __init__(self, inlets: list[Any]) -> None:
        self._after, self._before = moment_at(0), moment_at(10**6)

    def __getitem__(self, asset: Any) -> Accessors:
        return self

    def after(self, moment: str) -> Accessors:
        self._after = datetime.fromisoformat(moment)
        return self

    def before(self, moment: str) -> Accessors:
        self._before = datetime.fromisoformat(moment)
        return self

    def __iter__(self) -> Iterator[Event]:
        return (each for each in self.airflow.events if self._after <= each.timestamp <= self._before)


def time() -> float:
    return asyncio.get_running_loop().time()


def now() -> datetime:
    return moment_at(time())


class Killed(Exception):
    """The process is gone."""


class Steps:
    """Counts the steps of a life, and ends it."""

    def __init__(self, left: int) -> None:
        self._left = left

    def step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed


class NoRenewal:
    """Credentials that stay."""

    def heard(self, error: Any, then: Any = None) -> None:
        pass

    def check(self, log: Any) -> None:
        pass

    def stop(self) -> None:
        pass


class Quiet:
    """A log that nobody reads; but an error of the code's own fails the test."""

    def info(self, event: str, *args: Any) -> None:
        pass

    warning = info

    def error(self, event: str, *args: Any) -> None:
        assert "begins anew" not in event, args


async def tell(airflow: Airflow, server: ModelAirbyte, watched: tuple[str, ...], life: Life, *, acks: bool) -> None:
    """One life of the trigger: what it tells is stored a little later, and then its position is kept.

    :param watched: The connections; none for all that there are by then.
    :param acks: Whether Airflow says when an event is stored, as 3.3 does. Before, the trigger waits for some seconds.
    """
    watcher = JobWatcher(server, pace=PACE, quiet=True)  # type: ignore[arg-type]
    connections = WhichConnections(connection_ids=watched)
    if not watched:
        connections = WhichConnections(matching=ConnectionFilter(name_pattern="*"))
    which = WhichEnds(
        connections,
        frozenset({"succeeded", "failed"}),
        frozenset({"sync"}),
        since=moment_at(START),
    )
    steps = Steps(life.steps)

    async def the_watcher() -> JobWatcher:
        return watcher

    async def unchanged() -> bool:
        return False

    asking = Asking(the_watcher, life.poll, 5.0, lambda row, job: "", NoRenewal(), unchanged, Quiet())
    batches = tell_ends(which, airflow.position, asking)
    queue: asyncio.Queue[tuple[Batch, str]] = asyncio.Queue()

    async def store() -> None:
        while True:
            batch, name = await queue.get()
            await asyncio.sleep(airflow.random.choice((0.1, 2.0)))
            if batch.syncs:
                airflow.store(batch.payload(name))
            steps.step()
            if acks:
                await asyncio.sleep(airflow.random.choice((0.1, 2.0)))
                airflow.keep(batch.position)
                steps.step()

    storing = asyncio.ensure_future(store())
    try:
        async for batch in batches:
            steps.step()
            await queue.put((batch, f"{airflow.random.random()}"))
            if not acks:
                if batch.syncs:
                    await asyncio.sleep(5.0)
                airflow.keep(batch.position)
                steps.step()
            if storing.done():
                storing.result()
    finally:
        storing.cancel()
        await batches.aclose()


def live(server: ModelAirbyte, watched: tuple[str, ...], lives: list[Life], *, acks: bool, at_once: bool) -> Airflow:
    """Let triggerers come and go, and then one that stays."""
    airflow = Airflow(Random(server.seed), at_once)

    async def one(life: Life) -> None:
        telling = asyncio.ensure_future(tell(airflow, server, watched, life, acks=acks))
        done, _ = await asyncio.wait({telling}, timeout=life.seconds)
        for each in done:
            assert isinstance(each.exception(), Killed)
        if not done:
            asyncio.get_running_loop().call_later(life.lingers, telling.cancel)

    async def all_of_them() -> None:
        scheduler = asyncio.ensure_future(airflow.schedule())
        for life in lives:
            await one(life)
        await one(Life(max(OVER - time(), 0.0) + AFTER, FOREVER, 5.0, 0.0))
        scheduler.cancel()
        # A later event would bring what a burst has left behind.
        airflow.begin_run(now() + timedelta(seconds=1))
        for run in airflow.runs:
            airflow.ask(run)

    with pytest.MonkeyPatch.context() as patch:
        Accessors.airflow = airflow
        patch.setattr(context, "InletEventsAccessors", Accessors)
        run_in_virtual_time(all_of_them())
    return airflow


def assert_handed_out(airflow: Airflow, server: ModelAirbyte, watched: tuple[str, ...]) -> None:
    """Each end once over all runs, in order, the truth, and nobody else's; and the same whenever a task asks.

    What had ended before its connection could be seen may be told, or not.
    """
    by_id = {job.job_id: job for job in server.jobs}
    allowed = [
        job
        for job in server.jobs
        if job.connection_id in watched and job.end.stamp >= START and job.end.status in ("succeeded", "failed")
    ]
    # A clock may be two seconds ahead, and stamps are rounded down.
    wanted = [job for job in allowed if job.end.stamp >= server.appears.get(job.connection_id, 0.0) + 4.0]
    handed_out = [job_id for run in airflow.runs for job_id in run.handed_out[0]]
    assert len(handed_out) == len(set(handed_out))
    assert {job.job_id for job in wanted} <= set(handed_out) <= {job.job_id for job in allowed}
    assert all(each == run.handed_out[0] for run in airflow.runs for each in run.handed_out)
    for connection_id in watched:
        ends = [by_id[job_id].end.at for job_id in handed_out if by_id[job_id].connection_id == connection_id]
        # Each of two clocks may be two seconds off, and stamps are rounded down: either end may look like the first.
        assert all(one < other + 5.0 for one, other in pairwise(ends))


@profile
@given(
    server=servers(skew=2.0, lag=4.0, faulty=False),
    watched=watched,
    lives=lives,
    acks=st.booleans(),
    at_once=st.booleans(),
)
def test_ended_syncs_are_handed_out_once_whenever_the_triggerer_is_killed(
    server: ModelAirbyte, watched: tuple[str, ...], lives: list[Life], acks: bool, at_once: bool
) -> None:
    assert_handed_out(live(server, watched, lives, acks=acks, at_once=at_once), server, watched)


@profile
@given(
    server=servers(skew=2.0, lag=4.0, faulty=True),
    watched=watched,
    lives=lives,
    acks=st.booleans(),
    at_once=st.booleans(),
)
def test_ended_syncs_are_handed_out_once_whatever_fails_besides(
    server: ModelAirbyte, watched: tuple[str, ...], lives: list[Life], acks: bool, at_once: bool
) -> None:
    assert_handed_out(live(server, watched, lives, acks=acks, at_once=at_once), server, watched)


@profile
@given(
    server=servers(skew=2.0, lag=4.0, faulty=True, appears=(START + 5, START + 30, START + 130)),
    lives=lives_with_ignorant_one,
    acks=st.booleans(),
    at_once=st.booleans(),
)
def test_ended_syncs_of_what_comes_to_fit_meanwhile_are_handed_out_once(
    server: ModelAirbyte, lives: list[Life], acks: bool, at_once: bool
) -> None:
    assert_handed_out(live(server, (), lives, acks=acks, at_once=at_once), server, CONNECTIONS)
