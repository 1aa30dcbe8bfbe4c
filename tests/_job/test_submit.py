"""At most one job for one task, however often the answer is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from airbyte_deferrable._airflow.retry_store import AirflowRetryStore
from airbyte_deferrable._job.record import Generation, Record
from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable._job.submit import ConnectionBusy, Submission
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.settings import ClientCredentials, Settings
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import ENDLESS
from helpers.one_task import Store, TaskInstance

LOG = logging.getLogger(__name__)


def client_of(sim: Simulator, **settings: Any) -> AirbyteClient:
    return AirbyteClient(
        Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret), timeout=20.0, **settings)
    )


def submission(connection_id: str, store: Store | None = None, **policy: float) -> Submission:
    context: Any = {"ti": TaskInstance(), "task_state_store": Store() if store is None else store}
    values = {"settle": 0.5, "unreachable": 20.0, "pause": 0.1, **policy}
    return Submission(
        AirflowRetryStore(context, LOG), connection_id, "sync", log=LOG, submit_policy=SubmitPolicy(**values)
    )


async def test_lost_answers_of_two_hundred_are_two_hundred_jobs(airbyte_simulator: Simulator) -> None:
    sim = airbyte_simulator
    connections = sim.add_connections(200, script=ENDLESS)
    sim.add_fault(Fault("create", "lost_answer"))
    async with client_of(sim) as client:
        found = await asyncio.gather(*(submission(cid, settle=10.0).obtain(client) for cid in connections))
    assert sorted(job.connection_id for job in found) == sorted(connections)
    assert len({job.job_id for job in found}) == len(sim.jobs()) == 200
    assert sim.count("create") == 200


async def test_request_that_was_sent_outlives_its_caller_and_names_the_job(airbyte_simulator: Simulator) -> None:
    sim = airbyte_simulator
    cid = sim.add_connection(script=ENDLESS)
    sim.add_fault(Fault("create", "lost_answer", seconds=0.5))
    async with client_of(sim) as client:
        mine = submission(cid)
        asking = asyncio.ensure_future(mine.obtain(client))
        while not sim.jobs(cid):
            await asyncio.sleep(0.02)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert mine.starting
        while mine.starting:
            await asyncio.sleep(0.02)
    assert mine.started_job == sim.jobs(cid)[0]["id"]


async def test_airbyte_that_sheds_load_is_asked_again_and_that_is_said_once(
    airbyte_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    sim = airbyte_simulator
    cid = sim.add_connection(script=ENDLESS)
    sim.add_fault(Fault("create", status=429, times=4))
    async with client_of(sim) as client:
        job = await submission(cid).obtain(client)
    assert [job.job_id] == [each["id"] for each in sim.jobs(cid)]
    assert sim.count("create") == 5
    assert sum("does not take the request" in line for line in caplog.messages) == 1


async def test_busy_connection_leaves_nothing_to_mistake_for_ours(airbyte_simulator: Simulator) -> None:
    sim = airbyte_simulator
    cid = sim.add_connection()
    body = '{"title": "try-again-later", "data": {"message": "A sync is already running"}}'
    sim.add_fault(Fault("create", status=409, body=body))
    store = Store()
    async with client_of(sim) as client:
        with pytest.raises(ConnectionBusy):
            await submission(cid, store).obtain(client)
    assert not store


async def test_late_job_of_a_killed_try_is_waited_for(airbyte_simulator: Simulator) -> None:
    """Airbyte may need a minute to make the job of a worker that is dead by then."""
    sim = airbyte_simulator
    cid = sim.add_connection()
    store = Store()
    record = Record(generation=Generation(), connection_id=cid, job_type="sync", after=0, written_at=time.time())
    store.set("airbyte_retry", record.model_dump())
    async with client_of(sim) as client:
        again = asyncio.ensure_future(submission(cid, store, settle=20.0).obtain(client))
        await asyncio.wait({again}, timeout=0.5)
        late = sim.add_job(cid, script=ENDLESS)["id"]
        assert (await again).job_id == late
    assert sim.count("create") == 0


async def test_job_of_a_killed_try_that_has_failed_is_not_found_twice(airbyte_simulator: Simulator) -> None:
    sim = airbyte_simulator
    cid, store = sim.add_connection(script=ENDLESS), Store()
    made = sim.add_job(cid, script=ENDLESS)["id"]
    sim.finish(made, "failed")
    record = Record(generation=Generation(), connection_id=cid, job_type="sync", after=0, written_at=time.time())
    store.set("airbyte_retry", record.model_dump())
    async with client_of(sim) as client:
        job = await submission(cid, store).obtain(client)
    assert job.job_id > made
    assert sim.count("create") == 1


async def test_another_connections_job_of_the_same_number_is_not_found_again(airbyte_simulator: Simulator) -> None:
    """Airbyte was restored from a backup, or is another one."""
    sim = airbyte_simulator
    cid, store = sim.add_connection(script=ENDLESS), Store()
    others = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    record = Record(
        generation=Generation(),
        connection_id=cid,
        job_type="sync",
        after=0,
        written_at=time.time() - 600,
        job_id=others,
    )
    store.set("airbyte_retry", record.model_dump())
    mine = submission(cid, store)
    async with client_of(sim) as client:
        job = await mine.obtain(client)
    assert mine.started_job == job.job_id == sim.jobs(cid)[0]["id"]


async def test_request_of_a_killed_try_is_not_waited_for_for_ever(airbyte_simulator: Simulator) -> None:
    sim = airbyte_simulator
    cid = sim.add_connection(script=ENDLESS)
    store = Store()
    record = Record(generation=Generation(), connection_id=cid, job_type="sync", after=0, written_at=time.time() - 3600)
    store.set("airbyte_retry", record.model_dump())
    async with client_of(sim) as client:
        job = await submission(cid, store, settle=3600.0).obtain(client)
    assert [job.job_id] == [row["id"] for row in sim.jobs(cid)]


@pytest.mark.parametrize(("made_ago", "ours"), [(3550.0, True), (0.0, False)])
async def test_job_made_long_after_a_lost_request_is_somebody_elses(
    airbyte_simulator: Simulator, made_ago: float, ours: bool
) -> None:
    """What Airbyte's own schedule starts in the hour between two tries must not be cancelled with the task."""
    sim = airbyte_simulator
    cid, store = sim.add_connection(), Store()
    record = Record(generation=Generation(), connection_id=cid, job_type="sync", after=0, written_at=time.time() - 3600)
    store.set("airbyte_retry", record.model_dump())
    sim.add_job(cid, script=ENDLESS, created_ago=made_ago)
    mine = submission(cid, store)
    async with client_of(sim) as client:
        if ours:
            await mine.obtain(client)
        else:
            with pytest.raises(ConnectionBusy):
                await mine.obtain(client)
    assert mine.found_again == ours
    # Nobody can be certain.
    assert mine.started_job is None


