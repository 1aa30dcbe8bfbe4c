"""Mapped by tag: one task for each connection that has a tag in Airbyte when the DAG runs.

Whoever tags a connection in Airbyte adds its sync to the DAG, without a change to this file. The first task asks
Airbyte which connections these are; each then has a task of its own, in the order of their names.

Needs the Airflow connection ``airbyte_default`` and a running triggerer. Put the name of your tag here, or into the
environment variable ``AIRBYTE_DEMO_TAG``.

The simulator has connections with this tag: ``python -m airbyte_deferrable.simulator --connections 10 --tag daily``.
"""

from __future__ import annotations

import os

from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.decorators import task

TAG = os.environ.get("AIRBYTE_DEMO_TAG", "daily")

with DAG("example_mapped_by_tag", schedule=None, tags=["airbyte"]):

    @task
    def tagged_connections() -> list[str]:
        """Ask Airbyte which connections have the tag now."""
        # One that is switched off could not be synced.
        return [each.connection_id for each in AirbyteHook().list_connections(tag=TAG, status="active")]

    AirbyteTriggerSyncOperator.partial(task_id="sync", deferrable=True).expand(connection_id=tagged_connections())
