"""Watched connections through real HTTP, against the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from airbyte_deferrable._watcher.connection_subscription import ConnectionSubscription
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.settings import ClientCredentials, Settings
from airbyte_deferrable.simulator import Fault, Simulator
from helpers.airbyte import AT_ONCE, ENDLESS, NOWHERE
from helpers.listeners import Heard

POLL = 0.1
#: Nothing takes so long, on whatever machine.
IN_VAIN = 60.0


@pytest.fixture
async def watcher(airbyte_simulator: Simulator) -> AsyncIterator[JobWatcher]:
    sim = airbyte_simulator
    settings = Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret), timeout=20.0)
    watcher = JobWatcher(AirbyteClient(settings), pace=replace(Pace(), linger=0.2, busy_pause=0.2, refused_pause=0.2))
    yield watcher
    await watcher.client.close()


def ago(sim: Simulator, seconds: float) -> datetime:
    return datetime.fromtimestamp(sim.now() - seconds, timezone.utc)


async def hear(subscription: ConnectionSubscription, heard: Heard, enough: Callable[[], bool]) -> None:
    """Listen until enough was heard."""

    async def listen() -> None:
        async for news in subscription:
            heard.take(news)
            if enough():
                return

    await asyncio.wait_for(listen(), IN_VAIN)


async def test_connections_tell_what_ended_before_and_what_ends(
    airbyte_simulator: Simulator, watcher: JobWatcher
) -> None:
    sim, heard = airbyte_simulator, Heard()
    ours, foreign = sim.add_connections(3), sim.add_connection()
    sim.add_job(ours[0], script=AT_ONCE, created_ago=7200)
    early = sim.add_job(ours[1], script=AT_ONCE, created_ago=600)["id"]
    sim.add_job(foreign, script=AT_ONCE, created_ago=500)
    live = [sim.add_job(each, script=ENDLESS)["id"] for each in (ours[0], ours[2])]
    with watcher.watch_connections(ours, since=ago(sim, 3600), poll_interval=POLL) as subscription:
        await hear(subscription, heard, lambda: early in heard.job_ids)
        sim.finish(live[0], "succeeded")
        await hear(subscription, heard, lambda: live[0] in heard.job_ids)
        sim.finish(live[1], "failed")
        await hear(subscription, heard, lambda: live[1] in heard.job_ids)
    assert heard.job_ids == [early, *live]
    assert [job.status for _, jobs in heard.batches for job in jobs] == ["succeeded", "succeeded", "failed"]


async def test_connections_go_on_from_a_position_after_a_restart(
    airbyte_simulator: Simulator, watcher: JobWatcher
) -> None:
    sim, first, second = airbyte_simulator, Heard(), Heard()
    cid, other = sim.add_connections(2)
    before = sim.add_job(cid, script=AT_ONCE)["id"]
    with watcher.watch_connections([cid, other], since=ago(sim, 60), poll_interval=POLL) as subscription:
        await hear(subscription, first, lambda: bool(first.job_ids))
        position = subscription.position
    assert position is not None
    meanwhile = sim.add_job(cid, script=AT_ONCE)["id"]
    sim.advance(timedelta(hours=3).total_seconds())
    later = sim.add_job(other, script=AT_ONCE)["id"]
    again = JobWatcher(AirbyteClient(watcher.client.settings))
    with again.watch_connections(
        [cid, other], since=position.moment, handed_out=position.handed_out, poll_interval=POLL
    ) as subscription:
        await hear(subscription, second, lambda: {meanwhile, later} <= set(second.job_ids))
    await again.client.close()
    assert (first.job_ids, sorted(second.job_ids)) == ([before], [meanwhile, later])


async def test_connection_that_is_watched_alone_is_read_by_itself(
    airbyte_simulator: Simulator, watcher: JobWatcher
) -> None:
    sim, heard = airbyte_simulator, Heard()
    cid = sim.add_connection()
    sim.add_job(sim.add_connection(), script=AT_ONCE)
    with watcher.watch_connections([cid], poll_interval=POLL) as subscription:
        while subscription.position is None:
            sim.add_job(cid, script=AT_ONCE)
            await asyncio.sleep(POLL)
        live = sim.add_job(cid, script=ENDLESS)["id"]
        sim.finish(live, "cancelled")
        await hear(subscription, heard, lambda: live in heard.job_ids)
    assert heard.job_ids[-1] == live


async def test_connection_that_there_is_not_is_told_once_beside_others(
    airbyte_simulator: Simulator, watcher: JobWatcher
) -> None:
    sim, heard = airbyte_simulator, Heard()
    # To an administrator of the whole instance, Airbyte lists the jobs of what there is not: none.
    sim.configure(instance_admin=False)
    cid = sim.add_connection()
    ended = sim.add_job(cid, script=AT_ONCE, created_ago=600)["id"]
    with watcher.watch_connections([cid, NOWHERE], since=ago(sim, 3600), poll_interval=POLL) as subscription:
        await hear(subscription, heard, lambda: bool(heard.connections and heard.job_ids))
        live = sim.add_job(cid, script=AT_ONCE)["id"]
        await hear(subscription, heard, lambda: live in heard.job_ids)
    assert sorted(heard.job_ids) == [ended, live]
    assert [(each.connection_id, each.not_visible) for each in heard.connections] == [(NOWHERE, True)]


async def test_connections_are_told_through_lists_that_fail(airbyte_simulator: Simulator, watcher: JobWatcher) -> None:
    sim, heard = airbyte_simulator, Heard()
    ours = sim.add_connections(4)
    for kind in ("status", "drop", "garbage", "html"):
        sim.add_fault(Fault("list", kind, every=3))
    ids = [sim.add_job(each, script=AT_ONCE, created_ago=600)["id"] for each in ours]
    with watcher.watch_connections(ours, since=ago(sim, 3600), poll_interval=POLL) as subscription:
        await hear(subscription, heard, lambda: len(heard.job_ids) == 4)
        ids += [sim.add_job(each, script=AT_ONCE)["id"] for each in ours]
        await hear(subscription, heard, lambda: len(heard.job_ids) == 8)
    assert sorted(heard.job_ids) == sorted(ids)
