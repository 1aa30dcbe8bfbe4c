"""Every example DAG runs to its end against a simulated Airbyte."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from airbyte_deferrable.simulator import Script
from harness.airflow import LocalAirflow
from harness.waiting import eventually

from .support import EXAMPLES, MANY, QUICK, Airbyte

try:
    from airflow import sdk
except ImportError:  # Airflow 2
    sdk = None

pytestmark = [pytest.mark.e2e]

# The Airbyte connections that the examples name, found in their source as a reader would find them.
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NAMED = {path.stem: UUID.findall(path.read_text()) for path in EXAMPLES.glob("*.py")}


# Before 3.3, Airflow has no retry policies.
TRIES = 1 if hasattr(sdk, "ExceptionRetryPolicy") else 4
BROKEN_SETTINGS = Script(
    duration=2,
    outcome="failed",
    failure={"failureOrigin": "source", "failureType": "config_error", "externalMessage": "The password is wrong"},
)


#: Connections by their names, some of which the examples that go by a tag are to find.
TAGGED: dict[str, dict[str, Any]] = {
    "Tagged B": {},
    "Tagged A": {"tags": ["finance", "daily"]},
    "Tagged C": {},
    "Tagged otherwise": {"tags": ["weekly"]},
    "Tagged to be watched": {"tags": ["hourly"]},
    "Tagged and off": {"status": "inactive"},
}


def tagged(name: str) -> str:
    """The id of one of these."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


@dataclass
class Run:
    """A run of an example DAG that has been triggered."""

    airflow: LocalAirflow
    dag_id: str
    run_id: str

    def succeeds(self) -> None:
        assert self.airflow.wait(self.dag_id, self.run_id) == "success"

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> object:
        return self.airflow.xcom(self.dag_id, self.run_id, task_id, key, map_index)

    def log(self, task_id: str, map_index: int = -1) -> str:
        return self.airflow.log(self.dag_id, self.run_id, task_id, map_index=map_index)

    def buttons(self, task_id: str) -> dict[str, str]:
        """The buttons on the task's page, and where they lead."""
        path = f"/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}/links"
        told = self.airflow.api("GET", path)
        return told.get("extra_links", told)


@pytest.fixture(scope="module")
def runs(airflow: LocalAirflow, airbytes: tuple[Airbyte, Airbyte]) -> dict[str, Run]:
    """All but the mapped example, which has a test module of its own, started at once: they share two slots well."""
    for dag_id in set(NAMED) - {"example_mapped"}:
        for number, connection_id in enumerate(NAMED[dag_id]):
            airbytes[number].add_connection(name=f"{dag_id} {number}", script=QUICK, connection_id=connection_id)
    for name, changes in TAGGED.items():
        changed = {"tags": ["daily"], **changes}
        airbytes[0].add_connection(name=name, script=QUICK, connection_id=tagged(name), **changed)
    return {dag_id: Run(airflow, dag_id, airflow.trigger(dag_id)) for dag_id in set(NAMED) - {"example_mapped"}}


def test_examples_have_a_test_each() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_example_")}
    assert tested == set(NAMED) - {"example_mapped"}
    assert len(MANY) == 50


def test_example_sync(runs: dict[str, Run], airbyte: Airbyte) -> None:
    run = runs["example_sync"]
    run.succeeds()
    (job,) = airbyte.jobs(NAMED["example_sync"][0])
    assert run.xcom("sync_orders") == job["id"]
    assert "Pausing task as DEFERRED" not in run.log("sync_orders")


def test_example_deferrable(runs: dict[str, Run], airbyte: Airbyte) -> None:
    run = runs["example_deferrable"]
    run.succeeds()
    (job,) = airbyte.jobs(NAMED["example_deferrable"][0])
    assert run.xcom("sync_orders") == job["id"]
    assert "Pausing task as DEFERRED" in run.log("sync_orders")
    assert run.buttons("sync_orders")["Airbyte job"].endswith(f"jobId={job['id']}")


