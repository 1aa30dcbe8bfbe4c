"""What the tests of watched connections share: syncs of the model, and listeners that keep what is handed out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime

from airbyte_deferrable._watcher.connection_subscription import ConnectionNews, ConnectionSubscription, EndedJobs
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable._watcher.subscriptions import OutageNews
from airbyte_deferrable.api.models import Job
from helpers.followers import NEVER, POLL, START
from helpers.model_airbyte import ModelAirbyte, ModelJob, Step, moment_at, run_in_virtual_time


def sync(job_id: int, connection_id: str, end: float = NEVER, *, created: float | None = None) -> ModelJob:
    """Return a job of a connection that succeeds in the end."""
    at = START - 600 + job_id * 0.01 if created is None else created
    steps = Step(at, "pending"), Step(at + 0.005, "running"), Step(end, "succeeded")
    return ModelJob(job_id, steps, connection_id=connection_id)


class Heard:
    """What one listener was handed out, with the moments."""

    def __init__(self) -> None:
        self.batches: list[tuple[float, tuple[Job, ...]]] = []
        self.outages: list[OutageNews] = []
        self.connections: list[ConnectionNews] = []

    @property
    def job_ids(self) -> list[int]:
        return [job.job_id for _, jobs in self.batches for job in jobs]

    def at(self, job_id: int) -> float:
        """Return when a job was handed out; never, if it was not."""
        return next((at for at, jobs in self.batches if any(job.job_id == job_id for job in jobs)), NEVER)

    def take(self, news: EndedJobs | OutageNews | ConnectionNews) -> None:
        if isinstance(news, EndedJobs):
            self.batches.append((asyncio.get_running_loop().time(), news.jobs))
        elif isinstance(news, OutageNews):
            self.outages.append(news)
        else:
            self.connections.append(news)


async def listen(subscription: ConnectionSubscription, heard: Heard) -> None:
    """Keep all that a subscription says, for ever."""
    async for news in subscription:
        heard.take(news)


def listen_to(
    server: ModelAirbyte,
    seconds: float,
    connection_ids: Iterable[str],
    *,
    since: datetime | None = None,
    poll: float = POLL,
    pace: Pace | None = None,
    ahead: float = 0.0,
) -> Heard:
    """Listen to connections for so long; by default from the beginning of the model's loop."""
    heard = Heard()

    async def go() -> None:
        watcher = JobWatcher(server, pace=pace)  # type: ignore[arg-type]
        begin = moment_at(START) if since is None else since
        with watcher.watch_connections(connection_ids, since=begin, poll_interval=poll) as subscription:
            await asyncio.wait([asyncio.ensure_future(listen(subscription, heard))], timeout=seconds)

    run_in_virtual_time(go(), ahead=ahead)
    return heard
