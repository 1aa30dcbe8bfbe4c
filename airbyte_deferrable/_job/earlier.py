"""The job of an earlier try: a retry waits for it, a task that was cleared since sees it end.

A user who clears a task wants it done again. Its old job is cancelled by whoever notices the clear: the trigger, the
process on the worker. Nobody may have, where the task was between two tries, or between its event and its resumption,
or where its trigger had not begun. So the next try makes sure of it, and forgets the old job only when that has ended.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from airbyte_deferrable._job.cancel import CANCEL_WITHIN, CHECK_AGAIN, cancel_job
from airbyte_deferrable._job.lost import LostRequests
from airbyte_deferrable._job.record import Record, RetryStore
from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import DOUBTS, NOT_VISIBLE, ApiError
from airbyte_deferrable.api.models import Job

#: Seconds that the trigger of a cleared task is given to cancel its job, before the next try does it. Two that cancel
#: at the same time may hit the job that is started next: Airbyte cancels whatever the connection runs. A trigger
#: notices within two seconds, and gives the next try two more to show that it waits for the same job.
TRIGGER_CANCELS_WITHIN = 6.0


class OldJobRuns(Exception):
    """The job of before the task was cleared has not ended.

    :param job: That job.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(job)


class EarlierTries:
    """What the tries before have left.

    :param store: Where they have left it.
    :param lost: Gets the requests that the tries before had no answer to.
    :param cancel_after: Seconds after which the job of before a clear is cancelled that still runs; None for never.
    """

    def __init__(
        self, store: RetryStore, lost: LostRequests, policy: SubmitPolicy, log: Log, *, cancel_after: float | None
    ) -> None:
        self._store = store
        self._lost = lost
        self._policy = policy
        self._log = log
        self._cancel_after = cancel_after

    async def read(self, client: AirbyteClient, job_type: str) -> Record | None:
        """Return what a try since the last clear has left about the same work; see an older job end.

        :param job_type: What is to be run.
        :raises OldJobRuns: If that has not ended.
        """
        record = await asyncio.to_thread(self._store.read)
        if record is None:
            return None
        if self._store.generation.since(record) == "retried":
            same = (record.connection_id, record.job_type) == (self._lost.connection_id, job_type)
            return record if same else None
        store, old = self._store, record
        while True:
            await self._end(client, store, old)
            # That of a further run of the task: its first one would come upon it.
            store = store.following()
            further = await asyncio.to_thread(store.read)
            if further is None or store.generation.since(further) == "retried":
                return None
            old = further

    async def find(self, client: AirbyteClient, record: Record) -> Job | None:
        """Return the job that a record leads to; None if there is none, as far as Airbyte tells."""
        if record.job_id is not None:
            return await self._look_up(client, record.job_id, record.connection_id)
        if record.after is None:
            return None
        return await self._lost.look_again(client, record.after, record.written_at)

    async def _end(self, client: AirbyteClient, store: RetryStore, record: Record) -> None:
        """See the job of before a clear end, as far as it is this task's."""
        here = record.connection_id == self._lost.connection_id
        if record.state in ("attached", "released") or (record.job_id is None and not here):
            return
        job = await self.find(client, record)
        if job is not None and not job.terminal:
            certain = record.started_job is not None and store.generation.since(record) == "cleared"
            if certain and self._cancel_after is not None:
                job = await self._cancel(client, job, self._cancel_after)
            if not job.terminal and here:
                raise OldJobRuns(job)
        # Another connection's that has not ended is being cancelled, and in nobody's way.
        self._lost.span = None
        await asyncio.to_thread(store.delete)

    async def _cancel(self, client: AirbyteClient, job: Job, after: float) -> Job:
        """Cancel a job, unless somebody else does so in time."""
        self._log.info("Job %s, which this task had started before it was cleared, is to end first", job.job_id)
        until = time.monotonic() + after
        with suppress(*DOUBTS):
            while not job.terminal and time.monotonic() < until:
                await asyncio.sleep(CHECK_AGAIN)
                job = await client.get_job(job.job_id)
        if job.terminal:
            return job
        try:
            return await cancel_job(
                lambda: client, job.job_id, within=CANCEL_WITHIN, log=self._log, connection_id=job.connection_id
            )
        except ApiError as error:
            self._log.error("Airbyte job %s could not be cancelled: %s", job.job_id, error)
            return job

    async def _look_up(self, client: AirbyteClient, job_id: int, connection_id: str) -> Job | None:
        """Return the job; None if Airbyte says twice that there is none."""
        for pause in (min(1.0, self._policy.pause), 0.0):
            try:
                job = await self._policy.retry(lambda: client.get_job(job_id), self._log)
            except NOT_VISIBLE:
                await asyncio.sleep(pause)
            else:
                if job.connection_id in ("", connection_id):
                    return job
                # Another Airbyte than before, or one that was restored from a backup, has given the number away.
                break
        self._log.info("Airbyte job %s of an earlier try is gone", job_id)
        return None
