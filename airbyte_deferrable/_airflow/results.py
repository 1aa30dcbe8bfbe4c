"""A finished wait becomes XComs, and the task's return value or exception."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airbyte_deferrable._airflow.task_instance import task_instance, try_of
from airbyte_deferrable._compat import Context
from airbyte_deferrable._job import events
from airbyte_deferrable._job.events import Event, UnreadableEvent, facts
from airbyte_deferrable._job.task_log import Log
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


def read_event(payload: Any) -> Event:
    """Read what the trigger told, and believe nothing that does not fit: a lost or garbled event is no success.

    :param payload: What Airflow handed over.
    :raises airbyte_deferrable.exceptions.AirbyteException: If it is not an event.
    """
    try:
        return events.read_event(payload)
    except UnreadableEvent as error:
        raise AirbyteException(str(error)) from None


def is_of_another_try(payload: Any, context: Context, log: Log) -> bool:
    """Tell whether an event is not for this try: Airflow 3.0 hands a new try the old one's, without starting it over.

    :param payload: What Airflow handed over.
    """
    told = payload.get("try_number") if isinstance(payload, Mapping) else None
    now = try_of(context)
    if told is None or now is None or told == now:
        return False
    log.info("This event is of try %s: starting try %s", told, now)
    return True


def push(job: Job, context: Context) -> None:
    """Leave the job's facts in XCom. Each key is a call to Airflow of its own, 12 to 20 ms of a worker.

    :param context: The task's context; one without a task instance has no XComs.
    """
    ti = task_instance(context)
    if ti is not None:
        for key, value in xcoms(job).items():
            ti.xcom_push(key=key, value=value)


def finish(job: Job, log: Log, conn_id: str, why: Explanation | None = None) -> int:
    """Say how a job ended: a line in the log and the task's return value, or the exception.

    :param job: The job, which has ended.
    :param conn_id: The Airflow connection, for messages.
    :param why: Why it failed, as far as that is known.
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
            "A user cancelled it in Airbyte, a reset of the connection took its place, or it was queued for longer "
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
        what = f"{what} It fails again until a user mends the settings in Airbyte."
        raise AirbyteConfigError(f"{what} {why}", explanation=why, **subject)
    raise AirbyteJobFailed(f"{what} {why}", explanation=why, **subject)


def fail(
    event: Event,
    conn_id: str,
    connection_id: str | None,
    seconds: float | None,
    then: str = "The job goes on; AirbyteJobSensor can wait for it.",
) -> AirbyteException:
    """Return the exception for a wait that ended without the job's end.

    :param conn_id: The Airflow connection, for messages.
    :param connection_id: The Airbyte connection, if known.
    :param seconds: The task's ``timeout`` or ``execution_timeout``, whichever is over, if one is.
    :param then: What became of the job when it was. Default: it goes on.
    """
    connection_id = (event.job.connection_id if event.job else None) or connection_id
    subject: dict[str, Any] = {"conn_id": conn_id, "connection_id": connection_id, "job_id": event.job_id}
    what = f"Airbyte job {event.job_id}" + (f" of connection {connection_id}" if connection_id else "")
    match event.kind:
        case "timeout" | "execution_timeout" as deadline:
            span = f" ({seconds:g} s)" if seconds is not None else ""
            last = f" It was seen last as {event.job.status!r}." if event.job else ""
            words = f"{what} has not ended before the task's {deadline}{span} was over. {then}{last}"
            return AirbyteTimeout(words, **subject)
        case "not_visible":
            return AirbyteNotVisibleError(
                f"{what} cannot be seen (Airflow connection {conn_id!r}): it is not there, or not any more, or the "
                f"credentials may not see it. {event.message}",
                **subject,
            )
        case _:
            return AirbyteException(f"Waiting for {what} failed: {event.message}", **subject)


def xcoms(job: Job) -> dict[str, Any]:
    """Return what a task leaves in XCom about its job."""
    return {
        "final_status": job.status,
        "rows_synced": job.rows_synced,
        "airbyte_job": {**job.to_json(), "durationSeconds": job.duration_seconds},
    }
