"""Several Airbyte servers in one DAG: each task names the Airflow connection of its server.

Needs the Airflow connections ``airbyte_europe`` and ``airbyte_america``, and a running triggerer. ``connection_id`` is
the UUID behind ``/connections/`` in the address of the connection's page in Airbyte; put yours here, or into
the environment variables ``AIRBYTE_DEMO_CONNECTION_EUROPE`` and ``AIRBYTE_DEMO_CONNECTION_AMERICA``.

The ids below are those of the simulator: ``python -m airbyte_deferrable.simulator --connections 10``.
"""

from __future__ import annotations

import os

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG

EUROPE = os.environ.get("AIRBYTE_DEMO_CONNECTION_EUROPE", "a1b7e000-0000-4000-8000-000000000005")
AMERICA = os.environ.get("AIRBYTE_DEMO_CONNECTION_AMERICA", "a1b7e000-0000-4000-8000-000000000006")

with DAG("example_several_servers", schedule=None, tags=["airbyte"], default_args={"deferrable": True}):
    AirbyteTriggerSyncOperator(task_id="sync_europe", airbyte_conn_id="airbyte_europe", connection_id=EUROPE)
    AirbyteTriggerSyncOperator(task_id="sync_america", airbyte_conn_id="airbyte_america", connection_id=AMERICA)
