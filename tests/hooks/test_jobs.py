"""The hook's jobs, beside the official hook where that does the same."""

from __future__ import annotations

import logging
import time
from inspect import signature
from typing import Any

import pytest
from airflow.exceptions import AirflowException
from airflow.providers.airbyte.hooks.airbyte import AirbyteHook as OfficialHook

from airbyte_deferrable import hooks
from airbyte_deferrable._job import connections
from airbyte_deferrable._job.wait import Deadlines
from airbyte_deferrable.exceptions import (
    AirbyteConflictError,
    AirbyteCredentialsError,
    AirbyteException,
    AirbyteJobCancelled,
    AirbyteJobFailed,
    AirbyteNotVisibleError,
    AirbyteRequestError,
    AirbyteTimeout,
    AirbyteUnreachableError,
)
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import AT_ONCE, NOWHERE
from helpers.waiting import meanwhile

#: What the SDK's job has.
ATTRIBUTES = (
    "job_id",
    "status",
    "job_type",
    "connection_id",
    "start_time",
    "last_updated_at",
    "duration",
    "bytes_synced",
    "rows_synced",
)


def test_hook_is_declared_as_the_official_one() -> None:
    for name in ("conn_name_attr", "default_conn_name", "conn_type", "hook_name"):
        assert getattr(AirbyteHook, name) == getattr(OfficialHook, name)


@pytest.mark.parametrize("made_by", ["submit_sync_connection", "submit_reset_connection"])
def test_job_looks_the_same_as_the_official_hooks(sim: Simulator, mine: str, made_by: str) -> None:
    ours, theirs = AirbyteHook(mine), OfficialHook(mine)
    script = Script(duration=5, pending=0.01, rows=10, bytes=100)
    made = [getattr(hook, made_by)(sim.add_connection(script=script)) for hook in (ours, theirs)]
    for name in ATTRIBUTES:
        assert hasattr(made[0], name) == hasattr(made[1], name)
    assert made[0].job_type == getattr(made[1].job_type, "value", None)
    sim.advance(60)
    for job in made:
        one, other = ours.get_job_details(job.job_id), theirs.get_job_details(job.job_id)
        for name in ATTRIBUTES:
            their_value = getattr(other, name)
            assert getattr(one, name) == getattr(their_value, "value", their_value)
        assert (
            ours.get_job_status(job.job_id) == getattr(theirs.get_job_status(job.job_id), "value", None) == "succeeded"
        )


FAILURES: list[tuple[str, tuple[Any, ...], type[AirbyteException]]] = [
    ("get_job_details", (424242,), AirbyteConflictError),
    ("get_job_status", (424242,), AirbyteConflictError),
    ("cancel_job", (424242,), AirbyteConflictError),
    ("submit_sync_connection", (NOWHERE,), AirbyteNotVisibleError),
    ("submit_reset_connection", (NOWHERE,), AirbyteNotVisibleError),
]


@pytest.mark.parametrize(("method", "arguments", "cause"), FAILURES)
def test_failure_of_the_official_hook_has_a_name_here(
    mine: str, method: str, arguments: tuple[Any, ...], cause: type[AirbyteException]
) -> None:
    with pytest.raises(AirflowException):
        getattr(OfficialHook(mine), method)(*arguments)
    with pytest.raises(cause, match="Airflow connection 'mine'") as caught:
        getattr(AirbyteHook(mine), method)(*arguments)
    assert caught.value.conn_id == "mine"
    assert arguments[0] in (caught.value.job_id, caught.value.connection_id)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (400, AirbyteRequestError),
        (401, AirbyteCredentialsError),
        (403, AirbyteNotVisibleError),
        (404, AirbyteNotVisibleError),
        (409, AirbyteConflictError),
        (422, AirbyteRequestError),
        (429, AirbyteUnreachableError),
        (500, AirbyteUnreachableError),
        (503, AirbyteUnreachableError),
    ],
)
def test_refusal_is_an_airflow_exception_with_a_name(
    sim: Simulator, hook: AirbyteHook, status: int, cause: type[AirbyteException]
) -> None:
    sim.add_fault(Fault(call="get", kind="status", status=status))
    with pytest.raises(cause) as caught:
        hook.get_job_details(1)
    assert isinstance(caught.value, AirflowException)
    assert f"looking up job 1 (Airflow connection 'mine'): GET /jobs/1: HTTP {status}" in str(caught.value)


