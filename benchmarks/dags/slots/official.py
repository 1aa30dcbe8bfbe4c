"""Deferred syncs with the official provider's operator, as it is by default."""

from __future__ import annotations

import json
import os
from pathlib import Path

from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator
from airflow.sdk import DAG

connections = json.loads(Path(os.environ["BENCH_CONNECTIONS_FILE"]).read_text())

with DAG("slots_official", schedule=None, max_active_tasks=len(connections)):
    AirbyteTriggerSyncOperator.partial(task_id="sync", airbyte_conn_id="airbyte_bench", deferrable=True).expand(
        connection_id=connections
    )
