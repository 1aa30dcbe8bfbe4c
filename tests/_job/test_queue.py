"""Tasks that wait for one connection start one after the other, in the order in which they came."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from airbyte_deferrable._job import queue
from airbyte_deferrable._job.queue import wait_in_queue
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.settings import ClientCredentials, Settings
from airbyte_deferrable.simulator import Fault, Script, Simulator
from harness.waiting import IN_VAIN
from helpers.airbyte import ENDLESS
from helpers.waiting import until

LOG = logging.getLogger(__name__)
POLL = 0.1
NEVER = 1000.0


@pytest.fixture
def settings(airbyte_simulator: Simulator) -> Settings:
    sim = airbyte_simulator
    return Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret), timeout=20.0)


@pytest.fixture
async def watcher(settings: Settings) -> AsyncIterator[JobWatcher]:
    watcher = JobWatcher(AirbyteClient(settings), pace=replace(Pace(), linger=0.2))
    yield watcher
    await watcher.client.close()


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[AirbyteClient]:
    """What starts jobs: not the watcher's client, which it closes when nobody has waited for a while."""
    async with AirbyteClient(settings) as client:
        yield client


async def test_fifty_tasks_start_one_after_the_other_without_a_stampede(
    airbyte_simulator: Simulator, watcher: JobWatcher, client: AirbyteClient
) -> None:
    sim = airbyte_simulator
    cid = sim.add_connection(script=Script(duration=0.02, pending=0.0))
    before = sim.add_job(cid, script=Script(duration=0.3, pending=0.0))["id"]
    started: list[tuple[int, int]] = []

    async def task(number: int) -> None:
        await wait_in_queue(watcher, cid, float(number), poll_interval=POLL, log=LOG)
        started.append((number, (await client.create_job(cid)).job_id))

    # They come in disorder; their position is when they began to wait.
    await asyncio.gather(*(task(number) for number in sorted(range(50), key=lambda n: n * 37 % 50)))
    assert [number for number, _ in started] == list(range(50))
    assert [job_id for _, job_id in started] == list(range(before + 1, before + 51))
    # No two were admitted at once: each asked Airbyte to start a job exactly once, and was not refused.
    assert sim.count("create") == 50
    assert sim.count("list") < 50 * 6


async def test_nobody_is_let_in_while_the_connection_is_busy(airbyte_simulator: Simulator, watcher: JobWatcher) -> None:
    sim = airbyte_simulator
    job_id = sim.add_job(cid := sim.add_connection(), script=ENDLESS)["id"]
    waiting = asyncio.ensure_future(wait_in_queue(watcher, cid, 1.0, poll_interval=POLL, log=LOG))
    done, _ = await asyncio.wait({waiting}, timeout=0.6)
    assert not done
    sim.finish(job_id, "failed")
    await asyncio.wait_for(waiting, IN_VAIN)


async def test_admission_that_is_not_used_is_given_to_the_next(
    airbyte_simulator: Simulator, watcher: JobWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "ADMITTED_STARTS_WITHIN", 0.5)
    cid = airbyte_simulator.add_connection()
    for number in range(3):
        await asyncio.wait_for(wait_in_queue(watcher, cid, float(number), poll_interval=POLL, log=LOG), IN_VAIN)


async def test_poll_interval_of_nothing_does_not_flood_airbyte(
    airbyte_simulator: Simulator, watcher: JobWatcher
) -> None:
    sim = airbyte_simulator
    cid = sim.add_connection()
    await wait_in_queue(watcher, cid, 1.0, poll_interval=0.0, log=LOG)
    asked = sim.count("list")
    began = time.monotonic()
    second = asyncio.ensure_future(wait_in_queue(watcher, cid, 2.0, poll_interval=0.0, log=LOG))
    await until(lambda: sim.count("list") > asked + 7)
    second.cancel()
    await asyncio.wait({second})
    # Ten a second at most; however busy the machine is, that is long.
    assert sim.count("list") - asked <= 2 + 10 * (time.monotonic() - began)


async def test_nobody_else_is_admitted_while_the_first_may_still_start(
    airbyte_simulator: Simulator, watcher: JobWatcher, client: AirbyteClient
) -> None:
    cid = airbyte_simulator.add_connection(script=ENDLESS)
    await wait_in_queue(watcher, cid, 1.0, poll_interval=POLL, log=LOG)
    second = asyncio.ensure_future(wait_in_queue(watcher, cid, 2.0, poll_interval=POLL, log=LOG))
    done, _ = await asyncio.wait({second}, timeout=0.5)
    assert not done
    job = await client.create_job(cid)
    airbyte_simulator.finish(job.job_id, "succeeded")
    await asyncio.wait_for(second, IN_VAIN)


