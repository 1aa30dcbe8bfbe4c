"""Which of a connection's jobs are fresh enough: the rule, the list that is asked, and the wait for the next end."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

from airbyte_deferrable._job import events, retrying
from airbyte_deferrable._job.events import Event
from airbyte_deferrable._job.retrying import SYNCS_GO_ON
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable._job.wait import CredentialSource, Deadlines, say_outage
from airbyte_deferrable._watcher.connection_subscription import ConnectionNews, ConnectionSubscription, EndedJobs
from airbyte_deferrable._watcher.directory import KEEP_STANDING
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable.api.aio import SharedCallStopped
from airbyte_deferrable.api.client import NEWEST_FIRST, OLDEST_FIRST, PAGE_SIZE, AirbyteClient
from airbyte_deferrable.api.errors import NOT_VISIBLE, ApiError, Rejected
from airbyte_deferrable.api.models import Connection, ConnectionStatus, Job, JobStatus, JobType

#: What of a job has to be at the moment or later.
MUST_HAVE = ("ended", "started")
IF_FAILED = ("wait", "fail")
#: So many rows are asked for where each counts; the first of them is the one.
FIRST_ROWS = 20
#: Seconds between two checks, at most, that a connection which is waited for is still there.
DEFERRED_CONNECTION_AGAIN = KEEP_STANDING
_EMPTY = Context()

#: The triggerer's own, not a task's.
logger = logging.getLogger(__name__)


class ConnectionGone(Exception):
    """There is no such connection, or not any more, so that none of its jobs is to come."""


@dataclass(frozen=True)
class FreshSync:
    """What is waited for: a job of a connection that is fresh enough, and succeeded.

    :param connection_id: The connection, a UUID.
    :param after: The moment, rounded down to a second as Airbyte's own stamps are: at it, or later, is fresh.
    :param must_have: What of the job has to be: ``ended``, or ``started``, which to Airbyte is its creation.
    :param job_types: Jobs of other types do not count. ``clear`` is none of them: Airbyte answers it as ``reset``.
    :param if_failed: What a fresh job is that failed or was cancelled: nothing (``wait``), or the end (``fail``).
    """

    connection_id: str
    after: datetime
    must_have: Literal["ended", "started"] = "ended"
    job_types: frozenset[str] = frozenset({JobType.SYNC.value})
    if_failed: Literal["wait", "fail"] = "wait"

    def __str__(self) -> str:
        """Say it in a log line: ``a sync of connection … that ended at … or later``."""
        return f"a {self.what}"

    @property
    def what(self) -> str:
        """The same without the article."""
        types = " or ".join(sorted(self.job_types))
        moment = self.after.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{types} of connection {self.connection_id} that {self.must_have} at {moment} or later"

    def counts(self, job: Job) -> bool:
        """Tell whether a job is one of those that matter: ended, of the connection, of a type that counts, and fresh.

        One of which Airbyte does not say when it was is not known to be fresh.
        """
        at = job.updated_at if self.must_have == "ended" else job.created_at
        return (
            job.terminal
            and job.connection_id.lower() == self.connection_id.lower()
            and job.job_type in self.job_types
            and at is not None
            and at >= self.after
        )

    def decided_by(self, jobs: Iterable[Job]) -> Job | None:
        """Return the job that ends the wait; None if none does.

        Of several that succeeded it is the first: whenever a task checks, in whatever way, and however often it is
        cleared, the same moment gives the same job. One that succeeded counts before one that failed, for the data is
        fresh then; of several that failed it is the newest, which says what is wrong now. First is what has the lowest
        number: Airbyte runs the jobs of a connection one by one, in the order of their numbers.

        :param jobs: In whatever order.
        """
        ended = sorted((job for job in jobs if self.counts(job)), key=lambda job: job.job_id)
        succeeded = [job for job in ended if job.status == JobStatus.SUCCEEDED]
        if succeeded:
            return succeeded[0]
        return ended[-1] if ended and self.if_failed == "fail" else None


async def find_fresh(client: AirbyteClient, wanted: FreshSync) -> Job | None:
    """Ask once for the job that ends the wait: one request if there is one that succeeded.

    The list is cut by Airbyte itself to what succeeded since the moment, oldest first, so that the first row is the
    job. What failed is asked for only where it matters.

    :return: The job; None if there is none yet.
    """
    job = wanted.decided_by(await _first_that_count(client, wanted, JobStatus.SUCCEEDED, OLDEST_FIRST))
    if job is None and wanted.if_failed == "fail":
        job = wanted.decided_by(await _first_that_count(client, wanted, None, NEWEST_FIRST))
    return job


async def _first_that_count(
    client: AirbyteClient, wanted: FreshSync, status: str | None, order_by: str
) -> tuple[Job, ...]:
    """Return the rows of the first page that has one that counts; none if no page has.

    With bounds of one side, rows can enter the list but not leave it: a page may repeat one, but miss none.
    """
    # Airbyte takes one type; of several it has to list all.
    of_one_type = len(wanted.job_types) == 1
    limit, offset = FIRST_ROWS if of_one_type else PAGE_SIZE, 0
    ended = wanted.must_have == "ended"
    while True:
        rows = await client.list_jobs(
            connection_id=wanted.connection_id,
            status=status,
            job_type=next(iter(wanted.job_types)) if of_one_type else None,
            updated_since=wanted.after if ended else None,
            created_since=None if ended else wanted.after,
            order_by=order_by,
            limit=limit,
            offset=offset,
        )
        if len(rows) < limit or any(wanted.counts(job) for job in rows):
            return rows
        offset += limit


async def check_connection(client: AirbyteClient, connection_id: str) -> Connection:
    """Ask whether a connection is there: of one that is not, Airbyte lists no jobs, and says no more.

    :return: The connection, which may be inactive.
    :raises ConnectionGone: If it was deleted.
    :raises airbyte_deferrable.api.errors.ApiError: If there is none, or Airbyte cannot be asked.
    """
    connection = await client.get_connection(connection_id)
    if connection.status == ConnectionStatus.DEPRECATED:
        raise ConnectionGone(f"Airbyte connection {connection_id} ({connection.name!r}) was deleted.")
    return connection


async def find_fresh_of_visible(client: AirbyteClient, wanted: FreshSync) -> Job | None:
    """Ask as :func:`find_fresh` does, and where the list is refused, what that is about: the connection, or all lists.

    Airbyte's 403 does not tell. Only if the connection is not to be seen either is it the connection.

    :raises ConnectionGone: As of :func:`check_connection`, and likewise:
    :raises airbyte_deferrable.api.errors.ApiError: For a list that is refused, twice in a row, of a connection that can
        be seen: :class:`~airbyte_deferrable.api.errors.Rejected`.
    """
    try:
        return await find_fresh(client, wanted)
    except NOT_VISIBLE:
        await check_connection(client, wanted.connection_id)
        await asyncio.sleep(retrying.CONFIRM_NOT_FOUND_AFTER)
    try:
        return await find_fresh(client, wanted)
    except NOT_VISIBLE as error:
        refused = Rejected(error.call, error.detail, error.status)
        refused.advice = (
            "Airbyte shows the connection, but does not list its jobs: check the application's permissions on the "
            "workspace."
        )
        raise refused from None


def idle(connection: Connection) -> str | None:
    """Say why none of a connection's syncs is to come; None if they may."""
    if connection.status in ("", ConnectionStatus.ACTIVE):
        return None
    return (
        f"Airbyte connection {connection.connection_id} ({connection.name!r}) is {connection.status}: Airbyte starts "
        "none of its syncs until it is active again. This task waits on"
    )


