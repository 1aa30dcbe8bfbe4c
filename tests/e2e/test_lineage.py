"""Tables that a job has filled start DAGs; those of which it wrote no rows do if that was asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airbyte_deferrable._compat import AIRFLOW_3
from airbyte_deferrable.simulator import Amount, Script
from harness.airflow import LocalAirflow
from harness.waiting import eventually

from .support import Airbyte

pytestmark = [pytest.mark.e2e]

#: As lineage_dags.py has them.
CONNECTION = "a1b7e000-0000-4000-8000-0000000000e1"
MAPPED = ["a1b7e000-0000-4000-8000-0000000000e2", "a1b7e000-0000-4000-8000-0000000000e3"]
SNOWFLAKE = {"host": "acme-prod.snowflakecomputing.com", "database": "wh", "schema": "raw", "password": "hunter2"}


def add_connection(airbyte: Airbyte, connection_id: str, streams: dict[str, Amount]) -> None:
    airbyte.add_connection(
        name="Shop",
        script=Script(duration=2, streams=streams),
        connection_id=connection_id,
        streams=list(streams),
        destination_type="snowflake",
        destination_configuration=SNOWFLAKE,
    )


def runs_after(airflow: LocalAirflow, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = airflow.api("GET", f"/dags/e2e_lineage_after_{name}/dagRuns")["dag_runs"]
    return found


def test_tables_that_were_filled_start_dags(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    add_connection(airbyte, CONNECTION, {"orders": Amount(rows=40, bytes=4000), "people": Amount()})
    for name in ("orders", "people", "alias"):
        airflow.set_paused(f"e2e_lineage_after_{name}", False)
    run_id = airflow.trigger("e2e_lineage")
    eventually(lambda: airflow.task_instance("e2e_lineage", run_id, "sync")["state"] == "success")
    eventually(lambda: runs_after(airflow, "orders"), what="a run for the table of which rows were written")
    eventually(lambda: runs_after(airflow, "alias"), what="a run for whatever the task has filled")
    assert airflow.wait("e2e_lineage", run_id) == "success"
    # Airflow 2 has datasets.
    kind = "Asset" if AIRFLOW_3 else "Dataset"
    # The sensor tells of all tables: that without rows was not told by the operator.
    eventually(lambda: runs_after(airflow, "people"), what="a run for the table that the sensor tells")
    (from_sensor,) = runs_after(airflow, "people")
    path = f"/dags/e2e_lineage_after_people/dagRuns/{from_sensor['dag_run_id']}"
    (event,) = airflow.api("GET", f"{path}/upstream{kind}Events")[f"{kind.lower()}_events"]
    assert (event["source_task_id"], event["extra"]["rows"]) == ("wait", 0)
    streams = airflow.xcom("e2e_lineage", run_id, "sync", "streams")
    assert [each["destination"].rpartition("/")[2] for each in streams["streams"]] == ["ORDERS", "PEOPLE"]
    assert "hunter2" not in str(streams)

    def heard() -> dict[str, list[dict[str, Any]]]:
        events = [json.loads(line) for line in (airflow.home / "openlineage.json").read_text().splitlines()]
        of_sync = [event for event in events if event["job"]["name"] == "e2e_lineage.sync"]
        return {kind: [each for each in of_sync if each["eventType"] == kind] for kind in ("START", "COMPLETE")}

    eventually(lambda: heard()["COMPLETE"], what="OpenLineage's event")
    (complete,) = heard()["COMPLETE"]
    assert [(each["namespace"], each["name"]) for each in complete["outputs"]] == [
        ("snowflake://acme-prod", "WH.RAW.ORDERS"),
        ("snowflake://acme-prod", "WH.RAW.PEOPLE"),
    ]
    assert complete["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 40
    assert complete["run"]["facets"]["externalQuery"]["externalQueryId"] == str(streams["job_id"])
    # Before each leg.
    assert [each["outputs"] for each in heard()["START"]] == [[], []]
    assert "hunter2" not in str(heard())


def test_tables_of_mapped_tasks_start_dags(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    # Two that bring one table at the same moment for the first time Airflow may fail, see docs/lineage.md.
    for connection_id, table in zip(MAPPED, ("mapped", "mapped_too"), strict=True):
        add_connection(airbyte, connection_id, {table: Amount(rows=7, bytes=70)})
    airflow.set_paused("e2e_lineage_after_mapped", False)
    run_id = airflow.trigger("e2e_lineage_mapped")
    assert airflow.wait("e2e_lineage_mapped", run_id) == "success"
    eventually(lambda: runs_after(airflow, "mapped"), what="a run for the table")
