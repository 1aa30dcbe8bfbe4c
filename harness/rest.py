"""What the demo and the tests ask Airflow's own REST API: version 2 of Airflow 3, version 1 of Airflow 2."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx
from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_fixed

from harness.waiting import IN_VAIN

FINISHED_RUN = frozenset({"success", "failed"})
TRIES = 3  # of a call that Airflow answers with 500
PAUSE = 1.0  # seconds between them
PAGE = 1000  # [api] maximum_page_limit of the Airflow that is asked may be less


class AirflowApi:
    """A running Airflow, seen from outside.

    :param url: Address of the API server (Airflow 2: of the webserver).
    :param major: Airflow's major version, 2 or 3.
    :param login: Who asks, and with which password. Default: whoever asks is an administrator.
    """

    def __init__(self, url: str, major: int, login: tuple[str, str] | None = None) -> None:
        self.url = url
        self.major = major
        self._login = login
        # A proxy from the environment must not swallow calls to this machine; and a write may wait for the lock of an
        # SQLite database for as long as the demo's settings say.
        self._http = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def api(
        self, method: str, path: str, json: Any = None, params: Mapping[str, Any] | None = None, **headers: str
    ) -> Any:
        """Make one call.

        :param method: HTTP method.
        :param path: Path below ``/api/v2`` (Airflow 2: ``/api/v1``), for example ``/dags``.
        :param json: The request's body.
        :param params: The request's query.
        :param headers: More request headers.
        :return: The decoded JSON, the text of an answer that is not JSON, or None for an empty one.
        :raises httpx.HTTPStatusError: Airflow refused; its explanation is part of the message.
        :raises httpx.TransportError: Airflow could not be reached.
        """
        root = "/api/v2" if self.major >= 3 else "/api/v1"
        return self._call(method, root + path, json, params, headers)

    def plugin(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Ask what a plugin has brought, as a user who is logged in.

        :param path: Path below Airflow's own address, for example ``/airbyte/api/syncs``.
        :param params: The request's query.
        :return: As of :meth:`api`.
        """
        return self._call("GET", path, None, params, {})

    def _call(
        self, method: str, path: str, json: Any, params: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> Any:
        request = partial(self._request, method, path, json=json, params=params, headers=headers)
        response = request()
        if response.status_code == 401 and self.major >= 3:
            self._log_in()
            response = request()
        if response.is_error:
            message = f"{method} {path}: {response.status_code} {response.text[:500]}"
            raise httpx.HTTPStatusError(message, request=response.request, response=response)
        if not response.content:
            return None
        is_json = "json" in response.headers.get("content-type", "")
        return response.json() if is_json else response.text

    def _request(self, *args: Any, **more: Any) -> httpx.Response:
        """Ask, and ask again when Airflow failed: on SQLite it can wait for a lock of its own until it answers 500."""
        again = Retrying(
            retry=retry_if_result(lambda response: response.status_code == 500),
            stop=stop_after_attempt(TRIES),
            wait=wait_fixed(PAUSE),
            retry_error_callback=lambda tries: tries.outcome and tries.outcome.result(),
        )
        return again(self._http.request, *args, **more)

    def _log_in(self) -> None:
        """Get a token from the simple auth manager; where nobody has to log in, everybody is an administrator."""
        if self._login is None:
            answer = self._http.get("/auth/token")
        else:
            answer = self._http.post("/auth/token", json=dict(zip(("username", "password"), self._login, strict=True)))
        self._http.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['access_token']}"

    def health(self) -> dict[str, str | None]:
        """The state of each component as Airflow reports it: ``healthy``, ``unhealthy`` or None (not in use)."""
        answer = self.api("GET", "/monitor/health" if self.major >= 3 else "/health")
        return {component: report["status"] for component, report in answer.items() if report}

    def trigger(self, dag_id: str, run_id: str | None = None, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run of a DAG.

        :param dag_id: The DAG.
        :param run_id: What to call the run; a new name by default.
        :param conf: The run's configuration.
        :return: The run's id.
        """
        body: dict[str, Any] = {"dag_run_id": run_id or f"run-{uuid.uuid4().hex[:8]}", "conf": dict(conf or {})}
        if self.major >= 3:
            body["logical_date"] = None
        return str(self.api("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def set_paused(self, dag_id: str, paused: bool) -> None:
        """Pause a DAG, or let it go on.

        :param dag_id: The DAG.
        :param paused: Whether it is to be paused.
        """
        self.api("PATCH", f"/dags/{dag_id}", {"is_paused": paused})

    def run_state(self, dag_id: str, run_id: str) -> str:
        """The state of a DAG run: ``queued``, ``running``, ``success`` or ``failed``.

        :param dag_id: The DAG.
        :param run_id: The run.
        """
        return str(self.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def wait(self, dag_id: str, run_id: str, timeout: float = IN_VAIN) -> str:
        """Wait for the end of a run.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param timeout: Seconds.
        :return: ``success`` or ``failed``.
        :raises TimeoutError: it has not ended in time; the message has the state of its tasks.
        """
        deadline = time.monotonic() + timeout
        while (state := self.run_state(dag_id, run_id)) not in FINISHED_RUN:
            if time.monotonic() > deadline:
                tasks = {f"{t['task_id']}[{t['map_index']}]": t["state"] for t in self.task_instances(dag_id, run_id)}
                raise TimeoutError(f"{dag_id} {run_id} is still {state} after {timeout:g} s: {tasks}")
            time.sleep(0.25)
        return state

    def task_instances(self, dag_id: str = "~", run_id: str = "~", **filters: Any) -> list[dict[str, Any]]:
        """The task instances of a run, as the API shows them, sorted by task and map index.

        :param dag_id: The DAG; ``~`` for all.
        :param run_id: The run; ``~`` for all.
        :param filters: Query parameters of the API, for example ``state="running"``.
        """
        order = {"order_by": "id"} if self.major >= 3 else {}  # pages without an order can overlap
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        found = self.collect(path, "task_instances", {**order, **filters})
        return sorted(found, key=lambda ti: (ti["dag_id"], ti["dag_run_id"], ti["task_id"], ti["map_index"]))

    def collect(self, path: str, key: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """All pages of a list.

        :param path: As in :meth:`api`.
        :param key: The name under which the answer has the list.
        :param params: The query.
        """
        found: list[dict[str, Any]] = []
        while True:
            page = self.api("GET", path, params={"limit": PAGE, "offset": len(found), **params})
            found += page[key]
            if len(found) >= page["total_entries"] or not page[key]:
                return found

    def task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """One task instance as the API shows it.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param task_id: The task.
        :param map_index: Which instance of a mapped task; -1 for a task that is not.
        """
        answer: dict[str, Any] = self.api("GET", self._task_path(dag_id, run_id, task_id, map_index))
        return answer

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """The value that a task left behind; None when it left none.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param task_id: The task.
        :param key: The XCom's name.
        :param map_index: Which instance of a mapped task; -1 for a task that is not.
        """
        params: dict[str, Any] = {"map_index": map_index, "stringify": False}
        try:
            answer = self.api(
                "GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}", params=params
            )
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                return None
            raise
        return answer["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """What a task wrote to its log, on the worker and in the triggerer, one message a line.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param task_id: The task.
        :param try_number: Airflow's try, from 1.
        :param map_index: Which instance of a mapped task; -1 for a task that is not.
        """
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        params = {"map_index": map_index, "full_content": True}
        if self.major < 3:
            return str(self.api("GET", path, params=params, Accept="text/plain"))
        answer = self.api("GET", path, params=params, Accept="application/json")
        return "\n".join(_log_line(message) for message in answer["content"])

    def clear(
        self,
        dag_id: str,
        run_id: str,
        task_id: str | None = None,
        map_index: int = -1,
        *,
        include_downstream: bool = False,
    ) -> None:
        """Clear tasks of a run, as the button does: they run again.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param task_id: The task; all of the run by default.
        :param map_index: One instance of a mapped task (Airflow 3 only); all of its instances by default.
        :param include_downstream: What follows the task, too.
        """
        body: dict[str, Any] = {
            "dry_run": False,
            "dag_run_id": run_id,
            "only_failed": False,
            "reset_dag_runs": True,
            "include_downstream": include_downstream,
        }
        if task_id:
            body["task_ids"] = [[task_id, map_index]] if map_index >= 0 else [task_id]
        self.api("POST", f"/dags/{dag_id}/clearTaskInstances", body)

    def set_state(self, dag_id: str, run_id: str, state: str, task_id: str | None = None, map_index: int = -1) -> None:
        """Mark a task, or a whole run, as ``success`` or ``failed``, as a user does in the UI.

        :param dag_id: The DAG.
        :param run_id: The run.
        :param state: The new state.
        :param task_id: The task; the run by default.
        :param map_index: Which instance of a mapped task; -1 for a task that is not.
        """
        if task_id is None:
            self.api("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", {"state": state})
            return
        body: dict[str, Any] = {"new_state": state}
        if self.major < 3:
            body["dry_run"] = False
        self.api("PATCH", self._task_path(dag_id, run_id, task_id, map_index), body)

    def slots_used(self) -> int:
        """How many task instances are running on workers at this moment, of all DAGs in the default pool.

        Deferred tasks are not among them, as ``include_deferred`` of the default pool is off.
        """
        return int(self.api("GET", "/pools/default_pool")["running_slots"])

    def add_pool(self, name: str, slots: int) -> None:
        """Make a pool.

        :param name: What to call it.
        :param slots: How many of its tasks may run on workers at the same time.
        """
        self.api("POST", "/pools", {"name": name, "slots": slots})

    def set_slots(self, pool: str, slots: int) -> None:
        """Make a pool wider or narrower; tasks that run, run on.

        :param pool: Its name.
        :param slots: How many of its tasks may run on workers at the same time; with 0, none begins.
        """
        # Airflow 3 wants all of it, whatever is to be changed, under names of its own.
        named = "pool" if self.major >= 3 else "name"
        self.api("PATCH", f"/pools/{pool}", {named: pool, "slots": slots, "include_deferred": False})

    @staticmethod
    def _task_path(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        return f"{path}/{map_index}" if map_index >= 0 else path


def _log_line(message: str | Mapping[str, Any]) -> str:
    """One structured log message as text, a traceback included."""
    if isinstance(message, str):
        return message
    lines = [str(message.get("event", ""))]
    for error in message.get("error_detail") or ():
        for frame in error.get("frames") or ():
            lines.append(f'  File "{frame.get("filename")}", line {frame.get("lineno")}, in {frame.get("name")}')
        lines.append(f"{error.get('exc_type')}: {error.get('exc_value')}")
    return "\n".join(lines)
