"""The button leads to the job as long as there is one, wherever the task waits for it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from airbyte_deferrable.links import job_url
from airbyte_deferrable.simulator import Fault, Script
from harness.airflow import LocalAirflow
from harness.waiting import eventually

from .support import Airbyte

pytestmark = [pytest.mark.e2e]

ON_WORKER = ("on_worker", 0)  # a mapped task
DEFERRED = ("deferred", -1)
ENDLESS = Script(outcome=None)


@dataclass
class Run:
    """A run of one of the DAGs, and how to look into it."""

    airflow: LocalAirflow
    dag_id: str
    run_id: str

    def button(self, task_id: str, map_index: int = -1) -> str | None:
        """Where the button leads, as the task's page reads it."""
        path = f"/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}/links"
        told = self.airflow.api("GET", path, params={"map_index": map_index})
        buttons: dict[str, str | None] = told.get("extra_links", told)
        return buttons["Airbyte job"]

    def state(self, task_id: str, map_index: int = -1) -> str:
        return self.airflow.task_instance(self.dag_id, self.run_id, task_id, map_index)["state"]

    def leads(self, address: str, state: str, task_id: str, map_index: int = -1) -> None:
        """Wait for a state of a task, and for its button: to be there then, not only later."""

        def it_is_so() -> bool:
            return self.button(task_id, map_index) == address and self.state(task_id, map_index) == state

        eventually(it_is_so)


def address(airbyte: Airbyte, connection_id: str) -> str:
    """Where the connection's latest job is."""
    return job_url(airbyte.host, airbyte.workspace_id, connection_id, airbyte.jobs(connection_id)[-1]["id"])


def test_button_of_an_operator(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    first, second = (airbyte.add_connection(script=ENDLESS) for _ in range(2))
    run = Run(airflow, "e2e_link", airflow.trigger("e2e_link", conf={"first": first, "second": second}))
    eventually(lambda: airbyte.jobs(first))
    run.leads(address(airbyte, first), "running", *ON_WORKER)
    # Its job is still to come.
    assert run.button(*DEFERRED) is None

    airbyte.finish(airbyte.jobs(first)[-1]["id"], "succeeded")
    eventually(lambda: airbyte.jobs(second))
    run.leads(address(airbyte, second), "deferred", *DEFERRED)
    assert run.button(*ON_WORKER) == address(airbyte, first)

    airbyte.finish(airbyte.jobs(second)[-1]["id"], "succeeded")
    assert airflow.wait(run.dag_id, run.run_id) == "success"
    assert run.button(*DEFERRED) == address(airbyte, second)

    # Cleared, it has no job until it has started another.
    # Throttled: it asks again at once when it may. After a lost answer it would look for a job for more than a minute.
    fault = airbyte.add_fault(Fault("create", status=429, connection_id=second))
    airflow.clear(run.dag_id, run.run_id, "deferred")

    def it_has_no_job() -> bool:
        return run.state(*DEFERRED) == "running" and run.button(*DEFERRED) is None

    eventually(it_has_no_job)
    airbyte.clear_faults(fault)
    eventually(lambda: len(airbyte.jobs(second)) == 2)
    run.leads(address(airbyte, second), "deferred", *DEFERRED)
    # Failed, it is needed most.
    airbyte.finish(airbyte.jobs(second)[-1]["id"], "failed")
    assert airflow.wait(run.dag_id, run.run_id) == "failed"
    assert run.button(*DEFERRED) == address(airbyte, second)


def test_button_of_a_sensor(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    connection_id = airbyte.add_connection(script=ENDLESS)
    job_id = airbyte.add_job(connection_id)["id"]
    run = Run(airflow, "e2e_link_of_sensor", airflow.trigger("e2e_link_of_sensor", conf={"job_id": job_id}))
    run.leads(address(airbyte, connection_id), "running", "on_worker")
    run.leads(address(airbyte, connection_id), "deferred", "deferred")
    airbyte.finish(job_id, "succeeded")
    assert airflow.wait(run.dag_id, run.run_id) == "success"
    assert {run.button(task_id) for task_id in ("on_worker", "deferred")} == {address(airbyte, connection_id)}
