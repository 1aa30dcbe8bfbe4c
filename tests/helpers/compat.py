"""Names that moved between Airflow's releases, and that only tests need."""

from __future__ import annotations

try:
    from airflow.sdk import DAG, TaskGroup
    from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred
    from airflow.sdk.execution_time.timeout import timeout as airflows_clock
except ImportError:
    from airflow import DAG
    from airflow.exceptions import AirflowRescheduleException, TaskDeferred
    from airflow.utils.task_group import TaskGroup
    from airflow.utils.timeout import timeout as airflows_clock

__all__ = ["DAG", "AirflowRescheduleException", "TaskDeferred", "TaskGroup", "airflows_clock"]
