"""Prepares jobs in the simulator, lets a process wait for them, and watches both."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil

from airbyte_deferrable.simulator import Script
from harness.dialogue import Dialogue
from harness.simulator import SimulatorProcess

ROOT = Path(__file__).parents[1]
#: With it, an Airflow's DAG files and triggers can import what is here, wherever it runs.
PYTHON_PATH = {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
#: How Airbyte's public API is sized: five handler threads a server pod. 20 ms is a quick answer of its database.
HANDLER_THREADS, HANDLER_MS = 5, 20
#: Jobs that are made together; each has its own stamp and they end together.
COHORTS = 300


@dataclass(frozen=True)
class Result:
    """What one measurement gave. Seconds and bytes.

    :param spread: From the first job's end to the last.
    :param longest_collection: The longest pause of Python's garbage collector.
    :param memory: Growth of the process's own memory (USS) from before the first trigger to the highest value seen.
    :param cpu_per_minute: CPU seconds that a minute of waiting takes, the ends of the jobs included.
    :param changes: Changes of status while it waited: what sweeps have to read.
    """

    trigger: str
    waiters: int
    poll: float
    spread: float
    longest_freeze: float
    longest_collection: float
    frozen_share: float
    memory: int
    start_seconds: float
    start_cpu: float
    wait_seconds: float
    cpu_per_minute: float
    requests: int
    lists: int
    gets: int
    changes: int
    late_median: float
    late_p99: float
    late_max: float
    wrong: int

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@contextmanager
def simulator() -> Iterator[SimulatorProcess]:
    """Run the one simulator process that all measurements share."""
    size = ("--handler-threads", str(HANDLER_THREADS), "--handler-ms", str(HANDLER_MS))
    with (
        tempfile.TemporaryDirectory(prefix="bench-airbyte-") as folder,
        SimulatorProcess(Path(folder, "simulator.log"), *size) as airbyte,
    ):
        yield airbyte


class Memory(threading.Thread):
    """Samples a process's own memory (USS) from outside, so that the process is not disturbed.

    :param pid: The process.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self.first = self.highest = self._read()

    def run(self) -> None:
        """Sample until :meth:`stop`."""
        while not self._done.wait(1.0):
            self.highest = max(self.highest, self._read())

    def stop(self) -> int:
        """Sample once more, and return the growth."""
        self._done.set()
        self.join()
        return max(self.highest, self._read()) - self.first

    def _read(self) -> int:
        return int(self._process.memory_full_info().uss)


def measure(server: SimulatorProcess, trigger: str, waiters: int, *, poll: float, spread: float) -> Result:
    """Let so many triggers wait for jobs that end evenly over a while.

    :param server: The simulator.
    :param trigger: ``ours``, ``official``, or ``sleeping`` for one that asks nobody.
    :param waiters: How many.
    :param poll: Seconds.
    :param spread: Seconds from the first end to the last.
    """
    # The process needs some seconds to import Airflow, then all triggers should wait before the first job ends.
    quiet = 6.0 + 2 * poll + waiters * (0.1 if trigger == "official" else 0.0015)
    if trigger == "sleeping":
        now = time.time()
        ended_at = {number: now + quiet + spread * number / waiters for number in range(waiters)}
        jobs = list(ended_at.items())
    else:
        job_ids, before = _make_jobs(server, waiters, quiet, spread)
        jobs = [(job_id, time.time() + 3600) for job_id in job_ids]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "jobs.json")
        path.write_text(json.dumps(jobs))
        figures, memory = _run(server, trigger, path, poll)
    counts = {call: server.count(call) for call in ("list", "get", "token")}
    if trigger != "sleeping":
        ended_at = {job["id"]: job["updatedAt"] for job in server.jobs() if job["id"] > before}
    late, wrong = [], 0
    for job_id, _ in jobs:
        told_at, status = figures["events"][str(job_id)]
        late.append(told_at - max(ended_at[job_id], figures["told_to_start"]))
        wrong += status != "success" or told_at < ended_at[job_id]
    return Result(
        trigger=trigger,
        waiters=waiters,
        poll=poll,
        spread=spread,
        longest_freeze=figures["longest_freeze"],
        longest_collection=figures["longest_collection"],
        frozen_share=figures["frozen_share"],
        memory=memory,
        start_seconds=figures["start_seconds"],
        start_cpu=figures["start_cpu"],
        wait_seconds=figures["wait_seconds"],
        cpu_per_minute=figures["wait_cpu"] / figures["wait_seconds"] * 60,
        requests=sum(counts.values()),
        lists=counts["list"],
        gets=counts["get"],
        changes=waiters,
        late_median=median(late),
        late_p99=quantiles(late, n=100, method="inclusive")[98],
        late_max=max(late),
        wrong=wrong,
    )


def _make_jobs(server: SimulatorProcess, count: int, quiet: float, spread: float) -> tuple[list[int], int]:
    before = max((job["id"] for job in server.jobs()), default=0) if count <= 10 else _last_id(server)
    connections = server.add_connections(count)
    cohorts = min(count, COHORTS)
    began = time.monotonic()
    job_ids: list[int] = []
    for number in range(cohorts):
        ids = connections[number * count // cohorts : (number + 1) * count // cohorts]
        ends_in = quiet + spread * number / cohorts - (time.monotonic() - began)
        job_ids += server.add_jobs(ids, Script(duration=max(0.0, ends_in - 0.1), pending=0.1))
    return job_ids, before


def _last_id(server: SimulatorProcess) -> int:
    # Jobs are numbered in the order in which they are made.
    marker = server.add_job(server.add_connection("Marker"), Script(duration=0))
    return int(marker["id"])


def _run(server: SimulatorProcess, trigger: str, jobs: Path, poll: float) -> tuple[dict[str, Any], int]:
    command = [sys.executable, "-m", "benchmarks.waiters", "--trigger", trigger, "--jobs", str(jobs)]
    command += ["--poll", str(poll)]
    environment = {
        **os.environ,
        "AIRFLOW_CONN_AIRBYTE_BENCH": json.dumps(server.airflow_connection),
        "AIRFLOW_HOME": str(jobs.parent),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    log = jobs.with_name("stderr")
    with Dialogue("the measuring process", command, env=environment, log=log, cwd=ROOT) as process:
        process.hear("ready")
        memory = Memory(process.pid)
        server.clear_requests()
        memory.start()
        process.say()
        process.hear("waiting")
        process.hear("done")
        growth = memory.stop()
        process.say()
        return json.loads(process.hear()), growth