async def wait_for_fresh(
    watcher: JobWatcher,
    wanted: FreshSync,
    deadlines: Deadlines,
    *,
    poll_interval: float,
    log: Log,
    try_number: int | None = None,
    renewal: CredentialSource | None = None,
) -> Event:
    """Wait until a job decides, the connection cannot be seen, or time is up. Nothing else ends the wait.

    There is no final check when time is up: the task makes one when it is resumed.

    :param watcher: Sees the connection's jobs end, also those that had ended before.
    :param deadlines: When to give up.
    :param poll_interval: Seconds between two checks.
    :param log: The task's log.
    :param try_number: The try that waits, for the event.
    :param renewal: Other credentials, should Airbyte refuse these. Default: none.
    :return: What to tell the task.
    :raises airbyte_deferrable._job.wait.CredentialsChanged: If there are such: it is to be waited on with them.
    """
    with watcher.watch_connections(
        [wanted.connection_id], since=wanted.after, poll_interval=poll_interval
    ) as subscription:
        alarm = deadlines.alarm(subscription.expire)
        standing = _Standing(watcher, wanted.connection_id, subscription)
        try:
            job = await _until_decided(subscription, wanted, standing, log, renewal)
        except ConnectionGone as gone:
            return events.not_visible(events.NO_JOB, str(gone), try_number)
        except asyncio.TimeoutError:
            return events.ran_out(deadlines.nearest, events.NO_JOB, None, try_number)
        finally:
            standing.stop()
            if alarm is not None:
                alarm.cancel()
            if renewal is not None:
                renewal.stop()
    return events.ended(job, try_number)


