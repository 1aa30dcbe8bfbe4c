"""The page behind a real Airflow: a sync is there while it runs, and when it has ended."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from airbyte_deferrable._airflow.page_setting import CAN_BRING_PAGES
from airbyte_deferrable.simulator import Script
from harness.airflow import LocalAirflow
from harness.waiting import eventually

from .support import Airbyte

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not CAN_BRING_PAGES, reason="this Airflow's plugins bring no pages"),
]

DAG = "e2e_deferrable"
ENDLESS = Script(outcome=None)


def row(airflow: LocalAirflow, kind: str, run_id: str) -> Any:
    """Return the run's row of the page; None if there is none."""
    told = airflow.plugin("/airbyte/api/syncs")[kind]
    return next((each for each in told if each["run_id"] == run_id), None)


def story(airflow: LocalAirflow, run_id: str) -> Any:
    params = {"dag_id": DAG, "run_id": run_id, "task_id": "sync", "map_index": "{MAP_INDEX}"}
    return airflow.plugin("/airbyte/api/sync", params=params)


def test_sync_is_shown_from_its_start_to_its_end(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    connection_id = airbyte.add_connection(name="Shown <script>", script=ENDLESS)
    run_id = airflow.trigger(DAG, conf={"connection_id": connection_id})
    eventually(lambda: (found := row(airflow, "running", run_id)) is not None and found["status"] == "running")
    job_id = airbyte.jobs(connection_id)[-1]["id"]
    running = row(airflow, "running", run_id)
    assert (running["task_state"], running["waits_for"], running["job_id"]) == ("deferred", "sync", job_id)
    assert (running["conn_id"], running["connection_id"]) == ("airbyte_default", connection_id)
    eventually(lambda: row(airflow, "running", run_id)["connection_name"] == "Shown <script>")
    assert running["seen_at"] is not None
    (health,) = [
        each for each in airflow.plugin("/airbyte/api/syncs")["health"] if each["conn_id"] == "airbyte_default"
    ]
    assert (health["reachable"], health["stale"]) == (True, False)
    told = story(airflow, run_id)
    assert (told["ours"], told["sync"]["ended"], told["sync"]["job_id"]) == (True, False, job_id)
    assert told["story"]

    airbyte.finish(job_id, "failed")
    assert airflow.wait(DAG, run_id) == "failed"
    eventually(lambda: row(airflow, "ended", run_id) is not None)
    assert row(airflow, "running", run_id) is None
    ended = row(airflow, "ended", run_id)
    assert (ended["outcome"], ended["task_state"], ended["job_id"]) == ("failed", "failed", job_id)
    assert f"Airbyte job {job_id}" in ended["reason"]
    assert ended["connection_name"] == "Shown <script>"
    told = story(airflow, run_id)
    assert told["sync"]["ended"] is True
    assert any("failed" in each["what"] for each in told["story"])


def test_page_is_linked_and_names_no_record_to_others(airflow: LocalAirflow) -> None:
    plugins = airflow.api("GET", "/plugins")["plugins"]
    (ours,) = [each for each in plugins if each["name"] == "airbyte_deferrable"]
    assert [each["url_prefix"] for each in ours["fastapi_apps"]] == ["/airbyte"]
    assert {each["destination"] for each in ours["external_views"]} == {"nav", "task_instance"}
    # Here everybody is an administrator, but a login that is none is refused all the same.
    forged = httpx.get(f"{airflow.url}/airbyte/api/syncs", headers={"Authorization": "Bearer no"}, trust_env=False)
    assert forged.status_code in (401, 403)
