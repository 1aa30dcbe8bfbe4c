"""The one place where a finished wait becomes an event, and an event XComs, a result or an exception."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from airbyte_deferrable._airflow.off_loop import Log
from airbyte_deferrable._airflow.task_instance import task_instance, try_of
from airbyte_deferrable._compat import Context
from airbyte_deferrable.api.models import Job, JobStatus
from airbyte_deferrable.exceptions import (
    AirbyteConfigError,
    AirbyteException,
    AirbyteJobCancelled,
    AirbyteJobFailed,
    AirbyteNotVisibleError,
    AirbyteTimeout,
)

if TYPE_CHECKING:
    from airbyte_deferrable._job.failure import Explanation

#: Which clock ran out: the task's patience, or the task's life.
Clock = Literal["timeout", "execution_timeout"]

#: What the official provider's trigger says when the task's ``timeout`` is over, as an ``error`` like any other.
OFFICIAL_TIMEOUT = "has not reached a terminal status"


class Event(BaseModel):
    """What the trigger tells the task. ``status``, ``message`` and ``job_id`` are the official provider's.

    :param status: ``success``, ``error`` or ``cancelled`` as the job ended; ``error`` too when ``timeout`` ran
        out or the job is not to be seen; ``timeout`` when ``execution_timeout`` ran out.
    :param message: The same in words.
    :param job_id: The job.
    :param reason: What an ``error`` is about if not the job's own failure: ``timeout`` or
        ``not_visible``.
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
    reason: Literal["timeout", "not_visible"] | None = None
    job: Job | None = None
    try_number: int | None = None
    connection_id: str = ""
    started_here: bool | None = None
    job_url: str = ""
    xcoms_written: bool = False

    def payload(self) -> dict[str, Any]:
        """Return the event as plain JSON data, as Airflow stores it."""
        return self.model_dump(by_alias=True, exclude_none=True)


_EVENT_OF: dict[str, Literal["success", "error", "cancelled"]] = {
    JobStatus.SUCCEEDED: "success",
    JobStatus.FAILED: "error",
    JobStatus.CANCELLED: "cancelled",
}


def ended(job: Job, try_number: int | None = None) -> Event:
    """Return the event for a job that has ended.

    :param job: The job.
    :param try_number: The try that waited for it.
    """
    words = {"success": "completed successfully", "error": "failed", "cancelled": "been cancelled"}
    status = _EVENT_OF[job.status]
    return Event(
        status=status,
        message=f"Job run {job.job_id} has {words[status]}.",
        job_id=job.job_id,
        job=job,
        try_number=try_number,
    )


def ran_out(clock: Clock, job_id: int, last: Job | None, try_number: int | None = None) -> Event:
    """Return the event for a wait that took too long.

    :param clock: Which clock ran out.
    :param job_id: The job.
    :param last: What was last known of it.
    :param try_number: The try that waited for it.
    """
    state = f"it is {last.status!r}" if last else "its status is not known"
    return Event(
        status="timeout" if clock == "execution_timeout" else "error",
        message=f"Job run {job_id} has not ended before {clock} was over; {state}.",
        job_id=job_id,
        reason="timeout",
        job=last,
        try_number=try_number,
    )


def not_visible(job_id: int, words: str, try_number: int | None = None) -> Event:
    """Return the event for a job that Airbyte says is not there to be seen.

    :param job_id: The job.
    :param words: What Airbyte said.
    :param try_number: The try that waited for it.
    """
    return Event(status="error", message=words, job_id=job_id, reason="not_visible", try_number=try_number)


def read_event(payload: Any) -> Event:
    """Read what the trigger told, and believe nothing that does not fit: a lost or garbled event is no success.

    :param payload: What Airflow handed over.
    :return: The event.
    :raises AirbyteException: If it is not an event.
    """
    try:
        return Event.model_validate(payload)
    except ValidationError:
        known = sorted(payload) if isinstance(payload, Mapping) else type(payload).__name__
        raise AirbyteException(
            f"The task was resumed without a readable event ({known}), so the job's outcome is not known. "
            "Look the job up in Airbyte, and run the task again."
        ) from None


def is_of_another_try(payload: Any, context: Context, log: Log) -> bool:
    """Tell whether an event is not for this try: Airflow 3.0 hands a new try the old one's, without starting it over.

    :param payload: What Airflow handed over.
    :param context: The task's context.
    :param log: The task's log.
    """
    told = payload.get("try_number") if isinstance(payload, Mapping) else None
    now = try_of(context)
    if told is None or now is None or told == now:
        return False
    log.info("This event is of try %s: starting try %s", told, now)
    return True


