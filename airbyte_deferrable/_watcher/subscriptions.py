"""Who waits for which job, what is known of it, and how those who wait are notified."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Protocol

from airbyte_deferrable._watcher.attempts import attempt_of
from airbyte_deferrable.api.aio import wake
from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.api.models import Job, JobStatus

#: Checks of one job that fail, one after the other, until those who wait for it are notified.
FAILED_CHECKS = 3
#: A report of progress may come early by this share of its interval: the lists that bring it are read a little
#: sooner one time and a little later the next, and a report must not wait for the list after.
EARLY = 0.1
#: Seconds; shorter poll intervals are raised to it.
SHORTEST_POLL = 0.1


class JobNotVisible(Exception):
    """Airbyte said twice in a row that the job is not there to be seen.

    :param error: What it said the second time.
    """

    def __init__(self, error: ApiError) -> None:
        self.error = error
        super().__init__(str(error))


@dataclass(frozen=True, eq=False)
class OutageNews:
    """News that Airbyte cannot be asked, or that it has recovered.

    :param error: What went wrong; None when it has recovered.
    :param seconds: How long the outage lasted, when it is over.
    :param since: When it began, by the loop's time.
    """

    error: ApiError | None
    seconds: float = 0.0
    since: float = 0.0

    @property
    def lasts(self) -> bool:
        """Whether Airbyte has not recovered."""
        return self.error is not None

    def recovered(self, now: float) -> OutageNews:
        """Return the news of its end.

        :param now: The loop's time.
        """
        return OutageNews(None, now - self.since, self.since)


class Visibility(Enum):
    """Whether Airbyte lets a job be seen."""

    #: It did, or was not asked yet.
    VISIBLE = "visible"
    #: It said once that there is no such job.
    DOUBTED = "doubted"
    #: It said so twice in a row, and is believed.
    GONE = "gone"


class SubscribedJob:
    """A job, what the last answer said of it, and who waits for it.

    :param job_id: The job.
    """

    __slots__ = (
        "asked_at",
        "attempt",
        "failed_checks",
        "failing_since",
        "job",
        "job_id",
        "list_misses",
        "listed",
        "not_found_error",
        "outage",
        "overdue",
        "seen_at",
        "subscriptions",
        "visibility",
    )

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        self.subscriptions: list[Subscription] = []
        self.job: Job | None = None
        #: Which of Airbyte's attempts it is in; None if that cannot be told.
        self.attempt: int | None = None
        #: When an answer named the job last, by the loop's clock; None before the first.
        self.seen_at: float | None = None
        #: Whether a check is due at once.
        self.overdue = True
        #: When the job was last asked for by itself; None before the first time.
        self.asked_at: float | None = None
        #: Whether the list has named it: then sweeps tell of its changes.
        self.listed = False
        #: In how many lists it should have been and was not.
        self.list_misses = 0
        self.visibility = Visibility.VISIBLE
        self.not_found_error: ApiError | None = None
        self.failed_checks = 0
        self.failing_since = 0.0
        #: The outage of this job alone.
        self.outage: OutageNews | None = None

    @property
    def over(self) -> bool:
        """Whether there is nothing left to check."""
        return self.visibility is Visibility.GONE or (self.job is not None and self.job.terminal)

    @property
    def new(self) -> bool:
        """Whether it was neither seen nor asked for."""
        return self.seen_at is None and self.asked_at is None

    @property
    def status(self) -> str:
        """The last status, or the likeliest for a job not seen yet."""
        return self.job.status if self.job else str(JobStatus.RUNNING)

    @property
    def poll_interval(self) -> float:
        """The shortest of all who wait for it, seconds."""
        return min([subscription.poll_interval for subscription in self.subscriptions])

    def update(self, job: Job, now: float) -> None:
        """Take an answer that names the job.

        :param job: The job as Airbyte told it.
        :param now: The loop's time.
        """
        # The duration of a live job is that until its last change, so it tells of a new attempt, too.
        before = self.job
        changed = before is None or (before.status, before.duration) != (job.status, job.duration)
        if changed:
            status, lasted = (before.status, before.duration_seconds) if before else ("", None)
            self.attempt = attempt_of(job, status, lasted, self.attempt)
        self.job, self.seen_at, self.overdue = job, now, False
        if self.visibility is Visibility.DOUBTED:
            self.visibility = Visibility.VISIBLE
        self._answered(now)
        for subscription in self.subscriptions:
            subscription.notify(changed, now)

    def not_found(self, error: ApiError, now: float) -> None:
        """Take Airbyte's word that there is no such job; it is believed the second time in a row.

        :param error: What Airbyte said.
        :param now: The loop's time.
        """
        self._answered(now)
        self.not_found_error = error
        if self.visibility is Visibility.VISIBLE:
            self.visibility = Visibility.DOUBTED
        else:
            self.visibility = Visibility.GONE
            self._wake_all()

    def fail(self, error: ApiError, now: float) -> None:
        """Take note that the job could not be asked for, while others could.

        :param error: What went wrong.
        :param now: The loop's time.
        """
        if not self.failed_checks:
            self.failing_since = now
        self.failed_checks += 1
        if self.failed_checks == FAILED_CHECKS:
            self.outage = OutageNews(error, since=self.failing_since)
            self._wake_all()

    def _answered(self, now: float) -> None:
        self.failed_checks = 0
        if self.outage is not None and self.outage.lasts:
            self.outage = self.outage.recovered(now)
            self._wake_all()

    def _wake_all(self) -> None:
        for subscription in self.subscriptions:
            subscription.wake()


class Watcher(Protocol):
    """What a subscription needs of its watcher."""

    outage: OutageNews | None

    def add(self, subscription: Subscription) -> SubscribedJob:
        """Begin to check the subscription's job.

        :param subscription: The subscription.
        :return: What is known of the job.
        """

    def remove(self, subscription: Subscription) -> None:
        """Check it no more if nobody else waits.

        :param subscription: The subscription.
        """

    def now(self) -> float:
        """Return the event loop's time."""


