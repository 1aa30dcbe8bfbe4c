"""Deferred syncs with airbyte-deferrable's operator, as it is by default."""

from __future__ import annotations

import json
import os
from pathlib import Path

from airflow.sdk import DAG

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

connections = json.loads(Path(os.environ["BENCH_CONNECTIONS_FILE"]).read_text())

with DAG("slots_ours", schedule=None, max_active_tasks=len(connections)):
    AirbyteTriggerSyncOperator.partial(task_id="sync", airbyte_conn_id="airbyte_bench", deferrable=True).expand(
        connection_id=connections
    )
