"""At most one job for one task: the job of an earlier try, one whose answer was lost, or a new one.

Why the list comes before the create, and not beside it, which would save a round trip: a worker can die as soon as its
request is sent. All that its next try has then is what was written before. Without a job's number in it, only a moment
could tell this task's job from one that somebody else had started just before, by comparing two machines' clocks. A job
that began before the task did is not the task's: what was to be synced may not have been there yet. How a job is found
whose answer was lost is told in ``_job/lost.py``.

Which job is cancelled with the task: only one that Airbyte has named in its answer to this task's own request, and that
is newer than the connection's newest job before it. What was found otherwise is waited for, and not cancelled.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass

from airbyte_deferrable._job.earlier import EarlierTries, OldJobRuns
from airbyte_deferrable._job.job_list import answers, newest_jobs, newest_live, newest_of
from airbyte_deferrable._job.lost import CLOCKS_APART, MAY_BECOME, LostRequests
from airbyte_deferrable._job.record import Record, RecordState, RetryStore
from airbyte_deferrable._job.retrying import Outage, SubmitPolicy, retry_after
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import (
    NOT_VISIBLE,
    ApiError,
    Conflict,
    Forbidden,
    NotFound,
    Rejected,
    Unreachable,
)
from airbyte_deferrable.api.models import Job, JobStatus, JobType

#: Airbyte's name for a 409 that says: the connection runs a job already.
BUSY = "try-again-later"
#: And for one that says: not in the connection's present state.
STATE_CONFLICT = "state-conflict"
#: How often a connection that is busy with no job that can be seen is asked again: Airbyte refuses a request, too, in
#: the moments between two jobs, or two attempts of one.
UNSEEN_BUSY = 4


class ConnectionBusy(Exception):
    """The connection runs another job.

    :param job: That job; None if it ended before it could be found.
    :param of_this_task: Whether it is the job of before the task was cleared.
    """

    def __init__(self, job: Job | None, *, of_this_task: bool = False) -> None:
        self.job = job
        self.of_this_task = of_this_task
        super().__init__(job)


class StoppedBeforeStart(Exception):
    """The task was killed before a job was asked for."""


class TooLate(Exception):
    """Airbyte did not take the request for a job while a task would still wait for it."""


class _Unlisted(Exception):
    """Airbyte answers, but does not list its jobs."""


# What comes of a request for a job. Whatever else Airbyte says is an error of its own.


@dataclass(frozen=True)
class Created:
    """There is a job.

    :param job: The job: named in the answer, or found where an earlier answer was lost.
    """

    job: Job


@dataclass(frozen=True)
class Busy:
    """The connection runs another job.

    :param job: That job; None if none could be seen.
    """

    job: Job | None


@dataclass(frozen=True)
class Lost:
    """Airbyte may have made a job, and has not named it.

    :param error: What came instead of an answer.
    :param jobs_before: The connection's newest jobs before the request; None if they could not be listed.
    :param connection_checked: Whether the connection was checked, and is none that refuses all jobs.
    """

    error: ApiError
    jobs_before: tuple[Job, ...] | None
    connection_checked: bool = False


@dataclass(frozen=True)
class NotSent:
    """Airbyte has certainly not carried the request out.

    :param error: Why.
    """

    error: ApiError


class Submission:
    """Gets one task its one job. It can be asked again after the connection was busy.

    :param store: What the task's tries leave for each other.
    :param connection_id: The connection to run.
    :param job_type: What to run.
    :param until: When nobody would wait for a job any more, seconds since the epoch. Default: never.
    :param waits: Whether the task is to see the job's end, so that a user who kills it until then has the job
        cancelled. Default: True.
    :param cancel_after: Seconds after which the job of before a clear is cancelled that still runs. Default: never.
    """

    def __init__(
        self,
        store: RetryStore,
        connection_id: str,
        job_type: str,
        *,
        log: Log,
        submit_policy: SubmitPolicy | None = None,
        until: float | None = None,
        waits: bool = True,
        cancel_after: float | None = None,
    ) -> None:
        #: The job, if this task has started it for certain. Set as soon as it is known: whoever kills the task may ask
        #: any time.
        self.started_job: int | None = None
        #: Whether the job is that of an earlier try.
        self.found_again = False
        #: Whether the task was killed: no job is asked for any more. Set from another thread, or a signal handler.
        self.stopped = False
        self.store = store
        self._job_type = job_type
        self._log = log
        self._policy = submit_policy or SubmitPolicy()
        self._until = until
        self._state_when_known: RecordState = "started" if waits else "released"
        self._request: asyncio.Task[Job] | None = None
        self._lost = LostRequests(connection_id, job_type, self._policy, log)
        self._earlier = EarlierTries(store, self._lost, self._policy, log, cancel_after=cancel_after)

    @property
    def connection_id(self) -> str:
        """The connection to run. Whoever names it later does so before a job is asked for."""
        return self._lost.connection_id

    @connection_id.setter
    def connection_id(self, connection_id: str) -> None:
        self._lost.connection_id = connection_id

    @property
    def starting(self) -> bool:
        """Whether Airbyte is being asked for the job at this moment."""
        return self._request is not None and not self._request.done()

    async def obtain(self, client: AirbyteClient) -> Job:
        """Find the job of an earlier try, or start one.

        :return: The job, which may have succeeded already.
        :raises ConnectionBusy: If the connection runs another job.
        :raises StoppedBeforeStart: If the task was killed before a job was asked for.
        :raises TooLate: If nobody would wait for the job any more.
        :raises airbyte_deferrable.api.errors.ApiError: If Airbyte refuses, or cannot be reached for long.
        """
        if self.stopped:
            raise StoppedBeforeStart
        job = await self._find_again(client)
        if job is not None:
            return job
        try:
            job = await self._start(client)
        except ConnectionBusy:
            await self._delete()
            raise
        except (ApiError, TooLate):
            if self._lost.span is None:
                # Nothing was made, and what somebody else starts later must not be taken for it.
                await self._delete()
            raise
        await self._write(self._state_when_known, job_id=job.job_id)
        return job

    async def find_out(self, client: AirbyteClient) -> int | None:
        """Learn which job an interrupted :meth:`obtain` has started, as far as Airbyte tells.

        :return: The job; one that is only found is not :attr:`started_job`. None if none is known.
        """
        settle = self._policy.settle
        if self.started_job is None and self._request is not None:
            await asyncio.wait({self._request}, timeout=settle)
        if self.started_job is None and self._lost.span is not None:
            with suppress(ApiError, asyncio.TimeoutError):
                made = await asyncio.wait_for(self._lost.look(client, settle), settle)
                return made.job_id if made else None
        return self.started_job

    def attach(self, job: Job) -> Job:
        """Take somebody else's job for the task's, but not to cancel it. Blocks."""
        self.store.write(self._record("attached", job_id=job.job_id))
        return job

    # The job of an earlier try

    async def _find_again(self, client: AirbyteClient) -> Job | None:
        try:
            record = await self._earlier.read(client, self._job_type)
        except OldJobRuns as old:
            raise ConnectionBusy(old.job, of_this_task=True) from None
        if record is None:
            return None
        # Before it is looked for: a task that is killed meanwhile cancels it.
        self.started_job = record.started_job
        job = await self._earlier.find(client, record)
        if job is not None and (job.status == JobStatus.SUCCEEDED or not job.terminal):
            self.found_again = True
            state = record.state if record.state == "attached" else self._state_when_known
            # Also where nothing else is new: by its try a record tells a worker that Airflow has lost touch with that
            # it is another's by now.
            known = record.model_copy(
                update={"job_id": job.job_id, "state": state, "generation": self.store.generation}
            )
            if known != record:
                await asyncio.to_thread(self.store.write, known)
            return job
        if job is not None:
            self._log.info("Airbyte job %s of an earlier try is %s: starting another", job.job_id, job.status)
            # It is what the unanswered request has made.
            self._lost.span = None
        self.started_job = None
        await self._delete()
        return None

    # A new job

    async def _start(self, client: AirbyteClient) -> Job:
        """Ask for a job until there is one, Airbyte refuses, or the policy says that it is enough."""
        pauses, give_up_at = self._policy.pauses(), time.monotonic() + self._policy.unreachable
        outage = Outage(self._log, "Airbyte does not take the request for the job, trying again")
        unseen_busy = 0
        while True:
            match await self._create(client):
                case Created(job):
                    outage.recovered()
                    return job
                case Busy(None) if unseen_busy < UNSEEN_BUSY:
                    unseen_busy += 1
                    await asyncio.sleep(next(pauses))
                    continue
                case Busy(other):
                    raise ConnectionBusy(other)
                case NotSent(error):
                    outage.failed(error)
                case Lost(error) as lost:
                    found = await self._find_lost(client, lost)
                    if found is not None:
                        outage.recovered()
                        return found
            if time.monotonic() + retry_after(error) >= give_up_at:
                raise error
            await asyncio.sleep(max(retry_after(error), next(pauses)))

    async def _create(self, client: AirbyteClient) -> Created | Busy | Lost | NotSent:
        """Ask Airbyte for the job once, unless its list shows that there is no need or no room for it."""
        jobs = await self._jobs_before(client)
        made = self._lost.made(jobs)
        if made is not None:
            return Created(self._found(made))
        live, newest = newest_live(jobs or ()), newest_of(jobs or ())
        if live is not None:
            # Airbyte would refuse a sync, but for a reset cancel the job that runs.
            return Busy(live)
        after = None if jobs is None else newest.job_id if newest else 0
        await self._write("requested", after=after if self._lost.span is None else self._lost.span.after)
        try:
            return Created(await self._ask(client, after))
        except Conflict as error:
            if error.kind == BUSY:
                return await self._met(client, error)
            await _refuse_hopeless(client, self.connection_id, error, jobs)
            lost = Lost(error, jobs, connection_checked=True)
        except Unreachable as error:
            if not _may_have_arrived(error):
                return NotSent(error)
            lost = Lost(error, jobs)
        if after is None:
            # Without the list there is no telling whether the job was made.
            if not lost.connection_checked:
                await _refuse_hopeless(client, self.connection_id, lost.error, jobs)
            raise lost.error
        self._lost.add(after, time.time())
        return lost

    async def _met(self, client: AirbyteClient, error: Conflict) -> Created | Busy:
        """Find the job because of which Airbyte refused another."""
        if self._lost.span is not None:
            # What runs may be what an earlier request of this task has started late.
            made = self._lost.made(await self._lost.newest_jobs(client))
            if made is not None:
                return Created(self._found(made))
        if "deleted" in error.detail.lower():
            # A connection whose workflow was deleted says that it is busy, too.
            raise error
        try:
            return Busy(newest_live(await newest_jobs(client, self.connection_id)))
        except ApiError:
            return Busy(None)

    async def _ask(self, client: AirbyteClient, after: int | None) -> Job:
        """Ask Airbyte for the job. An interrupted task leaves the request alone: only its answer names the job."""

        async def create() -> Job:
            before, asked_at = self._lost.span, time.time()
            if after is not None:
                # Until there is an answer.
                self._lost.add(after, asked_at)
            try:
                job = await client.create_job(self.connection_id, self._job_type)
            except ApiError as error:
                if not _may_have_arrived(error):
                    self._lost.span = before
                raise
            if _is_new(job, after, asked_at):
                self.started_job = job.job_id
            return job

        if self.stopped:
            raise StoppedBeforeStart
        if self._until is not None and time.time() >= self._until:
            raise TooLate
        self._request = asyncio.ensure_future(create())
        # Nobody may be left to take the answer.
        self._request.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        return await asyncio.shield(self._request)

    # What was made without an answer

    async def _find_lost(self, client: AirbyteClient, lost: Lost) -> Job | None:
        """Find the job whose answer was lost; None once it is certain that there is none."""
        self._log.warning("Airbyte's answer is lost, the job may have been started. Looking for it: %s", lost.error)
        made = await self._lost.look(client, 0.0)
        if made is None and not lost.connection_checked:
            # Before the long search: what is wrong with the connection now was wrong when Airbyte was asked.
            await _refuse_hopeless(client, self.connection_id, lost.error, lost.jobs_before)
        if made is None:
            made = await self._lost.look(client, self._policy.settle)
        if made is not None:
            return self._found(made)
        self._log.info("No job of connection %s was started: asking Airbyte again", self.connection_id)
        return None

    def _found(self, job: Job) -> Job:
        self._log.info("The request whose answer was lost had arrived after all")
        return job

    # The connection's jobs

    async def _jobs_before(self, client: AirbyteClient) -> tuple[Job, ...] | None:
        """Return the connection's newest jobs before one is asked for; None if a sync has to do without them.

        Airbyte's list can be out of order by itself: it reads a table that may hold millions of jobs. A reset waits for
        it, since Airbyte would cancel the sync that runs; so does a task whose earlier request is unanswered.
        """
        if self._lost.span is not None or JobType(self._job_type) in MAY_BECOME:
            return await self._lost.newest_jobs(client)
        without_from = time.monotonic() + self._policy.unlisted

        async def ask() -> tuple[Job, ...]:
            try:
                return await newest_jobs(client, self.connection_id)
            except Unreachable as error:
                # A client that is to ask less often (429) has a list.
                passed = error.status != 429 and time.monotonic() >= without_from
                if passed and await answers(client, self.connection_id):
                    raise _Unlisted(str(error)) from None
                raise

        try:
            return await self._policy.retry(ask, self._log)
        except _Unlisted as error:
            self._log.warning("Airbyte does not list its jobs, but answers otherwise: starting one without. %s", error)
            return None
        except (*NOT_VISIBLE, Rejected):
            return None

    # The record, whose store blocks

    def _record(self, state: RecordState, *, after: int | None = None, job_id: int | None = None) -> Record:
        return Record(
            generation=self.store.generation,
            connection_id=self.connection_id,
            job_type=self._job_type,
            state=state,
            certain=job_id is not None and job_id == self.started_job,
            after=after,
            written_at=time.time(),
            job_id=job_id,
        )

    async def _write(self, state: RecordState, *, after: int | None = None, job_id: int | None = None) -> None:
        await asyncio.to_thread(self.store.write, self._record(state, after=after, job_id=job_id))

    async def _delete(self) -> None:
        await asyncio.to_thread(self.store.delete)


def does_the_work(job: Job, job_type: str) -> bool:
    """Tell whether somebody else's job does what was to be done.

    :param job_type: What was to be done.
    """
    return job.job_type in MAY_BECOME.get(JobType(job_type), {JobType.SYNC, JobType.REFRESH})


def _is_new(job: Job, after: int | None, asked_at: float) -> bool:
    """Tell whether a job that Airbyte names is none that was there before it was asked for one.

    :param after: The connection's newest job before; None if that could not be learned, so that its age has to tell.
    :param asked_at: Seconds since the epoch.
    """
    if after is not None:
        return job.job_id > after
    return job.created_at is None or job.created_at.timestamp() > asked_at - CLOCKS_APART


def _may_have_arrived(error: ApiError) -> bool:
    """Tell whether a request may be carried out although it failed. Load (429) is shed before it is read."""
    return isinstance(error, Unreachable) and error.may_have_arrived and error.status != 429


async def _refuse_hopeless(
    client: AirbyteClient, connection_id: str, error: ApiError, jobs: tuple[Job, ...] | None
) -> None:
    """Say what is wrong with the connection if Airbyte, or a gateway before it, has failed to.

    Airbyte answers ``state-conflict`` or 500 for an inactive connection, and hides why; a gateway gives up what waits
    for one that does not exist (504).

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
