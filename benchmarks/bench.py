"""A running Airflow that is measured, with everything around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg2

from airbyte_deferrable.simulator import RemoteSimulator
from harness.airflow import LocalAirflow
from harness.statsd import StatsdServer

#: Seconds after which a run is given up.
LIMIT = 3600.0


class Bench:
    """The running parts, and what Airflow's database tells of its tasks.

    :param database: SQLAlchemy's address of it.
    """

    def __init__(self, airflow: LocalAirflow, database: str, airbyte: RemoteSimulator, statsd: StatsdServer) -> None:
        self.airflow = airflow
        self.airbyte = airbyte
        self.statsd = statsd
        self.database = database
        self._database = psycopg2.connect(database.replace("+psycopg2", ""))
        self._database.autocommit = True
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        print(f"{time.monotonic() - self._began:5.0f} s  {text}", flush=True)

    def states(self, dag: str) -> dict[str, int]:
        """Return how many tasks of a DAG are in which state."""
        return dict(
            self.query("select coalesce(state, ''), count(*) from task_instance where dag_id = %s group by 1", dag)
        )

    def query(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Ask Airflow's database."""
        with self._database.cursor() as cursor:
            cursor.execute(statement, arguments)
            return list(cursor.fetchall())

    def until(self, what: str, condition: Callable[[], bool], states_of: str) -> None:
        """Wait, and say now and then how the tasks stand."""
        deadline, told = time.monotonic() + LIMIT, 0.0
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: {self.states(states_of)}")
            if time.monotonic() - told > 30:
                told = time.monotonic()
                self.say(f"{what}: {self.states(states_of)}")
            time.sleep(0.5)

    def close(self) -> None:
        """Leave the database."""
        self._database.close()
