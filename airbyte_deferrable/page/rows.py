"""What Airflow stores and what triggerers have left becomes the rows of the page, and the story of one sync."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError

from airbyte_deferrable._airflow.failure_note import FAILURE
from airbyte_deferrable._airflow.kill import WAIT_MARKER
from airbyte_deferrable._job.events import facts
from airbyte_deferrable.api.models import Job
from airbyte_deferrable.links import JOB_URL
from airbyte_deferrable.page.airflow_models import JOB, OPERATORS, Ended, Task, Waiting
from airbyte_deferrable.page.told import Record
from airbyte_deferrable.page.usual import Usual
from airbyte_deferrable.page.wire import moment, number, task_path, text, web_address

#: Streams that are shown of one job.
MOST_STREAMS = 500
#: What a task waits for, by its trigger's class or its own.
WAITS_FOR = {
    "AirbyteFreshnessTrigger": "fresh",
    "AirbyteFreshnessSensor": "fresh",
    "AirbyteQueueTrigger": "queue",
}
NO_USUAL = Usual()
#: Nothing is known of how it ended, but that it did.
UNKNOWN = "unknown"


def running_row(waiting: Waiting, record: Record, usual: Mapping[str, Usual], now: float) -> dict[str, Any]:
    """Return the row of a sync that a task waits for.

    :param waiting: The task.
    :param record: What triggerers have told.
    :param usual: How long syncs take, by connection.
    :param now: Seconds since the epoch.
    """
    task, arguments, fields = waiting.task, waiting.arguments, waiting.fields
    waits_for = WAITS_FOR.get(waiting.trigger or task.operator or "", "sync")
    marker = _mapping(waiting.xcoms.get(WAIT_MARKER))
    url = web_address(waiting.xcoms.get(JOB_URL))
    linked = _linked(url)
    ended = job_of(waiting.xcoms.get(JOB))
    job_id = _whole(arguments.get("job_id")) or _whole(marker.get("job_id")) or linked[1]
    job_id = job_id or _whole(fields.get("airbyte_job_id"))
    conn_id = text(arguments.get("conn_id")) or text(fields.get("airbyte_conn_id"))
    connection_id = text(arguments.get("connection_id")) or text(marker.get("connection_id")) or linked[0]
    connection_id = connection_id or text(fields.get("connection_id"))
    known = record.job(conn_id, connection_id, job_id)
    if known is not None and not connection_id:
        connection_id = known.connection_id or None
    name, source, destination = record.names(connection_id)
    name = name or text(arguments.get("connection_name")) or text(fields.get("connection_name"))
    queued_at = number(arguments.get("queued_at")) if waits_for == "queue" else None
    since = (known.created_at if known else None) or queued_at or _seconds(task.started_at)
    typically = usual.get(connection_id or "", NO_USUAL)
    lasts = None if since is None or waits_for != "sync" else max(0.0, now - since)
    status = known.status if known else None
    rows, size = (known.rows, known.bytes) if known else (None, None)
    if ended is not None:
        # Its trigger has seen it end, and the task waits for a worker.
        status, rows, size = ended.status, ended.rows_synced, ended.bytes_synced
    return {
        **_identity(task),
        "waits_for": waits_for,
        "conn_id": conn_id,
        "connection_id": connection_id,
        "connection_name": name,
        "source": source,
        "destination": destination,
        "job_id": job_id,
        "status": status,
        "since": moment(since),
        "rows": rows,
        "bytes": size,
        "rows_per_second": known.rows_per_second if known and ended is None else None,
        "bytes_per_second": known.bytes_per_second if known and ended is None else None,
        "seen_at": moment(known.seen_at) if known else None,
        "attempts": known.attempts if known else None,
        "usual_seconds": typically.seconds,
        "usual_of": typically.of,
        "late": ended is None and typically.is_late(lasts),
        "queued_seconds": None if queued_at is None else max(0.0, round(now - queued_at, 1)),
        "airbyte_url": url,
    }


def ended_row(ended: Ended, record: Record, usual: Mapping[str, Usual]) -> dict[str, Any]:
    """Return the row of a sync that has ended.

    :param ended: The task.
    :param record: What triggerers have told: what connections are called.
    :param usual: How long syncs take, by connection.
    """
    task, fields = ended.task, ended.fields
    job, note = job_of(ended.xcoms.get(JOB)), _mapping(ended.xcoms.get(FAILURE))
    url = web_address(ended.xcoms.get(JOB_URL))
    linked = _linked(url)
    connection_id = (job.connection_id if job else None) or text(note.get("connection_id")) or linked[0]
    connection_id = connection_id or text(fields.get("connection_id"))
    name, source, destination = record.names(connection_id)
    outcome = job.status if job is not None and job.terminal else text(note.get("outcome")) or UNKNOWN
    seconds = number(_mapping(ended.xcoms.get(JOB)).get("durationSeconds")) if job else None
    typically = usual.get(connection_id or "", NO_USUAL)
    at = (job.updated_at if job and job.last_updated_at else None) or task.ended_at or ended.noted_at
    return {
        **_identity(task),
        "waits_for": WAITS_FOR.get(task.operator or "", "sync"),
        "conn_id": text(note.get("conn_id")) or text(fields.get("airbyte_conn_id")),
        "connection_id": connection_id,
        "connection_name": name or text(fields.get("connection_name")),
        "source": source,
        "destination": destination,
        "job_id": (job.job_id if job else None) or _whole(note.get("job_id")) or linked[1],
        "outcome": outcome,
        "started_at": moment(job.created_at if job else task.started_at),
        "ended_at": moment(at),
        "seconds": seconds,
        "rows": job.rows_synced if job else None,
        "bytes": job.bytes_synced if job else None,
        "attempts": _whole(note.get("attempts")),
        "usual_seconds": typically.seconds,
        "usual_of": typically.of,
        "late": outcome == "succeeded" and typically.is_late(seconds),
        "reason": text(note.get("reason")),
        "airbyte_url": url,
    }


def story(
    task: Task, earlier: Sequence[Task], row: Mapping[str, Any], xcoms: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return what has happened to a sync, oldest first.

    :param task: The task instance.
    :param earlier: Its tries before.
    :param row: Of :func:`running_row` or :func:`ended_row`.
    :param xcoms: The task's XComs of ours.
    """
    told: list[tuple[str | None, str]] = []
    for each in earlier:
        told.append((moment(each.started_at), f"Try {each.try_number} of the task started."))
        told.append((moment(each.ended_at), f"Try {each.try_number} ended: {each.state or 'no state'}."))
    told.append((moment(task.started_at), f"Try {task.try_number} of the task started."))
    job, note = job_of(xcoms.get(JOB)), _mapping(xcoms.get(FAILURE))
    if job is not None:
        told.append((moment(job.created_at), f"Airbyte made job {job.job_id}."))
        told.append((moment(job.updated_at), f"Airbyte's job {job.job_id} {_ended_how(job)}: {facts(job)}."))
    elif row.get("ended") is False:
        told += _so_far(row)
    if text(note.get("reason")) and (job is None or job.status == "succeeded"):
        told.append((moment(task.ended_at), str(note["reason"])))
    if task.ended_at is not None and task.state not in (None, "deferred", "running", "queued", "scheduled"):
        told.append((moment(task.ended_at), f"The task ended: {task.state}."))
    # Equal moments stay in the order of what follows from what.
    known = sorted(((at, what) for at, what in told if at is not None), key=lambda each: each[0])
    return [{"at": at, "what": what} for at, what in known]