class Subscription:
    """One task's interest in one job, for ``with watcher.subscribe(job_id, …) as subscription``.

    There may be tens of thousands: it holds no more than it needs.

    :param watcher: Who checks the job.
    :param job_id: The job.
    :param poll_interval: Seconds between two checks.
    :param progress_interval: Seconds between two reports of rows and bytes; 0 for none.
    """

    __slots__ = (
        "_expired",
        "_has_news",
        "_job",
        "_job_outage",
        "_outage",
        "_progress_at",
        "_resubscribed_at",
        "_waiting",
        "_watcher",
        "job_id",
        "poll_interval",
        "progress_interval",
    )

    def __init__(self, watcher: Watcher, job_id: int, poll_interval: float, progress_interval: float) -> None:
        self.job_id = job_id
        self.poll_interval = poll_interval
        self.progress_interval = progress_interval
        self._watcher = watcher
        self._job: SubscribedJob | None = None
        #: What the task awaits.
        self._waiting: asyncio.Future[None] | None = None
        self._has_news = False
        self._expired = False
        self._resubscribed_at = 0.0
        self._progress_at = 0.0
        #: What the task was notified of last.
        self._outage: OutageNews | None = None
        self._job_outage: OutageNews | None = None

    def __enter__(self) -> Subscription:
        self._job = self._watcher.add(self)
        self._has_news = self._job.job is not None
        self._progress_at = self._watcher.now() + self.progress_interval
        # An outage that was over before this task came is none of its business.
        self._outage = _if_over(self._watcher.outage)
        self._job_outage = _if_over(self._job.outage)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.remove(self)

    def news(self) -> Job | OutageNews | None:
        """Return what there is to say; None if there is nothing, then wait until :meth:`woken`.

        :return: The job, when it is seen first, its status has changed, a report of its progress is due, or it
            has ended (then at once, however often asked); or the outage that began or is over.
        :raises JobNotVisible: If Airbyte says twice that there is no such job.
        :raises asyncio.TimeoutError: If the subscription has expired.
        """
        subscribed = self._subscribed
        if subscribed.visibility is Visibility.GONE and subscribed.not_found_error is not None:
            raise JobNotVisible(subscribed.not_found_error)
        job = subscribed.job
        if job is not None and (job.terminal or self._has_news):
            self._has_news = False
            return job
        outage = self._watcher.outage
        if outage is not None and outage is not self._outage:
            self._outage = outage
            return outage
        outage = subscribed.outage
        if outage is not None and outage is not self._job_outage:
            self._job_outage = outage
            return outage
        if self._expired:
            raise asyncio.TimeoutError
        return None

    def woken(self) -> asyncio.Future[None]:
        """Return what to await until there may be news. For one task at a time.

        Not a coroutine: the garbage collector would have one more to go through for each of the thousands that wait.
        """
        self._waiting = asyncio.get_running_loop().create_future()
        return self._waiting

    def notify(self, changed: bool, now: float) -> None:
        """Take note that an answer named the job.

        :param changed: Whether its status is another.
        :param now: The loop's time.
        """
        early = self.progress_interval * EARLY
        if changed or (self.progress_interval > 0 and now >= self._progress_at - early):
            self._progress_at = now + self.progress_interval
            self._has_news = True
            self.wake()

    def expire(self) -> None:
        """Let the wait end with a timeout, unless there are news."""
        self._expired = True
        self.wake()

    def resubscribe(self) -> None:
        """Have the job checked as that of a new subscription: soon, and together with all others that are new."""
        self._resubscribed_at = self._watcher.now()
        self._watcher.remove(self)
        self._job = self._watcher.add(self)

    def answer_since(self) -> Job | None:
        """Return the job as it was since :meth:`resubscribe`, or its end; None if Airbyte has not told it yet."""
        job, seen_at = self._subscribed.job, self._subscribed.seen_at
        return job if job is not None and (job.terminal or (seen_at or 0.0) >= self._resubscribed_at) else None

    def answered(self, job: Job, asked_at: float) -> None:
        """Take an answer that the watcher did not ask for; all who wait for the job are notified.

        :param job: The job.
        :param asked_at: When it was asked for, by the loop's time.
        """
        if job.terminal or self.answer_since() is None:
            self._subscribed.update(job, asked_at)

    def wake(self) -> None:
        """Let the waiting task ask for news."""
        if self._waiting is not None:
            wake(self._waiting)
            self._waiting = None

    @property
    def _subscribed(self) -> SubscribedJob:
        assert self._job is not None, "a subscription is a context manager"
        return self._job


