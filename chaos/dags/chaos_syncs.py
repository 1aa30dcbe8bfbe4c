"""Many syncs at once; a task whose worker is killed is tried again."""

from __future__ import annotations

import json
import os
from datetime import timedelta

from airflow.sdk import DAG

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

# Retries are Airflow's remedy for a worker that died, and what has to find the job of the try before.
AGAIN = {"retries": 3, "retry_delay": timedelta(seconds=3)}

with DAG("chaos_syncs", schedule=None, default_args=AGAIN):
    AirbyteTriggerSyncOperator.partial(task_id="sync", deferrable=True, wait_seconds=2).expand(
        connection_id=json.loads(os.environ["CHAOS_CONNECTIONS"])
    )
