"""Every fault at every call of a wait, through real sockets: a task is told how its job ended, and nothing before."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import pytest

from airbyte_deferrable.simulator import Simulator
from airbyte_deferrable.triggers import AirbyteSyncTrigger
from helpers.airbyte import connection_to
from helpers.fault_table import ENDLESS, FAULTS, TIMES, add_fault
from helpers.one_task import first_event, kept_log, said, stored
from helpers.waiting import until

#: How many wait: a lone waiter gets its job, several read the list.
WAITERS = {"get": 1, "token": 1, "list": 2}
#: How often a fault hits that stays, until it is seen that nobody takes it for an outcome. A server that sheds load is
#: asked ever more seldom: half a minute would pass until the sixth time.
LONG = {"429": 4}


class Wait(NamedTuple):
    """What became of one row.

    :param told: What the waiting tasks were told.
    :param jobs: All jobs on the server.
    :param cancels: How often somebody asked to cancel one.
    :param troubles: How often a task's log says that Airbyte cannot be asked.
    :param calms: And that it answers again.
    """

    told: list[str]
    jobs: list[str]
    cancels: int
    troubles: int
    calms: int


async def wait(monkeypatch: pytest.MonkeyPatch, call: str, fault: str, times: str) -> Wait:
    """Go through a row of the table, on an Airbyte of its own. The jobs succeed once the fault has hit."""
    conn_id = f"airbyte_{list(FAULTS).index(fault)}"
    log, lines = kept_log()
    with Simulator() as sim:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", connection_to(sim, timeout=0.3))
        sim.add_jobs(connections := sim.add_connections(WAITERS[call]), script=ENDLESS)
        mine = [sim.jobs(each)[0]["id"] for each in connections]
        await asyncio.to_thread(add_fault, sim, call, fault, times)

        async def hit(often: int) -> None:
            await until(lambda: sim.faults()[0]["hits"] >= often)

        triggers = [stored(AirbyteSyncTrigger(job_id, conn_id, time.time() + 3600, 0.1)) for job_id in mine]
        for trigger in triggers:
            trigger._log = log
        waiting = asyncio.gather(*map(first_event, triggers))
        await hit(1)
        for job_id in mine:
            sim.finish(job_id, "succeeded")
        if not heals(call, fault, times):
            await hit(LONG.get(fault, 6))
            assert not waiting.done()
            sim.clear_faults()
        events = await waiting
        return Wait(
            [event["status"] for event in events],
            [sim.job(job_id)["status"] for job_id in mine],
            sim.count("cancel"),
            said(lines, "Airbyte cannot be asked now"),
            said(lines, "Airbyte answers again"),
        )


def heals(call: str, fault: str, times: str) -> bool:
    """Whether Airbyte can be asked for the job in some way, sooner or later."""
    if call == "list":
        # A server that sheds load, or refuses fresh tokens, is not asked in another way.
        return times != "always" or fault not in ("429", "expired token")
    # Tokens that end when a token is asked for do not matter: the new one is good.
    return times != "always" or (call, fault) == ("token", "expired token")


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("call", WAITERS)
async def test_faults_while_a_task_waits_are_no_outcome(monkeypatch: pytest.MonkeyPatch, call: str, times: str) -> None:
    rows = dict(
        zip(FAULTS, await asyncio.gather(*(wait(monkeypatch, call, each, times) for each in FAULTS)), strict=True)
    )
    number = WAITERS[call]
    for fault, row in rows.items():
        assert row.told == ["success"] * number, fault
        # Nothing was started and nothing stopped.
        assert (row.jobs, row.cancels) == (["succeeded"] * number, 0), fault
        # What is said of a trouble that passes soon is tested where no clock can be late.
        assert row.calms <= row.troubles, fault
        if not heals(call, fault, times):
            # More often where an answer takes longer than the short timeout here: an outage of its own.
            assert row.troubles >= number, fault
