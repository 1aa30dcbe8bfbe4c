"""What jobs belong to: connections, sources, destinations, workspaces."""

from __future__ import annotations

import uuid

import httpx
import pytest

from airbyte_deferrable.simulator import Simulator


def test_a_connection_leads_to_its_source_destination_and_workspace(sim: Simulator, http: httpx.Client) -> None:
    connection_id = sim.add_connection("Orders", source_name="Postgres shop", destination_name="BigQuery dwh")
    connection = http.get(f"/connections/{connection_id}").json()
    assert (connection["name"], connection["status"]) == ("Orders", "active")
    assert http.get(f"/sources/{connection['sourceId']}").json()["name"] == "Postgres shop"
    assert http.get(f"/destinations/{connection['destinationId']}").json()["name"] == "BigQuery dwh"
    workspace = http.get(f"/workspaces/{connection['workspaceId']}").json()
    assert workspace["workspaceId"] == sim.workspace_id
    assert [row["workspaceId"] for row in http.get("/workspaces").json()["data"]] == [sim.workspace_id]


def test_connections_are_listed_by_pages_and_by_name(sim: Simulator, http: httpx.Client) -> None:
    ids = sim.add_connections(25)
    assert [row["connectionId"] for row in http.get("/connections").json()["data"]] == ids[:20]
    rows = http.get("/connections", params={"limit": 10, "offset": 20}).json()["data"]
    assert [row["connectionId"] for row in rows] == ids[20:]
    rows = http.get("/connections", params={"name": "Connection 7"}).json()["data"]
    assert [row["connectionId"] for row in rows] == [ids[6]]


def test_connections_of_a_workspace(sim: Simulator, http: httpx.Client) -> None:
    sim.add_connection()
    other = str(uuid.uuid4())
    connection_id = sim.add_connection(workspace_id=other)
    rows = http.get("/connections", params={"workspaceIds": other}).json()["data"]
    assert [row["connectionId"] for row in rows] == [connection_id]


def test_deprecated_connections_are_not_listed(sim: Simulator, http: httpx.Client) -> None:
    connection_id = sim.add_connection()
    sim.set_connection_status(connection_id, "deprecated")
    assert http.get("/connections").json()["data"] == []
    assert http.get(f"/connections/{connection_id}").json()["status"] == "deprecated"


@pytest.mark.parametrize("status", ["active", "inactive", "locked", "deprecated"])
def test_a_connection_says_how_it_stands(sim: Simulator, http: httpx.Client, status: str) -> None:
    assert http.get(f"/connections/{sim.add_connection(status=status)}").json()["status"] == status


@pytest.mark.parametrize(("admin", "status"), [(True, 404), (False, 403)])
@pytest.mark.parametrize("kind", ["connections", "sources", "destinations", "workspaces"])
def test_an_unknown_resource(sim: Simulator, http: httpx.Client, kind: str, admin: bool, status: int) -> None:
    sim.instance_admin = admin
    unknown = str(uuid.uuid4())
    answer = http.get(f"/{kind}/{unknown}")
    assert answer.status_code == status
    if admin:
        assert answer.json()["data"] == {"resourceType": kind[:-1], "resourceId": unknown}


def test_an_unknown_address(http: httpx.Client) -> None:
    assert http.get("/nothing").status_code == 404


def test_a_connection_id_that_is_no_uuid_is_refused(sim: Simulator) -> None:
    with pytest.raises(ValueError, match="UUID"):
        sim.add_connection(connection_id="orders")
