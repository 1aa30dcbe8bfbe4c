"""A moment, and jobs before and after it. Needs no Airflow."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airbyte_deferrable.simulator import Script, Simulator

#: After which a sync is fresh: long ago, so that what ends during a test is.
MOMENT = datetime(2026, 1, 1, 12, 0, 0, tzinfo=timezone.utc)
#: How long the jobs here run, seconds.
LASTS = 10


def ended(
    sim: Simulator,
    connection_id: str,
    seconds: float,
    outcome: str = "succeeded",
    *,
    job_type: str = "sync",
    **is_: Any,
) -> int:
    """Add a job that has ended, and return its id.

    :param seconds: When, after the moment; negative for before. It was created ten seconds earlier.
    """
    script = Script(pending=0.0, **{"duration": LASTS, "outcome": outcome, **is_})
    created_at = MOMENT.timestamp() + seconds - LASTS
    return int(sim.add_job(connection_id, script=script, created_at=created_at, job_type=job_type)["id"])
