"""Why a job failed is told if Airbyte tells it, and costs no outcome and little time if it does not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from airbyte_deferrable._job import failure
from airbyte_deferrable._job.failure import EXPLAIN_WITHIN, explain
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.settings import ClientCredentials, Settings
from airbyte_deferrable.simulator import Attempt, Fault, Script, Simulator

BAD_PASSWORD = {
    "failureOrigin": "source",
    "failureType": "config_error",
    "externalMessage": "password authentication failed for user 'reader'",
    "internalMessage": "org.postgresql.util.PSQLException",
    "stacktrace": "at a\n" * 500,
}
HICCUP = {"failureOrigin": "destination", "failureType": "transient_error", "externalMessage": "warehouse is away"}


@pytest.fixture
async def client(airbyte_simulator: Simulator) -> AsyncIterator[AirbyteClient]:
    sim = airbyte_simulator
    settings = Settings(
        sim.url, ClientCredentials(sim.client_id, sim.client_secret), config_url=f"{sim.host}/api/v1", timeout=5
    )
    async with AirbyteClient(settings) as client:
        yield client


def failed_job(sim: Simulator, **script: Any) -> int:
    connection = sim.add_connection(name="Orders", script=Script(duration=5, outcome="failed", **script))
    job_id = int(sim.add_job(connection)["id"])
    sim.advance(3600)
    assert sim.job(job_id)["status"] == "failed"
    return job_id


async def test_cause_the_attempts_and_the_log_are_told(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    lines = [f"line {number}" for number in range(50)]
    job_id = failed_job(airbyte_simulator, rows=1000, failure=BAD_PASSWORD, log_lines=tuple(lines))
    why = await explain(client, job_id)
    assert why is not None
    assert str(why) == (
        "Failed in source (config_error) after 1 attempt and 1,000 rows committed: "
        "password authentication failed for user 'reader'"
    )
    assert why.is_config_error
    assert why.rows_committed == 1000
    assert why.bytes_committed == 100_000
    assert len(why.log_lines) == failure.LOG_LINES
    assert "line 49" in "\n".join(why.log_lines)


async def test_last_attempt_that_names_a_failure_counts(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    attempts = (Attempt(duration=1, outcome="failed", failure=BAD_PASSWORD), Attempt(1, "failed", failure=HICCUP))
    why = await explain(client, failed_job(airbyte_simulator, attempts=attempts))
    assert why is not None
    assert why.attempts == 2
    assert why.failure is not None
    assert why.failure.failure_origin == "destination"
    assert not why.is_config_error


async def test_log_is_that_of_the_last_attempt(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    job_id = failed_job(airbyte_simulator, attempts=(Attempt(duration=1), Attempt(duration=1)))
    why = await explain(client, job_id)
    assert why is not None
    assert f"Attempt 1 of job {job_id}" in why.log_lines[0]


async def test_attempt_of_which_nothing_is_known_does_not_hide_the_others(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    job_id = failed_job(airbyte_simulator)
    attempts = [
        {"id": 0, "failureSummary": {"failures": [BAD_PASSWORD]}},
        {"id": 1, "failureSummary": None},
    ]
    body = json.dumps({"job": {}, "attempts": [{"attempt": attempt} for attempt in attempts]})
    airbyte_simulator.add_fault(Fault(call="config:jobs/get_without_logs", kind="status", status=200, body=body))
    why = await explain(client, job_id)
    assert why is not None
    assert why.is_config_error
    assert (why.attempts, why.rows_committed, why.bytes_committed) == (2, None, None)


async def test_rows_and_bytes_are_the_jobs_and_no_attempts(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    """An attempt that failed mostly leaves no counts behind, and one that does counts itself alone."""
    attempts = (Attempt(duration=3, output=True), Attempt(duration=1, output=True, failure=BAD_PASSWORD))
    why = await explain(client, failed_job(airbyte_simulator, attempts=attempts, rows=1000, bytes=4000))
    assert why is not None
    assert (why.rows_committed, why.bytes_committed, why.rows_rejected) == (1000, 4000, 0)


@pytest.mark.parametrize(
    ("rejected", "told"),
    [
        (0, "after 1 attempt and 1,000 rows committed: "),
        (1, "after 1 attempt, 1,000 rows committed and 1 rejected: "),
        (2500, "after 1 attempt, 1,000 rows committed and 2,500 rejected: "),
    ],
)
async def test_failure_tells_what_the_destination_refused(
    airbyte_simulator: Simulator, client: AirbyteClient, rejected: int, told: str
) -> None:
    why = await explain(client, failed_job(airbyte_simulator, failure=BAD_PASSWORD, rejected=rejected))
    assert why is not None
    assert why.rows_rejected == rejected
    assert told in str(why)


async def test_airbyte_that_does_not_count_what_is_rejected_says_the_rest(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    job = {"aggregatedStats": {"recordsCommitted": 5, "bytesCommitted": 50}}
    attempts = [{"attempt": {"id": 0, "failureSummary": {"failures": [BAD_PASSWORD]}}}]
    body = json.dumps({"job": job, "attempts": attempts})
    job_id = failed_job(airbyte_simulator)
    airbyte_simulator.add_fault(Fault(call="config:jobs/get_without_logs", kind="status", status=200, body=body))
    why = await explain(client, job_id)
    assert why is not None
    assert (why.rows_committed, why.bytes_committed, why.rows_rejected) == (5, 50, None)
    assert "after 1 attempt and 5 rows committed" in str(why)


async def test_stack_trace_is_in_neither_the_words_nor_the_repr(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    why = await explain(client, failed_job(airbyte_simulator, failure=BAD_PASSWORD))
    assert "at a" not in str(why) + repr(why)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(call="config", kind="status", status=403),
        Fault(call="config", kind="status", status=503),
        Fault(call="config", kind="garbage"),
        Fault(call="config", kind="html", status=404),
        Fault(call="config", kind="drop"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
async def test_config_api_that_cannot_be_asked_explains_nothing(
    airbyte_simulator: Simulator, client: AirbyteClient, fault: Fault
) -> None:
    job_id = failed_job(airbyte_simulator, failure=BAD_PASSWORD)
    airbyte_simulator.add_fault(fault)
    assert await explain(client, job_id) is None


async def test_failure_tells_what_came_in_time_when_the_log_hangs(
    airbyte_simulator: Simulator, client: AirbyteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure, "EXPLAIN_WITHIN", 1.0)
    job_id = failed_job(airbyte_simulator, failure=BAD_PASSWORD)
    airbyte_simulator.add_fault(Fault(call="config:attempt/get_for_job", kind="hang"))
    why = await explain(client, job_id)
    assert why is not None
    assert why.is_config_error
    assert why.log_lines == ()


def test_failed_task_waits_for_the_reason_no_more_than_a_few_seconds() -> None:
    assert 0 < EXPLAIN_WITHIN <= 5


async def test_nothing_is_asked_where_the_config_api_is_switched_off(airbyte_simulator: Simulator) -> None:
    sim = airbyte_simulator
    settings = Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret), config_url=None)
    async with AirbyteClient(settings) as client:
        assert await explain(client, 1) is None
    assert sim.count("config") == 0
