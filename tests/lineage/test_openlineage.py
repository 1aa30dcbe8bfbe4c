"""What tasks tell OpenLineage, by the methods that its provider calls, in its own classes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from airflow.providers.openlineage import conf as openlineage
from airflow.providers.openlineage.extractors.base import DefaultExtractor
from airflow.providers.openlineage.utils.utils import translate_airflow_asset
from openlineage.client.event_v2 import Job, Run, RunEvent
from openlineage.client.serde import Serde

from airbyte_deferrable.exceptions import AirbyteJobFailed
from airbyte_deferrable.lineage.asset_events import Asset
from airbyte_deferrable.lineage.openlineage import is_active_for
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Amount, Fault, Script, Simulator

Make = Callable[..., Any]
WAYS = ["worker", "deferred"]
MODES = ["poke", "reschedule", "deferrable"]


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Turn OpenLineage on for this test: what it has read of its configuration it keeps."""
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", '{"type": "console"}')
    for name, value in getattr(request, "param", {}).items():
        monkeypatch.setenv(f"AIRFLOW__OPENLINEAGE__{name}", value)
    forget()
    yield
    monkeypatch.undo()
    forget()


def forget() -> None:
    for each in vars(openlineage).values():
        if hasattr(each, "cache_clear"):
            each.cache_clear()


def told(task: Any) -> dict[str, Any]:
    """Return the event that the provider would send of it."""
    found = DefaultExtractor(task.last).extract_on_complete(task.ti)
    run = Run(runId="01944b1c-2d8f-7e5a-8a3e-2f1f3c0a9a11", facets=found.run_facets)
    now = datetime.now(timezone.utc).isoformat()
    event = RunEvent(
        eventTime=now, run=run, job=Job("dags", "dag.sync"), inputs=found.inputs, outputs=found.outputs, producer="test"
    )
    sent: dict[str, Any] = json.loads(Serde.to_json(event))
    return {**sent, "run_facets": sent["run"]["facets"]}


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("way", [*WAYS, *MODES])
def test_tables_columns_and_figures_are_told(sim: Simulator, telling: Make, connection_id: str, way: str) -> None:
    task = telling(sim.add_job(connection_id)["id"] if way in MODES else connection_id, way)
    job_id = task.run()
    lineage = told(task)
    assert [(each["namespace"], each["name"]) for each in lineage["inputs"]] == [
        ("postgres://db.example.com:5432", "shop.shop.Orders"),
        ("postgres://db.example.com:5432", "shop.crm.people"),
    ]
    orders, people = lineage["outputs"]
    assert (orders["namespace"], orders["name"]) == ("snowflake://acme-prod", "WH.RAW.ORDERS")
    assert [(each["name"], each["type"]) for each in orders["facets"]["schema"]["fields"]] == [
        ("ID", "integer"),
        ("TOTAL SUM", "number"),
        ("AT", "timestamp_with_timezone"),
    ]
    assert orders["outputFacets"]["outputStatistics"]["rowCount"] == 40
    assert orders["outputFacets"]["outputStatistics"]["size"] == 4000
    assert orders["facets"]["lifecycleStateChange"]["lifecycleStateChange"] == "OVERWRITE"
    (from_,) = orders["facets"]["columnLineage"]["fields"]["TOTAL SUM"]["inputFields"]
    assert (from_["name"], from_["field"]) == ("shop.shop.Orders", "Total Sum")
    assert people["facets"]["columnLineage"]["fields"].keys() == {"NAME"}
    assert "lifecycleStateChange" not in people["facets"]
    query = lineage["run_facets"]["externalQuery"]
    assert query["externalQueryId"] == str(job_id)
    assert f"/connections/{connection_id}/" in query["source"]
    assert "hunter2" not in json.dumps(lineage)


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("way", WAYS)
def test_failed_job_tells_what_it_did(sim: Simulator, telling: Make, connection_id: str, way: str) -> None:
    sim.script(connection_id, Script(duration=0.3, pending=0, outcome="failed", streams={"Orders": Amount(rows=7)}))
    task = telling(connection_id, way)
    with pytest.raises(AirbyteJobFailed):
        task.run()
    lineage = told(task)
    assert [each["name"] for each in lineage["outputs"]] == ["WH.RAW.ORDERS", "WH.RAW.PEOPLE"]
    assert lineage["run_facets"]["externalQuery"]["externalQueryId"] == "1"