def test_example_asynchronous_sensor(runs: dict[str, Run], airbyte: Airbyte) -> None:
    run = runs["example_asynchronous_sensor"]
    run.succeeds()
    (job,) = airbyte.jobs(NAMED["example_asynchronous_sensor"][0])
    assert run.xcom("start_orders") == job["id"]
    assert str(job["id"]) in run.log("wait_for_orders")
    assert "here is time for something else" in run.log("prepare_warehouse")


def test_example_freshness(runs: dict[str, Run], airbyte: Airbyte) -> None:
    run = runs["example_freshness"]
    (connection_id,) = NAMED["example_freshness"]
    assert airbyte.jobs(connection_id) == []
    job = airbyte.add_job(connection_id)  # as Airbyte's own schedule would
    run.succeeds()
    assert run.xcom("orders_are_fresh") == job["id"]
    assert f"The orders are those of Airbyte's job {job['id']}." in run.log("report")


def test_example_react_to_airbyte(runs: dict[str, Run], airbyte: Airbyte) -> None:
    by_hand = runs["example_react_to_airbyte"]
    airflow, dag_id = by_hand.airflow, by_hand.dag_id
    by_hand.succeeds()
    assert by_hand.xcom("react") == []
    if sdk is None:
        return

    # It begins with the moment in which it finds the tag: what has ended before is none of its.
    triggerer = airflow.home / "logs" / "triggerer.log"
    eventually(lambda: "Watching 1 Airbyte connections" in triggerer.read_text(errors="replace"), what="it watches")
    job = airbyte.add_job(tagged("Tagged to be watched"))  # as Airbyte's own schedule would

    def of_the_asset() -> list[str]:
        told = airflow.api("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]
        return [each["dag_run_id"] for each in told if each["dag_run_id"] != by_hand.run_id]

    eventually(of_the_asset)
    (run_id,) = of_the_asset()
    run = Run(airflow, dag_id, run_id)
    run.succeeds()
    assert run.xcom("react") == [job["id"]]
    assert f"Tagged to be watched: Airbyte's job {job['id']} brought 1000 rows." in run.log("react")


def test_example_reset_then_sync(runs: dict[str, Run], airbyte: Airbyte) -> None:
    run = runs["example_reset_then_sync"]
    run.succeeds()
    jobs = airbyte.jobs(NAMED["example_reset_then_sync"][0])
    assert [job["jobType"] for job in jobs] == ["reset", "sync"]
    assert [run.xcom("reset_orders"), run.xcom("sync_orders")] == [job["id"] for job in jobs]


def test_example_mapped_by_tag(runs: dict[str, Run], airbyte: Airbyte) -> None:
    run = runs["example_mapped_by_tag"]
    run.succeeds()
    told = run.airflow.task_instances(run.dag_id, run.run_id)
    assert [each["map_index"] for each in told if each["task_id"] == "sync"] == [0, 1, 2]
    for index, name in enumerate(("Tagged A", "Tagged B", "Tagged C")):
        (job,) = airbyte.jobs(tagged(name))
        assert run.xcom("sync", map_index=index) == job["id"]
    assert airbyte.jobs(tagged("Tagged otherwise")) == airbyte.jobs(tagged("Tagged and off")) == []


def test_example_several_servers(runs: dict[str, Run], airbytes: tuple[Airbyte, Airbyte]) -> None:
    run = runs["example_several_servers"]
    run.succeeds()
    for server, task_id, connection_id in zip(
        airbytes, ("sync_europe", "sync_america"), NAMED["example_several_servers"], strict=True
    ):
        (job,) = server.jobs(connection_id)
        assert (run.xcom(task_id), run.xcom(task_id, "final_status")) == (job["id"], "succeeded")


def test_example_stop_retrying(runs: dict[str, Run], airbyte: Airbyte) -> None:
    run = runs["example_stop_retrying"]
    (connection_id,) = NAMED["example_stop_retrying"]
    run.succeeds()

    airbyte.script(connection_id, BROKEN_SETTINGS)
    again = Run(run.airflow, run.dag_id, run.airflow.trigger(run.dag_id))
    assert run.airflow.wait(run.dag_id, again.run_id) == "failed"
    assert run.airflow.task_instance(run.dag_id, again.run_id, "sync_orders")["try_number"] == TRIES
    assert "The password is wrong" in again.log("sync_orders")
