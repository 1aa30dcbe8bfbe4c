"""One polling loop for all tasks that wait on the same Airbyte.

Asking for every job at every poll costs a request per waiting task, and Airbyte's public API has five handler
threads. So one loop asks for all of them: what it asks is in :mod:`airbyte_deferrable._watcher.sweep`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random

from airbyte_deferrable._watcher.adaptive_interval import Tempo
from airbyte_deferrable._watcher.directory import Directory
from airbyte_deferrable._watcher.metrics import Meter, Metrics
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable._watcher.subscriptions import SHORTEST_POLL, TrackedJob, Trouble, Watch, Watched
from airbyte_deferrable._watcher.sweep import Sweeper
from airbyte_deferrable.api.aio import WOKEN_AT_ONCE
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError, BadCredentials, Unreachable
from airbyte_deferrable.api.settings import Settings

log = logging.getLogger(__name__)

#: Sweeps that fail, one after the other, until those who wait are told. One alone is nothing to speak of.
FAILED_SWEEPS = 2
#: Sweeps that go well, one after the other, until one that fails is made up for soon. A server that fails now and then
#: would be asked more often than one that is well.
GOOD_SWEEPS = 10
#: Seconds; a server that asks for a longer pause (``Retry-After``) is asked again after this one all the same.
LONGEST_PAUSE = 300.0


class JobWatcher:
    """Sees every job end that somebody waits for.

    Its loop starts with the first waiter, follows the shortest poll interval among them and ends, a little
    later, with the last. It belongs to the event loop of its waiters.

    :param client: Leads to one Airbyte with one set of credentials. The watcher closes it when it ends; it may
        also be used for calls beside the watching, such as cancelling a job.
    :param pace: How eagerly to ask.
    :param metrics: Where counters go; default: nowhere.
    :param quiet: Log nothing of its own but errors in this code: on a worker it would stand in the task's log, where
        what the task does itself belongs and nothing else. Default: False.
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
        #: What this Airbyte's connections are called.
        self.directory = Directory(self.borrow_client)
        #: The trouble that all waiters are to be told of, its end included.
        self.trouble: Trouble | None = None
        self._pace = pace or Pace()
        self._meter = Meter(metrics)
        self._log = _silent if quiet else log
        self._watched = Watched()
        self._sweeper = Sweeper(client, self._watched, pace=self._pace, meter=self._meter, log=self._log, now=self.now)
        self._tempo = Tempo(self._log)
        self._task: asyncio.Task[None] | None = None
        self._arrival = asyncio.Event()
        #: Why the last look failed, and how many have in a row.
        self._error: ApiError | None = None
        self._failures = 0
        #: How many sweeps in a row went well before that.
        self._good_sweeps = 0
        self._trouble_since = 0.0
        self._sweeps = 0
        self._requests_told = 0
        self._next_report: asyncio.TimerHandle | None = None

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
        return len(self._watched)

    def now(self) -> float:
        """Return the time by which everything here is measured: the running event loop's, seconds."""
        return asyncio.get_running_loop().time()

    def join(self, watch: Watch) -> TrackedJob:
        """Begin to look for a watch's job. Called by the watch.

        :param watch: The watch.
        :return: What is known of the job, shared with all who wait for it.
        """
        tracked = self._watched.add(watch)
        self._sweeper.recognise(tracked)
        if watch.progress_interval > 0:
            self._sweeper.expect_progress(watch.progress_interval)
        self._start()
        return tracked

    def leave(self, watch: Watch) -> None:
        """Stop looking for a watch's job if nobody else waits for it. Called by the watch.

        :param watch: The watch.
        """
        self._watched.remove(watch)

    def borrow_client(self) -> AirbyteClient:
        """Return the client for one call beside the watching: it is closed some time after it was borrowed last."""
        self._start()
        return self.client

    def _start(self) -> None:
        self._arrival.set()
        if self._task is None:
            # An empty context: Airflow finds the task's log for a line by what the trigger's context holds, and
            # the watcher's lines belong to no task.
            self._task = contextvars.Context().run(asyncio.create_task, self._run())

    # The loop

    async def _run(self) -> None:
        try:
            self._report_later()
            while self._watched or await self._anybody_comes():
                due = await self._sweep_or_back_off()
                self._count()
                await self._rest(due)
        finally:
            # Before anything is awaited: whoever joins from here on must start a new loop.
            self._task = None
            if self._next_report is not None:
                self._next_report.cancel()
            self._sweeper.stop()
            await self.client.close()

    async def _anybody_comes(self) -> bool:
        """Linger after the last waiter, so that a trickle of tasks does not reconnect each time."""
        self._count()
        # Nobody is left who was told of trouble, and whoever comes is to be told only if there still is some.
        self.trouble, self._error, self._failures, self._good_sweeps = None, None, 0, 0
        while not self._watched:
            self._arrival.clear()
            if not await self._arrives_within(self._pace.linger):
                return bool(self._watched)
        return True

    async def _rest(self, due: float) -> None:
        """Wait until the next sweep is due. It tells of newcomers, too, who are looked for sooner if it comes late."""
        while self._watched and await self._arrives_within(due - self.now()):
            self._arrival.clear()
            # Who comes may want to know sooner than all the others.
            due = min(due, self.now() + self._pause())
            if self._error is not None or due <= self.now() + self._pace.gather:
                continue
            await asyncio.sleep(self._pace.gather)
            try:
                await self._sweeper.look_for_newcomers(due)
            except ApiError as error:
                # They are overdue, so the next sweep tries again, and tells of the trouble if there is some.
                if _wants_a_pause(error):
                    await self._failed(error)
                    due = max(due, self.now() + self._pause())
            except Exception:
                # As for a sweep: an error in this code must not end the loop.
                self._log.exception("Looking for newcomers failed")
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
        """Look once, and return when to look again."""
        began = self.now()
        self._sweeps += 1
        self._meter.count("sweeps")
        try:
            await self._sweeper.sweep(until=began + self._watched.poll_interval)
        except Exception as error:
            if not isinstance(error, ApiError):
                # An error in this code must not leave thousands waiting for nobody.
                self._log.exception("A sweep failed")
                error = Unreachable("GET /jobs", f"{type(error).__name__}.")
            await self._failed(error)
            # A request that hung was a pause, but not for a server that wants to be left alone from its answer on.
            return (self.now() if _wants_a_pause(error) else began) + self._pause()
        self._good_sweeps = 1 if self._failures else self._good_sweeps + 1
        self._error, self._failures = None, 0
        self._tempo.swept(self._sweeper.answers, self._watched.poll_interval)
        await self._tell_calm()
        return began + self._pause()

    async def _failed(self, error: ApiError) -> None:
        self._error = error
        self._failures += 1
        self._meter.count("errors")
        if error.status == 429:
            self._tempo.throttled(self._watched.poll_interval)
        if self._failures >= FAILED_SWEEPS:
            await self._tell_trouble(error)

    def _pause(self) -> float:
        """Return the seconds between two sweeps that the most eager of those who wait may count on."""
        poll = self._tempo.interval(self._watched.poll_interval)
        return poll if self._error is None else self._backoff(self._error, poll)

    def _backoff(self, error: ApiError, poll: float) -> float:
        asked = error.retry_after if isinstance(error, Unreachable) else None
        longest = poll * self._pace.backoff_polls
        if error.status == 429:
            longest = max(longest, self._pace.throttled_pause)
        pause = min(poll * 2.0 ** (min(self._failures, 20) - 2), longest) * random.uniform(0.7, 1.0)
        hurried = self._failures == 1 and self._good_sweeps >= GOOD_SWEEPS and error.status != 429
        return max(pause if hurried else max(pause, poll), min(asked or 0.0, LONGEST_PAUSE))

    # What is told

    async def _tell_trouble(self, error: ApiError) -> None:
        told = self.trouble.error if self.trouble is not None else None
        if told is None:
            self._trouble_since = self.now()
        elif _doubt(error) <= _doubt(told):
            # Only refused credentials are told of in the middle of other trouble: they want a person, or new ones.
            return
        self.trouble = Trouble(error)
        self._log.warning("Airbyte cannot be asked, %d jobs are waited for: %s", self.waiting, error)
        await self._nudge_all()

    async def _tell_calm(self) -> None:
        if self.trouble is not None and self.trouble.error is not None:
            self.trouble = Trouble(None, self.now() - self._trouble_since)
            self._log.info("Airbyte answers again after %.0f s", self.trouble.seconds)
            await self._nudge_all()

    async def _nudge_all(self) -> None:
        """Wake the waiting tasks, a few at a time: ten thousand at once would hold the event loop."""
        watches = [watch for tracked in self._watched.jobs.values() for watch in tracked.watches]
        for number, watch in enumerate(watches):
            watch.nudge()
            if number % WOKEN_AT_ONCE == WOKEN_AT_ONCE - 1:
                await asyncio.sleep(0)

    def _report_later(self) -> None:
        # By the clock and not after a sweep: sweeps may be rare, and one may last for minutes.
        self._next_report = asyncio.get_running_loop().call_later(self._pace.report_every, self._report)

    def _report(self) -> None:
        self._report_later()
        self._count()
        if self._watched:
            self._log.info(
                "Waiting for %d jobs of %s; %d sweeps and %d requests so far",
                self.waiting,
                self.client.settings.base_url,
                self._sweeps,
                self.client.requests,
            )

    def _count(self) -> None:
        # One gauge for the process, which may watch several Airbytes.
        self._meter.waiting(sum(each.waiting for each in _watchers_here().values()))
        self._meter.count("requests", self.client.requests - self._requests_told)
        self._requests_told = self.client.requests


def _wants_a_pause(error: ApiError) -> bool:
    return error.status == 429 or (isinstance(error, Unreachable) and error.retry_after is not None)


def _doubt(error: ApiError) -> int:
    """Return how certain it is that the credentials are refused."""
    return error.credentials_in_doubt + isinstance(error, BadCredentials)


#: Of the watchers that are to be quiet. What is wrong in this code is told all the same.
_silent = logging.getLogger(f"{__name__}.silent")
_silent.addFilter(lambda record: record.exc_info is not None)

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
