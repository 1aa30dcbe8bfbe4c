"""At most one job for one task.

Airbyte's create has no idempotency key, and its answer can get lost while the job runs. What makes it safe is
that Airbyte numbers jobs in the order of their creation and lists a connection's newest first: whatever is newer
than the newest job before the request is what the request made.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from airbyte_deferrable._compat import Log
from airbyte_deferrable.api.client import NEWEST_FIRST, AirbyteClient
from airbyte_deferrable.api.errors import ApiError, Conflict, Forbidden, NotFound, Unreachable
from airbyte_deferrable.api.models import Job, JobStatus
from airbyte_deferrable.memory import Record

#: Airbyte's name for a 409 that says: the connection runs a job already.
BUSY = "try-again-later"
#: How far back a connection's newest jobs are looked through.
LOOK_BACK = 20


@dataclass(frozen=True)
class Patience:
    """How long a submission goes on. Seconds.

    :param settle: How long a job is looked for whose create got no answer that counts, before it is certain that
        none was made. Airbyte gives its own answer up after 60 s.
    :param unreachable: How long an Airbyte that cannot be reached is tried.
    :param pause: The longest pause between two attempts.
    """

    settle: float = 75.0
    unreachable: float = 300.0
    pause: float = 10.0


class Busy(Exception):
    """The connection runs another job.

    :param job: That job; None if it ended before it could be found.
    :param error: Airbyte's own words, if it was asked.
    """

    def __init__(self, job: Job | None, error: Conflict | None = None) -> None:
        self.job = job
        self.error = error
        super().__init__(job, error)


async def newest_job(client: AirbyteClient, connection_id: str) -> Job | None:
    """Return the connection's newest job; None if it never ran.

    :param client: The Airbyte.
    :param connection_id: The connection.
    """
    jobs = await client.list_jobs(connection_id=connection_id, order_by=NEWEST_FIRST, limit=LOOK_BACK)
    return max(jobs, default=None, key=lambda job: job.job_id)


async def find_again(client: AirbyteClient, record: Record, log: Log) -> Job | None:
    """Find the job of an earlier try.

    :param client: The Airbyte.
    :param record: What that try remembered.
    :param log: The task's log.
    :return: The job if it is live or succeeded; None if it failed, was cancelled, has vanished or never was.
    """
    if record.job_id is None:
        job = await _made_since(client, record.connection_id, record.after)
        if job is None:
            return None
    else:
        try:
            job = await client.get_job(record.job_id)
        except (Forbidden, NotFound, Conflict):
            log.info("Airbyte job %s of the last try is gone: starting another", record.job_id)
            return None
    if job.terminal and job.status != JobStatus.SUCCEEDED:
        log.info("Airbyte job %s of the last try is %s: starting another", job.job_id, job.status)
        return None
    log.info("Found Airbyte job %s of the last try, which is %s", job.job_id, job.status)
    return job


async def start_job(
    client: AirbyteClient,
    connection_id: str,
    job_type: str,
    after: int | None,
    *,
    log: Log,
    patience: Patience | None = None,
) -> Job:
    """Start a job, and if the answer is lost, find it.

    :param client: The Airbyte.
    :param connection_id: The connection to run.
    :param job_type: What to run.
    :param after: The connection's newest job before this; 0 if it had none, None if that could not be learned.
    :param log: The task's log.
    :param patience: How long to go on.
    :return: The job.
    :raises Busy: If the connection runs another job.
    :raises airbyte_deferrable.api.errors.ApiError: If Airbyte refuses, or cannot be reached for long.
    """
    patience = patience or Patience()
    give_up_at = time.monotonic() + patience.unreachable
    pauses = _Pauses(patience.pause)
    lost: ApiError | None = None
    while True:
        try:
            return await client.create_job(connection_id, job_type)
        except Conflict as error:
            if error.kind == BUSY:
                # What runs may be what an earlier request of ours has started late.
                made = await _made_since(client, connection_id, after) if lost else None
                if made is not None:
                    return _recovered(made, log)
                raise await _busy(client, connection_id, error) from None
            await _refuse_inactive(client, connection_id, error)
            lost = error
        except Unreachable as error:
            if not error.may_have_arrived:
                if time.monotonic() >= give_up_at:
                    raise
                log.warning("Airbyte cannot be reached to start the job, trying again: %s", error)
                await pauses.take()
                continue
            lost = error
        if after is None:
            raise lost
        log.warning("Airbyte's answer is lost, the job may have been started. Looking for it: %s", lost)
        made = await _look_for(client, connection_id, after, patience)
        if made is not None:
            return _recovered(made, log)
        if time.monotonic() >= give_up_at:
            raise lost
        log.info("No job of connection %s was started: asking Airbyte again", connection_id)
        await pauses.take()


class _Pauses:
    """Pauses that grow, with jitter, so that many tasks do not come back at once."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self.used = 0

    async def take(self) -> None:
        self.used += 1
        await asyncio.sleep(min(0.5 * 2.0 ** min(self.used, 10), self._longest) * random.uniform(0.5, 1.0))


def _recovered(job: Job, log: Log) -> Job:
    log.info("Found Airbyte job %s, which is %s", job.job_id, job.status)
    return job


async def _look_for(client: AirbyteClient, connection_id: str, after: int, patience: Patience) -> Job | None:
    """Look for a job until it is certain that there is none. An Airbyte that cannot be asked makes nothing certain."""
    settled_at = time.monotonic() + patience.settle
    give_up_at = time.monotonic() + max(patience.unreachable, patience.settle)
    pauses = _Pauses(patience.pause)
    while True:
        try:
            job = await _made_since(client, connection_id, after)
            if job is not None:
                return job
            if time.monotonic() >= settled_at:
                return None
        except Unreachable:
            if time.monotonic() >= give_up_at:
                raise
        await pauses.take()


async def _made_since(client: AirbyteClient, connection_id: str, after: int | None) -> Job | None:
    """Return the first job of the connection after the one given."""
    if after is None:
        return None
    jobs = await client.list_jobs(connection_id=connection_id, order_by=NEWEST_FIRST, limit=LOOK_BACK)
    newer = [job for job in jobs if job.job_id > after]
    return min(newer, default=None, key=lambda job: job.job_id)


async def _busy(client: AirbyteClient, connection_id: str, error: Conflict) -> Exception:
    """Name the job that runs. A connection whose workflow was deleted says that it is busy, too."""
    if "deleted" in error.detail.lower():
        return error
    try:
        job = await newest_job(client, connection_id)
    except ApiError:
        job = None
    return Busy(job if job is not None and not job.terminal else None, error)


async def _refuse_inactive(client: AirbyteClient, connection_id: str, error: Conflict) -> None:
    """Airbyte answers ``state-conflict`` for an inactive connection, and hides why: ask for the connection."""
    try:
        connection = await client.get_connection(connection_id)
    except ApiError:
        return
    if connection.status and connection.status != "active":
        detail = f"The connection {connection.name!r} is {connection.status}: activate it in Airbyte."
        raise Conflict(error.call, detail, error.status, kind=error.kind) from None
