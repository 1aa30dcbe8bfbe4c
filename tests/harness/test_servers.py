"""Servers come up whole, survive a kill with what they were told, and leave neither a process nor a file."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from airbyte_deferrable.simulator import Script
from harness.loopback import free_port
from harness.postgresql import PostgreSQL, find_programs
from harness.redis import Redis
from harness.server import Server
from harness.simulator import SimulatorProcess
from harness.waiting import eventually


def needs(there: object, package: str) -> pytest.MarkDecorator:
    """Leave a test out where a program is missing; but the CI has to have it."""
    return pytest.mark.skipif(not there and "CI" not in os.environ, reason=f"needs Debian's {package}")


SERVERS: dict[str, Callable[[Path], Server]] = {
    "simulator": lambda folder: SimulatorProcess(folder / "log"),
    "postgresql": lambda folder: PostgreSQL(folder / "log"),
    "redis": lambda folder: Redis(folder / "redis", folder / "log"),
}


@pytest.fixture(
    params=[
        "simulator",
        pytest.param("postgresql", marks=needs(find_programs(), "postgresql")),
        pytest.param("redis", marks=needs(shutil.which("redis-server"), "redis-server")),
    ]
)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with SERVERS[request.param](tmp_path) as started:
        yield started


def family(server: Server) -> list[psutil.Process]:
    leader = psutil.Process(server.pid)
    return [leader, *leader.children(recursive=True)]


def lives(process: psutil.Process) -> bool:
    """Whether it still does anything: nobody may be there to clear away an orphan that has ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_server_answers_on_the_loopback_only_and_comes_back_after_a_kill(server: Server) -> None:
    assert server.answers()
    addresses = {each.laddr.ip for each in psutil.Process(server.pid).net_connections() if each.status == "LISTEN"}
    assert addresses == {"127.0.0.1"}
    before = family(server)
    server.kill()
    assert server.returncode == -signal.SIGKILL
    assert not server.answers()
    eventually(lambda: not any(map(lives, before)))
    server.start()
    assert server.answers()


def test_stopping_leaves_no_process_and_can_be_done_twice(server: Server) -> None:
    processes = family(server)
    server.stop()
    server.stop()
    eventually(lambda: not any(map(lives, processes)))


@needs(find_programs(), "postgresql")
def test_postgresql_keeps_what_it_was_told_through_a_kill_and_not_beyond_its_end(tmp_path: Path) -> None:
    import psycopg2

    with PostgreSQL(tmp_path / "log") as database:

        def ask(statement: str) -> list[tuple[object, ...]]:
            with closing(psycopg2.connect(database.url.replace("+psycopg2", ""))) as connection:
                connection.autocommit = True
                cursor = connection.cursor()
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []

        folder = Path(str(ask("show data_directory")[0][0]))
        ask("create table kept (number integer)")
        ask("insert into kept values (7)")
        database.kill()
        database.start()
        assert ask("select number from kept") == [(7,)]
    assert not folder.exists()


def test_simulator_with_a_state_file_goes_on_after_a_kill(tmp_path: Path) -> None:
    with SimulatorProcess(tmp_path / "log", "--state-file", str(tmp_path / "state")) as airbyte:
        connection = airbyte.airflow_connection
        job = airbyte.add_job(airbyte.add_connection(script=Script(outcome=None)))
        airbyte.kill()
        airbyte.start()
        assert airbyte.job(job["id"])["status"] in ("pending", "running")
        assert airbyte.airflow_connection == connection


def test_server_that_ends_at_once_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such option')"]
    with (
        pytest.raises(RuntimeError, match="odd ended with 1:\nno such option"),
        Server("odd", command, free_port(), tmp_path / "log"),
    ):
        pytest.fail("it started")


def test_server_that_was_never_started_can_be_stopped(tmp_path: Path) -> None:
    # A signal to "process 0" would reach all that this test runs in.
    server = SimulatorProcess(tmp_path / "log")
    server.kill()
    server.stop()
    assert server.returncode is None
