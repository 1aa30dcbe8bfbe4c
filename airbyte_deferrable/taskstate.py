"""A task instance's state and XComs, read from inside a trigger or a task, in every supported Airflow.

Both functions block.
"""

from __future__ import annotations

from typing import Any


def read_state(ti: Any) -> str | None:
    """Return the present state of a task instance; None if Airflow does not know it.

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
    state = states.get(ti.run_id, {}).get(key)
    return None if state is None else str(getattr(state, "value", state))


def read_xcom(ti: Any, key: str) -> Any:
    """Return an XCom of a task instance; None if there is none.

    :param ti: Names the task instance.
    :param key: The XCom's key.
    """
    try:
        from airflow.sdk.execution_time.xcom import XCom
    except ImportError:
        from airflow.models import XCom
    return XCom.get_one(
        key=key,
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
    )


def _read_state_from_database(ti: Any, map_index: int) -> str | None:
    """Ask the database, as triggers of Airflow 2 may."""
    from airflow.models import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        state = (
            session.query(TaskInstance.state)
            .filter_by(dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=map_index)
            .scalar()
        )
    return None if state is None else str(getattr(state, "value", state))
