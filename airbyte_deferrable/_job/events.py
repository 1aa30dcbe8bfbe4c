"""What a trigger tells its task, and the words for a job's status and progress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from airbyte_deferrable.api.models import Job, JobStatus

#: Which of the task's deadlines passed: its parameter's, or Airflow's own.
Deadline = Literal["timeout", "execution_timeout"]

#: How a wait can end. ``unknown``: the event does not tell, and Airbyte has to be asked.
EventKind = Literal["ended", "timeout", "execution_timeout", "not_visible", "unresolved", "unknown"]

#: The ``job_id`` of an event of who waited for whichever job of a connection, and saw none: Airbyte counts from 1.
NO_JOB = 0

#: What the official provider's trigger says when the task's ``timeout`` is over, as an ``error`` like any other.
OFFICIAL_TIMEOUT = "has not reached a terminal status"


class UnreadableEvent(Exception):
    """What Airflow handed to the task is no event.

    :param payload: What it handed over.
    """

    def __init__(self, payload: Any) -> None:
        known = sorted(payload) if isinstance(payload, Mapping) else type(payload).__name__
        super().__init__(
            f"The task was resumed without a readable event ({known}), so the job's outcome is not known. "
            "Look the job up in Airbyte, and run the task again."
        )


class Event(BaseModel):
    """What the trigger tells the task. ``status``, ``message`` and ``job_id`` are the official provider's.

    :param status: ``success``, ``error`` or ``cancelled`` as the job ended; ``error`` too when ``timeout`` ran
        out or the job is not to be seen; ``timeout`` when ``execution_timeout`` ran out.
    :param message: The same in words.
    :param job_id: The job; 0 where whichever job of a connection was waited for and none came.
    :param reason: What an ``error`` is about if not the job's own failure: ``timeout``, ``not_visible``, or
        ``unresolved`` where a name leads to no connection.
    :param job: The job's facts, keys as on Airbyte's wire; absent in events of other versions.
    :param try_number: The try that waited; absent where the trigger did not know it.
    :param connection_id: The connection whose job it is; empty where the trigger did not know it.
    :param started_here: Whether the task has started the job; absent where the trigger did not know it.
    :param job_url: Where the job is in Airbyte's web app, if the task is to write that down; else empty.
    :param xcoms_written: Whether the task's XComs say already how the job ended.
    """

    model_config = ConfigDict(extra="ignore", defer_build=True)

    status: Literal["success", "error", "cancelled", "timeout"]
    message: str = ""
    job_id: int
    reason: Literal["timeout", "not_visible", "unresolved"] | None = None
    job: Job | None = None
    try_number: int | None = None
    connection_id: str = ""
    started_here: bool | None = None
    job_url: str = ""
    xcoms_written: bool = False

    def payload(self) -> dict[str, Any]:
        """Return the event as plain JSON data, as Airflow stores it."""
        return self.model_dump(by_alias=True, exclude_none=True)

    @property
    def kind(self) -> EventKind:
        """How the wait ended. The official provider's trigger says ``timeout`` in words, and never tells the job."""
        if self.reason in ("not_visible", "unresolved"):
            return self.reason
        if self.status == "timeout":
            return "execution_timeout"
        if self.reason == "timeout" or OFFICIAL_TIMEOUT in self.message:
            return "timeout"
        return "ended" if self.job is not None else "unknown"


_EVENT_OF: dict[str, Literal["success", "error", "cancelled"]] = {
    JobStatus.SUCCEEDED: "success",
    JobStatus.FAILED: "error",
    JobStatus.CANCELLED: "cancelled",
}


def ended(job: Job, try_number: int | None = None) -> Event:
    """Return the event for a job that has ended."""
    words = {"success": "completed successfully", "error": "failed", "cancelled": "been cancelled"}
    status = _EVENT_OF[job.status]
    return Event(
        status=status,
        message=f"Job run {job.job_id} has {words[status]}.",
        job_id=job.job_id,
        job=job,
        try_number=try_number,
    )


def ran_out(deadline: Deadline, job_id: int, last: Job | None, try_number: int | None = None) -> Event:
    """Return the event for a wait that took too long.

    :param deadline: Which deadline passed.
    :param job_id: The job, or :data:`NO_JOB`.
    :param last: What was last known of it.
    """
    state = f"it is {last.status!r}" if last else "its status is not known"
    message = f"Job run {job_id} has not ended before {deadline} was over; {state}."
    if job_id == NO_JOB:
        message = f"No job that was waited for has ended before {deadline} was over."
    return Event(
        status="timeout" if deadline == "execution_timeout" else "error",
        message=message,
        job_id=job_id,
        reason="timeout",
        job=last,
        try_number=try_number,
    )


def not_visible(job_id: int, words: str, try_number: int | None = None) -> Event:
    """Return the event for a job, or a connection, that Airbyte says is not there to be seen.

    :param job_id: The job, or :data:`NO_JOB`.
    :param words: What Airbyte said.
    """
    return Event(status="error", message=words, job_id=job_id, reason="not_visible", try_number=try_number)


def unresolved(words: str, try_number: int | None = None) -> Event:
    """Return the event for a connection whose name leads nowhere, or to several.

    :param words: What the reader can do.
    """
    return Event(status="error", message=words, job_id=NO_JOB, reason="unresolved", try_number=try_number)


def read_event(payload: Any) -> Event:
    """Read what the trigger told, and believe nothing that does not fit: a lost or garbled event is no success.

    :param payload: What Airflow handed over.
    :raises UnreadableEvent: If it is not an event.
    """
    try:
        return Event.model_validate(payload)
    except ValidationError:
        raise UnreadableEvent(payload) from None


def facts(job: Job) -> str:
    """Say in a few words how far a job has come."""
    parts = []
    if job.rows_synced is not None:
        parts.append(f"{job.rows_synced:,} rows")
    if job.bytes_synced is not None:
        parts.append(readable_bytes(job.bytes_synced))
    # Of a live one it is that until the last change of its status.
    if job.terminal and job.duration_seconds is not None:
        parts.append(readable_seconds(job.duration_seconds))
    return ", ".join(parts) or "no figures"


def readable_bytes(count: float) -> str:
    """Say a number of bytes as people do."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"


def readable_seconds(seconds: float) -> str:
    """Say a span as people do: ``1h 02m 03s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m {rest:02d}s"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"
