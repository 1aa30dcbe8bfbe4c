"""The same sync with the official provider."""

from __future__ import annotations

from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator
from airflow.sdk import DAG

# The simulator's first connection.
CONNECTION_ID = "a1b7e000-0000-4000-8000-000000000001"

with DAG("legs_official", schedule=None):
    for task_id in ("deferrable", "worker"):
        AirbyteTriggerSyncOperator(
            task_id=task_id,
            connection_id=CONNECTION_ID,
            airbyte_conn_id="airbyte_bench",
            deferrable=task_id == "deferrable",
        )
