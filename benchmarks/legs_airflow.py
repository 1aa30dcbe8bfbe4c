"""Airflow's side of a leg: its own supervisor, and what stands in for its API server. Airflow 3.3's.

Real are the fork, the sockets, the messages, the supervisor that answers them and its HTTP client. In the place of the
API server and its database is :class:`ExecutionApi`, which keeps what it is given in memory and answers after a fixed
while.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from urllib.parse import unquote

import attrs
import httpx
from airflow.sdk.execution_time.comms import ToSupervisor
from airflow.sdk.execution_time.supervisor import ActivitySubprocess

#: Seconds: what a call to Airflow took in a task of a real one with PostgreSQL, the median on two loaded cores.
ANSWERS_AFTER = 0.012


@dataclass
class ExecutionApi:
    """The Execution API for one task instance.

    :param connection: The Airflow connection that every task asks for, as the API gives it.
    """

    connection: dict[str, Any]
    dag_id: str
    task_id: str
    ti_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    run_id: str = field(default_factory=lambda: f"manual__{uuid.uuid4()}")
    started: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat())
    #: How it was resumed, if it was.
    next_method: str | None = None
    next_kwargs: dict[str, Any] | None = None
    #: What the leg told of its end: its state, with ``deferred`` all of the deferral.
    end: dict[str, Any] = field(default_factory=dict)
    xcoms: dict[str, Any] = field(default_factory=dict)
    store: dict[str, Any] = field(default_factory=dict)
    #: How many requests there were, and those of them that are not known here.
    asked: int = 0
    unknown: list[str] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer one request of the supervisor's client.

        :param request: The request.
        """
        time.sleep(ANSWERS_AFTER)
        self.asked += 1
        what, *rest = request.url.path.strip("/").split("/")
        key = unquote(rest[-1])
        match request.method, what, key:
            case "PATCH", "task-instances", "run":
                return httpx.Response(200, json=self._run_context())
            case "PATCH", "task-instances", "state":
                self.end = json.loads(request.content)
            case "PUT", "task-instances", "rtif" | "heartbeat":
                pass
            case "GET", "task-instances", "validate-inlets-and-outlets":
                return httpx.Response(200, json={"inactive_assets": []})
            case "GET", "connections", _:
                return httpx.Response(200, json={**self.connection, "conn_id": key})
            case "POST", "xcoms", _:
                self.xcoms[key] = json.loads(request.content)
            case "GET", "xcoms", _:
                return _found(self.xcoms, key, {"key": key})
            case "PUT", "store", _:
                self.store[key] = json.loads(request.content)["value"]
            case "GET", "store", _:
                return _found(self.store, key)
            case "DELETE", "store", _:
                self.store.pop(key, None)
            case "GET", "variables", _:
                return _found({}, key)
            case _:
                self.unknown.append(f"{request.method} {request.url}")
                return httpx.Response(501)
        return httpx.Response(200, json={"message": "done"})

    def _run_context(self) -> dict[str, Any]:
        run: dict[str, Any] = {
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "logical_date": self.started,
            "data_interval_start": self.started,
            "data_interval_end": self.started,
            "run_after": self.started,
            "start_date": self.started,
            "end_date": None,
            "run_type": "manual",
            "state": "running",
            "conf": {},
            "consumed_asset_events": [],
            "partition_key": None,
        }
        resumed = {"next_method": self.next_method, "next_kwargs": self.next_kwargs, "start_date": self.started}
        return {"dag_run": run, "max_tries": 0, "should_retry": False, **(resumed if self.next_method else {})}


def _found(among: dict[str, Any], key: str, more: dict[str, Any] | None = None) -> httpx.Response:
    if key in among:
        return httpx.Response(200, json={**(more or {}), "value": among[key]})
    return httpx.Response(404, json={"detail": {"reason": "not_found", "message": f"no {key}"}})


@dataclass(frozen=True)
class Call:
    """A message of the task to its supervisor.

    :param kind: The name of Airflow's class.
    :param key: Of an XCom or of an entry in the store.
    :param asks: Whether the supervisor asked the API server. What it does by itself is done in a fraction of a
        millisecond.
    """

    kind: str
    key: str | None
    asks: bool


@attrs.define(kw_only=True)
class Supervisor(ActivitySubprocess):
    """Airflow's supervisor; it notes what the task asks it for."""

    api: ExecutionApi
    calls: list[Call] = attrs.field(factory=list, init=False)

    def _service_subprocess(self, max_wait_time: float, *args: Any, **options: Any) -> Any:
        # A process closes its sockets a moment before it is gone. Airflow's supervisor, with no socket left to listen
        # to, often sees that only after ``[workers] min_heartbeat_interval``, 5 s.
        return super()._service_subprocess(max_wait_time if self._open_sockets else 0.01, *args, **options)

    def _handle_request(self, msg: ToSupervisor, log: Any, req_id: int) -> None:
        before = self.api.asked
        super()._handle_request(msg, log, req_id)
        key = getattr(msg, "key", None)
        self.calls.append(Call(type(msg).__name__, key, self.api.asked > before))
