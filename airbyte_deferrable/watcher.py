"""One polling loop for all tasks that wait on the same Airbyte.

Asking for every job at every poll costs a request per waiting task, and Airbyte's public API has five handler
threads. A *sweep* asks instead what has changed since the last one: its cost follows change, not waiting.

What the sweeps cannot tell is asked otherwise: a job's first look, jobs that no answer has named for a while,
and everything where the list is forbidden or missing.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from weakref import WeakKeyDictionary

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random

from airbyte_deferrable.api.client import LAST_CHANGED_FIRST, NEWEST_FIRST, PAGE_SIZE, AirbyteClient
from airbyte_deferrable.api.errors import ApiError, Conflict, Forbidden, NotFound, Rejected, Unreachable
from airbyte_deferrable.api.models import Job, JobStatus
from airbyte_deferrable.api.settings import Settings
from airbyte_deferrable.watch import ServerClock, TrackedJob, Trouble, Watch

log = logging.getLogger(__name__)

#: Airbyte's word that a job is not to be seen; believed when it comes twice in a row.
NOT_VISIBLE = (Forbidden, NotFound, Conflict)
#: What a server says that forbids or lacks the list, or one of its parameters.
LIST_REFUSED = (Forbidden, NotFound, Conflict, Rejected)
#: Seconds; shorter poll intervals are raised to it.
SHORTEST_POLL = 0.1
#: From so many unseen jobs on, reading everything created since the oldest of them is worth a try.
MANY_UNSEEN = 20
#: Single requests that fail one after the other until Airbyte counts as being in trouble.
FAILED_LOOKS = 3


@dataclass(frozen=True)
class Pace:
    """How eagerly a watcher asks. Seconds, unless said otherwise.

    :param overlap: How far a sweep reaches back behind the last one. Airbyte stamps a change before it commits
        it, and its server pods have clocks of their own.
    :param deep_overlap: The same, now and then, for changes that took longer to become visible.
    :param deep_every: How often the deep overlap is used.
    :param confirm_after: A job that no answer has named for so long is asked for.
    :param between_looks: The pause between two requests for single jobs, so that thousands of them take only
        one of Airbyte's threads.
    :param gather: How long a newcomer waits for others before it is looked for, with all of them at once.
    :param busy_pause: How long the list is left alone when reading it costs more than asking for each job.
    :param refused_pause: How long it is left alone when the server refuses it.
    :param backoff_polls: The longest pause while Airbyte is in trouble, in poll intervals: short enough that an
        end is noticed within two polls once Airbyte is back.
    :param throttled_pause: The longest pause when Airbyte says that it is asked too often.
    :param linger: How long session and token are kept after the last waiter has left.
    :param report_every: How often the watcher says in its own log what it waits for.
    """

    overlap: float = 5.0
    deep_overlap: float = 120.0
    deep_every: float = 60.0
    confirm_after: float = 300.0
    between_looks: float = 0.02
    gather: float = 0.5
    busy_pause: float = 60.0
    refused_pause: float = 600.0
    backoff_polls: float = 1.5
    throttled_pause: float = 60.0
    linger: float = 60.0
    report_every: float = 60.0


class Metrics(Protocol):
    """Where counters go; Airflow's ``Stats`` fits."""

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
    """

    def __init__(self, client: AirbyteClient, *, pace: Pace | None = None, metrics: Metrics | None = None) -> None:
        self.client = client
        #: The trouble that all waiters are to be told of, its end included.
        self.trouble: Trouble | None = None
        self._pace = pace or Pace()
        self._metrics = metrics
        self._clock = ServerClock(self.now)
        self._jobs: dict[int, TrackedJob] = {}
        self._polls: Counter[float] = Counter()
        self._progress: Counter[float] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._arrival = asyncio.Event()
        #: The sweeps have read every change up to this moment of Airbyte's clock.
        self._window: datetime | None = None
        self._deep_at = 0.0
        self._progress_at = 0.0
        self._list_again_at = 0.0
        self._failures = 0
        self._trouble_since = 0.0
        self._sweeps = 0
        self._report_at = self.now() + self._pace.report_every

    def watch(self, job_id: int, *, poll_interval: float, progress_interval: float = 0.0) -> Watch:
        """Return a watch on a job; it begins when it is entered as a context manager.

        :param job_id: The job.
        :param poll_interval: Seconds within which its end should be noticed.
        :param progress_interval: Seconds between two reports of rows and bytes. Default: 0, no reports.
        """
        return Watch(self, job_id, max(poll_interval, SHORTEST_POLL), progress_interval)

    def now(self) -> float:
        """Return the time by which everything here is measured, seconds."""
        return time.monotonic()

    def join(self, watch: Watch) -> TrackedJob:
        """Begin to look for a watch's job. Called by the watch.

        :param watch: The watch.
        """
        tracked = self._jobs.setdefault(watch.job_id, TrackedJob(watch.job_id))
        tracked.watches.append(watch)
        self._polls[watch.poll_interval] += 1
        self._progress[watch.progress_interval] += 1
        self._arrival.set()
        self._start()
        return tracked

    def borrow_client(self) -> AirbyteClient:
        """Return the client for a call beside the watching; it is closed some time after its last use."""
        self._arrival.set()
        self._start()
        return self.client

    def _start(self) -> None:
        if self._task is None:
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
            await self.client.close()

    async def _anybody_comes(self) -> bool:
        """Linger after the last waiter, so that a trickle of tasks does not reconnect each time."""
        self._arrival.clear()
        try:
            await asyncio.wait_for(self._arrival.wait(), self._pace.linger)
        except asyncio.TimeoutError:
            return bool(self._jobs)
        return True

    async def _rest(self, due: float) -> None:
        """Wait until the next sweep is due; newcomers are looked for sooner, all that come together at once."""
        while self._jobs and (left := due - self.now()) > 0:
            self._arrival.clear()
            try:
                await asyncio.wait_for(self._arrival.wait(), left)
            except asyncio.TimeoutError:
                return
            if not self._failures:
                due = min(due, self.now() + self._pace.gather)
                await asyncio.sleep(max(0.0, due - self.now()))
        await asyncio.sleep(0)

    async def _sweep_or_back_off(self) -> float:
        """Look once, and return how many seconds after its beginning to look again."""
        began = self.now()
        poll = min(self._polls)
        try:
            await self._sweep(until=began + poll)
        except ApiError as error:
            self._failures += 1
            self._count("errors")
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
        return max(asked or 0.0, pause * random.uniform(0.7, 1.0))

    async def _sweep(self, until: float) -> None:
        """Learn what there is to learn, one by one only as far as it fits before the next sweep."""
        self._sweeps += 1
        self._count("sweeps")
        # A lone waiter just gets its job.
        if len(self._jobs) > 1 and self._list_usable():
            try:
                await self._read_changes()
                await self._read_progress()
                await self._find_in_list(self._due(until))
            except LIST_REFUSED as error:
                self._list_again_at = self.now() + self._pace.refused_pause
                log.warning("This Airbyte does not let its jobs be listed, asking for each job: %s", error)
        await self._ask_for_each(self._due(until), until)

    def _list_usable(self) -> bool:
        return self.now() >= self._list_again_at

    # What the list tells

    async def _read_changes(self) -> None:
        """Read what changed since the last sweep, and move the window on."""
        if self._window is None:
            await self._set_the_clock()
        moment = self._clock.read()
        if self._window is None or moment is None:
            return
        overlap = self._pace.overlap
        if self.now() >= self._deep_at:
            self._deep_at = self.now() + self._pace.deep_every
            overlap = self._pace.deep_overlap
        limit = self._page_limit()
        pages = await self._walk(limit, updated_since=self._window - timedelta(seconds=overlap))
        self._window = moment
        if pages is None:
            # What was not read may hold an end: every job needs a look of its own.
            for tracked in self._jobs.values():
                tracked.seen_at = None
        if (pages or limit) > max(len(self._jobs), 3):
            self._list_again_at = self.now() + self._pace.busy_pause
            log.info("Too much else changes on this Airbyte (%d pages): asking for each job", pages or limit)

    async def _set_the_clock(self) -> None:
        """Learn Airbyte's clock from the job that changed last."""
        try:
            newest = await self.client.list_jobs(order_by=LAST_CHANGED_FIRST)
        except Rejected:
            newest = await self.client.list_jobs(order_by=NEWEST_FIRST)
        self._take(newest)
        self._window = self._clock.read()

    async def _read_progress(self) -> None:
        """Read rows and bytes of the running jobs, which also confirms that they run."""
        intervals = [interval for interval in self._progress if interval > 0]
        if intervals and self.now() >= self._progress_at:
            self._progress_at = self.now() + min(intervals)
            await self._read_status(JobStatus.RUNNING, list(self._jobs.values()))

    async def _find_in_list(self, due: list[TrackedJob]) -> None:
        """Find many jobs at once: among those in their status, the rest among those created since."""
        candidates = [tracked for tracked in due if tracked.walks_missed < 2]
        if len(candidates) < 2:
            return
        by_status: dict[str, list[TrackedJob]] = {}
        for tracked in candidates:
            by_status.setdefault(tracked.status, []).append(tracked)
        for status, expected in by_status.items():
            await self._read_status(status, expected)
        unseen = [tracked for tracked in candidates if tracked.seen_at is None and not tracked.over]
        if len(unseen) >= MANY_UNSEEN:
            # Airbyte numbers jobs in the order of their creation, so the lowest id bounds them all.
            oldest = min(unseen, key=lambda tracked: tracked.job_id)
            await self._ask_for(oldest)
            if oldest.job is not None and oldest.job.created_at is not None:
                await self._walk(self._page_limit(), wanted=True, created_since=oldest.job.created_at)

    async def _read_status(self, status: str, expected: list[TrackedJob]) -> None:
        """Walk the jobs in one status. Who is expected there and missing has changed, or is never listed."""
        began = self.now()
        pages = await self._walk(self._page_limit(), wanted=True, status=status)
        for tracked in expected:
            if tracked.status == status and (tracked.seen_at is None or tracked.seen_at < began):
                tracked.walks_missed += 1
                if pages is not None:
                    tracked.seen_at = None

    def _page_limit(self) -> int:
        return max(20, 10 + 2 * len(self._jobs) // PAGE_SIZE)

    async def _walk(
        self,
        limit: int,
        *,
        wanted: bool = False,
        status: str | None = None,
        updated_since: datetime | None = None,
        created_since: datetime | None = None,
    ) -> int | None:
        """Read the pages of a list, oldest job first, and let those who wait know.

        :param limit: How many pages at most.
        :param wanted: Give up early when the pages hold hardly any job that is waited for.
        :return: How many pages there were; None if not all were read.
        """
        ours = 0
        for page in range(limit):
            # Rows enter the result but never leave it, so a hiccup does not send the walk back to its start.
            async for attempt in AsyncRetrying(
                stop=stop_after_attempt(3 if page else 1),
                wait=wait_random(0.1, 0.5),
                retry=retry_if_exception(_is_hiccup),
                reraise=True,
            ):
                with attempt:
                    rows = await self.client.list_jobs(
                        status=status,
                        updated_since=updated_since,
                        created_since=created_since,
                        offset=page * PAGE_SIZE,
                    )
            ours += self._take(rows)
            if len(rows) < PAGE_SIZE:
                return page + 1
            if wanted and page >= 2 and ours < 2 * page:
                return None
        return None

    def _take(self, rows: Iterable[Job]) -> int:
        """Learn from a page of the list; return how many of its jobs are waited for."""
        ours = 0
        for job in rows:
            tracked = self._learn(job)
            if tracked is not None:
                tracked.listed, tracked.walks_missed = True, 0
                ours += 1
        return ours

    # What is asked one by one

    def _due(self, until: float) -> list[TrackedJob]:
        """Return the jobs that need a look of their own before the next sweep, the longest unasked first."""
        swept = len(self._jobs) > 1 and self._list_usable()
        polls = min(self._polls, default=0.0)

        def is_due(tracked: TrackedJob) -> bool:
            if tracked.over:
                return False
            if tracked.seen_at is None or tracked.refused:
                return True
            patience = self._pace.confirm_after if swept and tracked.listed else polls * 0.9
            return tracked.seen_at + patience < until

        return sorted(filter(is_due, self._jobs.values()), key=lambda tracked: (tracked.asked_at, tracked.job_id))

    async def _ask_for_each(self, due: list[TrackedJob], until: float) -> None:
        """Ask for single jobs, evenly; what does not fit before the next sweep is left for later."""
        failed = 0
        for number, tracked in enumerate(due):
            if number:
                if self.now() >= until:
                    return
                await asyncio.sleep(self._pace.between_looks)
            try:
                await self._ask_for(tracked)
            except ApiError:
                # One job that Airbyte cannot tell of must not hide the others.
                failed += 1
                if failed >= min(FAILED_LOOKS, len(due)):
                    raise
            else:
                failed = 0

    async def _ask_for(self, tracked: TrackedJob) -> None:
        tracked.asked_at = self.now()
        try:
            job = await self.client.get_job(tracked.job_id)
        except NOT_VISIBLE as error:
            tracked.refuse(error)
        else:
            self._learn(job)

    def _learn(self, job: Job) -> TrackedJob | None:
        self._clock.saw(job)
        tracked = self._jobs.get(job.job_id)
        if tracked is None:
            return None
        if job.terminal and not tracked.over:
            self._time_the_end(job)
        if not tracked.over:
            tracked.saw(job, self.now())
        return tracked

    # What is told

    async def _tell_trouble(self, error: ApiError) -> None:
        if self.trouble is None or self.trouble.error is None:
            self._trouble_since = self.now()
            self.trouble = Trouble(error)
            log.warning("Airbyte cannot be asked, %d jobs are waited for: %s", len(self._jobs), error)
            await self._nudge_all()

    async def _tell_calm(self) -> None:
        if self.trouble is not None and self.trouble.error is not None:
            self.trouble = Trouble(None, self.now() - self._trouble_since)
            log.info("Airbyte answers again after %.0f s", self.trouble.seconds)
            await self._nudge_all()

    async def _nudge_all(self) -> None:
        """Wake the waiting tasks, a few at a time: ten thousand at once would hold the event loop."""
        watches = [watch for tracked in self._jobs.values() for watch in tracked.watches]
        for number, watch in enumerate(watches):
            watch.nudge()
            if number % 50 == 49:
                await asyncio.sleep(0)

    def _report(self) -> None:
        waiting = len(self._jobs)
        if self._metrics is not None:
            self._metrics.gauge("airbyte_deferrable.waiting", waiting)
        if self.now() >= self._report_at:
            self._report_at = self.now() + self._pace.report_every
            log.info(
                "Waiting for %d jobs of %s; %d sweeps and %d requests so far",
                waiting,
                self.client.settings.base_url,
                self._sweeps,
                self.client.requests,
            )

    def _count(self, what: str) -> None:
        if self._metrics is not None:
            self._metrics.incr(f"airbyte_deferrable.{what}")

    def _time_the_end(self, job: Job) -> None:
        moment, ended = self._clock.read(), job.updated_at
        if self._metrics is not None and moment is not None and ended is not None:
            self._metrics.timing("airbyte_deferrable.seen_after", moment - ended)


def _is_hiccup(error: BaseException) -> bool:
    return isinstance(error, Unreachable) and error.status != 429


_watchers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, JobWatcher]] = WeakKeyDictionary()


def watcher_for(settings: Settings, *, metrics: Metrics | None = None) -> JobWatcher:
    """Return the one watcher of the running event loop for these settings.

    :param settings: Which Airbyte, and with which credentials.
    :param metrics: Where its counters go.
    """
    mine = _watchers.setdefault(asyncio.get_running_loop(), {})
    if settings not in mine:
        mine[settings] = JobWatcher(AirbyteClient(settings), metrics=metrics)
    return mine[settings]
