"""Lists of one connection's jobs, for what the sweeps do not tell of it: slowly, evenly, and each to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from airbyte_deferrable._watcher.answers import Answers
from airbyte_deferrable._watcher.ends import Ends, Reading, WatchedConnection
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable._watcher.subscriptions import FAILED_CHECKS, Subscriptions
from airbyte_deferrable.api.client import LAST_CHANGED_FIRST, NEWEST_FIRST, OLDEST_FIRST, PAGE_SIZE, AirbyteClient
from airbyte_deferrable.api.errors import NOT_VISIBLE, ApiError, Rejected
from airbyte_deferrable.api.models import Job

#: More pages than this are never read of one connection in a row.
MOST_PAGES = 1000


class CatchUp:
    """Asks for the changes of single connections.

    :param client: Leads to the Airbyte.
    :param ends: Takes what has ended.
    :param subscriptions: Those who wait for jobs by their numbers: how eagerly the watcher asks.
    :param answers: Takes what Airbyte says.
    :param pace: How eagerly to ask.
    :param now: Returns the event loop's time.
    """

    def __init__(
        self,
        client: AirbyteClient,
        ends: Ends,
        subscriptions: Subscriptions,
        answers: Answers,
        *,
        pace: Pace,
        now: Callable[[], float],
    ) -> None:
        self._client = client
        self._ends = ends
        self._subscriptions = subscriptions
        self._answers = answers
        self._pace = pace
        self._now = now
        #: Until when all lists are left alone, since Airbyte answers and does not list any; how often in a row.
        self._refused_until = 0.0
        self._refusals = 0

    async def run(self, until: float, *, by_sweeps: bool) -> None:
        """Ask for the connections for which it is due; what does not fit before the next sweep is left for later.

        :param until: When the next sweep is due.
        :param by_sweeps: Whether the sweeps tell what is to come.
        :raises ApiError: If Airbyte cannot be asked.
        """
        failed: list[tuple[WatchedConnection, ApiError]] = []
        read = 0
        for connection in self._due(until, by_sweeps):
            if not connection.interests or self._now() < self._refused_until:
                continue
            if read or failed:
                # Who came meanwhile may want the next sweep sooner.
                if self._now() >= until or self._now() >= self._answers.began + self._subscriptions.poll_interval:
                    break
                await asyncio.sleep(self._pace.between_checks)
            try:
                read += await self._ask_for(connection, by_sweeps)
            except ApiError as error:
                failed.append((connection, error))
                if len(failed) >= FAILED_CHECKS or error.status == 429:
                    break
        self._judge(failed, read)

    def list_is_back(self) -> None:
        """Take note that the list of all jobs can be read again: those of single connections are worth a try, too."""
        self._refused_until, self._refusals = 0.0, 0

    def _due(self, until: float, by_sweeps: bool) -> list[WatchedConnection]:
        """Return the connections that need a list of their own, those first that have waited longest."""
        due = [
            each
            for each in (self._ends.behind if by_sweeps else self._ends.connections.values())
            if each.behind and self._is_due(each, until, by_sweeps)
        ]
        due.sort(key=lambda each: each.asked_at or 0.0)
        return due

    def _is_due(self, connection: WatchedConnection, until: float, by_sweeps: bool) -> bool:
        asked_at = connection.asked_at
        # Once a sweep: being not found twice in a row is to be two moments.
        if self._now() < connection.again_at or (asked_at is not None and asked_at >= self._answers.began):
            return False
        if by_sweeps or connection.read_at is None or connection.pages or any(each.new for each in connection.behind):
            return True
        return connection.read_at + 0.9 * connection.poll_interval < until

    def _judge(self, failed: Sequence[tuple[WatchedConnection, ApiError]], read: int) -> None:
        """Distinguish connections that cannot be read, lists that cannot, and an Airbyte that cannot be asked.

        :raises ApiError: If it cannot.
        """
        if not failed:
            return
        last = failed[-1][1]
        if not self._answers.came_since_it_began or last.status == 429:
            raise last
        if len(failed) >= FAILED_CHECKS and not read:
            self._refuse(last)
            return
        for connection, error in failed:
            connection.fail(error)
            if connection.failures >= FAILED_CHECKS:
                connection.again_at = self._now() + self._pace.busy_pause

    async def _ask_for(self, connection: WatchedConnection, by_sweeps: bool) -> bool:
        """Read one connection's changes; return whether they could be read."""
        connection.asked_at = self._now()
        try:
            await self._read(connection, by_sweeps)
        except Rejected as error:
            self._answers.heard()
            self._refuse(error)
        except NOT_VISIBLE as error:
            await self._find(connection, error)
        else:
            connection.read_at = self._now()
            connection.answered()
            self._ends.recovered()
            self._refused_until, self._refusals = 0.0, 0
            return True
        return False

    async def _find(self, connection: WatchedConnection, refused: ApiError) -> None:
        """Learn what is not to be seen: the connection, or the jobs of any."""
        try:
            await self._client.get_connection(connection.connection_id)
        except NOT_VISIBLE as error:
            self._answers.heard()
            if connection.find_no_more(error):
                connection.again_at = self._now() + self._pace.refused_pause
        else:
            self._answers.heard()
            self._refuse(refused)

    def _refuse(self, error: ApiError) -> None:
        """Leave all lists alone for a while. Once may be a policy that is just being changed; then it is an outage."""
        self._refusals += 1
        self._refused_until = self._now() + (self._pace.busy_pause if self._refusals < 3 else self._pace.refused_pause)
        if self._refusals > 1:
            self._ends.fail(error)

    async def _read(self, connection: WatchedConnection, by_sweeps: bool) -> None:
        reading, complete = await self._walk(connection)
        brought = self._ends.finish_own(reading, complete=complete, by_sweeps=by_sweeps)
        if brought:
            connection.pages = 0 if complete else self._pace.catch_up_pages
        else:
            connection.pages = min(2 * (connection.pages or self._pace.catch_up_pages), MOST_PAGES)

    async def _walk(self, connection: WatchedConnection) -> tuple[Reading, bool]:
        """Read the pages of a connection's list; return what they have brought, and whether these were all."""
        known = [each.position for each in connection.behind if not each.from_now]
        if not known:
            return await self._newest(connection), True
        since = None if None in known else min(each for each in known if each is not None)
        reading = self._ends.begin_own(connection, since)
        while reading.pages < (connection.pages or self._pace.catch_up_pages):
            if reading.pages:
                await asyncio.sleep(self._pace.between_checks)
            asked_at = self._now()
            rows = await self._client.list_jobs(
                connection_id=connection.connection_id,
                updated_since=since,
                # As for the sweeps: a job that changes is to push no other out of sight.
                order_by=OLDEST_FIRST,
                offset=reading.pages * PAGE_SIZE,
            )
            self._learn(rows, asked_at)
            reading.add(rows)
            if len(rows) < PAGE_SIZE:
                return reading, True
        return reading, False

    async def _newest(self, connection: WatchedConnection) -> Reading:
        """Read what has ended last, for those who wait for what ends from now on."""
        reading, asked_at = self._ends.begin_own(connection, None), self._now()
        try:
            rows = await self._client.list_jobs(connection_id=connection.connection_id, order_by=LAST_CHANGED_FIRST)
        except Rejected:
            rows = await self._client.list_jobs(connection_id=connection.connection_id, order_by=NEWEST_FIRST)
        self._learn(rows, asked_at)
        reading.add(rows)
        if len(rows) >= PAGE_SIZE:
            # What is older was not read.
            reading.since = min((job.updated_at for job in rows if job.updated_at is not None), default=None)
        return reading

    def _learn(self, rows: Sequence[Job], asked_at: float) -> None:
        self._answers.heard()
        self._answers.timed(asked_at)
        for job in rows:
            self._answers.learn(job, asked_at)
