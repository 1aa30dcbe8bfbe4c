"""Syncs of both operators that are over at once, so that no measured run pays for what only the first has to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator as OfficialOperator
from airflow.sdk import DAG

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

ours, official = json.loads(Path(os.environ["BENCH_WARM_UP_FILE"]).read_text())
CONNECTION = {"airbyte_conn_id": "airbyte_bench", "deferrable": True}

with DAG("slots_warm_up", schedule=None):
    AirbyteTriggerSyncOperator.partial(task_id="ours", **CONNECTION).expand(connection_id=ours)
    OfficialOperator.partial(task_id="official", **CONNECTION).expand(connection_id=official)