def push(job: Job, context: Context) -> None:
    """Leave the job's facts in XCom. Each key is a call to Airflow of its own, 12 to 20 ms of a worker.

    :param job: The job.
    :param context: The task's context; one without a task instance has no XComs.
    """
    ti = task_instance(context)
    if ti is not None:
        for key, value in xcoms(job).items():
            ti.xcom_push(key=key, value=value)


def conclude(job: Job, log: Log, conn_id: str, why: Explanation | None = None) -> int:
    """Say how a job ended: a line in the log and the task's return value, or the exception.

    :param job: The job, which has ended.
    :param log: The task's log.
    :param conn_id: The Airflow connection, for messages.
    :param why: Why it failed, as far as that is known.
    :return: The job's id.
    :raises AirbyteConfigError: If the job failed and Airbyte blames the settings.
    :raises AirbyteJobFailed: If the job failed for another reason.
    :raises AirbyteJobCancelled: If the job was cancelled.
    """
    if job.status == JobStatus.SUCCEEDED:
        log.info("Job %s succeeded: %s", job.job_id, facts(job))
        return job.job_id
    subject: dict[str, Any] = {"conn_id": conn_id, "connection_id": job.connection_id, "job_id": job.job_id}
    if job.status == JobStatus.CANCELLED:
        raise AirbyteJobCancelled(
            f"Airbyte job {job.job_id} of connection {job.connection_id} was cancelled ({facts(job)}). "
            "Somebody cancelled it in Airbyte, a reset of the connection took its place, or it was queued for longer "
            "than Airbyte lets it.",
            **subject,
        )
    what = f"Airbyte job {job.job_id} of connection {job.connection_id} failed ({facts(job)})."
    if why is None:
        raise AirbyteJobFailed(
            f"{what} Airbyte's config API did not tell why: see the job's log in Airbyte.", **subject
        )
    if why.log_lines:
        log.error("The end of Airbyte's log of job %s:\n%s", job.job_id, "\n".join(why.log_lines))
    if why.is_config_error:
        what = f"{what} It fails again until somebody mends the settings in Airbyte."
        raise AirbyteConfigError(f"{what} {why}", explanation=why, **subject)
    raise AirbyteJobFailed(f"{what} {why}", explanation=why, **subject)


def fail(
    event: Event,
    conn_id: str,
    connection_id: str | None,
    patience: float | None,
    then: str = "The job goes on; AirbyteJobSensor can wait for it.",
) -> AirbyteException:
    """Return the exception for a wait that ended without the job's end.

    :param event: The event.
    :param conn_id: The Airflow connection, for messages.
    :param connection_id: The Airbyte connection, if known.
    :param patience: The seconds of the clock that ran out, if one did.
    :param then: What became of the job when it did. Default: it goes on.
    """
    connection_id = (event.job.connection_id if event.job else None) or connection_id
    subject: dict[str, Any] = {"conn_id": conn_id, "connection_id": connection_id, "job_id": event.job_id}
    of = f" of connection {connection_id}" if connection_id else ""
    if event.reason == "timeout":
        clock = "execution_timeout" if event.status == "timeout" else "timeout"
        span = f" ({patience:g} s)" if patience is not None else ""
        last = f" It was seen last as {event.job.status!r}." if event.job else ""
        return AirbyteTimeout(
            f"Airbyte job {event.job_id}{of} has not ended before the task's {clock}{span} was over. {then}{last}",
            **subject,
        )
    if event.reason == "not_visible":
        return AirbyteNotVisibleError(
            f"Airbyte job {event.job_id}{of} cannot be seen (Airflow connection {conn_id!r}): it is not there, or not "
            f"any more, or the credentials may not see it. {event.message}",
            **subject,
        )
    return AirbyteException(f"Waiting for Airbyte job {event.job_id}{of} failed: {event.message}", **subject)


def xcoms(job: Job) -> dict[str, Any]:
    """Return what a task leaves in XCom about its job.

    :param job: The job.
    """
    return {
        "final_status": job.status,
        "rows_synced": job.rows_synced,
        "airbyte_job": {**job.to_json(), "durationSeconds": job.duration_seconds},
    }


def facts(job: Job) -> str:
    """Say in a few words how far a job has come.

    :param job: The job.
    """
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
    """Say a number of bytes as people do.

    :param count: The number.
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"


def readable_seconds(seconds: float) -> str:
    """Say a span as people do: ``1h 02m 03s``.

    :param seconds: The span.
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m {rest:02d}s"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"
