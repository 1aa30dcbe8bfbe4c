"""Mapped: one task for each of many connections, however few worker slots there are.

All syncs are started as fast as the workers can start them, and then run side by side in Airbyte, while the tasks
wait in the triggerer. With tasks that stay on their workers, only as many could run as there are slots.

Needs the Airflow connection ``airbyte_default`` and a running triggerer. Put the ids of your connections here, or a
JSON list of them into the environment variable ``AIRBYTE_DEMO_CONNECTIONS``.

The ids below are those of the simulator: ``python -m airbyte_deferrable.simulator --connections 10``.
"""

from __future__ import annotations

import json
import os

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG

CONNECTIONS = json.loads(
    os.environ.get(
        "AIRBYTE_DEMO_CONNECTIONS",
        """[
            "a1b7e000-0000-4000-8000-000000000007",
            "a1b7e000-0000-4000-8000-000000000008",
            "a1b7e000-0000-4000-8000-000000000009"
        ]""",
    )
)

with DAG("example_mapped", schedule=None, tags=["airbyte"]):
    AirbyteTriggerSyncOperator.partial(task_id="sync", deferrable=True).expand(connection_id=CONNECTIONS)
