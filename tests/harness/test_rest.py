"""The demo's and the tests' way to ask Airflow survives what Airflow does on SQLite."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from harness import rest


class Airflow(HTTPServer):
    """Answers 500 a number of times, then at last."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.troubles = 0
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Airflow

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.path)
        self.send_response(500 if len(self.server.asked) <= self.server.troubles else 200)
        body = b'{"dag_run_id": "run-1"}'
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def airflow() -> Iterator[Airflow]:
    with Airflow() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def api(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> rest.AirflowApi:
    monkeypatch.setattr(rest, "PAUSE", 0)
    return rest.AirflowApi(f"http://127.0.0.1:{airflow.server_port}", 2)


def test_call_that_airflow_failed_is_made_again(airflow: Airflow, api: rest.AirflowApi) -> None:
    airflow.troubles = 2
    assert api.trigger("a_dag", run_id="run-1") == "run-1"
    assert airflow.asked == ["/api/v1/dags/a_dag/dagRuns"] * 3


def test_call_that_airflow_fails_each_time_is_an_error(airflow: Airflow, api: rest.AirflowApi) -> None:
    airflow.troubles = 100
    with pytest.raises(httpx.HTTPStatusError, match="POST /api/v1/dags/a_dag/dagRuns: 500"):
        api.trigger("a_dag")
    assert len(airflow.asked) == rest.TRIES
