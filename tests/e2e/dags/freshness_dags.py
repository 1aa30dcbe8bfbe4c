"""DAGs that wait for a fresh sync: in each way, and in a run that an asset has begun."""

from __future__ import annotations

from datetime import datetime, timezone

from airbyte_deferrable.sensors import AirbyteFreshnessSensor

try:
    from airflow.sdk import DAG, Asset, task
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.datasets import Dataset as Asset
    from airflow.decorators import task

#: As test_freshness.py has it.
OF_ASSET = "a1b7e000-0000-4000-8000-0000000000f5"
orders = Asset("e2e://freshness/orders")

with DAG("e2e_freshness", schedule=None, default_args={"connection_id": "{{ dag_run.conf['connection_id'] }}"}):
    AirbyteFreshnessSensor(task_id="poke", poke_interval=1)
    AirbyteFreshnessSensor(task_id="reschedule", mode="reschedule", poke_interval=2)
    AirbyteFreshnessSensor(task_id="deferrable", deferrable=True)

with DAG("e2e_freshness_event", schedule=None):

    @task(outlets=[orders])
    def order() -> None:
        """Let something happen to the asset."""

    order()

with DAG("e2e_freshness_of_asset", schedule=[orders], start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    AirbyteFreshnessSensor(task_id="wait", connection_id=OF_ASSET, deferrable=True)