class Subscriptions:
    """All jobs that one watcher checks, and how eagerly those who wait want it.

    :param recent: For how many seconds what was read of a job that nobody waited for is good for a new subscription.
    :param now: Returns the event loop's time.
    """

    def __init__(self, recent: float, now: Callable[[], float]) -> None:
        self.jobs: dict[int, SubscribedJob] = {}
        self._recent = recent
        self._now = now
        self._polls: Counter[float] = Counter()
        self._progress: Counter[float] = Counter()
        #: What the last two sweeps read of jobs that nobody waited for, and when it was asked for.
        self._others: dict[int, tuple[Job, float]] = {}
        self._earlier_others: dict[int, tuple[Job, float]] = {}

    def __len__(self) -> int:
        return len(self.jobs)

    def add(self, subscription: Subscription) -> SubscribedJob:
        """Begin to check a subscription's job.

        :param subscription: The subscription.
        :return: What is known of the job.
        """
        subscribed = self.jobs.setdefault(subscription.job_id, SubscribedJob(subscription.job_id))
        subscribed.subscriptions.append(subscription)
        self._polls[subscription.poll_interval] += 1
        self._progress[subscription.progress_interval] += 1
        self._recognize(subscribed)
        return subscribed

    def remove(self, subscription: Subscription) -> None:
        """Check a subscription's job no more if nobody else waits for it.

        :param subscription: The subscription.
        """
        subscribed = self.jobs[subscription.job_id]
        subscribed.subscriptions.remove(subscription)
        if not subscribed.subscriptions:
            del self.jobs[subscription.job_id]
        for counter, key in (
            (self._polls, subscription.poll_interval),
            (self._progress, subscription.progress_interval),
        ):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]

    def want_poll(self, interval: float) -> None:
        """Let the watcher ask so often, also for what is no job.

        :param interval: The poll interval, seconds.
        """
        self._polls[interval] += 1

    def want_poll_no_more(self, interval: float) -> None:
        """Take back what :meth:`want_poll` said.

        :param interval: The poll interval, seconds.
        """
        self._polls[interval] -= 1
        if not self._polls[interval]:
            del self._polls[interval]

    def update(self, job: Job, asked_at: float) -> SubscribedJob | None:
        """Take an answer that names a job.

        :param job: The job.
        :param asked_at: When it was asked for: what an answer says was true then, at the latest.
        :return: What is known of it, if somebody waits for it.
        """
        subscribed = self.jobs.get(job.job_id)
        if subscribed is None:
            self._others[job.job_id] = (job, asked_at)
        elif not subscribed.over:
            subscribed.update(job, asked_at)
        return subscribed

    def begin_sweep(self) -> None:
        """Forget what the sweep before the last one read of others' jobs."""
        self._others, self._earlier_others = {}, self._others

    def forget_others(self) -> None:
        """Forget it all: what has changed since may not have been read."""
        self._others, self._earlier_others = {}, {}

    @property
    def poll_interval(self) -> float:
        """The shortest of all; :data:`SHORTEST_POLL` if nobody waits."""
        return min(self._polls, default=SHORTEST_POLL)

    @property
    def progress_interval(self) -> float | None:
        """The shortest of those who want reports of progress; None if nobody does."""
        return min((each for each in self._progress if each > 0), default=None)

    def _recognize(self, subscribed: SubscribedJob) -> None:
        """Tell a new subscription what was read of its job a moment ago: what changes from then on, sweeps will tell.

        A task defers a second or two after its job was made, and most sweeps would have to be followed by a check of
        each job that they had named already.
        """
        job_id = subscribed.job_id
        known = self._others.pop(job_id, None) or self._earlier_others.pop(job_id, None)
        if known is not None and subscribed.seen_at is None and self._now() - known[1] < self._recent:
            subscribed.listed = True
            subscribed.update(*known)


def _if_over(outage: OutageNews | None) -> OutageNews | None:
    return outage if outage is not None and not outage.lasts else None