@pytest.mark.parametrize(
    ("outcome", "cause"), [("succeeded", None), ("failed", AirbyteJobFailed), ("cancelled", AirbyteJobCancelled)]
)
def test_wait_ends_as_the_official_hooks_does(
    sim: Simulator, mine: str, outcome: str, cause: type[AirbyteException] | None
) -> None:
    job_id = sim.add_job(sim.add_connection(script=Script(duration=0.3, outcome=outcome)))["id"]
    ours, theirs = AirbyteHook(mine), OfficialHook(mine)
    if cause is None:
        assert ours.wait_for_job(str(job_id), wait_seconds=0.1) is None
        assert theirs.wait_for_job(str(job_id), wait_seconds=0.1) is None
        return
    with pytest.raises(cause):
        ours.wait_for_job(job_id, wait_seconds=0.1)
    with pytest.raises(AirflowException):
        theirs.wait_for_job(job_id, wait_seconds=0.1)


def test_wait_takes_none_for_its_interval_as_the_operators_attribute_may_be(sim: Simulator, mine: str) -> None:
    job_id = sim.add_job(sim.add_connection(script=AT_ONCE))["id"]
    assert AirbyteHook(mine).wait_for_job(job_id=job_id, wait_seconds=None, timeout=3600) is None
    # Otherwise it is the official hook's signature.
    ours, theirs = (signature(hook.wait_for_job).parameters for hook in (AirbyteHook, OfficialHook))
    assert {name: each.default for name, each in ours.items()} == {name: each.default for name, each in theirs.items()}


def test_wait_takes_none_for_its_interval_and_checks_as_seldom_as_by_default(
    sim: Simulator, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signature(AirbyteHook.wait_for_job).parameters["wait_seconds"].default == hooks.WAIT_SECONDS == 3
    monkeypatch.setattr(hooks, "WAIT_SECONDS", 3600.0)
    job_id = sim.add_job(sim.add_connection(script=Script(outcome=None)))["id"]
    with pytest.raises(AirbyteTimeout):
        AirbyteHook(mine).wait_for_job(job_id, wait_seconds=None, timeout=4)
    # The first, and one when time is up; the default's own three seconds would bring another one between.
    assert sim.count("get") <= 2
    monkeypatch.setattr(hooks, "WAIT_SECONDS", 0.1)
    with meanwhile(lambda: sim.count("get") > 5, lambda: sim.finish(job_id, "succeeded")):
        AirbyteHook(mine).wait_for_job(job_id, wait_seconds=None, timeout=600)


def test_wait_that_runs_out_leaves_the_job_running(sim: Simulator, hook: AirbyteHook) -> None:
    job_id = sim.add_job(sim.add_connection(script=Script(outcome=None)))["id"]
    with pytest.raises(AirbyteTimeout, match=f"{job_id}"):
        hook.wait_for_job(job_id, wait_seconds=0.1, timeout=0.5)
    assert sim.count("cancel") == 0


def test_wait_does_not_show_the_watcher_in_a_tasks_log(
    sim: Simulator, hook: AirbyteHook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    job_id = sim.add_job(sim.add_connection(script=Script(duration=0.3)))["id"]
    sim.add_fault(Fault(call="get", kind="status", status=503, times=3))
    hook.wait_for_job(job_id, wait_seconds=0.1)
    assert [record for record in caplog.records if record.name.startswith("airbyte_deferrable._watcher.loop")] == []


def test_job_is_cancelled_and_seen_to_end(sim: Simulator, hook: AirbyteHook) -> None:
    job_id = sim.add_job(sim.add_connection(script=Script(outcome=None)), created_ago=60.0)["id"]
    assert hook.cancel_job(job_id).status == "cancelled"


def test_description_is_given_only_if_that_is_quick(
    sim: Simulator, hook: AirbyteHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id = sim.add_connection(name="Orders")
    described = hook.describe(connection_id)
    assert (described.name, described.workspace_id) == ("Orders", sim.workspace_id)
    assert str(described) == "'Orders' (Postgres shop → BigQuery warehouse)"
    assert str(hook.describe(NOWHERE)) == ""
    monkeypatch.setattr(connections, "DESCRIBE_WITHIN", 1.5)
    sim.add_fault(Fault(call="source", kind="hang"))
    assert str(hook.describe(connection_id)) == "'Orders'"
    sim.add_fault(Fault(call="connection", kind="hang"))
    assert str(hook.describe(connection_id)) == ""


def test_description_in_two_slow_answers_is_not_waited_for_twice_as_long(
    sim: Simulator, hook: AirbyteHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "DESCRIBE_WITHIN", 3.0)
    for call in ("connection", "source"):
        sim.add_fault(Fault(call=call, kind="latency", seconds=1.8))
    assert str(hook.describe(sim.add_connection(name="Orders"))) == "'Orders'"


def test_queue_does_not_hold_a_task_back_whose_job_was_refused(sim: Simulator, hook: AirbyteHook) -> None:
    connection_id = sim.add_connection()
    for _ in range(3):
        assert hook.wait_in_queue(connection_id, Deadlines(time.time() + 20, None), poll_interval=0.1)
