"""One measurement in a process of its own: many triggers wait in one event loop, as in Airflow's triggerer.

Started by :mod:`benchmarks.measure`. Prints ``ready`` when everything is imported, begins when it is told to on its
standard input, prints ``waiting`` when all triggers have been started and ``done`` when all have fired, and then one
line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, BinaryIO

TRIGGERS = {
    "ours": ("airbyte_deferrable.triggers", "AirbyteSyncTrigger"),
    "official": ("airflow.providers.airbyte.triggers.airbyte", "AirbyteSyncTrigger"),
    "sleeping": ("benchmarks.sleeping", "SleepingTrigger"),
}
CONNECTION = "airbyte_bench"
#: Airflow gives each trigger the task instance that waits: by this it can tell that it is in a triggerer.
TASK_INSTANCE = SimpleNamespace(task_id="sync")


class Clock:
    """Time, less what this thread waited for a processor: that is the machine's doing. Linux tells of it."""

    def __init__(self) -> None:
        try:
            self._waits = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:
            self._waits = -1

    def __call__(self) -> float:
        """Return the time, seconds."""
        waited = int(os.pread(self._waits, 100, 0).split()[1]) / 1e9 if self._waits >= 0 else 0.0
        return time.perf_counter() - waited


class Freezes:
    """Measures how long each round of the event loop takes: for so long, nothing else can run in it.

    It stands before the loop's selector. A round begins when the selector gives what is ready, and ends when the loop
    comes back for more.

    :param loop: The loop.
    """

    #: Seconds; a shorter round freezes nobody.
    SHORTEST = 0.02

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._clock = Clock()
        self._selector = loop._selector  # type: ignore[attr-defined]
        loop._selector = self  # type: ignore[attr-defined]
        self.reset()
        gc.callbacks.append(self._collecting)

    def reset(self) -> None:
        """Forget what was measured."""
        self.longest = self.frozen = self.longest_collection = 0.0
        self._began: float | None = None

    def select(self, timeout: float | None = None) -> Any:
        """Pass on, and take the time between two calls."""
        if self._began is not None:
            took = self._clock() - self._began
            self.longest = max(self.longest, took)
            if took > self.SHORTEST:
                self.frozen += took
        events = self._selector.select(timeout)
        self._began = self._clock()
        return events

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collection_began = self._clock()
        else:
            self.longest_collection = max(self.longest_collection, self._clock() - self._collection_began)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)


async def start_like_the_triggerer(
    make: Callable[[int], Any], job_ids: list[int], told: Callable[[int, Any], None]
) -> list[asyncio.Task[None]]:
    """Start a trigger for each job, as ``TriggerRunner.create_triggers`` does: it yields twice before each."""

    async def run(job_id: int) -> None:
        async for event in make(job_id).run():
            told(job_id, event)
            # Airflow goes on to the generator's end; both triggers return after their event.

    tasks = []
    for job_id in job_ids:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(run(job_id)))
    return tasks


async def measure(
    trigger: type[Any], until: dict[int, float], poll: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Let them all wait, and return the figures.

    :param trigger: The class.
    :param until: The jobs' ids, each with the moment until which to wait for it.
    :param poll: Seconds.
    :param say: Told when all wait.
    """
    freezes = Freezes(asyncio.get_running_loop())
    events: dict[int, tuple[float, str]] = {}

    def make(job_id: int) -> Any:
        made = trigger(job_id=job_id, conn_id=CONNECTION, end_time=until[job_id], poll_interval=poll)
        made.task_instance = TASK_INSTANCE
        return made

    def told(job_id: int, event: Any) -> None:
        events[job_id] = (time.time(), event.payload["status"])

    told_to_start = time.time()
    began, cpu_began = time.perf_counter(), time.process_time()
    tasks = await start_like_the_triggerer(make, list(until), told)
    waiting, cpu_waiting = time.perf_counter(), time.process_time()
    say("waiting")
    await asyncio.gather(*tasks)
    done, cpu_done = time.perf_counter(), time.process_time()
    return {
        "told_to_start": told_to_start,
        "events": events,
        "longest_freeze": freezes.longest,
        "longest_collection": freezes.longest_collection,
        "frozen_share": freezes.frozen / (done - began),
        "start_seconds": waiting - began,
        "start_cpu": cpu_waiting - cpu_began,
        "wait_seconds": done - waiting,
        "wait_cpu": cpu_done - cpu_waiting,
        "seconds": done - began,
    }


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trigger", choices=TRIGGERS, required=True)
    parser.add_argument("--jobs", required=True, help="a JSON file: job ids, each with its time limit")
    parser.add_argument("--poll", type=float, required=True)
    given = parser.parse_args()
    with open(given.jobs) as file:
        until = dict(json.load(file))

    real_stdout = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    silence = open(os.devnull, "wb")  # noqa: SIM115
    trigger = load(given.trigger, silence)

    def say(line: str) -> None:
        print(line, file=real_stdout, flush=True)

    gc.collect()
    say("ready")
    sys.stdin.readline()
    figures = asyncio.run(measure(trigger, until, given.poll, say))
    say("done")
    sys.stdin.readline()
    say(json.dumps(figures))


def load(name: str, logs: BinaryIO) -> type[Any]:
    """Import a trigger and what it will use at once, as a triggerer has, so that only the waiting is measured.

    Logs are written as JSON, as the triggerer's process does that hands them to its supervisor.
    """
    import importlib

    from airflow.sdk.log import configure_logging

    configure_logging(json_output=True, output=logs)
    module, attribute = TRIGGERS[name]
    importlib.import_module("httpx" if name == "official" else "aiohttp")
    importlib.import_module("airbyte_deferrable._compat").BaseHook.get_connection(CONNECTION)
    trigger: type[Any] = getattr(importlib.import_module(module), attribute)
    return trigger


if __name__ == "__main__":
    main()