async def test_create_that_took_all_the_time_leaves_some_to_look_for_its_job(airbyte_simulator: Simulator) -> None:
    sim = airbyte_simulator
    cid = sim.add_connection(script=ENDLESS)
    sim.add_fault(Fault("create", "lost_answer", seconds=30.0, times=1))
    async with client_of(sim, create_timeout=1.2) as client:
        asking = asyncio.ensure_future(submission(cid, unreachable=1.0).obtain(client))
        while not sim.jobs(cid):
            await asyncio.sleep(0.02)
        sim.add_fault(Fault("list", status=503, times=2))
        assert (await asking).job_id == sim.jobs(cid)[0]["id"]


async def test_job_is_remembered_before_and_after_airbyte_is_asked(airbyte_simulator: Simulator) -> None:
    written: list[Any] = []

    class Watched(Store):
        def set(self, key: str, value: Any, *, retention: Any = None) -> None:
            written.append((value["job_id"], value["after"], airbyte_simulator.count("create")))
            super().set(key, value)

    cid = airbyte_simulator.add_connection(script=ENDLESS)
    before = airbyte_simulator.add_job(cid, script=Script(duration=0.0, pending=0.0))["id"]
    async with client_of(airbyte_simulator) as client:
        job = await submission(cid, Watched()).obtain(client)
    assert written == [(None, before, 0), (job.job_id, None, 1)]
