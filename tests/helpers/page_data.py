"""What Airflow tells the page, made up: a night with some trouble, a night without, and names that mean harm."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]

#: What stands for a name that somebody else has chosen.
SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(2)>'
LONG = "orders_of_all_shops_of_all_countries_since_the_beginning" * 4
NOW = datetime(2026, 11, 30, 4, 12, 40, tzinfo=timezone.utc)
TABLES = ("orders", "order_lines", "customers", "refunds", "shipments", "stock_levels")
RUNNING = (
    # connection, source, destination, DAG, task, seconds, usual, rows, status
    ("Orders", "Postgres: shop", "BigQuery: raw", "shop_nightly", "sync_orders", 2710, 1080, 48_213_774, "running"),
    ("Customers", "Postgres: shop", "BigQuery: raw", "shop_nightly", "sync_customers", 512, 640, 1_204_311, "running"),
    (
        "Web clicks",
        "S3: clickstream",
        "BigQuery: raw",
        "clicks_hourly",
        "sync_clicks",
        1850,
        1910,
        96_400_128,
        "running",
    ),
    ("Billing", "Stripe", "Snowflake: FINANCE", "finance_daily", "sync_billing", 95, 300, 18_240, "running"),
    ("Tickets", "Zendesk", "Snowflake: SUPPORT", "support_daily", "sync_tickets", 870, 420, 230_118, "incomplete"),
    ("Ad spend", "Google Ads", "BigQuery: marketing", "marketing_daily", "sync_ads", 33, 150, None, "pending"),
    ("Contacts", "HubSpot", "BigQuery: marketing", "marketing_daily", "sync_contacts", 241, None, 40_772, "running"),
)
ENDED = (
    # connection, source, destination, DAG, task, ago, seconds, usual, rows, outcome, reason
    (
        "Stock",
        "MySQL: warehouse",
        "BigQuery: raw",
        "shop_nightly",
        "sync_stock",
        240,
        371,
        350,
        880_412,
        "succeeded",
        None,
    ),
    (
        *("Invoices", "NetSuite", "Snowflake: FINANCE", "finance_daily", "sync_invoices", 1500, 64, 900, 0, "failed"),
        "Failure in source NetSuite: the token has expired. Log in again in Airbyte's settings of the source, then "
        "start the sync once more; the last attempt of three was refused with 401.",
    ),
    (
        "Deals",
        "HubSpot",
        "BigQuery: marketing",
        "marketing_daily",
        "sync_deals",
        3700,
        205,
        190,
        31_022,
        "succeeded",
        None,
    ),
    (
        "Returns",
        "Postgres: shop",
        "BigQuery: raw",
        "shop_nightly",
        "sync_returns",
        9200,
        1980,
        600,
        90_114,
        "succeeded",
        None,
    ),
    (
        "Payroll",
        "Workday",
        "Snowflake: FINANCE",
        "finance_daily",
        "sync_payroll",
        15_000,
        310,
        320,
        None,
        "cancelled",
        None,
    ),
    (
        *("Calls", "Aircall", "Snowflake: SUPPORT", "support_daily", "sync_calls", 30_000, 3600, 280, None, "timeout"),
        "The task's timeout of 1 h was over; the job goes on.",
    ),
)


def moment(seconds_ago: float, now: datetime = NOW) -> str:
    """Return a moment as the page's server writes it."""
    return (now - timedelta(seconds=seconds_ago)).isoformat(timespec="seconds").replace("+00:00", "Z")


def _identity(number: int, names: Sequence[str], *, mapped: int = -1) -> Json:
    connection, source, destination, dag, task = names
    run = f"scheduled__{moment(0)}"
    at = f"/mapped/{mapped}" if mapped >= 0 else ""
    return {
        "dag_id": dag,
        "run_id": run,
        "task_id": task,
        "map_index": mapped,
        "try_number": 1,
        "waits_for": "sync",
        "conn_id": "airbyte_default",
        "connection_id": f"0e7e6889-d71a-4267-bced-{number:012}",
        "connection_name": connection,
        "source": source,
        "destination": destination,
        "job_id": 4700 + number,
        "task_path": f"/dags/{quote(dag, safe='')}/runs/{quote(run, safe='')}/tasks/{quote(task, safe='')}{at}",
        "airbyte_url": f"https://airbyte.example/workspaces/w/connections/{number}/timeline?jobId={4700 + number}",
    }


