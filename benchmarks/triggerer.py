"""``python -m benchmarks.triggerer``: a thousand deferred tasks in one real triggerer.

A whole Airflow with PostgreSQL. First the syncs: all are started, wait together for a while, lose their triggerer to a
``kill -9``, wait in the next one, and end. Then as many tasks whose trigger only sleeps: what of it is Airflow's own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import psutil

from airbyte_deferrable.simulator import Script
from benchmarks.bench import Bench
from benchmarks.measure import HANDLER_MS, HANDLER_THREADS, PYTHON_PATH, simulator
from benchmarks.report import machine
from harness.airflow import LocalAirflow
from harness.postgresql import PostgreSQL
from harness.processes import exit_on_termination
from harness.statsd import StatsdServer
from harness.waiting import eventually

SYNCS, SLEEPERS = "bench_syncs", "bench_sleepers"
NAMES = {SYNCS: "syncs", SLEEPERS: "tasks that sleep"}


@dataclass
class Phase:
    """A while, and what the triggerer was like in it. Seconds and bytes.

    :param blocked: How often Airflow found the triggerer's event loop blocked: ``triggers.blocked_main_thread``.
    :param runner_cpu: CPU seconds of the process with the event loop.
    :param supervisor_cpu: And of Airflow's process beside it, which talks with the database.
    :param runner_memory: Own memory (USS) of the process with the event loop, at the end.
    """

    dag: str
    name: str
    seconds: float = 0.0
    blocked: int = 0
    runner_cpu: float = 0.0
    supervisor_cpu: float = 0.0
    runner_memory: int = 0
    requests: int = 0


@dataclass
class Report:
    """What was measured.

    :param tasks: How many, by DAG.
    :param seen_after: Seconds from each job's end to its being noticed.
    :param resumed_after: Seconds from each job's end to the end of its task.
    """

    tasks: dict[str, int]
    poll: float
    slots: int
    phases: list[Phase] = field(default_factory=list)
    jobs: int = 0
    failed: int = 0
    seen_after: list[float] = field(default_factory=list)
    resumed_after: dict[str, list[float]] = field(default_factory=dict)


class TriggererBench(Bench):
    """An Airflow whose triggerer is looked at, phase by phase."""

    @contextmanager
    def phase(self, report: Report, dag: str, name: str) -> Iterator[None]:
        """Measure a while in which the triggerer is not restarted."""
        phase = Phase(dag, name)
        began = time.monotonic()
        processes, before = self._processes(), [sum(each.cpu_times()[:2]) for each in self._processes()]
        self.airbyte.clear_requests()
        self.statsd.clear()
        yield
        after = [sum(each.cpu_times()[:2]) for each in processes]
        phase.seconds = time.monotonic() - began
        phase.blocked = len(self.statsd.values("triggers.blocked_main_thread"))
        phase.supervisor_cpu, phase.runner_cpu = (then - now for now, then in zip(before, after, strict=True))
        phase.runner_memory = int(processes[1].memory_full_info().uss)
        phase.requests = self.airbyte.count()
        report.phases.append(phase)
        self.say(f"{phase}")

    def _processes(self) -> tuple[psutil.Process, psutil.Process]:
        """Return the triggerer's supervisor and its child with the event loop, which comes a moment later."""
        supervisor = psutil.Process(self.airflow.pids("triggerer")[0])
        eventually(supervisor.children, what="the triggerer's process for its triggers")
        return supervisor, supervisor.children()[0]


def run(bench: TriggererBench, report: Report, dag: str, steady: float, end: Callable[[], dict[int, float]]) -> None:
    """Take a DAG through all phases.

    :param bench: The running parts.
    :param report: Where the figures go.
    :param dag: The DAG.
    :param steady: Seconds in which nothing happens but waiting.
    :param end: Begins the end of all waits, and returns when each of them ends, by map index.
    """
    tasks = report.tasks[dag]
    with bench.phase(report, dag, "start"):
        bench.airflow.trigger(dag)
        bench.until("starting", lambda: bench.states(dag).get("deferred", 0) == tasks, dag)
    with bench.phase(report, dag, "wait"):
        time.sleep(steady)
    bench.say("kill -9 triggerer, and start it again")
    bench.airflow.kill("triggerer")
    bench.airflow.restart("triggerer")
    with bench.phase(report, dag, "take over"):
        # The watcher's own count comes a moment after Airflow's; sleepers have none.
        gauges = ["triggers.running", *(["airbyte_deferrable.waiting"] if dag == SYNCS else [])]
        bench.until("taking over", lambda: all(bench.statsd.level(name) == tasks for name in gauges), dag)
    with bench.phase(report, dag, "wait again"):
        time.sleep(steady)
    with bench.phase(report, dag, "end"):
        ends_at = end()
        bench.until("ending", lambda: sum(bench.states(dag).get(s, 0) for s in ("success", "failed")) == tasks, dag)
        report.seen_after += [each / 1000 for each in bench.statsd.values("airbyte_deferrable.seen_after")]
    report.failed += bench.states(dag).get("failed", 0)
    rows = bench.query("select map_index, extract(epoch from end_date) from task_instance where dag_id = %s", dag)
    report.resumed_after[dag] = [float(ended) - ends_at[index] for index, ended in rows]


