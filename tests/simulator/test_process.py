"""The simulator as a process: command line, remote control, what survives a kill."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from airbyte_deferrable.simulator import Amount, Attempt, Fault, RemoteSimulator, Script, Simulator, Stream
from harness.waiting import IN_VAIN
from helpers.waiting import wait_until

Connect = Callable[[Simulator], httpx.Client]


class Process:
    """A simulator of the command line, and what it printed."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "airbyte_deferrable.simulator", "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if line.startswith("Stop"):
                break
        self.told = dict(line.split(": ", 1) for line in self.lines if ": " in line)
        self.host = self.told["Airbyte simulator"].strip().removesuffix("/api/public/v1")

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture
def run() -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def run(*options: str) -> Process:
        started.append(Process(*options))
        return started[-1]

    yield run
    for each in started:
        if each.process.poll() is None:
            each.end(signal.SIGKILL)


def test_command_line_introduces_itself(run: Callable[..., Process]) -> None:
    process = run("--connections", "2", "--duration", "600", "--client-id", "me", "--client-secret", "it's me")
    assert process.told["client id"].strip() == "me"
    connections = [line.split()[-1] for line in process.lines if line.startswith("connection:")]
    assert len(connections) == 2
    (command,) = (shlex.split(line) for line in process.lines if line.startswith("airflow"))
    assert command[:4] == ["airflow", "connections", "add", "airbyte_default"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options == {
        "--conn-type": "airbyte",
        "--conn-host": f"{process.host}/api/public/v1",
        "--conn-login": "me",
        "--conn-password": "it's me",
    }
    sim = RemoteSimulator(process.host)
    job = sim.add_job(connections[1])
    sim.advance(300)
    assert sim.job(job["id"])["status"] == "running"


def test_command_line_gives_its_connections_tags(run: Callable[..., Process]) -> None:
    process = run("--auth", "none", "--connections", "2", "--tag", "daily", "--tag", "finance")
    with httpx.Client(base_url=f"{process.host}/api/public/v1", trust_env=False) as http:
        rows = http.get("/connections").json()["data"]
    assert [[tag["name"] for tag in row["tags"]] for row in rows] == [["daily", "finance"]] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_simulator_stops_cleanly_with_requests_open(run: Callable[..., Process], number: int) -> None:
    process = run("--auth", "none", "--handler-ms", "600000")
    address = httpx.URL(process.host)
    with socket.create_connection((address.host, address.port or 0)) as client:
        client.sendall(b"GET /api/public/v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: RemoteSimulator(process.host).peak_in_flight)
        assert process.end(number) == 0


def test_port_that_is_taken_is_said_in_one_line(sim: Simulator) -> None:
    port = sim.host.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "airbyte_deferrable.simulator", "--port", port]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=IN_VAIN, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"cannot listen on 127.0.0.1:{port}")
    assert len(ended.stderr.splitlines()) == 1


def test_everything_survives_a_kill(run: Callable[..., Process], tmp_path: Path) -> None:
    state = ["--state-file", str(tmp_path / "jobs.json"), "--connections", "3", "--duration", "600"]
    process = run(*state)
    sim = RemoteSimulator(process.host)
    connections = [line.split()[-1] for line in process.lines if line.startswith("connection:")]
    credentials = {"client_id": sim.client_id, "client_secret": sim.client_secret}
    with httpx.Client(trust_env=False) as http:
        token = http.post(f"{sim.url}/applications/token", json=credentials).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        body = {"connectionId": connections[0], "jobType": "sync"}
        first = http.post(f"{sim.url}/jobs", json=body, headers=headers).json()["jobId"]
        second = sim.add_job(connections[1])["id"]
        sim.add_job(connections[2], Script(attempts=[Attempt(10), Attempt(10)]), created_ago=300)
        sim.advance(60)
        http.delete(f"{sim.url}/jobs/{first}", headers=headers)
        sim.finish(second, "failed")
        script = Script(duration=7000, streams={"orders": Amount(10, 100), "people": Amount(5, 50, 1)})
        streams: list[Any] = [Stream("orders", "shop", columns={"id": "integer"}, primary_key=["id"]), "people"]
        extra = sim.add_connection("Extra", script, streams=streams, tags=["finance"], source_type="mysql")
        running = sim.add_job(extra)["id"]
        sim.advance(5)
        before = sim.jobs()
        change = {"name": "Renamed", "configurations": {"streams": [{"name": "orders"}, {"name": "people"}]}}
        connection = http.patch(f"{sim.url}/connections/{extra}", json=change, headers=headers).json()
        process.end(signal.SIGKILL)

        again = RemoteSimulator(run(*state).host)
        after = again.jobs()
        moving = {"rows", "bytes", "rejected", "streams"}
        assert [{k: v for k, v in job.items() if k not in moving} for job in after] == [
            {k: v for k, v in job.items() if k not in moving} for job in before
        ]
        assert again.client_id == credentials["client_id"]
        assert http.get(f"{again.url}/jobs/{first}", headers=headers).json()["status"] == "cancelled"
        assert http.get(f"{again.url}/connections/{extra}", headers=headers).json() == connection
        again.advance(7000)
        ended = again.job(running)
        assert (ended["status"], ended["rows"], ended["bytes"], ended["rejected"]) == ("succeeded", 15, 150, 1)
        assert connection["name"] == "Renamed"
        assert again.add_job(extra)["id"] == running + 1