@pytest.mark.usefixtures("listening")
def test_trigger_that_broke_leaves_the_job(sim: Simulator, telling: Make, connection_id: str) -> None:
    """What is left of the task then is what its first leg wrote down."""
    task = telling(connection_id, "deferred")
    task.leave()
    task.operator()
    lineage = told(task)
    assert lineage["run_facets"]["externalQuery"]["externalQueryId"] == "1"
    assert lineage["inputs"] == lineage["outputs"] == []


@pytest.mark.usefixtures("listening")
def test_task_without_a_job_tells_nothing(telling: Make, connection_id: str) -> None:
    task = telling(connection_id)
    task.operator()
    assert DefaultExtractor(task.last).extract_on_complete(task.ti) is None


@pytest.mark.usefixtures("listening")
def test_nothing_is_asked_at_the_start(sim: Simulator, telling: Make, connection_id: str) -> None:
    task = telling(connection_id)
    found = DefaultExtractor(task.operator()).extract()
    assert found is not None
    assert found.inputs == found.outputs == []
    assert sim.count() == 0


@pytest.mark.usefixtures("listening")
def test_streams_without_their_figures_have_none(sim: Simulator, telling: Make, connection_id: str) -> None:
    sim.add_fault(Fault("config", "status", status=403))
    task = telling(connection_id)
    task.run()
    orders, _ = told(task)["outputs"]
    assert orders.get("outputFacets", {}) == {}
    assert "schema" not in orders["facets"]


@pytest.mark.usefixtures("listening")
def test_reset_empties_its_tables(telling: Make, connection_id: str) -> None:
    task = telling(connection_id, job_type="reset")
    task.run()
    lineage = told(task)
    assert lineage["inputs"] == []
    changes = [each["facets"]["lifecycleStateChange"]["lifecycleStateChange"] for each in lineage["outputs"]]
    assert changes == ["TRUNCATE", "TRUNCATE"]


@pytest.mark.parametrize(
    "listening",
    [
        {"DISABLED": "True"},
        {"DISABLED_FOR_OPERATORS": "airbyte_deferrable.operators.AirbyteTriggerSyncOperator"},
        {"SELECTIVE_ENABLE": "True"},
    ],
    indirect=True,
)
@pytest.mark.usefixtures("listening")
def test_task_that_openlineage_does_not_hear_asks_nothing() -> None:
    assert is_active_for(AirbyteTriggerSyncOperator(task_id="sync", connection_id="x")) is False


@pytest.mark.usefixtures("listening")
def test_task_that_openlineage_hears_asks() -> None:
    assert is_active_for(AirbyteTriggerSyncOperator(task_id="sync", connection_id="x")) is True


@pytest.mark.usefixtures("listening")
def test_openlineage_that_breaks_costs_the_task_nothing(
    monkeypatch: pytest.MonkeyPatch, telling: Make, connection_id: str
) -> None:
    def breaks(*_: object) -> bool:
        raise RuntimeError

    monkeypatch.setattr("airflow.providers.openlineage.utils.utils.is_operator_disabled", breaks)
    task = telling(connection_id)
    assert task.run() == 1


def test_nothing_of_openlineage_is_imported_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name.startswith("airflow.providers.openlineage"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert is_active_for(AirbyteTriggerSyncOperator(task_id="sync", connection_id="x")) is False
    assert not [name for name in sys.modules if name.startswith("airflow.providers.openlineage")]


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("snowflake://acme-prod/WH/RAW/ORDERS", "snowflake://acme-prod", "WH.RAW.ORDERS"),
        ("bigquery://p/d/orders", "bigquery", "p.d.orders"),
        ("airbyte://airbyte.example.com/the-id/public/orders", "airbyte://airbyte.example.com", "the-id/public/orders"),
        ("postgres://db.example.com:5432/shop/public/orders", "postgres://db.example.com:5432", "shop.public.orders"),
    ],
)
def test_openlineage_knows_the_assets(uri: str, namespace: str, name: str) -> None:
    found = translate_airflow_asset(Asset(uri), None)
    assert found is not None
    assert (found.namespace, found.name) == (namespace, name)


@pytest.mark.parametrize("uri", ["s3://bucket", "snowflake://orders", "postgres://host/shop", "bigquery://project"])
def test_openlineage_is_told_of_no_asset_that_is_no_table(uri: str) -> None:
    assert translate_airflow_asset(Asset(uri), None) is None
