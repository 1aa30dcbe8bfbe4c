"""POST /jobs."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

import httpx
import pytest

from airbyte_deferrable.simulator import Script, Simulator

Connect = Callable[[Simulator], httpx.Client]
LONG = Script(duration=600)


def create(http: httpx.Client, connection_id: str, job_type: str = "sync") -> httpx.Response:
    return http.post("/jobs", json={"connectionId": connection_id, "jobType": job_type})


def test_new_job_is_answered_with_200_and_pending_without_counts(sim: Simulator, http: httpx.Client) -> None:
    connection_id = sim.add_connection(script=LONG)
    answer = create(http, connection_id)
    assert answer.status_code == 200
    job = answer.json()
    assert set(job) == {"jobId", "status", "jobType", "connectionId", "startTime"}
    assert (job["jobId"], job["status"], job["jobType"], job["connectionId"]) == (1, "pending", "sync", connection_id)


def test_job_ids_increase(sim: Simulator, http: httpx.Client) -> None:
    ids = [create(http, connection_id).json()["jobId"] for connection_id in sim.add_connections(3, LONG)]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("seconds", [0, 5], ids=["pending", "running"])
def test_second_job_is_a_conflict_while_one_is_there(sim: Simulator, http: httpx.Client, seconds: float) -> None:
    connection_id = sim.add_connection(script=LONG)
    create(http, connection_id)
    sim.advance(seconds)
    answer = create(http, connection_id)
    assert answer.status_code == 409
    assert answer.json()["title"] == "try-again-later"
    assert answer.json()["data"]["message"] == f"A sync is already running for: {connection_id}"
    assert len(sim.jobs()) == 1


def test_second_job_is_a_conflict_between_two_attempts(sim: Simulator, http: httpx.Client) -> None:
    attempts = [{"duration": 10, "outcome": "failed"}, {"duration": 10, "outcome": "succeeded"}]
    connection_id = sim.add_connection(script={"attempts": attempts, "retry_backoff": 60})
    job_id = create(http, connection_id).json()["jobId"]
    sim.advance(15)
    assert sim.job(job_id)["status"] == "incomplete"
    assert create(http, connection_id).json()["title"] == "try-again-later"


def test_second_job_can_start_when_the_first_has_ended(sim: Simulator, http: httpx.Client) -> None:
    connection_id = sim.add_connection(script=LONG)
    create(http, connection_id)
    sim.advance(700)
    assert create(http, connection_id).status_code == 200


def test_switch_lets_a_pending_job_be_joined(sim: Simulator, http: httpx.Client) -> None:
    sim.configure(while_pending="join")
    connection_id = sim.add_connection(script=Script(pending=600))
    first = create(http, connection_id).json()
    assert create(http, connection_id).json() == first
    assert len(sim.jobs()) == 1


def test_switch_lets_a_second_request_hang_for_a_minute_while_the_job_is_pending(
    sim: Simulator, http: httpx.Client
) -> None:
    sim.configure(while_pending="hang", token_lifetime=1e9)
    connection_id = sim.add_connection(script=Script(pending=1e9))
    create(http, connection_id)
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(create(http, connection_id)))
    thread.start()
    while thread.is_alive():
        sim.advance(10)
    assert answers[0].status_code == 409
    assert answers[0].json()["title"] == "state-conflict"
    assert sim.now() - sim.jobs()[0]["createdAt"] >= 60


def test_refresh_is_refused(sim: Simulator, http: httpx.Client) -> None:
    answer = create(http, sim.add_connection(), "refresh")
    assert answer.status_code == 422
    assert answer.json()["title"] == "unprocessable-entity"
    assert answer.json()["data"]["message"] == "Refreshes are not supported in the public API"


@pytest.mark.parametrize("job_type", ["reset", "clear"])
def test_reset_and_clear_both_become_a_reset(sim: Simulator, http: httpx.Client, job_type: str) -> None:
    job = create(http, sim.add_connection(), job_type).json()
    assert job["jobType"] == "reset"
    assert http.get("/jobs", params={"jobType": "clear"}).json()["data"] == []
    assert [row["jobId"] for row in http.get("/jobs", params={"jobType": "reset"}).json()["data"]] == [job["jobId"]]


def test_reset_cancels_the_running_sync_first(sim: Simulator, http: httpx.Client) -> None:
    connection_id = sim.add_connection(script=LONG)
    sync = create(http, connection_id).json()["jobId"]
    sim.advance(5)
    reset = create(http, connection_id, "reset").json()
    assert reset["jobType"] == "reset"
    assert sim.job(sync)["status"] == "cancelled"
    assert sim.job(sync)["cancel_requested_by"] == "reset"
    assert sim.job(sync)["updatedAt"] <= sim.job(reset["jobId"])["createdAt"]


@pytest.mark.parametrize("status", ["inactive", "deprecated", "locked"])
def test_connection_that_is_not_active_is_a_state_conflict_that_hides_why(
    sim: Simulator, http: httpx.Client, status: str
) -> None:
    answer = create(http, sim.add_connection(status=status))
    assert answer.status_code == 409
    assert answer.json()["title"] == "state-conflict"
    assert answer.json()["type"].endswith("#409-state-conflict")
    assert answer.json()["data"]["message"] == "Could not fulfill request"


def test_connection_without_a_workflow_says_try_again_later(sim: Simulator, http: httpx.Client) -> None:
    answer = create(http, sim.add_connection(status="deleted"))
    assert answer.status_code == 409
    assert answer.json()["title"] == "try-again-later"
    assert "is deleted, so no further operations" in answer.json()["data"]["message"]


@pytest.mark.parametrize(("admin", "status"), [(True, 404), (False, 403)])
def test_unknown_connection(sim: Simulator, http: httpx.Client, admin: bool, status: int) -> None:
    sim.instance_admin = admin
    answer = create(http, str(uuid.uuid4()))
    assert answer.status_code == status
    assert answer.json()["title"] == ("resource-not-found" if admin else "forbidden")


@pytest.mark.parametrize(("admin", "status"), [(True, 500), (False, 403)])
def test_malformed_connection_id(sim: Simulator, http: httpx.Client, admin: bool, status: int) -> None:
    sim.instance_admin = admin
    answer = create(http, "no-uuid")
    assert answer.status_code == status
    assert ("errorId" in answer.json()) == admin


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 422), (b"{}", 400), (b'{"connectionId": "x", "jobType": "dance"}', 422)],
    ids=["broken", "incomplete", "unknown type"],
)
def test_body_that_cannot_be_read(http: httpx.Client, body: bytes, status: int) -> None:
    answer = http.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert "errorId" in answer.json()


def test_release_2_answers_only_when_the_job_runs(connect: Connect) -> None:
    with Simulator(release="2.0") as sim:
        job = create(connect(sim), sim.add_connection(script=Script(duration=600, pending=0.05))).json()
    assert job["status"] == "running"


def test_scripts_of_a_connection_are_played_in_turn_and_the_last_repeats(sim: Simulator, http: httpx.Client) -> None:
    connection_id = sim.add_connection()
    sim.script(connection_id, Script(outcome="failed"), Script(outcome="cancelled"), Script())
    statuses = []
    for _ in range(4):
        job_id = create(http, connection_id).json()["jobId"]
        sim.advance(30)
        statuses.append(sim.job(job_id)["status"])
    assert statuses == ["failed", "cancelled", "succeeded", "succeeded"]
