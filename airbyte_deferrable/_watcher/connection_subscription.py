"""Who waits for the ends of Airbyte connections' jobs, up to which moment each was told, and how they are notified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from types import TracebackType
from typing import Protocol

from airbyte_deferrable._watcher.subscriptions import OutageNews
from airbyte_deferrable.api.aio import wake
from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.api.models import Job

#: So many ends wait at the most for the one who subscribed. What comes then is asked for again when it has taken them:
#: thousands of connections may have weeks of ends to catch up with, and not all are to be in memory at once.
MOST_PENDING = 1000
#: Before any job: what has no stamp counts as that old.
EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)
LATEST = datetime.max.replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Position:
    """Up to where all ends were handed out: what a caller keeps, to go on from there in another process.

    :param moment: Each end of a job before this moment of Airbyte's clock was handed out, also one whose row may yet
        become visible late (``Pace.late``).
    :param handed_out: Jobs whose ends are not before it and were handed out all the same. A few: what ended in the last
        minute or two.
    """

    moment: datetime
    handed_out: frozenset[int] = frozenset()


@dataclass(frozen=True)
class EndedJobs:
    """Jobs that have ended.

    :param jobs: At least one; those of one connection in the order of their ends, which is that of their ids, for
        Airbyte runs one job of a connection at a time.
    """

    jobs: tuple[Job, ...]


@dataclass(frozen=True, eq=False)
class ConnectionNews:
    """News that the jobs of one connection cannot be read, while others can; or that they can again.

    It is no end: the connection is asked for again now and then, and what has ended meanwhile is handed out.

    :param connection_id: The connection.
    :param error: What went wrong; None when its jobs can be read again.
    :param not_visible: Whether Airbyte says, twice in a row, that there is no such connection.
    """

    connection_id: str
    error: ApiError | None
    not_visible: bool = False


class Swept:
    """Up to where the sweeps have read all changes, shared by all whose connections they tell of."""

    def __init__(self) -> None:
        self.moment: datetime | None = None


class Interest:
    """One subscription's interest in one connection.

    There may be tens of thousands: it holds no more than it needs, and costs a sweep nothing while its connection has
    no news.

    :param subscription: Who is interested.
    :param connection_id: The connection.
    :param since: Which ends: those at this moment or later. None for those from now on.
    :param handed_out: Jobs that are no news.
    :param swept: Up to where the sweeps have read.
    """

    __slots__ = (
        "_from",
        "_handed_out",
        "_handed_out_before",
        "_prune_at",
        "_swept",
        "caught_up",
        "connection_id",
        "from_now",
        "missed",
        "new",
        "subscription",
        "walked",
    )

    def __init__(
        self,
        subscription: ConnectionSubscription,
        connection_id: str,
        since: datetime | None,
        handed_out: frozenset[int],
        swept: Swept,
    ) -> None:
        self.subscription = subscription
        self.connection_id = connection_id
        self._from = None if since is None else whole_second(since)
        self._swept = swept
        #: Whether what has ended is yet to be told from what ends from now on.
        self.from_now = since is None
        #: Whether nothing has been read for it yet.
        self.new = True
        #: Whether the sweeps tell of its connection; otherwise a list of the connection's own does.
        self.caught_up = False
        #: Whether the present reading brought an end that found no room.
        self.missed = False
        #: Whether it was tried to catch up with it and others in one walk.
        self.walked = False
        #: The ends at its position or later that were handed out or wait to be, with their stamps.
        self._handed_out: dict[int, datetime] = {}
        #: The same of an earlier life, until they have been read again.
        self._handed_out_before = handed_out
        self._prune_at = 16

    @property
    def position(self) -> datetime | None:
        """Each end before this moment was handed out, or waits to be; None if that is not known yet."""
        swept = self._swept.moment if self.caught_up else None
        if swept is None or self._from is None:
            return swept or self._from
        return max(swept, self._from)

    def move_to(self, moment: datetime | None) -> None:
        """Take note that all ends before a moment were handed out.

        :param moment: The moment; None leaves it as it was.
        """
        if moment is not None:
            self._from = whole_second(moment) if self._from is None else max(self._from, whole_second(moment))

    def catch_up(self, ended: Iterable[Job]) -> None:
        """Take note that the sweeps tell all that is to come.

        :param ended: The connection's jobs that have ended since its position.
        """
        for job in ended if self._handed_out_before else ():
            if job.job_id in self._handed_out_before:
                self._handed_out[job.job_id] = job.updated_at or LATEST
        self.caught_up, self._handed_out_before = True, frozenset()

    def fall_behind(self) -> None:
        """Take note that the sweeps do not tell all any more."""
        self._from, self.caught_up, self.walked, self.missed = self.position, False, False, False

    def begin(self, ended: Iterable[Job], since: datetime | None) -> None:
        """Begin with what ends from now on: what has ended is no news.

        :param ended: The connection's jobs that have.
        :param since: Those that ended at this moment or later; None for all.
        """
        self.move_to(since)
        for job in ended:
            self._handed_out[job.job_id] = job.updated_at or LATEST
        self.from_now = False

    def take(self, job: Job, moment: datetime) -> bool:
        """Let the subscription hand out an end, unless it has.

        :param job: The job.
        :param moment: Its stamp, or what takes its place.
        :return: Whether it is news.
        """
        position = self.position
        if job.job_id in self._handed_out or (position is not None and moment < position):
            return False
        news = job.job_id not in self._handed_out_before
        if news and (self.missed or self.subscription.full):
            self.missed = True
            return False
        if len(self._handed_out) >= self._prune_at:
            self._prune(position)
        self._handed_out[job.job_id] = moment
        if news:
            self.subscription.take(job, moment)
        return news

    def handed_out_since(self, moment: datetime) -> set[int]:
        """Return the jobs that were handed out, or wait to be, and ended at a moment or later.

        :param moment: The moment.
        """
        return {job_id for job_id, at in self._handed_out.items() if at >= moment} | self._handed_out_before

    def _prune(self, position: datetime | None) -> None:
        # What is before the position is no news anyhow.
        if position is not None:
            self._handed_out = {job_id: at for job_id, at in self._handed_out.items() if at >= position}
        self._prune_at = 16 + 2 * len(self._handed_out)


class ConnectionWatcher(Protocol):
    """What a subscription needs of its watcher."""

    outage: OutageNews | None

    @property
    def lists_outage(self) -> OutageNews | None:
        """The outage of the lists alone."""

    def add_interests(
        self, subscription: ConnectionSubscription, connection_ids: Iterable[str], since: datetime | None
    ) -> None:
        """Begin to watch connections for the subscription.

        :param subscription: The subscription.
        :param connection_ids: The connections.
        :param since: From which moment on.
        """

    def remove_interests(self, subscription: ConnectionSubscription, connection_ids: Iterable[str]) -> None:
        """Watch connections no more for the subscription.

        :param subscription: The subscription.
        :param connection_ids: The connections.
        """


class ConnectionSubscription:
    """One task's, or one trigger's, interest in all that ends of some connections.

    For ``with watcher.watch_connections(…) as subscription``, then ``async for news in subscription``; or
    :meth:`news` and :meth:`woken`, where something else is awaited beside it.

    :param watcher: Who watches the connections.
    :param connection_ids: The connections, UUIDs.
    :param since: Which ends: those at this moment of Airbyte's clock or later, rounded down to a second as Airbyte's
        own stamps are. None for those from now on.
    :param handed_out: Jobs whose ends were handed out in an earlier life, see :attr:`position`.
    :param poll_interval: Seconds within which an end should be noticed.
    """

    def __init__(
        self,
        watcher: ConnectionWatcher,
        connection_ids: Iterable[str],
        since: datetime | None,
        handed_out: Collection[int],
        poll_interval: float,
    ) -> None:
        self.poll_interval = poll_interval
        self.handed_out_before = frozenset(handed_out)
        #: By the connection's id in lower case, as Airbyte writes it.
        self.interests: dict[str, Interest] = {}
        self._watcher = watcher
        check_zone(since)
        self._begin_with = tuple(connection_ids)
        self._since = since
        self._pending: dict[int, tuple[Job, datetime]] = {}
        self._connection_news: dict[str, ConnectionNews] = {}
        #: Connections that Airbyte does not let be seen.
        self.not_visible: set[str] = set()
        #: What it was notified of last, of either kind.
        self._outages: list[OutageNews | None] = [None, None]
        self._waiting: asyncio.Future[None] | None = None
        self._expired = False

    def __enter__(self) -> ConnectionSubscription:
        # An outage that was over before is none of its business.
        self._outages = [None if outage is None or outage.lasts else outage for outage in self._present_outages()]
        self._watcher.add_interests(self, self._begin_with, self._since)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.remove_interests(self, tuple(self.interests))

    async def __aiter__(self) -> AsyncIterator[EndedJobs | OutageNews | ConnectionNews]:
        """Yield what there is to say, for ever, or until the subscription has expired."""
        while True:
            news = self.news()
            if news is None:
                await self.woken()
            else:
                yield news

    def news(self, *, with_ends: bool = True) -> EndedJobs | OutageNews | ConnectionNews | None:
        """Return what there is to say; None if there is nothing, then wait until :meth:`woken`.

        :param with_ends: Whether to return ends. Otherwise they are kept for a later call. Default: True.
        :return: All jobs that have ended since it was asked last, each once; or the outage that began or is over,
            that of the lists alone included; or that one connection's jobs cannot be read, or can again.
        :raises asyncio.TimeoutError: If the subscription has expired.
        """
        if self._pending and with_ends:
            jobs = tuple(self._pending[job_id][0] for job_id in sorted(self._pending))
            self._pending.clear()
            return EndedJobs(jobs)
        for number, outage in enumerate(self._present_outages()):
            if outage is not None and outage is not self._outages[number]:
                self._outages[number] = outage
                return outage
        if self._connection_news:
            return self._connection_news.pop(next(iter(self._connection_news)))
        if self._expired:
            raise asyncio.TimeoutError
        return None

    def woken(self) -> asyncio.Future[None]:
        """Return what to await until there may be news. For one task at a time."""
        self._waiting = asyncio.get_running_loop().create_future()
        return self._waiting

    @property
    def position(self) -> Position | None:
        """Up to where :meth:`news` has handed everything out; None as long as nothing has been read from now on.

        It moves on with or without news. Kept when the news before it have been dealt with, and given to the next
        :meth:`JobWatcher.watch_connections`, nothing is lost; what was dealt with and not kept is handed out again. A
        connection that Airbyte does not let be seen does not hold it back, nor does one that was added for what ends
        from then on and was not read yet; otherwise it never goes back while the connections stay the same.
        """
        interests = list(self.interests.values())
        seen = [each for each in interests if each.connection_id not in self.not_visible] or interests
        moments = [moment for moment in (each.position for each in seen) if moment is not None]
        # Also if all connections have gone that these are of.
        moments += [whole_second(at) for _, at in self._pending.values()]
        if not moments:
            return None
        moment = min(moments)
        handed_out: set[int] = set()
        for interest in interests:
            handed_out |= interest.handed_out_since(moment)
        return Position(moment, frozenset(handed_out.difference(self._pending)))

    @property
    def caught_up(self) -> bool:
        """Whether all that had ended when it began was read."""
        return all(each.caught_up for each in self.interests.values())

    def change(self, connection_ids: Iterable[str], since: datetime | None = None) -> None:
        """Watch other connections. Those that stay go on as they were; ends that wait of those that go are handed out.

        :param connection_ids: All that are to be watched from here on.
        :param since: For those that come, as for :meth:`JobWatcher.watch_connections`. Default: None, from now on.
        :raises ValueError: If ``since`` has no time zone.
        """
        check_zone(since)
        wanted = {connection_id.lower(): connection_id for connection_id in connection_ids}
        gone = [each for each in self.interests if each not in wanted]
        self._watcher.remove_interests(self, gone)
        # One that comes again is new: nothing is known of it, and what it may have had holds the position back.
        self.not_visible.difference_update(gone)
        for each in gone:
            self._connection_news.pop(each, None)
        self._watcher.add_interests(self, [each for each in wanted if each not in self.interests], since)

    @property
    def full(self) -> bool:
        """Whether there is no room for another end."""
        return len(self._pending) >= MOST_PENDING

    def take(self, job: Job, moment: datetime) -> None:
        """Keep an end until it is asked for. It wakes nobody: all of one sweep are to be one batch.

        :param job: The job.
        :param moment: When it ended.
        """
        self._pending[job.job_id] = (job, moment)

    def add_news(self, news: ConnectionNews) -> None:
        """Say what became of one connection.

        :param news: What.
        """
        # Of one connection the last word counts: one that comes and goes is not to fill the memory.
        self._connection_news.pop(news.connection_id, None)
        self._connection_news[news.connection_id] = news
        if news.not_visible:
            self.not_visible.add(news.connection_id)
        else:
            self.not_visible.discard(news.connection_id)
        self.wake()

    def expire(self) -> None:
        """Let the wait end with a timeout, unless there are news."""
        self._expired = True
        self.wake()

    def wake(self) -> None:
        """Let who waits ask for news."""
        if self._waiting is not None:
            wake(self._waiting)
            self._waiting = None

    def _present_outages(self) -> tuple[OutageNews | None, OutageNews | None]:
        return self._watcher.outage, self._watcher.lists_outage


def check_zone(since: datetime | None) -> None:
    """Refuse a moment of which it is not known when it is.

    :param since: The moment.
    :raises ValueError: If it has no time zone.
    """
    if since is not None and since.tzinfo is None:
        raise ValueError(f"since needs a time zone: {since!s}")


def whole_second(moment: datetime) -> datetime:
    """Return a moment as Airbyte's stamps are: rounded down to a second.

    :param moment: The moment, with a time zone.
    """
    return moment.astimezone(timezone.utc).replace(microsecond=0)
