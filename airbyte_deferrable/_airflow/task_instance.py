"""What Airflow knows of a task instance, read from inside a trigger or a task, in every supported Airflow.

All functions block.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from importlib import import_module
from typing import Any

from airflow import __version__ as airflow_version

from airbyte_deferrable._compat import Context
from airbyte_deferrable._job.record import Generation

#: The state of a task that was cleared and is not scheduled yet: Airflow itself has no word for it.
NO_STATUS = "no_status"
#: Whether Airflow counts each clear of a DAG run; before 3.2, only that of a run that had ended.
COUNTS_CLEARS = tuple(map(int, airflow_version.split(".")[:2])) >= (3, 2)


def task_instance(context: Context | None) -> Any:
    """Return the task instance; None for a task that a test calls by hand, with an empty context."""
    return context.get("ti") if context else None


def try_of(context: Context | None) -> int | None:
    """Return the task's present try; None for a task that is called by hand, also with a mock for a task instance."""
    number = getattr(task_instance(context), "try_number", None)
    return number if isinstance(number, int) else None


def key_of(ti: Any) -> tuple[Any, ...]:
    """Return what tells a try of a task instance from all others."""
    return ti.dag_id, ti.run_id, ti.task_id, ti.map_index, ti.try_number


def generation_of(context: Context | None) -> Generation:
    """Return where the task's present try stands among its tries. Asks nobody."""
    if context is None or try_of(context) is None:
        return Generation()
    ti = task_instance(context)
    return Generation(
        try_number=ti.try_number,
        max_tries=int(ti.max_tries or 0),
        retries=_number(getattr(ti, "task", None), "retries"),
        clear_number=_number(context.get("dag_run"), "clear_number") if COUNTS_CLEARS else None,
    )


def _number(owner: Any, name: str) -> int | None:
    number = getattr(owner, name, None)
    return number if isinstance(number, int) else None


def read_state(ti: Any) -> str | None:
    """Return the present state of a task instance; None if Airflow does not know the task instance.

    :param ti: Names the task instance: ``dag_id``, ``task_id``, ``run_id``, ``map_index``.
    """
    map_index = -1 if ti.map_index is None else ti.map_index
    try:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    except ImportError:
        return _read_state_from_database(ti, map_index)
    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=map_index
    )
    key = ti.task_id if map_index < 0 else f"{ti.task_id}_{map_index}"
    return _name(states.get(ti.run_id, {}), key)


def read_xcom(ti: Any, key: str) -> Any:
    """Return an XCom of a task instance; None if there is none.

    :param ti: Names the task instance.
    """
    return _xcom().get_one(key=key, **_names(ti))


def write_xcoms(ti: Any, values: Mapping[str, Any]) -> None:
    """Write XComs of a task instance, also from its trigger.

    :param ti: Names the task instance.
    :param values: JSON data by key. Each is a call to Airflow.
    """
    for key, value in values.items():
        _xcom().set(key=key, value=value, **_names(ti))


def first_rescheduled(context: Context) -> datetime | None:
    """Return when a rescheduled sensor looked first; None if it has not been rescheduled yet."""
    ti: Any = context["ti"]
    first: datetime | None
    if hasattr(ti, "get_first_reschedule_date"):
        first = ti.get_first_reschedule_date(context)
        return first
    # As Airflow 2's own sensors reckon: from the first try since the task was cleared.
    first_try = (ti.max_tries or 0) - (ti.task.retries or 0) + 1
    sensors = import_module("airflow.sensors.base")
    first = sensors._orig_start_date(ti.dag_id, ti.task_id, ti.run_id, ti.map_index, first_try)
    return first


def _xcom() -> Any:
    try:
        from airflow.sdk.execution_time.xcom import XCom
    except ImportError:
        from airflow.models import XCom
    return XCom


def _names(ti: Any) -> dict[str, Any]:
    return {
        "dag_id": ti.dag_id,
        "task_id": ti.task_id,
        "run_id": ti.run_id,
        "map_index": -1 if ti.map_index is None else ti.map_index,
    }


def _read_state_from_database(ti: Any, map_index: int) -> str | None:
    """Ask the database, as triggers of Airflow 2 may."""
    from airflow.models import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        row = (
            session.query(TaskInstance.state)
            .filter_by(dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=map_index)
            .first()
        )
    return _name({} if row is None else {"state": row[0]}, "state")


def _name(states: dict[str, Any], key: str) -> str | None:
    if key not in states:
        return None
    state = states[key]
    return NO_STATUS if state is None else str(getattr(state, "value", state))
