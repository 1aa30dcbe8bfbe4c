"""Every fault at every call of a cancellation, through real sockets: this job and no other, or a word on why not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airbyte_deferrable._airflow import cancel_killed
from airbyte_deferrable.simulator import Simulator
from airbyte_deferrable.triggers import AirbyteSyncTrigger
from helpers.airbyte import connection_to
from helpers.fault_table import CARRIED_OUT, ENDLESS, FAULTS, TIMES, add_fault, all_were_met
from helpers.one_task import TaskInstance, airflow_tells, kept_log, stored

CALLS = ("get", "cancel", "token")
CANCELLED, LEFT = (
    "Airbyte job 2 is cancelled",
    ("Airbyte job 2 could not be cancelled", "Airbyte job 2 is still running"),
)


async def kill(monkeypatch: pytest.MonkeyPatch, call: str, fault: str, times: str) -> tuple[list[str], str]:
    """Go through a row of the table, on an Airbyte of its own: a person has killed the task that waits for job 2.

    :return: What became of the three jobs, and what the task's log says last.
    """
    conn_id = f"airbyte_{list(FAULTS).index(fault)}"
    log, lines = kept_log()
    with Simulator() as sim:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", connection_to(sim, timeout=0.3))
        sim.add_jobs(sim.add_connections(3), script=ENDLESS)
        await asyncio.to_thread(add_fault, sim, call, fault, times)
        trigger = stored(AirbyteSyncTrigger(2, conn_id, 2e9, 0.1, cancel_on_kill=True, try_number=1))
        trigger.task_instance, trigger._log = TaskInstance(), log
        # What Airflow 3.3 calls; before, the end of run() leads to the same.
        await trigger.on_kill()
        # On a machine that is busy with other things its time may be over before it came to that.
        while times == "always" and not all_were_met(sim):
            await trigger.on_kill()
        assert all_were_met(sim)
        return [sim.job(job_id)["status"] for job_id in (1, 2, 3)], lines[-1]


def is_cancelled(call: str, fault: str, times: str) -> bool:
    """Whether the cancellation comes through sooner or later."""
    if fault == "expired token":
        # Of all requests, only a token's own does not mind.
        return times != "always" or call == "token"
    return times != "always" or (call == "cancel" and fault in CARRIED_OUT)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("call", CALLS)
async def test_trouble_delays_a_cancellation_and_never_hits_another_job(
    monkeypatch: pytest.MonkeyPatch, call: str, times: str
) -> None:
    comes_through = {fault: is_cancelled(call, fault, times) for fault in FAULTS}
    rows: dict[str, Any] = {}
    with airflow_tells(monkeypatch, TaskInstance(state="failed")):
        for within, comes in ((cancel_killed.CANCEL_KILLED_WITHIN, True), (15.0, False)):
            monkeypatch.setattr(cancel_killed, "CANCEL_KILLED_WITHIN", within)
            faults = [fault for fault in FAULTS if comes_through[fault] == comes]
            found = await asyncio.gather(*(kill(monkeypatch, call, fault, times) for fault in faults))
            rows.update(zip(faults, found, strict=True))
    assert {fault: jobs for fault, (jobs, _) in rows.items()} == {
        fault: ["running", "cancelled" if comes else "running", "running"] for fault, comes in comes_through.items()
    }
    for fault, (_, last) in rows.items():
        assert last.startswith(CANCELLED if comes_through[fault] else LEFT), fault
