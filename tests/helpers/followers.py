"""What the watcher's tests share: jobs of the model, and tasks that wait for them and keep what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable._watcher.subscriptions import JobNotVisible, OutageNews
from airbyte_deferrable.api.models import Job
from helpers.model_airbyte import ModelAirbyte, ModelJob, Step, news_of, run_in_virtual_time

NEVER = 1e9
#: The model's loop begins here.
START = 1000.0
POLL = 5.0


def running(job_id: int, end: float = NEVER, *, created: float | None = None, **more: Any) -> ModelJob:
    """Return a job that runs from its creation on and succeeds in the end. Ids and stamps are in the same order."""
    at = START - 600 + job_id * 0.01 if created is None else created
    return ModelJob(job_id, (Step(at, "pending"), Step(at + 0.005, "running"), Step(end, "succeeded")), **more)


class Told:
    """What one waiting task heard, with the moments."""

    def __init__(self) -> None:
        self.jobs: list[tuple[float, Job]] = []
        self.outages: list[tuple[float, OutageNews]] = []
        self.gone: JobNotVisible | None = None

    @property
    def ended_at(self) -> float | None:
        return next((at for at, job in self.jobs if job.terminal), None)


async def follow(watcher: JobWatcher, job_id: int, told: Told, poll: float = POLL, progress: float = 0.0) -> None:
    """Wait for a job's end and keep what is told."""
    loop = asyncio.get_running_loop()
    with watcher.subscribe(job_id, poll_interval=poll, progress_interval=progress) as subscription:
        while True:
            try:
                news = await news_of(subscription)
            except JobNotVisible as error:
                told.gone = error
                return
            if isinstance(news, OutageNews):
                told.outages.append((loop.time(), news))
                continue
            told.jobs.append((loop.time(), news))
            if news.terminal:
                return


def watch_for(
    server: ModelAirbyte,
    seconds: float,
    job_ids: Sequence[int] | None = None,
    *,
    poll: float = POLL,
    progress: float = 0.0,
    pace: Pace | None = None,
    metrics: Any = None,
) -> dict[int, Told]:
    """Let a task wait for each job for so long, all of them from the start."""
    ids = [job.job_id for job in server.jobs] if job_ids is None else job_ids
    told = {job_id: Told() for job_id in ids}

    async def go() -> None:
        watcher = JobWatcher(server, pace=pace, metrics=metrics)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(follow(watcher, each, told[each], poll, progress)) for each in ids]
        await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    return told


def asked_since(server: ModelAirbyte, moment: float) -> int:
    return sum(at >= moment for at, _, _ in server.calls)
