"""What the watchers count, for Airflow's metrics."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Protocol


class Metrics(Protocol):
    """Where counters go; Airflow's ``Stats`` fits."""

    def incr(self, stat: str, count: int = 1) -> None:
        """Count.

        :param stat: The name.
        :param count: By how much.
        """

    def gauge(self, stat: str, value: float) -> None:
        """Set a level.

        :param stat: The name.
        :param value: The level.
        """

    def timing(self, stat: str, dt: timedelta) -> None:
        """Record a span.

        :param stat: The name.
        :param dt: The span.
        """


class Meter:
    """Counts under this package's names. Where the counters go may fail: that is no reason to stop watching.

    ``airbyte_deferrable.waiting`` (gauge): jobs that are waited for in this process.
    ``airbyte_deferrable.watching`` (gauge): connections whose ends are watched in this process.
    ``airbyte_deferrable.sweeps``, ``.requests``, ``.errors`` (counters): sweeps, what they took, and sweeps and
    checks of new subscriptions that failed.
    ``airbyte_deferrable.seen_after`` (timing): from the end of a job to its being noticed.
    ``airbyte_deferrable.asset_events``, ``.ended_syncs`` (counters): events of assets, and the syncs in them.
    ``airbyte_deferrable.told_after`` (timing): from the end of a sync to its event.

    :param metrics: Where they go; None for nowhere.
    """

    def __init__(self, metrics: Metrics | None) -> None:
        self._metrics = metrics

    def waiting(self, jobs: int) -> None:
        """Set how many jobs this process waits for.

        :param jobs: How many.
        """
        if self._metrics is not None:
            with suppress(Exception):
                self._metrics.gauge("airbyte_deferrable.waiting", jobs)

    def watching(self, connections: int) -> None:
        """Set at how many connections this process watches all ends.

        :param connections: How many.
        """
        if self._metrics is not None:
            with suppress(Exception):
                self._metrics.gauge("airbyte_deferrable.watching", connections)

    def count(self, what: str, number: int = 1) -> None:
        """Count sweeps, requests, errors, and what else is named above.

        :param what: Which of them.
        :param number: How many.
        """
        if self._metrics is not None and number:
            with suppress(Exception):
                self._metrics.incr(f"airbyte_deferrable.{what}", number)

    def seen_after(self, span: timedelta) -> None:
        """Record how late the end of a job was noticed.

        :param span: The time since Airbyte's stamp.
        """
        if self._metrics is not None:
            with suppress(Exception):
                self._metrics.timing("airbyte_deferrable.seen_after", span)

    def told_after(self, span: timedelta) -> None:
        """Record how late the end of a sync was told.

        :param span: The time since Airbyte's stamp.
        """
        if self._metrics is not None:
            with suppress(Exception):
                self._metrics.timing("airbyte_deferrable.told_after", span)
