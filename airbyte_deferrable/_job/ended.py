"""Which syncs have ended at the connections that are meant, whoever started them: told batch by batch, for ever."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from airbyte_deferrable._job.retrying import RECOVERED, Outage
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable._job.wait import CredentialsChanged, CredentialSource, say_outage
from airbyte_deferrable._job.watched import READ_AGAIN_SOON, WatchedConnections, WhichConnections
from airbyte_deferrable._watcher import server_clock
from airbyte_deferrable._watcher.connection_subscription import (
    EARLIEST,
    LATEST,
    ConnectionNews,
    ConnectionSubscription,
    EndedJobs,
    Position,
)
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable.api.aio import SharedCallStopped
from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.api.models import Connection, Job

#: Seconds after which it is noted up to where all was told, also where there was nothing to tell: who comes back after
#: a stop then reads no more than that.
NOTE_AGAIN = 600.0
#: For how long what is kept of the position waits for connections that are meant and cannot be found, from when they
#: were missed first in a trigger's life: of one that comes later, what ended before that is not told. If it waited for
#: ever, a name that is gone would have each life read all lists from that day on, and each event take down all jobs
#: since.
WAITS_FOR_MISSING = timedelta(hours=6)
#: Seconds between two events of one asset, at least.
SHORTEST_EVENT_INTERVAL = 5.0
#: How far Airbyte's clock may be from this machine's.
CLOCKS_APART = timedelta(minutes=10)
#: Seconds until it begins anew after an error of its own, at first and at most.
ANEW_AFTER = (5.0, 300.0)

AIRBYTE_IS_OUT = "Airbyte cannot be asked now. What ends meanwhile is told afterwards"


class EndedSync(BaseModel):
    """A job of an Airbyte connection that has ended, as an asset event tells it: a sync, or what else was asked for.

    :param connection_id: The connection, a UUID.
    :param connection_name: What it is called; empty if Airbyte did not say.
    :param job_id: Airbyte's id of the job.
    :param job_type: ``sync``, ``reset``, ``refresh``.
    :param status: ``succeeded``, ``failed`` or ``cancelled``.
    :param started_at: When it was created, which to Airbyte is its start, by Airbyte's clock; None if it did not say.
    :param ended_at: When it ended, likewise.
    :param duration_seconds: From its creation to its end, likewise.
    :param rows_synced: Rows committed, likewise.
    :param bytes_synced: Bytes committed, likewise.
    :param job_url: Where it is in Airbyte's web app; empty if that is not known.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    connection_id: str
    connection_name: str = ""
    job_id: int
    job_type: str = "sync"
    status: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_seconds: float | None = None
    rows_synced: int | None = None
    bytes_synced: int | None = None
    job_url: str = ""

    @classmethod
    def of(cls, job: Job, connection: Connection, job_url: str) -> EndedSync:
        """Return what is told of a job.

        :param connection: As far as it is known.
        :param job_url: Its address in Airbyte's web app.
        """
        return cls(
            connection_id=job.connection_id,
            connection_name=connection.name,
            job_id=job.job_id,
            job_type=job.job_type,
            status=job.status,
            started_at=job.created_at,
            ended_at=job.updated_at,
            duration_seconds=job.duration_seconds,
            rows_synced=job.rows_synced,
            bytes_synced=job.bytes_synced,
            job_url=job_url,
        )


@dataclass(frozen=True)
class WhichEnds:
    """Which ends are told.

    :param connections: Of which connections.
    :param statuses: How the jobs have to have ended.
    :param job_types: The types of job that count, as Airbyte answers them.
    :param since: The moment from which on, where nothing was told yet. Default: from the beginning on.
    """

    connections: WhichConnections
    statuses: frozenset[str]
    job_types: frozenset[str]
    since: datetime | None = None

    def counts(self, job: Job) -> bool:
        """Tell whether the end of a job is one to be told."""
        return job.status in self.statuses and job.job_type in self.job_types


