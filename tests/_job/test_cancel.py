"""A job is cancelled, whatever stands in the way, and never another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from airbyte_deferrable._job.cancel import cancel_job
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError, Forbidden, Rejected, Unreachable
from airbyte_deferrable.api.settings import ClientCredentials, Settings
from airbyte_deferrable.simulator import Fault, Script, Simulator, world
from helpers.airbyte import ENDLESS

LOG = logging.getLogger(__name__)


@pytest.fixture
async def client(airbyte_simulator: Simulator) -> AsyncIterator[AirbyteClient]:
    sim = airbyte_simulator
    settings = Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret), timeout=1.0)
    async with AirbyteClient(settings) as client:
        yield client


async def cancel(client: AirbyteClient, job_id: int, within: float = 5.0) -> str:
    return (await cancel_job(lambda: client, job_id, within=within, log=LOG)).status


async def test_live_job_is_cancelled(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    job_id = airbyte_simulator.add_job(airbyte_simulator.add_connection(), script=ENDLESS)["id"]
    assert await cancel(client, job_id) == "cancelled"
    assert airbyte_simulator.job(job_id)["cancel_requested_by"] == job_id


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
async def test_finished_job_is_left_alone_also_when_another_runs(
    airbyte_simulator: Simulator, client: AirbyteClient, end: str
) -> None:
    sim = airbyte_simulator
    job_id = sim.add_job(cid := sim.add_connection(), script=ENDLESS)["id"]
    sim.finish(job_id, end)
    other = sim.add_job(cid, script=ENDLESS)["id"]
    assert await cancel(client, job_id) == end
    assert sim.job(other)["status"] == "running"
    assert sim.count("cancel") == 0


async def test_another_connections_job_of_the_same_number_is_left_alone(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    sim = airbyte_simulator
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    ours = sim.add_connection()
    with pytest.raises(Rejected, match="leads to another Airbyte"):
        await cancel_job(lambda: client, job_id, within=5.0, log=LOG, connection_id=ours)
    assert sim.count("cancel") == 0


async def test_pending_job_is_asked_for_again_until_airbyte_does_it(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    """Airbyte answers 200 and does nothing while the job has no attempt."""
    sim = airbyte_simulator
    job_id = sim.add_job(sim.add_connection(), script=Script(outcome=None, pending=0.8))["id"]
    assert await cancel(client, job_id) == "cancelled"
    assert sim.count("cancel") >= 2


async def test_job_that_takes_long_to_stop_holds_few_of_airbytes_threads(
    airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DELETE keeps its thread until the job has stopped, also when nobody waits for its answer any more."""
    monkeypatch.setattr(world, "CANCELLING", 5.0)
    sim = airbyte_simulator
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    settings = Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret), timeout=0.4)
    async with AirbyteClient(settings) as client:
        assert await cancel(client, job_id, within=30.0) == "cancelled"
    assert sim.count("cancel") <= 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cancel", status=500, times=2),
        Fault("cancel", status=409, times=2),
        Fault("cancel", "drop", times=2),
        Fault("cancel", "lost_answer", times=1),
        Fault("cancel", "html", times=2),
        Fault("get", status=503, times=2),
        Fault("get", "garbage", times=2),
        Fault("token", status=503, times=1),
        # So an Airbyte answers whose login service restarts.
        Fault("token", status=401, times=4),
        Fault("token", status=404, times=2),
        Fault("get", status=401, times=4),
        Fault("*", "reset_token", times=3),
    ],
    ids=lambda fault: f"{fault.call}-{fault.kind}-{fault.status}",
)
async def test_trouble_on_the_way_does_not_save_the_job(
    airbyte_simulator: Simulator, client: AirbyteClient, fault: Fault
) -> None:
    job_id = airbyte_simulator.add_job(airbyte_simulator.add_connection(), script=ENDLESS)["id"]
    airbyte_simulator.add_fault(fault)
    assert await cancel(client, job_id) == "cancelled"


async def test_many_cancelled_together_keep_their_session_to_the_last(airbyte_simulator: Simulator) -> None:
    """A watcher for whose jobs nobody waits any more closes it some time after it was borrowed last."""
    sim = airbyte_simulator
    ids = [sim.add_job(sim.add_connection(), script=ENDLESS)["id"] for _ in range(15)]
    sim.add_fault(Fault("cancel", "latency", seconds=0.4))
    settings = Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret))
    watcher = JobWatcher(AirbyteClient(settings), pace=Pace(linger=1.5))
    jobs = await asyncio.gather(*(cancel_job(watcher.borrow_client, each, within=30.0, log=LOG) for each in ids))
    assert {job.status for job in jobs} == {"cancelled"}
    # Nobody had to say it twice.
    assert sim.count("cancel") == len(ids)
    await watcher.client.close()


@pytest.mark.parametrize("kind", ["hang", "drop", "status"])
async def test_airbyte_that_cannot_be_reached_is_given_up_in_time(
    airbyte_simulator: Simulator, client: AirbyteClient, kind: str
) -> None:
    job_id = airbyte_simulator.add_job(airbyte_simulator.add_connection(), script=ENDLESS)["id"]
    airbyte_simulator.add_fault(Fault("get", kind))  # type: ignore[arg-type]
    with pytest.raises(Unreachable):
        await cancel(client, job_id, within=0.8)


@pytest.mark.parametrize("fault", [Fault("cancel", "hang"), Fault("cancel", status=409), Fault("cancel", status=500)])
async def test_job_that_does_not_end_in_time_is_returned_as_it_is(
    airbyte_simulator: Simulator, client: AirbyteClient, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    job_id = airbyte_simulator.add_job(airbyte_simulator.add_connection(), script=ENDLESS)["id"]
    airbyte_simulator.add_fault(fault)
    assert await cancel(client, job_id, within=0.8) == "running"


async def test_refusal_is_raised(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    sim = airbyte_simulator
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    sim.add_fault(Fault("cancel", status=403))
    with pytest.raises(Forbidden):
        await cancel(client, job_id)
    with pytest.raises(ApiError):
        await cancel(client, 999)
