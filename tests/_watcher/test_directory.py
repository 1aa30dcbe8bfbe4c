"""What connections are called is learned for all who wait together, by few requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from airbyte_deferrable._job import freshness
from airbyte_deferrable._watcher import directory
from airbyte_deferrable._watcher.directory import Description, Directory
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.api.settings import ClientCredentials, Settings
from airbyte_deferrable.simulator import Fault, Simulator
from helpers.airbyte import hits
from helpers.waiting import Clock, until

ENDS = {"source": "Postgres shop", "destination": "BigQuery warehouse"}


@pytest.fixture
def sim(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    monkeypatch.setattr(directory, "RETRY_AFTER", 0.05)
    monkeypatch.setattr(directory, "SLOWLY", 0.0)
    return airbyte_simulator


@pytest_asyncio.fixture
async def client(sim: Simulator) -> AsyncIterator[AirbyteClient]:
    async with AirbyteClient(Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret))) as client:
        yield client


@pytest.fixture
def names(client: AirbyteClient) -> Directory:
    return Directory(lambda: client)


def connections(sim: Simulator, count: int) -> list[str]:
    return [sim.add_connection(name=f"Connection {number}") for number in range(count)]


def requests(sim: Simulator) -> int:
    return sim.count() - sim.count("token")


async def test_description_of_one_is_asked_for_by_itself(sim: Simulator, names: Directory) -> None:
    connections(sim, 300)
    cid = sim.add_connection(name="Orders")
    about = await names.describe(cid)
    assert about == Description(name="Orders", workspace_id=sim.workspace_id, **ENDS)
    assert str(about) == "'Orders' (Postgres shop → BigQuery warehouse)"
    assert requests(sim) == 3


async def test_descriptions_of_two_hundred_cost_a_page_for_a_hundred(sim: Simulator, names: Directory) -> None:
    cids = connections(sim, 200)
    found = await asyncio.gather(*map(names.describe, cids))
    assert [about.name for about in found] == [f"Connection {number}" for number in range(200)]
    assert all((about.source, about.destination) == tuple(ENDS.values()) for about in found)
    # Two pages of each kind, a last one that is empty, and what the first who asked was told by themselves.
    assert requests(sim) <= 12


async def test_those_who_trickle_in_are_found_in_what_was_read(sim: Simulator, names: Directory) -> None:
    for cid in connections(sim, 200):
        assert (await names.describe(cid)).workspace_id == sim.workspace_id
    assert requests(sim) <= 18


async def test_description_is_kept_for_a_while(
    sim: Simulator, names: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    cid = sim.add_connection(name="Orders")
    for _ in range(3):
        assert (await names.describe(cid)).name == "Orders"
    assert requests(sim) == 3
    monkeypatch.setattr(directory, "KEEP", -1.0)
    names._forget()
    await names.describe(cid)
    assert requests(sim) == 6


async def test_few_in_a_large_airbyte_do_not_read_all_of_its_list(sim: Simulator, names: Directory) -> None:
    connections(sim, 1500)
    wanted = connections(sim, 4)
    found = await asyncio.gather(*map(names.describe, wanted))
    assert all(about.name for about in found)
    # For each of the three kinds no more pages than there are wanted, and these by themselves.
    assert requests(sim) <= 3 * 2 * len(wanted)


async def test_where_lists_are_forbidden_each_connection_costs_one_request(sim: Simulator, names: Directory) -> None:
    cids = connections(sim, 20)
    for call in ("connections", "sources", "destinations"):
        sim.add_fault(Fault(call, status=403))
    found = await asyncio.gather(*map(names.describe, cids))
    assert all(about.name for about in found)
    # The list once, and the ends of those who came before that.
    assert requests(sim) <= 20 + 1 + 2 * directory.FEW


async def test_connection_that_cannot_be_seen_has_no_name(sim: Simulator, names: Directory) -> None:
    cid = sim.add_connection(name="Orders")
    sim.add_fault(Fault("connection", status=403))
    assert await names.describe(cid) == Description()
    assert str(Description()) == ""


@pytest.mark.parametrize("call", ["source", "destination"])
async def test_without_its_ends_a_connection_still_has_a_name(sim: Simulator, names: Directory, call: str) -> None:
    cid = sim.add_connection(name="Orders")
    sim.add_fault(Fault(call, status=500))
    about = await names.describe(cid)
    assert (str(about), about.workspace_id) == ("'Orders'", sim.workspace_id)


async def test_airbyte_that_is_down_is_asked_until_it_tells(sim: Simulator, names: Directory) -> None:
    cid = sim.add_connection(name="Orders")
    sim.add_fault(Fault("connection", status=503, times=3))
    assert (await names.describe(cid)).name == "Orders"
    assert sim.count("connection") == 4


async def test_description_is_asked_for_once_for_all_who_want_it(sim: Simulator, names: Directory) -> None:
    cid = sim.add_connection(name="Orders")
    found = await asyncio.gather(*(names.describe(cid) for _ in range(50)))
    assert {str(about) for about in found} == {"'Orders' (Postgres shop → BigQuery warehouse)"}
    assert requests(sim) == 3


async def test_description_is_not_lost_with_one_who_leaves(sim: Simulator, names: Directory) -> None:
    cid = sim.add_connection(name="Orders")
    first, second = (asyncio.ensure_future(names.describe(cid)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).name == "Orders"


async def test_connections_are_checked_together_and_again_after_a_while(
    sim: Simulator, names: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    cids = connections(sim, 150)
    first, *others = await asyncio.gather(*map(names.check, cids))
    assert first is not None
    assert (first.connection_id, first.status, len(others)) == (cids[0], "active", 149)
    # Two pages, and what the first who asked were told by themselves.
    assert requests(sim) <= 2 + directory.FEW
    before = requests(sim)
    sim.set_connection_status(cids[0], "deprecated")
    assert await names.check(cids[0]) == first
    assert requests(sim) == before
    monkeypatch.setattr(directory, "KEEP_STANDING", 0.0)
    monkeypatch.setattr(names, "_standing_until", 0.0)
    gone = await names.check(cids[0])
    assert gone is not None
    assert gone.status == "deprecated"


async def test_connections_that_are_checked_every_ten_minutes_cost_one_reading_each_time(
    sim: Simulator, names: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they are spread over these ten minutes."""
    cids, clock = connections(sim, 300)[::10], Clock(monkeypatch)
    for _ in range(3):
        before = requests(sim)
        for cid in cids:
            assert await names.check(cid) is not None
            clock.jump(freshness.DEFERRED_CONNECTION_AGAIN / len(cids))
        assert requests(sim) - before <= 3 + directory.FEW


