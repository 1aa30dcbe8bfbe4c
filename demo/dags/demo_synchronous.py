"""What ``example_mapped.py`` is, with tasks that stay on their workers: the other half of ``--compare``."""

from __future__ import annotations

import json
import os

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG

with DAG("demo_synchronous", schedule=None, tags=["airbyte"]):
    AirbyteTriggerSyncOperator.partial(task_id="sync", deferrable=False).expand(
        connection_id=json.loads(os.environ["AIRBYTE_DEMO_CONNECTIONS"])
    )
