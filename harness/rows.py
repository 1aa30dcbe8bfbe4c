"""Rows of Airflow's database, as many as are wanted at once, as an Airflow 3.1 or later would have written them.

For what reads that database: to run two thousand tasks for each test would take an hour.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.models.variable import Variable
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunType
from sqlalchemy import insert

BUNDLE = "rows"
RUN = "manual__2026-01-01T00:00:00+00:00"
#: Tables of which all rows go, those first that refer to others.
TABLES: tuple[Any, ...] = (
    XComModel,
    RenderedTaskInstanceFields,
    TaskInstance,
    Trigger,
    DagRun,
    DagModel,
    DagBundleModel,
    Variable,
)


@dataclass(frozen=True)
class Task:
    """A task instance.

    :param dag_id: The DAG.
    :param task_id: The task.
    :param run_id: The run.
    :param map_index: Which instance of a mapped task; -1 for a task that is not.
    :param state: Its state.
    :param trigger: Its trigger's class, and what that was given; None for none.
    :param xcoms: What it left.
    :param fields: Its rendered fields; none for none.
    :param operator: Its class.
    :param next_method: What it goes on with.
    :param started_at: When its try started.
    :param ended_at: When it ended.
    :param noted_at: When it left its XComs. Default: now.
    """

    dag_id: str = "orders"
    task_id: str = "sync"
    run_id: str = RUN
    map_index: int = -1
    state: str | None = "deferred"
    trigger: tuple[str, Mapping[str, Any]] | None = None
    xcoms: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    operator: str = "AirbyteTriggerSyncOperator"
    next_method: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    noted_at: datetime | None = None


def clear() -> None:
    """Delete all rows that :func:`write` has written, and all others of their kinds."""
    with create_session() as session:
        for model in TABLES:
            session.query(model).delete()


def write(tasks: Iterable[Task], variables: Mapping[str, str] | None = None) -> None:
    """Write tasks, with the DAGs and runs that they need.

    :param tasks: The tasks.
    :param variables: Airflow's Variables, by name. Default: none.
    """
    tasks = list(tasks)
    now = datetime.now(timezone.utc)
    with create_session() as session:
        if session.get(DagBundleModel, BUNDLE) is None:
            session.add(DagBundleModel(name=BUNDLE))
            session.flush()
        for dag_id in sorted({each.dag_id for each in tasks}):
            if session.get(DagModel, dag_id) is None:
                session.add(DagModel(dag_id=dag_id, bundle_name=BUNDLE, fileloc="/nowhere", timetable_summary=None))
        session.flush()
        runs: dict[tuple[str, str], int] = {(run.dag_id, run.run_id): run.id for run in session.query(DagRun)}
        for dag_id, run_id in sorted({(each.dag_id, each.run_id) for each in tasks} - runs.keys()):
            run = DagRun(
                dag_id=dag_id, run_id=run_id, run_type=DagRunType.MANUAL, run_after=now, state=DagRunState.RUNNING
            )
            session.add(run)
            session.flush()
            runs[dag_id, run_id] = run.id
        triggers = {}
        for each in tasks:
            if each.trigger is not None:
                path, arguments = each.trigger
                triggers[_key(each)] = trigger = Trigger(classpath=path, kwargs=dict(arguments))
                session.add(trigger)
        session.flush()
        instances = [
            {
                **_names(each),
                "state": each.state,
                "try_number": 1,
                "max_tries": 0,
                "pool": "default_pool",
                "operator": each.operator,
                "next_method": each.next_method,
                "start_date": each.started_at or now,
                "end_date": each.ended_at,
                "trigger_id": triggers[_key(each)].id if _key(each) in triggers else None,
            }
            for each in tasks
        ]
        if instances:
            session.execute(insert(TaskInstance), instances)
        xcoms = [
            {
                **_names(each),
                "dag_run_id": runs[each.dag_id, each.run_id],
                "key": key,
                # As Airflow's API server stores what a task sends: the text of the JSON.
                "value": json.dumps(value),
                "timestamp": each.noted_at or now,
            }
            for each in tasks
            for key, value in each.xcoms.items()
        ]
        if xcoms:
            session.execute(insert(XComModel), xcoms)
        fields = [{**_names(each), "rendered_fields": dict(each.fields)} for each in tasks if each.fields]
        if fields:
            session.execute(insert(RenderedTaskInstanceFields), fields)
        for name, value in (variables or {}).items():
            session.add(Variable(key=name, val=value))


def _key(task: Task) -> tuple[str, str, str, int]:
    return task.dag_id, task.run_id, task.task_id, task.map_index


def _names(task: Task) -> dict[str, Any]:
    return {
        "dag_id": task.dag_id,
        "run_id": task.run_id,
        "task_id": task.task_id,
        "map_index": task.map_index,
    }
