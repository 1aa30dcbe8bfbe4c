"""The trigger for a fresh sync: what is stored of it, what many of them cost, and what it leaves alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from airbyte_deferrable._airflow import base_trigger
from airbyte_deferrable._job import freshness, retrying
from airbyte_deferrable._watcher import directory
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.simulator import Simulator
from airbyte_deferrable.triggers import AirbyteFreshnessTrigger
from harness.waiting import IN_VAIN
from helpers.airbyte import AT_ONCE, ENDLESS, connection_to
from helpers.freshness import MOMENT, ended
from helpers.one_task import TaskInstance, airflow_tells, first_event, stored
from helpers.one_trigger import end_as_airflow_does, is_said, with_log
from helpers.waiting import until

CONNECTION = "a1b7e000-0000-4000-8000-000000000001"


def waiting(connection_id: str, ti: TaskInstance | None = None, **arguments: Any) -> Any:
    trigger = AirbyteFreshnessTrigger("airbyte_default", connection_id, MOMENT.timestamp(), 2e9, 0.1, **arguments)
    trigger.task_instance = ti
    trigger._log = logging.getLogger("task")
    return trigger


def begin(trigger: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(first_event(trigger))


def test_arguments_survive_airflows_database() -> None:
    trigger = AirbyteFreshnessTrigger(
        "c", "u", 1.5, 2.5, 0.5, 3.5, "started", ["sync", "reset"], "fail", "Orders", "w", "v2", 3, 4.5, False
    )
    assert stored(trigger).serialize() == trigger.serialize()


def test_arguments_of_the_first_version_load() -> None:
    arguments = {"conn_id": "c", "connection_id": "u", "after": 1.0, "end_time": None, "poll_interval": 5.0}
    trigger = AirbyteFreshnessTrigger(**arguments)  # type: ignore[arg-type]
    assert (trigger.must_have, trigger.job_types, trigger.if_failed) == ("ended", ["sync"], "wait")
    assert (trigger.execution_deadline, trigger.try_number, trigger.not_before) == (None, None, 0.0)


async def test_event_is_of_the_same_form_as_that_of_a_job(sim: Simulator) -> None:
    cid = sim.add_connection()
    job_id = ended(sim, cid, 5)
    event = await asyncio.wait_for(first_event(waiting(cid, try_number=2)), IN_VAIN)
    assert {key: event[key] for key in ("status", "job_id", "try_number", "connection_id", "xcoms_written")} == {
        "status": "success",
        "job_id": job_id,
        "try_number": 2,
        "connection_id": cid,
        "xcoms_written": False,
    }
    assert event["job"]["status"] == "succeeded"
    assert event["job_url"].endswith(f"jobId={job_id}")


async def test_event_of_a_deadline_comes_while_the_airflow_connection_cannot_be_read(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_trigger, "FINAL_CHECK_WITHIN", 0.2)
    monkeypatch.delenv("AIRFLOW_CONN_AIRBYTE_DEFAULT")
    trigger = waiting(sim.add_connection(), try_number=1)
    trigger.end_time = time.time()
    event = await asyncio.wait_for(first_event(trigger), IN_VAIN)
    assert (event["status"], event["reason"], event["job_id"]) == ("error", "timeout", 0)


@pytest.mark.parametrize("deadline", ["end_time", "execution_deadline"])
async def test_event_of_a_deadline_says_which(sim: Simulator, deadline: str) -> None:
    trigger = waiting(sim.add_connection(), try_number=1)
    setattr(trigger, deadline, time.time() + 0.3)
    event = await asyncio.wait_for(first_event(trigger), IN_VAIN)
    assert event["status"] == ("error" if deadline == "end_time" else "timeout")
    assert event["reason"] == "timeout"


async def test_xcoms_are_written_for_the_task(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_trigger, "HOLD_EVENTS", 0.0)
    cid = sim.add_connection()
    job_id = ended(sim, cid, 5)
    ti = TaskInstance(state="deferred")
    with airflow_tells(monkeypatch, ti):
        event = await asyncio.wait_for(first_event(waiting(cid, ti, try_number=1)), IN_VAIN)
    assert event["xcoms_written"] is True
    assert event["job_url"] == ""
    assert ti.xcoms["airbyte_job"]["jobId"] == job_id
    assert ti.xcoms.keys() == {"final_status", "rows_synced", "airbyte_job", "airbyte_job_url"}


async def test_many_cost_no_requests_of_their_own(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it to learn that all their connections are still there."""
    kept = 0.5
    monkeypatch.setattr(freshness, "DEFERRED_CONNECTION_AGAIN", kept)
    monkeypatch.setattr(directory, "KEEP_STANDING", kept)
    cids, began = sim.add_connections(150), time.monotonic()
    waits = [begin(waiting(cid)) for cid in cids]
    await until(lambda: sim.count("connections") >= 4)
    sim.add_jobs(cids, AT_ONCE)
    events = await asyncio.wait_for(asyncio.gather(*waits), IN_VAIN)
    assert [event["connection_id"] for event in events] == cids
    assert sim.count("get") == 0
    # As often as they are read anew, and once for their names.
    readings = (time.monotonic() - began) // kept + 2
    assert sim.count("connection") <= directory.FEW * readings
    assert sim.count("connections") <= 2 * readings
    assert sim.count("list") < len(cids) / 2


