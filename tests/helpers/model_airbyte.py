"""A model of Airbyte's job API in virtual time: small, exact about stamps and pages, and cruel where told to be.

It stands where :class:`airbyte_deferrable.api.client.AirbyteClient` stands, so that thousands of sweeps run in a
moment. What Airbyte says over real HTTP is the simulator's business.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any, TypeVar
from unittest.mock import patch

from airbyte_deferrable._watcher import server_clock
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable._watcher.subscriptions import OutageNews, Subscription
from airbyte_deferrable.api.errors import ApiError, BadCredentials, Conflict, Forbidden, Unreachable
from airbyte_deferrable.api.models import TERMINAL, Connection, Job
from airbyte_deferrable.api.settings import Settings

T = TypeVar("T")

#: Airbyte's clock when the event loop's is at 0.
EPOCH = datetime(2024, 1, 1, tzinfo=timezone.utc)

# What the properties draw from.

#: Pages of three rows, so that a dozen jobs fill several and shift while they are read.
PAGE = 3
#: As in production, but for the long pauses, so that an example is a few minutes of virtual time.
SHORT_PAUSES = Pace(
    first_overlap=30.0,
    confirm_after=60.0,
    busy_pause=20.0,
    refused_pause=30.0,
    throttled_pause=20.0,
    linger=10.0,
)
#: The statuses through which a job goes, and those in which it ends.
LIVES = (("running",), ("running", "incomplete", "running"), ("queued", "running", "incomplete"), ())
ENDS = ("succeeded", "failed", "cancelled")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while nobody has anything to do, and then at once."""

    def __init__(self) -> None:
        self._virtual_now = 1000.0
        #: How often it has gone through what is ready.
        self.rounds = 0
        super().__init__(_NeverWaits(self))

    def time(self) -> float:
        return self._virtual_now

    def pass_time(self, seconds: float) -> None:
        self._virtual_now += seconds


