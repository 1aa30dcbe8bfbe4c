"""A connection is found by its name, or the reader learns why not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.settings import ClientCredentials, Settings
from airbyte_deferrable.exceptions import AirbyteInputError
from airbyte_deferrable.names import find_connection
from airbyte_deferrable.simulator import Simulator


@pytest.fixture
async def client(airbyte_simulator: Simulator) -> AsyncIterator[AirbyteClient]:
    sim = airbyte_simulator
    settings = Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret))
    async with AirbyteClient(settings) as client:
        yield client


async def test_a_name_leads_to_its_connection_also_on_a_late_page(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    ids = [airbyte_simulator.add_connection(name=f"Table {number}") for number in range(250)]
    assert await find_connection(client, "Table 249", None) == ids[249]


async def test_case_and_outer_blanks_do_not_matter_unless_they_tell_two_apart(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    lower = airbyte_simulator.add_connection(name="orders")
    upper = airbyte_simulator.add_connection(name="Orders")
    airbyte_simulator.add_connection(name="Users")
    assert await find_connection(client, "orders", None) == lower
    assert await find_connection(client, "Orders", None) == upper
    with pytest.raises(AirbyteInputError, match="2 Airbyte connections"):
        await find_connection(client, " ORDERS ", None)


async def test_a_name_with_a_headers_value_in_it_is_found_and_shown_without(airbyte_simulator: Simulator) -> None:
    """Values of headers count as secrets."""
    sim = airbyte_simulator
    daily = sim.add_connection(name="Daily orders")
    credentials = ClientCredentials(sim.client_id, sim.client_secret)
    async with AirbyteClient(Settings(sim.url, credentials, headers=(("X-Team", "orders"),))) as client:
        assert await find_connection(client, "daily orders", None) == daily
        with pytest.raises(AirbyteInputError, match=r"near matches: 'Daily \*\*\*'"):
            await find_connection(client, "Daily order", None)


async def test_an_unknown_name_lists_near_matches(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    airbyte_simulator.add_connection(name="Orders to warehouse")
    with pytest.raises(AirbyteInputError, match="near matches: 'Orders to warehouse'"):
        await find_connection(client, "Order to warehouse", None)


async def test_the_workspace_tells_two_of_one_name_apart(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    other = "11111111-2222-3333-4444-555555555555"
    here = airbyte_simulator.add_connection(name="Orders")
    there = airbyte_simulator.add_connection(name="Orders", workspace_id=other)
    assert await find_connection(client, "Orders", other) == there
    assert await find_connection(client, "Orders", airbyte_simulator.workspace_id) == here


async def test_a_workspace_in_which_nothing_can_be_seen_is_told(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    airbyte_simulator.add_connection(name="Orders")
    with pytest.raises(AirbyteInputError, match=r"no Airbyte connection in workspace 1111.* Check workspace_id"):
        await find_connection(client, "Orders", "11111111-2222-3333-4444-555555555555")
