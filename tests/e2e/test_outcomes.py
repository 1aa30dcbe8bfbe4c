"""A sync that succeeds, one that fails and one that somebody cancels end alike, whichever way the task waited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from airbyte_deferrable.demo.airflow import LocalAirflow
from airbyte_deferrable.simulator import Script
from benchmarks.statsd import StatsdServer

from .support import QUICK, Airbyte, eventually

pytestmark = [pytest.mark.e2e]

WAYS = ("e2e_synchronous", "e2e_deferrable", "e2e_sensor")
REASON = {"failureOrigin": "source", "failureType": "config_error", "externalMessage": "The password has expired."}
SCRIPTS = {
    "succeeded": QUICK,
    "failed": Script(duration=2, outcome="failed", failure=REASON),
    "cancelled": Script(outcome=None),
}


@dataclass(frozen=True)
class Run:
    """A run of one of the DAGs, on a connection of its own, and how to look into it."""

    airflow: LocalAirflow
    airbyte: Airbyte
    dag_id: str
    run_id: str
    connection_id: str

    def state(self) -> str:
        return self.airflow.wait(self.dag_id, self.run_id)

    def xcom(self, key: str) -> object:
        return self.airflow.xcom(self.dag_id, self.run_id, "sync", key)

    def log(self) -> str:
        return self.airflow.log(self.dag_id, self.run_id, "sync")

    def task(self) -> dict[str, Any]:
        return self.airflow.task_instance(self.dag_id, self.run_id, "sync")

    def is_in_airbyte(self, status: str) -> bool:
        return [job["status"] for job in self.airbyte.jobs_of(self.connection_id)] == [status]

    def job(self) -> dict[str, Any]:
        """Its one job."""
        (job,) = self.airbyte.jobs_of(self.connection_id)
        return job


@pytest.fixture(scope="module")
def runs(airflow: LocalAirflow, airbyte: Airbyte) -> dict[str, list[Run]]:
    """Every way of waiting with every outcome, all started at once: they share two slots well."""
    started: dict[str, list[Run]] = {outcome: [] for outcome in SCRIPTS}
    for outcome, script in SCRIPTS.items():
        for dag_id in WAYS:
            connection_id = airbyte.add_connection(name=f"{dag_id} {outcome}", script=script)
            run_id = airflow.trigger(dag_id, conf={"connection_id": connection_id})
            started[outcome].append(Run(airflow, airbyte, dag_id, run_id, connection_id))
    for run in started["cancelled"]:
        waiting = "running" if run.dag_id == "e2e_synchronous" else "deferred"
        eventually(lambda run=run, waiting=waiting: run.task()["state"] == waiting and run.is_in_airbyte("running"))
        airbyte.cancel(run.job()["id"])
    return started


@pytest.mark.parametrize("way", range(len(WAYS)), ids=WAYS)
def test_a_sync_that_succeeds(runs: dict[str, list[Run]], way: int) -> None:
    run = runs["succeeded"][way]
    assert run.state() == "success"
    job = run.job()
    assert run.xcom("return_value") == job["id"]
    assert run.xcom("final_status") == "succeeded"
    assert run.xcom("rows_synced") == QUICK.rows
    assert run.xcom("bytes_synced") == QUICK.bytes
    airbyte_job = run.xcom("airbyte_job")
    assert airbyte_job["jobId"] == job["id"]
    assert f"PT{run.xcom('duration_seconds'):.0f}S" == airbyte_job["duration"]
    log = run.log()
    assert f"Job {job['id']} succeeded: 1,000 rows, 100 kB" in log
    assert run.airbyte.client_secret not in log


@pytest.mark.parametrize("way", range(len(WAYS)), ids=WAYS)
def test_a_sync_that_fails(runs: dict[str, list[Run]], way: int) -> None:
    run = runs["failed"][way]
    assert run.state() == "failed"
    job = run.job()
    assert job["status"] == "failed"
    assert run.xcom("final_status") == "failed"
    assert f"AirbyteConfigError: Airbyte job {job['id']} of connection {run.connection_id} failed" in run.log()
    assert "Failed in source (config_error) after 1 attempt" in run.log()
    assert "The password has expired." in run.log()


@pytest.mark.parametrize("way", range(len(WAYS)), ids=WAYS)
def test_a_sync_that_somebody_cancels_in_airbyte(runs: dict[str, list[Run]], way: int) -> None:
    run = runs["cancelled"][way]
    assert run.state() == "failed"
    job = run.job()
    assert job["status"] == "cancelled"
    assert run.xcom("final_status") == "cancelled"
    assert f"AirbyteJobCancelled: Airbyte job {job['id']} of connection {run.connection_id} was cancelled" in run.log()


def test_what_the_triggerers_watcher_counts_is_among_airflows_metrics(
    airflow: LocalAirflow, airbyte: Airbyte, statsd: StatsdServer
) -> None:
    connection_id = airbyte.add_connection(script=Script(outcome=None))
    run_id = airflow.trigger("e2e_deferrable", conf={"connection_id": connection_id})
    run = Run(airflow, airbyte, "e2e_deferrable", run_id, connection_id)

    def the_trigger_has_seen_the_job() -> bool:
        return run.is_in_airbyte("running") and f"Airbyte job {run.job()['id']} is running" in run.log()

    eventually(the_trigger_has_seen_the_job)
    airbyte.finish(run.job()["id"], "succeeded")
    assert run.state() == "success"
    for counter in ("sweeps", "requests"):
        assert sum(statsd.values(f"airbyte_deferrable.{counter}")) > 0
    assert max(statsd.values("airbyte_deferrable.waiting")) >= 1
    # In milliseconds; Airbyte's stamps are in whole seconds.
    seen_after = statsd.values("airbyte_deferrable.seen_after")
    assert seen_after
    assert all(0 <= span < 60_000 for span in seen_after)
