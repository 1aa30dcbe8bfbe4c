"""DAGs whose tasks tell of the tables that their job has filled, and DAGs that are scheduled on these."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timezone
from typing import Any

from airflow.providers.openlineage.utils.selective_enable import enable_lineage
from airflow.triggers.base import BaseTrigger, TriggerEvent

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
FAILING = "a1b7e000-0000-4000-8000-0000000000e4"
ON_WORKER = "a1b7e000-0000-4000-8000-0000000000e5"
BROKEN = "a1b7e000-0000-4000-8000-0000000000e6"
WAREHOUSE = "snowflake://acme-prod/WH/RAW"


class Lost(BaseTrigger):
    """A trigger whose code the triggerer cannot load."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "no_such_module.Lost", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        raise NotImplementedError
        yield


class LosesItsTrigger(AirbyteTriggerSyncOperator):
    """An operator whose trigger breaks."""

    def defer(self, *, trigger: Any, **how: Any) -> Any:
        super().defer(trigger=Lost(), **how)


with DAG("e2e_lineage", schedule=None) as lineage:
    sync = AirbyteTriggerSyncOperator(
        task_id="sync", connection_id=CONNECTION, deferrable=True, stream_assets="moved", wait_seconds=1
    )
    AirbyteJobSensor(task_id="wait", airbyte_job_id=sync.output, stream_assets="all", poke_interval=1)
enable_lineage(lineage)

with DAG("e2e_lineage_mapped", schedule=None) as in_parts:
    AirbyteTriggerSyncOperator.partial(task_id="sync", deferrable=True, stream_assets="moved", wait_seconds=1).expand(
        connection_id=MAPPED
    )
enable_lineage(in_parts)

with DAG("e2e_lineage_ends", schedule=None) as ends:
    AirbyteTriggerSyncOperator(task_id="failed", connection_id=FAILING, deferrable=True, wait_seconds=1)
    AirbyteTriggerSyncOperator(task_id="on_worker", connection_id=ON_WORKER, wait_seconds=1)
    LosesItsTrigger(task_id="broken", connection_id=BROKEN, deferrable=True)
enable_lineage(ends)

for name, asset in {
    "orders": Asset(f"{WAREHOUSE}/ORDERS"),
    "people": Asset(f"{WAREHOUSE}/PEOPLE"),
    "mapped": Asset(f"{WAREHOUSE}/MAPPED"),
    "empty": Asset(f"{WAREHOUSE}/EMPTY"),
    "alias": stream_alias("e2e_lineage", "sync"),
}.items():
    with DAG(f"e2e_lineage_after_{name}", schedule=[asset], start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
        EmptyOperator(task_id="use")
