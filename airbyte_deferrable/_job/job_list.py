"""What the newest jobs of a connection are, as Airbyte lists them."""

from __future__ import annotations

from airbyte_deferrable.api.client import NEWEST_FIRST, AirbyteClient
from airbyte_deferrable.api.errors import DOUBTS, ApiError
from airbyte_deferrable.api.models import Job

#: So many are asked for.
NEWEST = 20


async def newest_jobs(client: AirbyteClient, connection_id: str) -> tuple[Job, ...]:
    """Return the connection's newest jobs."""
    return await client.list_jobs(connection_id=connection_id, order_by=NEWEST_FIRST, limit=NEWEST)


def newest_of(jobs: tuple[Job, ...]) -> Job | None:
    """Return the newest of some jobs, in whatever order they are; None if there are none."""
    return max(jobs, default=None, key=lambda job: job.job_id)


def newest_live(jobs: tuple[Job, ...]) -> Job | None:
    """Return the newest of those jobs that have not ended, which need not be the newest of all; None if all have."""
    return newest_of(tuple(job for job in jobs if not job.terminal))


async def answers(client: AirbyteClient, connection_id: str) -> bool:
    """Tell whether Airbyte answers a question about a connection, whatever it says."""
    try:
        await client.get_connection(connection_id)
    except DOUBTS:
        return False
    except ApiError:
        return True
    return True
