"""Every parameter in every form that Airflow and the official provider let it have."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from airflow.exceptions import AirflowNotFoundException

from airbyte_deferrable import operators
from airbyte_deferrable._airflow.kill import WAIT_MARKER
from airbyte_deferrable.exceptions import (
    AirbyteConflictError,
    AirbyteCredentialsError,
    AirbyteInputError,
    AirbyteNotVisibleError,
    AirbyteRequestError,
    AirbyteSettingsError,
)
from airbyte_deferrable.links import JOB_URL
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import ENDLESS, QUICK
from helpers.compat import DAG, TaskGroup
from helpers.one_task import (
    WAYS,
    Make,
    Task,
    said,
    stored,
)
from helpers.waiting import meanwhile

# XComs


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("workspace", [True, False], ids=["workspace given", "no workspace"])
def test_without_xcoms_there_is_none_but_what_a_running_wait_needs(
    sim: Simulator, task: Make, way: str, workspace: bool
) -> None:
    parameters: dict[str, Any] = {"workspace_id": sim.workspace_id} if workspace else {}
    cid = sim.add_connection(name="Orders", script=Script(duration=1.5, pending=0.0))
    sync = task(cid, way, do_xcom_push=False, **parameters)
    assert sync.run() == sim.jobs(cid)[0]["id"]
    assert set(sync.ti.xcoms) == ({WAIT_MARKER} if way == "deferred" else set())
    assert any("See it in Airbyte" in line for line in sync.lines)


def test_trigger_of_a_task_without_xcoms_writes_no_address(sim: Simulator, task: Make) -> None:
    sync = task(sim.add_connection(script=ENDLESS), "deferred", do_xcom_push=False)
    assert stored(sync.leave().trigger).write_xcoms is False
    with_xcoms = task(sim.add_connection(script=ENDLESS), "deferred")
    assert stored(with_xcoms.leave().trigger).write_xcoms is True


# Spans of time


@pytest.mark.parametrize(
    ("given", "seconds"), [(60, 60.0), (90.5, 90.5), (timedelta(minutes=2), 120.0), (Fraction(301, 2), 150.5)]
)
def test_span_is_given_in_any_form_and_is_a_number(sim: Simulator, task: Make, given: Any, seconds: float) -> None:
    spans = {"timeout": given, "wait_seconds": given, "progress_seconds": given}
    sync = task(sim.add_connection(script=ENDLESS), "deferred", **spans)
    operator = sync.operator()
    assert (operator.timeout + 1, operator.wait_seconds * 2) == (seconds + 1, seconds * 2)
    trigger = stored(sync.leave().trigger)
    assert (trigger.poll_interval, trigger.progress_interval) == (seconds, seconds)
    assert trigger.end_time > 0


@pytest.mark.parametrize("timeout", [0, math.inf])
@pytest.mark.parametrize("way", WAYS)
def test_timeout_without_end_is_none(sim: Simulator, task: Make, way: str, timeout: float) -> None:
    cid = sim.add_connection(script=QUICK)
    sim.add_job(cid, script=Script(duration=0.5, pending=0.0))
    assert task(cid, way, timeout=timeout).run() == sim.jobs(cid)[1]["id"]


# default_args


def in_dag(task: Make, default_args: dict[str, Any], connection_id: str = "", **parameters: Any) -> Task:
    """Return a task of a DAG, whose defaults reach it as Airflow has it."""
    made = task(connection_id)

    def make() -> AirbyteTriggerSyncOperator:
        given: dict[str, Any] = {"connection_id": connection_id} if connection_id else {}
        with DAG("dag", default_args={"wait_seconds": 0.1, **default_args}, schedule=None):
            return AirbyteTriggerSyncOperator(task_id="sync", **given, **parameters)

    made._make = make
    return made


@pytest.mark.parametrize(
    "default_args",
    [
        {"connection_name": "another system's"},
        {"workspace_id": "my-workspace"},
        {"workspace_id": 42},
        {"timeout": timedelta(minutes=30)},
        {"connection_name": "x", "workspace_id": "y", "poke_interval": 60, "mode": "reschedule"},
    ],
)
def test_defaults_meant_for_other_operators_do_no_harm_beside_a_connection_id(
    sim: Simulator, task: Make, default_args: dict[str, Any]
) -> None:
    cid = sim.add_connection(script=QUICK)
    assert in_dag(task, default_args, cid).run() == sim.jobs(cid)[0]["id"]


@pytest.mark.parametrize(
    ("default_args", "connection"),
    [
        ({"job_type": "glueetl"}, True),
        ({"timeout": "1h"}, True),
        ({"wait_seconds": "60"}, True),
        ({"if_running": "cancel"}, True),
        ({"connection_id": "postgres"}, False),
        ({"connection_name": "Orders", "workspace_id": "my-workspace"}, False),
        ({"connection_name": "another system's"}, False),
    ],
    ids=str,
)
def test_ambiguous_parameters_are_said_to_come_from_default_args(
    sim: Simulator, task: Make, default_args: dict[str, Any], connection: bool
) -> None:
    cid = sim.add_connection(name="Orders")
    sync = in_dag(task, default_args, cid if connection else "")
    name = list(default_args)[-1]
    with pytest.raises(AirbyteInputError, match=rf"default_args of the DAG .* have a {name}, which reaches every"):
        sync.run()
    assert sim.count("create") == 0


def test_default_args_of_a_task_group_are_named_too(sim: Simulator, task: Make) -> None:
    cid = sim.add_connection()
    sync = task(cid)

    def make() -> AirbyteTriggerSyncOperator:
        with DAG("dag", schedule=None), TaskGroup("group", default_args={"job_type": "glueetl"}):  # type: ignore[arg-type]
            return AirbyteTriggerSyncOperator(task_id="sync", connection_id=cid)

    sync._make = make
    with pytest.raises(AirbyteInputError, match="task group have a job_type"):
        sync.run()


def test_value_of_the_task_itself_is_not_blamed_on_default_args(sim: Simulator, task: Make) -> None:
    with pytest.raises(AirbyteInputError) as refused:
        in_dag(task, {"owner": "me"}, sim.add_connection(), job_type="resync").run()
    assert "default_args" not in str(refused.value)


@pytest.mark.parametrize("way", WAYS)
def test_workspace_beside_a_connection_id_leads_to_the_job_without_a_question(
    sim: Simulator, task: Make, way: str
) -> None:
    """Also where the credentials may start jobs and not read connections."""
    sim.add_fault(Fault("connection", status=403))
    sim.add_fault(Fault("connections", status=403))
    cid = sim.add_connection(script=Script(duration=1.0, pending=0.0))
    sync = task(cid, way, workspace_id=sim.workspace_id)
    sync.run()
    assert f"/workspaces/{sim.workspace_id}/connections/{cid}/timeline" in sync.ti.xcoms[JOB_URL]


def test_name_that_is_rendered_as_a_number_is_a_name(sim: Simulator, task: Make) -> None:
    """With ``render_template_as_native_obj``."""
    cid = sim.add_connection(name="2026", script=QUICK)
    assert task("", connection_name=2026).run() == sim.jobs(cid)[0]["id"]


@pytest.mark.parametrize(
    ("parameters", "way", "poll"),
    [({"wait_seconds": 7}, "deferred", 7.0), ({"wait_seconds": None}, "deferred", 5.0)],
)
def test_wait_seconds_is_the_interval_of_the_checks(
    sim: Simulator, task: Make, parameters: dict[str, Any], way: str, poll: float
) -> None:
    deferred = task(sim.add_connection(script=ENDLESS), way, **parameters).leave()
    assert deferred.trigger.poll_interval == poll
    assert deferred.timeout is None


def test_wait_seconds_is_the_interval_on_the_worker_too(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "POLL_ON_WORKER", 3600.0)
    sync = task(sim.add_connection(script=ENDLESS), wait_seconds=0.25)
    began = time.monotonic()
    with meanwhile(lambda: sim.count("get") >= 4, lambda: sim.finish(1, "succeeded")):
        sync.run()
    # However fast a machine is, three intervals lie between four checks, each of them a little shorter by chance.
    assert time.monotonic() - began > 0.5


@pytest.mark.parametrize(
    "parameters",
    [
        {"connection_id": "orders"},
        {"connection_id": ""},
        {"connection_id": None},
        {"job_type": "resync"},
        {"if_running": "queue"},
        {"wait_seconds": -1},
        {"wait_seconds": "3"},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": None},
        {"timeout": True},
        {"progress_seconds": -0.1},
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_bad_input_is_refused_before_anything_is_started(
    sim: Simulator, task: Make, parameters: dict[str, Any], way: str
) -> None:
    arguments = {"connection_id": sim.add_connection(), **parameters}
    with pytest.raises(AirbyteInputError, match=f"{next(iter(parameters))} must be .*Nothing was started"):
        task(arguments.pop("connection_id"), way, **arguments).run()
    assert sim.count() == 0


@pytest.mark.parametrize(
    "fields", ['{"conn_type": "airbyte"}', '{"conn_type":"airbyte","host":"http://a","extra":"x"}']
)
def test_bad_airflow_connection_is_refused_before_anything_is_started(
    sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch, fields: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", fields)
    # Airflow 3.0 and 3.1 do not even hand over a connection whose extra they cannot read.
    with pytest.raises((AirbyteSettingsError, AirflowNotFoundException), match="airbyte_default"):
        task(sim.add_connection()).run()
    assert sim.count() == 0


def test_refusal_of_airbyte_names_its_cause(sim: Simulator, task: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirbyteNotVisibleError):
        task("00000000-0000-4000-8000-000000000000").run()
    with pytest.raises(AirbyteRequestError, match="Refreshes are not supported"):
        task(sim.add_connection(), job_type="refresh").run()
    with pytest.raises(AirbyteConflictError, match="is inactive: activate it"):
        task(sim.add_connection(status="inactive")).run()
    with pytest.raises(AirbyteConflictError, match="is locked: Airbyte runs only what is active"):
        task(sim.add_connection(status="locked")).run()
    with pytest.raises(AirbyteConflictError, match="deleted"):
        task(sim.add_connection(status="deleted")).run()
    sim.add_fault(Fault("token", status=401))
    with pytest.raises(AirbyteCredentialsError):
        task(sim.add_connection()).run()
    assert sim.jobs() == []


@pytest.mark.parametrize("way", WAYS)
def test_connection_name_leads_to_the_connection(sim: Simulator, task: Make, way: str) -> None:
    cid = sim.add_connection(name="Orders", script=Script(duration=1.5, pending=0.0))
    sync = task("", way, connection_name="Orders", workspace_id=sim.workspace_id)
    sim.add_fault(Fault("connections", status=503, times=2))
    assert sync.run() == sim.jobs(cid)[0]["id"]
    assert said(sync.lines, "Airbyte cannot be asked now") == 1


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({}, "connection_id must be the UUID of an Airbyte connection, or connection_name its name"),
        ({"connection_name": "Order"}, "near matches: 'Orders'"),
        ({"connection_name": "Orders", "workspace_id": "mine"}, "workspace_id must be the UUID"),
    ],
)
def test_connection_name_that_leads_nowhere_starts_nothing(
    sim: Simulator, task: Make, parameters: dict[str, str], says: str
) -> None:
    sim.add_connection(name="Orders")
    with pytest.raises(AirbyteInputError, match=says):
        task("", **parameters).run()
    assert sim.count("create") == 0
