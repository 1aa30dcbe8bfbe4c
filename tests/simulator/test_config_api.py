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


def test_rows_add_up_over_the_attempts(sim: Simulator, config: Config) -> None:
    attempts = [Attempt(10, "failed", output=True), Attempt(30, "failed", output=True)]
    script = Script(attempts=attempts, rows=400, bytes=4000, pending=0)
    job_id = sim.add_job(sim.add_connection(), script, created_ago=600)["id"]
    answer = config("jobs/get_without_logs", id=job_id).json()
    counts = [each["attempt"]["recordsSynced"] for each in answer["attempts"]]
    assert counts == [100, 300]
    assert answer["job"]["aggregatedStats"]["recordsCommitted"] == 400
    assert answer["job"]["streamAggregatedStats"][0]["recordsCommitted"] == 400


@pytest.mark.parametrize("call", ["jobs/get_without_logs", "jobs/get", "attempt/get_for_job"])
def test_attempts_counts_are_those_of_its_output_if_it_left_one(sim: Simulator, config: Config, call: str) -> None:
    """They never tell the bytes that were committed, nor a stream's namespace."""
    attempts = [Attempt(10), Attempt(10, output=True), Attempt(20, "succeeded")]
    script = Script(attempts=attempts, rows=400, bytes=4000, pending=0)
    job_id = sim.add_job(sim.add_connection(), script, created_ago=600)["id"]
    if call == "attempt/get_for_job":
        told = [config(call, jobId=job_id, attemptNumber=n).json()["attempt"] for n in range(3)]
    else:
        told = [each["attempt"] for each in config(call, id=job_id).json()["attempts"]]
    assert "totalStats" not in told[0]
    assert "streamStats" not in told[0]
    assert told[1]["totalStats"] == {
        "recordsEmitted": 100,
        "bytesEmitted": 1000,
        "recordsCommitted": 100,
        "stateMessagesEmitted": 1,
    }
    assert told[2]["streamStats"][0] == {"streamName": "orders", "stats": told[2]["totalStats"]}
    assert (told[2]["recordsSynced"], told[2]["bytesSynced"]) == (200, 2000)


@pytest.mark.parametrize(
    ("call", "hydrated"), [("jobs/get_without_logs", True), ("jobs/get", False), ("jobs/get_light", False)]
)
def test_only_one_call_hydrates_a_job(config: Config, failed: int, call: str, hydrated: bool) -> None:
    job = config(call, id=failed).json()["job"]
    assert ("aggregatedStats" in job, "streamAggregatedStats" in job) == (hydrated, hydrated)
    assert job["enabledStreams"] == [{"name": "orders", "namespace": "public"}]


def test_job_that_has_not_begun_has_counted_no_stream(sim: Simulator, config: Config) -> None:
    job_id = sim.add_job(sim.add_connection(), Script(pending=600))["id"]
    job = config("jobs/get_without_logs", id=job_id).json()["job"]
    assert job["streamAggregatedStats"] == []
    assert set(job["aggregatedStats"].values()) == {0}


@pytest.mark.parametrize(
    ("kind", "name", "inner"),
    [("reset", "resetConfig", "streamsToReset"), ("refresh", "refreshConfig", "streamsToRefresh")],
)
def test_reset_and_a_refresh_name_their_streams(
    sim: Simulator, config: Config, kind: str, name: str, inner: str
) -> None:
    job_id = sim.add_job(sim.add_connection(), job_type=kind)["id"]
    job = config("jobs/get_without_logs", id=job_id).json()["job"]
    assert job[name] == {inner: [{"name": "orders", "namespace": "public"}]}


def test_light_job_has_neither_attempts_nor_counts(config: Config, failed: int) -> None:
    answer = config("jobs/get_light", id=failed).json()
    assert set(answer) == {"job"}
    assert "aggregatedStats" not in answer["job"]


def test_log_comes_as_events_or_as_lines(sim: Simulator, config: Config, failed: int) -> None:
    answer = config("attempt/get_for_job", jobId=failed, attemptNumber=1).json()
    assert answer["logType"] == "structured"
    assert [event["message"] for event in answer["logs"]["events"]] == ["one", "two", "NoSuchBucket"]
    assert [event["level"] for event in answer["logs"]["events"]] == ["info", "info", "error"]
    sim.configure(structured_logs=False)
    answer = config("attempt/get_for_job", jobId=failed, attemptNumber=1).json()
    assert answer["logType"] == "formatted"
    assert [line.split()[-1] for line in answer["logs"]["logLines"]] == ["one", "two", "NoSuchBucket"]


def test_heavy_job_has_every_log(config: Config, failed: int) -> None:
    answer = config("jobs/get", id=failed).json()
    assert [len(each["logs"]["events"]) for each in answer["attempts"]] == [3, 3]


def test_running_attempt_has_no_end(sim: Simulator, config: Config) -> None:
    job_id = sim.add_job(sim.add_connection(), Script(pending=30, duration=600))["id"]
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
    order = {"orderByField": "createdAt", "orderByMethod": "ASC"}
    answer = config("jobs/list_for_workspaces", **body, **order).json()
    assert [each["job"]["id"] for each in answer["jobs"]] == [one, three]


def test_lists_hydrate_attempts_too(sim: Simulator, config: Config) -> None:
    connection_id = sim.add_connection(script=Script(duration=10_000, pending=0, rows=400, rejected=100))
    sim.add_job(connection_id)
    sim.advance(5000)
    for call, scope in (("list", {"configId": connection_id}), ("list_for_workspaces", {})):
        (row,) = config(f"jobs/{call}", configTypes=["sync"], **scope).json()["jobs"]
        (attempt,) = row["attempts"]
        assert attempt["totalStats"]["recordsCommitted"] == pytest.approx(200, abs=40)
        assert attempt["totalStats"]["recordsRejected"] == pytest.approx(50, abs=10)
        assert attempt["streamStats"][0]["streamNamespace"] == "public"
        assert "recordsSynced" not in attempt
        assert row["job"]["aggregatedStats"]["recordsCommitted"] == pytest.approx(200, abs=40)


