"""The Airflow whose workers are measured: with LocalExecutor, or with CeleryExecutor and two triggerers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from airbyte_deferrable.simulator import Script
from benchmarks.bench import Bench
from benchmarks.measure import PYTHON_PATH, simulator
from harness.airflow import LocalAirflow
from harness.celery import celery_workers
from harness.environment import as_variables
from harness.postgresql import PostgreSQL
from harness.redis import Redis
from harness.statsd import StatsdServer

LOCAL, CELERY = "LocalExecutor", "CeleryExecutor"
EXECUTORS = (LOCAL, CELERY)
#: ``[workers] min_heartbeat_interval``, seconds.
HEARTBEAT = 1


@dataclass(frozen=True)
class Size:
    """How much one run does.

    :param tasks: How many syncs.
    :param on_worker: How many of those that keep their worker.
    :param duration: Seconds that a sync takes on average.
    :param spread: Seconds between the shortest and the longest sync.
    :param slots: Worker slots, an even number: Celery has them on two workers.
    """

    tasks: int
    on_worker: int
    duration: float
    spread: float
    slots: int

    def __post_init__(self) -> None:
        if self.slots % 2:
            raise ValueError("slots is an even number: Celery has them on two workers")
        if not 0 <= self.spread < 2 * self.duration:
            raise ValueError("spread is less than twice the duration")

    def durations(self) -> list[float]:
        """Return how long each sync takes: even steps, in an order that is the same each time."""
        steps = max(self.tasks - 1, 1)
        durations = [self.duration + self.spread * (number / steps - 0.5) for number in range(self.tasks)]
        random.Random(1).shuffle(durations)
        return durations


@dataclass(frozen=True)
class Measured:
    """What runs, and where it tells of itself.

    :param logs: Files of the processes that hold the worker slots.
    :param connections: Airbyte's connections, one for each task.
    :param sleeps: File in which the tasks that sleep write down when their sleep is to end.
    """

    bench: Bench
    logs: Sequence[Path]
    connections: Sequence[str]
    sleeps: Path


@contextmanager
def measured_airflow(executor: str, size: Size, home: Path) -> Iterator[Measured]:
    """Start it all, and stop it in the end.

    :param executor: One of :data:`EXECUTORS`.
    :param size: How much each run does.
    :param home: Directory for everything that is written.
    """
    logs = home / "logs"
    with ExitStack() as cleanup:
        airbyte = cleanup.enter_context(simulator())
        postgresql = cleanup.enter_context(PostgreSQL(logs / "postgresql.log"))
        statsd = cleanup.enter_context(StatsdServer())
        workers: dict[str, list[str]] = {}
        settings: dict[str, str] = {}
        if executor == CELERY:
            redis = cleanup.enter_context(Redis(home / "redis", logs / "redis.log"))
            workers, settings = celery_workers(home, postgresql, redis, size.slots // 2)
        durations = size.durations()
        connections = [
            airbyte.add_connection(name=f"Connection {number}", script=Script(duration=duration))
            for number, duration in enumerate(durations, 1)
        ]
        (home / "durations.json").write_text(json.dumps(durations))
        (home / "connections.json").write_text(json.dumps(connections))
        soon_over = [airbyte.add_connections(size.slots, Script(duration=0.2, pending=0)) for _ in range(2)]
        (home / "warm-up.json").write_text(json.dumps(soon_over))
        airflow = LocalAirflow(
            home,
            dags=Path(__file__).parent / "dags" / "slots",
            # Celery's slots are its workers'; this is what may wait for one beyond them: Airflow's default.
            parallelism=size.slots if executor == LOCAL else max(32, 2 * size.slots),
            executor=executor,
            database=postgresql.url,
            triggerers=1 if executor == LOCAL else 2,
            more=workers,
            connections={"airbyte_bench": airbyte.airflow_connection},
            config={
                **statsd.settings,
                **as_variables(settings),
                # An Airflow on a busy machine often misses a process's end, and looks again after so many seconds
                # (default: 5). That is chance, and would hide what the kinds differ in.
                "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": str(HEARTBEAT),
                "BENCH_CONNECTIONS_FILE": str(home / "connections.json"),
                "BENCH_ON_WORKER": str(size.on_worker),
                "BENCH_DURATIONS_FILE": str(home / "durations.json"),
                "BENCH_WARM_UP_FILE": str(home / "warm-up.json"),
                "BENCH_SLEEP_FILE": str(home / "sleeps"),
                **PYTHON_PATH,
            },
        )
        bench = Bench(cleanup.enter_context(airflow), postgresql.url, airbyte, statsd)
        cleanup.callback(bench.close)
        # The workers of LocalExecutor are children of the scheduler and write to its log.
        tell = [logs / f"{name}.log" for name in workers or ["scheduler"]]
        # Whether they succeed is no matter: Airflow can fail a task whose event comes as soon as it is deferred.
        airflow.wait("slots_warm_up", airflow.trigger("slots_warm_up"), timeout=300)
        yield Measured(bench, tell, connections, home / "sleeps")
