"""What a watcher asks Airbyte, and what it learns from the answers.

A *sweep* asks what has changed since the last one: its cost follows change, not waiting. What the changes cannot
tell is asked otherwise: a job's first check, jobs that no answer has named for a while, and everything where the
list is forbidden, missing, broken, or too long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random

from airbyte_deferrable._watcher.answers import Answers
from airbyte_deferrable._watcher.catch_up import CatchUp
from airbyte_deferrable._watcher.checks import Checks
from airbyte_deferrable._watcher.ends import Ends, Reading
from airbyte_deferrable._watcher.fallback import ListBreaker, ListEvent
from airbyte_deferrable._watcher.metrics import Meter
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable._watcher.server_clock import ServerClock
from airbyte_deferrable._watcher.subscriptions import EARLY, SubscribedJob, Subscriptions
from airbyte_deferrable.api.aio import WOKEN_AT_ONCE
from airbyte_deferrable.api.client import LAST_CHANGED_FIRST, NEWEST_FIRST, OLDEST_FIRST, PAGE_SIZE, AirbyteClient
from airbyte_deferrable.api.errors import NOT_VISIBLE, ApiError, Rejected, Unreachable
from airbyte_deferrable.api.models import TERMINAL, Job, JobStatus

#: What a server says that forbids or lacks the list, or one of its parameters.
LIST_REFUSED = (*NOT_VISIBLE, Rejected)
#: The statuses by which live jobs can be listed. A server may refuse to filter by one that it does not know.
LIVE = frozenset(str(status) for status in JobStatus) - TERMINAL


@dataclass(frozen=True)
class Filter:
    """Which jobs are listed, as :meth:`AirbyteClient.list_jobs` has it."""

    status: str | None = None
    updated_since: datetime | None = None
    created_since: datetime | None = None


class Sweeper:
    """Checks all jobs that are waited for, and all connections that are watched.

    :param client: Leads to the Airbyte.
    :param subscriptions: The jobs.
    :param pace: How eagerly to ask.
    :param meter: Counts.
    :param log: Where the watcher says what it says.
    :param now: Returns the event loop's time.
    """

    def __init__(
        self,
        client: AirbyteClient,
        subscriptions: Subscriptions,
        *,
        pace: Pace,
        meter: Meter,
        log: logging.Logger,
        now: Callable[[], float],
    ) -> None:
        self._client = client
        self._subscriptions = subscriptions
        self._jobs = subscriptions.jobs
        self._pace = pace
        self._now = now
        self._clock = ServerClock(now)
        self._answers = Answers(subscriptions, self._clock, meter, now)
        #: The connections that are watched.
        self.ends = Ends(pace, self._clock, now)
        self._checks = Checks(client, subscriptions, self._answers, pace=pace, now=now)
        self._catch_up = CatchUp(client, self.ends, subscriptions, self._answers, pace=pace, now=now)
        self._list = ListBreaker(pace, log, now)
        self._log = log
        #: Until when the connections' ends have lists of their own, since what changes is too much to reach back as far
        #: as they need.
        self._ends_apart_until = 0.0
        #: Every change up to this moment of Airbyte's clock has been read; None while changes are not read.
        self._window: datetime | None = None
        #: Whether the last sweep has read the changes.
        self._reads_changes = False
        self._waiting_at_last_sweep = 0
        self._changes_read_at = 0.0
        self._progress_at = float("inf")

    @property
    def answer_times(self) -> Sequence[float]:
        """How long each answer of the last sweep took, seconds."""
        return self._answers.times

    def expect_progress(self, interval: float) -> None:
        """Take note that a new subscription wants reports of progress.

        :param interval: Seconds between two.
        """
        self._progress_at = min(self._progress_at, self._now() + interval)

    def stop(self) -> None:
        """End what is under way: nobody waits any more."""
        self._forget_changes()
        self._checks.stop()

    async def sweep(self, until: float) -> None:
        """Learn what there is to learn, one by one only as far as it fits before the next sweep.

        :param until: When that is due.
        :raises ApiError: If Airbyte cannot be asked.
        """
        self._answers.begin_sweep()
        self._subscriptions.begin_sweep()
        if not self._list.usable(self._waiting):
            self._forget_changes()
            await self._check(self._due(until), until)
            await self._catch_up.run(until, by_sweeps=False)
            return
        try:
            await self._read_changes()
            await self._read_progress()
            await self._check(self._due(until), until)
            await self._let_catch_up(until)
        except LIST_REFUSED as error:
            self._move_list(ListEvent.REFUSED, error)
            await self._checks.run(self._due(until), until)
            await self._catch_up.run(until, by_sweeps=False)
        except Unreachable as error:
            self._move_list(ListEvent.FAILED)
            if not self._list.in_doubt or error.status == 429:
                raise
            await self._check_without_list(until, error)
        else:
            self._move_list(ListEvent.SWEPT)

    @property
    def heard_at(self) -> float | None:
        """When Airbyte has answered anything last, by the loop's time; None before the first time."""
        return self._answers.heard_at

    async def check_new(self, until: float) -> None:
        """Check the jobs of the subscriptions that came since the last sweep.

        :param until: When the next sweep is due.
        :raises ApiError: If Airbyte cannot be asked.
        """
        self._answers.began = self._now()
        await self._check(self._checks.new(), until)
        await self._let_catch_up(until)

    async def _check(self, due: Sequence[SubscribedJob], until: float) -> None:
        """Find jobs in the list where that costs less, and ask for the rest one by one."""
        if self._list.usable(self._waiting):
            began = self._now()
            await self._find_in_list(due)
            due = [each for each in due if not each.over and (each.seen_at is None or each.seen_at < began)]
        await self._checks.run(due, until)

    def _due(self, until: float) -> list[SubscribedJob]:
        return self._checks.due(until, by_list=self._list.changes_usable(self._waiting))

    @property
    def _waiting(self) -> int:
        """How many jobs are waited for, and connections watched."""
        return len(self._jobs) + len(self.ends)

    async def _check_without_list(self, until: float, why: ApiError) -> None:
        """Try whether jobs can be had by themselves, although the list cannot."""
        try:
            await self._checks.run(self._checks.due(until, by_list=False), until)
            await self._catch_up.run(until, by_sweeps=False)
            if self.ends and not self._answers.came:
                raise why
        except ApiError:
            self._move_list(ListEvent.FAILED_WITH_ALL)
            raise
        self._move_list(ListEvent.FAILED_ALONE, why)

    def _move_list(self, event: ListEvent, why: object = "", *, jobs: int = 0) -> None:
        if self._list.move(event, why, jobs=jobs):
            self._forget_changes()

    def _forget_changes(self) -> None:
        """Take note that changes go unread from here on: they cannot be caught up with later."""
        self._window = None
        self._reads_changes = False
        self._subscriptions.forget_others()
        self.ends.fall_behind()

    # What the list tells

    async def _read_changes(self) -> None:
        """Read what changed since the last sweep, and move the window on."""
        if not self._list.changes_usable(self._waiting):
            self._forget_changes()
            return
        first = self._window is None
        if first:
            await self._set_the_clock()
        self._changes_read_at = self._now()
        moment = self._clock.read()
        if moment is None:
            await self._read_all()
            return
        waiting = self._waiting
        overlap = self._pace.first_overlap if first else self._pace.overlap
        # The window begins when it has been read: a first reading that fails is to reach back as far again.
        complete = await self._read_since(self._window or moment, overlap)
        if not complete:
            self._doubt_all()
        self._window = moment
        self._reads_changes = True
        if complete:
            self._move_list(ListEvent.CHANGES_READ)
        elif not first:
            self._move_list(ListEvent.TOO_MANY, f"more than {self._page_limit()} pages", jobs=waiting)
        self._waiting_at_last_sweep = waiting

    async def _read_since(self, moment: datetime, overlap: float) -> bool:
        since = moment - timedelta(seconds=overlap) - self._clock.spread
        if self.ends and self._sweeps_tell_ends:
            # Of what one row that was stamped ahead makes of the clock, those who are behind are not to be cut off.
            farthest = min(moment - self._clock.spread, self._clock.passed_by_all(self._now()) or moment)
            farthest -= timedelta(seconds=self._pace.first_overlap)
            reading = self.ends.begin(self.ends.since(since, farthest))
            complete = await self._read(reading, self._page_limit)
            if complete or not self._jobs or (reading.since is not None and reading.since >= since):
                return complete
            self._set_ends_apart()
        return await self._walk(Filter(updated_since=since), self._page_limit)

    @property
    def _sweeps_tell_ends(self) -> bool:
        """Whether the changes, where they are read, are read for those who watch connections, too."""
        return self._now() >= self._ends_apart_until

    def _set_ends_apart(self) -> None:
        """Have the connections' ends read by lists of their own for a while.

        They reach back much further than the jobs that are waited for need, which are not to lose their list to that.
        """
        if self._ends_apart_until + self._pace.busy_pause < self._now():
            self._log.warning(
                "This Airbyte has too many changes to list a minute of them, so the %d connections that are watched"
                " have lists of their own: more than %d pages",
                len(self.ends),
                self._page_limit(),
            )
        self._ends_apart_until = self._now() + self._pace.busy_pause
        self.ends.fall_behind()

    async def _read_all(self) -> None:
        """Read all jobs of an Airbyte that has none yet: it has no clock by which to ask for changes."""
        if self.ends:
            self._reads_changes = await self._read(self.ends.begin(None), self._page_limit)

    async def _read(self, reading: Reading, limit: Callable[[], int]) -> bool:
        """Read changes for those who watch connections, too; return whether they were read to their end."""
        complete = await self._walk(Filter(updated_since=reading.since), limit, reading=reading)
        if complete:
            await self.ends.finish(reading)
            if not self._reads_changes:
                self._catch_up.list_is_back()
        return complete

    async def _let_catch_up(self, until: float) -> None:
        """Let those catch up with their connections to whom the changes do not tell all."""
        by_sweeps = self._reads_changes and self._sweeps_tell_ends
        if by_sweeps:
            await self._walk_for_many()
        await self._catch_up.run(until, by_sweeps=by_sweeps)

    async def _walk_for_many(self) -> None:
        """Try one walk for many who are behind, as after a restart: it may cost less than a list for each."""
        behind = self.ends.to_walk_for(self._pace.walk_from)
        moments = [each.position for each in behind if each.position is not None]
        for interest in behind:
            interest.walked = True
        if moments:
            # In vain, it costs half as much again.
            pages = min(len(moments) // 2, self._pace.catch_up_pages)
            await self._read(self.ends.begin(min(moments)), lambda: pages)

    def _page_limit(self) -> int:
        """How many pages of changes are read: twice what the jobs can fill, and never more than there are jobs.

        A connection counts as a job: it runs one at a time. The jobs are also those of tasks that have left since the
        last sweep, the ends being among the changes, and those of tasks that come while the pages are read.
        """
        jobs = max(self._waiting, self._waiting_at_last_sweep)
        return max(3, min(jobs, 20 + 2 * jobs // PAGE_SIZE))

    def _doubt_all(self) -> None:
        """Have every job checked: what was not read may hold its end."""
        self._subscriptions.forget_others()
        self.ends.fall_behind()
        for subscribed in self._jobs.values():
            subscribed.overdue = True

    async def _set_the_clock(self) -> None:
        """Learn Airbyte's clock from the job that changed last."""
        try:
            newest = await self._client.list_jobs(order_by=LAST_CHANGED_FIRST)
        except Rejected:
            newest = await self._client.list_jobs(order_by=NEWEST_FIRST)
        await self._take(newest, self._now())
        # The first reading goes back by the first overlap. Who was seen before that may have ended before it.
        seen_in_time = self._now() - self._pace.first_overlap / 2
        for subscribed in self._jobs.values():
            subscribed.overdue = subscribed.overdue or subscribed.seen_at is None or subscribed.seen_at < seen_in_time

    async def _read_progress(self) -> None:
        """Read rows and bytes of the running jobs, which also confirms that they run."""
        interval = self._subscriptions.progress_interval
        if interval is None:
            return
        # The last sweep before the moment, if it is near: the first one after it would be late each time.
        if self._now() < self._progress_at - interval * EARLY / 2:
            return
        self._progress_at = self._now() + interval
        await self._read_status(str(JobStatus.RUNNING), list(self._jobs.values()))

    async def _find_in_list(self, due: Iterable[SubscribedJob]) -> None:
        """Find many jobs at once: among those in their status, the rest among those created since."""
        by_status: dict[str, list[SubscribedJob]] = {}
        for subscribed in due:
            if subscribed.list_misses < 2 and subscribed.status in LIVE:
                by_status.setdefault(subscribed.status, []).append(subscribed)
        for status, expected in by_status.items():
            # A list of all who are in that status is worth it only for more jobs than it has pages.
            if len(expected) > 1 + len(self._jobs) // PAGE_SIZE:
                await self._read_status(status, expected)
        unseen = [each for expected in by_status.values() for each in expected if each.overdue and not each.over]
        if len(unseen) >= self._pace.many_unseen:
            # Airbyte numbers jobs in the order of their creation, so the lowest id bounds them all.
            oldest = min(unseen, key=lambda subscribed: subscribed.job_id)
            await self._checks.run([oldest], until=self._now())
            if oldest.job is not None and oldest.job.created_at is not None:
                since = Filter(created_since=oldest.job.created_at)
                await self._walk(since, lambda: 10 + len(unseen), wanted=unseen)

    async def _read_status(self, status: str, expected: Sequence[SubscribedJob]) -> None:
        """Walk the jobs in one status. Who is expected there and missing has changed, or is never listed."""
        began = self._now()
        complete = await self._walk(Filter(status=status), lambda: 10 + len(expected), wanted=expected)
        for subscribed in expected:
            if subscribed.status == status and (subscribed.seen_at is None or subscribed.seen_at < began):
                subscribed.list_misses += 1
                subscribed.overdue = subscribed.overdue or complete

    async def _walk(
        self,
        only: Filter,
        limit: Callable[[], int],
        *,
        wanted: Collection[SubscribedJob] = (),
        reading: Reading | None = None,
    ) -> bool:
        """Read the pages of a list, oldest job first, and let those who wait know.

        :param only: Which jobs.
        :param limit: How many pages at most; asked before each.
        :param wanted: For whom it is read: given up when asking for each of them costs less, and interrupted when
            a sweep is due, for it may be long.
        :param reading: Takes the rows for those who watch connections.
        :return: Whether everybody was read who is wanted, or all pages.
        """
        missing = {each.job_id for each in wanted}
        most_missing, page = len(missing), 0
        while page < limit():
            if wanted and self._window is not None and self._changes_are_due():
                await self._read_changes()
            rows, waited_for = await self._page(only, page)
            if reading is not None:
                reading.add(rows)
            if len(rows) < PAGE_SIZE:
                return True
            if wanted:
                missing.difference_update(row.job_id for row in rows)
                found = most_missing - len(missing)
                if not missing:
                    return True
                if page > found + max(3, most_missing // 10):
                    return False
                await asyncio.sleep(waited_for * self._pace.per_log_line)
            page += 1
        return False

    def _changes_are_due(self) -> bool:
        return self._now() >= self._changes_read_at + self._subscriptions.poll_interval

    async def _page(self, only: Filter, page: int) -> tuple[Sequence[Job], int]:
        """Read a page; return its rows, and how many of them are waited for."""
        async for attempt in AsyncRetrying(
            # Rows enter the result but never leave it, so a hiccup does not send the walk back to its start.
            stop=stop_after_attempt(3 if page else 1),
            wait=wait_random(0.1, 0.5),
            retry=retry_if_exception(_is_hiccup),
            reraise=True,
        ):
            with attempt:
                asked_at = self._now()
                rows = await self._client.list_jobs(
                    status=only.status,
                    updated_since=only.updated_since,
                    created_since=only.created_since,
                    # In the order of changes, a job that changes would push another out of sight.
                    order_by=OLDEST_FIRST,
                    offset=page * PAGE_SIZE,
                )
        self._answers.timed(asked_at)
        return rows, await self._take(rows, asked_at)

    async def _take(self, rows: Iterable[Job], asked_at: float) -> int:
        """Learn from a page of the list; return how many of its jobs are waited for."""
        self._answers.heard()
        waited_for = 0
        for job in rows:
            subscribed = self._answers.learn(job, asked_at)
            if subscribed is not None:
                subscribed.listed, subscribed.list_misses = True, 0
                waited_for += 1
                if not waited_for % WOKEN_AT_ONCE:
                    await asyncio.sleep(0)
        return waited_for


def _is_hiccup(error: BaseException) -> bool:
    return isinstance(error, Unreachable) and error.status != 429
