"""One polling loop for all tasks that wait on the same Airbyte.

Asking for every job at every poll costs a request per waiting task, and Airbyte's public API has five handler
threads. A *sweep* asks instead what has changed since the last one: its cost follows change, not waiting.

What the sweeps cannot tell is asked otherwise (:meth:`JobWatcher._look`): a job's first look, jobs that no
answer has named for a while, and everything where the list is forbidden or missing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol
from weakref import WeakKeyDictionary

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random

from airbyte_deferrable.api.client import LAST_CHANGED_FIRST, NEWEST_FIRST, PAGE_SIZE, AirbyteClient
from airbyte_deferrable.api.errors import ApiError, Conflict, Forbidden, NotFound, Rejected, Unreachable
from airbyte_deferrable.api.models import Job, JobStatus
from airbyte_deferrable.api.settings import Settings

log = logging.getLogger(__name__)

#: Airbyte's word that a job is not to be seen; believed when it comes twice in a row.
NOT_VISIBLE = (Forbidden, NotFound, Conflict)
#: What a server says that forbids or lacks the list, or one of its parameters.
LIST_REFUSED = (Forbidden, NotFound, Conflict, Rejected)


@dataclass(frozen=True)
class Pace:
    """How eagerly a watcher asks. Seconds, unless said otherwise.

    :param overlap: How far a sweep reaches back behind the last one. Airbyte stamps a change before it
        commits it, and its server pods have clocks of their own.
    :param deep_overlap: The same, now and then, for changes that took longer to become visible.
    :param deep_every: How often the deep overlap is used.
    :param confirm_after: A job that no answer has named for so long is looked for.
    :param between_looks: The pause between two requests for single jobs, so that thousands of them never take
        more than one of Airbyte's threads.
    :param list_again_after: When a list that was refused is tried again.
    :param backoff_polls: The longest pause while Airbyte is in trouble, in poll intervals.
    :param throttled_pause: The longest pause when Airbyte says that it is asked too often.
    :param linger: How long session and token are kept after the last waiter has left.
    :param report_every: How often the watcher says in its own log what it waits for.
    """

    overlap: float = 10.0
    deep_overlap: float = 120.0
    deep_every: float = 60.0
    confirm_after: float = 300.0
    between_looks: float = 0.02
    list_again_after: float = 600.0
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


class JobNotVisible(Exception):
    """Airbyte said twice in a row that the job is not there to be seen.

    :param error: What it said the second time.
    """

    def __init__(self, error: ApiError) -> None:
        self.error = error
        super().__init__(str(error))


@dataclass(frozen=True)
class Trouble:
    """Airbyte could not be asked, or it can again.

    :param error: What went wrong; None when the trouble is over.
    :param seconds: How long it lasted, when it is over.
    """

    error: ApiError | None
    seconds: float = 0.0


class Watch:
    """One task's interest in one job. Made by :meth:`JobWatcher.watch`, used as a context manager.

    :param watcher: Who looks.
    :param job_id: The job.
    :param poll_interval: Seconds between two looks.
    :param progress_interval: Seconds between two reports of rows and bytes; 0 for none.
    """

    __slots__ = (
        "_ended",
        "_news",
        "_progress_at",
        "_trouble_told",
        "_watcher",
        "job",
        "job_id",
        "listed",
        "poll_interval",
        "progress_interval",
        "refused",
        "seen_at",
        "walks_missed",
    )

    def __init__(self, watcher: JobWatcher, job_id: int, poll_interval: float, progress_interval: float) -> None:
        self._watcher = watcher
        self._news = asyncio.Event()
        self._ended: BaseException | None = None
        self._trouble_told: Trouble | None = None
        self.job_id = job_id
        self.poll_interval = poll_interval
        self.progress_interval = progress_interval
        self.job: Job | None = None
        #: When an answer named the job last, by the loop's clock; None before the first.
        self.seen_at: float | None = None
        #: Whether the list names this job: then sweeps tell of its changes.
        self.listed = False
        self.walks_missed = 0
        self.refused: ApiError | None = None
        self._progress_at = watcher.now() + progress_interval

    def __enter__(self) -> Watch:
        self._watcher._add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher._remove(self)

    async def news(self) -> Job | Trouble:
        """Wait until there is something to tell: a status, more rows, trouble, or that it is over.

        :return: The job when it was seen first, its status changed, it has ended, or a report of its progress
            is due; or the trouble. An ended job is returned at once, however often.
        :raises JobNotVisible: If Airbyte says twice that there is no such job.
        """
        while True:
            if self._ended is not None:
                raise self._ended
            if self.job is not None and self.job.terminal:
                return self.job
            trouble = self._watcher.trouble
            if trouble is not self._trouble_told:
                self._trouble_told = trouble
                if trouble is not None:
                    return trouble
            if self._news.is_set():
                self._news.clear()
                if self.job is not None:
                    return self.job
                continue
            await self._news.wait()

    def saw(self, job: Job, now: float) -> None:
        """Take an answer that names the job.

        :param job: The job as Airbyte told it.
        :param now: The loop's time.
        """
        before, self.job = self.job, job
        self.seen_at, self.refused = now, None
        due = self.progress_interval > 0 and now >= self._progress_at
        if before is None or before.status != job.status or due:
            self._progress_at = now + self.progress_interval
            self._news.set()

    def refuse(self, error: ApiError) -> None:
        """Take Airbyte's word that there is no such job; the second time in a row ends the watch."""
        if self.refused is None:
            self.refused = error
            return
        self._ended = JobNotVisible(error)
        self._news.set()

    def nudge(self) -> None:
        """Let the waiting task look whether there is trouble to tell."""
        self._news.set()

    @property
    def over(self) -> bool:
        """Whether there is nothing left to watch."""
        return self._ended is not None or (self.job is not None and self.job.terminal)


