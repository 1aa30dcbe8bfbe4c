"""A connection is found by its name, or the reader learns why not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from airbyte_deferrable._job import listing
from airbyte_deferrable._job.connections import UnresolvedName, find_connection
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.settings import ClientCredentials, Settings
from airbyte_deferrable.simulator import Fault, Simulator


@pytest.fixture
async def client(airbyte_simulator: Simulator) -> AsyncIterator[AirbyteClient]:
    sim = airbyte_simulator
    settings = Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret))
    async with AirbyteClient(settings) as client:
        yield client


async def test_name_leads_to_its_connection_also_on_a_late_page(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    ids = [airbyte_simulator.add_connection(name=f"Table {number}") for number in range(250)]
    assert await find_connection(client, "Table 249", None) == ids[249]


async def test_name_is_found_where_pages_repeat_rows_and_miss_others(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    """Airbyte gives its list of connections no order. One pass over 350 of them misses each third."""
    ids = [airbyte_simulator.add_connection(name=f"Table {number}") for number in range(350)]
    airbyte_simulator.unordered_connections = True
    for number in (0, 99, 200, 349):
        assert await find_connection(client, f"Table {number}", None) == ids[number]
    with pytest.raises(UnresolvedName, match=r"None of the 350 Airbyte connections .* near matches"):
        await find_connection(client, "Table 350", None)


async def test_connections_of_one_name_are_both_seen_where_pages_miss_rows(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    airbyte_simulator.add_connections(248)
    twins = {airbyte_simulator.add_connection(name="Twin") for _ in range(2)}
    airbyte_simulator.unordered_connections = True
    for _ in range(5):
        with pytest.raises(UnresolvedName, match="2 Airbyte connections") as error:
            await find_connection(client, "Twin", None)
        assert all(each in str(error.value) for each in twins)


async def test_list_with_an_order_is_read_once(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    airbyte_simulator.add_connections(249)
    airbyte_simulator.add_connection(name="Gone", status="deprecated")
    airbyte_simulator.add_connection(name="Orders")
    await find_connection(client, "Orders", None)
    assert airbyte_simulator.count("connections") == 3


async def test_reading_again_has_an_end_and_what_was_not_seen_is_told(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    """The same page whatever is asked for: most connections never show up."""
    sim = airbyte_simulator
    row = {"connectionId": sim.add_connection(name="Orders"), "name": "Orders", "status": "active"}
    full, rest = ({"data": [row] * count} for count in (100, 50))
    # Each second page is the last of a pass.
    sim.add_fault(Fault(call="connections", status=200, body=json.dumps(rest), every=2))
    sim.add_fault(Fault(call="connections", status=200, body=json.dumps(full)))
    with pytest.raises(UnresolvedName, match=r"149 more could not be seen: .* Give connection_id instead"):
        await find_connection(client, "Users", None)
    assert sim.count("connections") == 2 * listing.MOST_PASSES
    assert await find_connection(client, "Orders", None) == row["connectionId"]


async def test_case_and_outer_blanks_do_not_matter_unless_they_tell_two_apart(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    lower = airbyte_simulator.add_connection(name="orders")
    upper = airbyte_simulator.add_connection(name="Orders")
    airbyte_simulator.add_connection(name="Users")
    assert await find_connection(client, "orders", None) == lower
    assert await find_connection(client, "Orders", None) == upper
    with pytest.raises(UnresolvedName, match="2 Airbyte connections"):
        await find_connection(client, " ORDERS ", None)


async def test_name_with_a_headers_value_in_it_is_found_and_shown_without(airbyte_simulator: Simulator) -> None:
    """Values of headers count as secrets."""
    sim = airbyte_simulator
    daily = sim.add_connection(name="Daily orders")
    credentials = ClientCredentials(sim.client_id, sim.client_secret)
    async with AirbyteClient(Settings(sim.url, credentials, headers=(("X-Team", "orders"),))) as client:
        assert await find_connection(client, "daily orders", None) == daily
        with pytest.raises(UnresolvedName, match=r"near matches: 'Daily \*\*\*'"):
            await find_connection(client, "Daily order", None)


async def test_unknown_name_lists_near_matches(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    airbyte_simulator.add_connection(name="Orders to warehouse")
    with pytest.raises(UnresolvedName, match="near matches: 'Orders to warehouse'"):
        await find_connection(client, "Order to warehouse", None)


async def test_workspace_tells_two_of_one_name_apart(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    other = "11111111-2222-3333-4444-555555555555"
    here = airbyte_simulator.add_connection(name="Orders")
    there = airbyte_simulator.add_connection(name="Orders", workspace_id=other)
    assert await find_connection(client, "Orders", other) == there
    assert await find_connection(client, "Orders", airbyte_simulator.workspace_id) == here


async def test_workspace_in_which_nothing_can_be_seen_is_told(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    airbyte_simulator.add_connection(name="Orders")
    with pytest.raises(UnresolvedName, match=r"no Airbyte connection in workspace 1111.* Check workspace_id"):
        await find_connection(client, "Orders", "11111111-2222-3333-4444-555555555555")
