"""A real Airflow on this machine, with every component in a process of its own, that leaves nothing behind."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from harness.environment import LOCKED, WEBSERVER_CONFIG, base_settings, components, environment, reports
from harness.loopback import LOOPBACK, free_port
from harness.postgresql import PostgreSQL, find_programs
from harness.processes import Service, exit_on_termination, signals_held, stop_all
from harness.rest import PAGE, AirflowApi
from harness.waiting import eventually

PROBE = """
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
try:
    print(version("apache-airflow-core"))
except PackageNotFoundError:
    print(version("apache-airflow"))
print(all(map(find_spec, ("psycopg2", "asyncpg"))))
"""


class LocalAirflow(AirflowApi):
    """Starts scheduler, DAG processor, triggerers and API server; stops them however the block is left.

    ::

        with LocalAirflow(home, dags=Path("example_dags"), connections={"airbyte_default": {...}}) as airflow:
            run = airflow.trigger("example_deferrable")
            assert airflow.wait("example_deferrable", run, timeout=60) == "success"

    Without a database of the caller's it has a PostgreSQL of its own, where Debian's is installed, and else a SQLite
    file. On that Airflow 3 can stand still for as long as a lock is waited for, and then fail tasks and answer 500: its
    API server writes down what a user does inside its event loop, and a task's heartbeat that holds the lock needs that
    loop to let it go. Airflow 2.11 runs too (webserver instead of API server, the DAG processor inside the scheduler),
    but refuses SQLite. Everybody who can reach the port is an administrator, so it listens on the loopback
    interface only, and no log servers are started: the API server reads the log files.

    :param home: Directory for everything that Airflow writes; created if need be. The output of each component is in
        ``logs/<component>.log`` below it.
    :param dags: Directory with the DAG files. Files that Airflow can't import make the start fail.
    :param parallelism: Worker slots: how many tasks run at the same time.
    :param executor: Airflow's executor.
    :param database: SQLAlchemy URL of an existing, possibly empty database. Default: one of its own, see above.
    :param triggerers: How many triggerer processes.
    :param more: Other components by name, each the arguments of Airflow's command line: for example
        ``{"worker": ["celery", "worker", "--skip-serve-logs"]}`` beside the executor that gives it work.
    :param connections: Airflow connections by id, each a URI or a dictionary (``conn_type``, ``host``, ...).
    :param config: More environment variables of all components, for example
        ``{"AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True"}``.
    :param python: The interpreter whose Airflow to run.
    :param login: Who asks its API, and with which password, where ``config`` has users. Default: everybody may all.
    :param start_timeout: Seconds until everything has to be healthy and every DAG file parsed.
    :raises ValueError: Airflow 2 was asked for, and there is no database server.
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
        login: tuple[str, str] | None = None,
        start_timeout: float = 600.0,
    ) -> None:
        self.home = home.absolute()
        self.dags = dags.absolute()
        self.python = python
        probed = subprocess.run([python, "-c", PROBE], check=True, capture_output=True, text=True)
        self.version, has_drivers = probed.stdout.split()
        major = int(self.version.split(".")[0])
        self._server: PostgreSQL | None = None
        if database is None and has_drivers == "True" and find_programs() is not None:
            self._server = PostgreSQL(self.home / "logs" / "postgresql.log")
            database = self._server.url
        if major < 3 and database is None:
            raise ValueError(f"Airflow {self.version} needs a database server: its LocalExecutor refuses SQLite")
        port = free_port()
        super().__init__(f"http://{LOOPBACK}:{port}", major, login)
        self._sqlite = None if database else self.home / "airflow.db"
        self._start_timeout = start_timeout
        settings = {
            **base_settings(major, self.home, port),
            "CORE__DAGS_FOLDER": str(self.dags),
            "CORE__EXECUTOR": executor,
            "CORE__PARALLELISM": str(parallelism),
            "DATABASE__SQL_ALCHEMY_CONN": database or f"sqlite:///{self._sqlite}?timeout={LOCKED}",
        }
        #: The environment variables of all components, for commands beside them.
        self.env = environment(self.home, python=python, settings=settings, connections=connections or {})
        self.env.update(config or {})
        self._commands = {**components(major, triggerers), **(more or {})}
        self._services = {name: self._service(name, *args) for name, args in self._commands.items()}
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
            if self._server is not None:
                self._cleanup.enter_context(self._server)
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

    @contextmanager
    def successor(self, component: str) -> Iterator[None]:
        """Run a component once more, beside what is left of the first, which is not stopped.

        :param component: One of :attr:`components`.
        """
        service = self._service(f"{component}-successor", *self._commands[component])
        try:
            service.start()
            yield
        finally:
            stop_all([service])

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

    def _service(self, name: str, *args: str) -> Service:
        return Service(
            name, [self.python, "-m", "airflow", *args], env=self.env, log=self.home / "logs" / f"{name}.log"
        )

    def _prepare(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        if self.major < 3:
            (self.home / "webserver_config.py").write_text(WEBSERVER_CONFIG)
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
            with closing(sqlite3.connect(self._sqlite)) as database:
                database.execute("PRAGMA journal_mode=WAL")

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
        return all(health.get(component) == "healthy" for component in reports(self.major))

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

    def _await(self, what: str, condition: Callable[[], object]) -> None:
        try:
            eventually(condition, self._start_timeout, what=what)
        except TimeoutError as error:
            tails = "\n".join(f"--- {service.name}\n{service.tail(8)}" for service in self._services.values())
            raise TimeoutError(f"{error}\n{tails}") from None
