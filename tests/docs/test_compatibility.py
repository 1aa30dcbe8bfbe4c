"""The page on compatibility is true of older releases of Airbyte: 2.0 lists no refresh jobs, and creates slowly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Script, Simulator
from airbyte_deferrable.triggers import AirbyteSyncTrigger
from helpers.airbyte import connection_to
from helpers.one_task import Task, airflow_tells, first_event, run_in_loop


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """An Airbyte 2.0, which Airflow has a connection to."""
    with Simulator(release="2.0") as sim:
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim, create_timeout=30))
        yield sim


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "on worker"])
def test_job_of_which_airbyte_tells_late_is_started_once(
    old: Simulator, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    monkeypatch.setattr("airbyte_deferrable._sync_task.HOLD_EVENTS", 0)
    orders = old.add_connection(script=Script(pending=1.5, duration=2.5))
    parameters: dict[str, Any] = {"connection_id": orders, "deferrable": deferrable, "wait_seconds": 0.2}
    task = Task(lambda: AirbyteTriggerSyncOperator(task_id="sync", **parameters))
    with airflow_tells(monkeypatch, task.ti):
        returned = task.run()
    (job,) = old.jobs()
    assert (returned, job["status"]) == (job["id"], "succeeded")


def test_refresh_that_the_list_does_not_tell_of_is_seen_to_end_beside_others(old: Simulator) -> None:
    orders, users = old.add_connections(2, Script(duration=1))
    jobs = [old.add_job(orders, job_type="refresh"), old.add_job(users)]

    async def wait_for_all() -> list[Any]:
        end_time = time.time() + 30
        triggers = [AirbyteSyncTrigger(job["id"], "airbyte_default", end_time, 0.2) for job in jobs]
        return await asyncio.gather(*map(first_event, triggers))

    events = run_in_loop(wait_for_all())
    assert [(event["job_id"], event["status"]) for event in events] == [(job["id"], "success") for job in jobs]
    assert old.count("list") > 0
