"""Where the steps are taken down: aiohttp's sessions, and Airflow's interface to tasks and triggers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp

from airbyte_deferrable import _sync_task
from airbyte_deferrable._airflow import kill, started_job, task_instance
from airbyte_deferrable._job import cancel, earlier, queue, retrying
from airbyte_deferrable._watcher import loop as watcher_loop
from airbyte_deferrable._watcher import subscriptions
from helpers.compat import Variable, XCom
from helpers.explorer.airbyte import Airbyte, name_of
from helpers.explorer.airflow import Airflow
from helpers.explorer.steps import CURRENT, Died, Process

#: Pauses that are seconds in earnest, since something else needs that long: here nothing does.
QUICK: tuple[tuple[Any, str, float], ...] = (
    (started_job, "NAMED_WITHIN", 0.1),
    (kill, "NEW_TRY_WRITES_WITHIN", 0.02),
    # A kill in the middle of the store's own write waits for itself so long.
    (kill, "ANSWERS_ON_WORKER_WITHIN", 1.0),
    (cancel, "CHECK_AGAIN", 0.02),
    (earlier, "CHECK_AGAIN", 0.02),
    (_sync_task, "TRIGGER_CANCELS_WITHIN", 0.1),
    (retrying, "CONFIRM_NOT_FOUND_AFTER", 0.02),
    (subscriptions, "SHORTEST_POLL", 0.02),
    (watcher_loop, "SHORTEST_POLL", 0.02),
    (queue, "SHORTEST_POLL", 0.02),
)

_request = aiohttp.ClientSession._request


@contextmanager
def wired(airflow: Airflow, airbyte: Airbyte) -> Iterator[None]:
    """Lead all that a task touches through the steps."""
    loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Process] = WeakKeyDictionary()

    async def request(session: Any, method: str, url: Any, **options: Any) -> Any:
        # The watcher's own task has an empty context, but runs in the loop of who began it.
        loop = asyncio.get_running_loop()
        process = loops.setdefault(loop, CURRENT.get(airflow.present))
        path = urlsplit(str(url)).path
        what = name_of(method, path)
        await process.at(what, "before")
        airbyte.before(process, airflow.row.state, method, path)
        response = await _request(session, method, url, **options)
        body = await response.read()
        made = airbyte.answered(process, method, path, response.status, body)
        if what == "GET jobs/…":
            airflow.find_zombies(process)
        await process.at(what, "after")
        if made is not None:
            made.named = True
        return response

    def of_the_living(record: logging.LogRecord) -> bool:
        # asyncio tells of each task whose end nobody has heard of.
        return not record.exc_info or record.exc_info[0] is not Died

    def get_variable(key: str, *default: Any, **options: Any) -> Any:
        with airflow.touch("Variable: get"):
            return airflow.row.variables.get(key)

    def set_variable(key: str, value: Any, **_: Any) -> None:
        with airflow.touch("Variable: set"):
            airflow.write_variable(key, value)

    def delete_variable(key: str) -> None:
        with airflow.touch("Variable: delete"):
            airflow.row.variables.pop(key, None)

    with ExitStack() as stack:
        for owner, name, instead in (
            (aiohttp.ClientSession, "_request", request),
            (Variable, "get", staticmethod(get_variable)),
            (Variable, "set", staticmethod(set_variable)),
            (Variable, "delete", staticmethod(delete_variable)),
            (XCom, "get_one", staticmethod(lambda *, key, **_: airflow.read_xcom(key))),
            (XCom, "set", staticmethod(lambda *, key, value, **_: airflow.write_xcom(key, value))),
        ):
            stack.enter_context(patch.object(owner, name, instead))
        for module, name, seconds in QUICK:
            stack.enter_context(patch.object(module, name, seconds))
        stack.enter_context(_state_from(airflow))
        log = logging.getLogger("asyncio")
        log.addFilter(of_the_living)
        stack.callback(log.removeFilter, of_the_living)
        yield


def _state_from(airflow: Airflow) -> AbstractContextManager[Any]:
    """Have Airflow say how the task stands."""
    try:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    except ImportError:
        name = task_instance._name
        return patch.object(
            task_instance, "_read_state_from_database", lambda *_: name({"state": airflow.read_state()}, "state")
        )

    def get_task_states(*, run_ids: list[str], task_ids: list[str], map_index: int = -1, **_: Any) -> dict[str, Any]:
        key = task_ids[0] if map_index < 0 else f"{task_ids[0]}_{map_index}"
        return {run_ids[0]: {key: airflow.read_state()}}

    return patch.object(RuntimeTaskInstance, "get_task_states", staticmethod(get_task_states))
