"""A DAG whose tasks tell of the tables that their job has filled, and DAGs that are scheduled on these."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.openlineage.utils.selective_enable import enable_lineage

from airbyte_deferrable.lineage import stream_alias
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.sensors import AirbyteJobSensor

try:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG, Asset
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.datasets import Dataset as Asset
    from airflow.operators.empty import EmptyOperator

#: As test_lineage.py has them.
CONNECTION = "a1b7e000-0000-4000-8000-0000000000e1"
MAPPED = ["a1b7e000-0000-4000-8000-0000000000e2", "a1b7e000-0000-4000-8000-0000000000e3"]
WAREHOUSE = "snowflake://acme-prod/WH/RAW"

with DAG("e2e_lineage", schedule=None) as lineage:
    sync = AirbyteTriggerSyncOperator(
        task_id="sync", connection_id=CONNECTION, deferrable=True, stream_assets="moved", wait_seconds=1
    )
    AirbyteJobSensor(task_id="wait", airbyte_job_id=sync.output, stream_assets="all", poke_interval=1)
enable_lineage(lineage)

with DAG("e2e_lineage_mapped", schedule=None):
    AirbyteTriggerSyncOperator.partial(task_id="sync", deferrable=True, stream_assets="moved", wait_seconds=1).expand(
        connection_id=MAPPED
    )

for name, asset in {
    "orders": Asset(f"{WAREHOUSE}/ORDERS"),
    "people": Asset(f"{WAREHOUSE}/PEOPLE"),
    "mapped": Asset(f"{WAREHOUSE}/MAPPED"),
    "alias": stream_alias("e2e_lineage", "sync"),
}.items():
    with DAG(f"e2e_lineage_after_{name}", schedule=[asset], start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
        EmptyOperator(task_id="use")
