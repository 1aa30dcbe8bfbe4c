"""PostgreSQL: Debian's programs, with a data folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

import psutil

from harness.loopback import LOOPBACK, free_port
from harness.processes import is_dead
from harness.server import Server
from harness.waiting import eventually

OPTIONS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "300",
    # kill -9 loses nothing that was handed to the operating system: only a power cut needs fsync.
    "fsync": "off",
}


class PostgreSQL(Server):
    """A PostgreSQL with an empty database, in which everybody on this machine is ``airflow``.

    :param log: File that receives its output.
    :raises RuntimeError: It is not installed.
    """

    def __init__(self, log: Path) -> None:
        programs = find_programs()
        if programs is None:
            raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
        self._programs = programs
        # PostgreSQL refuses to run as root.
        root = os.geteuid() == 0
        self._as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if root else []
        # Not in a folder of the caller's, which the user postgres may be unable to enter.
        self._folder = Path(tempfile.gettempdir(), f"harness-postgresql-{uuid.uuid4().hex}")
        port = free_port()
        command = [*self._as_postgres, str(programs / "postgres"), "-D", str(self._data), "-p", str(port)]
        command += [argument for name, value in OPTIONS.items() for argument in ("-c", f"{name}={value}")]
        super().__init__("postgresql", command, port, log)

    @property
    def url(self) -> str:
        """SQLAlchemy's address of the database."""
        return f"postgresql+psycopg2://airflow@{LOOPBACK}:{self.port}/postgres"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Make the data folder, if this is the first start, and start it.

        :raises RuntimeError: It ended at once; the message has its output.
        :raises TimeoutError: It does not answer in time.
        """
        if not self._folder.exists():
            self._folder.mkdir(mode=0o700)
            if self._as_postgres:
                shutil.chown(self._folder, "postgres", "postgres")
            initdb = [*self._as_postgres, str(self._programs / "initdb"), "-D", str(self._data)]
            initdb += ["-U", "airflow", "-A", "trust", "--no-sync"]
            subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL)
        super().start()

    def answers(self) -> bool:
        """Whether it takes queries: while it recovers from a crash it listens, but refuses them."""
        import psycopg2

        try:
            psycopg2.connect(host=LOOPBACK, port=self.port, user="airflow", dbname="postgres").close()
        except psycopg2.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """``kill -9`` the whole of it; its processes lead sessions of their own."""
        children: list[psutil.Process] = []
        if self.returncode is None:
            # Else it sees the first of them die, and starts others.
            self._service.signal(signal.SIGSTOP)
            children = psutil.Process(self.pid).children(recursive=True)
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        super().kill()
        # It does not start again while one of them has its shared memory.
        eventually(lambda: all(is_dead(child.pid) for child in children), what="the end of its processes")

    def stop(self) -> None:
        """Stop it without waiting for its clients, and drop the data."""
        try:
            self._service.signal(signal.SIGINT)
            super().stop()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def find_programs() -> Path | None:
    """Return the folder with initdb and postgres, which Debian keeps out of the PATH; None if there is none."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, os.environ.get("PATH", "").split(os.pathsep))]
    return next((folder for folder in found if all((folder / name).exists() for name in ("initdb", "postgres"))), None)
