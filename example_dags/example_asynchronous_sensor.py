"""Asynchronous: one task starts the sync, others do their work meanwhile, and a sensor waits for the end.

With ``asynchronous=True`` the operator returns the id of Airbyte's job at once. The sensor takes that id, and, being
deferrable, it holds no worker slot either.

Needs the Airflow connection ``airbyte_default`` and a running triggerer. ``connection_id`` is the UUID behind
``/connections/`` in the address of the connection's page in Airbyte; put yours here, or into the environment variable
``AIRBYTE_DEMO_CONNECTION``.

The id below is one of the simulator's: ``python -m airbyte_deferrable.simulator --connections 10``.
"""

from __future__ import annotations

import os

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.sensors import AirbyteJobSensor

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.decorators import task

ORDERS = os.environ.get("AIRBYTE_DEMO_CONNECTION", "a1b7e000-0000-4000-8000-000000000003")


@task
def prepare_warehouse() -> None:
    """Whatever can be done while Airbyte works."""
    print("The sync is running; here is time for something else.")


with DAG("example_asynchronous_sensor", schedule=None, tags=["airbyte"]):
    start = AirbyteTriggerSyncOperator(task_id="start_orders", connection_id=ORDERS, asynchronous=True)
    wait = AirbyteJobSensor(task_id="wait_for_orders", airbyte_job_id=start.output, deferrable=True)
    start >> prepare_warehouse()
