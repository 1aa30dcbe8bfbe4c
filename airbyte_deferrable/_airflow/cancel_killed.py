"""From the triggerer: cancel the job of a deferred task that a user killed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from airbyte_deferrable._airflow.credentials import Renewal, settings_for_trigger
from airbyte_deferrable._airflow.shared_watcher import opened_watcher, shared_watcher
from airbyte_deferrable._job.cancel import cancel_job
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable._job.wait import CredentialsChanged
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError

#: Seconds for the job to end once its task was killed. One is cancelled at once. But all of a DAG run may be killed
#: together: at three a time, and half a second each as Airbyte stops them, two thousand take six minutes. No triggerer
#: that stops is held by it: Airflow ends that within half a minute.
CANCEL_KILLED_WITHIN = 600.0


async def cancel_killed(conn_id: str, api_version: str, job_id: int, connection_id: str, log: Log) -> None:
    """Cancel the job, also where its Airbyte is asked with credentials that change meanwhile; say so if it fails.

    :param api_version: The version in the public API's path, where the host names no path of its own.
    :param connection_id: The Airbyte connection whose job it has to be; empty for any.
    """
    try:
        look_up = settings_for_trigger(conn_id, api_version, log)
        renewal = Renewal(conn_id, api_version, await asyncio.wait_for(look_up, CANCEL_KILLED_WITHIN))
        await shared_watcher(renewal.settings)

        def borrow() -> AirbyteClient:
            with suppress(CredentialsChanged):
                renewal.check(log)
            return opened_watcher(renewal.settings).borrow_client()

        renewal.seek()
        try:
            await cancel_job(borrow, job_id, within=CANCEL_KILLED_WITHIN, log=log, connection_id=connection_id)
        finally:
            renewal.stop()
    except (ApiError, asyncio.TimeoutError) as error:
        why = str(error) or "the connection cannot be read"
        log.error("Airbyte job %s could not be cancelled: %s", job_id, why)


async def to_the_end(work: Coroutine[Any, Any, None], logger: Any) -> None:
    """Run to the end: Airflow cancels a trigger again each second until it has ended.

    :param logger: Gets the traceback of what fails.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue
        except Exception:
            logger.exception("Cleaning up after a kill failed")