def running(number: int, line: Sequence[Any] = RUNNING[0], **changes: Any) -> Json:
    """Return a sync that a task waits for.

    :param number: What tells it from others.
    :param line: One of :data:`RUNNING`, or one like it.
    :param changes: What it has instead.
    """
    *names, lasts, usual, rows, status = line
    size = None if rows is None else rows * 190
    return {
        **_identity(number, names),
        "task_state": "deferred",
        "status": status,
        "since": moment(lasts),
        "rows": rows,
        "bytes": size,
        "rows_per_second": None if rows is None else rows / lasts,
        "bytes_per_second": None if size is None else size / lasts,
        "seen_at": moment(4),
        "attempts": 2 if status == "incomplete" else 1,
        "usual_seconds": usual,
        "usual_of": 0 if usual is None else 10,
        "late": usual is not None and lasts > 1.5 * usual,
        "queued_seconds": None,
        **changes,
    }


def ended(number: int, line: Sequence[Any] = ENDED[0], **changes: Any) -> Json:
    """Return a sync that has ended.

    :param number: What tells it from others.
    :param line: One of :data:`ENDED`, or one like it.
    :param changes: What it has instead.
    """
    *names, ago, seconds, usual, rows, outcome, reason = line
    return {
        **_identity(number, names),
        "task_state": "success" if outcome == "succeeded" else "failed",
        "outcome": outcome,
        "started_at": moment(ago + seconds),
        "ended_at": moment(ago),
        "seconds": seconds,
        "rows": rows,
        "bytes": None if rows is None else rows * 190,
        "attempts": 3 if outcome == "failed" else 1,
        "usual_seconds": usual,
        "usual_of": 10,
        "late": outcome == "succeeded" and seconds > 1.5 * usual,
        "reason": reason,
        **changes,
    }


def health(**changes: Any) -> Json:
    """Return how a triggerer's wait for an Airbyte is: well, if nothing else is said."""
    return {
        "triggerer": "triggerer-1",
        "conn_id": "airbyte_default",
        "reachable": True,
        "since": moment(86_400),
        "requests_per_minute": 6.2,
        "answered_seconds_ago": 3.1,
        "waiting": 9,
        "written_at": moment(5),
        "stale": False,
        "trouble": None,
        **changes,
    }


def syncs(running: Sequence[Json] = (), ended: Sequence[Json] = (), **changes: Any) -> Json:
    """Return what ``api/syncs`` answers."""
    return {
        "now": moment(0),
        "made_at": moment(1),
        "refresh_seconds": 60,
        "running": list(running),
        "running_left_out": 0,
        "ended": list(ended),
        "ended_left_out": 0,
        "health": [health()],
        **changes,
    }


def night() -> Json:
    """Return a night in which some syncs are late, one has failed, and one Airbyte is away."""
    live = [running(number, line) for number, line in enumerate(RUNNING)]
    live += [
        running(
            10 + index,
            (
                f"Shop {shop}",
                "Shopify",
                "BigQuery: raw",
                "shops_hourly",
                "sync_shop",
                130 + 20 * index,
                260,
                9_000,
                "running",
            ),
            map_index=index,
        )
        for index, shop in enumerate(("Berlin", "Lyon", "Porto"))
    ]
    queue = dict.fromkeys(
        ("job_id", "status", "attempts", "rows", "bytes", "rows_per_second", "bytes_per_second", "airbyte_url")
    )
    live.append(
        running(
            20,
            RUNNING[0],
            **queue,
            dag_id="shop_backfill",
            waits_for="queue",
            queued_seconds=260,
            since=moment(260),
            late=False,
        )
    )
    live.append(
        running(
            21, RUNNING[3], **queue, dag_id="finance_report", task_id="wait_for_billing", waits_for="fresh", late=False
        )
    )
    away = health(
        conn_id="airbyte_eu",
        reachable=False,
        since=moment(380),
        answered_seconds_ago=380,
        waiting=4,
        trouble="Airbyte answers with status 503. It is asked again every 30 s, and no task fails meanwhile.",
    )
    return syncs(live, [ended(40 + number, line) for number, line in enumerate(ENDED)], health=[health(), away])


