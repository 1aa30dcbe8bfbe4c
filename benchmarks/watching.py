"""``python -m benchmarks.watching``: syncs that Airbyte starts itself, told as they end, beside a poll per connection.

One event loop, as a triggerer has it: an asset's trigger watches all ends at so many connections, and so many tasks
wait for jobs of their own. The alternative asks for each connection's newest jobs, again and again, which is what a
trigger or a sensor for each connection does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from airbyte_deferrable.simulator import Script
from benchmarks.measure import HANDLER_MS, HANDLER_THREADS, simulator
from benchmarks.report import machine
from benchmarks.waiters import Freezes
from harness.processes import exit_on_termination
from harness.simulator import SimulatorProcess

POLL = 5.0
#: Jobs of watched connections end together in so many groups.
COHORTS = 30


@dataclass
class Result:
    """What one way cost, and how late it told. Seconds.

    :param told: When each job's end was told.
    """

    kind: str
    connections: int
    tasks: int
    told: dict[int, float] = field(default_factory=dict)
    requests: int = 0
    seconds: float = 0.0
    longest_freeze: float = 0.0
    frozen_share: float = 0.0
    late: list[float] = field(default_factory=list)

    def row(self) -> str:
        """Return its row of the table."""
        figures = [
            f"{self.requests:,}",
            f"{self.requests / self.seconds * 60:,.0f}",
            f"{1000 * self.longest_freeze:.0f} ms",
            f"{self.frozen_share:.1%}",
            f"{median(self.late):.1f} s",
            f"{quantiles(self.late, n=100, method='inclusive')[98]:.1f} s",
            f"{max(self.late):.1f} s",
        ]
        return f"| {self.kind} | {self.connections:,} | {self.tasks:,} | {' | '.join(figures)} |"


class InMemory:
    """Where the position is kept: in a triggerer Airflow has a place for it."""

    kept: Any = None

    async def read(self) -> Any:
        """Return what was kept."""
        return self.kept

    async def write(self, value: str) -> None:
        """Keep it.

        :param value: The position.
        """
        self.kept = value


async def watched(server: SimulatorProcess, connections: list[str], told: Callable[[list[int]], None]) -> None:
    """Let an asset's trigger tell the ends of connections, its position kept in memory."""
    from airbyte_deferrable._airflow import told_position
    from airbyte_deferrable.triggers.ended import AirbyteSyncEndedTrigger

    told_position._store_for = lambda *whose: InMemory()
    trigger = AirbyteSyncEndedTrigger("bench", "airbyte_bench", connections, poll_interval=POLL, event_interval=POLL)
    async for event in trigger.run():
        told([job["job_id"] for job in event.payload["jobs"]])


async def polled(server: SimulatorProcess, connections: list[str], told: Callable[[list[int]], None]) -> None:
    """Ask for each connection's newest jobs, as often."""
    from airbyte_deferrable.api.client import NEWEST_FIRST, AirbyteClient
    from airbyte_deferrable.api.settings import ClientCredentials, Settings

    settings = Settings(server.url, ClientCredentials(server.client_id, server.client_secret))
    seen: set[int] = set()

    async def poll(client: AirbyteClient, connection_id: str) -> None:
        while True:
            began = time.monotonic()
            rows = await client.list_jobs(connection_id=connection_id, order_by=NEWEST_FIRST, limit=5)
            ended = [job.job_id for job in rows if job.terminal and job.job_id not in seen]
            seen.update(ended)
            told(ended)
            await asyncio.sleep(max(0.0, began + POLL - time.monotonic()))

    async with AirbyteClient(settings) as client:
        await asyncio.gather(*(poll(client, each) for each in connections))


async def wait_for_tasks(job_ids: list[int]) -> None:
    """Let a task wait for each job."""
    from airbyte_deferrable.triggers import AirbyteSyncTrigger

    async def wait(job_id: int) -> None:
        async for _ in AirbyteSyncTrigger(job_id, "airbyte_bench", None, POLL).run():
            return

    await asyncio.gather(*map(wait, job_ids))


