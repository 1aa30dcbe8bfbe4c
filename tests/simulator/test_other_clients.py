"""What other clients of Airbyte send, request by request, as their source has it; the Python ones also ran, by hand.

They are not installed here: some of them bring an orchestrator of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airbyte_deferrable.simulator import Attempt, Script, Simulator, Stream
from helpers.schemas import check

Connect = Callable[[Simulator], httpx.Client]
QUICK = Script(duration=0.2, pending=0.05, rows=70, bytes=700)
LONG = Script(duration=600, pending=0)
ENDED = ("succeeded", "failed", "cancelled")


def basic(sim: Simulator) -> httpx.Client:
    """Airbyte of the docker-compose days, which two of them know alone."""
    auth = (sim.client_id, sim.client_secret)
    return httpx.Client(auth=auth, event_hooks={"response": [check]}, trust_env=False, timeout=20)


def test_prefect_airbyte() -> None:
    """prefect-airbyte 0.3.2: the config API with a slash at the end of each address."""
    with Simulator(auth="basic") as sim, basic(sim) as http:
        connection_id = sim.add_connection(script=QUICK)
        api = f"{sim.host}/api/v1"
        assert http.get(f"{api}/health/").json()["available"] is True
        asked = {"connectionId": connection_id}
        assert http.post(f"{api}/connections/get/", json=asked).json()["status"] == "active"
        job = http.post(f"{api}/connections/sync/", json=asked).json()["job"]
        assert isinstance(job["createdAt"], int)
        info = http.post(f"{api}/jobs/get/", json={"id": job["id"]}).json()
        while info["job"]["status"] not in ENDED:
            info = http.post(f"{api}/jobs/get/", json={"id": job["id"]}).json()
        assert info["job"]["status"] == "succeeded"
        assert info["attempts"][0]["attempt"]["recordsSynced"] == 70


@pytest.mark.parametrize("structured", [False, True])
def test_kestras_plugin(sim: Simulator, http: httpx.Client, structured: bool) -> None:
    """kestra-io/plugin-airbyte: as prefect's, the id as a text; its models refuse counts that they do not know."""
    sim.configure(structured_logs=structured)
    script = Script(attempts=[Attempt(0.1), Attempt(0.1, "succeeded")], pending=0, retry_backoff=0.1)
    connection_id = sim.add_connection(script=script)
    token = {"client_id": sim.client_id, "client_secret": sim.client_secret, "grant-type": "client_credentials"}
    assert http.post(f"{sim.host}/api/v1/applications/token", json=token).json()["access_token"]
    sync = http.post(f"{sim.host}/api/v1/connections/sync/", json={"connectionId": connection_id})
    job_id = sync.json()["job"]["id"]
    busy = {"connectionId": sim.add_connection(script=LONG)}
    assert http.post(f"{sim.host}/api/v1/connections/sync/", json=busy).status_code == 200
    again = http.post(f"{sim.host}/api/v1/connections/sync/", json=busy)
    assert "A sync is already running" in again.text
    info = sync.json()
    while info["job"]["status"] not in ENDED:
        info = http.post(f"{sim.host}/api/v1/jobs/get/", json={"id": str(job_id)}).json()
    known = {"recordsEmitted", "bytesEmitted", "stateMessagesEmitted", "recordsCommitted"}
    for each in info["attempts"]:
        assert ("events" if structured else "logLines") in each["logs"]
        assert set(each["attempt"].get("totalStats", {})) <= known
        for stream in each["attempt"].get("streamStats", []):
            assert set(stream) == {"streamName", "stats"}
            assert set(stream["stats"]) <= known


def test_dagster_airbytes_workspace(sim: Simulator, http: httpx.Client) -> None:
    """dagster-airbyte 0.29: walks the list by ``next``, and makes assets of the streams."""
    streams = [Stream("orders", "public", columns={"id": "integer"}), Stream("old", selected=False)]
    ids = [sim.add_connection(name, QUICK, streams=streams, destination_type="snowflake") for name in "ABC"]
    assert http.get(f"/workspaces/{sim.workspace_id}").json()["workspaceId"] == sim.workspace_id
    params: dict[str, Any] = {"limit": 2, "workspaceIds": sim.workspace_id}
    found: list[str] = []
    while True:
        page = http.get("/connections", params=params).json()
        found += [row["connectionId"] for row in page["data"]]
        if not page["next"]:
            break
        params.update(httpx.URL(page["next"]).params)
    assert found == ids
    told = http.post(f"{sim.host}/api/v1/connections/get", json={"connectionId": ids[0]}).json()
    (stream,) = told["syncCatalog"]["streams"]
    assert (stream["config"]["selected"], list(stream["stream"]["jsonSchema"]["properties"])) == (True, ["id"])
    destination = http.get(f"/destinations/{told['destinationId']}").json()
    assert destination["destinationType"] == "snowflake"
    assert {"database", "schema"} <= set(destination["configuration"])
    asked = {"workspaceIds": sim.workspace_id, "connectionId": ids[0], "createdAtStart": "2020-01-01T00:00:00Z"}
    assert http.get("/jobs", params={"limit": 100, **asked}).json()["data"] == []


def test_dagster_airbytes_older_resource() -> None:
    """dagster-airbyte's ``AirbyteResource``: the config API alone, and the job looked for in the connection's list."""
    with Simulator(auth="basic") as sim, basic(sim) as http:
        connection_id = sim.add_connection(script=LONG)
        api = f"{sim.host}/api/v1"
        job_id = http.post(f"{api}/connections/sync", json={"connectionId": connection_id}).json()["job"]["id"]
        asked = {"configTypes": ["sync"], "configId": connection_id, "pagination": {"pageSize": 5}}
        (row,) = http.post(f"{api}/jobs/list", json=asked).json()["jobs"]
        assert (row["job"]["id"], row["job"]["status"], len(row["attempts"])) == (job_id, "running", 1)
        assert http.post(f"{api}/jobs/cancel", json={"id": job_id}).json()["job"]["status"] == "cancelled"


def test_pyairbyte(sim: Simulator, http: httpx.Client) -> None:
    """PyAirbyte 0.71: the SDK for most, the config API for attempts and logs; it renames and reconfigures by PATCH."""
    connection_id = sim.add_connection(script=QUICK)
    for kind in ("sources", "destinations", "connections"):
        page: dict[str, Any] = {"workspaceIds": sim.workspace_id, "offset": 0, "limit": 100}
        assert len(http.get(f"/{kind}", params=page).json()["data"]) == 1
    streams = {"streams": [{"name": "orders", "syncMode": "full_refresh_overwrite"}]}
    for change in ({"name": "New"}, {"prefix": "x_"}, {"status": "inactive"}, {"configurations": streams}):
        told = http.patch(f"/connections/{connection_id}", json=change).json()
    assert (told["name"], told["prefix"], told["status"]) == ("New", "x_", "inactive")
    http.patch(f"/connections/{connection_id}", json={"status": "active"})
    job_id = http.post("/jobs", json={"connectionId": connection_id, "jobType": "sync"}).json()["jobId"]
    sim.advance(60)
    asked = {"id": job_id, "workspaceId": sim.workspace_id}
    (attempt,) = http.post(f"{sim.host}/api/v1/jobs/get", json=asked).json()["attempts"]
    assert attempt["attempt"]["recordsSynced"] == 70
    assert attempt["logs"]["events"]
    latest: dict[str, Any] = {"connectionId": connection_id, "limit": 1, "offset": 0, "orderBy": "createdAt|DESC"}
    assert [row["jobId"] for row in http.get("/jobs", params=latest).json()["data"]] == [job_id]
