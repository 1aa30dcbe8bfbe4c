"""All connections that fit a filter are found, and a filter that can fit nothing says why."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from airbyte_deferrable._job import listing
from airbyte_deferrable._job.selection import ConnectionFilter, InvalidFilter, select_connections
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError, Forbidden, NotFound, Unreachable
from airbyte_deferrable.api.settings import ClientCredentials, Settings
from airbyte_deferrable.simulator import Fault, Simulator

HERE, THERE = str(UUID(int=1)), str(UUID(int=2))


@pytest.fixture
async def client(airbyte_simulator: Simulator) -> AsyncIterator[AirbyteClient]:
    sim = airbyte_simulator
    settings = Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret))
    async with AirbyteClient(settings) as client:
        yield client


async def ids(client: AirbyteClient, **wanted: Any) -> list[str]:
    return [each.connection_id for each in await select_connections(client, ConnectionFilter(**wanted))]


async def names(client: AirbyteClient, **wanted: Any) -> list[str]:
    return [each.name for each in await select_connections(client, ConnectionFilter(**wanted))]


# --- all of them, in one order


async def test_connections_are_in_the_order_of_their_names_and_ids(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    for name in ("users", "Orders", "orders", "Accounts"):
        airbyte_simulator.add_connection(name)
    twins = [airbyte_simulator.add_connection("Twins") for _ in range(5)]
    found = await select_connections(client, ConnectionFilter())
    assert [each.name for each in found] == ["Accounts", "Orders", "orders", *["Twins"] * 5, "users"]
    assert [each.connection_id for each in found if each.name == "Twins"] == sorted(twins)


@pytest.mark.parametrize(
    "wanted", [{}, {"tag": "daily"}, {"source_type": "mysql"}, {"destination_type": "s3"}], ids=str
)
async def test_all_are_found_where_pages_repeat_rows_and_miss_others(
    airbyte_simulator: Simulator, client: AirbyteClient, wanted: dict[str, str]
) -> None:
    """Airbyte gives its lists no order. One pass over 350 of them misses each third."""
    fitting = [
        airbyte_simulator.add_connection(f"Table {n:03}", tags=["daily"], source_name="MySQL", destination_name="S3")
        for n in range(350)
    ]
    airbyte_simulator.unordered_connections = True
    for _ in range(3):
        assert await ids(client, **wanted) == fitting


async def test_a_thousand_are_found_where_pages_repeat_rows_and_miss_others(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    fitting = airbyte_simulator.add_connections(1000)
    airbyte_simulator.unordered_connections = True
    assert sorted(await ids(client)) == sorted(fitting)


async def test_connections_that_no_page_shows_are_an_error(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    row = {"connectionId": str(uuid4()), "name": "Orders", "status": "active"}
    full, rest = ({"data": [row] * count} for count in (100, 50))
    airbyte_simulator.add_fault(Fault(call="connections", status=200, body=json.dumps(rest), every=2))
    airbyte_simulator.add_fault(Fault(call="connections", status=200, body=json.dumps(full)))
    with pytest.raises(Unreachable, match=r"149 connections more than 1 did not show up\. .*try again"):
        await ids(client)


async def test_more_connections_than_are_read_are_an_error(
    airbyte_simulator: Simulator, client: AirbyteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_PAGES", 2)
    airbyte_simulator.add_connections(200)
    with pytest.raises(InvalidFilter, match=r"more than the 200 connections .* Give a workspace_id or a tag"):
        await ids(client)


async def test_a_thousand_with_a_tag_take_a_request_for_each_hundred_and_one(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    airbyte_simulator.add_connections(500)
    for number in range(999):
        airbyte_simulator.add_connection(f"Table {number}", tags=["daily"])
    assert len(await ids(client, tag="daily")) == 999
    calls = [(call, airbyte_simulator.count(call)) for call in ("token", "tags", "connections")]
    assert calls == [("token", 1), ("tags", 1), ("connections", 10)]
    assert client.requests == 12


# --- tags


async def test_tag_is_matched_exactly_first_then_without_case(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    airbyte_simulator.add_connection("Lower", tags=["daily", "finance"])
    airbyte_simulator.add_connection("Upper", tags=["Daily"])
    airbyte_simulator.add_connection("None")
    assert await names(client, tag="daily") == ["Lower"]
    assert await names(client, tag="Daily") == ["Upper"]
    assert await names(client, tag=" DAILY ") == ["Lower", "Upper"]
    assert await names(client, tag="FINANCE") == ["Lower"]


async def test_tag_of_several_workspaces_is_one_unless_the_workspace_is_given(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    airbyte_simulator.add_connection("Here", tags=["daily"], workspace_id=HERE)
    airbyte_simulator.add_connection("There", tags=["daily"], workspace_id=THERE)
    assert await names(client, tag="daily") == ["Here", "There"]
    assert await names(client, tag="daily", workspace_id=THERE) == ["There"]


async def test_tag_of_more_workspaces_than_an_address_holds(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    daily = [
        airbyte_simulator.add_connection(f"Team {n:03}", tags=["daily"], workspace_id=str(UUID(int=n)))
        for n in range(250)
    ]
    airbyte_simulator.add_connection("Other", tags=["weekly"])
    assert await ids(client, tag="daily") == daily


async def test_tag_that_airbyte_does_not_narrow_by_narrows_all_the_same(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    """An Airbyte that does not know ``tagIds`` lists all connections."""
    daily = airbyte_simulator.add_connection("Daily", tags=["daily"])
    airbyte_simulator.add_connection("Weekly", tags=["weekly"])
    airbyte_simulator.add_connection("None")
    everything = await client.list_connections()
    rows = [
        {"connectionId": row.connection_id, "name": row.name, "tags": [{"tagId": tag.tag_id} for tag in row.tags]}
        for row in everything
    ]
    airbyte_simulator.add_fault(Fault(call="connections", status=200, body=json.dumps({"data": rows})))
    assert await ids(client, tag="daily") == [daily]


async def test_tag_that_there_is_not_names_those_that_there_are(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    airbyte_simulator.add_connection(tags=["finance", "daily"])
    airbyte_simulator.add_connection(tags=["daily"], workspace_id=THERE)
    with pytest.raises(InvalidFilter, match=r"no tag 'dayly' in the workspaces .*; there are 'daily', 'finance'\.$"):
        await ids(client, tag="dayly")
    with pytest.raises(InvalidFilter, match=f"no tag 'finance' in workspace {THERE}; there are 'daily'"):
        await ids(client, tag="finance", workspace_id=THERE)
    assert airbyte_simulator.count("connections") == 0


async def test_tag_that_there_is_not_names_twenty_the_nearest_first(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    airbyte_simulator.add_connection(tags=[*(f"{n} customers" for n in range(50)), "weekly"])
    with pytest.raises(InvalidFilter) as error:
        await ids(client, tag="weeklies")
    assert "there are 'weekly', '0 customers', " in str(error.value)
    assert str(error.value).count("customers") == 19
    assert str(error.value).endswith(", and 31 more.")


async def test_tag_where_there_are_none(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    airbyte_simulator.add_connection()
    with pytest.raises(InvalidFilter, match=r"no tag 'daily' in the workspaces .*, nor any other"):
        await ids(client, tag="daily")


async def test_tag_in_an_airbyte_that_knows_none(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    airbyte_simulator.add_fault(Fault(call="tags", kind="status", status=404))
    with pytest.raises(NotFound, match="may be too old"):
        await ids(client, tag="daily")


async def test_tag_without_a_connection_is_no_error(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    connection_id = airbyte_simulator.add_connection(tags=["daily"])
    airbyte_simulator.set_connection_status(connection_id, "deprecated")
    assert await ids(client, tag="daily") == []
    assert await ids(client, tag="daily", workspace_id=airbyte_simulator.workspace_id) == []


# --- names and status


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("Orders*", ["Orders", "orders (EU)", "Orders (US)"]),
        ("ORDERS (*)", ["orders (EU)", "Orders (US)"]),
        (" orders ", ["Orders"]),
        ("*", ["Orders", "orders (EU)", "Orders (US)", "Users "]),
        ("users", ["Users "]),
        ("*([A-E]?)", ["orders (EU)"]),
        ("order", []),
    ],
)
async def test_name_fits_a_shell_pattern_whatever_its_case_and_blanks(
    airbyte_simulator: Simulator, client: AirbyteClient, pattern: str, found: list[str]
) -> None:
    for name in ("Orders", "orders (EU)", "Orders (US)", "Users "):
        airbyte_simulator.add_connection(name)
    assert await names(client, name_pattern=pattern) == found


async def test_names_and_tags_with_a_headers_value_in_them_are_found_and_shown_without(
    airbyte_simulator: Simulator,
) -> None:
    """Values of headers count as secrets."""
    sim = airbyte_simulator
    sim.add_connection("Daily orders", tags=["orders team"])
    credentials = ClientCredentials(sim.client_id, sim.client_secret)
    async with AirbyteClient(Settings(sim.url, credentials, headers=(("X-Team", "orders"),))) as client:
        (found,) = await select_connections(client, ConnectionFilter(name_pattern="*orders", tag="orders team"))
        assert "orders" not in f"{found.name} {found!r}"
        with pytest.raises(InvalidFilter, match=r"there are '\*\*\* team'"):
            await ids(client, tag="daily")


async def test_status_is_told_and_deleted_connections_are_never_found(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    for status in ("active", "inactive", "locked", "deprecated"):
        airbyte_simulator.add_connection(status, status=status, tags=["daily"])
    assert await names(client) == await names(client, tag="daily") == ["active", "inactive", "locked"]
    for status in ("active", "inactive", "locked"):
        assert await names(client, status=status) == [status]


# --- types of sources and destinations


async def test_types_are_as_airbyte_calls_them(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    for source, destination in (("mysql", "s3"), ("mysql", "bigquery"), ("google-sheets", "bigquery"), ("", "s3")):
        airbyte_simulator.add_connection(f"{source} {destination}", source_type=source, destination_type=destination)
    assert await names(client, source_type="mysql") == ["mysql bigquery", "mysql s3"]
    assert await names(client, destination_type="bigquery") == ["google-sheets bigquery", "mysql bigquery"]
    assert await names(client, source_type="mysql", destination_type="s3") == ["mysql s3"]
    assert await names(client, source_type="postgres") == []


async def test_types_of_many_are_read_by_pages(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    airbyte_simulator.add_connections(250)
    assert len(await ids(client, source_type="postgres")) == 250
    calls = {call: airbyte_simulator.count(call) for call in ("connections", "sources", "source", "destinations")}
    assert calls == {"connections": 3, "sources": 3, "source": 0, "destinations": 0}


async def test_types_of_few_among_many_take_no_more_pages_than_these(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    airbyte_simulator.add_connections(450)
    airbyte_simulator.add_connection("Late", source_type="mysql", tags=["daily"])
    airbyte_simulator.add_connection("Last", source_type="mysql", tags=["daily"])
    assert await names(client, source_type="mysql", tag="daily") == ["Last", "Late"]
    assert (airbyte_simulator.count("sources"), airbyte_simulator.count("source")) == (2, 2)


@pytest.mark.parametrize("kind", ["source", "destination"])
async def test_types_that_may_not_be_read_are_an_error(
    airbyte_simulator: Simulator, client: AirbyteClient, kind: str
) -> None:
    airbyte_simulator.add_connection()
    airbyte_simulator.add_fault(Fault(call=f"{kind}s", kind="status", status=403))
    with pytest.raises(Forbidden, match=rf"GET /{kind}s: HTTP 403.* {kind}_type needs .* the role Reader"):
        await ids(client, **{f"{kind}_type": "mysql"})
    # Nor is it asked for what nobody wants to know.
    assert len(await ids(client)) == 1


# --- workspaces


async def test_workspace_has_its_own(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    airbyte_simulator.add_connection("Here", workspace_id=HERE)
    airbyte_simulator.add_connection("There", workspace_id=THERE, source_type="mysql")
    assert await names(client) == ["Here", "There"]
    assert await names(client, workspace_id=UUID(THERE)) == ["There"]
    assert await names(client, workspace_id=THERE.upper(), source_type="mysql") == ["There"]


@pytest.mark.parametrize("wanted", [{}, {"tag": "daily"}], ids=str)
@pytest.mark.parametrize(("administrator", "cause"), [(True, NotFound), (False, Forbidden)])
async def test_workspace_that_there_is_not_is_an_error(
    airbyte_simulator: Simulator,
    client: AirbyteClient,
    administrator: bool,
    cause: type[ApiError],
    wanted: dict[str, str],
) -> None:
    airbyte_simulator.add_connection(tags=["daily"])
    airbyte_simulator.instance_admin = administrator
    with pytest.raises(cause):
        await ids(client, workspace_id=str(uuid4()), **wanted)


async def test_workspace_without_a_connection_is_no_error(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    airbyte_simulator.add_connection(workspace_id=THERE)
    for administrator in (True, False):
        airbyte_simulator.instance_admin = administrator
        assert await ids(client, workspace_id=airbyte_simulator.workspace_id) == []


# --- what can fit nothing


@pytest.mark.parametrize("value", ["", "  ", 7, ["daily"]], ids=repr)
@pytest.mark.parametrize("field", ["workspace_id", "tag", "name_pattern", "status", "source_type", "destination_type"])
def test_value_that_is_none_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidFilter, match=f"^{field} must be .* not {value!r}. Leave it out".replace("[", r"\[")):
        ConnectionFilter(**{field: value})


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"workspace_id": "Default Workspace"}, "the UUID of an Airbyte workspace"),
        ({"status": "deprecated"}, "one of active, inactive, locked"),
        ({"status": "Active"}, "one of active, inactive, locked"),
        ({"source_type": "Google Sheets"}, "lower case with hyphens, such as 'google-sheets'"),
        ({"destination_type": "BigQuery"}, "lower case with hyphens, such as 'bigquery'"),
    ],
    ids=str,
)
def test_value_that_there_is_not_is_refused_with_those_that_there_are(wanted: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidFilter, match=told):
        ConnectionFilter(**wanted)
