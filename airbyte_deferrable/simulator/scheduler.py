"""Starts and stops what a connection runs, as both APIs ask for it (``SchedulerHandler`` of airbyte-platform)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from airbyte_deferrable.simulator.records import RESET, Connection, Job
from airbyte_deferrable.simulator.script import PENDING
from airbyte_deferrable.simulator.world import World


class Scheduler:
    """Waits for jobs as Airbyte's own handlers do: they look every 10 ms, without a limit.

    :param world: Where the jobs are.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    async def cancel(self, job: Job) -> bool:
        """Stop whatever the connection of a job runs, which may be another job, and wait until it has stopped.

        :param job: The job that was named.
        :return: Whether anything was running.
        """
        running = job.connection.running
        if running is None:
            return False
        if running.status != PENDING:
            self._world.cancel(running, job.id)
            await self.until(running)
        return True

    async def reset(self, connection: Connection) -> Job:
        """Start a reset; what runs is stopped first.

        :param connection: Of what.
        :return: The reset.
        """
        while (running := connection.running) is not None:
            self._world.cancel(running, "reset")
            await self.until(running)
        return self._world.add_job(connection.id, RESET)

    async def until(self, job: Job) -> None:
        """Wait until a job has ended.

        :param job: The job.
        """
        while not job.terminal and job.id in self._world.jobs:
            await self.tick()

    async def leaves(self, job: Job, statuses: Collection[str]) -> None:
        """Wait until a job has another status than some.

        :param job: The job.
        :param statuses: Those that it has first.
        """
        while job.status in statuses:
            await self.tick()

    async def tick(self) -> None:
        """Wait as long as Airbyte does between two looks."""
        await asyncio.sleep(0.01)
        self._world.settle()
