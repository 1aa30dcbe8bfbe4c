"""Syncs that Airbyte starts by itself while everything is killed, and what a DAG is handed out of them."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx

from airbyte_deferrable.simulator import Script
from chaos.cluster import Cluster
from harness.simulator import SimulatorProcess

DAG = "chaos_watched"
#: What :mod:`chaos.dags.chaos_watched` watches.
TAG = "self-started"
CONNECTIONS = 8
#: Seconds between two of them, and for how long they last: now and then several end at once.
PAUSE, LASTS = (0.0, 4.0), (1.0, 5.0)
#: Seconds after the last one until all must have been handed out.
HANDED_OUT_WITHIN = 240.0


@dataclass
class Handed:
    """What became of the syncs that nobody in Airflow has started.

    :param jobs: Those that Airbyte has run, by number.
    :param told: How often each was handed out.
    :param runs: The DAG's runs.
    """

    jobs: list[int] = field(default_factory=list)
    told: Counter[int] = field(default_factory=Counter)
    runs: int = 0

    @property
    def lost(self) -> list[int]:
        """Those that no run was handed out."""
        return [job for job in self.jobs if not self.told[job]]

    @property
    def twice(self) -> list[int]:
        """Those that more than one run was."""
        return [job for job, times in self.told.items() if times > 1]

    @property
    def balanced(self) -> bool:
        """Whether each was handed out once, and nothing else."""
        return not self.lost and not self.twice and set(self.told) == set(self.jobs)

    def lines(self) -> Iterable[str]:
        """The balance as text."""
        yield f"{'self-started':<12}{len(self.jobs):>5}  handed out in {self.runs} runs"
        yield f"{'lost':<12}{len(self.lost):>5}  {self.lost or ''}".rstrip()
        yield f"{'twice':<12}{len(self.twice):>5}  {self.twice or ''}".rstrip()


class SelfStarted:
    """Airbyte's own schedule.

    :param airbyte: The Airbyte.
    :param seed: What chance depends on.
    """

    def __init__(self, airbyte: SimulatorProcess, seed: int) -> None:
        self._airbyte = airbyte
        self._chance = random.Random(seed)
        self.connection_ids = [
            airbyte.add_connection(name=f"Self-started {number}", tags=[TAG]) for number in range(CONNECTIONS)
        ]
        self._due = 0.0

    def tend(self) -> None:
        """Start what is due."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._chance.uniform(*PAUSE)
            self._start()

    def _start(self) -> None:
        try:
            script = Script(duration=self._chance.uniform(*LASTS))
            self._airbyte.add_job(self._chance.choice(self.connection_ids), script)
        except (OSError, httpx.HTTPError):
            # Airbyte is down, or was killed in the middle: what it had begun, its jobs tell.
            pass

    def finish(self, everything: Cluster, say: Callable[[str], None]) -> Handed:
        """Let some more end, one by one, until the DAG has been handed out all before: a burst leaves some behind.

        :param everything: What runs.
        :param say: Told how it goes on.
        """
        deadline = time.monotonic() + HANDED_OUT_WITHIN
        wanted = {job["id"] for job in self._jobs()}
        handed, closing, once_more = Handed(), 0.0, True
        while time.monotonic() < deadline:
            everything.tend()
            if time.monotonic() >= closing:
                self._start()
                closing = time.monotonic() + 30
            try:
                handed = self._handed(everything)
            except httpx.HTTPError:
                time.sleep(1)
                continue
            if wanted <= set(handed.told):
                if not once_more:
                    break
                # What was told twice may come a moment later.
                wanted, once_more, closing = {job["id"] for job in self._jobs()}, False, 0.0
            time.sleep(2)
        # Those that ended the task's own way: whatever is on its way still is no loss.
        handed.jobs = sorted(wanted | set(handed.told) & {job["id"] for job in self._jobs()})
        say(f"{len(handed.jobs)} syncs that Airbyte started by itself, {len(handed.lost)} not handed out")
        return handed

    def _jobs(self) -> list[dict[str, Any]]:
        return [job for job in self._airbyte.jobs() if job["connectionId"] in self.connection_ids]

    def _handed(self, everything: Cluster) -> Handed:
        airflow = everything.airflow
        runs = airflow.collect(f"/dags/{DAG}/dagRuns", "dag_runs", {"order_by": "id"})
        told = [job for run in runs for job in airflow.xcom(DAG, run["dag_run_id"], "tell") or ()]
        return Handed(told=Counter(told), runs=len(runs))
