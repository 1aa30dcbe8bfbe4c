"""A real Airflow on this machine, with every component in a process of its own, that leaves nothing behind."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from json import dumps
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from harness.processes import Service, exit_on_termination, signals_held, stop_all
from harness.rest import PAGE, AirflowApi

LOOPBACK = "127.0.0.1"
VERSION_PROBE = """
from importlib.metadata import PackageNotFoundError, version
try:
    print(version("apache-airflow-core"))
except PackageNotFoundError:
    print(version("apache-airflow"))
"""


class LocalAirflow(AirflowApi):
    """Starts scheduler, DAG processor, triggerers and API server; stops them however the block is left.

    ::

        with LocalAirflow(home, dags=Path("example_dags"), connections={"airbyte_default": {...}}) as airflow:
            run = airflow.trigger("example_deferrable")
            assert airflow.wait("example_deferrable", run, timeout=60) == "success"

    Airflow 2.11 runs too (webserver instead of API server, the DAG processor inside the scheduler), with a
    PostgreSQL or MySQL database. Everybody who can reach the port is an administrator, so it listens on the loopback
    interface only, and no log servers are started: the API server reads the log files.

    :param home: Directory for everything that Airflow writes; created if need be. The output of each component is in
        ``logs/<component>.log`` below it.
    :param dags: Directory with the DAG files. Files that Airflow can't import make the start fail.
    :param parallelism: Worker slots: how many tasks run at the same time.
    :param executor: Airflow's executor.
    :param database: SQLAlchemy URL of an existing, possibly empty database; a SQLite file in ``home`` by default.
    :param triggerers: How many triggerer processes.
    :param more: Other components by name, each the arguments of Airflow's command line: for example
        ``{"worker": ["celery", "worker", "--skip-serve-logs"]}`` beside the executor that gives it work.
    :param connections: Airflow connections by id, each a URI or a dictionary (``conn_type``, ``host``, ...).
    :param config: More environment variables of all components, for example
        ``{"AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True"}``.
    :param python: The interpreter whose Airflow to run.
    :param start_timeout: Seconds until everything has to be healthy and every DAG file parsed.
    :raises ValueError: Airflow 2 was asked for without a database server.
    """

    def __init__(
        self,
        home: Path,
        *,
        dags: Path,
        parallelism: int = 2,
        executor: str = "LocalExecutor",
        database: str | None = None,
        triggerers: int = 1,
        more: Mapping[str, Sequence[str]] | None = None,
        connections: Mapping[str, Mapping[str, Any] | str] | None = None,
        config: Mapping[str, str] | None = None,
        python: str = sys.executable,
        start_timeout: float = 120.0,
    ) -> None:
        self.home = home.absolute()
        self.dags = dags.absolute()
        self.python = python
        self.version = subprocess.run(
            [python, "-c", VERSION_PROBE], check=True, capture_output=True, text=True
        ).stdout.strip()
        major = int(self.version.split(".")[0])
        if major < 3 and database is None:
            raise ValueError(f"Airflow {self.version} needs a database server: its LocalExecutor refuses SQLite")
        self._port = free_port()
        super().__init__(f"http://{LOOPBACK}:{self._port}", major)
        self._sqlite = None if database else self.home / "airflow.db"
        self._start_timeout = start_timeout
        #: The environment variables of all components, for commands beside them.
        self.env = self._environment(parallelism, executor, database, connections or {}, config or {})
        commands = {**self._commands(triggerers), **(more or {})}
        self._services = {name: self._service(name, *args) for name, args in commands.items()}
        self._cleanup = ExitStack()

    @property
    def components(self) -> tuple[str, ...]:
        """The names that :meth:`kill` and :meth:`restart` take."""
        return tuple(self._services)

    def __enter__(self) -> LocalAirflow:
        """Start everything.

        :raises RuntimeError: a component ended, or a DAG file can't be imported; the message has its output.
        :raises TimeoutError: not everything was ready in time.
        """
        try:
            self._cleanup.enter_context(exit_on_termination())
            self._cleanup.callback(self._http.close)
            self._cleanup.callback(lambda: stop_all(self._services.values()))
            self._prepare()
            for service in self._services.values():
                service.start()
            self._await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop everything."""
        self.stop()

    def stop(self) -> None:
        """Stop every process; harmless when that has been done."""
        with signals_held():
            self._cleanup.close()

    def kill(self, component: str, signum: int = signal.SIGKILL, *, everything: bool = True) -> None:
        """Send a signal to a component.

        :param component: One of :attr:`components`.
        :param signum: The signal, for example ``signal.SIGSTOP`` for a machine that hangs.
        :param everything: To all processes of the component (a triggerer's runner, a scheduler's workers), as when
            a machine dies; else only to the one that was started.
        """
        self._services[component].signal(signum, everything=everything)

    def restart(self, component: str) -> None:
        """Stop a component, if it still runs, and start it again. Does not wait until it works.

        :param component: One of :attr:`components`.
        """
        service = self._services[component]
        stop_all([service])
        service.start()

    def returncode(self, component: str) -> int | None:
        """How a component ended, negative for the signal that killed it; None while it runs.

        :param component: One of :attr:`components`.
        """
        return self._services[component].returncode

    def pids(self, component: str | None = None) -> list[int]:
        """Process ids of everything that runs.

        :param component: Of this component only.
        """
        services = [self._services[component]] if component else self._services.values()
        return [pid for service in services for pid in service.members()]

    def _environment(
        self,
        parallelism: int,
        executor: str,
        database: str | None,
        connections: Mapping[str, Mapping[str, Any] | str],
        config: Mapping[str, str],
    ) -> dict[str, str]:
        settings = {
            "API__MAXIMUM_PAGE_LIMIT": str(PAGE),
            "CORE__DAGS_FOLDER": str(self.dags),
            "CORE__EXECUTOR": executor,
            "CORE__PARALLELISM": str(parallelism),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__MAX_ACTIVE_TASKS_PER_DAG": "1000",
            "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            # SQLite lets writers wait this many seconds for each other. Python's default of 5 is short for a start, and
            # for as long Airflow 3's API server can stand still: it writes down what a user does inside its event loop,
            # and a heartbeat that has the lock needs that loop to let it go.
            "DATABASE__SQL_ALCHEMY_CONN": database or f"sqlite:///{self._sqlite}?timeout=15",
            "LOGGING__BASE_LOG_FOLDER": str(self.home / "logs"),
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
            "SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        if self.major >= 3:
            settings |= {
                "API__HOST": LOOPBACK,
                "API__PORT": str(self._port),
                "API__BASE_URL": self.url,
                "API__WORKERS": "1",
                "API__SECRET_KEY": secrets.token_hex(16),
                "API_AUTH__JWT_SECRET": secrets.token_hex(32),
                "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
                "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
                "DAG_PROCESSOR__PARSING_PROCESSES": "1",
            }
        else:
            settings |= {
                "WEBSERVER__WEB_SERVER_HOST": LOOPBACK,
                "WEBSERVER__WEB_SERVER_PORT": str(self._port),
                "WEBSERVER__BASE_URL": self.url,
                "WEBSERVER__WORKERS": "1",
                "WEBSERVER__SECRET_KEY": secrets.token_hex(16),
                "API__AUTH_BACKENDS": "airflow.api.auth.backend.default",
                "SCHEDULER__PARSING_PROCESSES": "1",
            }
        # Nothing of the user's own Airflow may leak in: neither its settings nor its connections and variables.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        return {
            **inherited,
            "PATH": os.pathsep.join([str(Path(self.python).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), LOOPBACK, "localhost"])),
            # macOS kills forked children that use its frameworks, as Airflow's workers do when they look for proxies.
            "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
            "AIRFLOW_HOME": str(self.home),
            **{f"AIRFLOW__{name}": value for name, value in settings.items()},
            **{
                f"AIRFLOW_CONN_{conn_id.upper()}": value if isinstance(value, str) else dumps(value)
                for conn_id, value in connections.items()
            },
            **config,
        }

    def _commands(self, triggerers: int) -> dict[str, list[str]]:
        commands = {"scheduler": ["scheduler", "--skip-serve-logs"]}
        for number in range(1, triggerers + 1):
            name = "triggerer" if number == 1 else f"triggerer-{number}"
            commands[name] = ["triggerer", "--skip-serve-logs"]
        if self.major >= 3:
            return {**commands, "dag-processor": ["dag-processor"], "api-server": ["api-server"]}
        return {**commands, "webserver": ["webserver"]}

    def _service(self, name: str, *args: str) -> Service:
        return Service(
            name, [self.python, "-m", "airflow", *args], env=self.env, log=self.home / "logs" / f"{name}.log"
        )

    def _prepare(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        if self.major < 3:
            (self.home / "webserver_config.py").write_text('AUTH_ROLE_PUBLIC = "Admin"\nWTF_CSRF_ENABLED = False\n')
        migration = self._service("db-migrate", "db", "migrate")
        try:
            migration.start()
            self._await("the database", lambda: migration.returncode is not None)
            if migration.returncode:
                raise RuntimeError(f"airflow db migrate failed:\n{migration.tail()}")
        finally:
            stop_all([migration])
        if self._sqlite:
            # Readers and the one writer don't block each other then; the setting stays with the file.
            with sqlite3.connect(self._sqlite) as database:
                database.execute("PRAGMA journal_mode=WAL")
            database.close()

    def _await_ready(self) -> None:
        self._await("all components to be healthy", self._is_healthy)
        self._await(f"the DAG files in {self.dags} to be parsed", self._is_parsed)

    def _is_healthy(self) -> bool:
        for service in self._services.values():
            if service.returncode is not None:
                message = f"airflow {service.name} ended with status {service.returncode}:\n{service.tail()}"
                raise RuntimeError(message)
        try:
            health = self.health()
        except (httpx.TransportError, httpx.HTTPStatusError):
            return False
        needed = {"metadatabase", "scheduler", "triggerer"} | ({"dag_processor"} if self.major >= 3 else set())
        return all(health.get(component) == "healthy" for component in needed)

    def _is_parsed(self) -> bool:
        errors = self.api("GET", "/importErrors")["import_errors"]
        if errors:
            details = "\n".join(f"{error['filename']}:\n{error['stack_trace']}" for error in errors)
            raise RuntimeError(f"Airflow can't import these DAG files:\n{details}")
        parsed = {Path(dag["fileloc"]) for dag in self.api("GET", "/dags", params={"limit": PAGE})["dags"]}
        return self._dag_files() <= parsed

    def _dag_files(self) -> set[Path]:
        """The files that Airflow takes for DAG files: see ``might_contain_dag`` in its documentation."""
        return {
            path
            for path in self.dags.rglob("*.py")
            if all(word in path.read_text(errors="replace").lower() for word in ("dag", "airflow"))
        }

    def _await(self, what: str, condition: Any) -> None:
        deadline = time.monotonic() + self._start_timeout
        while not condition():
            if time.monotonic() > deadline:
                tails = "\n".join(f"--- {s.name}\n{s.tail(8)}" for s in self._services.values())
                raise TimeoutError(f"waited {self._start_timeout:g} s for {what}\n{tails}")
            time.sleep(0.1)


def free_port() -> int:
    """A TCP port on the loopback interface that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