async def test_admission_that_is_released_is_the_nexts(airbyte_simulator: Simulator, watcher: JobWatcher) -> None:
    cid = airbyte_simulator.add_connection()
    for number in range(3):
        admission = await asyncio.wait_for(
            wait_in_queue(watcher, cid, float(number), poll_interval=POLL, log=LOG), IN_VAIN
        )
        admission.release()


async def test_admission_that_is_released_late_takes_nobody_elses(
    airbyte_simulator: Simulator, watcher: JobWatcher
) -> None:
    """Somebody else's job ran in between, so that the next one was admitted already."""
    sim = airbyte_simulator
    cid = sim.add_connection()
    first = await wait_in_queue(watcher, cid, 1.0, poll_interval=POLL, log=LOG)
    sim.finish(sim.add_job(cid, script=ENDLESS)["id"], "succeeded")
    await asyncio.wait_for(wait_in_queue(watcher, cid, 2.0, poll_interval=POLL, log=LOG), IN_VAIN)
    first.release()
    third = asyncio.ensure_future(wait_in_queue(watcher, cid, 3.0, poll_interval=POLL, log=LOG))
    done, _ = await asyncio.wait({third}, timeout=0.5)
    third.cancel()
    assert not done


async def test_task_that_comes_back_to_be_admitted_again_is_not_held_back_by_its_own(
    airbyte_simulator: Simulator, watcher: JobWatcher
) -> None:
    """Airbyte refused its job although the connection looks idle."""
    cid = airbyte_simulator.add_connection()
    await wait_in_queue(watcher, cid, 1.0, poll_interval=POLL, log=LOG)
    behind = asyncio.ensure_future(wait_in_queue(watcher, cid, 2.0, poll_interval=NEVER, log=LOG))
    await asyncio.wait_for(wait_in_queue(watcher, cid, 1.0, poll_interval=POLL, log=LOG), IN_VAIN)
    assert not behind.done()
    behind.cancel()


async def test_connection_that_refuses_everyone_admits_ever_more_slowly(
    airbyte_simulator: Simulator, watcher: JobWatcher
) -> None:
    sim = airbyte_simulator
    cid = sim.add_connection()

    async def pause() -> float:
        return (await asyncio.wait_for(wait_in_queue(watcher, cid, 1.0, poll_interval=POLL, log=LOG), IN_VAIN)).pause

    assert [await pause() for _ in range(4)] == [POLL, 2 * POLL, 4 * POLL, 8 * POLL]
    sim.finish(sim.add_job(cid, script=ENDLESS)["id"], "succeeded")
    assert await pause() == POLL


async def test_queue_moves_up_when_one_leaves_it(airbyte_simulator: Simulator, watcher: JobWatcher) -> None:
    sim = airbyte_simulator
    job_id = sim.add_job(cid := sim.add_connection(), script=ENDLESS)["id"]
    first, second = (
        asyncio.ensure_future(wait_in_queue(watcher, cid, number, poll_interval=POLL, log=LOG)) for number in (1.0, 2.0)
    )
    await asyncio.wait({first}, timeout=0.3)
    first.cancel()
    sim.finish(job_id, "succeeded")
    await asyncio.wait_for(second, IN_VAIN)


async def test_outage_is_waited_for_and_a_refusal_is_left_to_the_start(
    airbyte_simulator: Simulator, watcher: JobWatcher
) -> None:
    sim = airbyte_simulator
    sim.add_fault(Fault("list", status=503, times=3))
    await asyncio.wait_for(wait_in_queue(watcher, sim.add_connection(), 1.0, poll_interval=POLL, log=LOG), IN_VAIN)
    assert sim.count("list") == 4
    sim.add_fault(Fault("list", status=403))
    await asyncio.wait_for(wait_in_queue(watcher, sim.add_connection(), 1.0, poll_interval=POLL, log=LOG), IN_VAIN)


@pytest.mark.parametrize("fault", [Fault("list", status=401, times=4), Fault("token", status=404, times=2)])
async def test_credentials_that_are_refused_meanwhile_are_a_doubt(
    airbyte_simulator: Simulator, watcher: JobWatcher, fault: Fault
) -> None:
    """So an Airbyte answers whose login service restarts."""
    sim = airbyte_simulator
    job_id = sim.add_job(cid := sim.add_connection(), script=ENDLESS)["id"]
    sim.add_fault(fault)
    waiting = asyncio.ensure_future(wait_in_queue(watcher, cid, 1.0, poll_interval=POLL, log=LOG))
    done, _ = await asyncio.wait({waiting}, timeout=0.6)
    assert not done
    sim.finish(job_id, "succeeded")
    await asyncio.wait_for(waiting, IN_VAIN)
