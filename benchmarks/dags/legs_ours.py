"""One sync with this package, in both ways: what :mod:`benchmarks.legs` runs."""

from __future__ import annotations

from airflow.sdk import DAG

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

# The simulator's first connection.
CONNECTION_ID = "a1b7e000-0000-4000-8000-000000000001"

with DAG("legs_ours", schedule=None):
    for task_id in ("deferrable", "worker"):
        AirbyteTriggerSyncOperator(
            task_id=task_id,
            connection_id=CONNECTION_ID,
            airbyte_conn_id="airbyte_bench",
            deferrable=task_id == "deferrable",
        )
