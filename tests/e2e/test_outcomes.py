"""A sync that succeeds, one that fails and one that somebody cancels end alike, whichever way the task waited."""

from __future__ import annotations

import pytest

from airbyte_deferrable.demo.airflow import LocalAirflow
from airbyte_deferrable.simulator import Script

from .support import QUICK, Airbyte, eventually

pytestmark = pytest.mark.e2e

WAYS = ("e2e_synchronous", "e2e_deferrable", "e2e_sensor")


def trigger(airflow: LocalAirflow, airbyte: Airbyte, dag_id: str, script: Script) -> tuple[str, str]:
    """Start a run on a connection of its own; gives the ids of the run and of the connection."""
    connection_id = airbyte.add_connection(name=f"{dag_id} {script.outcome}", script=script)
    return airflow.trigger(dag_id, conf={"connection_id": connection_id}), connection_id


def only_job(airbyte: Airbyte, connection_id: str) -> int:
    """The id of the connection's one job, as soon as it runs."""
    eventually(lambda: [job for job in airbyte.jobs_of(connection_id) if job["status"] == "running"])
    (job,) = airbyte.jobs_of(connection_id)
    return int(job["id"])


def test_a_sync_that_succeeds(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    runs = {dag_id: trigger(airflow, airbyte, dag_id, QUICK) for dag_id in WAYS}
    for dag_id, (run_id, connection_id) in runs.items():
        assert airflow.wait(dag_id, run_id) == "success"
        (job,) = airbyte.jobs_of(connection_id)

        def xcom(key: str, where: tuple[str, str] = (dag_id, run_id)) -> object:
            return airflow.xcom(*where, "sync", key)

        assert xcom("return_value") == job["id"]
        assert xcom("final_status") == "succeeded"
        assert xcom("rows_synced") == QUICK.rows
        assert xcom("bytes_synced") == QUICK.bytes
        assert isinstance(xcom("duration_seconds"), (int, float))
        assert isinstance(xcom("airbyte_job"), dict)
        log = airflow.log(dag_id, run_id, "sync")
        assert str(job["id"]) in log
        assert "succeeded" in log
        assert airbyte.client_secret not in log


def test_a_sync_that_fails(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    reason = {"failureOrigin": "source", "failureType": "config_error", "externalMessage": "The password has expired."}
    script = Script(duration=2, outcome="failed", failure=reason)
    runs = {dag_id: trigger(airflow, airbyte, dag_id, script) for dag_id in WAYS}
    for dag_id, (run_id, connection_id) in runs.items():
        assert airflow.wait(dag_id, run_id) == "failed"
        (job,) = airbyte.jobs_of(connection_id)
        assert airflow.task_instance(dag_id, run_id, "sync")["state"] == "failed"
        log = airflow.log(dag_id, run_id, "sync")
        assert str(job["id"]) in log
        assert "AirbyteJobFailed" in log


def test_a_sync_that_somebody_cancels_in_airbyte(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    runs = {dag_id: trigger(airflow, airbyte, dag_id, Script(outcome=None)) for dag_id in WAYS}
    for _, connection_id in runs.values():
        airbyte.cancel(only_job(airbyte, connection_id))
    for dag_id, (run_id, connection_id) in runs.items():
        assert airflow.wait(dag_id, run_id) == "failed"
        (job,) = airbyte.jobs_of(connection_id)
        assert job["status"] == "cancelled"
        log = airflow.log(dag_id, run_id, "sync")
        assert str(job["id"]) in log
        assert "AirbyteJobCancelled" in log
