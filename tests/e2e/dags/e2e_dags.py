"""DAGs that take the Airbyte connection from the run's configuration, one for each way of waiting."""

from __future__ import annotations

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.sensors import AirbyteJobSensor

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.decorators import task

FROM_CONF = {
    "connection_id": "{{ dag_run.conf['connection_id'] }}",
    "airbyte_conn_id": "{{ dag_run.conf.get('airbyte_conn_id', 'airbyte_default') }}",
}

with DAG("e2e_synchronous", schedule=None, default_args=FROM_CONF):
    AirbyteTriggerSyncOperator(task_id="sync", wait_seconds=1)

with DAG("e2e_deferrable", schedule=None, default_args=FROM_CONF):
    AirbyteTriggerSyncOperator(task_id="sync", deferrable=True)

with DAG("e2e_impatient", schedule=None, default_args=FROM_CONF):
    AirbyteTriggerSyncOperator(task_id="sync", deferrable=True, wait_seconds=2, if_running="fail")

with DAG("e2e_sensor", schedule=None, default_args=FROM_CONF):
    start = AirbyteTriggerSyncOperator(task_id="start", asynchronous=True)
    AirbyteJobSensor(task_id="sync", airbyte_job_id=start.output, deferrable=True)

with DAG("e2e_plain", schedule=None):

    @task
    def answer() -> int:
        """Something short that needs a worker slot."""
        return 42

    answer()
