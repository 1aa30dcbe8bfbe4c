"""The StatsD server takes what Airflow's own client sends."""

from __future__ import annotations

from statsd import StatsClient

from harness.statsd import StatsdServer
from harness.waiting import eventually


def test_metrics_that_are_sent_can_be_asked_for_until_they_are_cleared() -> None:
    with StatsdServer() as server:
        settings = server.settings
        client = StatsClient(
            settings["AIRFLOW__METRICS__STATSD_HOST"], int(settings["AIRFLOW__METRICS__STATSD_PORT"]), prefix="airflow"
        )
        client.incr("sweeps")
        client.incr("sweeps", 2)
        client.gauge("waiting", 5)
        client.timing("seen_after", 70.5)
        eventually(lambda: server.values("seen_after"))
        client.close()
        assert server.values("sweeps") == [1, 2]
        assert server.level("waiting") == 5
        assert server.values("seen_after") == [70.5]
        server.clear()
        assert server.values("sweeps") == []
        assert server.level("waiting") == 0