class _NeverWaits(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        self._loop.rounds += 1
        if timeout is None:
            raise AssertionError("everybody waits for something that never comes")
        if timeout > 0:
            self._loop.pass_time(timeout)
        return super().select(0)


def moment_at(seconds: float) -> datetime:
    """Return what Airbyte's clock says at a moment of the event loop's."""
    return EPOCH + timedelta(seconds=seconds)


async def news_of(subscription: Subscription) -> Job | OutageNews:
    """Wait until a subscription has something to tell."""
    while (told := subscription.news()) is None:
        await subscription.woken()
    return told


def run_in_virtual_time(coroutine: Coroutine[Any, Any, T], *, ahead: float = 0.0) -> T:
    """Run a coroutine to its end on a loop of its own, then cancel what it left behind.

    :param coroutine: The coroutine.
    :param ahead: How far this machine's clock is ahead of the true time, which is Airbyte's where no step is skewed.
    """
    loop = VirtualTimeLoop()
    try:
        with patch.object(server_clock, "utc_now", lambda: moment_at(loop.time() + ahead)):
            return loop.run_until_complete(coroutine)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()


@dataclass(frozen=True)
class Step:
    """A change of a job's status.

    :param at: When it happens, seconds of the event loop's time.
    :param status: The new status.
    :param skew: How far the clock of the pod that stamps it is ahead.
    :param lag: How much later it becomes visible.
    """

    at: float
    status: str
    skew: float = 0.0
    lag: float = 0.0

    @property
    def stamp(self) -> float:
        return self.at + self.skew

    @property
    def visible_at(self) -> float:
        return self.at + self.lag


@dataclass(frozen=True)
class ModelJob:
    """A job and its whole life.

    :param job_id: Its id.
    :param steps: Its changes in order, the first is its creation.
    :param listed: Whether the list ever names it.
    :param pruned_at: When Airbyte forgets it.
    :param connection_id: Whose it is.
    """

    job_id: int
    steps: tuple[Step, ...]
    listed: bool = True
    pruned_at: float = float("inf")
    connection_id: str = ""

    def last_step(self, now: float) -> Step | None:
        """Return the last change that can be seen."""
        if now >= self.pruned_at:
            return None
        seen = None
        for step in self.steps:
            # Later changes are never visible before earlier ones.
            if step.visible_at > now:
                break
            seen = step
        return seen

    @property
    def end(self) -> Step:
        """The change that ends it."""
        return self.steps[-1]


@dataclass(frozen=True)
class Fault:
    """OutageNews for a while.

    :param start: When it begins.
    :param seconds: How long it lasts.
    :param kind: ``down``, ``refused``, ``throttled``, ``forbidden``, ``unauthorized`` or ``hang``.
    :param call: ``list``, ``get``, ``connection`` or ``all``.
    :param every: Hits each so-manyth request.
    :param job_id: Only this job's look-ups.
    :param connection_id: Only lists of this connection's jobs, and its look-ups.
    """

    start: float
    seconds: float
    kind: str = "down"
    call: str = "all"
    every: int = 1
    job_id: int | None = None
    connection_id: str | None = None


@dataclass
class ModelAirbyte:
    """What the watcher takes for a client.

    :param jobs: All jobs there ever will be.
    :param faults: All faults there ever will be.
    :param latency: Seconds that a request takes.
    :param page_size: Rows a page.
    :param timeout: Seconds after which a request that hangs fails.
    :param seed: Decides the order of rows that share a stamp, each time anew.
    """

    jobs: list[ModelJob] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    latency: float = 0.02
    page_size: int = 100
    timeout: float = 5.0
    seed: int = 0
    #: When the list of connections first shows some of them; the others are always there.
    appears: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = Settings("http://airbyte.example/api/public/v1")
        self.calls: list[tuple[float, str, dict[str, Any]]] = []
        self.closed = 0
        self.in_flight = 0
        self._random = Random(self.seed)

    @property
    def requests(self) -> int:
        return len(self.calls)

    def count(self, call: str) -> int:
        """Return how often something was asked."""
        return sum(each == call for _, each, _ in self.calls)

    async def close(self) -> None:
        self.closed += 1

    async def get_job(self, job_id: int) -> Job:
        await self._asked("get", {"job_id": job_id}, job_id)
        job = next((job for job in self.jobs if job.job_id == job_id), None)
        step = job.last_step(_now()) if job else None
        if job is None or step is None:
            raise Conflict(f"GET /jobs/{job_id}", "Job is not currently running", 409, kind="state-conflict")
        await asyncio.sleep(self.latency / 2)
        return _told(job, step)

    async def get_connection(self, connection_id: str) -> Connection:
        await self._asked("connection", {"connection_id": connection_id}, None)
        await asyncio.sleep(self.latency / 2)
        return Connection(connection_id=connection_id)

    async def list_connections(
        self, workspace_id: str | None = None, *, tag_ids: Sequence[str] = (), offset: int = 0
    ) -> tuple[Connection, ...]:
        await self._asked("connection", {"connection_id": None}, None)
        await asyncio.sleep(self.latency / 2)
        ids = sorted({job.connection_id for job in self.jobs if self.appears.get(job.connection_id, 0.0) <= _now()})
        return () if offset else tuple(Connection(connection_id=each, name=each) for each in ids)

    async def list_jobs(
        self,
        *,
        connection_id: str | None = None,
        status: str | None = None,
        updated_since: datetime | None = None,
        created_since: datetime | None = None,
        order_by: str = "createdAt|ASC",
        offset: int = 0,
    ) -> tuple[Job, ...]:
        query = {"status": status, "updated": updated_since, "created": created_since, "order": order_by}
        await self._asked("list", {**query, "offset": offset, "connection_id": connection_id}, None)
        now = _now()
        rows = []
        for job in self.jobs:
            step = job.last_step(now)
            if step is None or not job.listed or (status is not None and step.status != status):
                continue
            if connection_id is not None and job.connection_id != connection_id:
                continue
            if updated_since is not None and moment_at(step.stamp) < updated_since:
                continue
            if created_since is not None and moment_at(job.steps[0].stamp) < created_since:
                continue
            stamp = step.stamp if order_by.startswith("updatedAt") else job.steps[0].stamp
            rows.append((stamp, self._random.random(), job, step))
        rows.sort(key=lambda row: row[:2], reverse=order_by.endswith("DESC"))
        await asyncio.sleep(self.latency / 2)
        return tuple(_told(job, step) for _, _, job, step in rows[offset : offset + self.page_size])

    async def _asked(self, call: str, query: dict[str, Any], job_id: int | None) -> None:
        self.calls.append((_now(), call, query))
        fault = self._fault(call, job_id, query.get("connection_id"))
        # The other half of the latency passes after the database was read.
        await asyncio.sleep(self.timeout if fault and fault.kind == "hang" else self.latency / 2)
        if fault is not None:
            raise _error(fault, f"GET /jobs/{job_id}" if job_id else "GET /jobs")

    def _fault(self, call: str, job_id: int | None, connection_id: str | None) -> Fault | None:
        for fault in self.faults:
            if not fault.start <= _now() < fault.start + fault.seconds or fault.call not in (call, "all"):
                continue
            if fault.job_id is not None and fault.job_id != job_id:
                continue
            if fault.connection_id is not None and fault.connection_id != connection_id:
                continue
            if len(self.calls) % fault.every == 0:
                return fault
        return None


def _now() -> float:
    return asyncio.get_running_loop().time()


def _told(job: ModelJob, step: Step) -> Job:
    """Return what Airbyte says: whole seconds, and the last change only of jobs that have ended."""
    created = moment_at(job.steps[0].stamp).replace(microsecond=0)
    changed = moment_at(step.stamp)
    pending = step.status == "pending"
    return Job(
        job_id=job.job_id,
        status=step.status,
        connection_id=job.connection_id,
        start_time=created.isoformat(),
        last_updated_at=changed.replace(microsecond=0).isoformat() if step.status in TERMINAL else None,
        duration=None if pending else f"PT{int((changed - created).total_seconds())}S",
    )


def _error(fault: Fault, call: str) -> ApiError:
    if fault.kind == "throttled":
        return Unreachable(call, "You are being rate limited.", 429)
    if fault.kind == "forbidden":
        return Forbidden(call, "Caller does not have the required WORKSPACE_READER permissions", 403)
    if fault.kind == "unauthorized":
        return BadCredentials(call, "Unauthorized", 401)
    if fault.kind == "hang":
        return Unreachable(call, "TimeoutError.")
    if fault.kind == "refused":
        return Unreachable(call, "Cannot connect to host.", may_have_arrived=False)
    return Unreachable(call, "Service Unavailable", 503)
