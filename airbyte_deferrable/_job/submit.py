"""At most one job for one task: the job of an earlier try, one whose answer was lost, or a new one.

Airbyte's create has no idempotency key, and its answer can get lost while the job runs. What makes it safe is
that Airbyte numbers jobs in the order of their creation and lists a connection's newest first: what is newer than
the newest job before the request, and was made within minutes of it, is what the request made.

Why the list comes before the create, and not beside it, which would save a round trip: a worker can die as soon as its
request is sent. All that its next try has then is what was written before. Without a job's number in it, only a moment
could tell our job from one that somebody else had started just before, by comparing two machines' clocks. A job that
began before the task did is not the task's: what was to be synced may not have been there yet.

What this cannot tell: whether somebody else started that job in the very same minutes. It is taken for the task's
own then, so that nothing runs twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from airbyte_deferrable._airflow.retry_store import JobMemory, Record
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable.api.client import NEWEST_FIRST, AirbyteClient
from airbyte_deferrable.api.errors import (
    DOUBTS,
    NOT_VISIBLE,
    ApiError,
    Conflict,
    Forbidden,
    NotFound,
    Rejected,
    Unreachable,
)
from airbyte_deferrable.api.models import Job, JobStatus, JobType

T = TypeVar("T")

#: Airbyte's name for a 409 that says: the connection runs a job already.
BUSY = "try-again-later"
#: And for one that says: not in the connection's present state.
STATE_CONFLICT = "state-conflict"
#: How far back a connection's newest jobs are looked through.
LOOK_BACK = 20
#: Seconds that Airbyte's clock may be ahead of the worker's.
CLOCKS_APART = 120.0
#: How often a connection that is busy with no job that can be seen is asked again: Airbyte refuses a request, too, in
#: the moments between two jobs, or two attempts of one.
UNSEEN_BUSY = 4
#: What Airbyte may make of a request. A sync can come back as anything: Airbyte does what is pending first.
MAY_BECOME = {
    JobType.RESET: {JobType.RESET, JobType.CLEAR},
    JobType.CLEAR: {JobType.RESET, JobType.CLEAR},
    JobType.REFRESH: {JobType.REFRESH},
}


@dataclass(frozen=True)
class Patience:
    """How long a submission goes on. Seconds.

    :param settle: How long a job is looked for whose create got no answer that counts, before it is certain that
        none was made. Airbyte gives its own answer up after 60 s.
    :param unreachable: How long an Airbyte that cannot be reached is asked the same again. It may need as long for a
        single create.
    :param pause: The longest pause between two attempts.
    :param unlisted: How long a list of jobs is asked for that gives no answer, until a sync is started without it
        because Airbyte answers otherwise.
    """

    settle: float = 75.0
    unreachable: float = 300.0
    pause: float = 10.0
    unlisted: float = 30.0

    def pauses(self) -> Iterator[float]:
        """Yield pauses that grow, with jitter, so that many tasks do not come back at once."""
        longest = min(1.0, self.pause)
        while True:
            yield longest * random.uniform(0.5, 1.0)
            longest = min(longest * 2, self.pause)


class Busy(Exception):
    """The connection runs another job.

    :param job: That job; None if it ended before it could be found.
    """

    def __init__(self, job: Job | None) -> None:
        self.job = job
        super().__init__(job)


class Stopped(Exception):
    """The task was killed before a job was asked for."""


class _Unlisted(Exception):
    """Airbyte answers, but does not list its jobs."""


class TooLate(Exception):
    """Airbyte did not take the request for a job while there was somebody to wait for it."""


class _Lost(NamedTuple):
    """Requests that Airbyte gave no answer to that counts, by what they may have made.

    :param after: It is newer than this job, the connection's newest before the first of them.
    :param until: It was made before this moment, seconds since the epoch.
    """

    after: int
    until: float

    def may_have_made(self, job: Job) -> bool:
        made_at = job.created_at
        return job.job_id > self.after and (made_at is None or made_at.timestamp() < self.until)


class Submission:
    """Gets one task its one job. It can be asked again after the connection was :class:`Busy`.

    :param memory: What the task remembers of its earlier tries.
    :param connection_id: The connection to run.
    :param job_type: What to run.
    :param log: The task's log.
    :param patience: How long to go on.
    :param until: When nobody would wait for a job any more, seconds since the epoch. Default: never.
    :param held: Whether the task is to see the job's end, so that whoever kills it until then has the job cancelled.
        Default: True.
    """

    def __init__(
        self,
        memory: JobMemory,
        connection_id: str,
        job_type: str,
        *,
        log: Log,
        patience: Patience | None = None,
        until: float | None = None,
        held: bool = True,
    ) -> None:
        #: The connection to run. Whoever names it later does so before a job is asked for.
        self.connection_id = connection_id
        #: The job, if this task has started it. Set as soon as it is known: whoever kills the task may ask any time.
        self.our_job: int | None = None
        #: Whether the job is that of an earlier try.
        self.found_again = False
        #: Whether the task was killed: no job is asked for any more. Set from another thread, or a signal handler.
        self.stopped = False
        self._memory = memory
        self._job_type = job_type
        self._log = log
        self._patience = patience or Patience()
        self._until = until
        self._held = held
        self._request: asyncio.Task[Job] | None = None
        self._lost: _Lost | None = None

    @property
    def cleared_job(self) -> int | None:
        """The job that the task had started before a person cleared it, if that is known."""
        return self._memory.cleared_job

    @property
    def starting(self) -> bool:
        """Whether Airbyte is being asked for the job at this moment."""
        return self._request is not None and not self._request.done()

    async def obtain(self, client: AirbyteClient) -> Job:
        """Find the job of an earlier try, or start one.

        :param client: The Airbyte.
        :return: The job, which may have succeeded already.
        :raises Busy: If the connection runs another job.
        :raises Stopped: If the task was killed before a job was asked for.
        :raises TooLate: If nobody would wait for the job any more.
        :raises airbyte_deferrable.api.errors.ApiError: If Airbyte refuses, or cannot be reached for long.
        """
        if self.stopped:
            raise Stopped
        job = await self._find_again(client)
        if job is not None:
            return job
        try:
            job = await self._start(client)
        except Busy:
            await self._forget()
            raise
        except (ApiError, TooLate):
            if self._lost is None:
                # Nothing was made, and what somebody else starts later must not be taken for it.
                await self._forget()
            raise
        self.our_job = job.job_id
        await self._remember(None, job)
        return job

    async def find_out(self, client: AirbyteClient) -> None:
        """Learn which job an interrupted :meth:`obtain` has started, as far as Airbyte tells, and set ``our_job``.

        :param client: The Airbyte.
        """
        settle = self._patience.settle
        if self.our_job is None and self._request is not None:
            await asyncio.wait({self._request}, timeout=settle)
        if self.our_job is None and self._lost is not None:
            with suppress(ApiError, asyncio.TimeoutError):
                made = await asyncio.wait_for(self._look_for_made(client, settle), settle)
                self.our_job = made.job_id if made else None

    def abandon(self, *, cleared: bool) -> None:
        """Let no later try find the job. Blocks.

        :param cleared: Whether another try follows at once.
        """
        self._memory.abandon(cleared=cleared)

    def let_go(self) -> None:
        """Note that the job goes on without the task."""
        self._memory.let_go()

    def forget(self) -> None:
        """Let the next try start another job: this one ended without success. Blocks."""
        self._memory.forget()

    def conclude(self) -> None:
        """Drop what is not needed once the task has what it wanted. Blocks."""
        self._memory.conclude()

    def attach(self, job: Job) -> Job:
        """Take somebody else's job for the task's, but not to cancel it.

        :param job: The job.
        """
        self._memory.remember(self._record(None, job, ours=False))
        return job

    # The job of an earlier try

    async def _find_again(self, client: AirbyteClient) -> Job | None:
        record = await asyncio.to_thread(self._memory.recall, self.connection_id, self._job_type)
        if record is None:
            return None
        # Before it is looked for: a task that is killed meanwhile cancels it.
        self.our_job = record.job_id if record.ours else None
        job = await (
            self._find_unnamed(client, record) if record.job_id is None else self._look_up(client, record.job_id)
        )
        if job is not None and (job.status == JobStatus.SUCCEEDED or not job.terminal):
            self.our_job, self.found_again = job.job_id if record.ours else None, True
            known = record.model_copy(update={"job_id": job.job_id, "held": self._held})
            if known != record:
                await asyncio.to_thread(self._memory.remember, known)
            return job
        if job is not None:
            self._log.info("Airbyte job %s of an earlier try is %s: starting another", job.job_id, job.status)
            # It is what the lost request has made.
            self._lost = None
        self.our_job = None
        await self._forget()
        return None

    async def _find_unnamed(self, client: AirbyteClient, record: Record) -> Job | None:
        """Find the job of a try that ended before Airbyte had named it, if it was made at all."""
        if record.after is None:
            return None
        left = record.written_at + self._patience.settle - time.time()
        self._lost = lost = self._lost_by(record.after, record.written_at)
        job = await self._look_for_made(client, min(max(0.0, left), self._patience.settle))
        if time.time() > lost.until:
            self._lost = None
        return job

    async def _look_up(self, client: AirbyteClient, job_id: int) -> Job | None:
        """Return the job; None if Airbyte says twice that there is none."""
        for pause in (min(1.0, self._patience.pause), 0.0):
            try:
                job = await self._patiently(lambda: client.get_job(job_id))
            except NOT_VISIBLE:
                await asyncio.sleep(pause)
            else:
                if job.connection_id in ("", self.connection_id):
                    return job
                # Another Airbyte than before, or one that was restored from a backup, has given the number away.
                break
        self._log.info("Airbyte job %s of an earlier try is gone: starting another", job_id)
        return None

    # A new job

    async def _start(self, client: AirbyteClient) -> Job:
        pauses = self._patience.pauses()
        give_up_at = time.monotonic() + self._patience.unreachable
        told_unreachable, unseen_busy = False, 0
        while True:
            jobs = await self._jobs_before(client)
            made = self._made(jobs)
            if made is not None:
                return self._found(made)
            live, newest = newest_live(jobs or ()), newest_of(jobs or ())
            if live is not None:
                # Airbyte would refuse a sync, but for a reset cancel the job that runs.
                raise Busy(live)
            after = None if jobs is None else newest.job_id if newest else 0
            await self._remember(after if self._lost is None else self._lost.after)
            try:
                return await self._ask(client, after)
            except Conflict as error:
                if error.kind == BUSY:
                    # What runs may be what an earlier request of ours has started late.
                    made = self._made(await self._newest_jobs(client)) if self._lost is not None else None
                    if made is not None:
                        return self._found(made)
                    busy = await _busy(client, self.connection_id, error)
                    if isinstance(busy, Busy) and busy.job is None and unseen_busy < UNSEEN_BUSY:
                        unseen_busy += 1
                        await asyncio.sleep(next(pauses))
                        continue
                    raise busy from None
                await _refuse_hopeless(client, self.connection_id, error, jobs)
                trouble: ApiError = error
                asked_why = True
                arrived, asked_to_wait = True, 0.0
            except Unreachable as error:
                arrived, asked_to_wait = _may_have_arrived(error), error.retry_after or 0.0
                trouble, asked_why = error, False
            if not arrived:
                if not told_unreachable:
                    self._log.warning("Airbyte does not take the request for the job, trying again: %s", trouble)
                told_unreachable = True
            elif after is None:
                if not asked_why:
                    await _refuse_hopeless(client, self.connection_id, trouble, jobs)
                # Without the list there is no telling whether the job was made.
                raise trouble
            else:
                self._log.warning(
                    "Airbyte's answer is lost, the job may have been started. Looking for it: %s", trouble
                )
                self._lost = self._lost_by(after, time.time())
                made = await self._look_for_made(client, 0.0)
                if made is None and not asked_why:
                    # Before the long search: what is wrong with the connection now was wrong when Airbyte was asked.
                    await _refuse_hopeless(client, self.connection_id, trouble, jobs)
                if made is None:
                    made = await self._look_for_made(client, self._patience.settle)
                if made is not None:
                    return self._found(made)
                self._log.info("No job of connection %s was started: asking Airbyte again", self.connection_id)
            if time.monotonic() + asked_to_wait >= give_up_at:
                raise trouble
            await asyncio.sleep(max(asked_to_wait, next(pauses)))

    async def _ask(self, client: AirbyteClient, after: int | None) -> Job:
        """Ask Airbyte for the job. An interrupted task leaves the request alone: only its answer names the job."""

        async def create() -> Job:
            before = self._lost
            if after is not None:
                # Until there is an answer.
                self._lost = self._lost_by(after, time.time())
            try:
                job = await client.create_job(self.connection_id, self._job_type)
            except ApiError as error:
                if not _may_have_arrived(error):
                    self._lost = before
                raise
            self.our_job = job.job_id
            return job

        if self.stopped:
            raise Stopped
        if self._until is not None and time.time() >= self._until:
            raise TooLate
        self._request = asyncio.ensure_future(create())
        # Nobody may be left to take the answer.
        self._request.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        return await asyncio.shield(self._request)

    # What was made without an answer

    async def _look_for_made(self, client: AirbyteClient, settle: float) -> Job | None:
        """Look until it is certain that there is no such job. An Airbyte that cannot be asked makes nothing certain."""
        settled_at = time.monotonic() + settle
        pauses = self._patience.pauses()
        while True:
            job = self._made(await self._newest_jobs(client))
            left = settled_at - time.monotonic()
            if job is not None or left <= 0:
                return job
            await asyncio.sleep(min(next(pauses), left))

    def _made(self, jobs: tuple[Job, ...] | None) -> Job | None:
        """Return the first job that a lost request may have made, of a type that ours may have."""
        if self._lost is None:
            return None
        types = MAY_BECOME.get(JobType(self._job_type))
        made = [job for job in jobs or () if self._lost.may_have_made(job) and (not types or job.job_type in types)]
        return min(made, default=None, key=lambda job: job.job_id)

    def _lost_by(self, after: int, asked_at: float) -> _Lost:
        """Return what is lost once a request's answer is, beside those that are lost already."""
        until = asked_at + self._patience.settle + CLOCKS_APART
        return _Lost(after if self._lost is None else self._lost.after, until)

    async def _jobs_before(self, client: AirbyteClient) -> tuple[Job, ...] | None:
        """Return the connection's newest jobs before one is asked for; None if a sync has to do without them.

        Airbyte's list can be out of order by itself: it reads a table that may hold millions of jobs. A reset waits for
        it, since Airbyte would cancel the sync that runs; so does a task whose earlier request is lost.
        """
        if self._lost is not None or JobType(self._job_type) in MAY_BECOME:
            return await self._newest_jobs(client)
        without_from = time.monotonic() + self._patience.unlisted

        async def ask() -> tuple[Job, ...]:
            try:
                return await newest_jobs(client, self.connection_id)
            except Unreachable as error:
                # Who is asked less often (429) has a list.
                passed = error.status != 429 and time.monotonic() >= without_from
                if passed and await answers(client, self.connection_id):
                    raise _Unlisted(str(error)) from None
                raise

        try:
            return await self._patiently(ask)
        except _Unlisted as error:
            self._log.warning("Airbyte does not list its jobs, but answers otherwise: starting one without. %s", error)
            return None
        except (*NOT_VISIBLE, Rejected):
            return None

    async def _newest_jobs(self, client: AirbyteClient) -> tuple[Job, ...] | None:
        """Return the connection's newest jobs; None if they cannot be listed."""
        try:
            return await self._patiently(lambda: newest_jobs(client, self.connection_id))
        except (*NOT_VISIBLE, Rejected):
            # If it is the connection that cannot be seen, the request to start the job will say so.
            return None

    def _found(self, job: Job) -> Job:
        self._log.info("The request whose answer was lost had arrived after all")
        return job

    # Its memory, which blocks, and its patience

    def _record(self, after: int | None, job: Job | None, *, ours: bool = True) -> Record:
        return Record(
            generation=self._memory.generation,
            connection_id=self.connection_id,
            job_type=self._job_type,
            after=after,
            written_at=time.time(),
            job_id=job.job_id if job else None,
            ours=ours,
            held=self._held,
        )

    async def _remember(self, after: int | None, job: Job | None = None) -> None:
        await asyncio.to_thread(self._memory.remember, self._record(after, job))

    async def _forget(self) -> None:
        await asyncio.to_thread(self._memory.forget)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await patiently(ask, self._patience, self._log)


