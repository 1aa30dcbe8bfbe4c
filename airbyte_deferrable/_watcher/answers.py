"""What Airbyte's answers teach: of the jobs, of its clock, and whether it answers at all."""

from __future__ import annotations

from collections.abc import Callable

from airbyte_deferrable._watcher.metrics import Meter
from airbyte_deferrable._watcher.server_clock import ServerClock
from airbyte_deferrable._watcher.subscriptions import SubscribedJob, Subscriptions
from airbyte_deferrable.api.models import Job


class Answers:
    """Takes each answer, and keeps of the present sweep what decides how it goes on.

    :param subscriptions: The jobs that are waited for.
    :param clock: Learns from each job's stamps.
    :param meter: Is told how late each end was noticed.
    :param now: Returns the event loop's time.
    """

    def __init__(
        self, subscriptions: Subscriptions, clock: ServerClock, meter: Meter, now: Callable[[], float]
    ) -> None:
        self._subscriptions = subscriptions
        self._clock = clock
        self._meter = meter
        self._now = now
        #: When the present sweep, or check of new subscriptions, began.
        self.began = 0.0
        #: Whether Airbyte has answered anything in this sweep.
        self.came = False
        #: When it has answered anything last; None before the first time.
        self._heard_at: float | None = None
        #: How long each answer of this sweep took, seconds.
        self.times: list[float] = []

    def begin_sweep(self) -> None:
        """Forget the sweep before."""
        self.began, self.came, self.times = self._now(), False, []

    def heard(self) -> None:
        """Take note that Airbyte answers."""
        self.came, self._heard_at = True, self._now()

    @property
    def heard_at(self) -> float | None:
        """When Airbyte has answered anything last, by the loop's time; None before the first time."""
        return self._heard_at

    @property
    def came_since_it_began(self) -> bool:
        """Whether Airbyte has answered anything in this sweep, or in the check of new subscriptions after it.

        Minutes may lie between the two, so what came in the sweep says little of how Airbyte is in the other.
        """
        return self._heard_at is not None and self._heard_at >= self.began

    def timed(self, asked_at: float) -> None:
        """Take note of how long an answer took.

        :param asked_at: When it was asked for.
        """
        self.times.append(self._now() - asked_at)

    def learn(self, job: Job, asked_at: float) -> SubscribedJob | None:
        """Learn from an answer that names a job.

        :param job: The job.
        :param asked_at: When it was asked for.
        :return: What is known of it, if somebody waits for it.
        """
        subscribed = self._subscriptions.jobs.get(job.job_id)
        self._clock.update(job, subscribed)
        if subscribed is not None and not subscribed.over and job.terminal and subscribed.seen_at is not None:
            self._time_the_end(job)
        return self._subscriptions.update(job, asked_at)

    def _time_the_end(self, job: Job) -> None:
        moment, ended = self._clock.read(), job.updated_at
        if moment is not None and ended is not None:
            self._meter.seen_after(moment - ended)
