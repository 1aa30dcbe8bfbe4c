"""Which connections are watched, and what readings of the changes say of their jobs' ends.

A *reading* is all pages of one list of changes, from a moment of Airbyte's clock on: that of a sweep, or a connection's
own. Each begins at a moment of which all was handed out that ended before it, and when it has been read that moment
moves on, but only to ``Pace.late`` before the reading began. So whatever becomes visible late, is stamped by a pod
whose clock is behind, or was on a page that could not be read, is read by a later one. When the reading began, the
lower of two clocks says: Airbyte's as its stamps show it, which one row stamped ahead puts wrong, and this machine's.

A row may hide between two pages. Rows only ever enter a list, and push the rows behind them to later places, so that
one is read twice; but two rows that were created at the same moment have no order, and may be swapped. Then one of them
is read twice, and the other not at all. So where a row came twice the moment stays as it was; where that is so again
and again, each connection has a list of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta

from airbyte_deferrable._watcher.connection_subscription import (
    EARLIEST,
    LATEST,
    ConnectionNews,
    ConnectionSubscription,
    Interest,
    Swept,
    whole_second,
)
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable._watcher.server_clock import ServerClock
from airbyte_deferrable._watcher.subscriptions import FAILED_CHECKS, OutageNews
from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.api.models import Job

#: So many ends, or interests, are dealt with in one round of the event loop.
AT_ONCE = 100
#: Readings in a row in which a row came twice, until connections are read one by one.
MOST_DOUBTFUL = 3


class WatchedConnection:
    """A connection, who is interested in it, and how the lists of its own went.

    :param connection_id: The connection.
    """

    __slots__ = ("again_at", "asked_at", "connection_id", "failures", "interests", "not_found", "pages", "read_at")

    def __init__(self, connection_id: str) -> None:
        self.connection_id = connection_id
        self.interests: list[Interest] = []
        #: When it was last asked for by itself, and when that was answered; None before the first time.
        self.asked_at: float | None = None
        self.read_at: float | None = None
        #: Until when it is left alone.
        self.again_at = 0.0
        #: Lists of its own that failed while others were answered, and those that Airbyte had not found, in a row.
        self.failures = 0
        self.not_found = 0
        #: So many pages are read before it is another connection's turn; 0 for as many as usual.
        self.pages = 0

    @property
    def behind(self) -> list[Interest]:
        """Those to whom the sweeps do not tell all, and for whose ends there is room."""
        return [each for each in self.interests if not each.caught_up and not each.subscription.full]

    @property
    def poll_interval(self) -> float:
        """The shortest of all who are interested, seconds."""
        return min([each.subscription.poll_interval for each in self.interests])

    def fail(self, error: ApiError) -> None:
        """Take note that its jobs could not be read, while others could.

        :param error: What went wrong.
        """
        self.failures += 1
        if self.failures == FAILED_CHECKS:
            self._say(ConnectionNews(self.connection_id, error))

    def find_no_more(self, error: ApiError) -> bool:
        """Take Airbyte's word that there is no such connection; it is believed the second time in a row.

        :param error: What Airbyte said.
        :return: Whether it is believed.
        """
        self.not_found += 1
        if self.not_found < 2:
            return False
        # Each once: who came after it was believed is to know it, too.
        for subscription in self._subscriptions():
            if self.connection_id not in subscription.not_visible:
                subscription.add_news(ConnectionNews(self.connection_id, error, not_visible=True))
        return True

    def answered(self) -> None:
        """Take note that its jobs could be read."""
        if self.failures >= FAILED_CHECKS or self.not_found > 1:
            self._say(ConnectionNews(self.connection_id, None))
        self.failures = self.not_found = 0

    def _say(self, news: ConnectionNews) -> None:
        for subscription in self._subscriptions():
            subscription.add_news(news)

    def _subscriptions(self) -> set[ConnectionSubscription]:
        return {each.subscription for each in self.interests}


class Reading:
    """What the pages of one list have brought so far.

    :param since: From which moment on it tells all changes; None for all there ever were.
    :param began: When, by the event loop's time.
    :param joining: Those who are behind, and whom it tells all that they lack.
    :param wanted: The connections whose ends are kept.
    """

    def __init__(
        self, since: datetime | None, began: float, joining: Sequence[Interest], wanted: dict[str, WatchedConnection]
    ) -> None:
        self.since = since
        self.began = began
        self.joining = joining
        self.ends: dict[int, Job] = {}
        #: The jobs of these connections that have not ended.
        self.live: set[int] = set()
        self.pages = 0
        #: When the first of the rows was created that came twice.
        self.doubtful_from: datetime | None = None
        self._wanted = wanted
        self._read: set[int] = set()

    def add(self, rows: Iterable[Job]) -> None:
        """Take the rows of a page.

        :param rows: The rows.
        """
        self.pages += 1
        for job in rows:
            if job.job_id in self._read:
                created = job.created_at or EARLIEST
                self.doubtful_from = min(self.doubtful_from or created, created)
            self._read.add(job.job_id)
            if job.connection_id.lower() not in self._wanted:
                continue
            if job.terminal:
                self.ends[job.job_id] = job
            else:
                self.live.add(job.job_id)

    def certain_before(self, moment: datetime | None) -> datetime | None:
        """Return when a job must have been created for all ends of its connection before its own to have been read.

        While a later page is read, a job whose row was on an earlier one may end, and the next one of its connection
        begin and end. What was created well before this began is no such next one.

        :param moment: Well before this began.
        :return: None if that is so for all.
        """
        if self.pages <= 1:
            return None
        moments = [each for each in (moment, self.doubtful_from) if each is not None]
        return min(moments, default=None)


class Ends:
    """Hands the ends out to those who wait for them.

    :param pace: How far each reading reaches back.
    :param clock: Airbyte's.
    :param now: Returns the event loop's time.
    """

    def __init__(self, pace: Pace, clock: ServerClock, now: Callable[[], float]) -> None:
        self.connections: dict[str, WatchedConnection] = {}
        #: The outage of the lists alone, of which those who wait for a connection's ends are notified.
        self.outage: OutageNews | None = None
        self._pace = pace
        self._clock = clock
        self._now = now
        self._swept = Swept()
        self._following: set[Interest] = set()
        self._behind: set[Interest] = set()
        #: Those who have caught up since the last sweep: it must not begin after their positions.
        self._joined: list[Interest] = []
        #: Readings in a row in which a row came twice.
        self._doubtful = 0
        #: Ends of which it is not certain that all before them were read.
        self._held: dict[int, Job] = {}
        #: The jobs that the last reading of all changes has seen running, and when that began.
        self._live: tuple[set[int], float] = (set(), 0.0)
        #: How long before a moment that all pods' clocks should have passed an end was stamped that came after it.
        self._behind_by = timedelta()

    def __len__(self) -> int:
        return len(self.connections)

    def add(self, subscription: ConnectionSubscription, connection_ids: Iterable[str], since: datetime | None) -> None:
        """Begin to watch connections.

        :param subscription: For whom.
        :param connection_ids: The connections.
        :param since: From which moment on; None for from now on.
        """
        for each in connection_ids:
            connection_id = each.lower()
            if connection_id in subscription.interests:
                continue
            interest = Interest(subscription, connection_id, since, subscription.handed_out_before, self._swept)
            subscription.interests[connection_id] = interest
            self.connections.setdefault(connection_id, WatchedConnection(connection_id)).interests.append(interest)
            self._behind.add(interest)

    def remove(self, subscription: ConnectionSubscription, connection_ids: Iterable[str]) -> None:
        """Watch connections no more.

        :param subscription: For whom.
        :param connection_ids: The connections.
        """
        for connection_id in connection_ids:
            interest = subscription.interests.pop(connection_id)
            connection = self.connections[connection_id]
            connection.interests.remove(interest)
            self._following.discard(interest)
            self._behind.discard(interest)
            if not connection.interests:
                del self.connections[connection_id]
        if not self._following:
            # Nobody is left for whom the sweeps go on from there.
            self._swept.moment = None
        if not self.connections:
            self.outage = None

    @property
    def subscriptions(self) -> set[ConnectionSubscription]:
        """All who are interested in any."""
        return {each.subscription for connection in self.connections.values() for each in connection.interests}

    # Readings

    def since(self, usual: datetime, farthest: datetime) -> datetime:
        """Return from which moment on a sweep is to read at the latest.

        :param usual: From which moment on it would read otherwise.
        :param farthest: How far it may go back for those who are behind, and need no list of their own then.
        """
        # Who waits for what ends from now on begins where the reading does: not in the future.
        now = self._clock.passed_by_all(self._now())
        moments = [usual] if now is None else [usual, now - timedelta(seconds=self._pace.overlap)]
        for interest in self._behind:
            position = interest.position
            if position is not None and position >= farthest:
                moments.append(position)
        return min(moments)

    def _for_followers(self, since: datetime | None) -> datetime | None:
        """Return a moment, or an earlier one from which on nobody who follows lacks a change; None for the beginning.

        All changes from then on move the position of all who follow, so what they lack is to be among them.
        """
        moments = [since]
        if self._following and self._swept.moment is not None:
            moments.append(self._swept.moment)
        moments += [
            interest.position
            for interest in (self._following if self._swept.moment is None else self._joined)
            if interest.caught_up
        ]
        return None if None in moments else min(each for each in moments if each is not None)

    def begin(self, since: datetime | None) -> Reading:
        """Begin to read the changes of all jobs.

        :param since: From which moment on at the latest; None for all.
        """
        since = self._for_followers(since)
        joining = [each for each in self._behind if each.from_now or _reaches(since, each.position)]
        for interest in joining:
            interest.missed = False
        return Reading(since, self._now(), joining, self.connections)

    def begin_own(self, connection: WatchedConnection, since: datetime | None) -> Reading:
        """Begin to read the changes of one connection's jobs.

        :param connection: The connection.
        :param since: From which moment on; None for all.
        """
        joining = connection.behind
        for interest in joining:
            interest.missed = interest.new = False
        return Reading(since, self._now(), joining, {connection.connection_id: connection})

    async def finish(self, reading: Reading) -> None:
        """Hand out what a reading of all changes has brought that was read to its end.

        :param reading: The reading.
        """
        self._learn_how_far_behind(reading)
        moment, reserve = self._clock.passed_by_all(reading.began), self._reserve
        certain_before = reading.certain_before(None if moment is None else moment - reserve)
        doubtful = reading.doubtful_from is not None
        ends = {**self._held, **reading.ends}
        certain_up_to: dict[str, int] = {}
        by_connection: dict[str, list[Job]] = {}
        for job_id in sorted(ends):
            job = ends[job_id]
            connection_id = job.connection_id.lower()
            by_connection.setdefault(connection_id, []).append(job)
            # What was held when this began, it has confirmed.
            if _is_before(job, certain_before) or (job_id in self._held and not doubtful):
                certain_up_to[connection_id] = job_id
        self._held = {
            job_id: job for job_id, job in ends.items() if job_id > certain_up_to.get(job.connection_id.lower(), -1)
        }
        # Whose ends are held has not been told all that it lacks.
        held = {job.connection_id.lower() for job in self._held.values()}
        joining = {each for each in reading.joining if not doubtful and each.connection_id not in held}
        for interest in joining:
            if interest.from_now:
                interest.begin(by_connection.get(interest.connection_id, ()), reading.since)
        await self._hand_out([ends[job_id] for job_id in sorted(ends) if job_id not in self._held], moment, joining)
        for interest in joining & self._behind:
            if not interest.missed:
                self._catch_up(interest, by_connection.get(interest.connection_id, ()))
        if moment is not None and not doubtful:
            # What is held is not handed out yet.
            reached = min([moment - reserve, *(_stamp(job, moment) for job in self._held.values())])
            self._swept.moment = max(self._swept.moment or EARLIEST, whole_second(reached))
            self._joined.clear()
        if not self._behind:
            # Otherwise a connection's own list is to say so.
            self.recovered()
        self._doubtful = self._doubtful + 1 if doubtful else 0
        if self._doubtful >= MOST_DOUBTFUL:
            # Rows that share a stamp at the border of two pages. A connection's own list has one page.
            self.fall_behind()

    def finish_own(self, reading: Reading, *, complete: bool, by_sweeps: bool) -> bool:
        """Hand out what a reading of one connection's changes has brought.

        :param reading: The reading.
        :param complete: Whether it was read to its end.
        :param by_sweeps: Whether the sweeps tell what comes after it.
        :return: Whether it has brought all, or at least more than was known.
        """
        moment, reserve = self._clock.passed_by_all(reading.began), self._reserve
        certain_before = reading.certain_before(None if moment is None else moment - reserve)
        since = reading.since if moment is None or reading.since is None else min(reading.since, moment - reserve)
        ends = [reading.ends[job_id] for job_id in sorted(reading.ends)]
        certain = [job for job in ends if _is_before(job, certain_before)]
        whole = complete and reading.doubtful_from is None and len(certain) == len(ends)
        brought, news = whole, set[ConnectionSubscription]()
        for interest in reading.joining:
            if interest not in self._behind:
                continue
            if interest.from_now:
                if not whole:
                    continue
                interest.begin(ends, since)
            before = interest.position
            taken: list[Job] = []
            for job in certain:
                if interest.take(job, _stamp(job, moment)):
                    news.add(interest.subscription)
                if interest.missed:
                    break
                taken.append(job)
            if whole and not interest.missed:
                interest.move_to(moment and moment - reserve)
                if by_sweeps:
                    self._catch_up(interest, ends)
                    self._joined.append(interest)
            else:
                last = _last(taken, moment)
                interest.move_to(last and last - reserve)
            brought = brought or interest.position != before
        for subscription in news:
            subscription.wake()
        return brought or bool(news)

    def fall_behind(self) -> None:
        """Take note that changes go unread from here on."""
        for interest in self._following:
            interest.fall_behind()
        self._behind |= self._following
        self._following.clear()
        self._joined.clear()
        self._held.clear()
        self._swept.moment = None
        self._doubtful = 0

    # Who is behind

    def to_walk_for(self, enough: int) -> list[Interest]:
        """Return those who are behind, and for whom no walk was tried yet: one for all may cost less than a list each.

        :param enough: From how many connections on.
        :return: None of them, if they are fewer.
        """
        behind = [each for each in self._behind if not each.walked and not each.subscription.full]
        return behind if len({each.connection_id for each in behind}) >= enough else []

    @property
    def behind(self) -> list[WatchedConnection]:
        """The connections for which lists of their own are needed."""
        ids = dict.fromkeys(each.connection_id for each in self._behind if not each.subscription.full)
        return [self.connections[each] for each in ids]

    # The lists alone

    def fail(self, error: ApiError) -> None:
        """Take note that Airbyte answers, but does not list jobs.

        :param error: What it says.
        """
        if self.outage is None or not self.outage.lasts:
            self.outage = OutageNews(error, since=self._now())
            self._wake_all()

    def recovered(self) -> None:
        """Take note that jobs can be listed."""
        if self.outage is not None and self.outage.lasts:
            self.outage = self.outage.recovered(self._now())
            self._wake_all()

    def _wake_all(self) -> None:
        for subscription in self.subscriptions:
            subscription.wake()

    @property
    def _reserve(self) -> timedelta:
        """How long before a reading that which is yet to become visible may have ended."""
        late = timedelta(seconds=self._pace.late)
        # A pod known to be behind by most of that would leave nothing for what becomes visible late.
        return max(late, late / 2 + self._behind_by)

    def _learn_how_far_behind(self, reading: Reading) -> None:
        """Learn from jobs that were seen running and have ended before that, by the stamps."""
        live, seen_at = self._live
        self._live = reading.live, reading.began
        seen_running = self._clock.passed_by_all(seen_at)
        if seen_running is None:
            return
        for job_id in live & reading.ends.keys():
            behind_by = seen_running - _stamp(reading.ends[job_id], seen_running)
            if self._behind_by < behind_by <= ServerClock.MOST_BEHIND:
                self._behind_by = behind_by

    def _catch_up(self, interest: Interest, ended: Iterable[Job]) -> None:
        interest.catch_up(ended)
        self._behind.discard(interest)
        self._following.add(interest)

    async def _hand_out(self, ends: Iterable[Job], moment: datetime | None, joining: Collection[Interest]) -> None:
        news: set[ConnectionSubscription] = set()
        for number, job in enumerate(ends):
            connection = self.connections.get(job.connection_id.lower())
            for interest in connection.interests if connection is not None else ():
                if interest not in self._following and interest not in joining:
                    continue
                if interest.take(job, _stamp(job, moment)):
                    news.add(interest.subscription)
                if interest.missed and interest in self._following:
                    self._following.discard(interest)
                    interest.fall_behind()
                    self._behind.add(interest)
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        for subscription in news:
            subscription.wake()


def _reaches(since: datetime | None, moment: datetime | None) -> bool:
    """Whether what is read since a moment is all that somebody lacks from another on."""
    return since is None or (moment is not None and since <= moment)


def _is_before(job: Job, moment: datetime | None) -> bool:
    created = job.created_at
    return moment is None or created is None or created < moment


def _last(taken: Sequence[Job], moment: datetime | None) -> datetime | None:
    """Return when those had ended of which a list was not read to its end: a connection's ends come in turns.

    One row that was stamped ahead must not stand for those that were not read, so what is taken is the end of the
    last but one, or the creation of the last if that was before.
    """
    moments = [_stamp(job, moment) for job in taken[-2:-1]]
    moments += [job.created_at or _stamp(job, moment) for job in taken[-1:]]
    return min([*moments, *([moment] if moments and moment is not None else [])], default=None)


def _stamp(job: Job, moment: datetime | None) -> datetime:
    """Return when a job ended; where Airbyte does not say, when that was read, or a moment that no position passes."""
    return job.updated_at or moment or LATEST
