"""Tables that a job has filled start DAGs; those of which it wrote no rows do if that was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from airbyte_deferrable._compat import AIRFLOW_3
from airbyte_deferrable.simulator import Amount, Script
from harness.airflow import LocalAirflow
from harness.waiting import eventually
from helpers.openlineage_events import known_facets, wrong_in

from .support import Airbyte

pytestmark = [pytest.mark.e2e]

#: As lineage_dags.py has them.
CONNECTION = "a1b7e000-0000-4000-8000-0000000000e1"
MAPPED = ["a1b7e000-0000-4000-8000-0000000000e2", "a1b7e000-0000-4000-8000-0000000000e3"]
FAILING = "a1b7e000-0000-4000-8000-0000000000e4"
ON_WORKER = "a1b7e000-0000-4000-8000-0000000000e5"
BROKEN = "a1b7e000-0000-4000-8000-0000000000e6"
SNOWFLAKE = {"host": "acme-prod.snowflakecomputing.com", "database": "wh", "schema": "raw", "password": "hunter2"}


def add_connection(
    airbyte: Airbyte, connection_id: str, streams: dict[str, Amount], outcome: str = "succeeded"
) -> None:
    airbyte.add_connection(
        name="Shop",
        script=Script(duration=2, streams=streams, outcome=outcome),
        connection_id=connection_id,
        streams=list(streams),
        destination_type="snowflake",
        destination_configuration=SNOWFLAKE,
    )


def runs_after(airflow: LocalAirflow, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = airflow.api("GET", f"/dags/e2e_lineage_after_{name}/dagRuns")["dag_runs"]
    return found


def awaited(get: Callable[[], list[Any]], what: str, count: int = 1) -> list[Any]:
    """Wait until there are so many, and return them."""
    eventually(lambda: len(get()) >= count, what=what)
    return get()


def heard(airflow: LocalAirflow, job: str, kind: str) -> list[dict[str, Any]]:
    """Return OpenLineage's events of a task, of one kind. All that were sent by now have to be as they should."""
    sent = airflow.home / "openlineage.json"
    lines = sent.read_text().splitlines() if sent.exists() else []
    events = [json.loads(line) for line in lines]
    assert [found for event in events for found in wrong_in(event)] == []
    assert "hunter2" not in "".join(lines)
    return [event for event in events if (event["job"]["name"], event["eventType"]) == (job, kind)]


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

    (complete,) = awaited(partial(heard, airflow, "e2e_lineage.sync", "COMPLETE"), "OpenLineage's event")
    assert [(each["namespace"], each["name"]) for each in complete["outputs"]] == [
        ("snowflake://acme-prod", "WH.RAW.ORDERS"),
        ("snowflake://acme-prod", "WH.RAW.PEOPLE"),
    ]
    assert complete["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 40
    assert complete["run"]["facets"]["externalQuery"]["externalQueryId"] == str(streams["job_id"])
    # That they were checked at all.
    assert {"outputStatistics", "externalQuery"} <= known_facets(complete)
    # Before each leg.
    assert [each["outputs"] for each in heard(airflow, "e2e_lineage.sync", "START")] == [[], []]


def test_openlineage_is_told_of_each_end(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    add_connection(airbyte, FAILING, {"failing": Amount(rows=7, bytes=70)}, outcome="failed")
    add_connection(airbyte, ON_WORKER, {"on_worker": Amount(rows=9, bytes=90)})
    add_connection(airbyte, BROKEN, {"broken": Amount(rows=9, bytes=90)})
    run_id = airflow.trigger("e2e_lineage_ends")
    assert airflow.wait("e2e_lineage_ends", run_id) == "failed"
    of_ends = {
        task: awaited(partial(heard, airflow, f"e2e_lineage_ends.{task}", kind), f"the event of {task}")
        for task, kind in (("failed", "FAIL"), ("on_worker", "COMPLETE"), ("broken", "FAIL"))
    }
    assert {
        task: [(each["name"], each["outputFacets"]["outputStatistics"]["rowCount"]) for each in event["outputs"]]
        for task, (event,) in of_ends.items()
    } == {"failed": [("WH.RAW.FAILING", 7)], "on_worker": [("WH.RAW.ON_WORKER", 9)], "broken": []}
    assert {task: event["run"]["facets"]["externalQuery"]["externalQueryId"] for task, (event,) in of_ends.items()} == {
        task: str(airbyte.jobs(connection_id)[-1]["id"])
        for task, connection_id in (("failed", FAILING), ("on_worker", ON_WORKER), ("broken", BROKEN))
    }
    starts = {task: len(heard(airflow, f"e2e_lineage_ends.{task}", "START")) for task in of_ends}
    # One for each leg.
    assert starts == {"failed": 2, "on_worker": 1, "broken": 2}


def test_tables_of_mapped_tasks_start_dags(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    # Two that bring one table at the same moment for the first time Airflow may fail, see docs/lineage.md.
    for connection_id, table, empty in zip(MAPPED, ("mapped", "mapped_too"), ("empty", "empty_too"), strict=True):
        add_connection(airbyte, connection_id, {table: Amount(rows=7, bytes=70), empty: Amount()})
    for name in ("mapped", "empty"):
        airflow.set_paused(f"e2e_lineage_after_{name}", False)
    run_id = airflow.trigger("e2e_lineage_mapped")
    assert airflow.wait("e2e_lineage_mapped", run_id) == "success"
    after = awaited(partial(runs_after, airflow, "mapped"), "a run for the table of which rows were written")[0]
    assert airflow.wait("e2e_lineage_after_mapped", after["dag_run_id"]) == "success"
    # One without rows was told in the same moment, if it was: Airflow has taken down no event of it.
    assert runs_after(airflow, "empty") == []
    kind = "asset" if AIRFLOW_3 else "dataset"
    told = airflow.api("GET", f"/{kind}s/events?limit=100")[f"{kind}_events"]
    tables = {str(event.get("uri") or event.get("dataset_uri")).rpartition("/")[2] for event in told}
    assert {"MAPPED", "MAPPED_TOO"} <= tables
    assert not tables & {"EMPTY", "EMPTY_TOO"}
    both = partial(heard, airflow, "e2e_lineage_mapped.sync", "COMPLETE")
    complete = awaited(both, "OpenLineage's events of both", count=2)
    assert sorted(each["outputs"][0]["name"] for each in complete) == ["WH.RAW.MAPPED", "WH.RAW.MAPPED_TOO"]
