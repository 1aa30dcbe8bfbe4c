"""A sync of one stream and one of a thousand, with each way to tell of them: what :mod:`benchmarks.lineage` runs."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from benchmarks.lineage_connections import CONNECTIONS, WAYS

with DAG("legs_lineage", schedule=None):
    for streams, connection_id in CONNECTIONS.items():
        for way, parameters in WAYS.items():
            told: dict[str, Any] = parameters
            AirbyteTriggerSyncOperator(
                task_id=f"{way}_{streams}",
                connection_id=connection_id,
                airbyte_conn_id="airbyte_bench",
                deferrable=True,
                **told,
            )
