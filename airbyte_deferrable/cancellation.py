"""Cancelling a job, and only that job."""

from __future__ import annotations

import asyncio
import time

from airbyte_deferrable._compat import Log
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError, Conflict, Unreachable
from airbyte_deferrable.api.models import Job

#: Seconds between two looks at a job that is being cancelled.
LOOK_AGAIN = 0.5


async def cancel_job(client: AirbyteClient, job_id: int, *, within: float, log: Log) -> Job:
    """Cancel a job and see it end.

    Airbyte cancels whatever the job's *connection* runs, whichever job is named, and does nothing while the job
    is still pending although it answers 200. So the job is looked at before each attempt, and again until it has
    ended. Between the look and the attempt the job may end and another begin; nothing in Airbyte's API closes
    that gap of one round trip.

    :param client: The Airbyte.
    :param job_id: The job.
    :param within: Seconds after which to give up.
    :param log: Gets a line when the cancellation begins and when it has happened.
    :return: The job as it was seen last: terminal, unless time was up.
    :raises airbyte_deferrable.api.errors.ApiError: If Airbyte refused, or gave no answer in that time.
    """
    give_up_at = time.monotonic() + within
    asked = False
    while True:
        try:
            job = await client.get_job(job_id)
            if job.terminal:
                if asked:
                    log.info("Airbyte job %s is %s", job_id, job.status)
                else:
                    log.info("Airbyte job %s has ended already (%s): nothing to cancel", job_id, job.status)
                return job
            if not asked:
                log.info("Cancelling Airbyte job %s of connection %s", job_id, job.connection_id)
            job = await _ask_to_cancel(client, job)
            asked = True
        except ApiError as error:
            if not error.transient or time.monotonic() >= give_up_at:
                raise
        else:
            if not job.terminal and time.monotonic() >= give_up_at:
                log.warning("Airbyte job %s is still %s after %.0f s of cancelling", job_id, job.status, within)
                return job
        await asyncio.sleep(LOOK_AGAIN)


async def _ask_to_cancel(client: AirbyteClient, job: Job) -> Job:
    try:
        return await client.cancel_job(job.job_id)
    except Conflict:
        # "Job is not currently running": it has ended meanwhile, or its attempt has not begun. The next look tells.
        return job
    except Unreachable:
        # The request may have arrived. The next look tells.
        return job