@dataclass(frozen=True)
class Batch:
    """Ends that are told together.

    :param syncs: In the order of their numbers. None at all: there is only a position to note.
    :param position: Up to where all was told, once these were.
    :param doubtful: Whether some of them may well have been told before.
    """

    syncs: tuple[EndedSync, ...]
    position: Position
    doubtful: bool = False

    def payload(self, name: str) -> dict[str, Any]:
        """Return what an asset event tells, plain JSON data.

        :param name: One that no other has.
        """
        jobs = [sync.model_dump(mode="json", exclude_none=True) for sync in self.syncs]
        return {"airbyte_batch": name, "jobs": jobs, "doubtful": self.doubtful}


@dataclass(frozen=True)
class ToldBatch:
    """A batch as a task reads it from an asset event.

    :param name: One that no other has.
    :param syncs: What has ended.
    :param doubtful: Whether some of them may well have been told before.
    """

    name: str
    syncs: tuple[EndedSync, ...]
    doubtful: bool

    @classmethod
    def read(cls, extra: Any) -> ToldBatch | None:
        """Return what an asset event tells; None if it is not one of ours.

        :param extra: The event's.
        """
        payload = extra.get("payload") if isinstance(extra, Mapping) else None
        if not isinstance(payload, Mapping) or "airbyte_batch" not in payload:
            return None
        syncs = tuple(EndedSync.model_validate(each) for each in payload.get("jobs", ()))
        return cls(str(payload["airbyte_batch"]), syncs, bool(payload.get("doubtful")))


@dataclass
class Asking:
    """How Airbyte is asked for ends.

    :param watcher: Returns who sees the jobs end, with the newest credentials.
    :param poll_interval: Seconds within which an end should be noticed.
    :param event_interval: Seconds between two batches at least; the shortest, as long as more ends wait than are kept.
    :param job_url: Returns a job's address in Airbyte's web app, given its connection.
    :param renewal: Other credentials, should Airbyte refuse these.
    :param changed: Looks whether there are other settings than those that are used, and from then on uses them.
    """

    watcher: Callable[[], Awaitable[JobWatcher]]
    poll_interval: float
    event_interval: float
    job_url: Callable[[Connection, Job], str]
    renewal: CredentialSource
    changed: Callable[[], Awaitable[bool]]
    log: Log


def _now() -> float:
    return asyncio.get_running_loop().time()


async def tell_ends(which: WhichEnds, position: Position | None, asking: Asking) -> AsyncGenerator[Batch, None]:
    """Tell which jobs have ended, for ever. It never raises: it says what is wrong, and goes on.

    Each end after the position is told at least once, those of one connection in their order. Who takes a batch keeps
    its position as soon as the batch cannot be lost any more, and begins with the newest that was kept after a stop.

    :param which: Which ends.
    :param position: Up to where all was told in an earlier life; None if there was none.
    :param asking: How Airbyte is asked.
    """
    connections, pause = WatchedConnections(which.connections, asking.log), ANEW_AFTER[0]
    told_at = -math.inf
    if position is None:
        # Kept before anything is told: the first start counts, also if a later one is the first to tell something.
        position = Position(which.since or server_clock.utc_now())
        yield Batch((), position)
    try:
        while True:
            begun = _now()
            try:
                async with aclosing(_Telling(which, position, asking, connections, told_at).batches()) as batches:
                    async for batch in batches:
                        yield batch
                        position = batch.position
                        told_at = _now() if batch.syncs else told_at
            except CredentialsChanged:
                pass
            except Exception as error:
                pause = ANEW_AFTER[0] if _now() - begun > NOTE_AGAIN else min(2 * pause, ANEW_AFTER[1])
                asking.log.error(
                    "Watching Airbyte failed, and begins anew in %.0f s where it was (%s: %s)",
                    pause,
                    type(error).__name__,
                    error,
                )
                await asyncio.sleep(pause)
    finally:
        asking.renewal.stop()


