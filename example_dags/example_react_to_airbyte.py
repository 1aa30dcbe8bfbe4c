"""React to Airbyte: syncs that have ended start this DAG, whoever started them.

A trigger watches all Airbyte connections that have a tag, and makes events of an asset; the DAG is scheduled on that.
The task reads which syncs they are about.

Needs the Airflow connection ``airbyte_default`` and a running triggerer. Put the name of your tag here, or into the
environment variable ``AIRBYTE_DEMO_WATCHED_TAG``.

The simulator has connections with this tag: ``python -m airbyte_deferrable.simulator --connections 10 --tag hourly``.
It syncs nothing by itself: run ``example_sync``, whose connection is one of these.

Assets have no watchers before Airflow 3. There this DAG runs only by hand; ``example_freshness`` does without them.
"""

from __future__ import annotations

import os
from typing import Any

from airbyte_deferrable.assets import ended_syncs

try:
    from airflow.sdk import DAG, Asset, AssetWatcher, task
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.decorators import task

    SCHEDULE = None
else:
    from airbyte_deferrable.triggers import AirbyteSyncEndedTrigger

    TAG = os.environ.get("AIRBYTE_DEMO_WATCHED_TAG", "hourly")
    ENDED = AirbyteSyncEndedTrigger(asset="example_airbyte_syncs", tag=TAG)
    SCHEDULE = [Asset("example_airbyte_syncs", watchers=[AssetWatcher(name="airbyte", trigger=ENDED)])]


with DAG("example_react_to_airbyte", schedule=SCHEDULE, tags=["airbyte"]):

    @task(retries=3)
    def react(**context: Any) -> list[int]:
        """Whatever is to follow a sync."""
        syncs = ended_syncs(context)
        for sync in syncs:
            print(f"{sync.connection_name}: Airbyte's job {sync.job_id} brought {sync.rows_synced} rows.")
        return [sync.job_id for sync in syncs]

    react()
