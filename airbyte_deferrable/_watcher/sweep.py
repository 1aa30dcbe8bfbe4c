"""What a watcher asks Airbyte, and what it learns from the answers.

A *sweep* asks what has changed since the last one: its cost follows change, not waiting. What the changes cannot
tell is asked otherwise: a job's first look, jobs that no answer has named for a while, and everything where the
list is forbidden, missing, broken, or too long.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random

from airbyte_deferrable._watcher.metrics import Meter
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable._watcher.server_clock import ServerClock
from airbyte_deferrable._watcher.subscriptions import EARLY, FAILED_LOOKS, TrackedJob, Watched
from airbyte_deferrable.api.aio import WOKEN_AT_ONCE
from airbyte_deferrable.api.client import LAST_CHANGED_FIRST, NEWEST_FIRST, OLDEST_FIRST, PAGE_SIZE, AirbyteClient
from airbyte_deferrable.api.errors import NOT_VISIBLE, ApiError, Rejected, Unreachable
from airbyte_deferrable.api.models import TERMINAL, Job, JobStatus

#: What a server says that forbids or lacks the list, or one of its parameters.
LIST_REFUSED = (*NOT_VISIBLE, Rejected)
#: The statuses by which live jobs can be listed. A server may refuse to filter by one that it does not know.
LIVE = frozenset(str(status) for status in JobStatus) - TERMINAL
#: From so many unseen jobs on, reading everything created since the oldest of them is worth a try.
MANY_UNSEEN = 20
#: Lists that fail, one after the other, until it is tried whether jobs can be had one by one.
FAILED_LISTS = 3
#: Seconds for which what was read of a job tells its task, which comes only then, how it stands.
RECENT = 15.0
#: Looks that may go on beside the sweeps at once: each holds one of the few requests that may be under way.
MOST_LATE = 1


class Sweeper:
    """Looks for all jobs that are waited for.

    :param client: Leads to the Airbyte.
    :param watched: The jobs.
    :param pace: How eagerly to ask.
    :param meter: Counts.
    :param log: Where the watcher says what it says.
    :param now: Returns the event loop's time.
    """

    def __init__(
        self,
        client: AirbyteClient,
        watched: Watched,
        *,
        pace: Pace,
        meter: Meter,
        log: logging.Logger,
        now: Callable[[], float],
    ) -> None:
        self._client = client
        self._watched = watched
        self._jobs = watched.jobs
        self._pace = pace
        self._meter = meter
        self._log = log
        self._now = now
        self._clock = ServerClock(now)
        #: Every change up to this moment of Airbyte's clock has been read; None while changes are not read.
        self._window: datetime | None = None
        self._waiting_at_last_sweep = 0
        self._changes_read_at = 0.0
        self._progress_at = float("inf")
        #: The list is left alone until then; and only its changes, unless many more wait.
        self._list_again_at = 0.0
        self._changes_again_at = 0.0
        self._changes_worth_for = 0.0
        #: What is wrong with the list, so that it is said once.
        self._list_fault = ""
        #: Whether it was refused when it was asked for last.
        self._list_refused = False
        self._failed_lists = 0
        #: Whether jobs could be had by themselves in the last sweep, and only the list failed.
        self._list_failed_alone = False
        #: Whether Airbyte has answered anything in this sweep, and when that began.
        self._answered = False
        self._began = 0.0
        #: How long each answer of this sweep took, seconds.
        self.answers: list[float] = []
        #: What the last two sweeps have told of jobs that nobody waited for, for those who come within moments.
        self._strangers: dict[int, tuple[Job, float]] = {}
        self._earlier_strangers: dict[int, tuple[Job, float]] = {}
        #: Looks that go on beside the sweeps, by their jobs.
        self._late: dict[int, asyncio.Task[None]] = {}

    def expect_progress(self, interval: float) -> None:
        """Take note that somebody new wants reports of progress.

        :param interval: Seconds between two.
        """
        self._progress_at = min(self._progress_at, self._now() + interval)

    def recognise(self, tracked: TrackedJob) -> None:
        """Tell a newcomer what was read of its job a moment ago: whatever changes from then on, sweeps will tell.

        A task leaves its worker a second or two after its job was made, and most sweeps would have to be followed by
        a look at each job that they had named already.

        :param tracked: The job.
        """
        known = self._strangers.pop(tracked.job_id, None) or self._earlier_strangers.pop(tracked.job_id, None)
        if known is not None and tracked.seen_at is None and self._now() - known[1] < RECENT:
            tracked.listed = True
            tracked.saw(*known)

    def _forget(self) -> None:
        """Take note that changes go unread from here on: they cannot be caught up with later."""
        self._window = None
        self._strangers, self._earlier_strangers = {}, {}

    def stop(self) -> None:
        """End what is under way: nobody waits any more."""
        self._forget()
        for look in self._late.values():
            look.cancel()

    async def sweep(self, until: float) -> None:
        """Learn what there is to learn, one by one only as far as it fits before the next sweep.

        :param until: When that is due.
        :raises ApiError: If Airbyte cannot be asked.
        """
        self._answered, self._began, self.answers = False, self._now(), []
        self._strangers, self._earlier_strangers = {}, self._strangers
        if not self._list_usable():
            self._forget()
            await self._look_for(self._due(until), until)
            return
        try:
            await self._read_changes()
            await self._read_progress()
            await self._look_for(self._due(until), until)
        except LIST_REFUSED as error:
            # Once may be a policy that is just being changed, or a proxy that starts.
            pause = self._pace.refused_pause if self._list_refused else self._pace.busy_pause
            self._list_refused = True
            self._leave_list(pause, "does not let its jobs be listed", error)
            await self._ask_for_each(self._due(until), until)
        except Unreachable as error:
            self._failed_lists += 1
            if self._failed_lists < FAILED_LISTS or error.status == 429:
                raise
            failed_alone_before, self._list_failed_alone = self._list_failed_alone, False
            await self._ask_for_each(self._due(until, listed=False), until)
            self._list_failed_alone = True
            # Once is not enough: Airbyte may have come back just between the two.
            if failed_alone_before:
                self._leave_list(self._pace.busy_pause, "fails to list its jobs", error)
        else:
            self._failed_lists, self._list_failed_alone, self._list_refused = 0, False, False

    async def look_for_newcomers(self, until: float) -> None:
        """Look for the jobs that came since the last sweep.

        :param until: When the next sweep is due.
        :raises ApiError: If Airbyte cannot be asked.
        """
        self._began = self._now()
        await self._look_for([each for each in self._jobs.values() if _is_new(each)], until)

    async def _look_for(self, due: Sequence[TrackedJob], until: float) -> None:
        if self._list_usable():
            began = self._now()
            await self._find_in_list(due)
            due = [each for each in due if not each.over and (each.seen_at is None or each.seen_at < began)]
        await self._ask_for_each(due, until)

    # Whether the list is of use

    def _list_usable(self) -> bool:
        # A lone waiter just gets its job.
        return len(self._jobs) > 1 and self._now() >= self._list_again_at

    def _changes_usable(self) -> bool:
        worth_a_try = self._now() >= self._changes_again_at or len(self._jobs) > self._changes_worth_for
        return self._list_usable() and worth_a_try

    def _leave_list(self, seconds: float, fault: str, why: object) -> None:
        """Leave the list alone for a while."""
        self._list_again_at = self._now() + seconds
        self._forget()
        self._tell_fault(f"{fault}, so each job is asked for by itself", why)

    def _leave_changes(self, why: str, waiting: int) -> None:
        """Leave the list of changes alone for a while, or until many more wait, whose changes these may be."""
        self._changes_again_at = self._now() + self._pace.busy_pause
        self._changes_worth_for = 2.0 * waiting
        self._forget()
        self._tell_fault("has too many changes to list, so only the jobs that are waited for are looked for", why)

    def _tell_fault(self, fault: str, why: object) -> None:
        if fault != self._list_fault:
            self._list_fault = fault
            self._log.warning("This Airbyte %s: %s", fault, why)

    def _list_works(self) -> None:
        if self._list_fault:
            self._list_fault = ""
            self._log.info("The changes of this Airbyte's jobs can be listed again")

    # What the list tells

    async def _read_changes(self) -> None:
        """Read what changed since the last sweep, and move the window on."""
        if not self._changes_usable():
            self._forget()
            return
        anew = self._window is None
        if anew:
            await self._set_the_clock()
        self._changes_read_at = self._now()
        moment = self._clock.read()
        if moment is None:
            return
        waiting = len(self._jobs)
        # The window begins when it has been read: a first reading that fails is to reach back as far again.
        complete = await self._read_since(
            self._window or moment, self._pace.first_overlap if anew else self._pace.overlap
        )
        if not complete:
            self._doubt_all()
        self._window = moment
        if complete:
            self._list_works()
        elif not anew:
            self._leave_changes(f"more than {self._page_limit()} pages", waiting)
        self._waiting_at_last_sweep = waiting

    async def _read_since(self, moment: datetime, overlap: float) -> bool:
        since = moment - timedelta(seconds=overlap) - self._clock.spread
        return await self._walk(self._page_limit, updated_since=since)

    def _page_limit(self) -> int:
        """How many pages of changes are read: twice what ours can fill, and never more than ours are jobs.

        Ours are also those who have left since the last sweep, their jobs' ends being among the changes, and those
        who join while the pages are read.
        """
        ours = max(len(self._jobs), self._waiting_at_last_sweep)
        return max(3, min(ours, 20 + 2 * ours // PAGE_SIZE))

    def _doubt_all(self) -> None:
        """Have every job looked for: what was not read may hold its end."""
        self._strangers, self._earlier_strangers = {}, {}
        for tracked in self._jobs.values():
            tracked.overdue = True

    async def _set_the_clock(self) -> None:
        """Learn Airbyte's clock from the job that changed last."""
        try:
            newest = await self._client.list_jobs(order_by=LAST_CHANGED_FIRST)
        except Rejected:
            newest = await self._client.list_jobs(order_by=NEWEST_FIRST)
        await self._take(newest, self._now())
        # The first reading goes back by the first overlap. Who was seen before that may have ended before it.
        seen_in_time = self._now() - self._pace.first_overlap / 2
        for tracked in self._jobs.values():
            tracked.overdue = tracked.overdue or tracked.seen_at is None or tracked.seen_at < seen_in_time

    async def _read_progress(self) -> None:
        """Read rows and bytes of the running jobs, which also confirms that they run."""
        interval = self._watched.progress_interval
        if interval is None:
            return
        # The last sweep before the moment, if it is near: the first one after it would be late each time.
        if self._now() < self._progress_at - interval * EARLY / 2:
            return
        self._progress_at = self._now() + interval
        await self._read_status(str(JobStatus.RUNNING), list(self._jobs.values()))

    async def _find_in_list(self, due: Iterable[TrackedJob]) -> None:
        """Find many jobs at once: among those in their status, the rest among those created since."""
        by_status: dict[str, list[TrackedJob]] = {}
        for tracked in due:
            if tracked.walks_missed < 2 and tracked.status in LIVE:
                by_status.setdefault(tracked.status, []).append(tracked)
        for status, expected in by_status.items():
            # A list of all who are in that status is worth it only for more jobs than it has pages.
            if len(expected) > 1 + len(self._jobs) // PAGE_SIZE:
                await self._read_status(status, expected)
        unseen = [each for expected in by_status.values() for each in expected if each.overdue and not each.over]
        if len(unseen) >= MANY_UNSEEN:
            # Airbyte numbers jobs in the order of their creation, so the lowest id bounds them all.
            oldest = min(unseen, key=lambda tracked: tracked.job_id)
            await self._ask_for_each([oldest], until=self._now())
            if oldest.job is not None and oldest.job.created_at is not None:
                await self._walk(lambda: 10 + len(unseen), wanted=unseen, created_since=oldest.job.created_at)

    async def _read_status(self, status: str, expected: Sequence[TrackedJob]) -> None:
        """Walk the jobs in one status. Who is expected there and missing has changed, or is never listed."""
        began = self._now()
        complete = await self._walk(lambda: 10 + len(expected), wanted=expected, status=status)
        for tracked in expected:
            if tracked.status == status and (tracked.seen_at is None or tracked.seen_at < began):
                tracked.walks_missed += 1
                tracked.overdue = tracked.overdue or complete

    async def _walk(
        self,
        limit: Callable[[], int],
        *,
        wanted: Collection[TrackedJob] = (),
        status: str | None = None,
        updated_since: datetime | None = None,
        created_since: datetime | None = None,
    ) -> bool:
        """Read the pages of a list, oldest job first, and let those who wait know.

        :param limit: How many pages at most; asked before each.
        :param wanted: For whom it is read: given up when asking for each of them costs less, and interrupted when
            a sweep is due, for it may be long.
        :return: Whether everybody was read who is wanted, or all pages.
        """
        missing = {tracked.job_id for tracked in wanted}
        most_missing, page = len(missing), 0
        while page < limit():
            if wanted and self._window is not None and self._a_poll_since(self._changes_read_at):
                await self._read_changes()
            # Rows enter the result but never leave it, so a hiccup does not send the walk back to its start.
            rows, ours = await self._page(
                attempts=3 if page else 1,
                status=status,
                updated_since=updated_since,
                created_since=created_since,
                offset=page * PAGE_SIZE,
            )
            if len(rows) < PAGE_SIZE:
                return True
            if wanted:
                missing.difference_update(row.job_id for row in rows)
                found = most_missing - len(missing)
                if not missing:
                    return True
                if page > found + max(3, most_missing // 10):
                    return False
                await asyncio.sleep(ours * self._pace.per_line)
            page += 1
        return False

    async def _page(
        self,
        *,
        attempts: int,
        status: str | None,
        updated_since: datetime | None,
        created_since: datetime | None,
        offset: int,
    ) -> tuple[Sequence[Job], int]:
        """Read a page; return its rows, and how many of them are waited for."""
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(attempts),
            wait=wait_random(0.1, 0.5),
            retry=retry_if_exception(_is_hiccup),
            reraise=True,
        ):
            with attempt:
                asked_at = self._now()
                rows = await self._client.list_jobs(
                    status=status,
                    updated_since=updated_since,
                    created_since=created_since,
                    # In the order of changes, a job that changes would push another out of sight.
                    order_by=OLDEST_FIRST,
                    offset=offset,
                )
        self.answers.append(self._now() - asked_at)
        ours = await self._take(rows, asked_at)
        return rows, ours

    async def _take(self, rows: Iterable[Job], asked_at: float) -> int:
        """Learn from a page of the list; return how many of its jobs are waited for."""
        self._answered = True
        ours = 0
        for job in rows:
            tracked = self._learn(job, asked_at)
            if tracked is not None:
                tracked.listed, tracked.walks_missed = True, 0
                ours += 1
                if not ours % WOKEN_AT_ONCE:
                    await asyncio.sleep(0)
        return ours

    # What is asked one by one

    def _due(self, until: float, *, listed: bool = True) -> list[TrackedJob]:
        """Return the jobs that need a look of their own before the next sweep, the most urgent first.

        :param until: When the next sweep is due.
        :param listed: Whether the list tells of the others.
        """
        confirm_after = self._pace.confirm_after if listed and self._changes_usable() else None
        due = [tracked for tracked in self._jobs.values() if _is_due(tracked, until, confirm_after)]
        if due and confirm_after is not None:
            # A list confirms all at once, and few who were read a moment later would need it again.
            due = [each for each in self._jobs.values() if _is_due(each, until, confirm_after * (1 - EARLY))]
        due.sort(key=_urgency)
        return due

    async def _ask_for_each(self, due: Iterable[TrackedJob], until: float) -> None:
        """Ask for single jobs, evenly; what does not fit before the next sweep is left for later."""
        failed: list[tuple[TrackedJob, ApiError]] = []
        first = True
        for tracked in due:
            if tracked.job_id not in self._jobs or tracked.job_id in self._late:
                continue
            # Once a sweep: two refusals in a row are to be two moments.
            if tracked.asked_at is not None and tracked.asked_at >= self._began:
                continue
            if not first:
                # Who came meanwhile may want the next sweep sooner.
                if self._now() >= until or self._a_poll_since(self._began):
                    break
                await asyncio.sleep(self._pace.between_looks)
            first = False
            try:
                await self._look_at(tracked)
            except ApiError as error:
                failed.append((tracked, error))
                if len(failed) >= FAILED_LOOKS or error.status == 429:
                    break
        if failed and (not self._answered or failed[-1][1].status == 429):
            raise failed[-1][1]
        if self._late and not self._answered and not failed:
            raise Unreachable("GET /jobs", "No answer yet.")
        # One job that Airbyte cannot tell of must not hide the others.
        for tracked, why in failed:
            tracked.fail(why, self._now())

    async def _look_at(self, tracked: TrackedJob) -> None:
        """Ask for one job. If Airbyte answers others and keeps this one waiting, its look goes on beside the sweeps."""
        look = asyncio.ensure_future(self._ask_for(tracked))
        # A server that has not answered anything may just be slow.
        hurried = self._answered or tracked.failed
        patience = max(self._pace.patience, self._watched.poll_interval) if hurried else None
        try:
            await asyncio.wait({look}, timeout=patience)
            if not look.done() and len(self._late) < MOST_LATE:
                self._late[tracked.job_id] = look
                look.add_done_callback(lambda done: self._came_late(tracked, done))
                return
        finally:
            if tracked.job_id not in self._late:
                look.cancel()
        if not look.done():
            raise Unreachable(f"GET /jobs/{tracked.job_id}", f"No answer within {patience:g} s.")
        await look

    def _came_late(self, tracked: TrackedJob, look: asyncio.Task[None]) -> None:
        del self._late[tracked.job_id]
        error = None if look.cancelled() else look.exception()
        if error is not None:
            said = error if isinstance(error, ApiError) else Unreachable("GET /jobs", f"{type(error).__name__}.")
            tracked.fail(said, self._now())

    async def _ask_for(self, tracked: TrackedJob) -> None:
        tracked.asked_at = asked_at = self._now()
        try:
            job = await self._client.get_job(tracked.job_id)
        except NOT_VISIBLE as error:
            # Believed when it comes twice in a row.
            self._answered = True
            tracked.refuse(error, self._now())
        else:
            self._answered = True
            self.answers.append(self._now() - asked_at)
            # A late answer may be older than what the list has told meanwhile.
            if job.terminal or tracked.seen_at is None or tracked.seen_at <= asked_at:
                self._learn(job, asked_at)

    def _a_poll_since(self, moment: float) -> bool:
        return self._now() >= moment + self._watched.poll_interval

    def _learn(self, job: Job, asked_at: float) -> TrackedJob | None:
        tracked = self._jobs.get(job.job_id)
        self._clock.saw(job, tracked)
        if tracked is None:
            self._strangers[job.job_id] = (job, asked_at)
            return None
        if not tracked.over:
            if job.terminal and tracked.seen_at is not None:
                self._time_the_end(job)
            # What an answer says was true when it was asked for, at the latest.
            tracked.saw(job, asked_at)
        return tracked

    def _time_the_end(self, job: Job) -> None:
        moment, ended = self._clock.read(), job.updated_at
        if moment is not None and ended is not None:
            self._meter.seen_after(moment - ended)


def _is_new(tracked: TrackedJob) -> bool:
    return tracked.seen_at is None and tracked.asked_at is None


def _is_due(tracked: TrackedJob, until: float, confirm_after: float | None) -> bool:
    if tracked.over:
        return False
    if tracked.overdue or tracked.refused or tracked.seen_at is None:
        return True
    patience = confirm_after if tracked.listed and confirm_after is not None else 0.9 * _poll_interval(tracked)
    return tracked.seen_at + patience < until


def _urgency(tracked: TrackedJob) -> tuple[bool, float, int]:
    """Order jobs by when their look is due; first looks come first."""
    asked_at = tracked.asked_at
    return asked_at is not None, (asked_at or 0.0) + _poll_interval(tracked), tracked.job_id


def _poll_interval(tracked: TrackedJob) -> float:
    return min([watch.poll_interval for watch in tracked.watches])


def _is_hiccup(error: BaseException) -> bool:
    return isinstance(error, Unreachable) and error.status != 429