async def patiently(ask: Callable[[], Awaitable[T]], patience: Patience, log: Log) -> T:
    """Ask until Airbyte answers, or for so long that the task had better fail.

    :param ask: Asks once. What it asks must be safe to ask again.
    :param patience: How long to go on.
    :param log: The task's log; gets a line when trouble begins, and one when it is over.
    """
    pauses = patience.pauses()
    give_up_at = time.monotonic() + patience.unreachable
    troubled = False
    while True:
        try:
            answer = await ask()
        except Unreachable as error:
            wait = max(error.retry_after or 0.0, next(pauses))
            if time.monotonic() + wait >= give_up_at:
                raise
            if not troubled:
                log.warning("Airbyte cannot be asked now, trying again: %s", error)
            troubled = True
            await asyncio.sleep(wait)
        else:
            if troubled:
                log.info("Airbyte answers again")
            return answer


def does_the_work(job: Job, job_type: str) -> bool:
    """Tell whether somebody else's job does what was to be done.

    :param job: The job.
    :param job_type: What was to be done.
    """
    return job.job_type in MAY_BECOME.get(JobType(job_type), {JobType.SYNC, JobType.REFRESH})


def _may_have_arrived(error: ApiError) -> bool:
    """Tell whether a request may be carried out although it failed. Load (429) is shed before a look at it."""
    return isinstance(error, Unreachable) and error.may_have_arrived and error.status != 429


