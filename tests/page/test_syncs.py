"""What the page shows: of Airflow's database and of what triggerers leave, for each way in which a task may wait."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airbyte_deferrable._airflow.page_record import PREFIX, Health
from airbyte_deferrable.page import overview
from harness import rows
from harness.database import statements
from helpers.page import Browser
from helpers.page_rows import CONN, CONNECTION, deferred, ended, facts, failed, job, record

NAMES = {CONNECTION: ("Orders", "shop", "warehouse")}
URL = f"https://airbyte.example.com/workspaces/w/connections/{CONNECTION}/timeline?openLogs=true&jobId=7"


def only(rows: Any) -> Any:
    (row,) = rows
    return row


def test_deferred_sync_is_shown_with_what_its_triggerer_knows(browser: Browser) -> None:
    job = facts(rows=1000, bytes=50_000, rows_per_second=12.5, bytes_per_second=600.0, attempts=2)
    rows.write([deferred(xcoms={"airbyte_job_url": URL})], record([job], names=NAMES))
    told = browser.syncs()
    row = only(told["running"])
    assert row["task_path"] == "/dags/orders/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00/tasks/sync"
    assert (row["task_state"], row["waits_for"], row["status"]) == ("deferred", "sync", "running")
    assert (row["conn_id"], row["connection_id"], row["job_id"]) == (CONN, CONNECTION, 7)
    assert (row["connection_name"], row["source"], row["destination"]) == ("Orders", "shop", "warehouse")
    assert (row["rows"], row["bytes"], row["attempts"]) == (1000, 50_000, 2)
    assert (row["rows_per_second"], row["bytes_per_second"]) == (12.5, 600.0)
    assert row["airbyte_url"] == URL
    assert row["since"].endswith("Z")
    assert row["since"] < row["seen_at"] <= told["now"]
    assert (told["ended"], told["running_left_out"], told["ended_left_out"]) == ([], 0, 0)


def test_what_is_not_known_is_null(browser: Browser) -> None:
    rows.write([deferred()])
    row = only(browser.syncs()["running"])
    known = {"dag_id", "run_id", "task_id", "map_index", "try_number", "task_state", "task_path", "waits_for"}
    known |= {"conn_id", "connection_id", "job_id", "since", "usual_of", "late"}
    assert {key for key, value in row.items() if value is not None} == known


def test_job_of_the_same_number_at_another_airbyte_is_another(browser: Browser) -> None:
    rows.write(
        [deferred(conn_id="airbyte_europe"), deferred(task_id="other", conn_id="airbyte_america")],
        record([facts(status="pending")], conn_ids=("airbyte_europe",))
        | record([facts(status="running")], process="other", conn_ids=("airbyte_america",)),
    )
    assert {row["conn_id"]: row["status"] for row in browser.syncs()["running"]} == {
        "airbyte_europe": "pending",
        "airbyte_america": "running",
    }


def test_each_way_to_wait_is_shown(browser: Browser) -> None:
    queued_at = time.time() - 90
    marker = {"job_id": 8, "connection_id": CONNECTION, "try": 1, "started_here": True}
    fields = {"airbyte_conn_id": CONN, "connection_id": CONNECTION, "workspace_id": "not needed"}
    rows.write(
        [
            deferred(task_id="queue", kind="AirbyteQueueTrigger", more={"queued_at": queued_at, "job_id": None}),
            deferred(task_id="fresh", kind="AirbyteFreshnessTrigger", more={"job_id": None}, xcoms={}),
            rows.Task(
                task_id="official",
                trigger=(
                    "airflow.providers.airbyte.triggers.airbyte.AirbyteSyncTrigger",
                    {"conn_id": CONN, "job_id": 5},
                ),
            ),
            rows.Task(task_id="on_worker", state="running", fields=fields, xcoms={"airbyte_job_url": URL}),
            rows.Task(task_id="subclass", state="running", operator="MySync", xcoms={"airbyte_wait_marker": marker}),
            rows.Task(
                task_id="sensor", state="up_for_reschedule", operator="AirbyteJobSensor", fields={"airbyte_job_id": "9"}
            ),
            rows.Task(
                task_id="resumed",
                state="queued",
                next_method="execute_complete",
                xcoms={"airbyte_wait_marker": marker, "airbyte_job": ended(job_id=8).xcoms["airbyte_job"]},
            ),
            # None of these.
            rows.Task(task_id="cleared", state="queued", xcoms={"airbyte_wait_marker": marker}),
            rows.Task(task_id="others", state="running", operator="PythonOperator"),
            rows.Task(task_id="waits_elsewhere", trigger=("airflow.triggers.temporal.DateTimeTrigger", {"moment": 1})),
        ]
    )
    running = {row["task_id"]: row for row in browser.syncs()["running"]}
    assert {task_id: (row["waits_for"], row["job_id"]) for task_id, row in running.items()} == {
        "queue": ("queue", 7),
        "fresh": ("fresh", 7),
        "official": ("sync", 5),
        "on_worker": ("sync", 7),
        "subclass": ("sync", 8),
        "sensor": ("sync", 9),
        "resumed": ("sync", 8),
    }
    assert 85 < running["queue"]["queued_seconds"] < 600
    assert (running["on_worker"]["conn_id"], running["on_worker"]["connection_id"]) == (CONN, CONNECTION)
    assert running["resumed"]["status"] == "succeeded"


def test_mapped_task_leads_to_its_instance(browser: Browser) -> None:
    rows.write([deferred(dag_id="a dag", task_id="group.sync", map_index=3)])
    row = only(browser.syncs()["running"])
    assert row["map_index"] == 3
    assert row["task_path"].startswith("/dags/a%20dag/runs/")
    assert row["task_path"].endswith("/tasks/group.sync/mapped/3")


def test_ended_syncs_of_a_day_are_shown_with_outcome_and_reason(browser: Browser) -> None:
    note = failed(reason="Failed in source (config_error) after 3 attempts: wrong password.", outcome="failed")
    rows.write(
        [
            ended(xcoms={"airbyte_job_url": URL}),
            ended(task_id="broken", status="failed", job_id=8, xcoms=dict(note.xcoms), ago=timedelta(hours=2)),
            ended(task_id="retried", status="failed", job_id=9, state="up_for_retry", ago=timedelta(hours=3)),
            failed(reason="The task's timeout was over."),
            ended(task_id="yesterday", ago=timedelta(hours=25)),
        ],
        record(names=NAMES),
    )
    told = {row["task_id"]: row for row in browser.syncs()["ended"]}
    assert set(told) == {"done", "broken", "retried", "gone"}
    assert [row["task_id"] for row in browser.syncs()["ended"]][-2:] == ["broken", "retried"]
    done = told["done"]
    assert (done["outcome"], done["task_state"], done["seconds"], done["rows"]) == ("succeeded", "success", 600, 1000)
    assert (done["conn_id"], done["connection_name"], done["airbyte_url"]) == (CONN, "Orders", URL)
    assert done["started_at"] < done["ended_at"]
    assert (told["broken"]["outcome"], told["retried"]["task_state"]) == ("failed", "up_for_retry")
    assert "wrong password" in told["broken"]["reason"]
    assert (told["gone"]["outcome"], told["gone"]["reason"]) == ("timeout", "The task's timeout was over.")


def test_sync_is_late_beside_the_median_of_the_last_ten_that_succeeded(browser: Browser) -> None:
    started = datetime.now(timezone.utc) - timedelta(minutes=20)
    past = [
        ended(run_id=f"run{number:02}", seconds=seconds, job_id=number, ago=timedelta(days=2))
        # The last ten: 100 to 1000, whose median is 550.
        for number, seconds in enumerate([9000, 9000, *range(100, 1100, 100)], start=100)
    ]
    past.append(ended(run_id="run99", status="failed", seconds=1, job_id=99, ago=timedelta(days=2)))
    rows.write(past)
    rows.write([deferred(started_at=started), deferred(task_id="other", connection_id="unknown", started_at=started)])
    running = {row["task_id"]: row for row in browser.syncs()["running"]}
    assert (running["sync"]["usual_seconds"], running["sync"]["usual_of"], running["sync"]["late"]) == (550, 10, True)
    assert (running["other"]["usual_seconds"], running["other"]["usual_of"]) == (None, 0)
    assert running["other"]["late"] is False


def test_health_is_told_for_each_triggerer_and_airbyte(browser: Browser) -> None:
    away = Health(reachable=False, since=time.time() - 60, waiting=3, trouble="GET /jobs: HTTP 503.")
    rows.write(
        [],
        record(health=Health(requests_per_minute=12.5, answered_seconds_ago=2.0, waiting=12))
        | record(process="b", host="triggerer-2", health=away, ago=120)
        # The process before that one, which it has followed.
        | record(process="a", host="triggerer-2", health=away, ago=600)
        | record(process="c", host="triggerer-3", health=Health(waiting=0), ago=300)
        | record(process="d", host="long gone", ago=4000)
        # Its syncs are others' by now.
        | record(process="e", host="gone", health=away, ago=700),
    )
    health = {each["triggerer"]: each for each in browser.syncs()["health"]}
    assert len(browser.syncs()["health"]) == len(health) == 3
    assert health["triggerer-1"]["requests_per_minute"] == 12.5
    assert (health["triggerer-1"]["stale"], health["triggerer-1"]["waiting"]) == (False, 12)
    assert (health["triggerer-2"]["stale"], health["triggerer-2"]["reachable"]) == (True, False)
    assert health["triggerer-2"]["since"].endswith("Z")
    assert health["triggerer-2"]["trouble"] == "GET /jobs: HTTP 503."
    # Nothing waits there, so nobody renews it.
    assert health["triggerer-3"]["stale"] is False


def test_triggerer_that_another_one_has_followed_is_forgotten_also_when_nothing_waits_any_more(
    browser: Browser,
) -> None:
    rows.write(
        [],
        record(process="a", host="gone", health=Health(waiting=3), ago=2000)
        | record(process="b", host="follower", health=Health(waiting=0), ago=1000),
    )
    assert [each["triggerer"] for each in browser.syncs()["health"]] == ["follower"]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "1:", "1:!!!", "2:later", "1:" + "A" * 100, "nothing of ours"],
)
def test_record_that_cannot_be_read_hides_nothing_else(browser: Browser, text: str) -> None:
    rows.write([deferred()], {**record([facts()]), f"{PREFIX}broken": text, f"{PREFIX}index": "[]"})
    assert only(browser.syncs()["running"])["status"] == "running"


def test_xcom_that_is_none_of_ours_hides_nothing_else(browser: Browser) -> None:
    rows.write(
        [
            ended(task_id="a", xcoms={"airbyte_job": "s3://elsewhere"}),
            ended(task_id="b", xcoms={"airbyte_job": {"jobId": "x"}}),
            ended(task_id="c", xcoms={"airbyte_failure": ["no", "mapping"]}),
            ended(task_id="d", xcoms={"airbyte_job_url": "http://[x"}),
            ended(task_id="e", xcoms={"airbyte_job": {**job(), "jobId": [7], "durationSeconds": math.inf}}),
            deferred(xcoms={"airbyte_wait_marker": 5}),
        ]
    )
    told = browser.syncs()
    assert {row["task_id"]: row["outcome"] for row in told["ended"]} == {
        "a": "unknown",
        "b": "unknown",
        "c": "succeeded",
        "e": "unknown",
    }
    assert len(told["running"]) == 1


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "up_for_retry"])
def test_task_that_has_ended_without_a_word_waits_for_nothing(browser: Browser, state: str) -> None:
    """As one that a user has marked while it waited, or that leaves no XCom of its end."""
    marker = {"job_id": 8, "connection_id": CONNECTION, "try": 1, "started_here": True}
    rows.write([rows.Task(state=state, xcoms={"airbyte_wait_marker": marker})])
    told = browser.get("/api/sync", dag_id="orders", run_id=rows.RUN, task_id="sync").json()
    assert (told["ours"], told["sync"]["ended"], told["sync"]["outcome"]) == (True, True, "unknown")


def test_job_that_an_airbyte_of_before_has_is_another(browser: Browser) -> None:
    rows.write([deferred(connection_id="a1b7e000-0000-4000-8000-000000000002")], record([facts()]))
    assert only(browser.syncs()["running"])["status"] is None


def test_answer_is_limited_and_says_what_it_leaves_out(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "MOST_RUNNING", 2)
    monkeypatch.setattr(overview, "MOST_ENDED", 1)
    rows.write([deferred(map_index=number) for number in range(5)])
    rows.write([ended(map_index=number) for number in range(3)])
    # What others may see takes nothing from what this user does.
    rows.write([deferred(dag_id="secret", map_index=number) for number in range(5)])
    told = browser.syncs("orders")
    assert (len(told["running"]), told["running_left_out"]) == (2, 3)
    assert (len(told["ended"]), told["ended_left_out"]) == (1, 2)


def test_number_of_queries_is_the_same_for_many_syncs_and_nothing_is_written(browser: Browser) -> None:
    rows.write([deferred(map_index=0), ended(map_index=0)])
    with statements() as for_one:
        assert len(browser.syncs()["running"]) == 1
    rows.write([deferred(map_index=number, job_id=number) for number in range(1, 200)], record([facts()]))
    rows.write([ended(map_index=number) for number in range(1, 200)])
    another = Browser(browser.api)
    with statements() as again:
        # It is kept for some seconds, and for all who look: only the rights of each are asked for.
        assert len(another.syncs("orders")["running"]) == 1
    assert len(again) <= 2
    overviews = overview.Overviews()
    with statements() as for_many:
        assert len(overviews.overview().running) == 200
    assert len(for_many) <= len(for_one)
    assert all(each.lstrip().upper().startswith("SELECT") for each in (*for_one, *again, *for_many))
