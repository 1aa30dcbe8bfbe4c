"""Syncs that keep their worker, with the official provider's operator: fewer, as each keeps it to its end."""

from __future__ import annotations

import json
import os
from pathlib import Path

from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator
from airflow.sdk import DAG

connections = json.loads(Path(os.environ["BENCH_CONNECTIONS_FILE"]).read_text())
some = connections[: int(os.environ["BENCH_ON_WORKER"])]

with DAG("slots_official_on_worker", schedule=None, max_active_tasks=len(some)):
    AirbyteTriggerSyncOperator.partial(task_id="sync", airbyte_conn_id="airbyte_bench", deferrable=False).expand(
        connection_id=some
    )
