"""A sensor waits for a sync that somebody else starts, in every way, and for a moment that is its run's own."""

from __future__ import annotations

import pytest

from harness.airflow import LocalAirflow
from harness.waiting import eventually

from .support import QUICK, Airbyte

pytestmark = [pytest.mark.e2e]

#: What the DAG waits for that an asset starts.
OF_ASSET = "a1b7e000-0000-4000-8000-0000000000f5"
WAYS = {"poke": "running", "reschedule": "up_for_reschedule", "deferrable": "deferred"}


def test_fresh_sync_ends_every_way_to_wait(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    connection_id = airbyte.add_connection(name="Fresh", script=QUICK)
    # One that has ended before the run began.
    airbyte.add_job(connection_id, created_ago=60)
    run_id = airflow.trigger("e2e_freshness", conf={"connection_id": connection_id})
    for way, state in WAYS.items():
        eventually(lambda way=way, state=state: airflow.task_instance("e2e_freshness", run_id, way)["state"] == state)
    job = airbyte.add_job(connection_id)
    assert airflow.wait("e2e_freshness", run_id) == "success"
    for way in WAYS:
        assert airflow.xcom("e2e_freshness", run_id, way) == job["id"]
        assert airflow.xcom("e2e_freshness", run_id, way, "final_status") == "succeeded"
        assert f"Job {job['id']} succeeded: 1,000 rows, 100 kB" in airflow.log("e2e_freshness", run_id, way)
    assert "Pausing task as DEFERRED" in airflow.log("e2e_freshness", run_id, "deferrable")


def test_fresh_sync_of_a_run_that_an_asset_began(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    airbyte.add_connection(name="Fresh after an asset", script=QUICK, connection_id=OF_ASSET)
    airbyte.add_job(OF_ASSET, created_ago=60)
    airflow.wait("e2e_freshness_event", airflow.trigger("e2e_freshness_event"))

    def runs() -> list[str]:
        told = airflow.api("GET", "/dags/e2e_freshness_of_asset/dagRuns")["dag_runs"]
        return [each["dag_run_id"] for each in told]

    eventually(runs)
    (run_id,) = runs()
    eventually(lambda: airflow.task_instance("e2e_freshness_of_asset", run_id, "wait")["state"] == "deferred")
    job = airbyte.add_job(OF_ASSET)
    assert airflow.wait("e2e_freshness_of_asset", run_id) == "success"
    assert airflow.xcom("e2e_freshness_of_asset", run_id, "wait") == job["id"]
