"""A server that says for how long it wants to be left alone (``Retry-After``) is left alone while a job is started."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from airbyte_deferrable._airflow.retry_store import AirflowRetryStore
from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable._job.submit import Submission
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import Unreachable
from airbyte_deferrable.api.settings import ClientCredentials, Settings
from airbyte_deferrable.simulator import Fault, Simulator
from helpers.airbyte import ENDLESS
from helpers.one_task import Store, TaskInstance

LOG = logging.getLogger(__name__)
#: Of its own accord, a submission would ask again after a moment.
POLICY = SubmitPolicy(settle=0.1, unreachable=20.0, pause=0.01)

#: The list is looked at before a job is asked for. A request for one that was refused by a 503 may be carried out.
refused = pytest.mark.parametrize(("call", "status"), [("create", 429), ("create", 503), ("list", 429), ("list", 503)])


@pytest.fixture
async def client(airbyte_simulator: Simulator) -> AsyncIterator[AirbyteClient]:
    sim = airbyte_simulator
    async with AirbyteClient(Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret))) as client:
        yield client


def submission(connection_id: str) -> Submission:
    context: Any = {"ti": TaskInstance(), "task_state_store": Store()}
    return Submission(AirflowRetryStore(context, LOG), connection_id, "sync", log=LOG, submit_policy=POLICY)


@refused
async def test_job_is_not_asked_for_again_before_the_server_wants_to_be(
    airbyte_simulator: Simulator, client: AirbyteClient, call: str, status: int
) -> None:
    sim, loop = airbyte_simulator, asyncio.get_running_loop()
    cid = sim.add_connection(script=ENDLESS)
    sim.add_fault(Fault(call, status=status, times=1, headers={"Retry-After": "1"}))
    began = loop.time()
    job = await submission(cid).obtain(client)
    assert loop.time() - began >= 1
    assert [job.job_id] == [each["id"] for each in sim.jobs(cid)]


@refused
async def test_server_that_wants_a_longer_pause_than_a_task_has_time_is_not_waited_for(
    airbyte_simulator: Simulator, client: AirbyteClient, call: str, status: int
) -> None:
    sim = airbyte_simulator
    cid = sim.add_connection(script=ENDLESS)
    sim.add_fault(Fault(call, status=status, headers={"Retry-After": "3600"}))
    with pytest.raises(Unreachable):
        await submission(cid).obtain(client)
    assert sim.count(call) == 1
    assert sim.jobs(cid) == []