async def newest_jobs(client: AirbyteClient, connection_id: str) -> tuple[Job, ...]:
    """Return the connection's newest jobs.

    :param client: The Airbyte.
    :param connection_id: The connection.
    """
    return await client.list_jobs(connection_id=connection_id, order_by=NEWEST_FIRST, limit=LOOK_BACK)


def newest_of(jobs: tuple[Job, ...]) -> Job | None:
    """Return the newest of some jobs; None if there are none.

    :param jobs: The jobs, in any order.
    """
    return max(jobs, default=None, key=lambda job: job.job_id)


def newest_live(jobs: tuple[Job, ...]) -> Job | None:
    """Return the newest of those jobs that have not ended, which need not be the newest of all; None if all have.

    :param jobs: The jobs, in any order.
    """
    return newest_of(tuple(job for job in jobs if not job.terminal))


async def answers(client: AirbyteClient, connection_id: str) -> bool:
    """Tell whether Airbyte answers a question about a connection, whatever it says.

    :param client: The Airbyte.
    :param connection_id: The connection.
    """
    try:
        await client.get_connection(connection_id)
    except DOUBTS:
        return False
    except ApiError:
        return True
    return True


async def _busy(client: AirbyteClient, connection_id: str, error: Conflict) -> Exception:
    """Name the job that runs. A connection whose workflow was deleted says that it is busy, too."""
    if "deleted" in error.detail.lower():
        return error
    try:
        return Busy(newest_live(await newest_jobs(client, connection_id)))
    except ApiError:
        return Busy(None)


async def _refuse_hopeless(
    client: AirbyteClient, connection_id: str, error: ApiError, jobs: tuple[Job, ...] | None
) -> None:
    """Say what is wrong with the connection if Airbyte, or a gateway before it, has failed to.

    Airbyte answers ``state-conflict`` or 500 for an inactive connection, and hides why; a gateway gives up what waits
    for one that does not exist (504).

    :param client: The Airbyte.
    :param connection_id: The connection.
    :param error: Why no job is known to have been made.
    :param jobs: The connection's jobs as they were listed before. That there is no such connection is not believed if
        there are some: who may start jobs need not be let read connections.
    """
    try:
        connection = await client.get_connection(connection_id)
    except (Forbidden, NotFound):
        if jobs:
            return
        raise
    except ApiError:
        return
    if connection.status and connection.status != "active":
        then = "activate it in Airbyte" if connection.status == "inactive" else "Airbyte runs only what is active"
        detail = f"The connection {connection.name!r} is {connection.status}: {then}."
        raise Conflict(error.call, detail, error.status, kind=STATE_CONFLICT) from None
