"""``python -m benchmarks.slots``: what syncs cost the workers of a real Airflow, ours beside the official provider's.

Many short syncs on few worker slots, in an Airflow with PostgreSQL. The kinds run in turn in the same Airflow, so that
noise hits all alike. What is in the output folder already and was measured with the same numbers is kept, so that the
whole can be run in pieces.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from statistics import median

import psycopg2

from benchmarks.report import machine, write_between
from benchmarks.slots_airflow import EXECUTORS, LOCAL, Measured, Size, measured_airflow
from benchmarks.slots_meter import LegReader, Sampler, slot_seconds
from benchmarks.slots_report import KINDS, MARKS, Report, Run, brief, plot, table
from harness.processes import exit_on_termination

RESULTS, QUICK_RESULTS = Path("benchmarks/results"), Path("benchmarks/results/quick")
#: What Airflow calls the states in which a task stays.
OVER = ("success", "failed", "upstream_failed", "skipped", "removed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the table and the plot after each run.

    :param arguments: The command line; that of the process when left out.
    :returns: The exit code: 0 if no task failed and each made one job.
    """
    given = _parser().parse_args(arguments)
    quick: bool = given.quick
    size = Size(
        tasks=given.tasks or (24 if quick else 200),
        on_worker=given.on_worker or (6 if quick else 12),
        duration=given.duration or (15.0 if quick else 60.0),
        spread=given.spread,
        slots=given.slots,
    )
    executors = given.executors or ([LOCAL] if quick else list(EXECUTORS))
    answers = given.answers or ([0.1] if quick else [0.1, 0.3])
    output: Path = given.output or (QUICK_RESULTS if quick else RESULTS)
    report = _report(output / "slots.json", size, fresh=given.fresh or quick)
    output.mkdir(parents=True, exist_ok=True)
    for executor in executors:
        cells = list(product(answers, range(1, given.repeat + 1), given.kinds))
        if given.missing:
            cells = [cell for cell in cells if report.find(executor, *cell) is None]
        if not cells:
            continue
        home = Path(tempfile.mkdtemp(prefix="slots-"))
        print(f"{executor} starts", flush=True)
        try:
            with exit_on_termination(), measured_airflow(executor, size, home) as measured:
                for answer, number, kind in cells:
                    report.add(measure(measured, size, executor, answer, number, kind))
                    _write(report, output)
        finally:
            if given.keep:
                print(f"Everything that was written is in {home}")
            else:
                shutil.rmtree(home, ignore_errors=True)
    print(f"\n{table(report)}\nand {output / 'slots.png'}")
    wrong = [run for run in report.runs if run.failed or run.jobs != (run.tasks if KINDS[run.kind].syncs else 0)]
    for run in wrong:
        print(f"{run.executor}, {run.kind}: {run.failed} tasks failed, {run.jobs} jobs of {run.tasks}", file=sys.stderr)
    return 1 if wrong else 0


