"""Jobs that are asked for one by one: when each is due, and how many requests that may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from airbyte_deferrable._watcher.answers import Answers
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable._watcher.subscriptions import (
    EARLY,
    FAILED_CHECKS,
    SubscribedJob,
    Subscriptions,
    Visibility,
)
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import NOT_VISIBLE, ApiError, Unreachable


class Checks:
    """Asks for single jobs, slowly and evenly.

    :param client: Leads to the Airbyte.
    :param subscriptions: The jobs.
    :param answers: Takes what Airbyte says.
    :param pace: How eagerly to ask.
    :param now: Returns the event loop's time.
    """

    def __init__(
        self,
        client: AirbyteClient,
        subscriptions: Subscriptions,
        answers: Answers,
        *,
        pace: Pace,
        now: Callable[[], float],
    ) -> None:
        self._client = client
        self._subscriptions = subscriptions
        self._answers = answers
        self._pace = pace
        self._now = now
        #: Checks that go on beside the sweeps, by their jobs.
        self._late: dict[int, asyncio.Task[None]] = {}

    def due(self, until: float, *, by_list: bool) -> list[SubscribedJob]:
        """Return the jobs that need a check of their own before the next sweep, the most urgent first.

        :param until: When the next sweep is due.
        :param by_list: Whether the list tells of the changes of those that it has named.
        """
        jobs = self._subscriptions.jobs.values()
        confirm_after = self._pace.confirm_after if by_list else None
        due = [each for each in jobs if _is_due(each, until, confirm_after)]
        if due and confirm_after is not None:
            # A list confirms all at once, and few who were read a moment later would need it again.
            due = [each for each in jobs if _is_due(each, until, confirm_after * (1 - EARLY))]
        due.sort(key=_urgency)
        return due

    def new(self) -> list[SubscribedJob]:
        """Return the jobs of which nothing is known yet."""
        return [each for each in self._subscriptions.jobs.values() if each.new]

    async def run(self, due: Iterable[SubscribedJob], until: float) -> None:
        """Ask for single jobs, evenly; what does not fit before the next sweep is left for later.

        :param due: The jobs.
        :param until: When the next sweep is due.
        :raises ApiError: If Airbyte cannot be asked.
        """
        failed: list[tuple[SubscribedJob, ApiError]] = []
        first = True
        for subscribed in due:
            if not self._may_check(subscribed):
                continue
            if not first:
                # Who came meanwhile may want the next sweep sooner.
                if self._now() >= until or self._now() >= self._answers.began + self._subscriptions.poll_interval:
                    break
                await asyncio.sleep(self._pace.between_checks)
            first = False
            try:
                await self._check(subscribed)
            except ApiError as error:
                failed.append((subscribed, error))
                if len(failed) >= FAILED_CHECKS or error.status == 429:
                    break
        self._judge(failed)

    def stop(self) -> None:
        """End what is under way."""
        for check in self._late.values():
            check.cancel()

    def _may_check(self, subscribed: SubscribedJob) -> bool:
        if subscribed.job_id not in self._subscriptions.jobs or subscribed.job_id in self._late:
            return False
        # Once a sweep: being not found twice in a row is to be two moments.
        return subscribed.asked_at is None or subscribed.asked_at < self._answers.began

    def _judge(self, failed: list[tuple[SubscribedJob, ApiError]]) -> None:
        """Distinguish checks that failed from an Airbyte that cannot be asked.

        :raises ApiError: If it cannot.
        """
        if failed and (not self._answers.came or failed[-1][1].status == 429):
            raise failed[-1][1]
        if self._late and not self._answers.came and not failed:
            raise Unreachable("GET /jobs", "No answer yet.")
        # One job that Airbyte cannot tell of must not hide the others.
        for subscribed, why in failed:
            subscribed.fail(why, self._now())

    async def _check(self, subscribed: SubscribedJob) -> None:
        """Ask for one job. If Airbyte answers others and not this one, the check goes on beside the sweeps."""
        check = asyncio.ensure_future(self._ask_for(subscribed))
        # A server that has not answered anything may just be slow.
        hurried = self._answers.came or subscribed.failed_checks
        longest = max(self._pace.longest_hold, self._subscriptions.poll_interval) if hurried else None
        try:
            await asyncio.wait({check}, timeout=longest)
            if not check.done() and len(self._late) < self._pace.checks_beside:
                self._late[subscribed.job_id] = check
                check.add_done_callback(lambda done: self._came_late(subscribed, done))
                return
        finally:
            if subscribed.job_id not in self._late:
                check.cancel()
        if not check.done():
            raise Unreachable(f"GET /jobs/{subscribed.job_id}", f"No answer within {longest:g} s.")
        await check

    def _came_late(self, subscribed: SubscribedJob, check: asyncio.Task[None]) -> None:
        del self._late[subscribed.job_id]
        error = None if check.cancelled() else check.exception()
        if error is not None:
            said = error if isinstance(error, ApiError) else Unreachable("GET /jobs", f"{type(error).__name__}.")
            subscribed.fail(said, self._now())

    async def _ask_for(self, subscribed: SubscribedJob) -> None:
        subscribed.asked_at = asked_at = self._now()
        try:
            job = await self._client.get_job(subscribed.job_id)
        except NOT_VISIBLE as error:
            self._answers.heard()
            subscribed.not_found(error, self._now())
        else:
            self._answers.heard()
            self._answers.timed(asked_at)
            # A late answer may be older than what the list has told meanwhile.
            if job.terminal or subscribed.seen_at is None or subscribed.seen_at <= asked_at:
                self._answers.learn(job, asked_at)


def _is_due(subscribed: SubscribedJob, until: float, confirm_after: float | None) -> bool:
    if subscribed.over:
        return False
    if subscribed.overdue or subscribed.visibility is Visibility.DOUBTED or subscribed.seen_at is None:
        return True
    after = confirm_after if confirm_after is not None and subscribed.listed else 0.9 * subscribed.poll_interval
    return subscribed.seen_at + after < until


def _urgency(subscribed: SubscribedJob) -> tuple[bool, float, int]:
    """Order jobs by when their check is due; first checks come first."""
    asked_at = subscribed.asked_at
    return asked_at is not None, (asked_at or 0.0) + subscribed.poll_interval, subscribed.job_id
