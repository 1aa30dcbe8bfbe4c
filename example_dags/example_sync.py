"""Synchronous: the task stays on its worker until Airbyte has finished the sync.

The plainest way, right for syncs of a few seconds. The worker slot is taken the whole time; see
``example_deferrable.py`` for the same DAG without that.

Needs the Airflow connection ``airbyte_default``. ``connection_id`` is the UUID behind ``/connections/`` in
the address of the connection's page in Airbyte; put yours here, or into the environment
variable ``AIRBYTE_DEMO_CONNECTION``.

The id below is one of the simulator's: ``python -m airbyte_deferrable.simulator --connections 10``.
"""

from __future__ import annotations

import os

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG

ORDERS = os.environ.get("AIRBYTE_DEMO_CONNECTION", "a1b7e000-0000-4000-8000-000000000001")

with DAG("example_sync", schedule=None, tags=["airbyte"]):
    AirbyteTriggerSyncOperator(task_id="sync_orders", connection_id=ORDERS)
