"""Single exchanges with aioresponses, which puts itself where aiohttp's session is, so that no socket is opened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp.client_reqrep import ClientResponse
from aioresponses import aioresponses

from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import Forbidden, Unreachable
from airbyte_deferrable.api.settings import Settings

BASE = "http://airbyte.test/api/public/v1"


class Response(ClientResponse):
    """aiohttp 3.14 wants to know who wrote the request, which aioresponses 0.7.9 does not tell."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except TypeError as error:
            if "stream_writer" not in str(error):
                raise
            super().__init__(*args, stream_writer=Mock(output_size=0), **kwargs)


@pytest.fixture
def airbyte() -> Iterator[aioresponses]:
    """Answers that are made up; each ``get`` and ``post`` must name :class:`Response`."""
    with aioresponses() as made_up:
        yield made_up


async def test_job_is_read(airbyte: aioresponses) -> None:
    airbyte.get(f"{BASE}/jobs/7", payload={"jobId": 7, "status": "queued"}, response_class=Response)
    async with AirbyteClient(Settings(BASE)) as client:
        job = await client.get_job(7)
    assert (job.job_id, job.status, job.terminal) == (7, "queued", False)


async def test_job_is_asked_for_by_connection_and_type(airbyte: aioresponses) -> None:
    airbyte.post(f"{BASE}/jobs", payload={"jobId": 8, "status": "pending"}, response_class=Response)
    async with AirbyteClient(Settings(BASE)) as client:
        assert (await client.create_job("c", "reset")).job_id == 8
    ((call,),) = airbyte.requests.values()
    assert call.kwargs["json"] == {"connectionId": "c", "jobType": "reset"}


async def test_refusal_is_named(airbyte: aioresponses) -> None:
    airbyte.get(f"{BASE}/jobs/7", status=403, payload={"title": "forbidden"}, response_class=Response)
    async with AirbyteClient(Settings(BASE)) as client:
        with pytest.raises(Forbidden):
            await client.get_job(7)


@pytest.mark.parametrize(
    ("error", "may_have_arrived"),
    [
        (aiohttp.ClientConnectorError(Mock(), OSError(111, "Connection refused")), False),
        (aiohttp.ConnectionTimeoutError(), False),
        (aiohttp.ServerDisconnectedError(), True),
        (aiohttp.SocketTimeoutError(), True),
        (aiohttp.ClientPayloadError(), True),
        (TimeoutError(), True),
    ],
)
async def test_errors_of_aiohttp_are_told_as_arrived_or_not(
    airbyte: aioresponses, error: Exception, may_have_arrived: bool
) -> None:
    airbyte.post(f"{BASE}/jobs", exception=error)
    async with AirbyteClient(Settings(BASE)) as client:
        with pytest.raises(Unreachable) as caught:
            await client.create_job("c")
    assert caught.value.may_have_arrived is may_have_arrived