def main() -> int:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.triggerer", description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000, help="syncs")
    parser.add_argument("--sleepers", type=int, default=100, help="tasks that sleep")
    parser.add_argument("--poll", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--slots", type=int, default=6, help="tasks that run on workers at once")
    parser.add_argument("--steady", type=float, default=60.0, metavar="SECONDS", help="of mere waiting")
    parser.add_argument("--spread", type=float, default=60.0, metavar="SECONDS", help="from the first end to the last")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), metavar="FOLDER")
    given = parser.parse_args()
    report = Report({SYNCS: given.tasks, SLEEPERS: given.sleepers}, given.poll, given.slots)
    with ExitStack() as cleanup:
        cleanup.enter_context(exit_on_termination())
        home = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
        airbyte = cleanup.enter_context(simulator())
        postgresql = cleanup.enter_context(PostgreSQL(home / "logs" / "postgresql.log"))
        statsd = cleanup.enter_context(StatsdServer())
        connections = airbyte.add_connections(given.tasks, Script(outcome=None))
        (home / "connections.json").write_text(json.dumps(connections))
        airflow = LocalAirflow(
            home,
            dags=Path(__file__).parent / "dags" / "triggerer",
            parallelism=given.slots,
            database=postgresql.url,
            connections={"airbyte_bench": airbyte.airflow_connection},
            config={
                **statsd.settings,
                "AIRFLOW__TRIGGERER__CAPACITY": str(2 * given.tasks),
                "AIRFLOW__CORE__MAX_MAP_LENGTH": str(given.tasks),
                # The successor of a killed triggerer takes over after so many seconds (defaults: 5, 30).
                "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
                "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
                "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
                "BENCH_CONNECTIONS_FILE": str(home / "connections.json"),
                "BENCH_SLEEP_FILE": str(home / "wake.json"),
                "BENCH_SLEEPERS": str(given.sleepers),
                "BENCH_POLL": str(given.poll),
                **PYTHON_PATH,
            },
        )
        bench = TriggererBench(cleanup.enter_context(airflow), postgresql.url, airbyte, statsd)
        cleanup.callback(bench.close)

        def end_the_jobs() -> dict[int, float]:
            jobs = {job["connectionId"]: job["id"] for job in airbyte.jobs()}
            began = time.monotonic()
            for number, connection_id in enumerate(connections):
                time.sleep(max(0.0, began + given.spread * number / given.tasks - time.monotonic()))
                airbyte.finish(jobs[connection_id], "succeeded")
            updated = {job["connectionId"]: job["updatedAt"] for job in airbyte.jobs()}
            return {number: updated[connection_id] for number, connection_id in enumerate(connections)}

        def wake_the_sleepers() -> dict[int, float]:
            first, apart = time.time() + 1, given.spread / given.sleepers
            waiting = home / "wake.tmp"
            waiting.write_text(json.dumps([first, apart]))
            waiting.rename(home / "wake.json")
            return {number: first + apart * number for number in range(given.sleepers)}

        run(bench, report, SYNCS, given.steady, end_the_jobs)
        report.jobs = len(airbyte.jobs())
        run(bench, report, SLEEPERS, min(given.steady, 20.0), wake_the_sleepers)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "triggerer.json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    (given.output / "triggerer.md").write_text(table(report))
    print(table(report))
    return 1 if report.failed or report.jobs != given.tasks else 0


def table(report: Report) -> str:
    """Return the table and how it was measured, as Markdown."""
    head = ["", "", "Took", "Loop blocked", "CPU a minute", "of Airflow's process beside it", "Memory", "Requests"]
    lines = ["| " + " | ".join(head) + " |", "|:--|:--" + "|--:" * (len(head) - 2) + "|"]
    for phase in report.phases:
        minutes = phase.seconds / 60
        cells = [
            f"{report.tasks[phase.dag]:,} {NAMES[phase.dag]}",
            phase.name,
            f"{phase.seconds:,.0f} s",
            f"{phase.blocked}",
            f"{phase.runner_cpu / minutes:.1f} s",
            f"{phase.supervisor_cpu / minutes:.1f} s",
            f"{phase.runner_memory / 1e6:,.0f} MB",
            f"{phase.requests:,}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    syncs = report.resumed_after[SYNCS]
    pace = {(phase.dag, phase.name): report.tasks[phase.dag] / phase.seconds for phase in report.phases}
    notes = f"""
Measured on {machine()}, with PostgreSQL, LocalExecutor and {report.slots} worker slots, all on that machine; the
simulated Airbyte's answers take {HANDLER_MS} ms and it works on {HANDLER_THREADS} at a time. Poll interval
{report.poll:g} s. The triggerer is killed with `kill -9` between *wait* and *take over*.

- {report.tasks[SYNCS]:,} tasks made {report.jobs:,} jobs; {report.failed} tasks failed.
- *Start* is the time until all are deferred, *end* from the first job's end until the last task's.
- The end of a job was seen after {median(report.seen_after):.1f} s (median), {max(report.seen_after):.1f} s at most, by
  the clock that Airbyte's stamps tell. The task was over {median(syncs):.0f} s (median), {max(syncs):.0f} s (at most)
  after its job: the rest is Airflow's scheduler and workers.
- Their pace here: {pace[SYNCS, "start"]:.1f} syncs a second are started and {pace[SYNCS, "end"]:.1f} resumed.
  Of tasks that only sleep, {pace[SLEEPERS, "start"]:.1f} a second are started.
- *Loop blocked*: Airflow's `triggers.blocked_main_thread`. *CPU* and *memory* are those of the process with the
  triggerer's event loop.
"""
    return "\n".join(lines) + "\n" + notes


if __name__ == "__main__":
    sys.exit(main())
