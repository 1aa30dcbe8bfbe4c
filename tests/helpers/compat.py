"""Names that moved between Airflow's releases, and that only tests need."""

from __future__ import annotations

from importlib import import_module

try:
    from airflow.sdk import DAG, TaskGroup, Variable
    from airflow.sdk.execution_time.context import set_current_context
    from airflow.sdk.execution_time.xcom import XCom
except ImportError:
    from airflow import DAG
    from airflow.models import Variable, XCom
    from airflow.utils.task_group import TaskGroup

    set_current_context = import_module("airflow.models.taskinstance").set_current_context

try:
    from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred
except ImportError:  # before 3.2
    from airflow.exceptions import AirflowRescheduleException, TaskDeferred

try:
    from airflow.sdk.execution_time.timeout import timeout as airflows_clock
except ImportError:  # before 3.1
    from airflow.utils.timeout import timeout as airflows_clock

__all__ = [
    "DAG",
    "AirflowRescheduleException",
    "TaskDeferred",
    "TaskGroup",
    "Variable",
    "XCom",
    "airflows_clock",
    "set_current_context",
]
