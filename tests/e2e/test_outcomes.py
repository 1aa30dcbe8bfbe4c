"""A sync that succeeds, one that fails and one that somebody cancels end alike, whichever way the task waited.

And whatever else a task fails with, its log says.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from airbyte_deferrable.simulator import Fault, Script
from harness.airflow import LocalAirflow
from harness.statsd import StatsdServer
from harness.waiting import eventually

from .support import QUICK, REFUSED, Airbyte

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

    def xcom(self, key: str) -> Any:
        return self.airflow.xcom(self.dag_id, self.run_id, "sync", key)

    def log(self) -> str:
        return self.airflow.log(self.dag_id, self.run_id, "sync")

    def task(self) -> dict[str, Any]:
        return self.airflow.task_instance(self.dag_id, self.run_id, "sync")

    def is_in_airbyte(self, status: str) -> bool:
        return [job["status"] for job in self.airbyte.jobs(self.connection_id)] == [status]

    def job(self) -> dict[str, Any]:
        """Its one job."""
        (job,) = self.airbyte.jobs(self.connection_id)
        return job

    def has_seen_its_job(self) -> bool:
        """Whether its trigger has been told that its job runs."""
        return self.is_in_airbyte("running") and f"Airbyte job {self.job()['id']} is running" in self.log()


@pytest.fixture(scope="module")
def troubled(airflow: LocalAirflow, airbytes: tuple[Airbyte, Airbyte]) -> Iterator[dict[str, Run]]:
    """A run for each thing beside the outcome of its job that a task can fail with, all started at once."""
    airbyte, other = airbytes
    without_config_api = other.add_fault(Fault("config", status=404))
    busy = airbyte.add_connection(name="busy", script=Script(outcome=None))
    airbyte.add_job(busy)
    places = {
        "no config API": ("e2e_deferrable", other, other.add_connection(script=SCRIPTS["failed"]), "airbyte_america"),
        "no connection": ("e2e_deferrable", airbyte, str(uuid.uuid4()), "airbyte_default"),
        "no job": ("e2e_impatient", airbyte, airbyte.add_connection(script=Script(outcome=None)), "airbyte_default"),
        "refused": ("e2e_deferrable", airbyte, airbyte.add_connection(), "airbyte_refused"),
        "busy": ("e2e_impatient", airbyte, busy, "airbyte_default"),
    }
    started = {}
    for name, (dag_id, where, connection_id, conn_id) in places.items():
        run_id = airflow.trigger(dag_id, conf={"connection_id": connection_id, "airbyte_conn_id": conn_id})
        started[name] = Run(airflow, where, dag_id, run_id, connection_id)
    yield started
    other.clear_faults(without_config_api)


@pytest.fixture(scope="module")
def runs(airflow: LocalAirflow, airbyte: Airbyte, troubled: dict[str, Run]) -> dict[str, list[Run]]:
    """Every way of waiting with every outcome, started at once with the troubled ones: they share two slots well."""
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
def test_sync_that_succeeds(runs: dict[str, list[Run]], way: int) -> None:
    run = runs["succeeded"][way]
    assert run.state() == "success"
    job = run.job()
    assert run.xcom("return_value") == job["id"]
    assert run.xcom("final_status") == "succeeded"
    assert run.xcom("rows_synced") == QUICK.rows
    airbyte_job = run.xcom("airbyte_job")
    assert (airbyte_job["jobId"], airbyte_job["bytesSynced"]) == (job["id"], QUICK.bytes)
    assert f"PT{airbyte_job['durationSeconds']:.0f}S" == airbyte_job["duration"]
    log = run.log()
    assert f"Job {job['id']} succeeded: 1,000 rows, 100 kB" in log
    assert run.airbyte.client_secret not in log


@pytest.mark.parametrize("way", range(len(WAYS)), ids=WAYS)
def test_sync_that_fails(runs: dict[str, list[Run]], way: int) -> None:
    run = runs["failed"][way]
    assert run.state() == "failed"
    job = run.job()
    assert job["status"] == "failed"
    assert run.xcom("final_status") == "failed"
    assert f"AirbyteConfigError: Airbyte job {job['id']} of connection {run.connection_id} failed" in run.log()
    assert "Failed in source (config_error) after 1 attempt" in run.log()
    assert "The password has expired." in run.log()


@pytest.mark.parametrize("way", range(len(WAYS)), ids=WAYS)
def test_sync_that_somebody_cancels_in_airbyte(runs: dict[str, list[Run]], way: int) -> None:
    run = runs["cancelled"][way]
    assert run.state() == "failed"
    job = run.job()
    assert job["status"] == "cancelled"
    assert run.xcom("final_status") == "cancelled"
    assert f"AirbyteJobCancelled: Airbyte job {job['id']} of connection {run.connection_id} was cancelled" in run.log()


def test_sync_that_fails_at_an_airbyte_without_config_api(troubled: dict[str, Run]) -> None:
    run = troubled["no config API"]
    assert run.state() == "failed"
    assert run.xcom("final_status") == "failed"
    log = run.log()
    assert f"AirbyteJobFailed: Airbyte job {run.job()['id']} of connection {run.connection_id} failed" in log
    assert "Airbyte's config API did not tell why: see the job's log in Airbyte." in log
    assert run.airbyte.count("config:jobs/get_without_logs") >= 1


def test_connection_that_cannot_be_seen(troubled: dict[str, Run]) -> None:
    run = troubled["no connection"]
    assert run.state() == "failed"
    log = run.log()
    assert "AirbyteNotVisibleError: " in log
    assert run.connection_id in log.partition("AirbyteNotVisibleError: ")[2]


def test_job_that_is_deleted_while_a_task_waits_for_it(troubled: dict[str, Run]) -> None:
    run = troubled["no job"]
    eventually(run.has_seen_its_job)
    job_id = run.job()["id"]
    run.airbyte.delete_job(job_id)
    assert run.state() == "failed"
    told = f"AirbyteNotVisibleError: Airbyte job {job_id} of connection {run.connection_id} cannot be seen"
    assert told in run.log()


def test_credentials_that_airbyte_refuses(troubled: dict[str, Run]) -> None:
    run = troubled["refused"]
    assert run.state() == "failed"
    assert run.airbyte.jobs(run.connection_id) == []
    assert "AirbyteCredentialsError: " in run.log()
    assert "'airbyte_refused'" in run.log()
    assert REFUSED not in run.log()


def test_busy_connection_that_is_not_to_be_waited_for(troubled: dict[str, Run]) -> None:
    run = troubled["busy"]
    assert run.state() == "failed"
    assert f"AirbyteConflictError: Connection {run.connection_id} runs job {run.job()['id']}" in run.log()
    assert run.is_in_airbyte("running")


def test_watchers_counts_are_among_airflows_metrics(
    airflow: LocalAirflow, airbyte: Airbyte, statsd: StatsdServer
) -> None:
    connection_id = airbyte.add_connection(script=Script(outcome=None))
    run_id = airflow.trigger("e2e_deferrable", conf={"connection_id": connection_id})
    run = Run(airflow, airbyte, "e2e_deferrable", run_id, connection_id)

    eventually(run.has_seen_its_job)
    airbyte.finish(run.job()["id"], "succeeded")
    assert run.state() == "success"
    for counter in ("sweeps", "requests"):
        assert sum(statsd.values(f"airbyte_deferrable.{counter}")) > 0
    assert max(statsd.values("airbyte_deferrable.waiting")) >= 1
    # In milliseconds; Airbyte's stamps are in whole seconds.
    seen_after = statsd.values("airbyte_deferrable.seen_after")
    assert seen_after
    assert all(0 <= span < 60_000 for span in seen_after)
