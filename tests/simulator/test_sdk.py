"""Airbyte's own SDK works with the simulator as it does with Airbyte."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import httpx
import pytest
from airbyte_api import AirbyteAPI
from airbyte_api.api import (
    CancelJobRequest,
    GetConnectionRequest,
    GetJobRequest,
    ListConnectionsRequest,
    ListJobsRequest,
)
from airbyte_api.errors import AirbyteAPIError
from airbyte_api.models import (
    JobCreateRequest,
    JobResponse,
    JobStatusEnum,
    JobTypeEnum,
    SchemeClientCredentials,
    Security,
)

from airbyte_deferrable.simulator import Fault, Script, Simulator

LONG = Script(duration=600, pending=0)


def create(sdk: AirbyteAPI, connection_id: str, kind: JobTypeEnum = JobTypeEnum.SYNC) -> JobResponse:
    job = sdk.jobs.create_job(request=JobCreateRequest(connection_id=connection_id, job_type=kind)).job_response
    assert job is not None
    return job


def test_sync_from_creation_to_its_end(sim: Simulator, sdk: AirbyteAPI) -> None:
    job = create(sdk, sim.add_connection(script=Script(duration=300, pending=100, rows=70)))
    assert job.status == JobStatusEnum.PENDING
    sim.advance(120)
    assert sdk.jobs.get_job(request=GetJobRequest(job_id=job.job_id)).job_response.status == JobStatusEnum.RUNNING
    sim.advance(300)
    ended = sdk.jobs.get_job(request=GetJobRequest(job_id=job.job_id)).job_response
    assert (ended.status, ended.rows_synced, ended.duration) == (JobStatusEnum.SUCCEEDED, 70, "PT6M40S")


def test_cancellation(sim: Simulator, sdk: AirbyteAPI) -> None:
    job = create(sdk, sim.add_connection(script=LONG))
    sim.advance(5)
    answer = sdk.jobs.cancel_job(request=CancelJobRequest(job_id=job.job_id)).job_response
    assert answer.status == JobStatusEnum.CANCELLED
    with pytest.raises(AirbyteAPIError, match="Job is not currently running") as error:
        sdk.jobs.cancel_job(request=CancelJobRequest(job_id=job.job_id))
    assert error.value.status_code == 409


def test_queued_job(sim: Simulator, sdk: AirbyteAPI) -> None:
    job = create(sdk, sim.add_connection(script=Script(pending=0, queued=600)))
    sim.advance(5)
    assert sdk.jobs.get_job(request=GetJobRequest(job_id=job.job_id)).job_response.status == JobStatusEnum.QUEUED


def test_clear_is_answered_as_a_reset(sim: Simulator, sdk: AirbyteAPI) -> None:
    assert create(sdk, sim.add_connection(), JobTypeEnum.CLEAR).job_type == JobTypeEnum.RESET


def test_list_with_every_filter(sim: Simulator, sdk: AirbyteAPI) -> None:
    one, two = sim.add_connections(2, LONG)
    create(sdk, one)
    sim.advance(600)
    job = create(sdk, two)
    sim.advance(30)
    now = datetime.fromtimestamp(sim.now(), timezone.utc)
    page = sdk.jobs.list_jobs(
        request=ListJobsRequest(
            workspace_ids=[sim.workspace_id],
            job_type=JobTypeEnum.SYNC,
            status=JobStatusEnum.RUNNING,
            created_at_start=now - timedelta(minutes=5),
            created_at_end=now,
            updated_at_start=now - timedelta(minutes=5),
            updated_at_end=now,
            order_by="updatedAt|DESC",
            limit=100,
        )
    ).jobs_response
    assert [row.job_id for row in page.data] == [job.job_id]


def test_names_of_connection_and_source(sim: Simulator, sdk: AirbyteAPI) -> None:
    # Imports the models of five hundred connectors, for seconds: not for all who collect this file.
    from airbyte_api.api import GetSourceRequest

    connection_id = sim.add_connection("Orders", source_name="Postgres shop")
    connection = sdk.connections.get_connection(
        request=GetConnectionRequest(connection_id=connection_id)
    ).connection_response
    assert connection.name == "Orders"
    source = sdk.sources.get_source(request=GetSourceRequest(source_id=connection.source_id)).source_response
    assert source.name == "Postgres shop"
    listed = sdk.connections.list_connections(request=ListConnectionsRequest()).connections_response
    assert [row.connection_id for row in listed.data] == [connection_id]


def test_sdk_asks_for_one_token_and_again_after_a_401(sim: Simulator, sdk: AirbyteAPI) -> None:
    for _ in range(3):
        sdk.jobs.list_jobs(request=ListJobsRequest())
    assert sim.count("token") == 1
    sim.revoke_tokens()
    with pytest.raises(AirbyteAPIError) as error:
        sdk.jobs.list_jobs(request=ListJobsRequest())
    assert error.value.status_code == 401
    sdk.jobs.list_jobs(request=ListJobsRequest())
    assert sim.count("token") == 2


def test_sdks_own_default_token_address_leads_nowhere(sim: Simulator) -> None:
    credentials = SchemeClientCredentials(
        client_id=sim.client_id, client_secret=sim.client_secret, token_url="/applications/token"
    )
    with httpx.Client(trust_env=False) as client:
        sdk = AirbyteAPI(server_url=sim.url, security=Security(client_credentials=credentials), client=client)
        with pytest.raises(Exception, match="404 from token endpoint"):
            sdk.jobs.list_jobs(request=ListJobsRequest())


def test_fault_reaches_the_sdk(sim: Simulator, sdk: AirbyteAPI) -> None:
    sim.add_fault(Fault(call="create", status=500, times=1))
    connection_id = sim.add_connection(script=LONG)
    with pytest.raises(AirbyteAPIError) as error:
        create(sdk, connection_id)
    assert error.value.status_code == 500
    assert create(sdk, connection_id).job_id == 1


async def test_sdks_async_face(sim: Simulator) -> None:
    job = sim.add_job(sim.add_connection(script=LONG))
    credentials = SchemeClientCredentials(
        client_id=sim.client_id, client_secret=sim.client_secret, token_url="v1/applications/token"
    )
    async with httpx.AsyncClient(trust_env=False) as client:
        sdk = AirbyteAPI(server_url=sim.url, security=Security(client_credentials=credentials), async_client=client)
        answer = await sdk.jobs.get_job_async(request=GetJobRequest(job_id=job["id"]))
    assert answer.job_response.connection_id == job["connectionId"]
