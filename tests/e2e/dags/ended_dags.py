"""A DAG that an asset starts when syncs have ended, whoever started them. For Airflow 3.

It begins paused: its watcher would ask Airbyte beside the other tests.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airbyte_deferrable.assets import ended_syncs
from airbyte_deferrable.triggers import AirbyteSyncEndedTrigger

# test_ended.py edits this line.
STATUSES = ["succeeded"]
WATCHER = AirbyteSyncEndedTrigger("e2e_ended", tag="ended", statuses=STATUSES, poll_interval=0.5, event_interval=5)
orders = Asset("e2e_ended", watchers=[AssetWatcher(name="airbyte", trigger=WATCHER)])

with DAG(
    "e2e_ended",
    schedule=[orders],
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    is_paused_upon_creation=True,
    # As somebody has it whose tasks must not overtake each other: what comes meanwhile waits in queued runs.
    max_active_runs=1,
):

    @task(retries=9, retry_delay=timedelta(seconds=2))
    def tell(**context: Any) -> list[dict[str, Any]]:
        """Return what the run was told, as the test reads it."""
        return [sync.model_dump(mode="json") for sync in ended_syncs(context)]

    tell()
