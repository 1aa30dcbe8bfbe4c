"""The calls, against an Airbyte of each kind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airbyte_deferrable.api.client import (
    LAST_CHANGED_FIRST,
    NEWEST_FIRST,
    OLDEST_FIRST,
    AirbyteClient,
)
from airbyte_deferrable.api.errors import Conflict, Forbidden, NotFound, Rejected
from airbyte_deferrable.api.models import JobType
from airbyte_deferrable.api.settings import ClientCredentials, Settings
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import hits
from helpers.waiting import until

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(params=["head", "2.0"])
def sim(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    with Simulator(release=request.param) as simulator:
        yield simulator


def client_of(sim: Simulator, **more: Any) -> AirbyteClient:
    return AirbyteClient(Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret), **more))


async def test_job_is_started_seen_and_cancelled(sim: Simulator) -> None:
    connection_id = sim.add_connection(name="Orders", script=Script(duration=600, pending=0.05))
    async with client_of(sim) as client:
        made = await client.create_job(connection_id)
        assert (made.connection_id, made.job_type, made.rows_synced) == (connection_id, "sync", None)
        sim.advance(1)
        seen = await client.get_job(made.job_id)
        assert (seen.job_id, seen.status) == (made.job_id, "running")
        assert seen.rows_synced is not None
        assert (await client.cancel_job(made.job_id)).status == "cancelled"
        with pytest.raises(Conflict):
            await client.cancel_job(made.job_id)


async def test_job_types_are_asked_for_by_their_names(sim: Simulator) -> None:
    connection_id = sim.add_connection(script=Script(duration=0.05, pending=0.01))
    async with client_of(sim) as client:
        assert (await client.create_job(connection_id, JobType.RESET)).job_type == "reset"
        sim.advance(60)
        assert (await client.create_job(connection_id, "clear")).job_type == "reset"
        sim.advance(60)
        with pytest.raises(Rejected, match="422"):
            await client.create_job(connection_id, JobType.REFRESH)


async def test_busy_connection_says_so(sim: Simulator) -> None:
    connection_id = sim.add_connection(script=Script(outcome=None, pending=0.01))
    async with client_of(sim) as client:
        await client.create_job(connection_id)
        sim.advance(1)
        with pytest.raises(Conflict) as caught:
            await client.create_job(connection_id)
    assert caught.value.kind == "try-again-later"
    assert connection_id in caught.value.detail


async def test_pages_together_hold_every_job_once(sim: Simulator) -> None:
    connection_id = sim.add_connection()
    made = {sim.add_job(connection_id, created_ago=float(1000 - n))["id"] for n in range(250)}
    async with client_of(sim) as client:
        pages = [await client.list_jobs(offset=offset) for offset in (0, 100, 200, 300)]
    assert [len(page) for page in pages] == [100, 100, 50, 0]
    ids = [job.job_id for page in pages for job in page]
    assert set(ids) == made
    assert len(ids) == len(made)


async def test_list_is_narrowed_and_ordered_as_asked(sim: Simulator) -> None:
    mine, other = sim.add_connection(), sim.add_connection()
    old = sim.add_job(mine, script=Script(duration=1), created_ago=3600.0)["id"]
    young = sim.add_job(mine, script=Script(outcome=None), created_ago=60.0)["id"]
    foreign = sim.add_job(other, script=Script(outcome=None), created_ago=30.0)["id"]
    ago = datetime.fromtimestamp(sim.now(), timezone.utc) - timedelta(minutes=10)
    here = ago.astimezone(timezone(timedelta(hours=9)))

    async with client_of(sim) as client:

        async def ids(**asked: Any) -> list[int]:
            return [job.job_id for job in await client.list_jobs(**asked)]

        assert await ids() == await ids(order_by=OLDEST_FIRST) == [old, young, foreign]
        assert await ids(order_by=NEWEST_FIRST) == [foreign, young, old]
        assert (await ids(order_by=LAST_CHANGED_FIRST))[-1] == old
        assert await ids(connection_id=mine) == [old, young]
        assert await ids(status="succeeded") == [old]
        assert await ids(created_since=ago) == await ids(created_since=here) == [young, foreign]
        assert await ids(updated_since=ago) == [young, foreign]
        assert await ids(limit=1, offset=1) == [young]
        with pytest.raises(Rejected):
            await client.list_jobs(order_by="name|UP")


async def test_connections_are_looked_up_and_listed(sim: Simulator) -> None:
    connection_id = sim.add_connection(name="Orders")
    sim.add_connections(2)
    async with client_of(sim) as client:
        one = await client.get_connection(connection_id)
        assert (one.connection_id, one.name, one.workspace_id, one.status) == (
            connection_id,
            "Orders",
            sim.workspace_id,
            "active",
        )
        assert len(await client.list_connections()) == 3
        assert len(await client.list_connections(sim.workspace_id, offset=2)) == 1


@pytest.mark.parametrize("admin", [True, False])
async def test_missing_resource_is_refused(sim: Simulator, admin: bool) -> None:
    sim.instance_admin = admin
    async with client_of(sim) as client:
        with pytest.raises(Conflict if admin else Forbidden):
            await client.get_job(424242)
        with pytest.raises(NotFound if admin else Forbidden):
            await client.create_job(UNKNOWN)


async def test_health_needs_no_credentials(sim: Simulator) -> None:
    async with AirbyteClient(Settings(sim.url, ClientCredentials("nobody", "nothing"))) as client:
        await client.health()
    assert sim.count("token") == 0


async def test_creating_has_a_timeout_of_its_own(sim: Simulator) -> None:
    connection_id = sim.add_connection(script=Script(duration=60, pending=0.01))
    sim.add_fault(Fault(call="create", kind="latency", seconds=1.5))
    async with client_of(sim, timeout=1.0, create_timeout=30.0) as client:
        assert (await client.create_job(connection_id)).connection_id == connection_id


async def test_requests_under_way_are_no_more_than_allowed(sim: Simulator) -> None:
    sim.handler_seconds = 0.02
    job_id = sim.add_job(sim.add_connection())["id"]
    async with client_of(sim, max_requests=2) as client:
        await asyncio.gather(*(client.get_job(job_id) for _ in range(20)))
        assert client.requests == 21
    assert sim.peak_in_flight == 2


async def test_closed_client_opens_again_when_it_is_used_again(sim: Simulator) -> None:
    async with client_of(sim) as client:
        await client.list_jobs()
        await client.close()
        assert await client.list_jobs() == ()


@pytest.mark.parametrize("answers", ["latency", "hang"])
async def test_client_that_is_closed_leaves_requests_under_way_their_answers(sim: Simulator, answers: Any) -> None:
    """A machine that stands still for long has its watcher close what was borrowed a moment ago."""
    fault = sim.add_fault(Fault("list", answers, seconds=0.3))
    async with client_of(sim) as client:
        asking = asyncio.ensure_future(client.list_jobs())
        await until(lambda: hits(sim, fault))
        await client.close()
        assert client.requests == 2
        if answers == "hang":
            asking.cancel()
        assert (await asyncio.gather(asking, return_exceptions=True))[0] == () or answers == "hang"
        sim.clear_faults()
        assert await client.list_jobs() == ()
