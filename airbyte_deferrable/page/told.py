"""What triggerers have left for the page, put together: jobs, names and the health of the wait, by connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airbyte_deferrable._airflow.page_record import JobFacts, Told
from airbyte_deferrable.page.wire import moment

#: Seconds after which a record that somebody should have renewed is stale: three times as long as it takes.
STALE_AFTER = 90.0
#: Seconds after which it says nothing any more: of a triggerer to whose Airbyte another one listened later, and of any.
TAKEN_OVER_AFTER = 600.0
FORGOTTEN_AFTER = 3600.0


class Record:
    """All records of an Airflow.

    :param texts: What was read.
    :param now: Seconds since the epoch.
    """

    def __init__(self, texts: Iterable[Told], now: float) -> None:
        self._jobs: dict[tuple[str, int], JobFacts] = {}
        self._of_any: dict[tuple[str, int], JobFacts] = {}
        self._names: dict[str, tuple[str, str, str]] = {}
        self.health: list[dict[str, Any]] = []
        newest: dict[tuple[str, str, str], Told] = {}
        for told in sorted(texts, key=lambda each: each.written_at):
            self._names.update(told.names)
            if now - told.written_at > FORGOTTEN_AFTER:
                continue
            for job in told.jobs:
                self._of_any[job.connection_id, job.job_id] = job
                for conn_id in told.conn_ids:
                    self._jobs[conn_id, job.job_id] = job
            if told.health is not None:
                for conn_id in told.conn_ids:
                    # A process that was started again has left another record than the one before it.
                    fresh = now - told.written_at <= STALE_AFTER
                    newest[told.host, conn_id, told.process if fresh else ""] = told
                    if fresh:
                        newest.pop((told.host, conn_id, ""), None)
        heard: dict[str, float] = {}
        for (_, conn_id, _), told in newest.items():
            heard[conn_id] = max(told.written_at, heard.get(conn_id, 0.0))
        for (host, conn_id, _), told in newest.items():
            # What a triggerer has waited for that is gone, Airflow has given to the others within a minute; each that
            # a cluster starts again has another name.
            taken_over = heard[conn_id] - told.written_at > STALE_AFTER
            if not taken_over or now - told.written_at <= TAKEN_OVER_AFTER:
                self._add(host, conn_id, told, now)

    def job(self, conn_id: str | None, connection_id: str | None, job_id: int | None) -> JobFacts | None:
        """Return how a job stands; None if nobody has told.

        :param conn_id: The Airflow connection; None if it is not known.
        :param connection_id: Airbyte's connection; likewise.
        :param job_id: The job; likewise.
        """
        if job_id is None:
            return None
        told = self._jobs.get((conn_id, job_id)) if conn_id is not None else None
        # Airbytes number their jobs alike, also the old and the new one to which an Airflow connection has led; but no
        # two of them have the same connection.
        if told is not None and connection_id and told.connection_id and told.connection_id != connection_id:
            told = None
        return told or (self._of_any.get((connection_id, job_id)) if connection_id else None)

    def names(self, connection_id: str | None) -> tuple[str | None, str | None, str | None]:
        """Return what a connection, its source and its destination are called; None for what nobody has told.

        :param connection_id: Airbyte's connection; None if it is not known.
        """
        name, source, destination = self._names.get(connection_id or "", ("", "", ""))
        return name or None, source or None, destination or None

    def _add(self, host: str, conn_id: str, told: Told, now: float) -> None:
        health = told.health
        assert health is not None, "only of these"
        self.health.append(
            {
                "triggerer": host,
                "process": told.process,
                "conn_id": conn_id,
                "reachable": health.reachable,
                "since": moment(health.since),
                "requests_per_minute": health.requests_per_minute,
                "answered_seconds_ago": health.answered_seconds_ago,
                "waiting": health.waiting,
                "written_at": moment(told.written_at),
                # The last record says that nothing waits any more: nobody renews it.
                "stale": health.waiting > 0 and now - told.written_at > STALE_AFTER,
                "trouble": health.trouble,
            }
        )