def test_jobs_of_a_connection_are_counted_beyond_the_page(sim: Simulator, config: Config) -> None:
    one, two = sim.add_connections(2, Script(duration=1, pending=0))
    jobs = [sim.add_job(one, created_ago=1000 - number)["id"] for number in range(7)]
    sim.add_job(two)
    ask = {"configTypes": ["sync"], "configId": one, "pagination": {"pageSize": 3}}
    answer = config("jobs/list", **ask).json()
    assert [row["job"]["id"] for row in answer["jobs"]] == jobs[:3:-1]
    assert answer["totalJobCount"] == 7
    answer = config("jobs/list", **ask, includingJobId=jobs[2]).json()
    assert [row["job"]["id"] for row in answer["jobs"]] == jobs[:0:-1]
    assert config("jobs/list", **ask, includingJobId=8).json()["jobs"] == []
    assert config("jobs/list", configTypes=["sync"], configId=str(uuid.uuid4())).json()["totalJobCount"] == 0


@pytest.mark.parametrize("call", ["jobs/list", "jobs/list_for_workspaces"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"configTypes": []}, 500),
        ({"configTypes": ["sync"], "orderByField": "CREATED_AT"}, 422),
        ({"configTypes": ["sync"], "orderByMethod": "UP"}, 422),
        ({"configTypes": ["sync"], "statuses": ["dozing"]}, 422),
        ({"configTypes": ["sync"], "createdAtStart": "yesterday"}, 422),
        ({"configTypes": ["sync"], "pagination": 3}, 422),
    ],
)
def test_list_that_is_not_understood(config: Config, call: str, body: dict[str, object], status: int) -> None:
    assert config(call, **body).status_code == status


def test_sync_is_answered_when_it_runs(sim: Simulator, config: Config) -> None:
    connection_id = sim.add_connection(script=Script(pending=0.1, queued=0.1, duration=600))
    answer = config("connections/sync", connectionId=connection_id).json()
    assert answer["job"]["status"] == "running"
    assert [each["attempt"]["status"] for each in answer["attempts"]] == ["running"]
    assert not sim.job(answer["job"]["id"])["foreign"]
    again = config("connections/sync", connectionId=connection_id)
    assert again.status_code == 409
    assert again.json()["message"] == f"A sync is already running for: {connection_id}"


@pytest.mark.parametrize("status", ["inactive", "deprecated", "locked"])
def test_connection_that_is_not_active_is_not_synced(sim: Simulator, config: Config, status: str) -> None:
    answer = config("connections/sync", connectionId=sim.add_connection(status=status))
    assert (answer.status_code, set(answer.json())) == (500, {"errorId"})
    assert sim.jobs() == []


def test_cancel_stops_what_the_connection_runs(sim: Simulator, config: Config) -> None:
    connection_id = sim.add_connection(script=Script(duration=600, pending=0))
    old, new = (sim.add_job(connection_id)["id"] for _ in range(2))
    sim.finish(old, "succeeded")
    assert config("jobs/cancel", id=old).json()["job"]["status"] == "succeeded"
    assert sim.job(new)["status"] == "cancelled"
    assert config("jobs/cancel", id=old).status_code == 500


def test_row_offset_becomes_a_page_number(sim: Simulator, config: Config) -> None:
    ids = sim.add_jobs(sim.add_connections(6))
    body = {"configTypes": ["sync"], "orderByMethod": "ASC", "pagination": {"pageSize": 2, "rowOffset": 3}}
    answer = config("jobs/list_for_workspaces", **body).json()
    assert [each["job"]["id"] for each in answer["jobs"]] == ids[2:4]


@pytest.mark.parametrize(("admin", "status"), [(True, 500), (False, 403)])
def test_unknown_job(sim: Simulator, config: Config, admin: bool, status: int) -> None:
    sim.instance_admin = admin
    assert config("jobs/get_without_logs", id=5).status_code == status
    assert config("attempt/get_for_job", jobId=5, attemptNumber=0).status_code == status


def test_id_may_be_a_text(config: Config, failed: int) -> None:
    assert config("jobs/get", id=str(failed)).json()["job"]["id"] == failed
    assert config("jobs/get", id="first").status_code == 400


def test_unknown_attempt(config: Config, failed: int) -> None:
    assert config("attempt/get_for_job", jobId=failed, attemptNumber=2).status_code == 404


def test_connection_by_its_id(sim: Simulator, config: Config) -> None:
    connection_id = sim.add_connection("Orders")
    connection = config("connections/get", connectionId=connection_id).json()
    assert connection["name"] == "Orders"
    # Written with an underscore, this one alone.
    assert connection["created_at"] == pytest.approx(sim.now(), abs=60)
    for call in ("get", "sync"):
        assert config(f"connections/{call}", connectionId=str(uuid.uuid4())).status_code == 404


def test_airbyte_without_config_api(sim: Simulator, config: Config, failed: int) -> None:
    sim.configure(config_api=False)
    assert config("jobs/get_without_logs", id=failed).status_code == 404
    assert httpx.get(f"{sim.host}/api/v1/health", trust_env=False).status_code == 404


def test_config_api_does_not_wait_for_the_public_apis_threads(sim: Simulator, config: Config, failed: int) -> None:
    assert config("jobs/get_light", id=failed).status_code == 200
    sim.handler_seconds = 3600.0
    assert config("jobs/get_light", id=failed).status_code == 200
