"""The job that a request has made whose answer was lost.

Airbyte's create has no idempotency key, and its answer can get lost while the job runs. What makes it safe is
that Airbyte numbers jobs in the order of their creation and lists a connection's newest first: what is newer than
the newest job before the request, and was made within minutes of it, is what the request made.

What this cannot tell: whether somebody else started that job in the very same minutes. It is waited for all the same,
so that nothing runs twice, but never cancelled.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from airbyte_deferrable._job.job_list import newest_jobs
from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import NOT_VISIBLE, Rejected
from airbyte_deferrable.api.models import Job, JobType

#: Seconds that Airbyte's clock may be ahead of the worker's.
CLOCKS_APART = 120.0
#: What Airbyte may make of a request. A sync can come back as anything: Airbyte does what is pending first.
MAY_BECOME = {
    JobType.RESET: {JobType.RESET, JobType.CLEAR},
    JobType.CLEAR: {JobType.RESET, JobType.CLEAR},
    JobType.REFRESH: {JobType.REFRESH},
}


class Span(NamedTuple):
    """What requests may have made that got no answer that counts.

    :param after: It is newer than this job, the connection's newest before the first of them.
    :param until: It was made before this moment, seconds since the epoch.
    """

    after: int
    until: float

    def may_hold(self, job: Job) -> bool:
        """Tell whether one of them may have made the job."""
        made_at = job.created_at
        return job.job_id > self.after and (made_at is None or made_at.timestamp() < self.until)


class LostRequests:
    """Those requests of a task that are unanswered, and the search for what they have made.

    :param connection_id: The connection to run; may be set later.
    :param job_type: What to run.
    """

    def __init__(self, connection_id: str, job_type: str, policy: SubmitPolicy, log: Log) -> None:
        self.connection_id = connection_id
        #: None if there are none.
        self.span: Span | None = None
        self._job_type = job_type
        self._policy = policy
        self._log = log

    def add(self, after: int, asked_at: float) -> Span:
        """Take one more request for unanswered.

        :param after: The connection's newest job before it.
        :param asked_at: Seconds since the epoch.
        """
        until = asked_at + self._policy.settle + CLOCKS_APART
        self.span = Span(after if self.span is None else self.span.after, until)
        return self.span

    def made(self, jobs: tuple[Job, ...] | None) -> Job | None:
        """Return the first of some jobs that an unanswered request may have made, of a type that this task's may have.

        :param jobs: The connection's jobs; None if they could not be listed.
        """
        if self.span is None:
            return None
        span, types = self.span, MAY_BECOME.get(JobType(self._job_type))
        found = [job for job in jobs or () if span.may_hold(job) and (not types or job.job_type in types)]
        return min(found, default=None, key=lambda job: job.job_id)

    async def look(self, client: AirbyteClient, settle: float) -> Job | None:
        """Look until it is certain that there is no such job. An Airbyte that cannot be asked makes nothing certain.

        :param settle: Seconds within which a job may still appear.
        """
        settled_at = time.monotonic() + settle
        pauses = self._policy.pauses()
        while True:
            job = self.made(await self.newest_jobs(client))
            left = settled_at - time.monotonic()
            if job is not None or left <= 0:
                return job
            await asyncio.sleep(min(next(pauses), left))

    async def look_again(self, client: AirbyteClient, after: int, asked_at: float) -> Job | None:
        """Find the job of a request of a process that has ended since, if it was made at all.

        :param after: The connection's newest job before it.
        :param asked_at: Seconds since the epoch.
        """
        left = asked_at + self._policy.settle - time.time()
        span = self.add(after, asked_at)
        job = await self.look(client, min(max(0.0, left), self._policy.settle))
        if time.time() > span.until:
            self.span = None
        return job

    async def newest_jobs(self, client: AirbyteClient) -> tuple[Job, ...] | None:
        """Return the connection's newest jobs; None if they cannot be listed."""
        try:
            return await self._policy.retry(lambda: newest_jobs(client, self.connection_id), self._log)
        except (*NOT_VISIBLE, Rejected):
            # If it is the connection that cannot be seen, the request to start the job will say so.
            return None