async def _until_decided(
    subscription: ConnectionSubscription,
    wanted: FreshSync,
    standing: _Standing,
    log: Log,
    renewal: CredentialSource | None,
) -> Job:
    while True:
        news = subscription.news()
        if news is None:
            if renewal is not None:
                renewal.check(log)
            standing.notify(log)
            await subscription.woken()
        elif isinstance(news, EndedJobs):
            job = wanted.decided_by(news.jobs)
            if job is not None:
                return job
            for each in filter(wanted.counts, news.jobs):
                log.info("Airbyte job %s %s. This task waits for one that succeeds", each.job_id, each.status)
        elif isinstance(news, ConnectionNews):
            if news.not_visible:
                raise ConnectionGone(str(news.error))
            if news.error is not None:
                log.warning("Airbyte does not tell the jobs of this connection, so this task waits on: %s", news.error)
            else:
                log.info("Airbyte tells the jobs of this connection again")
        else:
            say_outage(news, log, SYNCS_GO_ON)
            if renewal is not None:
                renewal.heard(news.error, subscription.wake)


class _Standing:
    """Whether the connection is still there: of a deleted one, Airbyte's lists of jobs say nothing.

    Asked for now and then, of all connections that are waited for together (:class:`.Directory`), beside the wait: a
    timer, and no task of its own for each of the thousands that wait.
    """

    def __init__(self, watcher: JobWatcher, connection_id: str, subscription: ConnectionSubscription) -> None:
        self._watcher = watcher
        self._connection_id = connection_id
        self._subscription = subscription
        self._asking: asyncio.Task[None] | None = None
        self._idle: str | None = None
        self._notified: str | None = None
        self._gone: ConnectionGone | None = None
        self._next = self._later()

    def notify(self, log: Log) -> None:
        """Notify the task of what was learned since.

        :raises ConnectionGone: If Airbyte has said, twice in a row, that there is no such connection.
        """
        if self._gone is not None:
            raise self._gone
        if self._idle != self._notified:
            self._notified = self._idle
            if self._idle is not None:
                log.warning(self._idle)

    def stop(self) -> None:
        """Ask no more."""
        self._next.cancel()
        if self._asking is not None:
            self._asking.cancel()

    def _later(self) -> asyncio.TimerHandle:
        # Thousands begin together, when a DAG does or a triggerer starts, and one reading answers all who wait for it:
        # due at one moment, they would hold up the event loop.
        pause = random.uniform(0.5, 1.0) * DEFERRED_CONNECTION_AGAIN
        return asyncio.get_running_loop().call_later(pause, self._begin, context=_EMPTY)

    def _begin(self) -> None:
        self._asking = asyncio.ensure_future(self._ask())

    async def _ask(self) -> None:
        try:
            # An Airbyte that cannot be asked has said nothing.
            with suppress(ApiError, SharedCallStopped):
                self._idle = idle(await self._check())
        except ConnectionGone as gone:
            self._gone = gone
        except Exception:
            # Whatever that was, a connection that is deleted later is to be noticed.
            logger.exception("Checking Airbyte connection %s failed", self._connection_id)
        self._asking, self._next = None, self._later()
        self._subscription.wake()

    async def _check(self) -> Connection:
        connection = await self._watcher.directory.check(self._connection_id)
        if connection is not None and connection.status != ConnectionStatus.DEPRECATED:
            return connection
        await asyncio.sleep(retrying.CONFIRM_NOT_FOUND_AFTER)
        try:
            return await check_connection(self._watcher.borrow_client(), self._connection_id)
        except NOT_VISIBLE as error:
            raise ConnectionGone(str(error)) from None
