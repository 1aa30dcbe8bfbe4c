"""An Airflow as people run it in earnest, on one machine: CeleryExecutor, two workers, two triggerers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from json import dumps
from pathlib import Path

from chaos.rules import Outage
from harness.airflow import LocalAirflow
from harness.celery import celery_workers
from harness.environment import as_variables
from harness.postgresql import PostgreSQL
from harness.redis import Redis
from harness.server import Server
from harness.simulator import SimulatorProcess

DAGS = Path(__file__).parent / "dags"

#: Slots of each of the two workers.
SLOTS = 4

#: Airflow's defaults are made for outages of minutes. These make it notice a crash within seconds, so that a run of
#: minutes has room for many; none of them changes what happens, only when.
QUICK_RECOVERY = {
    # A running task whose worker is silent for so long is taken for dead, and tried again (default: 300). Longer than
    # any outage here, so that a task that only lost the API server or the database is not tried twice at once.
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    # A scheduler is dead after so many seconds, and its successor takes over what it had queued (defaults: 30, 300).
    "SCHEDULER__JOB_HEARTBEAT_SEC": "2",
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
    # A task that was queued and never began: its message was with a worker that died (defaults: 600, 120).
    "SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
    "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
    # Airflow fails a task that was stuck so often, without a retry (default: 2).
    "SCHEDULER__NUM_STUCK_IN_QUEUED_RETRIES": "10",
    # The other triggerer takes over after so many seconds (defaults: 5, 30).
    "TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
    # Redis hands a message of a worker that died to another after so many seconds (default: a day). A task here is on
    # a worker for seconds only, so that no message is handed out twice while its task still runs.
    "CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "60",
    # How long a slot can stay taken after its task has left (default: 5).
    "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    # A worker whose task process loses the API server goes on trying for a minute.
    "WORKERS__EXECUTION_API_RETRIES": "10",
    "WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "8",
    "WORKERS__MAX_FAILED_HEARTBEATS": "30",
    # A connection from before the database's crash is found dead before it is used.
    "DATABASE__SQL_ALCHEMY_POOL_PRE_PING": "True",
}


class Cluster:
    """Everything that runs, by name; what ends by itself is started again, as every deployment does.

    :param airflow: The Airflow, started.
    :param servers: The servers, started.
    """

    def __init__(self, airflow: LocalAirflow, servers: list[Server]) -> None:
        self.airflow = airflow
        self._servers = {server.name: server for server in servers}
        self._down: dict[str, float] = {}
        #: When each was seen alive last, seconds since the epoch.
        self._alive: dict[str, float] = {}
        #: What ended by itself, with its exit status: a scheduler that lost its database, for example.
        self.collapses: list[tuple[str, int]] = []
        #: What was down, and when.
        self.outages: list[Outage] = []

    def kill(self, name: str, down: float) -> None:
        """``kill -9`` a process with all of its children, to be started again later.

        :param name: Which.
        :param down: Seconds until then.
        """
        began = time.time()
        if name in self._servers:
            self._servers[name].kill()
        else:
            self.airflow.kill(name)
        self._goes_down(name, down, began)

    def tend(self) -> None:
        """Start again what is due, and what ended by itself."""
        for name in (*self._servers, *self.airflow.components):
            if name in self._down:
                if time.monotonic() >= self._down[name]:
                    del self._down[name]
                    self._start(name)
                    self._is_back(name)
            elif (status := self._status(name)) is not None:
                self.collapses.append((name, status))
                self._goes_down(name, 2, self._alive.get(name, 0.0))
            else:
                self._alive[name] = time.time()

    def _goes_down(self, name: str, seconds: float, began: float) -> None:
        self._down[name] = time.monotonic() + seconds
        self.outages.append(Outage(name, began))

    def _is_back(self, name: str) -> None:
        *_, place = (place for place, each in enumerate(self.outages) if each.part == name)
        self.outages[place] = replace(self.outages[place], ended=time.time())

    def _start(self, name: str) -> None:
        if name in self._servers:
            self._servers[name].start()
        else:
            self.airflow.restart(name)

    def _status(self, name: str) -> int | None:
        return self._servers[name].returncode if name in self._servers else self.airflow.returncode(name)


@contextmanager
def cluster(home: Path, airbyte: SimulatorProcess, connection_ids: list[str]) -> Iterator[Cluster]:
    """Start it all but the Airbyte, and stop it in the end.

    :param home: Directory for everything that is written.
    :param airbyte: The Airbyte of the syncs, started.
    :param connection_ids: Its connections, a task for each.
    """
    logs = home / "logs"
    with PostgreSQL(logs / "postgresql.log") as postgresql, Redis(home / "redis", logs / "redis.log") as redis:
        workers, celery = celery_workers(home, postgresql, redis, SLOTS)
        with LocalAirflow(
            home,
            dags=DAGS,
            # More than the workers have: a task that a crash has lost counts until Airflow notices.
            parallelism=8 * SLOTS,
            executor="CeleryExecutor",
            database=postgresql.url,
            triggerers=2,
            more=workers,
            connections={"airbyte_default": airbyte.airflow_connection},
            config={"CHAOS_CONNECTIONS": dumps(connection_ids), **as_variables({**celery, **QUICK_RECOVERY})},
        ) as airflow:
            yield Cluster(airflow, [postgresql, redis, airbyte])
