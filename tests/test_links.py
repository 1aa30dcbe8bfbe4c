"""The button leads to the job, and never fails a task."""

from __future__ import annotations

from typing import Any

import pytest
from one_task import TaskInstance, airflow_tells, connection_to

from airbyte_deferrable import links
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.links import JOB_URL, AirbyteJobLink, job_url, lead_to_job
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.sensors import AirbyteJobSensor
from airbyte_deferrable.simulator import Fault, Script, Simulator


def test_the_address_is_that_of_airbytes_web_app() -> None:
    assert job_url("https://a", "w", "c", 7) == "https://a/workspaces/w/connections/c/timeline?openLogs=true&jobId=7"


def test_both_tasks_have_the_button() -> None:
    for task in (AirbyteTriggerSyncOperator, AirbyteJobSensor):
        assert [link.name for link in task.operator_extra_links] == ["Airbyte job"]


def test_it_leads_where_the_task_says(monkeypatch: pytest.MonkeyPatch) -> None:
    ti: Any = TaskInstance()
    with airflow_tells(monkeypatch, ti):
        assert AirbyteJobLink().get_link(None, ti_key=ti) == ""
        ti.xcom_push(JOB_URL, "https://a")
        assert AirbyteJobLink().get_link(None, ti_key=ti) == "https://a"


def test_an_airflow_that_does_not_answer_fails_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(links, "read_xcom", broken)
    assert AirbyteJobLink().get_link(None, ti_key=TaskInstance()) == ""  # type: ignore[arg-type]


def test_a_connection_that_cannot_be_looked_up_is_no_matter(
    airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = airbyte_simulator
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim))
    cid = sim.add_connection(name="Orders", script=Script(outcome=None))
    with AirbyteHook() as hook:
        job = hook.submit_sync_connection(cid)
        context: Any = {"ti": TaskInstance()}
        name, url = lead_to_job(hook, context, job)
        assert name == "'Orders' (Postgres shop → BigQuery warehouse)"
        assert url == job_url(sim.host, sim.workspace_id, cid, job.job_id) == context["ti"].xcoms[JOB_URL]
        sim.add_fault(Fault("connection", status=500))
        assert lead_to_job(hook, {"ti": TaskInstance()}, job) == ("", "")  # type: ignore[arg-type, typeddict-item]
