"""What jobs belong to: connections, sources, destinations, workspaces."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airbyte_deferrable.simulator import Simulator
from airbyte_deferrable.simulator.connectors import SECRET

Config = Callable[..., httpx.Response]


#: What Airbyte's errors call them.
DATABASES_WORD = {
    "connections": "STANDARD_SYNC",
    "sources": "SOURCE_CONNECTION",
    "destinations": "DESTINATION_CONNECTION",
    "workspaces": "STANDARD_WORKSPACE",
}


def test_connection_leads_to_its_source_destination_and_workspace(sim: Simulator, http: httpx.Client) -> None:
    connection_id = sim.add_connection("Orders", source_name="Postgres shop", destination_name="BigQuery dwh")
    connection = http.get(f"/connections/{connection_id}").json()
    assert (connection["name"], connection["status"]) == ("Orders", "active")
    assert http.get(f"/sources/{connection['sourceId']}").json()["name"] == "Postgres shop"
    assert http.get(f"/destinations/{connection['destinationId']}").json()["name"] == "BigQuery dwh"
    workspace = http.get(f"/workspaces/{connection['workspaceId']}").json()
    assert workspace["workspaceId"] == sim.workspace_id
    assert [row["workspaceId"] for row in http.get("/workspaces").json()["data"]] == [sim.workspace_id]


def test_connections_are_listed_by_pages(sim: Simulator, http: httpx.Client) -> None:
    ids = sim.add_connections(25)
    assert [row["connectionId"] for row in http.get("/connections").json()["data"]] == ids[:20]
    rows = http.get("/connections", params={"limit": 10, "offset": 20}).json()["data"]
    assert [row["connectionId"] for row in rows] == ids[20:]


def test_there_is_no_list_of_connections_by_name(sim: Simulator, http: httpx.Client) -> None:
    sim.add_connections(3)
    assert len(http.get("/connections", params={"name": "Connection 2"}).json()["data"]) == 3


@pytest.mark.parametrize("path", ["connections", "sources", "destinations", "workspaces"])
@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 101}, {"offset": -1}])
def test_pages_have_limits(http: httpx.Client, path: str, params: dict[str, int]) -> None:
    assert http.get(f"/{path}", params=params).status_code == 400


@pytest.mark.parametrize("kind", ["connection", "source", "destination"])
def test_pages_of_connections_and_their_ends_can_repeat_and_miss_rows(
    sim: Simulator, http: httpx.Client, kind: str
) -> None:
    connections = [http.get(f"/connections/{connection_id}").json() for connection_id in sim.add_connections(60)]
    ids = [connection[f"{kind}Id"] for connection in connections]

    def walk() -> list[str]:
        pages = [http.get(f"/{kind}s", params={"limit": 20, "offset": offset}) for offset in (0, 20, 40)]
        return [row[f"{kind}Id"] for page in pages for row in page.json()["data"]]

    assert walk() == ids
    sim.unordered_connections = True
    walks = [walk() for _ in range(3)]
    assert all(len(rows) == 60 for rows in walks)
    assert any(len(set(rows)) < 60 for rows in walks)
    assert set().union(*walks) <= set(ids)
    sim.unordered_connections = False
    assert walk() == ids


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
    page = http.get("/connections", params={"includeDeleted": "true"}).json()
    assert [row["status"] for row in page["data"]] == ["deprecated"]
    assert "includeDeleted=true" in page["next"]
    assert http.get(f"/connections/{connection_id}").json()["status"] == "deprecated"


@pytest.mark.parametrize("status", ["active", "inactive", "locked", "deprecated"])
def test_connection_says_how_it_stands(sim: Simulator, http: httpx.Client, status: str) -> None:
    assert http.get(f"/connections/{sim.add_connection(status=status)}").json()["status"] == status


@pytest.mark.parametrize(("admin", "status"), [(True, 404), (False, 403)])
@pytest.mark.parametrize("kind", ["connections", "sources", "destinations", "workspaces"])
def test_unknown_resource(sim: Simulator, http: httpx.Client, kind: str, admin: bool, status: int) -> None:
    sim.instance_admin = admin
    unknown = str(uuid.uuid4())
    answer = http.get(f"/{kind}/{unknown}")
    assert answer.status_code == status
    if admin:
        assert answer.json()["data"] == {"resourceType": DATABASES_WORD[kind], "resourceId": unknown}


def test_unknown_address(http: httpx.Client) -> None:
    assert http.get("/nothing").status_code == 404


@pytest.mark.parametrize("path", ["", "/api/public/v1", "/api/public/v1/jobs//", "/api/v1/jobs/get//"])
def test_trailing_slash_is_stripped_once(sim: Simulator, http: httpx.Client, path: str) -> None:
    job_id = sim.add_job(sim.add_connection())["id"]
    assert http.get("/jobs/").json()["data"][0]["jobId"] == job_id
    assert http.get(f"/jobs/{job_id}/").json()["jobId"] == job_id
    assert http.post(f"{sim.host}/api/v1/jobs/get_light/", json={"id": job_id}).status_code == 200
    assert http.get(f"{sim.host}/api/v1/health/").json() == {"available": True}
    assert http.request("GET", sim.host + path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/public/v1/jobs", "GET,POST"),
        ("POST", "/api/public/v1/jobs/1/", "DELETE,GET"),
        ("POST", "/api/public/v1/connections/1", "GET,PATCH"),
        ("GET", "/api/public/v1/applications/token", "POST"),
        ("GET", "/api/v1/jobs/get", "POST"),
        ("DELETE", "/api/v1/health", "GET"),
    ],
)
def test_method_that_an_address_does_not_have(
    sim: Simulator, http: httpx.Client, method: str, path: str, allowed: str
) -> None:
    answer = http.request(method, sim.host + path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    assert answer.json()["message"] == "Method Not Allowed"
    assert f"Method [{method}] not allowed" in answer.json()["_embedded"]["errors"][0]["message"]


def test_sources_and_destinations_are_listed(sim: Simulator, http: httpx.Client) -> None:
    sim.add_connection("A", source_name="MySQL shop", destination_name="Snowflake dwh")
    other = str(uuid.uuid4())
    sim.add_connection("B", workspace_id=other)
    for path, types in (("sources", ["mysql", "postgres"]), ("destinations", ["snowflake", "bigquery"])):
        rows = http.get(f"/{path}").json()["data"]
        assert [row[f"{path[:-1]}Type"] for row in rows] == types
        assert http.get(f"/{path}", params={"workspaceIds": other}).json()["data"] == rows[1:]
        assert http.get(f"/{path}", params={"limit": 1, "offset": 1}).json()["data"] == rows[1:]
        assert http.get(f"/{path}/{rows[0][f'{path[:-1]}Id']}").json() == rows[0]


def test_source_has_its_types_definition_and_masks_its_secrets(sim: Simulator, http: httpx.Client) -> None:
    settings = {
        "host": "db",
        "port": 5432,
        "password": "s3cret",
        "jdbc_url_params": "sslpassword=s3cret",
        "tunnel_method": {"tunnel_method": "SSH_KEY_AUTH", "ssh_key": "s3cret"},
        "replicas": [{"password": "s3cret"}],
    }
    ids = [sim.add_connection(source_type="postgres", source_configuration=settings) for _ in range(2)]
    one, two = (
        http.get(f"/sources/{http.get(f'/connections/{connection_id}').json()['sourceId']}").json()
        for connection_id in ids
    )
    assert one["sourceId"] != two["sourceId"]
    # Airbyte's own for Postgres, in every installation.
    assert one["definitionId"] == two["definitionId"] == "decd338e-5647-4c0b-adf4-da0e75f5a750"
    mask = "**********"
    assert one["configuration"] == {
        **settings,
        "password": mask,
        "tunnel_method": {"tunnel_method": "SSH_KEY_AUTH", "ssh_key": mask},
        "replicas": [{"password": mask}],
    }


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        *(("source", t) for t in ("postgres", "mysql", "mssql", "redshift", "snowflake", "bigquery", "s3", "faker")),
        *(("destination", t) for t in ("postgres", "mysql", "mssql", "redshift", "snowflake", "bigquery", "s3")),
        ("destination", "databricks"),
    ],
)
def test_connector_types_have_settings_and_no_secret_in_them(
    sim: Simulator, http: httpx.Client, kind: str, type_: str
) -> None:
    kinds: dict[str, Any] = {f"{kind}_type": type_}
    sim.add_connection(**kinds)
    (row,) = http.get(f"/{kind}s").json()["data"]
    assert row[f"{kind}Type"] == type_
    assert row["configuration"]
    assert SECRET not in json.dumps(row["configuration"])


def test_connector_of_ones_own_has_no_type(sim: Simulator, http: httpx.Client) -> None:
    sim.add_connection(source_type="", source_configuration={"url": "https://example.com", "password": "s3cret"})
    (row,) = http.get("/sources").json()["data"]
    assert (row["sourceType"], row["configuration"]["password"]) == ("", "**********")


def test_tags_are_in_the_connection_and_narrow_the_list(sim: Simulator, http: httpx.Client) -> None:
    finance, both, none = (sim.add_connection(tags=tags) for tags in (["finance"], ["finance", "daily"], []))
    other = str(uuid.uuid4())
    foreign = sim.add_connection(tags=["finance"], workspace_id=other)
    tags = {
        name: http.get(f"/connections/{connection_id}").json()["tags"][place]
        for name, connection_id, place in (("finance", finance, 0), ("daily", both, 1), ("foreign", foreign, 0))
    }
    assert http.get("/tags").json()["data"] == [tags["finance"], tags["daily"], tags["foreign"]]
    assert http.get("/tags", params={"workspaceIds": other}).json()["data"] == [tags["foreign"]]
    assert http.get(f"/connections/{none}").json()["tags"] == []

    def with_tags(*names: str) -> list[str]:
        rows = http.get("/connections", params={"tagIds": [tags[name]["tagId"] for name in names]}).json()["data"]
        return [row["connectionId"] for row in rows]

    assert with_tags("finance") == [finance, both]
    assert with_tags("daily", "foreign") == [both, foreign]
    params = {"tagIds": tags["finance"]["tagId"], "workspaceIds": other}
    assert http.get("/connections", params=params).json()["data"] == []


def test_patch_changes_what_it_names(sim: Simulator, http: httpx.Client, config: Config) -> None:
    connection_id = sim.add_connection("Orders", streams=["orders", "people"])
    sim.add_connection(tags=["finance"])
    (tag,) = http.get("/tags").json()["data"]
    before = http.get(f"/connections/{connection_id}").json()
    changes = {
        "name": "Orders, daily",
        "status": "inactive",
        "schedule": {"scheduleType": "cron", "cronExpression": "0 0 12 * * ? UTC"},
        "prefix": "shop_",
        "namespaceDefinition": "custom_format",
        "namespaceFormat": "raw_${SOURCE_NAMESPACE}",
        "nonBreakingSchemaUpdatesBehavior": "disable_connection",
        "tags": [tag],
        "configurations": {"streams": [{"name": "people", "syncMode": "full_refresh_overwrite"}]},
    }
    after = http.patch(f"/connections/{connection_id}", json=changes).json()
    (stream,) = after["configurations"].pop("streams")
    assert (stream["name"], stream["syncMode"]) == ("people", "full_refresh_overwrite")
    assert after == {**before, **changes, "configurations": {}}
    told = config("connections/get", connectionId=connection_id).json()
    assert told["namespaceDefinition"] == "customformat"
    assert told["nonBreakingChangesPreference"] == "disable"
    assert told["scheduleData"] == {"cron": {"cronExpression": "0 0 12 * * ?", "cronTimeZone": "UTC"}}
    assert [each["stream"]["name"] for each in told["syncCatalog"]["streams"]] == ["people"]
    nothing: dict[str, Any] = {"name": None, "configurations": {"streams": []}}
    rest = http.patch(f"/connections/{connection_id}", json=nothing).json()
    assert (rest["name"], rest["configurations"]["streams"]) == ("Orders, daily", [stream])


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"status": "deleted"}, 422),
        ({"name": 5}, 422),
        ({"namespaceDefinition": "somewhere"}, 422),
        ({"schedule": {"scheduleType": "basic"}}, 422),
        ({"schedule": {"scheduleType": "cron"}}, 400),
        ({"tags": [{"name": "finance"}]}, 422),
        ({"tags": [{"tagId": str(uuid.uuid4())}]}, 500),
        ({"configurations": {"streams": [{"name": "people"}]}}, 400),
        ({"configurations": {"streams": [{"name": "orders", "syncMode": "sometimes"}]}}, 422),
    ],
)
def test_patch_that_is_refused_changes_nothing(
    sim: Simulator, http: httpx.Client, change: dict[str, object], status: int
) -> None:
    connection_id = sim.add_connection("Orders")
    before = http.get(f"/connections/{connection_id}").json()
    assert http.patch(f"/connections/{connection_id}", json={"prefix": "x", **change}).status_code == status
    assert http.get(f"/connections/{connection_id}").json() == before


def test_connection_id_that_is_no_uuid_is_refused(sim: Simulator) -> None:
    with pytest.raises(ValueError, match="UUID"):
        sim.add_connection(connection_id="orders")