def measure(measured: Measured, size: Size, executor: str, answer: float, number: int, kind: str) -> Run:
    """Run one kind's DAG once.

    :param measured: The Airflow.
    :param size: How much it does.
    :param executor: Airflow's.
    :param answer: Seconds that each of Airbyte's answers takes.
    :param number: Which of several such runs, from 1.
    :param kind: One of :data:`~benchmarks.slots_report.KINDS`.
    """
    bench = measured.bench
    tasks = size.on_worker if KINDS[kind].on_worker else size.tasks
    bench.airbyte.handler_seconds = answer
    before = {job["id"] for job in bench.airbyte.jobs()}
    measured.sleeps.write_text("")
    bench.airbyte.clear_requests()
    bench.statsd.clear()
    # A connection of its own: the sampler has a thread of its own.
    database = psycopg2.connect(bench.database.replace("+psycopg2", ""))
    database.autocommit = True
    run_id = f"{kind}-{answer:g}-{number}-{time.time():.0f}"
    dag = f"slots_{kind}"

    def running() -> float:
        with database.cursor() as cursor:
            cursor.execute(
                "select count(*) from task_instance where dag_id = %s and run_id = %s and state = 'running'",
                (dag, run_id),
            )
            return float(cursor.fetchone()[0])

    def ended() -> int:
        rows = bench.query(
            "select count(*) from task_instance where dag_id = %s and run_id = %s and state in %s", dag, run_id, OVER
        )
        return int(rows[0][0])

    try:
        reader = LegReader(measured.logs)
        with Sampler(running) as sampler:
            began = time.time()
            bench.airflow.trigger(dag, run_id)
            bench.until(f"{kind}, {answer:g} s an answer", lambda: ended() == tasks, dag)
    finally:
        database.close()
    rows = bench.query(
        "select id::text, map_index, state, extract(epoch from end_date) from task_instance "
        "where dag_id = %s and run_id = %s",
        dag,
        run_id,
    )
    legs = reader.read({row[0] for row in rows})
    jobs = [job for job in bench.airbyte.jobs() if job["id"] not in before]
    if KINDS[kind].syncs:
        ends = {measured.connections.index(job["connectionId"]): job["updatedAt"] for job in jobs}
    else:
        ends = {int(index): float(end) for index, end in map(str.split, measured.sleeps.read_text().splitlines())}
    late = [float(end) - ends[index] for _, index, state, end in rows if state == "success"] or [0.0]
    run = Run(
        executor=executor,
        answer=answer,
        number=number,
        kind=kind,
        tasks=tasks,
        first_legs=round(sum(legs.first), 3),
        last_legs=round(sum(legs.last.values()), 3),
        legs=len(legs.first) + len(legs.last),
        running=round(slot_seconds(sampler.samples), 3),
        makespan=round(max(float(end) for *_, end in rows) - began, 3),
        requests=dict(Counter(call for call, *_ in bench.airbyte.requests)),
        blocked=len(bench.statsd.values("triggers.blocked_main_thread")),
        failed=sum(state != "success" for *_, state, _ in rows),
        jobs=len(jobs),
        late=round(median(late), 3),
        latest=round(max(late), 3),
        measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    bench.say(f"{executor}, {answer:g} s an answer, {kind}: {run.brief()}")
    return run


def _report(path: Path, size: Size, *, fresh: bool) -> Report:
    """Return what was measured already, of the same size.

    :raises SystemExit: It is of another size.
    """
    report = Report(machine(), size.tasks, size.on_worker, size.duration, size.spread, size.slots)
    if fresh or not path.exists():
        return report
    kept = Report.from_json(json.loads(path.read_text()))
    if (kept.machine, kept.size) != (report.machine, report.size):
        raise SystemExit(f"{path} was measured otherwise: {kept.size} on {kept.machine}; --fresh drops it")
    return kept


def _write(report: Report, output: Path) -> None:
    (output / "slots.json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    (output / "slots.md").write_text(table(report))
    plot(report, output / "slots.png")
    if output == RESULTS:
        write_between(Path("README.md"), brief(report), MARKS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slots", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="24 syncs of 15 s, one executor, one latency")
    parser.add_argument("--tasks", type=int, help="syncs at once (200)")
    parser.add_argument("--on-worker", type=int, metavar="TASKS", help="of those that keep their worker (12)")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="of a sync (60)")
    # The official trigger looks once in 60 s: syncs of just that length end when it looks, by chance.
    parser.add_argument("--spread", type=float, default=0.0, metavar="SECONDS", help="shortest to longest sync (0)")
    parser.add_argument("--slots", type=int, default=6, help="worker slots (6)")
    parser.add_argument("--answers", type=float, nargs="+", metavar="SECONDS", help="that Airbyte takes (0.1 0.3)")
    parser.add_argument("--executors", nargs="+", choices=EXECUTORS, metavar="EXECUTOR", help=", ".join(EXECUTORS))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--repeat", type=int, default=1, help="how often each is run, in turn (1)")
    parser.add_argument("--missing", action="store_true", help="run only what the output folder does not have yet")
    parser.add_argument("--fresh", action="store_true", help="drop what the output folder has")
    parser.add_argument("--keep", action="store_true", help="keep Airflow's homes with all logs")
    parser.add_argument("--output", type=Path, metavar="FOLDER")
    return parser


if __name__ == "__main__":
    sys.exit(main())