def test_line_that_the_kill_cut_off_is_forgotten(tmp_path: Path) -> None:
    state = tmp_path / "jobs.json"
    with Simulator(state_file=state) as sim:
        connection_id = sim.add_connection()
        sim.add_job(connection_id)
    with state.open("a") as file:
        file.write('{"op":"job","at":1')
    with Simulator(state_file=state) as sim:
        assert len(sim.jobs()) == 1
        sim.add_job(connection_id)
    with Simulator(state_file=state) as sim:
        assert [job["id"] for job in sim.jobs()] == [1, 2]
    assert all(json.loads(line) for line in state.read_text().splitlines())


def test_scripts_that_wait_for_their_turn_survive(tmp_path: Path) -> None:
    state = tmp_path / "jobs.json"
    with Simulator(state_file=state) as sim:
        connection_id = sim.add_connection()
        scripts = [Script(duration=1, outcome=each) for each in ("failed", "cancelled", "succeeded")]
        sim.script(connection_id, *scripts)
        sim.add_job(connection_id)
    with Simulator(state_file=state) as sim:
        sim.add_job(connection_id)
        sim.add_job(connection_id)
        sim.advance(10)
        assert [job["status"] for job in sim.jobs()] == ["failed", "cancelled", "succeeded"]


def test_jobs_can_be_asked_for_after_the_end() -> None:
    with Simulator() as sim:
        sim.add_job(sim.add_connection())
    assert len(sim.jobs()) == 1
    assert sim.count() == 0


def test_remote_one_does_the_same(sim: Simulator, connect: Connect) -> None:
    remote = RemoteSimulator(sim.host)
    assert (remote.url, remote.client_id, remote.workspace_id) == (sim.url, sim.client_id, sim.workspace_id)
    connection_id = remote.add_connection("Far", Script(attempts=[Attempt(5, "failed", failure={"failureType": "x"})]))
    remote.script(
        connection_id, Script(statuses=[(1, "running"), (2, "dozing")], rows=0, bytes=0), Script(outcome=None)
    )
    first = remote.add_job(connection_id)
    assert first == sim.job(first["id"])
    remote.advance(10)
    assert remote.jobs(status="dozing") == sim.jobs() != []
    remote.finish(first["id"], "failed")
    assert remote.jobs(connection_id=connection_id)[0]["status"] == "failed"
    remote.delete_job(first["id"])
    assert sim.jobs() == []
    remote.clock_skew = 5.0
    assert sim.clock_skew == 5.0
    number = remote.add_fault(Fault(call="list", status=500, headers={"X-Why": "test"}))
    answer = connect(sim).get("/jobs")
    assert (answer.status_code, answer.headers["X-Why"]) == (500, "test")
    assert remote.faults()[0]["hits"] == 1
    remote.clear_faults(number)
    assert remote.requests == sim.requests == [("list", "GET", "/api/public/v1/jobs", 500)]
    assert remote.count("list") == 1
    assert remote.spans == sim.spans
    remote.clear_requests()
    assert sim.requests == sim.spans == []


@pytest.mark.parametrize("kind", ["here", "remote"])
def test_mistakes_are_the_same_errors_here_and_far(sim: Simulator, kind: str) -> None:
    surface = sim if kind == "here" else RemoteSimulator(sim.host)
    with pytest.raises(LookupError, match="no job 9"):
        surface.finish(9, "failed")
    with pytest.raises(LookupError, match="no connection x"):
        surface.script("x", Script())
    with pytest.raises(ValueError, match="a script has no speed"):
        surface.add_connection(script={"speed": 5})
    with pytest.raises(ValueError, match="auth"):
        surface.configure(auth="none")
    with pytest.raises(ValueError, match="dozing"):
        surface.finish(sim.add_job(sim.add_connection())["id"], "dozing")


def test_refused_change_changes_nothing(sim: Simulator) -> None:
    before = sim.settings()
    with pytest.raises(ValueError, match="while_pending"):
        sim.configure(handler_seconds=1.0, while_pending="nonsense")
    assert sim.settings() == before
    sim.configure(token_lifetime=60.0)


def test_many_jobs_in_one_call(sim: Simulator) -> None:
    remote = RemoteSimulator(sim.host)
    connections = remote.add_connections(1000, Script(duration=600))
    assert remote.add_jobs(connections) == list(range(1, 1001))


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration": -1},
        {"outcome": "finished"},
        {"pending": -1},
        {"statuses": [(5, "running"), (1, "succeeded")]},
        {"attempts": [{"duration": 1, "outcome": "lost"}]},
    ],
)
def test_script_that_makes_no_sense_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"outcome|seconds"):
        Script.read(wrong)


def test_simulator_needs_neither_airflow_nor_pytest_nor_the_rest_of_the_package() -> None:
    code = (
        "import sys, airbyte_deferrable.simulator as s\n"
        "with s.Simulator() as sim: sim.add_job(sim.add_connection())\n"
        "ours = [m for m in sys.modules if m.startswith('airbyte_deferrable.') and 'simulator' not in m]\n"
        "print([m for m in ('airflow', 'pytest') if m in sys.modules] + ours)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert ended.stdout.strip() == "[]"


def test_users_can_name_the_fixtures_module_in_pytest_plugins(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["airbyte_deferrable.simulator.testing"]')
    (tmp_path / "test_dag.py").write_text("def test(airbyte_simulator):\n    assert airbyte_simulator.jobs() == []\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr
