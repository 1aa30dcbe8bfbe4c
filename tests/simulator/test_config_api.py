"""The config API: why a job failed, what its log says."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import httpx
import pytest

from airbyte_deferrable.simulator import Attempt, Script, Simulator

Config = Callable[..., httpx.Response]
REASON = {
    "failureOrigin": "destination",
    "failureType": "config_error",
    "externalMessage": "The bucket is gone",
    "internalMessage": "NoSuchBucket",
    "stacktrace": "at line 1",
}


@pytest.fixture
def failed(sim: Simulator) -> int:
    """A job whose first attempt has the usual failure, and whose second has a reason of its own."""
    attempts = [Attempt(10, "failed"), Attempt(30, "failed", failure=REASON)]
    script = Script(attempts=attempts, rows=400, bytes=4000, pending=0, log_lines=["one", "two"])
    return sim.add_job(sim.add_connection("Orders"), script, created_ago=600)["id"]


def test_attempts_say_why_they_failed(config: Config, failed: int) -> None:
    answer = config("jobs/get_without_logs", id=failed).json()
    assert answer["job"]["status"] == "failed"
    first, second = (each["attempt"] for each in answer["attempts"])
    assert (first["id"], second["id"]) == (0, 1)
    assert first["failureSummary"]["failures"][0]["failureType"] == "system_error"
    reason = second["failureSummary"]["failures"][0]
    assert {key: reason[key] for key in REASON} == REASON
    # Milliseconds here, seconds in the attempt.
    assert reason["timestamp"] // 1000 == second["endedAt"]


def test_rows_add_up_over_the_attempts(config: Config, failed: int) -> None:
    answer = config("jobs/get_without_logs", id=failed).json()
    counts = [each["attempt"]["recordsSynced"] for each in answer["attempts"]]
    assert counts == [100, 400]
    assert answer["job"]["aggregatedStats"]["recordsCommitted"] == 400
    assert answer["job"]["streamAggregatedStats"][0]["recordsCommitted"] == 400


def test_the_light_job_has_neither_attempts_nor_counts(config: Config, failed: int) -> None:
    answer = config("jobs/get_light", id=failed).json()
    assert set(answer) == {"job"}
    assert "aggregatedStats" not in answer["job"]


def test_a_log_comes_as_events_or_as_lines(sim: Simulator, config: Config, failed: int) -> None:
    answer = config("attempt/get_for_job", jobId=failed, attemptNumber=1).json()
    assert answer["logType"] == "structured"
    assert [event["message"] for event in answer["logs"]["events"]] == ["one", "two", "NoSuchBucket"]
    sim.configure(structured_logs=False)
    answer = config("attempt/get_for_job", jobId=failed, attemptNumber=1).json()
    assert answer["logType"] == "formatted"
    assert [line.split()[-1] for line in answer["logs"]["logLines"]] == ["one", "two", "NoSuchBucket"]


def test_the_heavy_job_has_every_log(config: Config, failed: int) -> None:
    answer = config("jobs/get", id=failed).json()
    assert [len(each["logs"]["events"]) for each in answer["attempts"]] == [3, 3]


def test_a_running_attempt_has_no_end(sim: Simulator, config: Config) -> None:
    job_id = sim.add_job(sim.add_connection(), Script(duration=600))["id"]
    assert config("jobs/get_without_logs", id=job_id).json()["attempts"] == []
    sim.advance(60)
    (attempt,) = config("jobs/get_without_logs", id=job_id).json()["attempts"]
    assert attempt["attempt"]["status"] == "running"
    assert "endedAt" not in attempt["attempt"]


def test_jobs_of_several_statuses_in_one_call(sim: Simulator, config: Config) -> None:
    one, two, three = sim.add_jobs(sim.add_connections(3, Script(duration=600)))
    sim.advance(60)
    sim.finish(one, "failed")
    sim.finish(two, "succeeded")
    body = {"configTypes": ["sync"], "workspaceIds": [sim.workspace_id], "statuses": ["failed", "running"]}
    answer = config("jobs/list_for_workspaces", **body).json()
    assert [each["job"]["id"] for each in answer["jobs"]] == [three, one]
    assert answer["totalJobCount"] == 2
    assert answer["jobs"][1]["attempts"][0]["failureSummary"]
    order = {"orderByField": "CREATED_AT", "orderByMethod": "ASC"}
    answer = config("jobs/list_for_workspaces", **body, **order).json()
    assert [each["job"]["id"] for each in answer["jobs"]] == [one, three]


def test_a_row_offset_becomes_a_page_number(sim: Simulator, config: Config) -> None:
    ids = sim.add_jobs(sim.add_connections(6))
    body = {"configTypes": ["sync"], "orderByMethod": "ASC", "pagination": {"pageSize": 2, "rowOffset": 3}}
    answer = config("jobs/list_for_workspaces", **body).json()
    assert [each["job"]["id"] for each in answer["jobs"]] == ids[2:4]


@pytest.mark.parametrize(("admin", "status"), [(True, 500), (False, 403)])
def test_an_unknown_job(sim: Simulator, config: Config, admin: bool, status: int) -> None:
    sim.instance_admin = admin
    assert config("jobs/get_without_logs", id=5).status_code == status
    assert config("attempt/get_for_job", jobId=5, attemptNumber=0).status_code == status


def test_an_unknown_attempt(config: Config, failed: int) -> None:
    assert config("attempt/get_for_job", jobId=failed, attemptNumber=2).status_code == 404


def test_a_connection_by_its_id(sim: Simulator, config: Config) -> None:
    connection_id = sim.add_connection("Orders")
    assert config("connections/get", connectionId=connection_id).json()["name"] == "Orders"
    assert config("connections/get", connectionId=str(uuid.uuid4())).status_code == 404


def test_an_airbyte_without_config_api(sim: Simulator, config: Config, failed: int) -> None:
    sim.configure(config_api=False)
    assert config("jobs/get_without_logs", id=failed).status_code == 404
    assert httpx.get(f"{sim.host}/api/v1/health", trust_env=False).status_code == 404


def test_it_does_not_wait_for_the_public_apis_threads(sim: Simulator, config: Config, failed: int) -> None:
    assert config("jobs/get_light", id=failed).status_code == 200
    sim.handler_seconds = 3600.0
    assert config("jobs/get_light", id=failed).status_code == 200
