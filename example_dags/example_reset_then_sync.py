"""Reset, then sync: throw the connection's data away and load everything anew.

``job_type="reset"`` empties the destination's tables of this connection; the sync after it starts from nothing. To
Airbyte, ``clear`` is the same.

Needs the Airflow connection ``airbyte_default`` and a running triggerer. ``connection_id`` is the UUID behind
``/connections/`` in the address of the connection's page in Airbyte; put yours here, or into the environment variable
``AIRBYTE_DEMO_CONNECTION``.

The id below is one of the simulator's: ``python -m airbyte_deferrable.simulator --connections 10``.
"""

from __future__ import annotations

import os

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG

ORDERS = os.environ.get("AIRBYTE_DEMO_CONNECTION", "a1b7e000-0000-4000-8000-000000000004")

with DAG(
    "example_reset_then_sync",
    schedule=None,
    tags=["airbyte"],
    default_args={"connection_id": ORDERS, "deferrable": True},
):
    reset = AirbyteTriggerSyncOperator(task_id="reset_orders", job_type="reset")
    sync = AirbyteTriggerSyncOperator(task_id="sync_orders")
    reset >> sync
