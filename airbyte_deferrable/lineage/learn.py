"""Airbyte is asked about the streams of a job that has ended: four requests, two at a time, for some seconds at most.

Two at once for the job and its connection, then two for source and destination. The config API alone tells how much
was moved of a stream, and a stream's columns; where it cannot be had, the public API tells the connection's streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any

from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.lineage.answers import Answers, text

#: Seconds for all of it together.
LEARN_WITHIN = 5.0
#: Of them, seconds for the connection in the config API, behind which the public one is still to have time.
CONFIG_API_WITHIN = 3.0


async def learn(client: AirbyteClient, job_id: int, connection_id: str) -> Answers:
    """Ask what Airbyte knows of a job's streams, for a few seconds at most.

    :param connection_id: The job's connection; empty if Airbyte did not say.
    :return: What it told until then.
    """
    answers = Answers()
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_ask_all(client, job_id, connection_id, answers), LEARN_WITHIN)
    return answers


async def _ask_all(client: AirbyteClient, job_id: int, connection_id: str, answers: Answers) -> None:
    """Keep each answer as it comes, so that one that comes late costs no other."""

    async def details() -> None:
        answers.details = await _or_nothing(client.ask_config_api("jobs/get_without_logs", {"id": job_id}))

    async def source(source_id: str) -> None:
        answers.source = await _or_nothing(client.ask_public_api(f"sources/{source_id}"))

    async def destination(destination_id: str) -> None:
        answers.destination = await _or_nothing(client.ask_public_api(f"destinations/{destination_id}"))

    async def connection_and_its_ends() -> None:
        if not connection_id:
            # Without an id, the public API would give the list of all.
            return
        asked = client.ask_config_api("connections/get", {"connectionId": connection_id})
        told = await _or_nothing(asyncio.wait_for(asked, CONFIG_API_WITHIN))
        answers.connection = told or await _or_nothing(client.ask_public_api(f"connections/{connection_id}"))
        source_id, destination_id = text(answers.connection, "sourceId"), text(answers.connection, "destinationId")
        ends = [source(source_id)] if source_id else []
        await asyncio.gather(*ends, *([destination(destination_id)] if destination_id else []))

    await asyncio.gather(details(), connection_and_its_ends())


async def _or_nothing(asked: Awaitable[Any]) -> Mapping[str, Any]:
    """Wait for an answer; nothing if there is none, or it is no object."""
    with suppress(ApiError, asyncio.TimeoutError):
        answer = await asked
        if isinstance(answer, Mapping):
            return answer
    return {}