class _Telling:
    """Tells ends with one set of credentials.

    What is kept of the position is not later than when it was last known which connections are meant: one that has come
    since may have had a sync already, of which nobody knows.

    :param position: From where it goes on.
    :param told_at: When ends were told last, by the event loop's time.
    """

    def __init__(
        self,
        which: WhichEnds,
        position: Position,
        asking: Asking,
        connections: WatchedConnections,
        told_at: float,
    ) -> None:
        self._which = which
        #: From where a later life would go on.
        self._kept = position
        self._asking = asking
        self._connections = connections
        #: The moment of Airbyte's clock at which it was last known which connections are meant.
        self._read_at = position.moment
        #: Of the event loop's time: when ends were told last, when a position was noted last, when it is to be asked
        #: again which connections are meant, and when to look for other settings.
        self._told_at, self._noted_at, self._read_again_at, self._look_again_at = told_at, 0.0, 0.0, 0.0
        #: The present question which connections are meant. It is asked beside the telling: where Airbyte forbids their
        #: list, the answers for hundreds take minutes.
        self._reading: asyncio.Future[float] | None = None
        self._certain_from = server_clock.utc_now() + CLOCKS_APART
        #: The ends that were told, as far as a later life would read them again: those of earlier ones were before now.
        self._told: dict[int, datetime] = dict.fromkeys(position.handed_out, self._certain_from)
        self._outage = Outage(
            asking.log, "Airbyte does not tell which connections are meant, and is asked again", RECOVERED
        )
        self._is_out = False

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield what is to be told, and now and then only a position, until there are other credentials."""
        asking, connections = self._asking, self._connections
        watcher = await asking.watcher()
        asked_at = server_clock.utc_now()
        while not await self._read(watcher):
            await asyncio.sleep(READ_AGAIN_SOON)
            await self._look_for_other_settings()
            asked_at = server_clock.utc_now()
        self._know(asked_at - CLOCKS_APART)
        self._noted_at, self._read_again_at = _now(), _now() + connections.read_again_in
        with watcher.watch_connections(
            connections.ids,
            since=self._kept.moment,
            handed_out=self._kept.handed_out,
            poll_interval=asking.poll_interval,
        ) as subscription:
            try:
                while True:
                    tell_at = self._tell_at(subscription)
                    withheld = _now() < tell_at
                    news = subscription.news(with_ends=not withheld)
                    if isinstance(news, EndedJobs):
                        syncs = self._syncs(news.jobs)
                        if syncs:
                            _count(watcher, syncs)
                            yield Batch(syncs, self._now_kept(subscription), self._doubtful(syncs))
                            self._told_at = self._noted_at = _now()
                    elif news is not None:
                        self._say(news, subscription)
                    elif _now() >= self._noted_at + NOTE_AGAIN:
                        yield Batch((), self._now_kept(subscription))
                        self._noted_at = _now()
                    else:
                        await self._look_around(watcher, subscription, tell_at if withheld else math.inf)
            finally:
                if self._reading is not None:
                    self._reading.cancel()

    def _tell_at(self, subscription: ConnectionSubscription) -> float:
        """Return when ends may be told: what ends meanwhile goes together, for a burst of events arrives in pieces."""
        interval = self._asking.event_interval
        return self._told_at + (min(SHORTEST_EVENT_INTERVAL, interval) if subscription.full else interval)

    async def _look_around(self, watcher: JobWatcher, subscription: ConnectionSubscription, tell_at: float) -> None:
        """Do what is due beside the telling, or wait until something is.

        :param tell_at: Until when ends are withheld.
        :raises CredentialsChanged: If there are other credentials.
        """
        asking, reading = self._asking, self._reading
        if reading is None and _now() >= self._read_again_at:
            self._reading = asyncio.ensure_future(self._read_again(watcher, subscription))
            # Whoever closes the trigger asks for no result.
            self._reading.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        elif reading is not None and reading.done():
            self._read_again_at, self._reading = _now() + reading.result(), None
        elif self._is_out and _now() >= self._look_again_at:
            self._look_again_at = _now() + READ_AGAIN_SOON
            await self._look_for_other_settings()
        else:
            asking.renewal.check(asking.log)
            due = min(
                self._noted_at + NOTE_AGAIN,
                math.inf if reading else self._read_again_at,
                self._look_again_at if self._is_out else math.inf,
                tell_at,
            )
            awaited: set[asyncio.Future[Any]] = {subscription.woken(), *([reading] if reading else [])}
            await asyncio.wait(awaited, timeout=max(0.0, due - _now()), return_when=asyncio.FIRST_COMPLETED)

    def _syncs(self, jobs: Iterable[Job]) -> tuple[EndedSync, ...]:
        told = [job for job in jobs if self._which.counts(job) and job.job_id not in self._told]
        self._told.update((job.job_id, job.updated_at or LATEST) for job in told)
        rows = ((job, self._connections.row(job.connection_id)) for job in told)
        return tuple(EndedSync.of(job, row, self._asking.job_url(row, job)) for job, row in rows)

    def _doubtful(self, syncs: tuple[EndedSync, ...]) -> bool:
        # What ends later no earlier life has told; but one that still goes on beside this may.
        return any((sync.ended_at or EARLIEST) < self._certain_from for sync in syncs)

    def _now_kept(self, subscription: ConnectionSubscription) -> Position:
        """Return what a later life is to go on from; never less than before."""
        moment = max(self._kept.moment, min(self._moment(subscription), self._read_at))
        self._told = {job_id: at for job_id, at in self._told.items() if at >= moment}
        present = subscription.position
        handed_out = frozenset(self._told) | (present.handed_out if present is not None else frozenset())
        self._kept = Position(moment, handed_out)
        return self._kept

    def _moment(self, subscription: ConnectionSubscription) -> datetime:
        """Return the moment of Airbyte's clock up to which all was told."""
        present = subscription.position
        # Without a connection Airbyte's clock is not asked for. What it stamps from now on is later than this.
        return present.moment if present is not None else server_clock.utc_now() - CLOCKS_APART

    async def _read_again(self, watcher: JobWatcher, subscription: ConnectionSubscription) -> float:
        """Ask which connections are meant by now, and watch those.

        :return: Seconds until it is asked again.
        """
        known, moment = set(self._connections.ids), self._moment(subscription)
        if not await self._read(watcher):
            return READ_AGAIN_SOON
        subscription.change(self._connections.ids, self._read_at)
        if not known.issuperset(self._connections.ids):
            self._certain_from = server_clock.utc_now() + CLOCKS_APART
        self._know(moment)
        return self._connections.read_again_in

    def _know(self, moment: datetime) -> None:
        """Take note that Airbyte has told which connections are meant.

        :param moment: When it was asked, or before, by its clock.
        """
        missing_from = self._connections.missing_from(moment)
        if missing_from is None:
            self._read_at = max(self._read_at, moment)
        elif moment - missing_from >= WAITS_FOR_MISSING:
            # Not before: after a long stop, one answer that lacks some is to cost nothing.
            self._read_at = max(self._read_at, moment - WAITS_FOR_MISSING)

    async def _read(self, watcher: JobWatcher) -> bool:
        """Ask which connections are meant.

        :return: Whether Airbyte has answered.
        """
        try:
            await self._connections.read(watcher)
        except ApiError as error:
            self._outage.failed(error)
            self._asking.renewal.heard(error)
            self._asking.renewal.check(self._asking.log)
            return False
        except SharedCallStopped:
            return False
        self._outage.recovered()
        return True

    async def _look_for_other_settings(self) -> None:
        """Begin anew if the Airflow connection was changed: with its address, what is asked was never Airbyte's."""
        if await self._asking.changed():
            raise CredentialsChanged

    def _say(self, news: Any, subscription: ConnectionSubscription) -> None:
        log = self._asking.log
        if not isinstance(news, ConnectionNews):
            say_outage(news, log, AIRBYTE_IS_OUT)
            self._is_out = news.error is not None
            self._asking.renewal.heard(news.error, subscription.wake)
            return
        name = self._connections.row(news.connection_id).name
        which = f"connection {news.connection_id}" + (f" ({name!r})" if name else "")
        if news.error is None:
            log.info("Airbyte tells the jobs of %s again", which)
        else:
            log.warning("Airbyte does not tell the jobs of %s, and is asked again: %s", which, news.error)


def _count(watcher: JobWatcher, syncs: tuple[EndedSync, ...]) -> None:
    watcher.meter.count("asset_events")
    watcher.meter.count("ended_syncs", len(syncs))
    now = server_clock.utc_now()
    for sync in syncs:
        if sync.ended_at is not None:
            watcher.meter.told_after(max(now - sync.ended_at, timedelta()))
