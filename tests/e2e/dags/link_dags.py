"""DAGs whose tasks wait on the worker and deferred, for the button that leads to their jobs."""

from __future__ import annotations

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.sensors import AirbyteJobSensor

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG

with DAG("e2e_link", schedule=None):
    (
        AirbyteTriggerSyncOperator.partial(task_id="on_worker", connection_id="{{ dag_run.conf['first'] }}").expand(
            wait_seconds=[1]
        )
        >> AirbyteTriggerSyncOperator(
            task_id="deferred", connection_id="{{ dag_run.conf['second'] }}", wait_seconds=1, deferrable=True
        )
    )

with DAG("e2e_link_of_sensor", schedule=None, default_args={"airbyte_job_id": "{{ dag_run.conf['job_id'] }}"}):
    AirbyteJobSensor(task_id="on_worker", poke_interval=1)
    AirbyteJobSensor(task_id="deferred", poke_interval=1, deferrable=True)
