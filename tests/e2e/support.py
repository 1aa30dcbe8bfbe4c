"""What the end-to-end tests look through: a simulated Airbyte, and the processes of this machine."""

from __future__ import annotations

import uuid
from pathlib import Path

import httpx
import psutil

from airbyte_deferrable.simulator import Script
from harness.simulator import SimulatorProcess

EXAMPLES = Path(__file__).parents[2] / "example_dags"
DAGS = Path(__file__).parent / "dags"
MANY = [str(uuid.UUID(int=number)) for number in range(1, 51)]  # what example_mapped.py runs
QUICK = Script(duration=2, rows=1000, bytes=100_000)
REFUSED = "a-client-secret-of-yesterday"  # of the Airflow connection airbyte_refused


class Airbyte(SimulatorProcess):
    """A simulated Airbyte in a process of its own, with users who cancel jobs."""

    def cancel(self, job_id: int) -> None:
        """Cancel a job as a user of Airbyte's API does."""
        with httpx.Client(trust_env=False) as http:
            credentials = {"client_id": self.client_id, "client_secret": self.client_secret}
            asked = http.post(f"{self.url}/applications/token", json=credentials).raise_for_status()
            token = asked.json()["access_token"]
            http.delete(f"{self.url}/jobs/{job_id}", headers={"Authorization": f"Bearer {token}"}).raise_for_status()


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