async def test_connections_that_take_longer_than_they_are_kept_for_are_asked_for_once(
    sim: Simulator, names: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they do where the list is forbidden, and many are watched."""
    cids = connections(sim, 30)
    sim.add_fault(Fault("connections", status=403))
    slow = sim.add_fault(Fault("connection", "hang"))
    checks = asyncio.gather(*map(names.check, cids[:-1]))
    await until(lambda: hits(sim, slow))
    monkeypatch.setattr(names, "_standing_until", 0.0)
    late = asyncio.ensure_future(names.check(cids[-1]))
    await asyncio.sleep(0)
    sim.clear_faults(slow)
    assert all(await checks)
    assert await late
    # The list is tried twice; and a first one may be asked for again with the others.
    assert requests(sim) <= len(cids) + 2 + directory.FEW


async def test_connection_that_is_not_to_be_seen_is_checked_as_none(sim: Simulator, names: Directory) -> None:
    assert await names.check("00000000-0000-4000-8000-000000000000") is None


async def test_connection_cannot_be_checked_while_airbyte_cannot_be_asked(sim: Simulator, names: Directory) -> None:
    cid = sim.add_connection()
    sim.add_fault(Fault("connection", status=503, times=1))
    with pytest.raises(ApiError):
        await names.check(cid)
    found = await names.check(cid)
    assert found is not None
