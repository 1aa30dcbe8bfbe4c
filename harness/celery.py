"""Celery's workers, as components of an Airflow."""

from __future__ import annotations

from pathlib import Path

from harness.postgresql import PostgreSQL
from harness.redis import Redis


def celery_workers(
    home: Path, postgresql: PostgreSQL, redis: Redis, slots: int
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the commands of two workers by name, and the settings (section and name) that lead Airflow to them.

    :param home: Airflow's home.
    :param postgresql: Where the results go.
    :param redis: Where the messages go.
    :param slots: Of each of the two.
    """
    names = ("worker-1", "worker-2")
    command = ["celery", "worker", "--skip-serve-logs", "--celery-hostname"]
    workers = {name: [*command, name, "--pid", str(home / f"{name}.pid")] for name in names}
    return workers, {
        "CELERY__BROKER_URL": redis.url,
        "CELERY__RESULT_BACKEND": f"db+{postgresql.url}",
        "CELERY__WORKER_CONCURRENCY": str(slots),
        "CELERY__SYNC_PARALLELISM": "1",
    }
