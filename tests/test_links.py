"""The button leads to the job, and never fails a task."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from one_task import TaskInstance, airflow_tells, connection_to

from airbyte_deferrable._compat import AIRFLOW_3
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.links import JOB_URL, MAY_FAIL, AirbyteJobLink, job_url, lead_to_job
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


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 keeps no links")
@pytest.mark.parametrize("answers", [True, False], ids=["an Airflow that answers", "an Airflow that does not answer"])
def test_airflow_keeps_the_link_when_a_leg_of_the_task_ends(monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetXCom, SetXCom, XComResult

    stored: dict[str, Any] = {JOB_URL: "https://a", AirbyteJobLink.xcom_key: "https://a"}

    def send(message: Any) -> Any:
        if isinstance(message, SetXCom):
            stored[message.key] = message.value
        if isinstance(message, GetXCom):
            if not answers:
                raise RuntimeError
            return XComResult(key=message.key, value=stored.get(message.key))
        return None

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=send), raising=False)
    ti: Any = TaskInstance()
    ti.task = SimpleNamespace(operator_extra_links=AirbyteTriggerSyncOperator.operator_extra_links)
    ti.start_date = ti.end_date = None
    task_runner.finalize(ti, task_runner.TaskInstanceState.DEFERRED, {}, task_runner.structlog.get_logger())
    # Before Airflow 3.1, a link that could not be read would fail the task.
    kept = "https://a" if answers or MAY_FAIL else ""
    assert stored == {JOB_URL: "https://a", AirbyteJobLink.xcom_key: kept}


@pytest.mark.skipif(MAY_FAIL, reason="Airflow copes by itself")
def test_an_airflow_that_does_not_answer_fails_neither_task_nor_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> Any:
        raise RuntimeError

    xcom = import_module("airflow.sdk.execution_time.xcom" if AIRFLOW_3 else "airflow.models").XCom
    monkeypatch.setattr(xcom, "get_one", broken)
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
        assert url == job_url(sim.host, sim.workspace_id, cid, job.job_id)
        # What Airflow 3 shows need not wait for the task to leave the worker.
        assert context["ti"].xcoms == {JOB_URL: url, **({AirbyteJobLink.xcom_key: url} if AIRFLOW_3 else {})}
        sim.add_fault(Fault("connection", status=500))
        assert lead_to_job(hook, {"ti": TaskInstance()}, job) == ("", "")  # type: ignore[arg-type, typeddict-item]