def attempts(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return Airbyte's attempts, as far as they are known: how many, and how the last one stands.

    :param row: Of :func:`running_row` or :func:`ended_row`.
    """
    count = row.get("attempts")
    if not count:
        return []
    last = row.get("outcome") or row.get("status")
    before = [_attempt(each, "failed") for each in range(1, min(int(count), 100))]
    figures = {"rows": row["rows"], "bytes": row["bytes"], "reason": row.get("reason")}
    return [*before, {**_attempt(int(count), str(last)), **figures}]


def streams(xcom: Any) -> tuple[list[dict[str, Any]], int]:
    """Return a job's streams, and how many are left out.

    :param xcom: The XCom ``streams``; anything else has none.
    """
    told = _mapping(xcom)
    rows = [each for each in told.get("streams") or () if isinstance(each, dict)]
    left_out = _whole(_mapping(told.get("left_out")).get("streams")) or 0
    found = [
        {
            "name": str(each.get("name") or ""),
            "namespace": text(each.get("namespace")),
            "rows": number(each.get("rows_committed")),
            "bytes": number(each.get("bytes_committed")),
            "rows_rejected": number(each.get("rows_rejected")),
            "sync_mode": text(each.get("sync_mode")),
            "destination": text(each.get("destination")),
        }
        for each in rows[:MOST_STREAMS]
    ]
    return found, left_out + max(0, len(rows) - MOST_STREAMS)


def is_ours(task: Task, trigger: str, xcoms: Mapping[str, Any]) -> bool:
    """Tell whether a task waits for syncs, or has.

    :param task: The task instance.
    :param trigger: The class of its trigger, if that is one of ours.
    :param xcoms: Its XComs of ours.
    """
    return bool(trigger or task.operator in OPERATORS or set(xcoms) & {WAIT_MARKER, JOB, JOB_URL, FAILURE})


def job_of(xcom: Any) -> Job | None:
    """Return the job that an XCom holds; None if it holds none.

    :param xcom: The XCom ``airbyte_job``.
    """
    if not isinstance(xcom, dict):
        return None
    try:
        return Job.model_validate(xcom)
    except ValidationError:
        return None


def _identity(task: Task) -> dict[str, Any]:
    return {
        "dag_id": task.dag_id,
        "run_id": task.run_id,
        "task_id": task.task_id,
        "map_index": task.map_index,
        "try_number": task.try_number,
        "task_state": task.state,
        "task_path": task_path(*task.key),
    }


def _so_far(row: Mapping[str, Any]) -> list[tuple[str | None, str]]:
    job_id = row["job_id"]
    if row["waits_for"] == "queue":
        return [(row["since"], "The task waits until the connection is free for its job.")]
    if row["waits_for"] == "fresh":
        return [(row["since"], "The task waits for a sync that is fresh enough.")]
    if job_id is None:
        return []
    told = [(row["since"], f"Airbyte made job {job_id}." if row["status"] else f"The task waits for job {job_id}.")]
    if row["status"] and row["seen_at"]:
        figures = facts(Job(job_id=job_id, status=row["status"], rows_synced=row["rows"], bytes_synced=row["bytes"]))
        told.append((row["seen_at"], f"Airbyte said last that job {job_id} is {row['status']}: {figures} so far."))
    return told


def _ended_how(job: Job) -> str:
    return {"succeeded": "succeeded", "failed": "failed", "cancelled": "was cancelled"}.get(job.status, job.status)


def _attempt(number: int, status: str) -> dict[str, Any]:
    unknown = dict.fromkeys(("started_at", "ended_at", "rows", "bytes", "reason"))
    return {"number": number, "status": status, **unknown}


def _linked(url: str | None) -> tuple[str | None, int | None]:
    """Return the connection and the job that an address leads to, as :func:`~airbyte_deferrable.links.job_url` says."""
    if url is None:
        return None, None
    parts = urlsplit(url)
    path = parts.path.split("/")
    connection_id = path[path.index("connections") + 1] if "connections" in path[:-1] else None
    return connection_id or None, _whole(next(iter(parse_qs(parts.query).get("jobId", ())), None))


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _whole(found: Any) -> int | None:
    """Return a number of something; None for none, and for no number."""
    if isinstance(found, bool):
        return None
    if isinstance(found, str) and found.isascii() and found.isdigit():
        return int(found[:18])
    return found if isinstance(found, int) and found > 0 else None


def _seconds(when: datetime | None) -> float | None:
    return None if when is None else when.timestamp()
