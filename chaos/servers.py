"""The servers that Airflow stands on: PostgreSQL, Redis and a simulated Airbyte, each killed and brought back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError

import psutil

from airbyte_deferrable.simulator import RemoteSimulator
from harness.airflow import LOOPBACK, free_port
from harness.processes import Service, stop_all


class Server:
    """One server process on a loopback port.

    :param name: What to call it.
    :param command: The program and its arguments.
    :param port: Where it will listen.
    :param log: File that receives its output.
    """

    def __init__(self, name: str, command: list[str], port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self.service = Service(name, command, env=os.environ, log=log)

    def start(self) -> None:
        """Start it, and wait until it takes connections.

        :raises RuntimeError: it ended at once; the message has its output.
        :raises TimeoutError: it does not listen within half a minute.
        """
        self.service.start()
        deadline = time.monotonic() + 30
        while not self.answers():
            if self.service.returncode is not None:
                raise RuntimeError(f"{self.name} ended with {self.service.returncode}:\n{self.service.tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} does not answer:\n{self.service.tail()}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether it can be used."""
        with suppress(OSError), socket.create_connection((LOOPBACK, self.port), timeout=1):
            return True
        return False

    def kill(self) -> None:
        """``kill -9`` the whole of it, as when its machine dies."""
        # Not only its session: PostgreSQL's children lead sessions of their own.
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.service.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        self.service.signal(signal.SIGKILL, everything=True)
        stop_all([self.service])

    def stop(self) -> None:
        """Stop it; harmless if it does not run."""
        stop_all([self.service])


class PostgreSQL(Server):
    """A PostgreSQL with a fresh data folder and a database ``airflow`` for everybody on this machine.

    :param log: File that receives its output.
    """

    def __init__(self, log: Path) -> None:
        programs = _postgresql_programs()
        self._folder = Path(tempfile.mkdtemp(prefix="chaos-postgresql-"))
        prefix: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self._folder, "postgres", "postgres")
            prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        data = self._folder / "data"
        initdb = [*prefix, str(programs / "initdb"), "-D", str(data), "-U", "airflow", "-A", "trust", "--no-sync"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL)
        port = free_port()
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": "300",
            # kill -9 loses nothing that was handed to the operating system: only a power cut needs fsync.
            "fsync": "off",
        }
        command = [*prefix, str(programs / "postgres"), "-D", str(data)]
        command += [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
        super().__init__("postgresql", command, port, log)

    @property
    def url(self) -> str:
        """SQLAlchemy's address of the database."""
        return f"postgresql+psycopg2://airflow@{LOOPBACK}:{self.port}/postgres"

    def answers(self) -> bool:
        """Whether it takes queries: while it recovers from a crash it listens, but refuses them."""
        import psycopg2  # type: ignore[import-untyped,unused-ignore]

        try:
            psycopg2.connect(host=LOOPBACK, port=self.port, user="airflow", dbname="postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Stop it at once, without waiting for its clients, and drop the data."""
        if self.service.returncode is None:
            self.service.signal(signal.SIGINT)
        super().stop()
        shutil.rmtree(self._folder, ignore_errors=True)


class Redis(Server):
    """A Redis that writes down what it is told before it answers, as a broker should.

    :param folder: Where its data goes.
    :param log: File that receives its output.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        folder.mkdir(parents=True)
        port = free_port()
        command = ["redis-server", "--bind", LOOPBACK, "--port", str(port), "--dir", str(folder)]
        super().__init__("redis", [*command, "--save", "", "--appendonly", "yes"], port, log)

    @property
    def url(self) -> str:
        """Celery's address of it."""
        return f"redis://{LOOPBACK}:{self.port}/0"


class Airbyte(Server):
    """A simulated Airbyte whose jobs are in a file, and go on while it is down, as Airbyte's own do.

    :param folder: Where the file goes.
    :param log: File that receives its output.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        port = free_port()
        self.client_id, self.client_secret = str(uuid.uuid4()), uuid.uuid4().hex
        command = [sys.executable, "-m", "airbyte_deferrable.simulator", "--host", LOOPBACK, "--port", str(port)]
        command += ["--client-id", self.client_id, "--client-secret", self.client_secret]
        command += ["--connections", "0", "--state-file", str(folder / "airbyte.jsonl")]
        super().__init__("simulator", command, port, log)
        self.remote = RemoteSimulator(f"http://{LOOPBACK}:{port}", timeout=10)

    @property
    def airflow_connection(self) -> dict[str, str]:
        """What an Airflow connection to it looks like."""
        host = f"{self.remote.host}/api/public/v1"
        return {"conn_type": "airbyte", "host": host, "login": self.client_id, "password": self.client_secret}

    def answers(self) -> bool:
        """Whether it answers requests."""
        try:
            self.remote.now()
        except (URLError, OSError):
            return False
        return True


def _postgresql_programs() -> Path:
    """Where initdb and postgres are: Debian keeps them out of PATH."""
    candidates = [*Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, os.environ.get("PATH", "").split(os.pathsep))]
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
