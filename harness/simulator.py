"""The simulated Airbyte as a process."""

from __future__ import annotations

import sys
from pathlib import Path

from airbyte_deferrable.simulator import RemoteSimulator
from airbyte_deferrable.simulator.surface import Surface
from harness.loopback import LOOPBACK, free_port
from harness.server import Server


class SimulatorProcess(Server, RemoteSimulator):
    """An Airbyte in a process of its own; what a :class:`~airbyte_deferrable.simulator.Simulator` does, this does.

    It has no connections at first.

    :param log: File that receives its output.
    :param options: More of its command line: ``"--handler-ms", "20"``, for example, or ``"--state-file", path`` for
        jobs that outlive a :meth:`kill`, and go on meanwhile as Airbyte's own do.
    :param timeout: Seconds to wait for each answer.
    """

    def __init__(self, log: Path, *options: str, timeout: float = 60.0) -> None:
        port = free_port()
        command = [sys.executable, "-m", "airbyte_deferrable.simulator", "--host", LOOPBACK, "--port", str(port)]
        Server.__init__(self, "simulator", [*command, "--connections", "0", *options], port, log)
        RemoteSimulator.__init__(self, f"http://{LOOPBACK}:{port}", timeout)

    @property
    def airflow_connection(self) -> dict[str, str]:
        """See :func:`airflow_connection`."""
        return airflow_connection(self)

    def answers(self) -> bool:
        """Whether it answers requests."""
        try:
            self.now()
        except OSError:
            return False
        return True


def airflow_connection(airbyte: Surface) -> dict[str, str]:
    """Return what an Airflow connection to an Airbyte looks like.

    :param airbyte: The Airbyte, which runs and wants client credentials.
    """
    return {
        "conn_type": "airbyte",
        "host": airbyte.url,
        "login": airbyte.client_id,
        "password": airbyte.client_secret,
    }
