"""How a job goes on, as GET /jobs/{id} shows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

import httpx
import pytest

from airbyte_deferrable.simulator import Attempt, Script, Simulator

Connect = Callable[[Simulator], httpx.Client]


def get(http: httpx.Client, job_id: int) -> dict:
    answer = http.get(f"/jobs/{job_id}")
    assert answer.status_code == 200
    return answer.json()


def stamp(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled"])
def test_job_ends_as_its_script_says(sim: Simulator, http: httpx.Client, outcome: str) -> None:
    job = sim.add_job(sim.add_connection(), Script(duration=100, outcome=outcome, pending=50))
    assert get(http, job["id"])["status"] == "pending"
    sim.advance(60)
    assert get(http, job["id"])["status"] == "running"
    sim.advance(100)
    assert get(http, job["id"])["status"] == outcome


def test_terminal_status_never_changes(sim: Simulator, http: httpx.Client) -> None:
    script = Script(statuses=[(10, "running"), (20, "succeeded"), (30, "failed")])
    job = sim.add_job(sim.add_connection(), script)
    sim.advance(60)
    assert get(http, job["id"])["status"] == "succeeded"
    sim.finish(job["id"], "failed")
    assert get(http, job["id"])["status"] == "succeeded"


def test_failing_job_is_incomplete_before_it_is_failed(sim: Simulator) -> None:
    seen = [status for _, status in Script(outcome="failed").timeline]
    assert seen == ["running", "incomplete", "failed"]
    seen = [status for _, status in Script(outcome="cancelled").timeline]
    assert seen == ["running", "incomplete", "cancelled"]


def test_airbytes_own_retries_stay_inside_the_job(sim: Simulator, http: httpx.Client) -> None:
    script = Script(attempts=[Attempt(10, "failed"), Attempt(10, "succeeded")], retry_backoff=100, pending=0)
    job_id = sim.add_job(sim.add_connection(), script)["id"]
    statuses = []
    for _ in range(4):
        statuses.append((get(http, job_id)["status"], len(sim.job(job_id)["attempts"])))
        sim.advance({0: 50, 1: 65, 2: 20}.get(len(statuses) - 1, 0))
    assert statuses == [("running", 1), ("incomplete", 1), ("running", 2), ("succeeded", 2)]


def test_job_may_wait_for_capacity(sim: Simulator, http: httpx.Client) -> None:
    job_id = sim.add_job(sim.add_connection(), Script(pending=10, queued=3600, duration=10))["id"]
    sim.advance(20)
    assert get(http, job_id)["status"] == "queued"
    sim.advance(3600)
    assert get(http, job_id)["status"] == "succeeded"


def test_release_2_has_no_queue(connect: Connect) -> None:
    with Simulator(release="2.0") as sim:
        job_id = sim.add_job(sim.add_connection(), Script(pending=10, queued=3600))["id"]
        sim.advance(20)
        http = connect(sim)
        assert get(http, job_id)["status"] == "pending"
        assert http.get("/jobs", params={"status": "queued"}).status_code == 400
        sim.advance(3700)
        assert get(http, job_id)["status"] == "succeeded"


def test_job_without_an_outcome_runs_until_told(sim: Simulator, http: httpx.Client) -> None:
    job_id = sim.add_job(sim.add_connection(), Script(outcome=None))["id"]
    sim.advance(1e6)
    assert get(http, job_id)["status"] == "running"
    sim.finish(job_id, "succeeded")
    assert get(http, job_id)["status"] == "succeeded"


def test_status_that_nobody_has_heard_of_can_be_played(sim: Simulator, connect: Connect) -> None:
    http = connect(sim)
    http.event_hooks = {}  # it is, of course, not in the schema
    job_id = sim.add_job(sim.add_connection(), Script(statuses=[(1, "running"), (2, "dozing"), (50, "succeeded")]))[
        "id"
    ]
    sim.advance(10)
    assert http.get(f"/jobs/{job_id}").json()["status"] == "dozing"
    assert "lastUpdatedAt" not in http.get(f"/jobs/{job_id}").json()
    sim.advance(50)
    assert http.get(f"/jobs/{job_id}").json()["status"] == "succeeded"


def test_rows_and_bytes_grow_while_it_runs(sim: Simulator, http: httpx.Client) -> None:
    job_id = sim.add_job(sim.add_connection(), Script(duration=1000, rows=10_000, bytes=50_000, pending=0))["id"]
    counts = []
    for _ in range(3):
        sim.advance(300)
        job = get(http, job_id)
        counts.append(job["rowsSynced"])
        assert job["bytesSynced"] == pytest.approx(job["rowsSynced"] * 5, abs=10)
    assert counts == sorted(set(counts))
    assert counts == pytest.approx([3000, 6000, 9000], abs=500)
    sim.advance(200)
    assert get(http, job_id)["rowsSynced"] == 10_000
    assert get(http, job_id)["bytesSynced"] == 50_000


def test_reset_moves_no_rows(sim: Simulator, http: httpx.Client) -> None:
    job_id = sim.add_job(sim.add_connection(), Script(duration=1), job_type="reset")["id"]
    sim.advance(10)
    assert get(http, job_id)["rowsSynced"] == 0


def test_whole_seconds_that_are_zero_are_left_out(sim: Simulator, http: httpx.Client) -> None:
    moment = datetime(2023, 6, 22, 16, 15, 0, 900_000, tzinfo=timezone.utc)
    job_id = sim.add_job(sim.add_connection(), Script(duration=61, pending=0), created_at=moment.timestamp())["id"]
    job = get(http, job_id)
    assert job["startTime"] == "2023-06-22T16:15Z"
    assert job["lastUpdatedAt"] == "2023-06-22T16:16:01Z"


def test_duration_of_a_live_job_is_the_time_to_its_last_change(sim: Simulator, http: httpx.Client) -> None:
    script = Script(statuses=[(65, "running"), (3600 * 30 + 120, "succeeded")])
    job_id = sim.add_job(sim.add_connection(), script)["id"]
    assert "duration" not in get(http, job_id)
    sim.advance(100)
    sim.advance(3600)
    assert get(http, job_id)["duration"] == "PT1M5S"
    assert "lastUpdatedAt" not in get(http, job_id)
    sim.advance(3600 * 30)
    job = get(http, job_id)
    assert job["duration"] == "PT30H2M"
    assert stamp(job["lastUpdatedAt"]) - stamp(job["startTime"]) == 3600 * 30 + 120


def test_job_that_ended_at_once_took_no_seconds(sim: Simulator, http: httpx.Client) -> None:
    script = Script(statuses=[(0, "succeeded")])
    job_id = sim.add_job(sim.add_connection(), script)["id"]
    assert get(http, job_id)["duration"] == "PT0S"


def test_job_from_the_past_has_lived_its_past(sim: Simulator) -> None:
    job = sim.add_job(sim.add_connection(), Script(duration=60, outcome="failed"), created_ago=3600)
    assert job["status"] == "failed"
    assert job["updatedAt"] - job["createdAt"] == pytest.approx(60.15)


@pytest.mark.parametrize(("admin", "status"), [(True, 409), (False, 403)])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_unknown_job(sim: Simulator, http: httpx.Client, method: str, admin: bool, status: int) -> None:
    sim.instance_admin = admin
    answer = http.request(method, "/jobs/77")
    assert answer.status_code == status
    role = "WORKSPACE_READER" if method == "GET" else "WORKSPACE_RUNNER"
    assert answer.json()["data"]["message"] == (
        "Job is not currently running"
        if admin
        else f"Caller does not have the required {role} permissions to access the resource(s)."
    )


def test_pruned_job_is_unknown(sim: Simulator, http: httpx.Client) -> None:
    job_id = sim.add_job(sim.add_connection())["id"]
    sim.delete_job(job_id)
    assert http.get(f"/jobs/{job_id}").status_code == 409
    assert http.get("/jobs").json()["data"] == []
    with pytest.raises(LookupError):
        sim.job(job_id)


def test_job_id_that_is_no_number_is_micronauts_error(http: httpx.Client) -> None:
    answer = http.get("/jobs/abc")
    assert answer.status_code == 400
    assert answer.json()["message"] == "Bad Request"
    assert "abc" in answer.json()["_embedded"]["errors"][0]["message"]