class ServerClock:
    """A lower bound of Airbyte's clock, from the stamps that Airbyte itself puts on jobs.

    The ``Date`` header would be the clock of whatever proxy answers, and may be hours off or missing. A job's
    last change cannot lie in the future of the clock that stamped it, so the latest stamp seen, moved on by
    the time since, never runs ahead of that clock.
    """

    def __init__(self) -> None:
        self._anchor: tuple[datetime, float] | None = None

    def saw(self, job: Job, now: float) -> None:
        """Learn from a job.

        :param job: The job.
        :param now: The loop's time when it was read.
        """
        stamp = job.updated_at
        if stamp is None:
            return
        bound = self.at(now)
        if bound is None or stamp > bound:
            self._anchor = (stamp, now)

    def at(self, now: float) -> datetime | None:
        """Return a moment that Airbyte's clock has passed; None before any job was seen.

        :param now: The loop's time.
        """
        if self._anchor is None:
            return None
        stamp, seen_at = self._anchor
        return stamp + timedelta(seconds=now - seen_at)


class JobWatcher:
    """Sees every job end that somebody waits for.

    The loop starts with the first waiter, follows the shortest poll interval among them and ends, a little
    later, with the last. It belongs to the event loop it is made in.

    :param settings: Which Airbyte, and with which credentials.
    :param pace: How eagerly to ask.
    :param metrics: Where counters go; default: nowhere.
    """

    def __init__(self, settings: Settings, *, pace: Pace | None = None, metrics: Metrics | None = None) -> None:
        self.trouble: Trouble | None = None
        self._pace = pace or Pace()
        self._metrics = metrics
        self._client = AirbyteClient(settings)
        self._loop = asyncio.get_running_loop()
        self._clock = ServerClock()
        self._watches: dict[int, list[Watch]] = {}
        self._polls: Counter[float] = Counter()
        self._progress: Counter[float] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._arrival = asyncio.Event()
        self._window: datetime | None = None
        self._deep_at = 0.0
        self._progress_at = 0.0
        self._list_again_at = 0.0
        self._pages_of_a_sweep = 1
        self._failures = 0
        self._trouble_since = 0.0
        self._sweeps = 0
        self._report_at = 0.0

    # -- for those who wait ------------------------------------------------------------------------------------

    def watch(self, job_id: int, *, poll_interval: float, progress_interval: float = 0.0) -> Watch:
        """Return a watch on a job; it begins when it is entered as a context manager.

        :param job_id: The job.
        :param poll_interval: Seconds within which an end should be noticed.
        :param progress_interval: Seconds between two reports of rows and bytes; 0 for none.
        """
        return Watch(self, job_id, poll_interval, progress_interval)

    def now(self) -> float:
        """Return the event loop's time, seconds."""
        return self._loop.time()

    @property
    def requests(self) -> int:
        """How many HTTP requests were sent so far."""
        return self._client.requests

    async def look(self, job_id: int) -> Job:
        """Ask for one job, now. Raises the exceptions of :mod:`airbyte_deferrable.api.errors`.

        :param job_id: The job.
        """
        job = await self._client.get_job(job_id)
        self._saw(job)
        return job

    @property
    def client(self) -> AirbyteClient:
        """The client, for what is not watching: cancelling a job."""
        return self._client

    def _add(self, watch: Watch) -> None:
        self._watches.setdefault(watch.job_id, []).append(watch)
        self._polls[watch.poll_interval] += 1
        self._progress[watch.progress_interval] += 1
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._run(), name="airbyte-watcher")
        self._arrival.set()

    def _remove(self, watch: Watch) -> None:
        watches = self._watches[watch.job_id]
        watches.remove(watch)
        if not watches:
            del self._watches[watch.job_id]
        for counter, interval in (
            (self._polls, watch.poll_interval),
            (self._progress, watch.progress_interval),
        ):
            counter[interval] -= 1
            if not counter[interval]:
                del counter[interval]

    # -- the loop ----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while self._watches or await self._anybody_comes():
                began = self.now()
                pause = await self._sweep_once()
                self._report()
                await self._rest(began + pause - self.now())
        finally:
            await self._client.close()

    async def _anybody_comes(self) -> bool:
        """Linger after the last waiter, so that a trickle of tasks does not reconnect each time."""
        self._arrival.clear()
        try:
            await asyncio.wait_for(self._arrival.wait(), self._pace.linger)
        except asyncio.TimeoutError:
            return bool(self._watches)
        return True

    async def _rest(self, seconds: float) -> None:
        """Wait for the next sweep; the first waiter after a silence does not wait for it."""
        alone = not self._watches
        self._arrival.clear()
        if seconds <= 0:
            await asyncio.sleep(0)
        elif alone:
            return
        else:
            await asyncio.sleep(seconds)

    async def _sweep_once(self) -> float:
        """Look once, and return after how many seconds to look again."""
        poll = min(self._polls, default=1.0)
        try:
            await self._sweep(poll)
        except ApiError as error:
            self._failures += 1
            self._count("errors")
            await self._tell_trouble(error)
            return self._backoff(error, poll)
        self._failures = 0
        await self._tell_calm()
        return poll

    def _backoff(self, error: ApiError, poll: float) -> float:
        asked = error.retry_after if isinstance(error, Unreachable) else None
        longest = self._pace.throttled_pause if error.status == 429 else poll * self._pace.backoff_polls
        pause = min(poll * 2 ** (self._failures - 2), max(longest, poll))
        return max(asked or 0.0, pause * random.uniform(0.7, 1.0))  # noqa: S311 - jitter, no secret

    async def _sweep(self, poll: float) -> None:
        self._sweeps += 1
        self._count("sweeps")
        until = self.now() + poll
        if self._list_is_worth_it():
            try:
                await self._read_changes()
                await self._read_progress()
                await self._look_in_list(self._due(until))
            except LIST_REFUSED as error:
                self._list_again_at = self.now() + self._pace.list_again_after
                log.warning("This Airbyte does not let its jobs be listed, asking for each job: %s", error)
        await self._look_one_by_one(self._due(until), until)

    def _list_is_worth_it(self) -> bool:
        """A lone waiter just gets its job; so do a few on a server where much else changes."""
        return len(self._watches) > self._pages_of_a_sweep and self.now() >= self._list_again_at

    # -- what the list tells -----------------------------------------------------------------------------------

    async def _read_changes(self) -> None:
        """Read what changed since the last sweep, and move the window on."""
        if self._window is None:
            await self._set_the_clock()
        began = self.now()
        moment = self._clock.at(began)
        if self._window is None or moment is None:
            return
        deep = began >= self._deep_at
        if deep:
            self._deep_at = began + self._pace.deep_every
        since = self._window - timedelta(seconds=self._pace.deep_overlap if deep else self._pace.overlap)
        limit = self._page_limit()
        pages = await self._walk(limit, updated_since=since)
        self._window = moment
        if pages is None:
            # Much else changes on this server. What this sweep has not read is looked for.
            log.info("More than %d pages of jobs changed, most of them not waited for: asking for ours", limit)
            self._pages_of_a_sweep = limit
            for watch in self._all():
                watch.seen_at = None
        else:
            self._pages_of_a_sweep = max(1, pages)

    async def _set_the_clock(self) -> None:
        """Learn Airbyte's clock from the job that changed last."""
        try:
            newest = await self._client.list_jobs(order_by=LAST_CHANGED_FIRST)
        except Rejected:
            newest = await self._client.list_jobs(order_by=NEWEST_FIRST)
        self._take(newest)
        self._window = self._clock.at(self.now())

    async def _read_progress(self) -> None:
        """Read rows and bytes of the running jobs, which also confirms that they run."""
        intervals = [interval for interval in self._progress if interval > 0]
        if not intervals or self.now() < self._progress_at:
            return
        self._progress_at = self.now() + min(intervals)
        await self._read_status(JobStatus.RUNNING, self._all())

    async def _look_in_list(self, due: list[Watch]) -> None:
        """Find many jobs at once among those of their status, and the rest among those created since."""
        candidates = [watch for watch in due if watch.walks_missed < 2]
        if len(candidates) < 2:
            return
        statuses = Counter(watch.job.status if watch.job else str(JobStatus.RUNNING) for watch in candidates)
        for status, count in statuses.items():
            if count > 1:
                await self._read_status(status, [w for w in candidates if _status_of(w) == status])
        unseen = [watch for watch in candidates if watch.seen_at is None and not watch.over]
        if len(unseen) > 2 * self._pace.overlap:
            # Airbyte numbers jobs in the order of their creation, so the lowest id bounds them all.
            oldest = min(unseen, key=lambda watch: watch.job_id)
            await self._look_at(oldest)
            if oldest.job is not None and oldest.job.created_at is not None:
                await self._walk(self._page_limit(), wanted=unseen, created_since=oldest.job.created_at)

    async def _read_status(self, status: str, expected: Iterable[Watch]) -> None:
        """Walk the jobs in one status; whoever is expected there and is not has changed, or is never listed."""
        began = self.now()
        expected = list(expected)
        if await self._walk(self._page_limit(), wanted=expected, status=status) is None:
            return
        for watch in expected:
            if (watch.seen_at is None or watch.seen_at < began) and _status_of(watch) == status:
                watch.seen_at = None
                watch.walks_missed += 1

    def _page_limit(self) -> int:
        return max(20, 10 + 2 * len(self._watches) // PAGE_SIZE)

    async def _walk(
        self,
        limit: int,
        *,
        wanted: list[Watch] | None = None,
        status: str | None = None,
        updated_since: datetime | None = None,
        created_since: datetime | None = None,
    ) -> int | None:
        """Read the pages of a list, oldest job first, and let the watches know.

        :param limit: How many pages at most.
        :param wanted: Give up early when the pages hold hardly any of these.
        :return: How many pages there were; None if not all were read.
        """
        seen: set[int] = set()
        for page in range(limit):
            async for attempt in AsyncRetrying(
                # Pages read before a hiccup need not be read again: rows enter the result but never leave it.
                stop=stop_after_attempt(3 if page else 1),
                wait=wait_random(0.1, 0.5),
                retry=retry_if_exception(_is_hiccup),
                reraise=True,
            ):
                with attempt:
                    rows = await self._client.list_jobs(
                        status=status,
                        updated_since=updated_since,
                        created_since=created_since,
                        offset=page * PAGE_SIZE,
                    )
            seen.update(self._take(rows))
            if len(rows) < PAGE_SIZE:
                return page + 1
            if wanted is not None and page >= 2 and len(seen) < 2 * page:
                return None
        return None

    def _take(self, rows: Iterable[Job]) -> set[int]:
        """Let the watches know what a page of the list says; return which jobs were waited for."""
        ours = set()
        for job in rows:
            if self._saw(job):
                ours.add(job.job_id)
                for watch in self._watches[job.job_id]:
                    watch.listed, watch.walks_missed = True, 0
        return ours

    # -- what is asked one by one ------------------------------------------------------------------------------

    def _due(self, until: float) -> list[Watch]:
        """Return the watches that a single look is due for before the next sweep, the longest unseen first."""
        listing = self._list_is_worth_it()

        def due_at(watch: Watch) -> float:
            if watch.seen_at is None or watch.refused is not None:
                return 0.0
            sweeps_tell = listing and watch.listed
            return watch.seen_at + (self._pace.confirm_after if sweeps_tell else watch.poll_interval * 0.9)

        first = [watches[0] for watches in self._watches.values() if not watches[0].over]
        due = [watch for watch in first if due_at(watch) < until]
        due.sort(key=lambda watch: (watch.seen_at or 0.0, watch.job_id))
        return due

    async def _look_one_by_one(self, due: list[Watch], until: float) -> None:
        """Ask for single jobs, evenly, and leave what does not fit before the next sweep for later."""
        for number, watch in enumerate(due):
            if number and self.now() >= until:
                return
            await self._look_at(watch)
            if number + 1 < len(due):
                await asyncio.sleep(self._pace.between_looks)

    async def _look_at(self, watch: Watch) -> None:
        try:
            job = await self._client.get_job(watch.job_id)
        except NOT_VISIBLE as error:
            for each in self._watches.get(watch.job_id, ()):
                each.refuse(error)
        else:
            self._saw(job)

    def _saw(self, job: Job) -> bool:
        now = self.now()
        self._clock.saw(job, now)
        watches = self._watches.get(job.job_id)
        if not watches:
            return False
        if job.terminal and not watches[0].over:
            self._time_the_end(job, now)
        for watch in watches:
            watch.saw(job, now)
        return True

    # -- what is told ------------------------------------------------------------------------------------------

    async def _tell_trouble(self, error: ApiError) -> None:
        if self.trouble is not None and self.trouble.error is not None:
            return
        self._trouble_since = self.now()
        self.trouble = Trouble(error)
        log.warning("Airbyte cannot be asked, %d jobs are waited for: %s", len(self._watches), error)
        await self._nudge_all()

    async def _tell_calm(self) -> None:
        if self.trouble is None or self.trouble.error is None:
            return
        lasted = self.now() - self._trouble_since
        self.trouble = Trouble(None, lasted)
        log.info("Airbyte answers again after %.0f s", lasted)
        await self._nudge_all()

    async def _nudge_all(self) -> None:
        """Wake the waiting tasks, a few at a time: ten thousand at once would hold the event loop."""
        for number, watch in enumerate(self._all()):
            watch.nudge()
            if number % 50 == 49:
                await asyncio.sleep(0)

    def _all(self) -> list[Watch]:
        return [watch for watches in self._watches.values() for watch in watches]

    def _report(self) -> None:
        waiting = len(self._watches)
        if self._metrics is not None:
            self._metrics.gauge("airbyte_deferrable.waiting", waiting)
        if self.now() < self._report_at:
            return
        if self._report_at and waiting:
            log.info(
                "Waiting for %d jobs of %s: %d sweeps and %d requests so far",
                waiting,
                self._client.settings.base_url,
                self._sweeps,
                self.requests,
            )
        self._report_at = self.now() + self._pace.report_every

    def _count(self, what: str) -> None:
        if self._metrics is not None:
            self._metrics.incr(f"airbyte_deferrable.{what}")

    def _time_the_end(self, job: Job, now: float) -> None:
        moment, ended = self._clock.at(now), job.updated_at
        if self._metrics is not None and moment is not None and ended is not None:
            self._metrics.timing("airbyte_deferrable.seen_after", moment - ended)


def _status_of(watch: Watch) -> str:
    return watch.job.status if watch.job else str(JobStatus.RUNNING)


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
        mine[settings] = JobWatcher(settings, metrics=metrics)
    return mine[settings]
