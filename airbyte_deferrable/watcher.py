"""One polling loop for all tasks that wait on the same Airbyte.

Asking for every job at every poll costs a request per waiting task, and Airbyte's public API has five handler
threads. A *sweep* asks instead what has changed since the last one: its cost follows change, not waiting.

What the sweeps cannot tell is asked otherwise: a job's first look, jobs that no answer has named for a while,
and everything where the list is forbidden, missing, broken, or too long.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random

from airbyte_deferrable.api.client import LAST_CHANGED_FIRST, NEWEST_FIRST, PAGE_SIZE, AirbyteClient
from airbyte_deferrable.api.errors import ApiError, Conflict, Forbidden, NotFound, Rejected, Unreachable
from airbyte_deferrable.api.models import TERMINAL, Job, JobStatus
from airbyte_deferrable.api.settings import Settings
from airbyte_deferrable.watch import EARLY, FAILED_LOOKS, ServerClock, TrackedJob, Trouble, Watch

log = logging.getLogger(__name__)

#: Airbyte's word that a job is not to be seen; believed when it comes twice in a row.
NOT_VISIBLE = (Forbidden, NotFound, Conflict)
#: What a server says that forbids or lacks the list, or one of its parameters.
LIST_REFUSED = (Forbidden, NotFound, Conflict, Rejected)
#: The statuses by which live jobs can be listed. A server may refuse to filter by one that it does not know.
LIVE = frozenset(str(status) for status in JobStatus) - TERMINAL
#: Seconds; shorter poll intervals are raised to it.
SHORTEST_POLL = 0.1
#: From so many unseen jobs on, reading everything created since the oldest of them is worth a try.
MANY_UNSEEN = 20
#: Sweeps that fail, one after the other, until those who wait are told. One alone is nothing to speak of.
FAILED_SWEEPS = 2
#: Lists that fail, one after the other, until jobs are asked for one by one.
FAILED_LISTS = 3
#: Seconds; a server that asks for a longer pause (``Retry-After``) is asked again after this one all the same.
LONGEST_PAUSE = 300.0


@dataclass(frozen=True)
class Pace:
    """How eagerly a watcher asks. Seconds, unless said otherwise.

    :param overlap: How far a sweep reaches back behind the last one, beyond what the clocks of Airbyte's server
        pods are known to be apart: Airbyte stamps a change before it commits it. Whatever lies in it is read
        twice, so it is short; what comes later than that is found by the confirmation.
    :param first_overlap: How far the first sweep reaches back behind the last change.
    :param confirm_after: A job that no answer has named for so long is looked for. Reports of progress do that
        on the way, so this is for jobs without.
    :param between_looks: The pause between two requests for single jobs, so that thousands of them take only
        one of Airbyte's threads.
    :param gather: How long a newcomer waits for others before it is looked for, with all of them at once.
    :param busy_pause: How long the list is left alone when it cannot be read, or not to its end.
    :param refused_pause: How long it is left alone when the server refuses it.
    :param backoff_polls: The longest pause while Airbyte is in trouble, in poll intervals: short enough that an
        end is noticed within two polls once Airbyte is back.
    :param throttled_pause: The longest pause when Airbyte says that it is asked too often.
    :param linger: How long session and token are kept after the last waiter has left.
    :param report_every: How often the watcher says in its own log what it waits for.
    """

    overlap: float = 1.0
    first_overlap: float = 120.0
    confirm_after: float = 120.0
    between_looks: float = 0.02
    gather: float = 0.5
    busy_pause: float = 60.0
    refused_pause: float = 600.0
    backoff_polls: float = 1.5
    throttled_pause: float = 60.0
    linger: float = 60.0
    report_every: float = 60.0


class Metrics(Protocol):
    """Where counters go; Airflow's ``Stats`` fits.

    ``airbyte_deferrable.waiting`` (gauge): jobs that are waited for in this process.
    ``airbyte_deferrable.sweeps``, ``.requests``, ``.errors`` (counters): looks at an Airbyte, what they took, and
    those that failed.
    ``airbyte_deferrable.seen_after`` (timing): from the end of a job to its being noticed.
    """

    def incr(self, stat: str, count: int = 1) -> None:
        """Count."""

    def gauge(self, stat: str, value: float) -> None:
        """Set a level."""

    def timing(self, stat: str, dt: timedelta) -> None:
        """Record a span."""


class JobWatcher:
    """Sees every job end that somebody waits for.

    Its loop starts with the first waiter, follows the shortest poll interval among them and ends, a little
    later, with the last. It belongs to the event loop of its waiters.

    :param client: Leads to one Airbyte with one set of credentials. The watcher closes it when it ends; it may
        also be used for calls beside the watching, such as cancelling a job.
    :param pace: How eagerly to ask.
    :param metrics: Where counters go; default: nowhere.
    :param quiet: Log nothing of its own: on a worker it would stand in the task's log, where what the task does
        itself belongs and nothing else. Default: False.
    """

    def __init__(
        self,
        client: AirbyteClient,
        *,
        pace: Pace | None = None,
        metrics: Metrics | None = None,
        quiet: bool = False,
    ) -> None:
        self.client = client
        #: The trouble that all waiters are to be told of, its end included.
        self.trouble: Trouble | None = None
        self._pace = pace or Pace()
        self._metrics = metrics
        self._log = _silent if quiet else log
        self._clock = ServerClock(self.now)
        self._jobs: dict[int, TrackedJob] = {}
        self._polls: Counter[float] = Counter()
        self._progress: Counter[float] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._arrival = asyncio.Event()
        #: The sweeps have read every change up to this moment of Airbyte's clock; None while they do not read.
        self._window: datetime | None = None
        self._sweep_at = 0.0
        self._progress_at = float("inf")
        self._list_again_at = 0.0
        self._list_worth_for = 0.0
        #: Why the list is left alone, so that it is said once.
        self._list_fault = ""
        self._failed_lists = 0
        self._failures = 0
        self._trouble_since = 0.0
        #: Whether Airbyte has answered anything in this sweep.
        self._answered = False
        self._sweeps = 0
        self._requests_told = 0
        self._report_at = float("inf")

    def watch(self, job_id: int, *, poll_interval: float, progress_interval: float = 0.0) -> Watch:
        """Return a watch on a job; it begins when it is entered as a context manager.

        :param job_id: The job.
        :param poll_interval: Seconds within which its end should be noticed.
        :param progress_interval: Seconds between two reports of rows and bytes. Default: 0, no reports.
        """
        return Watch(self, job_id, max(poll_interval, SHORTEST_POLL), progress_interval)

    @property
    def waiting(self) -> int:
        """How many jobs are waited for."""
        return len(self._jobs)

    def now(self) -> float:
        """Return the time by which everything here is measured: the running event loop's, seconds."""
        return asyncio.get_running_loop().time()

    def join(self, watch: Watch) -> TrackedJob:
        """Begin to look for a watch's job. Called by the watch.

        :param watch: The watch.
        """
        tracked = self._jobs.setdefault(watch.job_id, TrackedJob(watch.job_id))
        tracked.watches.append(watch)
        self._polls[watch.poll_interval] += 1
        self._progress[watch.progress_interval] += 1
        if watch.progress_interval > 0:
            self._progress_at = min(self._progress_at, self.now() + watch.progress_interval)
        self._start()
        return tracked

    def borrow_client(self) -> AirbyteClient:
        """Return the client for a call beside the watching; it is closed some time after its last use."""
        self._start()
        return self.client

    def _start(self) -> None:
        self._arrival.set()
        if self._task is None:
            self._report_at = self.now() + self._pace.report_every
            # An empty context: Airflow finds the task's log for a line by what the trigger's context holds, and
            # the watcher's lines belong to no task.
            self._task = contextvars.Context().run(asyncio.create_task, self._run())

    def leave(self, watch: Watch) -> None:
        """Stop looking for a watch's job if nobody else waits for it. Called by the watch.

        :param watch: The watch.
        """
        tracked = self._jobs[watch.job_id]
        tracked.watches.remove(watch)
        if not tracked.watches:
            del self._jobs[watch.job_id]
        for counter, key in ((self._polls, watch.poll_interval), (self._progress, watch.progress_interval)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]

    # The loop

    async def _run(self) -> None:
        try:
            while self._jobs or await self._anybody_comes():
                due = self.now() + await self._sweep_or_back_off()
                self._report()
                await self._rest(due)
        finally:
            # Before anything is awaited: whoever joins from here on must start a new loop.
            self._task = None
            self._window = None
            await self.client.close()

    async def _anybody_comes(self) -> bool:
        """Linger after the last waiter, so that a trickle of tasks does not reconnect each time."""
        self._report()
        while not self._jobs:
            self._arrival.clear()
            if not await self._arrives_within(self._pace.linger):
                return bool(self._jobs)
        return True

    async def _rest(self, due: float) -> None:
        """Wait until the next sweep is due; newcomers are looked for sooner, all that come together at once."""
        while self._jobs and await self._arrives_within(due - self.now()):
            self._arrival.clear()
            if self._failures:
                continue
            await asyncio.sleep(min(self._pace.gather, max(0.0, due - self.now())))
            try:
                await self._look_for([each for each in self._jobs.values() if _is_new(each)], due)
            except ApiError:
                # They are overdue, so the next sweep tries again, and tells of the trouble if there is some.
                continue
        await asyncio.sleep(0)

    async def _arrives_within(self, seconds: float) -> bool:
        """Wait for a newcomer, but no longer than this."""
        if seconds <= 0:
            return False
        # Not wait_for: before Python 3.12 it can swallow a cancellation that comes together with a newcomer.
        arrival = asyncio.ensure_future(self._arrival.wait())
        try:
            arrived, _ = await asyncio.wait({arrival}, timeout=seconds)
        finally:
            arrival.cancel()
        return bool(arrived)

    async def _sweep_or_back_off(self) -> float:
        """Look once, and return after how many seconds to look again."""
        began = self.now()
        poll = min(self._polls)
        self._answered = False
        try:
            await self._sweep(until=began + poll)
        except Exception as error:
            if not isinstance(error, ApiError):
                # An error in this code must not leave thousands waiting for nobody.
                self._log.exception("A sweep failed")
                error = Unreachable("GET /jobs", f"{type(error).__name__}.")
            self._failures += 1
            self._count("errors")
            if self._failures >= FAILED_SWEEPS:
                await self._tell_trouble(error)
            return self._backoff(error, poll)
        self._failures = 0
        await self._tell_calm()
        return max(0.0, began + poll - self.now())

    def _backoff(self, error: ApiError, poll: float) -> float:
        asked = error.retry_after if isinstance(error, Unreachable) else None
        longest = poll * self._pace.backoff_polls
        if error.status == 429:
            longest = max(longest, self._pace.throttled_pause)
        pause = min(poll * 2.0 ** (min(self._failures, 20) - 2), longest)
        return max(min(asked or 0.0, LONGEST_PAUSE), pause * random.uniform(0.7, 1.0))

    async def _sweep(self, until: float) -> None:
        """Learn what there is to learn, one by one only as far as it fits before the next sweep."""
        self._sweeps += 1
        self._count("sweeps")
        if not self._list_usable():
            # What the sweeps miss from here on, they cannot catch up with later.
            self._window = None
            await self._look_for(self._due(until), until)
            return
        try:
            await self._read_changes()
            await self._read_progress()
            await self._look_for(self._due(until), until)
        except LIST_REFUSED as error:
            self._leave_list(self._pace.refused_pause, "does not let its jobs be listed", error)
            await self._ask_for_each(self._due(until), until)
        except Unreachable as error:
            self._failed_lists += 1
            if self._failed_lists < FAILED_LISTS or error.status == 429:
                raise
            # If a job can be had by itself, it is only the list that fails.
            await self._ask_for_each(self._due(until, listed=False), until)
            self._leave_list(self._pace.busy_pause, "fails to list its jobs", error)
        else:
            self._failed_lists = 0

    async def _look_for(self, due: Sequence[TrackedJob], until: float) -> None:
        if self._list_usable():
            await self._find_in_list(due)
            patience = self._patience()
            due = [tracked for tracked in due if _is_due(tracked, until, *patience)]
        await self._ask_for_each(due, until)

    # Whether the list is of use

    def _list_usable(self) -> bool:
        # A lone waiter just gets its job.
        return len(self._jobs) > 1 and (self.now() >= self._list_again_at or len(self._jobs) > self._list_worth_for)

    def _leave_list(self, seconds: float, fault: str, why: object, worth_for: float = float("inf")) -> None:
        """Leave the list alone for a while, or until so many wait that it is worth another try."""
        self._list_again_at = self.now() + seconds
        self._list_worth_for = worth_for
        self._window = None
        if fault != self._list_fault:
            self._list_fault = fault
            self._log.warning("This Airbyte %s, so each job is asked for by itself: %s", fault, why)

    def _list_works(self) -> None:
        if self._list_fault:
            self._list_fault = ""
            self._log.info("The jobs of this Airbyte can be listed again")

    # What the list tells

    async def _read_changes(self) -> None:
        """Read what changed since the last sweep, and move the window on."""
        anew = self._window is None
        if anew:
            await self._set_the_clock()
        self._sweep_at = self.now() + min(self._polls, default=SHORTEST_POLL)
        moment = self._clock.read()
        if self._window is None or moment is None:
            return
        # Many more may have joined when it is read.
        limit, waiting = self._limit, len(self._jobs)
        complete = await self._read_since(self._window, self._pace.first_overlap if anew else self._pace.overlap)
        if not complete:
            self._doubt_all()
        self._window = moment
        if complete:
            self._list_works()
        elif not anew:
            # Many tasks may be about to join whose jobs these are.
            why, worth_for = f"more than {limit} pages", 2.0 * waiting
            self._leave_list(self._pace.busy_pause, "has too many changes to list", why, worth_for)

    async def _read_since(self, moment: datetime, overlap: float) -> bool:
        since = moment - timedelta(seconds=overlap) - self._clock.spread
        return await self._walk(self._limit, updated_since=since)

    @property
    def _limit(self) -> int:
        """How many pages of changes are read: twice what ours can fill, and never more than ours are jobs."""
        return max(3, min(len(self._jobs), 20 + 2 * len(self._jobs) // PAGE_SIZE))

    def _doubt_all(self) -> None:
        """Have every job looked for: what was not read may hold its end."""
        for tracked in self._jobs.values():
            tracked.overdue = True

    async def _set_the_clock(self) -> None:
        """Learn Airbyte's clock from the job that changed last, and begin a new window there."""
        try:
            newest = await self.client.list_jobs(order_by=LAST_CHANGED_FIRST)
        except Rejected:
            newest = await self.client.list_jobs(order_by=NEWEST_FIRST)
        self._take(newest, self.now())
        self._window = self._clock.read()
        # The first reading goes back by the first overlap. Who was seen before that may have ended before it.
        seen_in_time = self.now() - self._pace.first_overlap / 2
        for tracked in self._jobs.values():
            tracked.overdue = tracked.overdue or tracked.seen_at is None or tracked.seen_at < seen_in_time

    async def _read_progress(self) -> None:
        """Read rows and bytes of the running jobs, which also confirms that they run."""
        interval = min((each for each in self._progress if each > 0), default=None)
        if interval is None:
            return
        # The last sweep before the moment, if it is near: the first one after it would be late each time.
        if self.now() < self._progress_at - interval * EARLY / 2:
            return
        self._progress_at = self.now() + interval
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
            await self._ask_for_each([oldest], until=self.now())
            if oldest.job is not None and oldest.job.created_at is not None:
                await self._walk(10 + len(unseen), wanted=unseen, created_since=oldest.job.created_at)

    async def _read_status(self, status: str, expected: Sequence[TrackedJob]) -> None:
        """Walk the jobs in one status. Who is expected there and missing has changed, or is never listed."""
        began = self.now()
        complete = await self._walk(10 + len(expected), wanted=expected, status=status)
        for tracked in expected:
            if tracked.status == status and (tracked.seen_at is None or tracked.seen_at < began):
                tracked.walks_missed += 1
                tracked.overdue = tracked.overdue or complete

    async def _walk(
        self,
        limit: int,
        *,
        wanted: Collection[TrackedJob] = (),
        status: str | None = None,
        updated_since: datetime | None = None,
        created_since: datetime | None = None,
    ) -> bool:
        """Read the pages of a list, oldest job first, and let those who wait know.

        :param limit: How many pages at most.
        :param wanted: For whom it is read: given up when asking for each of them costs less, and interrupted when
            a sweep is due, for it may be long.
        :return: Whether all pages were read.
        """
        ids = {tracked.job_id for tracked in wanted}
        found = 0
        for page in range(limit):
            if ids and self._window is not None and self.now() >= self._sweep_at:
                await self._read_changes()
            # Rows enter the result but never leave it, so a hiccup does not send the walk back to its start.
            rows = await self._page(
                attempts=3 if page else 1,
                status=status,
                updated_since=updated_since,
                created_since=created_since,
                offset=page * PAGE_SIZE,
            )
            if len(rows) < PAGE_SIZE:
                return True
            if ids:
                found += sum(row.job_id in ids for row in rows)
                if page > found + max(3, len(ids) // 10):
                    return False
        return False

    async def _page(
        self,
        *,
        attempts: int,
        status: str | None,
        updated_since: datetime | None,
        created_since: datetime | None,
        offset: int,
    ) -> Sequence[Job]:
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(attempts),
            wait=wait_random(0.1, 0.5),
            retry=retry_if_exception(_is_hiccup),
            reraise=True,
        ):
            with attempt:
                asked_at = self.now()
                rows = await self.client.list_jobs(
                    status=status, updated_since=updated_since, created_since=created_since, offset=offset
                )
        self._take(rows, asked_at)
        return rows

    def _take(self, rows: Iterable[Job], asked_at: float) -> None:
        """Learn from a page of the list."""
        self._answered = True
        for job in rows:
            tracked = self._learn(job, asked_at)
            if tracked is not None:
                tracked.listed, tracked.walks_missed = True, 0

    # What is asked one by one

    def _due(self, until: float, *, listed: bool = True) -> list[TrackedJob]:
        """Return the jobs that need a look of their own before the next sweep, the longest unasked first.

        :param until: When the next sweep is due.
        :param listed: Whether the list tells of the others.
        """
        patience = self._patience(listed)
        due = [tracked for tracked in self._jobs.values() if _is_due(tracked, until, *patience)]
        due.sort(key=lambda tracked: (-1.0 if tracked.asked_at is None else tracked.asked_at, tracked.job_id))
        return due

    def _patience(self, listed: bool = True) -> tuple[float, float]:
        """Return after how long a job is looked for that the list has named, and one that it has not."""
        poll = 0.9 * min(self._polls, default=SHORTEST_POLL)
        return (self._pace.confirm_after if listed and self._list_usable() else poll), poll

    async def _ask_for_each(self, due: Iterable[TrackedJob], until: float) -> None:
        """Ask for single jobs, evenly; what does not fit before the next sweep is left for later."""
        failed: list[tuple[TrackedJob, ApiError]] = []
        first = True
        for tracked in due:
            if tracked.job_id not in self._jobs:
                continue
            if not first:
                if self.now() >= until:
                    break
                await asyncio.sleep(self._pace.between_looks)
            first = False
            try:
                await self._ask_for(tracked)
            except ApiError as error:
                failed.append((tracked, error))
                if len(failed) >= FAILED_LOOKS or error.status == 429:
                    break
        if failed and (not self._answered or failed[-1][1].status == 429):
            raise failed[-1][1]
        # One job that Airbyte cannot tell of must not hide the others.
        for tracked, why in failed:
            tracked.fail(why, self.now())

    async def _ask_for(self, tracked: TrackedJob) -> None:
        tracked.asked_at = asked_at = self.now()
        try:
            job = await self.client.get_job(tracked.job_id)
        except NOT_VISIBLE as error:
            self._answered = True
            tracked.refuse(error, self.now())
        else:
            self._answered = True
            self._learn(job, asked_at)

    def _learn(self, job: Job, asked_at: float) -> TrackedJob | None:
        tracked = self._jobs.get(job.job_id)
        self._clock.saw(job, tracked)
        if tracked is None:
            return None
        if not tracked.over:
            if job.terminal and tracked.seen_at is not None:
                self._time_the_end(job)
            # What an answer says was true when it was asked for, at the latest.
            tracked.saw(job, asked_at)
        return tracked

    # What is told

    async def _tell_trouble(self, error: ApiError) -> None:
        if self.trouble is None or self.trouble.error is None:
            self._trouble_since = self.now()
            self.trouble = Trouble(error)
            self._log.warning("Airbyte cannot be asked, %d jobs are waited for: %s", len(self._jobs), error)
            await self._nudge_all()

    async def _tell_calm(self) -> None:
        if self.trouble is not None and self.trouble.error is not None:
            self.trouble = Trouble(None, self.now() - self._trouble_since)
            self._log.info("Airbyte answers again after %.0f s", self.trouble.seconds)
            await self._nudge_all()

    async def _nudge_all(self) -> None:
        """Wake the waiting tasks, a few at a time: ten thousand at once would hold the event loop."""
        watches = [watch for tracked in self._jobs.values() for watch in tracked.watches]
        for number, watch in enumerate(watches):
            watch.nudge()
            if number % 50 == 49:
                await asyncio.sleep(0)

    def _report(self) -> None:
        if self._metrics is not None:
            # One gauge for the process, which may watch several Airbytes.
            self._metrics.gauge("airbyte_deferrable.waiting", sum(each.waiting for each in _watchers_here().values()))
        self._count("requests", self.client.requests - self._requests_told)
        self._requests_told = self.client.requests
        if self._jobs and self.now() >= self._report_at:
            self._report_at = self.now() + self._pace.report_every
            self._log.info(
                "Waiting for %d jobs of %s; %d sweeps and %d requests so far",
                len(self._jobs),
                self.client.settings.base_url,
                self._sweeps,
                self.client.requests,
            )

    def _count(self, what: str, number: int = 1) -> None:
        if self._metrics is not None and number:
            self._metrics.incr(f"airbyte_deferrable.{what}", number)

    def _time_the_end(self, job: Job) -> None:
        moment, ended = self._clock.read(), job.updated_at
        if self._metrics is not None and moment is not None and ended is not None:
            self._metrics.timing("airbyte_deferrable.seen_after", moment - ended)


def _is_new(tracked: TrackedJob) -> bool:
    return tracked.seen_at is None and tracked.asked_at is None


def _is_due(tracked: TrackedJob, until: float, listed_patience: float, unlisted_patience: float) -> bool:
    if tracked.over:
        return False
    if tracked.overdue or tracked.refused or tracked.seen_at is None:
        return True
    return tracked.seen_at + (listed_patience if tracked.listed else unlisted_patience) < until


def _is_hiccup(error: BaseException) -> bool:
    return isinstance(error, Unreachable) and error.status != 429


#: Of the watchers that are to be quiet.
_silent = logging.getLogger(f"{__name__}.silent")
_silent.addFilter(lambda record: False)

_watchers: dict[asyncio.AbstractEventLoop, dict[Settings, JobWatcher]] = {}


def _watchers_here() -> dict[Settings, JobWatcher]:
    return _watchers.get(asyncio.get_running_loop(), {})


def watcher_for(settings: Settings, *, metrics: Metrics | None = None) -> JobWatcher:
    """Return the one watcher of the running event loop for these settings.

    :param settings: Which Airbyte, and with which credentials.
    :param metrics: Where its counters go.
    """
    loop = asyncio.get_running_loop()
    if loop not in _watchers:
        # A watcher knows its loop, so weak references would not let the loops go.
        for closed in [each for each in _watchers if each.is_closed()]:
            del _watchers[closed]
        _watchers[loop] = {}
    mine = _watchers[loop]
    if settings not in mine:
        mine[settings] = JobWatcher(AirbyteClient(settings), metrics=metrics)
    return mine[settings]