async def measure(
    kind: str,
    way: Callable[[SimulatorProcess, list[str], Callable[[list[int]], None]], Awaitable[None]],
    server: SimulatorProcess,
    *,
    connections: int,
    tasks: int,
    spread: float,
) -> Result:
    """Let syncs end over a while, and see when they are told.

    :param spread: From the first end to the last.
    """
    result = Result(kind, connections, tasks)
    ids = server.add_connections(connections)
    waited_for = server.add_jobs(server.add_connections(tasks), Script(duration=spread + 20, pending=0.1))
    freezes = Freezes(asyncio.get_running_loop())
    others = [asyncio.ensure_future(wait_for_tasks(waited_for)) for _ in range(bool(tasks))]

    def told(job_ids: list[int]) -> None:
        result.told.update((job_id, time.time()) for job_id in job_ids if job_id not in result.told)

    running = asyncio.ensure_future(way(server, ids, told))
    # Until all have begun.
    await asyncio.sleep(3 * POLL)
    freezes.reset()
    server.clear_requests()
    began = time.monotonic()
    jobs: list[int] = []
    for number in range(COHORTS):
        share = ids[number * connections // COHORTS : (number + 1) * connections // COHORTS]
        jobs += await asyncio.to_thread(server.add_jobs, share, Script(duration=0.2, pending=0.0))
        await asyncio.sleep(spread / COHORTS)
    while not all(job_id in result.told for job_id in jobs):
        await asyncio.sleep(0.1)
    result.seconds = time.monotonic() - began
    result.requests = server.count()
    result.longest_freeze, result.frozen_share = freezes.longest, freezes.frozen / result.seconds
    ended_at = {job["id"]: job["updatedAt"] for job in await asyncio.to_thread(server.jobs)}
    result.late = [max(0.0, result.told[job_id] - ended_at[job_id]) for job_id in jobs]
    await asyncio.gather(*others)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return result


def table(results: list[Result], spread: float) -> str:
    """Return the table and how it was measured, as Markdown."""
    heads = ["Way", "Connections", "Waiting tasks", "Requests", "a minute", "Longest freeze", "Time frozen"]
    heads += ["Late: median", "99 %", "max"]
    rows = "\n".join(result.row() for result in results)
    return f"""| {" | ".join(heads)} |
|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|
{rows}

Measured on {machine()}, {datetime.now(timezone.utc):%Y-%m-%d}.

A sync of each connection ends in {spread:g} s, in {COHORTS} groups, while tasks wait for jobs of other connections in
the same event loop. The simulated Airbyte takes {HANDLER_MS} ms for an answer and works on {HANDLER_THREADS} requests
at a time. Both ask every {POLL:g} s. *Watched*: one `AirbyteSyncEndedTrigger`, with {POLL:g} s between two events, to
which its lateness is due. *Polled*: a request for each connection, at most four at a time. *Requests*: all of the event
loop's, the waiting tasks' included. *Late*: from a sync's end to its being told.
"""


def main() -> int:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watching", description=__doc__)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--spread", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), metavar="FOLDER")
    given = parser.parse_args()
    size: dict[str, Any] = {"connections": given.connections, "tasks": given.tasks, "spread": given.spread}
    results = []
    with (
        exit_on_termination(),
        tempfile.TemporaryDirectory(prefix="watching-", ignore_cleanup_errors=True) as home,
        simulator() as server,
    ):
        os.environ["AIRFLOW_HOME"] = home
        os.environ["AIRFLOW_CONN_AIRBYTE_BENCH"] = json.dumps(server.airflow_connection)
        for kind, way in (("watched", watched), ("polled", polled)):
            print(f"{kind} ...", flush=True)
            results.append(asyncio.run(measure(kind, way, server, **size)))
    given.output.mkdir(parents=True, exist_ok=True)
    kept = [{**asdict(result), "told": len(result.told)} for result in results]
    (given.output / "watching.json").write_text(json.dumps(kept, indent=1) + "\n")
    (given.output / "watching.md").write_text(table(results, given.spread))
    print(table(results, given.spread))
    return 0


if __name__ == "__main__":
    sys.exit(main())
