"""Deferrable: the task starts the sync, leaves its worker, and comes back when Airbyte has finished.

One argument more than ``example_sync.py``. While the sync runs, the triggerer waits for it, and the worker slot is
free for other tasks.

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

ORDERS = os.environ.get("AIRBYTE_DEMO_CONNECTION", "a1b7e000-0000-4000-8000-000000000002")

with DAG("example_deferrable", schedule=None, tags=["airbyte"]):
    AirbyteTriggerSyncOperator(task_id="sync_orders", connection_id=ORDERS, deferrable=True)
