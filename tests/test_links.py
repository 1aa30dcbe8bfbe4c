"""The button leads to the job, and never fails a task."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from airbyte_deferrable._compat import AIRFLOW_3, BaseOperatorLink
from airbyte_deferrable._job.connections import describe
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.links import JOB_URL, MAY_FAIL, AirbyteJobLink, job_url, leave_link_to_task, link_when_described
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.sensors import AirbyteJobSensor
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.one_task import TaskInstance, airflow_tells, kept_log


def test_address_is_that_of_airbytes_web_app() -> None:
    assert job_url("https://a", "w", "c", 7) == "https://a/workspaces/w/connections/c/timeline?openLogs=true&jobId=7"


def test_both_tasks_have_the_button() -> None:
    for task in (AirbyteTriggerSyncOperator, AirbyteJobSensor):
        assert [link.name for link in task.operator_extra_links] == ["Airbyte job"]


def test_link_leads_where_the_task_says(monkeypatch: pytest.MonkeyPatch) -> None:
    ti: Any = TaskInstance()
    with airflow_tells(monkeypatch, ti):
        assert AirbyteJobLink().get_link(None, ti_key=ti) == ""
        ti.xcom_push(JOB_URL, "https://a")
        assert AirbyteJobLink().get_link(None, ti_key=ti) == "https://a"


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 keeps no links")
@pytest.mark.parametrize("own", [True, False], ids=["our class", "a subclass with a property"])
def test_airflow_writes_no_link_over_the_one_that_is_there(monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetXCom, SetXCom, XComResult

    stored: dict[str, Any] = {JOB_URL: "https://a"}
    calls: list[Any] = []

    def send(message: Any) -> Any:
        calls.append(message)
        if isinstance(message, SetXCom):
            stored[message.key] = message.value
        if isinstance(message, GetXCom):
            return XComResult(key=message.key, value=stored.get(message.key))
        return None

    class WithProperty(AirbyteTriggerSyncOperator):
        @property
        def operator_extra_links(self) -> Any:  # type: ignore[override]
            return (AirbyteJobLink(),)

    kind = AirbyteTriggerSyncOperator if own else WithProperty
    ti: Any = TaskInstance()
    ti.task = kind(task_id="sync", connection_id="c")
    leave_link_to_task(ti.task)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=send), raising=False)
    ti.start_date = ti.end_date = None
    task_runner.finalize(ti, task_runner.TaskInstanceState.DEFERRED, {}, task_runner.structlog.get_logger())
    assert stored == {JOB_URL: "https://a"}
    assert [type(call) for call in calls] == ([] if own else [GetXCom, SetXCom])


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 asks for it")
def test_subclass_keeps_its_other_buttons() -> None:
    class Another(BaseOperatorLink):
        name = "Another"

        def get_link(self, operator: Any, *, ti_key: Any) -> str:
            return ""

    class WithTwo(AirbyteTriggerSyncOperator):
        operator_extra_links = (AirbyteJobLink(), Another())

    task = WithTwo(task_id="sync", connection_id="c")
    leave_link_to_task(task)
    assert [link.name for link in task.operator_extra_links] == ["Another"]
    assert [link.name for link in WithTwo.operator_extra_links] == ["Airbyte job", "Another"]


@pytest.mark.skipif(MAY_FAIL, reason="Airflow copes by itself")
def test_airflow_that_does_not_answer_fails_neither_task_nor_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> Any:
        raise RuntimeError

    xcom = import_module("airflow.sdk.execution_time.xcom" if AIRFLOW_3 else "airflow.models").XCom
    monkeypatch.setattr(xcom, "get_one", broken)
    assert AirbyteJobLink().get_link(None, ti_key=TaskInstance()) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", [{"web_url": None}, {"workspace_id": ""}, {"connection_id": ""}], ids=str)
def test_there_is_no_address_where_a_part_of_it_is_not_known(missing: dict[str, Any]) -> None:
    known: dict[str, Any] = {"web_url": "https://a", "workspace_id": "w", "connection_id": "c", "job_id": 7}
    assert job_url(**known)
    assert job_url(**known | missing) == ""


def test_task_that_waits_on_its_worker_names_and_leads_when_airbyte_has_told(sim: Simulator) -> None:
    cid = sim.add_connection(name="Orders", script=Script(outcome=None))
    ti: Any = TaskInstance()
    log, lines = kept_log()
    with AirbyteHook() as hook:
        job = hook.submit_sync_connection(cid)
        description = hook.start(lambda client: describe(client, cid))
        hook.start(lambda _: link_when_described(hook, {"ti": ti}, job, description, log)).result()
    url = job_url(sim.host, sim.workspace_id, cid, job.job_id)
    assert ti.xcoms == {JOB_URL: url}
    assert lines == [
        f"Airbyte job {job.job_id} is one of connection 'Orders' (Postgres shop → BigQuery warehouse)",
        f"See it in Airbyte: {url}",
    ]


def test_connection_that_cannot_be_looked_up_is_no_matter(sim: Simulator) -> None:
    cid = sim.add_connection(name="Orders", script=Script(outcome=None))
    ti: Any = TaskInstance()
    log, lines = kept_log()
    sim.add_fault(Fault("connection", status=500))
    with AirbyteHook() as hook:
        job = hook.submit_sync_connection(cid)
        description = hook.start(lambda client: describe(client, cid))
        hook.start(lambda _: link_when_described(hook, {"ti": ti}, job, description, log)).result()
    assert (ti.xcoms, lines) == ({}, [])
