"""What tasks and triggerers of this package leave in Airflow's database, for tests of the page."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from airbyte_deferrable._airflow.page_record import PREFIX, Health, JobFacts, Told, texts_of_names, texts_of_waits
from harness.rows import Task

CONN = "airbyte_default"
CONNECTION = "a1b7e000-0000-4000-8000-000000000001"
TRIGGERS = "airbyte_deferrable.triggers"


def deferred(
    *,
    job_id: int = 7,
    conn_id: str = CONN,
    connection_id: str = CONNECTION,
    kind: str = "AirbyteSyncTrigger",
    more: Mapping[str, Any] | None = None,
    xcoms: Mapping[str, Any] | None = None,
    **task: Any,
) -> Task:
    """Return a task that waits in the triggerer."""
    arguments = {"conn_id": conn_id, "connection_id": connection_id, "job_id": job_id, "poll_interval": 5.0}
    marker = {"job_id": job_id, "connection_id": connection_id, "try": 1, "started_here": True}
    left = {"airbyte_wait_marker": marker, **(xcoms or {})}
    return Task(trigger=(f"{TRIGGERS}.{kind}", {**arguments, **(more or {})}), xcoms=left, **task)


def job(
    job_id: int = 7,
    status: str = "succeeded",
    seconds: float = 600.0,
    connection_id: str = CONNECTION,
    ago: timedelta = timedelta(),
) -> dict[str, Any]:
    """Return the XCom on a job that has ended."""
    ended = datetime.now(timezone.utc).replace(microsecond=0) - ago
    started = ended - timedelta(seconds=seconds)
    return {
        "jobId": job_id,
        "status": status,
        "jobType": "sync",
        "connectionId": connection_id,
        "startTime": started.isoformat().replace("+00:00", "Z"),
        "lastUpdatedAt": ended.isoformat().replace("+00:00", "Z"),
        "duration": f"PT{seconds:g}S",
        "durationSeconds": seconds,
        "rowsSynced": 1000,
        "bytesSynced": 50_000,
    }


def ended(
    *,
    job_id: int = 7,
    status: str = "succeeded",
    seconds: float = 600.0,
    connection_id: str = CONNECTION,
    ago: timedelta = timedelta(),
    xcoms: Mapping[str, Any] | None = None,
    **task: Any,
) -> Task:
    """Return a task whose job has ended."""
    at = datetime.now(timezone.utc) - ago
    return Task(
        **{
            "state": "success" if status == "succeeded" else "failed",
            "xcoms": {
                "final_status": status,
                "airbyte_job": job(job_id, status, seconds, connection_id, ago),
                **(xcoms or {}),
            },
            "fields": {"airbyte_conn_id": CONN, "connection_id": connection_id},
            "started_at": at - timedelta(seconds=seconds),
            "ended_at": at,
            "noted_at": at,
            "task_id": "done",
            **task,
        }
    )


def failed(*, reason: str = "It could not be reached.", outcome: str = "timeout", **task: Any) -> Task:
    """Return a task that failed without its job's end."""
    now = datetime.now(timezone.utc)
    note = {
        "outcome": outcome,
        "reason": reason,
        "attempts": None,
        "job_id": 9,
        "connection_id": CONNECTION,
        "conn_id": CONN,
    }
    return Task(**{"state": "failed", "xcoms": {"airbyte_failure": note}, "ended_at": now, "task_id": "gone", **task})


def facts(job_id: int = 7, status: str = "running", **more: Any) -> JobFacts:
    """Return how a job stands."""
    now = time.time()
    told: dict[str, Any] = {"created_at": now - 120, "rows": 1000, "bytes": 50_000, "seen_at": now - 3, **more}
    return JobFacts(job_id, CONNECTION, status, **told)


def record(
    jobs: Sequence[JobFacts] = (),
    *,
    names: Mapping[str, tuple[str, str, str]] | None = None,
    health: Health | None = None,
    process: str = "one",
    host: str = "triggerer-1",
    conn_ids: tuple[str, ...] = (CONN,),
    ago: float = 0.0,
) -> dict[str, str]:
    """Return the Variables that a triggerer leaves."""
    head = Told(host, process, conn_ids, time.time() - ago, health or Health(waiting=1, requests_per_minute=12.0))
    texts = [*texts_of_waits(head, jobs), *texts_of_names(head, names or {})]
    return {f"{PREFIX}{process}_{number}": text for number, text in enumerate(texts)}
