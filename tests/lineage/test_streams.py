"""What a task tells of its job's streams: the XCom, and the asset events."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from airbyte_deferrable._compat import AirflowTaskTimeout
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.models import Job
from airbyte_deferrable.api.settings import ClientCredentials, Settings
from airbyte_deferrable.exceptions import AirbyteInputError, AirbyteJobFailed
from airbyte_deferrable.lineage import Column, Dataset, JobStream, JobStreams, learn, stream_alias
from airbyte_deferrable.lineage.answers import Answers
from airbyte_deferrable.lineage.asset_events import Asset
from airbyte_deferrable.lineage.by_dataset import by_dataset
from airbyte_deferrable.lineage.streams import streams_of
from airbyte_deferrable.lineage.task import TaskStreams
from airbyte_deferrable.lineage.xcom import LARGEST, to_xcom
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.sensors import AirbyteJobSensor
from airbyte_deferrable.simulator import Amount, Fault, Script, Simulator, Stream
from helpers.airbyte import hits
from helpers.compat import DAG
from helpers.one_task import run_in_loop, said

Make = Callable[..., Any]
ORDERS = "snowflake://acme-prod/WH/RAW/ORDERS"
PEOPLE = "snowflake://acme-prod/WH/RAW/PEOPLE"
WAYS = ["worker", "deferred"]
MODES = ["poke", "reschedule", "deferrable"]


def streams_in(task: Any) -> dict[str, Any]:
    return {stream["name"]: stream for stream in task.ti.xcoms["streams"]["streams"]}


@pytest.mark.parametrize("way", WAYS)
def test_streams_are_left_as_an_xcom(sim: Simulator, telling: Make, connection_id: str, way: str) -> None:
    task = telling(connection_id, way, push_streams=True)
    job_id = task.run()
    told = task.ti.xcoms["streams"]
    assert (told["job_id"], told["connection_id"]) == (job_id, connection_id)
    assert "left_out" not in told
    assert streams_in(task) == {
        "Orders": {
            "name": "Orders",
            "namespace": "shop",
            "sync_mode": "full_refresh",
            "destination_sync_mode": "overwrite",
            "rows_emitted": 42,
            "bytes_emitted": 4000,
            "rows_committed": 40,
            "bytes_committed": 4000,
            "rows_rejected": 2,
            "source": "postgres://db.example.com:5432/shop/shop/Orders",
            "destination": ORDERS,
            "columns": {"id": "integer", "Total Sum": "number", "at": "timestamp_with_timezone"},
        },
        "people": {
            "name": "people",
            "namespace": "crm",
            "sync_mode": "incremental",
            "destination_sync_mode": "append",
            "rows_emitted": 0,
            "bytes_emitted": 0,
            "rows_committed": 0,
            "bytes_committed": 0,
            "rows_rejected": 0,
            "source": "postgres://db.example.com:5432/shop/crm/people",
            "destination": PEOPLE,
            "columns": {"name": "string"},
        },
    }
    assert "hunter2" not in json.dumps(task.ti.xcoms) + "".join(task.lines)


@pytest.mark.parametrize("mode", MODES)
def test_streams_of_a_sensors_job_are_left_too(sim: Simulator, telling: Make, connection_id: str, mode: str) -> None:
    job = sim.add_job(connection_id)
    task = telling(job["id"], mode, push_streams=True)
    task.run()
    assert streams_in(task).keys() == {"Orders", "people"}


#: What is asked about streams, as the simulator calls it.
OF_STREAMS = ("config:jobs/get_without_logs", "config:connections/get", "source", "destination")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("streams", [1, 1000])
def test_one_request_of_each_kind_is_made_however_many_streams_there_are(
    sim: Simulator, telling: Make, ends: dict[str, Any], streams: int, way: str
) -> None:
    connection_id = sim.add_connection(
        script=Script(duration=0.3, pending=0, rows=2 * streams),
        streams=[Stream(f"table_{number}", columns={"id": "integer"}) for number in range(streams)],
        **ends,
    )
    telling(connection_id, way).run()
    of_names = {call: sim.count(call) for call in OF_STREAMS}
    task = telling(connection_id, way, stream_assets="moved")
    task.run()
    assert {call: sim.count(call) - 2 * of_names[call] for call in OF_STREAMS} == dict.fromkeys(OF_STREAMS, 1)
    ((_, events),) = task.events_of.items()
    assert len(events) == streams


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_asked_where_nobody_wants_to_know(
    sim: Simulator, telling: Make, connection_id: str, way: str
) -> None:
    task = telling(connection_id, way)
    task.run()
    assert "streams" not in task.ti.xcoms
    assert sim.count("config") == sim.count("config:jobs/get_without_logs") == 0


def test_no_xcom_where_none_is_wanted(telling: Make, connection_id: str) -> None:
    task = telling(connection_id, push_streams=True, do_xcom_push=False)
    task.run()
    assert "streams" not in task.ti.xcoms


def test_configuration_turns_it_on_for_all(monkeypatch: pytest.MonkeyPatch, telling: Make, connection_id: str) -> None:
    monkeypatch.setenv("AIRFLOW__AIRBYTE_DEFERRABLE__PUSH_STREAMS", "True")
    task = telling(connection_id)
    task.run()
    assert streams_in(task).keys() == {"Orders", "people"}


def test_failed_job_has_streams_and_is_asked_about_once(sim: Simulator, telling: Make, connection_id: str) -> None:
    sim.script(connection_id, Script(duration=0.3, pending=0, outcome="failed", streams={"Orders": Amount(rows=7)}))
    task = telling(connection_id, push_streams=True)
    with pytest.raises(AirbyteJobFailed, match="Failed in"):
        task.run()
    assert streams_in(task)["Orders"]["rows_committed"] is not None
    assert sim.count("config:jobs/get_without_logs") == 1


@pytest.mark.parametrize("gone", ["config", "connection", "source", "destination", "everything"])
def test_what_airbyte_does_not_tell_costs_the_task_nothing(
    sim: Simulator, telling: Make, connection_id: str, gone: str
) -> None:
    calls = {
        "config": ["config"],
        "connection": ["config", "connection"],
        "source": ["source"],
        "destination": ["destination"],
        "everything": ["config", "connection", "source", "destination"],
    }[gone]
    for call in calls:
        sim.add_fault(Fault(call, "status", status=403))
    task = telling(connection_id, push_streams=True, stream_assets="all")
    assert task.run() == sim.jobs(connection_id)[-1]["id"]
    assert sim.count("config:connections/get") == 1
    told = streams_in(task)
    match gone:
        case "config":
            # The public API tells no counts, and what it tells of the total is divided by nobody.
            assert told["Orders"].keys() == {
                *("name", "namespace", "sync_mode", "destination_sync_mode", "source", "destination")
            }
            assert told["people"]["sync_mode"] == "incremental"
        case "connection":
            # Without the config API and the connection, nothing names the streams.
            assert told == {}
        case "source":
            assert "source" not in told["Orders"]
            assert told["Orders"]["destination"] == ORDERS
        case "destination":
            assert "destination" not in told["Orders"]
        case "everything":
            assert told == {}
            assert not any(task.events_of.values())


def test_what_takes_too_long_is_not_waited_for(
    sim: Simulator, telling: Make, connection_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "LEARN_WITHIN", 1.0)
    sim.add_fault(Fault("source", "hang"))
    task = telling(connection_id, push_streams=True)
    task.run()
    assert "streams" in task.ti.xcoms


def test_reset_reads_nothing(sim: Simulator, telling: Make, connection_id: str) -> None:
    task = telling(connection_id, push_streams=True, job_type="reset")
    task.run()
    assert {name: ("source" in told, "destination" in told) for name, told in streams_in(task).items()} == {
        "Orders": (False, True),
        "people": (False, True),
    }


@pytest.mark.parametrize("way", [*WAYS, *MODES])
@pytest.mark.parametrize(("which", "told"), [("moved", [ORDERS]), ("all", [ORDERS, PEOPLE])])
def test_tables_are_told_as_assets(
    sim: Simulator, telling: Make, connection_id: str, way: str, which: str, told: list[str]
) -> None:
    of = sim.add_job(connection_id)["id"] if way in MODES else connection_id
    task = telling(of, way, stream_assets=which)
    job_id = task.run()
    ((alias, events),) = task.events_of.items()
    assert alias == stream_alias(task.operator().dag_id, "sync").name
    assert [uri for uri, _ in events] == told
    assert events[0][1] == {
        "rows": 40,
        "bytes": 4000,
        "job_id": job_id,
        "connection_id": connection_id,
        "connection_name": "Shop",
        "stream": "Orders",
        "namespace": "shop",
    }


def test_failed_task_tells_no_asset(sim: Simulator, telling: Make, connection_id: str) -> None:
    sim.script(connection_id, Script(duration=0.3, pending=0, outcome="failed"))
    task = telling(connection_id, stream_assets="all")
    with pytest.raises(AirbyteJobFailed):
        task.run()
    assert not any(task.events_of.values())


def test_each_task_has_an_alias_of_its_own() -> None:
    one, other, none = (
        AirbyteTriggerSyncOperator(task_id=name, connection_id="x", stream_assets=which)  # type: ignore[arg-type]
        for name, which in (("one", "moved"), ("other", "all"), ("none", None))
    )
    assert [outlet.name for outlet in one.outlets] != [outlet.name for outlet in other.outlets]
    assert none.outlets == []


@pytest.mark.parametrize("of", [{"connection_id": "x"}, {"airbyte_job_id": 1}], ids=["operator", "sensor"])
def test_task_that_is_made_outside_of_its_dag_has_the_alias_of_its_dag(of: dict[str, Any]) -> None:
    kind: Any = AirbyteTriggerSyncOperator if "connection_id" in of else AirbyteJobSensor
    own = Asset("s3://b/x")
    for dag_id in ("one", "other"):
        task = kind(task_id="sync", stream_assets="all", outlets=[own], **of)
        DAG(dag_id, schedule=None).add_task(task)
        assert task.outlets == [own, stream_alias(dag_id, "sync")]
        assert task.dag.dag_id == dag_id


def test_alias_is_one_that_airflow_takes_for_ids_in_any_letters() -> None:
    assert stream_alias("sync_shop", "group.sync").name == "airbyte:sync_shop:group.sync"
    assert stream_alias("синхронизация", "sync").name.isascii()


def test_class_that_tells_of_its_tables_by_itself_can_be_made_in_a_dag() -> None:
    class Telling(AirbyteTriggerSyncOperator):
        stream_assets: Any = "all"

    with DAG("telling", schedule=None):
        assert Telling(task_id="sync", connection_id="x").dag.dag_id == "telling"


def test_tasks_that_share_a_list_of_outlets_share_no_alias() -> None:
    outlets: list[Any] = []
    one, other = (
        AirbyteTriggerSyncOperator(task_id=name, connection_id="x", stream_assets="all", outlets=outlets)
        for name in ("one", "other")
    )
    assert [outlet.name for outlet in one.outlets] != [outlet.name for outlet in other.outlets]
    assert outlets == []


@pytest.mark.parametrize("of", [{"connection_id": "x"}, {"airbyte_job_id": 1}], ids=["operator", "sensor"])
def test_word_that_is_none_is_refused_when_the_file_is_read(of: dict[str, Any]) -> None:
    kind: Any = AirbyteTriggerSyncOperator if "connection_id" in of else AirbyteJobSensor
    with pytest.raises(AirbyteInputError, match="stream_assets must be one of moved, all, or None, not True"):
        kind(task_id="sync", stream_assets=True, **of)


def bare(dataset: Dataset, stream: JobStream, side: str) -> Any:
    return f"x://{side}/{stream.name}" if stream.name == "Orders" else None


@pytest.mark.parametrize(
    ("given", "orders", "people"),
    [
        (
            {"snowflake://acme-prod": "snowflake://acme-new"},
            ORDERS.replace("prod", "new"),
            PEOPLE.replace("prod", "new"),
        ),
        ({"snowflake://acme-prod": "a://b", ORDERS: "c://d/e/"}, "c://d/e", "a://b/WH/RAW/PEOPLE"),
        ({"snowflake://acme-pro": "a://b"}, ORDERS, PEOPLE),
        (bare, "x://destination/Orders", PEOPLE),
    ],
)
def test_users_name_tables_as_they_like(
    telling: Make, connection_id: str, given: Any, orders: str, people: str
) -> None:
    task = telling(connection_id, push_streams=True, dataset_names=given)
    task.run()
    assert (streams_in(task)["Orders"]["destination"], streams_in(task)["people"]["destination"]) == (orders, people)


@pytest.mark.parametrize("option", [json.dumps({"snowflake://acme-prod": "a://b"}), f"{__name__}.by_path"])
def test_configuration_names_tables_too(
    monkeypatch: pytest.MonkeyPatch, telling: Make, connection_id: str, option: str
) -> None:
    monkeypatch.setenv("AIRFLOW__AIRBYTE_DEFERRABLE__DATASET_NAMES", option)
    task = telling(connection_id, push_streams=True)
    task.run()
    assert streams_in(task)["Orders"]["destination"] == "a://b/WH/RAW/ORDERS"


def by_path(dataset: Dataset, stream: JobStream, side: str) -> Dataset:
    return Dataset("a://b", dataset.name, dataset.uri.replace("snowflake://acme-prod", "a://b"))


@pytest.mark.parametrize("given", [7, "no.such.function", "{", lambda *_: 1 / 0])
def test_names_that_are_none_cost_the_task_nothing(
    monkeypatch: pytest.MonkeyPatch, telling: Make, connection_id: str, given: Any
) -> None:
    if isinstance(given, str):
        monkeypatch.setenv("AIRFLOW__AIRBYTE_DEFERRABLE__DATASET_NAMES", given)
    task = telling(connection_id, push_streams=True, dataset_names=None if isinstance(given, str) else given)
    task.run()
    assert "streams" not in task.ti.xcoms
    assert any("are not told" in line for line in task.lines)


@pytest.mark.parametrize(
    ("streams", "columns", "left_out"),
    [(3, 2, None), (20, 400, {"columns": True, "streams": 0}), (2000, 1, {"columns": True, "streams": True})],
)
def test_xcom_stays_small_and_says_what_it_leaves_out(streams: int, columns: int, left_out: Any) -> None:
    each = tuple(Column(f"column_{number}", "string") for number in range(columns))
    named = tuple(JobStream(f"stream_{number}", "public", rows_committed=1, columns=each) for number in range(streams))
    told = to_xcom(JobStreams(1, "sync", "c", "", "", named))
    assert len(json.dumps(told)) <= LARGEST
    if left_out is None:
        assert "left_out" not in told
        assert told["streams"][0]["columns"]["column_0"] == "string"
    else:
        assert told["left_out"]["columns"] is True
        assert len(told["streams"]) + told["left_out"]["streams"] == streams
        assert bool(told["left_out"]["streams"]) == bool(left_out["streams"])


def test_streams_that_share_a_table_are_told_once_with_their_sum(sim: Simulator, telling: Make) -> None:
    moved = {"x.a": Amount(rows=1, bytes=10), "y.a": Amount(rows=2, bytes=20)}
    connection_id = sim.add_connection(
        script=Script(duration=0.3, pending=0, streams=moved),
        streams=[Stream("a", "x"), Stream("a", "y")],
        destination_type="bigquery",
    )
    task = telling(connection_id, stream_assets="all")
    task.run()
    ((_, [(_, extra)]),) = task.events_of.items()
    assert (extra["rows"], extra["bytes"], extra["stream_count"]) == (3, 30, 2)
    assert "stream" not in extra


@pytest.mark.parametrize(
    ("moved", "rows"),
    [
        # Airbyte tells figures of none.
        (True, None),
        # It tells those of the streams that had some.
        (False, 1),
    ],
)
def test_table_of_a_stream_without_figures_has_no_sum(moved: bool, rows: int | None) -> None:
    table = Dataset("bigquery", "p.d.t")
    streams = [JobStream("a", rows_committed=1, destination=table), JobStream("b", destination=table, moved=moved)]
    (shared,) = by_dataset(streams, "destination")
    assert (shared.rows, shared.bytes, shared.moved) == (rows, None, True)


@pytest.mark.parametrize("job_type", ["reset", "refresh"])
def test_clear_or_refresh_of_a_part_tells_of_that_part(
    sim: Simulator, telling: Make, connection_id: str, job_type: str
) -> None:
    script = Script(duration=0.3, pending=0, streams={}, only=["people"])
    task = telling(sim.add_job(connection_id, script, job_type=job_type)["id"], "poke", push_streams=True)
    task.run()
    assert streams_in(task).keys() == {"people"}


def test_reset_of_an_unknown_part_tells_of_none(sim: Simulator, telling: Make, connection_id: str) -> None:
    sim.add_fault(Fault("config", "status", status=403))
    task = telling(connection_id, push_streams=True, job_type="reset")
    task.run()
    assert streams_in(task) == {}


def test_refresh_of_a_part_tells_what_it_moved_besides(sim: Simulator, telling: Make, connection_id: str) -> None:
    script = Script(duration=0.3, pending=0, streams={"Orders": Amount(rows=1)}, only=["people"])
    task = telling(sim.add_job(connection_id, script, job_type="refresh")["id"], "poke", push_streams=True)
    task.run()
    assert streams_in(task).keys() == {"people", "Orders"}


def test_stream_without_a_namespace_is_told_once_however_that_is_written(sim: Simulator, connection_id: str) -> None:
    told = {
        "enabledStreams": [{"name": "a"}],
        "streamAggregatedStats": [{"streamName": "a", "streamNamespace": "", "recordsCommitted": 3}],
    }
    catalog = {"streams": [{"stream": {"name": "a", "namespace": ""}, "config": {"syncMode": "incremental"}}]}
    answers = Answers(details={"job": told}, connection={"syncCatalog": catalog})
    job = Job(job_id=1, status="succeeded", connection_id=connection_id)
    (stream,) = streams_of(job, answers, Settings(sim.url)).streams
    assert (stream.namespace, stream.rows_committed, stream.sync_mode) == (None, 3, "incremental")


def test_job_of_an_unknown_connection_asks_for_no_list(sim: Simulator) -> None:
    async def ask() -> None:
        async with AirbyteClient(settings) as client:
            await learn.learn(client, 1, "")

    settings = Settings(
        sim.url,
        ClientCredentials(sim.client_id, sim.client_secret),
        config_url=sim.url.replace("/api/public/", "/api/"),
    )

    run_in_loop(ask())
    assert sim.count("connections") == sim.count("connection") == sim.count("config:connections/get") == 0
    assert sim.count("config:jobs/get_without_logs") == 1


def test_config_api_that_hangs_costs_a_failed_task_its_time_once(
    sim: Simulator, telling: Make, connection_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "LEARN_WITHIN", 0.5)
    sim.script(connection_id, Script(duration=0.3, pending=0, outcome="failed"))
    fault = sim.add_fault(Fault("config:jobs/get_without_logs", "hang"))
    task = telling(connection_id, push_streams=True)
    with pytest.raises(AirbyteJobFailed, match="did not tell why"):
        task.run()
    assert hits(sim, fault) == 1


def test_xcom_that_cannot_be_left_costs_no_event(telling: Make, connection_id: str) -> None:
    task = telling(connection_id, stream_assets="all")
    push = task.ti.xcom_push

    def refuse(key: str, value: Any) -> None:
        if key == "streams":
            raise OSError("too large")
        push(key, value)

    task.ti.xcom_push = refuse
    task.run()
    ((_, events),) = task.events_of.items()
    assert [uri for uri, _ in events] == [ORDERS, PEOPLE]
    assert said(task.lines, "The streams of job 1, as an XCom, are not told: OSError") == 1


def test_events_that_cannot_be_told_cost_no_xcom(telling: Make, connection_id: str) -> None:
    task = telling(connection_id, stream_assets="all")
    task.events_of = None
    task.run()
    assert streams_in(task).keys() == {"Orders", "people"}
    assert said(task.lines, "The tables of job 1 are not told: TypeError") == 1


@pytest.mark.parametrize("way", ["worker", "poke"])
@pytest.mark.parametrize("interrupted", ["the question", "the XCom", "the first event", "the last event"])
def test_what_an_execution_timeout_interrupts_is_told_all_the_same(
    sim: Simulator, telling: Make, connection_id: str, monkeypatch: pytest.MonkeyPatch, way: str, interrupted: str
) -> None:
    """The job has succeeded by then, and so does the task."""
    of = connection_id if way == "worker" else sim.add_job(connection_id)["id"]
    task = telling(of, way, stream_assets="all", push_streams=True, execution_timeout=timedelta(seconds=60))
    interruptions = [AirflowTaskTimeout()]

    def interrupt() -> None:
        if interruptions:
            raise interruptions.pop()

    if interrupted == "the question":
        ask = TaskStreams._learn
        monkeypatch.setattr(TaskStreams, "_learn", lambda *given: (interrupt(), ask(*given)))
    elif interrupted == "the XCom":
        push = task.ti.xcom_push
        task.ti.xcom_push = lambda key, value: (key == "streams" and interrupt(), push(key, value))
    else:
        told = task.events_of.kind
        add, at = told.add, {"the first event": 0, "the last event": 1}[interrupted]
        monkeypatch.setattr(
            told,
            "add",
            lambda events, asset, extra=None: (len(events) == at and interrupt(), add(events, asset, extra)),
        )
    task.run()
    assert not interruptions
    assert streams_in(task).keys() == {"Orders", "people"}
    ((_, events),) = task.events_of.items()
    assert [uri for uri, _ in events] == [ORDERS, PEOPLE]


def test_uri_that_airflow_refuses_costs_no_other_table(telling: Make, connection_id: str) -> None:
    task = telling(connection_id, stream_assets="all", dataset_names={ORDERS: "airflow://reserved/a/b/c"})
    task.run()
    ((_, events),) = task.events_of.items()
    assert [uri for uri, _ in events] == [PEOPLE]
    assert said(task.lines, "The table airflow://reserved/a/b/c is not told as an asset: ") == 1


def test_stream_that_airbyte_has_no_counts_of_has_not_moved(sim: Simulator, telling: Make, connection_id: str) -> None:
    task = telling(connection_id, stream_assets="moved", job_type="reset")
    task.run()
    assert not any(task.events_of.values())


def test_option_that_is_none_costs_the_task_nothing(
    monkeypatch: pytest.MonkeyPatch, telling: Make, connection_id: str
) -> None:
    monkeypatch.setenv("AIRFLOW__AIRBYTE_DEFERRABLE__PUSH_STREAMS", "maybe")
    task = telling(connection_id)
    assert task.run() == 1
    assert any("are not told" in line for line in task.lines)
