"""``python -m chaos``: kill everything, clear and mark tasks, then count."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from airbyte_deferrable.simulator import Script
from chaos.cluster import Cluster, cluster
from chaos.plan import KINDS, Deed, Kill, deeds, durations, plan
from chaos.report import account
from chaos.rules import ENDED
from chaos.self_started import SelfStarted
from chaos.users import Run, Users, evidence
from harness.processes import exit_on_termination
from harness.simulator import SimulatorProcess

DAG = "chaos_syncs"


@dataclass(frozen=True)
class Size:
    """How much is run, and how much is killed.

    :param tasks: How many syncs.
    :param shortest: Seconds that the shortest of them lasts; the longest outlasts the last kill.
    :param rounds: How often everything is killed.
    :param pause: The least and the most seconds between two kills.
    :param down: The least and the most seconds until what was killed is started again.
    :param limit: Seconds after which the run is given up.
    """

    tasks: int
    shortest: float
    rounds: int
    pause: tuple[float, float]
    down: tuple[float, float]
    limit: float


FULL = Size(tasks=200, shortest=60, rounds=2, pause=(10, 22), down=(2, 6), limit=1800)
SHORT = Size(tasks=60, shortest=20, rounds=1, pause=(8, 14), down=(2, 5), limit=420)


@dataclass
class Diary:
    """What was seen while it ran, printed as it happens.

    :param began: When the run was started, on the monotonic clock.
    """

    began: float
    in_flight: dict[Kill, int] = field(default_factory=dict)
    peak: int = 0

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        print(f"{time.monotonic() - self.began:7.1f} s  {text}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it.

    :param arguments: The command line; that of the process when left out.
    :returns: The exit code: 0 if nothing was lost and nothing ran twice.
    """
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer syncs, everything killed once")
    parser.add_argument("--tasks", type=int, help="how many syncs; 200, with --short 60, when left out")
    parser.add_argument("--seed", type=int, help="what chance depends on; a new one when left out")
    parser.add_argument("--keep", action="store_true", help="keep Airflow's home with all logs")
    given = parser.parse_args(arguments)
    size = SHORT if given.short else FULL
    size = replace(size, tasks=given.tasks or size.tasks)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    kills = plan(seed, size.rounds, size.pause, size.down)
    seconds = durations(seed, size.tasks, size.shortest, kills)
    done = deeds(seed, size.tasks, kills)
    print(
        f"seed {seed}: {size.tasks} syncs of {size.shortest:g} to {max(seconds):g} s, {len(kills)} kills, users do "
        f"{len(done)} things"
    )
    home = Path(tempfile.mkdtemp(prefix="chaos-"))
    # Its jobs are in a file, and go on while it is down, as Airbyte's own do.
    options = ("--state-file", str(home / "airbyte.jsonl"))
    fine = False
    try:
        with exit_on_termination(), SimulatorProcess(home / "logs/simulator.log", *options, timeout=10) as airbyte:
            connection_ids = [
                airbyte.add_connection(name=f"Sync {number}", script=Script(duration=duration))
                for number, duration in enumerate(seconds)
            ]
            others = SelfStarted(airbyte, seed)
            with cluster(home, airbyte, connection_ids) as everything:
                fine = _run(everything, airbyte, connection_ids, others, kills, done, size)
    finally:
        if given.keep or not fine:
            print(f"Everything that was written is in {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)
    return 0 if fine else 1


def _run(
    everything: Cluster,
    airbyte: SimulatorProcess,
    connection_ids: list[str],
    others: SelfStarted,
    kills: list[Kill],
    to_do: list[Deed],
    size: Size,
) -> bool:
    diary = Diary(time.monotonic())
    airflow = everything.airflow
    run_id = airflow.trigger(DAG)
    run = Run(DAG, run_id, connection_ids, size.shortest)
    users = Users(everything, airbyte, run, to_do, diary.say)
    state = _kill_and_tend(everything, airbyte, run_id, others, kills, users, size, diary)
    diary.say(f"Airflow says: {state}")
    _let_all_rise(everything)
    handed = others.finish(everything, diary.say)
    tasks = airflow.task_instances(DAG, run_id, task_id="sync")
    jobs = [job for job in airbyte.jobs() if job["connectionId"] not in others.connection_ids]
    known = evidence(airflow, run, users.actions, everything.outages)
    balance = account(connection_ids, jobs, tasks, users.actions, known)
    tries = Counter(task["try_number"] for task in tasks)
    print("\nkills (seconds after the first job, victim, seconds down, syncs in flight)")
    for kill in kills:
        flight = diary.in_flight.get(kill)
        print(f"  {kill.at:7.1f}  {kill.victim:<12}{kill.down:>5.1f}  {'not reached' if flight is None else flight}")
    print("\noutages (seconds since the epoch)")
    for outage in everything.outages:
        print(f"  {outage.part:<12} from {outage.began:.1f} to {outage.ended:.1f}")
    for silence in known.silences:
        print(f"  {silence.part:<12} from {silence.began:.1f} to {silence.ended:.1f}, standing still")
    for name, times in Counter(everything.collapses).items():
        print(f"  ended by itself, started again: {name[0]} (status {name[1]}), {times} times")
    print(f"\nat most {diary.peak} syncs in flight; tries that tasks needed: {dict(sorted(tries.items()))}")
    print("\n".join([*balance.lines(), *handed.lines()]))
    missed = set(KINDS) - {kill.kind for kill, flight in diary.in_flight.items() if flight}
    if missed:
        print(f"never killed while syncs were in flight: {', '.join(sorted(missed))}")
    # A run ends failed in which a task is marked so.
    over = state in ("success", "failed") and users.done
    fine = balance.balanced and handed.balanced and over and not missed
    print("nothing lost, nothing twice" if fine else "NOT AS IT MUST BE")
    return fine


def _kill_and_tend(
    everything: Cluster,
    airbyte: SimulatorProcess,
    run_id: str,
    others: SelfStarted,
    kills: list[Kill],
    users: Users,
    size: Size,
    diary: Diary,
) -> str:
    """Kill after the plan, and let users act, until the run has ended; return how it ended."""
    first_job: float | None = None
    to_come = list(kills)
    told = 0.0
    while time.monotonic() < diary.began + size.limit:
        everything.tend()
        jobs = _jobs(airbyte, others)
        live = [job for job in jobs or () if job["status"] not in ENDED]
        diary.peak = max(diary.peak, len(live))
        if jobs and first_job is None:
            first_job = time.monotonic()
        if to_come and first_job is not None and time.monotonic() - first_job >= to_come[0].at:
            kill = to_come.pop(0)
            everything.kill(kill.victim, kill.down)
            diary.in_flight[kill] = len(live)
            diary.say(f"kill -9 {kill.victim}, back in {kill.down:g} s; {len(live)} syncs in flight")
        if first_job is not None:
            users.begin()
        if to_come:
            others.tend()
        if time.monotonic() - told > 15:
            told = time.monotonic()
            diary.say(f"{len(jobs or ())} jobs, {len(live)} live" if jobs is not None else "Airbyte is down")
        if jobs is None or to_come or not users.done or live:
            time.sleep(0.5)
            continue
        state = _run_state(everything, run_id)
        if state in ("success", "failed"):
            return state
        time.sleep(1)
    return f"not over after {size.limit:g} s"


def _jobs(airbyte: SimulatorProcess, others: SelfStarted) -> list[dict[str, Any]] | None:
    try:
        return [job for job in airbyte.jobs() if job["connectionId"] not in others.connection_ids]
    except OSError:
        return None


def _run_state(everything: Cluster, run_id: str) -> str | None:
    try:
        return everything.airflow.run_state(DAG, run_id)
    except httpx.HTTPError:
        return None


def _let_all_rise(everything: Cluster) -> None:
    """Wait until the API server answers, to ask it for the end."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        everything.tend()
        try:
            everything.airflow.health()
        except httpx.HTTPError:
            time.sleep(0.5)
        else:
            return


if __name__ == "__main__":
    sys.exit(main())
