"""Freshness: Airbyte syncs by its own schedule, and what needs the data waits until it is fresh.

The sensor starts nothing. It waits for a sync that ends after the moment for which the DAG runs, whoever starts it, and
finds one that has ended meanwhile. Being deferrable, it holds no worker slot.

Needs the Airflow connection ``airbyte_default`` and a running triggerer. ``connection_id`` is the UUID behind
``/connections/`` in the address of the connection's page in Airbyte; put yours here, or into the environment variable
``AIRBYTE_DEMO_CONNECTION``. Give the DAG a schedule that is as late as the data has to be fresh: ``0 6 * * *``.

The id below is one of the simulator's: ``python -m airbyte_deferrable.simulator --connections 10``. It syncs nothing by
itself: run ``example_sync`` with the same id while this DAG waits.
"""

from __future__ import annotations

import os
from datetime import timedelta

from airbyte_deferrable.sensors import AirbyteFreshnessSensor

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.decorators import task

ORDERS = os.environ.get("AIRBYTE_DEMO_CONNECTION", "a1b7e000-0000-4000-8000-000000000006")


@task
def report(job_id: int) -> None:
    """Whatever needs fresh data."""
    print(f"The orders are those of Airbyte's job {job_id}.")


with DAG("example_freshness", schedule=None, tags=["airbyte"]):
    fresh = AirbyteFreshnessSensor(
        task_id="orders_are_fresh", connection_id=ORDERS, deferrable=True, timeout=timedelta(hours=3)
    )
    report(fresh.output)
