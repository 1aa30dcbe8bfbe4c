"""What tasks tell OpenLineage, by the methods that its provider calls, in its own classes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.openlineage.facet import InputDataset, OutputDataset, RunFacet
from airflow.providers.openlineage import conf as openlineage
from airflow.providers.openlineage.extractors import OperatorLineage
from airflow.providers.openlineage.extractors.base import DefaultExtractor
from airflow.providers.openlineage.utils.utils import translate_airflow_asset
from openlineage.client.event_v2 import Job, Run, RunEvent
from openlineage.client.facet_v2 import DatasetFacet
from openlineage.client.serde import Serde

from airbyte_deferrable.exceptions import AirbyteJobFailed
from airbyte_deferrable.lineage.asset_events import Asset
from airbyte_deferrable.lineage.openlineage import is_active_for
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Amount, Fault, Script, Simulator, Stream
from helpers.one_task import said
from helpers.openlineage_events import wrong_in

Make = Callable[..., Any]
WAYS = ["worker", "deferred"]
MODES = ["poke", "reschedule", "deferrable"]
ORDERS = "snowflake://acme-prod/WH/RAW/ORDERS"


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
    assert wrong_in(sent) == []
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
    # What it has made of its tables as a whole nobody knows.
    assert not any("lifecycleStateChange" in each["facets"] for each in lineage["outputs"])
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
@pytest.mark.parametrize(("refused", "told_of"), [("airbyte_job_url", "1"), ("airbyte_wait_marker", None)])
def test_xcom_that_airflow_does_not_give_costs_no_other_fact(
    telling: Make, connection_id: str, refused: str, told_of: str | None
) -> None:
    class Refused(dict[str, Any]):
        def get(self, key: str, *default: Any) -> Any:
            if key == refused:
                raise OSError
            return super().get(key, *default)

    task = telling(connection_id, "deferred")
    task.leave()
    task.ti.xcoms = Refused(task.ti.xcoms)
    task.operator()
    found = DefaultExtractor(task.last).extract_on_complete(task.ti)
    assert (found and found.run_facets["externalQuery"].externalQueryId) == told_of


@pytest.mark.usefixtures("listening")
def test_streams_of_one_table_are_told_together(sim: Simulator, telling: Make, ends: dict[str, Any]) -> None:
    moved = {"x.a": Amount(rows=1, bytes=10), "y.a": Amount(rows=2, bytes=20)}
    columns = {"x": {"id": "integer", "at": "string"}, "y": {"id": "string"}}
    connection_id = sim.add_connection(
        script=Script(duration=0.3, pending=0, streams=moved),
        streams=[Stream("a", each, columns=columns[each]) for each in columns],
        **ends,
    )
    task = telling(connection_id)
    task.run()
    lineage = told(task)
    assert [each["name"] for each in lineage["inputs"]] == ["shop.x.a", "shop.y.a"]
    (table,) = lineage["outputs"]
    figures = table["outputFacets"]["outputStatistics"]
    assert (figures["rowCount"], figures["size"]) == (3, 30)
    assert [(each["name"], each.get("type")) for each in table["facets"]["schema"]["fields"]] == [
        ("ID", None),
        ("AT", "string"),
    ]
    of_id = table["facets"]["columnLineage"]["fields"]["ID"]["inputFields"]
    assert [(each["name"], each["field"]) for each in of_id] == [("shop.x.a", "id"), ("shop.y.a", "id")]


@pytest.mark.usefixtures("listening")
def test_raw_table_has_no_columns_of_the_stream(sim: Simulator, telling: Make, ends: dict[str, Any]) -> None:
    ends["destination_configuration"]["disable_type_dedupe"] = True
    connection_id = sim.add_connection(
        script=Script(duration=0.3, pending=0),
        streams=[Stream("a", columns={"id": "integer"})],
        **ends,
    )
    task = telling(connection_id)
    task.run()
    (table,) = told(task)["outputs"]
    assert table["name"] == "WH.airbyte_internal.raw_raw__stream_a"
    assert not {"schema", "columnLineage"} & set(table["facets"])


class Declaring(AirbyteTriggerSyncOperator):
    """A user's subclass, which tells of its start what it knows."""

    def get_openlineage_facets_on_start(self) -> Any:
        theirs = OutputDataset("snowflake://acme-prod", "WH.RAW.ORDERS", facets={"theirs": DatasetFacet()})
        return OperatorLineage(
            inputs=[InputDataset("users", "own")], outputs=[theirs], run_facets={"theirs": RunFacet()}
        )


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("way", WAYS)
def test_what_users_declare_is_told_beside_the_jobs_tables(telling: Make, connection_id: str, way: str) -> None:
    declared = {"inlets": [Asset("s3://lake/in")], "outlets": [Asset("s3://lake/out"), Asset(ORDERS)]}
    task = telling(connection_id, way, kind=Declaring, stream_assets="all", **declared)
    task.run()
    lineage = told(task)
    assert [each["name"] for each in lineage["inputs"]] == ["shop.shop.Orders", "shop.crm.people", "own", "in"]
    assert [each["name"] for each in lineage["outputs"]] == ["WH.RAW.ORDERS", "WH.RAW.PEOPLE", "out"]
    assert {"theirs", "schema", "columnLineage"} <= lineage["outputs"][0]["facets"].keys()
    assert lineage["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 40
    assert {"theirs", "externalQuery"} <= lineage["run_facets"].keys()


@pytest.mark.usefixtures("listening")
def test_what_users_declare_is_told_without_a_job(telling: Make, connection_id: str) -> None:
    task = telling(connection_id, kind=Declaring)
    task.operator()
    assert [each["name"] for each in told(task)["inputs"]] == ["own"]


@pytest.mark.usefixtures("listening")
def test_subclass_that_breaks_costs_no_table(telling: Make, connection_id: str) -> None:
    class Broken(AirbyteTriggerSyncOperator):
        def get_openlineage_facets_on_start(self) -> Any:
            raise RuntimeError("of the user's own")

    task = telling(connection_id, kind=Broken)
    task.run()
    assert [each["name"] for each in told(task)["outputs"]] == ["WH.RAW.ORDERS", "WH.RAW.PEOPLE"]
    assert said(task.lines, "Not all that the task declares itself is told to OpenLineage: of the user's own") == 1


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
