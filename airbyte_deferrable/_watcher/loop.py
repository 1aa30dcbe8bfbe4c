"""One polling loop for all that wait on the same Airbyte.

Asking for every job at every poll costs a request per waiting task, and Airbyte's public API has five handler
threads. So one loop asks for all of them: what it asks is in :mod:`airbyte_deferrable._watcher.sweep`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Collection, Iterable
from datetime import datetime

from airbyte_deferrable._watcher.adaptive_interval import AdaptiveInterval
from airbyte_deferrable._watcher.backoff import Backoff, wants_a_pause
from airbyte_deferrable._watcher.connection_subscription import ConnectionSubscription
from airbyte_deferrable._watcher.directory import Directory
from airbyte_deferrable._watcher.metrics import Meter, Metrics
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable._watcher.subscriptions import (
    SHORTEST_POLL,
    OutageNews,
    SubscribedJob,
    Subscription,
    Subscriptions,
)
from airbyte_deferrable._watcher.sweep import Sweeper
from airbyte_deferrable.api.aio import WOKEN_AT_ONCE, PerLoop
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError, BadCredentials, Unreachable
from airbyte_deferrable.api.settings import Settings

log = logging.getLogger(__name__)


class JobWatcher:
    """Sees every job end that a task waits for, and those of connections that are watched.

    Its loop starts with the first subscription, follows the shortest poll interval among them and ends, a little
    later, with the last. It belongs to the event loop of those who wait.

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
        #: The outage that all who wait are notified of, its end included.
        self.outage: OutageNews | None = None
        self._pace = pace or Pace()
        #: Counts what is seen here, and what those who wait make of it.
        self.meter = Meter(metrics)
        self._log = _silent if quiet else log
        self._subscriptions = Subscriptions(self._pace.recent, self.now)
        self._sweeper = Sweeper(
            client, self._subscriptions, pace=self._pace, meter=self.meter, log=self._log, now=self.now
        )
        self._ends = self._sweeper.ends
        self._interval = AdaptiveInterval(self._log)
        self._backoff = Backoff(self._pace)
        self._task: asyncio.Task[None] | None = None
        #: Set when a subscription is added, or the client is borrowed.
        self._arrival = asyncio.Event()
        self._sweeps = 0
        self._requests_counted = 0
        self._next_report: asyncio.TimerHandle | None = None

    def subscribe(self, job_id: int, *, poll_interval: float, progress_interval: float = 0.0) -> Subscription:
        """Return a subscription to a job; it begins when it is entered as a context manager.

        :param job_id: The job.
        :param poll_interval: Seconds within which its end should be noticed.
        :param progress_interval: Seconds between two reports of rows and bytes. Default: 0, no reports.
        """
        return Subscription(self, job_id, max(poll_interval, SHORTEST_POLL), progress_interval)

    def watch_connections(
        self,
        connection_ids: Iterable[str],
        *,
        since: datetime | None = None,
        handed_out: Collection[int] = (),
        poll_interval: float,
    ) -> ConnectionSubscription:
        """Return a subscription to all jobs of connections that end; it begins when it is entered as a context manager.

        :param connection_ids: The connections, UUIDs.
        :param since: Which ends: those at this moment of Airbyte's clock or later, with a time zone, such as the
            ``moment`` of an earlier subscription's position. Rounded down to a second, as Airbyte's own stamps are.
            Default: None, those from now on.
        :param handed_out: Jobs that are no news, such as those of that position. Default: none.
        :param poll_interval: Seconds within which an end should be noticed.
        :raises ValueError: If ``since`` has no time zone.
        """
        return ConnectionSubscription(self, connection_ids, since, handed_out, max(poll_interval, SHORTEST_POLL))

    @property
    def waiting(self) -> int:
        """How many jobs are waited for."""
        return len(self._subscriptions)

    @property
    def watching(self) -> int:
        """At how many connections all ends are watched."""
        return len(self._ends)

    def now(self) -> float:
        """Return the time by which everything here is measured: the running event loop's, seconds."""
        return asyncio.get_running_loop().time()

    def add(self, subscription: Subscription) -> SubscribedJob:
        """Begin to check a subscription's job. Called by the subscription.

        :param subscription: The subscription.
        :return: What is known of the job, shared with all who wait for it.
        """
        subscribed = self._subscriptions.add(subscription)
        if subscription.progress_interval > 0:
            self._sweeper.expect_progress(subscription.progress_interval)
        self._start()
        return subscribed

    def remove(self, subscription: Subscription) -> None:
        """Check a subscription's job no more if nobody else waits for it. Called by the subscription.

        :param subscription: The subscription.
        """
        self._subscriptions.remove(subscription)

    @property
    def lists_outage(self) -> OutageNews | None:
        """The outage of the lists alone, of which those who watch connections are notified."""
        return self._ends.outage

    def add_interests(
        self, subscription: ConnectionSubscription, connection_ids: Iterable[str], since: datetime | None
    ) -> None:
        """Begin to watch connections. Called by the subscription.

        :param subscription: The subscription.
        :param connection_ids: The connections.
        :param since: From which moment on; None for from now on.
        """
        first = not subscription.interests
        self._ends.add(subscription, connection_ids, since)
        if first and subscription.interests:
            self._subscriptions.want_poll(subscription.poll_interval)
        if subscription.interests:
            self._start()

    def remove_interests(self, subscription: ConnectionSubscription, connection_ids: Iterable[str]) -> None:
        """Watch connections no more. Called by the subscription.

        :param subscription: The subscription.
        :param connection_ids: The connections.
        """
        any_before = bool(subscription.interests)
        self._ends.remove(subscription, connection_ids)
        if any_before and not subscription.interests:
            self._subscriptions.want_poll_no_more(subscription.poll_interval)

    @property
    def jobs(self) -> list[SubscribedJob]:
        """What is known of each job that is waited for."""
        return list(self._subscriptions.jobs.values())

    @property
    def heard_at(self) -> float | None:
        """When Airbyte has answered anything last, by the loop's time; None before the first time."""
        return self._sweeper.heard_at

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
            while self._wanted or await self._linger():
                due = await self._sweep_or_back_off()
                self._count()
                await self._rest(due)
        finally:
            # Before anything is awaited: who subscribes from here on must start a new loop.
            self._task = None
            if self._next_report is not None:
                self._next_report.cancel()
            self._sweeper.stop()
            await self.client.close()

    async def _linger(self) -> bool:
        """Stay a while after the last subscription, so that a trickle of tasks does not reconnect each time.

        :return: Whether there is a new one.
        """
        self._count()
        # Nobody is left who was notified of an outage, and who comes is to be notified only if it lasts.
        self.outage = None
        self._backoff.reset()
        while not self._wanted:
            self._arrival.clear()
            if not await self._arrives_within(self._pace.linger):
                return self._wanted
        return True

    async def _rest(self, due: float) -> None:
        """Wait until the next sweep is due. It checks new subscriptions, too; if it comes late, they do not wait."""
        while self._wanted and await self._arrives_within(due - self.now()):
            self._arrival.clear()
            # Who comes may want to know sooner than all the others.
            due = min(due, self.now() + self._pause())
            if self._backoff.error is not None or due <= self.now() + self._pace.gather:
                continue
            await asyncio.sleep(self._pace.gather)
            try:
                await self._sweeper.check_new(due)
            except ApiError as error:
                # They are overdue, so the next sweep tries again, and notifies of the outage if there is one.
                if wants_a_pause(error):
                    await self._failed(error)
                    due = max(due, self.now() + self._pause())
            except Exception:
                # As for a sweep: an error in this code must not end the loop.
                self._log.exception("Checking new subscriptions failed")
        await asyncio.sleep(0)

    @property
    def _wanted(self) -> bool:
        return bool(self._subscriptions or self._ends)

    async def _arrives_within(self, seconds: float) -> bool:
        """Wait for a new subscription, but no longer than this."""
        if seconds <= 0:
            return False
        # Not wait_for: before Python 3.12 it can swallow a cancellation that comes together with an arrival.
        arrival = asyncio.ensure_future(self._arrival.wait())
        try:
            arrived, _ = await asyncio.wait({arrival}, timeout=seconds)
        finally:
            arrival.cancel()
        return bool(arrived)

    async def _sweep_or_back_off(self) -> float:
        """Sweep once, and return when to sweep again."""
        began = self.now()
        self._sweeps += 1
        self.meter.count("sweeps")
        try:
            await self._sweeper.sweep(until=began + self._subscriptions.poll_interval)
        except Exception as error:
            if not isinstance(error, ApiError):
                # An error in this code must not leave thousands waiting for nobody.
                self._log.exception("A sweep failed")
                error = Unreachable("GET /jobs", f"{type(error).__name__}.")
            await self._failed(error)
            # A request that hung was a pause, but not for a server that wants to be left alone from its answer on.
            return (self.now() if wants_a_pause(error) else began) + self._pause()
        self._backoff.succeeded()
        self._interval.swept(self._sweeper.answer_times, self._subscriptions.poll_interval)
        await self._notify_recovery()
        return began + self._pause()

    async def _failed(self, error: ApiError) -> None:
        self._backoff.failed(error)
        self.meter.count("errors")
        if error.status == 429:
            self._interval.throttled(self._subscriptions.poll_interval)
        if self._backoff.is_outage:
            await self._notify_outage(error)

    def _pause(self) -> float:
        """Return the seconds between two sweeps that the most eager of those who wait may count on."""
        return self._backoff.pause(self._interval.seconds(self._subscriptions.poll_interval))

    # Of what those who wait are notified, and what is logged and counted

    async def _notify_outage(self, error: ApiError) -> None:
        now, before = self.now(), self.outage
        if before is None or before.error is None:
            self.outage = OutageNews(error, since=now)
        elif _doubt(error) > _doubt(before.error):
            self.outage = OutageNews(error, since=before.since)
        else:
            # Only refused credentials are news in the middle of an outage: they want a user, or new ones.
            return
        self._log.warning("Airbyte cannot be asked, %s: %s", self._what_waits("are waited for"), error)
        await self._wake_all()

    async def _notify_recovery(self) -> None:
        if self.outage is not None and self.outage.lasts:
            self.outage = self.outage.recovered(self.now())
            self._log.info("Airbyte answers again after %.0f s", self.outage.seconds)
            await self._wake_all()

    async def _wake_all(self) -> None:
        """Wake the waiting tasks, a few at a time: ten thousand at once would hold the event loop."""
        subscriptions: list[Subscription | ConnectionSubscription] = [
            each for subscribed in self._subscriptions.jobs.values() for each in subscribed.subscriptions
        ]
        subscriptions += self._ends.subscriptions
        for number, subscription in enumerate(subscriptions):
            subscription.wake()
            if number % WOKEN_AT_ONCE == WOKEN_AT_ONCE - 1:
                await asyncio.sleep(0)

    def _report_later(self) -> None:
        # By the clock and not after a sweep: sweeps may be rare, and one may last for minutes.
        self._next_report = asyncio.get_running_loop().call_later(self._pace.report_every, self._report)

    def _report(self) -> None:
        self._report_later()
        self._count()
        if self._wanted:
            self._log.info(
                "Waiting for %s of %s; %d sweeps and %d requests so far",
                self._what_waits(),
                self.client.settings.base_url,
                self._sweeps,
                self.client.requests,
            )

    def _what_waits(self, verb: str = "") -> str:
        """Say what is waited for, and what is watched, if anything is."""
        jobs = f"{self.waiting} jobs {verb}".rstrip()
        watched = f"the ends at {len(self._ends)} connections {verb}".rstrip()
        return " and ".join([jobs] * bool(self._subscriptions or not self._ends) + [watched] * bool(self._ends))

    def _count(self) -> None:
        # One gauge for the process, which may watch several Airbytes.
        watchers = _watchers.here().values()
        self.meter.waiting(sum(each.waiting for each in watchers))
        self.meter.watching(sum(each.watching for each in watchers))
        self.meter.count("requests", self.client.requests - self._requests_counted)
        self._requests_counted = self.client.requests


def _doubt(error: ApiError) -> int:
    """Return how certain it is that the credentials are refused."""
    return error.credentials_in_doubt + isinstance(error, BadCredentials)


#: Of the watchers that are to be quiet. What is wrong in this code is told all the same.
_silent = logging.getLogger(f"{__name__}.silent")
_silent.addFilter(lambda record: record.exc_info is not None)


def _no_watchers() -> dict[Settings, JobWatcher]:
    return {}


_watchers = PerLoop(_no_watchers)


def watchers_here() -> list[JobWatcher]:
    """Return all watchers of the running event loop."""
    return list(_watchers.here().values())


def watcher_for(settings: Settings, *, metrics: Metrics | None = None) -> JobWatcher:
    """Return the one watcher of the running event loop for these settings.

    :param settings: Which Airbyte, and with which credentials.
    :param metrics: Where its counters go.
    """
    watchers = _watchers.here()
    if settings not in watchers:
        watchers[settings] = JobWatcher(AirbyteClient(settings), metrics=metrics)
    return watchers[settings]
