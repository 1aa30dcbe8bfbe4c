"""What the end-to-end tests look through: a simulated Airbyte, and the processes of this machine."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil

from airbyte_deferrable._compat import AIRFLOW_3
from airbyte_deferrable.simulator import RemoteSimulator, Script
from chaos.servers import PostgreSQL
from harness.airflow import LOOPBACK, free_port
from harness.processes import Service

EXAMPLES = Path(__file__).parents[2] / "example_dags"
DAGS = Path(__file__).parent / "dags"
MANY = [str(uuid.UUID(int=number)) for number in range(1, 51)]  # what example_mapped.py runs
QUICK = Script(duration=2, rows=1000, bytes=100_000)
REFUSED = "a-client-secret-of-yesterday"  # of the Airflow connection airbyte_refused


class Airbyte(RemoteSimulator):
    """A simulated Airbyte in a process of its own."""

    @property
    def airflow_connection(self) -> dict[str, str]:
        """What an Airflow connection to it looks like."""
        return {
            "conn_type": "airbyte",
            "host": f"{self.host}/api/public/v1",
            "login": self.client_id,
            "password": self.client_secret,
        }

    def cancel(self, job_id: int) -> None:
        """Cancel a job as a user of Airbyte's API does."""
        api = f"{self.host}/api/public/v1"
        with httpx.Client(trust_env=False) as http:
            credentials = {"client_id": self.client_id, "client_secret": self.client_secret}
            token = http.post(f"{api}/applications/token", json=credentials).raise_for_status().json()["access_token"]
            http.delete(f"{api}/jobs/{job_id}", headers={"Authorization": f"Bearer {token}"}).raise_for_status()

    def jobs_of(self, connection_id: str) -> list[dict]:
        """The jobs of one connection, oldest first."""
        return sorted((job for job in self.jobs() if job["connectionId"] == connection_id), key=lambda job: job["id"])


def start_database(folder: Path, cleanup: ExitStack) -> str | None:
    """Start a database server for Airflow, where PostgreSQL is installed.

    Without one Airflow 3 makes do with SQLite, and can then stand still for as long as a lock is waited for, to answer
    500: its API server writes down what a user does inside its event loop, and a task's heartbeat that holds the lock
    needs that loop to let it go.

    :param folder: Where the server's output goes.
    :param cleanup: What stops it.
    :return: SQLAlchemy's address of an empty database; None for SQLite.
    :raises RuntimeError: There is no PostgreSQL, and this Airflow refuses SQLite.
    """
    try:
        server = PostgreSQL(folder / "postgresql.log")
    except RuntimeError:
        if not AIRFLOW_3:
            raise
        return None
    cleanup.callback(server.stop)
    server.start()
    return server.url


def start_airbyte(log: Path) -> tuple[Airbyte, Service]:
    """Start a simulator and wait until it answers."""
    port = free_port()
    command = [sys.executable, "-m", "airbyte_deferrable.simulator", "--host", LOOPBACK, "--port", str(port)]
    service = Service("simulator", [*command, "--connections", "0"], env=os.environ, log=log)
    service.start()
    airbyte = Airbyte(f"http://{LOOPBACK}:{port}")

    def answers() -> bool:
        assert service.returncode is None, service.tail()
        try:
            airbyte.jobs()
        except OSError:
            return False
        return True

    eventually(answers, timeout=30)
    return airbyte, service


def eventually(condition: Callable[[], object], timeout: float = 60.0) -> None:
    """Wait until a condition holds; fails with its name when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{condition.__name__} did not come true within {timeout:g} s"
        time.sleep(0.1)


def processes_with(variable: str, value: str) -> list[psutil.Process]:
    """All live processes that have an environment variable: a mark that children inherit."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(variable) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
