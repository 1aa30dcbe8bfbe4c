"""The streams of a connection, and what a job moves of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airbyte_deferrable.simulator import Amount, Attempt, Script, Simulator, Stream
from airbyte_deferrable.simulator.streams import evenly, total

Config = Callable[..., httpx.Response]
ORDERS = Stream(
    "orders",
    "shop",
    destination_sync_mode="append_dedup",
    columns={"id": "integer", "total": {"type": "number", "airbyte_type": "big_number"}},
    primary_key=["id"],
    cursor="updated_at",
)
PEOPLE = Stream("people", "crm", sync_mode="full_refresh", destination_sync_mode="overwrite", selected_columns=["name"])
SKIPPED = Stream("audit", selected=False)


def test_both_apis_tell_a_connections_streams(sim: Simulator, http: httpx.Client, config: Config) -> None:
    connection_id = sim.add_connection(streams=[ORDERS, PEOPLE, SKIPPED])
    told = http.get(f"/connections/{connection_id}").json()["configurations"]["streams"]
    assert told == [
        {
            "name": "orders",
            "namespace": "shop",
            "syncMode": "incremental_deduped_history",
            "cursorField": ["updated_at"],
            "primaryKey": [["id"]],
        },
        {
            "name": "people",
            "namespace": "crm",
            "syncMode": "full_refresh_overwrite",
            "cursorField": [],
            "primaryKey": [],
            "selectedFields": [{"fieldPath": ["name"]}],
        },
    ]
    orders, people = config("connections/get", connectionId=connection_id).json()["syncCatalog"]["streams"]
    assert orders["stream"]["jsonSchema"]["properties"] == {
        "id": {"type": ["null", "integer"]},
        "total": {"type": "number", "airbyte_type": "big_number"},
    }
    assert (orders["config"]["syncMode"], orders["config"]["destinationSyncMode"]) == ("incremental", "append_dedup")
    assert (people["stream"]["namespace"], people["config"]["selectedFields"]) == ("crm", [{"fieldPath": ["name"]}])


@pytest.mark.parametrize(
    "stream", [PEOPLE, {"name": "people", "namespace": "crm", "sync_mode": "full_refresh"}, "people"]
)
def test_stream_may_be_a_mapping_or_a_name(sim: Simulator, http: httpx.Client, stream: Any) -> None:
    connection_id = sim.add_connection(streams=[stream])
    told = http.get(f"/connections/{connection_id}").json()["configurations"]["streams"]
    assert [each["name"] for each in told] == ["people"]


def test_modes_that_the_public_api_has_no_word_for_are_left_out(sim: Simulator, http: httpx.Client) -> None:
    stream = Stream("orders", sync_mode="incremental", destination_sync_mode="overwrite")
    told = http.get(f"/connections/{sim.add_connection(streams=[stream])}").json()["configurations"]["streams"]
    assert "syncMode" not in told[0]


def test_job_moves_what_its_script_says_of_each_stream(sim: Simulator, http: httpx.Client, config: Config) -> None:
    moves = {"orders": Amount(rows=40, bytes=4000, rejected=2), "crm.people": {"rows": 60, "bytes": 1000}}
    script = {"streams": moves, "duration": 100, "pending": 0}
    connection_id = sim.add_connection(script=script, streams=[ORDERS, PEOPLE, "events"])
    job = sim.add_job(connection_id)
    sim.advance(200)

    row = http.get(f"/jobs/{job['id']}").json()
    assert (row["rowsSynced"], row["bytesSynced"]) == (100, 5000)
    told = config("jobs/get_without_logs", id=job["id"]).json()["job"]
    assert told["enabledStreams"] == [
        {"name": "orders", "namespace": "shop"},
        {"name": "people", "namespace": "crm"},
        {"name": "events"},
    ]
    assert told["streamAggregatedStats"] == [
        stats("orders", 40, 4000, 2, streamNamespace="shop"),
        stats("people", 60, 1000, 0, streamNamespace="crm"),
        stats("events", 0, 0, 0),
    ]
    assert {"streamName": "", **told["aggregatedStats"]} == stats("", 100, 5000, 2)
    record = sim.job(job["id"])
    assert (record["rows"], record["bytes"], record["rejected"]) == (100, 5000, 2)
    assert record["streams"]["shop.orders"] == {"rows": 40, "bytes": 4000, "rejected": 2}


def stats(name: str, rows: int, size: int, rejected: int, **more: str) -> dict[str, object]:
    return {
        "streamName": name,
        **more,
        "recordsEmitted": rows + rejected,
        "bytesEmitted": size,
        "recordsCommitted": rows,
        "bytesCommitted": size,
        "recordsRejected": rejected,
    }


def test_without_a_word_of_streams_they_share_the_rows(sim: Simulator) -> None:
    connection_id = sim.add_connection(streams=["a", "b", "c", SKIPPED], script=Script(rows=100, bytes=7, duration=1))
    job = sim.add_job(connection_id)
    sim.advance(60)
    job = sim.job(job["id"])
    assert [each["rows"] for each in job["streams"].values()] == [34, 33, 33]
    assert (job["rows"], job["bytes"]) == (100, 7)


def test_answers_agree_while_a_job_runs(sim: Simulator, http: httpx.Client, config: Config) -> None:
    """In whatever moment: the streams add up to the job, and the attempts to the streams."""
    script = Script(
        streams={"a": Amount(1001, 77777, 13), "b": Amount(7, 99, 1), "c": Amount(333, 1, 0)},
        attempts=[Attempt(30, output=True), Attempt(50, output=True), Attempt(20, "succeeded")],
        retry_backoff=10,
        pending=5,
    )
    connection_id = sim.add_connection(streams=["a", "b", "c"], script=script)
    job_id = sim.add_job(connection_id)["id"]
    for _ in range(14):
        sim.advance(9)
        row = config("jobs/list", configTypes=["sync"], configId=connection_id).json()["jobs"][0]
        streams, whole = row["job"]["streamAggregatedStats"], row["job"]["aggregatedStats"]
        for name in whole:
            assert sum(each[name] for each in streams) == whole[name]
        for name in ("recordsCommitted", "recordsRejected", "bytesEmitted"):
            assert sum(each["totalStats"][name] for each in row["attempts"]) == whole[name]
            for place, stream in enumerate(streams):
                assert sum(each["streamStats"][place]["stats"][name] for each in row["attempts"]) == stream[name]
    assert whole["recordsCommitted"] == 1341
    assert http.get(f"/jobs/{job_id}").json()["rowsSynced"] == 1341


@pytest.mark.parametrize("kind", ["reset", "clear"])
def test_reset_moves_nothing(sim: Simulator, config: Config, kind: str) -> None:
    script = Script(duration=1, pending=0)
    job_id = sim.add_job(sim.add_connection(streams=[ORDERS, PEOPLE]), script, job_type=kind, created_ago=60)["id"]
    job = config("jobs/get_without_logs", id=job_id).json()["job"]
    assert job["status"] == "succeeded"
    assert set(job["aggregatedStats"].values()) == {0}
    assert [each["name"] for each in job["enabledStreams"]] == ["orders", "people"]


def test_job_has_the_streams_of_the_moment_when_it_was_created(
    sim: Simulator, http: httpx.Client, config: Config
) -> None:
    connection_id = sim.add_connection(streams=["a", "b"])
    job_id = sim.add_job(connection_id)["id"]
    http.patch(f"/connections/{connection_id}", json={"configurations": {"streams": [{"name": "b"}]}})
    assert len(config("jobs/get_light", id=job_id).json()["job"]["enabledStreams"]) == 2
    assert len(config("jobs/get_light", id=sim.add_job(connection_id)["id"]).json()["job"]["enabledStreams"]) == 1


def test_connection_without_streams_moves_nothing(sim: Simulator, http: httpx.Client) -> None:
    job_id = sim.add_job(sim.add_connection(streams=[]), created_ago=600)["id"]
    row = http.get(f"/jobs/{job_id}").json()
    assert (row["status"], row["rowsSynced"]) == ("succeeded", 0)


@pytest.mark.parametrize(
    ("name", "told"), [("events", "no stream 'events'; it has shop.orders, crm.orders"), ("orders", "each of")]
)
def test_script_names_streams_that_are_there(sim: Simulator, name: str, told: str) -> None:
    streams = [Stream("orders", "shop"), Stream("orders", "crm")]
    script = Script(streams={name: Amount(1)})
    with pytest.raises(ValueError, match=told):
        sim.add_connection(streams=streams, script=script)
    connection_id = sim.add_connection(streams=streams)
    with pytest.raises(ValueError, match=told):
        sim.script(connection_id, Script(), script)
    with pytest.raises(ValueError, match=told):
        sim.add_job(connection_id, script)
    assert sim.jobs() == []
    sim.script(connection_id, Script(streams={f"shop.{name}" if name == "orders" else "crm.orders": Amount(1)}))


def test_stream_that_is_none_is_refused(sim: Simulator) -> None:
    with pytest.raises(ValueError, match="no size"):
        sim.add_connection(streams=[{"name": "orders", "size": 3}])
    with pytest.raises(ValueError, match="sync_mode is one of"):
        Stream("orders", sync_mode="sometimes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rows are the sum"):
        Script(rows=5, streams={"orders": Amount(1)})
    with pytest.raises(ValueError, match="sync_mode is one of"):
        sim.add_connection(streams=[{"name": "orders", "sync_mode": "sometimes"}])
    streams: dict[str, Any] = {"orders": {"rows": 3}, "people": Amount(4)}
    assert Script(streams=streams).rows == 7


@given(rows=st.integers(0, 10_000), size=st.integers(0, 10**9), rejected=st.integers(0, 50), count=st.integers(1, 40))
def test_shares_add_up(rows: int, size: int, rejected: int, count: int) -> None:
    whole = Amount(rows, size, rejected)
    assert total(evenly(whole, count)) == whole
