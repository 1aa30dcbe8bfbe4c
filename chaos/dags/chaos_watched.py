"""What Airbyte starts by itself is handed to a DAG: each sync once, whatever is killed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airbyte_deferrable.assets import ended_syncs
from airbyte_deferrable.triggers import AirbyteSyncEndedTrigger

# From before the first: syncs end while Airflow starts.
trigger = AirbyteSyncEndedTrigger(
    "chaos_watched", tag="self-started", since="2026-01-01T00:00:00+00:00", poll_interval=2, event_interval=5
)
watched = Asset("chaos_watched", watchers=[AssetWatcher(name="airbyte", trigger=trigger)])

# Where Airflow cannot tell the asset's events, since a run that has one is still queued, the task tries again.
with DAG("chaos_watched", schedule=[watched], default_args={"retries": 50, "retry_delay": timedelta(seconds=3)}):

    @task
    def tell(**context: Any) -> list[int]:
        """Return the jobs that this run is handed out."""
        return [sync.job_id for sync in ended_syncs(context)]

    tell()