def many(count: int) -> Json:
    """Return that many syncs under way, and as many that have ended.

    :param count: How many.
    """
    states = ("running", "pending", "incomplete")
    live = [
        running(
            number,
            (
                f"Connection {number}",
                "Postgres",
                "BigQuery",
                f"dag_{number % 50}",
                f"sync_{number}",
                60 + number,
                900,
                1000 * number,
                states[number % 3],
            ),
        )
        for number in range(count)
    ]
    return syncs(
        live, [ended(count + number, ENDED[number % len(ENDED)], task_id=f"t{number}") for number in range(count)]
    )


def hostile() -> Json:
    """Return syncs whose names others have chosen, with bad intent or none."""
    scripted = (SCRIPT, IMAGE, SCRIPT, IMAGE, SCRIPT, 4000, 60, 5, SCRIPT)
    failed = (SCRIPT, IMAGE, SCRIPT, IMAGE, SCRIPT, 60, 5, 5, 5, "failed", f"{SCRIPT} {IMAGE} " * 5)
    long = (LONG, LONG, LONG, LONG, LONG, 4000, 60, 10**15, "running")
    return syncs(
        [
            running(1, scripted, conn_id=SCRIPT, airbyte_url="javascript:alert(3)", task_path="javascript:alert(4)"),
            running(2, long, conn_id=LONG, task_path="//elsewhere.example/"),
            running(3, (None, None, None, "d", "t", 5, None, None, None), conn_id=None),
        ],
        [
            ended(4, failed, airbyte_url="javascript:alert(5)"),
            ended(5, (LONG, LONG, LONG, LONG, LONG, 60, 5, 5, 5, "failed", LONG)),
        ],
        health=[
            health(conn_id=SCRIPT, triggerer=IMAGE, reachable=False, trouble=SCRIPT),
            health(conn_id=LONG, triggerer=LONG),
        ],
    )


def sync(of: Json, *, ended: bool = False, streams: int = len(TABLES), **changes: Any) -> Json:
    """Return what ``api/sync`` answers of a task instance.

    :param of: The sync: :func:`running` or :func:`ended`.
    :param ended: Whether it has ended.
    :param streams: How many streams it has.
    :param changes: What the answer has instead.
    """
    job = of["job_id"]
    began = of.get("started_at") or of.get("since")
    story = [
        {"at": began, "what": "Try 1 of the task started."},
        {"at": began, "what": f"Airbyte made job {job}."},
        {"at": moment(1400), "what": "Airbyte's attempt 1 failed: the source closed the connection."},
        {"at": moment(1390), "what": "Airbyte began attempt 2."},
        {"at": moment(4), "what": f"Airbyte said last that job {job} is running: {of['rows']} rows so far."},
    ]
    attempts = [
        {
            "number": 1,
            "status": "failed",
            "started_at": began,
            "ended_at": moment(1400),
            "rows": 21_004_000,
            "bytes": 3_990_760_000,
            "reason": "The source closed the connection.",
        },
        {
            "number": 2,
            "status": "running",
            "started_at": moment(1390),
            "ended_at": None,
            "rows": of["rows"],
            "bytes": of["bytes"],
            "reason": None,
        },
    ]
    told = [
        {
            "name": TABLES[number] if number < len(TABLES) else f"stream_{number}",
            "namespace": "public",
            "rows": 16_000_000 // (number + 1),
            "bytes": 3_000_000_000 // (number + 1),
            "rows_rejected": 17 if number == 1 else 0,
            "sync_mode": "incremental_deduped_history",
            "destination": f"shop-raw.public.{TABLES[number % len(TABLES)]}",
        }
        for number in range(streams)
    ]
    answer = {"ours": True, "sync": {**of, "ended": ended}, "story": story, "attempts": attempts}
    return {**answer, "streams": told, "streams_left_out": 0, "now": moment(0), **changes}
