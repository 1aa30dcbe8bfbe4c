"""A sync that tells of its tables, and what runs for each: what docs/lineage.md shows of Airflow's page of an asset."""

from __future__ import annotations

from datetime import datetime, timezone

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

try:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG, Asset
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.datasets import Dataset as Asset
    from airflow.operators.empty import EmptyOperator

#: As test_browser.py has it.
CONNECTION = "a1b7e000-0000-4000-8000-0000000000e9"
WAREHOUSE = "snowflake://acme-prod/WAREHOUSE/PUBLIC"
START = datetime(2026, 1, 1, tzinfo=timezone.utc)

with DAG("sync_shop", schedule=None):
    AirbyteTriggerSyncOperator(
        task_id="sync", connection_id=CONNECTION, deferrable=True, stream_assets="moved", wait_seconds=1
    )

with DAG("after_orders", schedule=[Asset(f"{WAREHOUSE}/ORDERS")], start_date=START):
    EmptyOperator(task_id="use")

with DAG("monthly_report", schedule=[Asset(f"{WAREHOUSE}/ORDERS"), Asset(f"{WAREHOUSE}/CUSTOMERS")], start_date=START):
    EmptyOperator(task_id="report")