async def test_connection_is_asked_for_until_the_wait_is_over(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshness, "DEFERRED_CONNECTION_AGAIN", 0.1)
    monkeypatch.setattr(retrying, "CONFIRM_NOT_FOUND_AFTER", 0.01)
    monkeypatch.setattr(directory, "KEEP_STANDING", 0.0)
    cid = sim.add_connection()
    running = begin(waiting(cid, try_number=1))
    await until(lambda: sim.count("connection") >= 3)
    assert not running.done()
    sim.set_connection_status(cid, "deprecated")
    event = await asyncio.wait_for(running, IN_VAIN)
    assert (event["status"], event["reason"], event["job_id"]) == ("error", "not_visible", 0)
    assert "was deleted" in event["message"]


async def test_connection_is_asked_for_again_after_an_answer_that_nothing_is_prepared_for(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(freshness, "DEFERRED_CONNECTION_AGAIN", 0.05)
    monkeypatch.setattr(retrying, "CONFIRM_NOT_FOUND_AFTER", 0.01)
    monkeypatch.setattr(directory, "KEEP_STANDING", 0.0)
    cid = sim.add_connection()
    sim.set_connection_status(cid, "deprecated")
    read, failures = AirbyteClient.get_connection, ["once"]

    async def read_or_fail(client: AirbyteClient, *arguments: Any, **more: Any) -> Any:
        connection = await read(client, *arguments, **more)
        if failures:
            failures.pop()
            raise RuntimeError("Nobody has thought of this")
        return connection

    monkeypatch.setattr(AirbyteClient, "get_connection", read_or_fail)
    event = await asyncio.wait_for(first_event(waiting(cid, try_number=1)), IN_VAIN)
    assert (event["reason"], failures) == ("not_visible", [])
    assert "Nobody has thought of this" in caplog.text


async def test_kill_leaves_the_connections_jobs_alone(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    cid = sim.add_connection()
    sim.add_job(cid, script=ENDLESS)
    ti = TaskInstance(state="deferred")
    with airflow_tells(monkeypatch, ti):
        trigger = waiting(cid, ti, try_number=1)
        running = begin(trigger)
        await until(lambda: sim.count("list") >= 2)
        ti.state = "failed"
        await asyncio.wait_for(end_as_airflow_does(trigger, running), IN_VAIN)
    assert (sim.jobs(cid)[0]["status"], sim.count("cancel")) == ("running", 0)


@pytest.mark.parametrize("named", [False, True], ids=["id", "name"])
async def test_credentials_that_were_changed_meanwhile_are_gone_on_with(
    sim: Simulator, rotated: Callable[[], None], monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    cid = sim.add_connection(name="Orders")
    trigger = waiting("" if named else cid, connection_name="Orders")
    lines = with_log(trigger)
    if named:
        # Before it has learned which connection that is.
        monkeypatch.setattr("airbyte_deferrable.triggers.freshness.RESOLVE_AGAIN", 0.1)
        secret = sim.client_secret
        rotated()
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim).replace(sim.client_secret, secret))
    running = begin(trigger)
    if named:
        await is_said(lines, "Airbyte cannot be asked now")
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim))
    else:
        await until(lambda: sim.count("list") >= 2)
        rotated()
    await is_said(lines, "goes on with its new credentials")
    sim.add_job(cid, script=AT_ONCE)
    assert (await asyncio.wait_for(running, IN_VAIN))["status"] == "success"
    assert sim.client_secret not in "".join(lines)
