"""DELETE /jobs/{id} stops what the connection runs, whichever job was named."""

from __future__ import annotations

import threading

import httpx
import pytest

from airbyte_deferrable.simulator import Attempt, Script, Simulator

LONG = Script(duration=600)


@pytest.fixture
def connection_id(sim: Simulator) -> str:
    return sim.add_connection(script=LONG)


def running(sim: Simulator, connection_id: str) -> int:
    job_id = sim.add_job(connection_id)["id"]
    sim.advance(5)
    return job_id


def test_running_job_is_cancelled_when_the_answer_comes(sim: Simulator, http: httpx.Client, connection_id: str) -> None:
    job_id = running(sim, connection_id)
    answer = http.delete(f"/jobs/{job_id}")
    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled"
    assert "rowsSynced" not in answer.json()
    assert sim.job(job_id)["cancel_requested_by"] == job_id


def test_cancelled_job_was_incomplete_on_the_way(sim: Simulator, http: httpx.Client, connection_id: str) -> None:
    job_id = running(sim, connection_id)
    http.delete(f"/jobs/{job_id}")
    job = sim.job(job_id)
    assert job["attempts"][0]["status"] == "failed"
    assert job["attempts"][0]["failure"]["failureType"] == "manual_cancellation"
    assert job["attempts"][0]["updatedAt"] < job["updatedAt"]


def test_job_can_be_cancelled_between_two_attempts(sim: Simulator, http: httpx.Client) -> None:
    script = Script(attempts=[Attempt(10), Attempt(10)], retry_backoff=600)
    job_id = sim.add_job(sim.add_connection(script=script))["id"]
    sim.advance(60)
    assert sim.job(job_id)["status"] == "incomplete"
    assert http.delete(f"/jobs/{job_id}").json()["status"] == "cancelled"


def test_finished_job_of_an_idle_connection_is_a_conflict(
    sim: Simulator, http: httpx.Client, connection_id: str
) -> None:
    job_id = running(sim, connection_id)
    sim.finish(job_id, "succeeded")
    answer = http.delete(f"/jobs/{job_id}")
    assert answer.status_code == 409
    assert answer.json()["title"] == "state-conflict"
    assert answer.json()["data"]["message"] == "Job is not currently running"
    assert sim.job(job_id)["status"] == "succeeded"


def test_naming_a_finished_job_kills_the_newer_run(sim: Simulator, http: httpx.Client, connection_id: str) -> None:
    old = running(sim, connection_id)
    sim.finish(old, "failed")
    new = running(sim, connection_id)
    answer = http.delete(f"/jobs/{old}")
    assert answer.status_code == 200
    assert (answer.json()["jobId"], answer.json()["status"]) == (old, "failed")
    assert sim.job(new)["status"] == "cancelled"
    assert sim.job(new)["cancel_requested_by"] == old


def test_cancelling_a_pending_job_does_nothing_and_says_200(sim: Simulator, http: httpx.Client) -> None:
    job_id = sim.add_job(sim.add_connection(), Script(pending=60, duration=60))["id"]
    answer = http.delete(f"/jobs/{job_id}")
    assert answer.status_code == 200
    assert answer.json()["status"] == "pending"
    sim.advance(200)
    assert sim.job(job_id)["status"] == "succeeded"


def test_queued_job_is_cancelled_without_an_attempt(sim: Simulator, http: httpx.Client) -> None:
    job_id = sim.add_job(sim.add_connection(), Script(pending=1, queued=600))["id"]
    sim.advance(10)
    assert http.delete(f"/jobs/{job_id}").json()["status"] == "cancelled"
    assert sim.job(job_id)["attempts"] == []


def test_other_connections_run_on(sim: Simulator, http: httpx.Client, connection_id: str) -> None:
    other = running(sim, sim.add_connection(script=LONG))
    http.delete(f"/jobs/{running(sim, connection_id)}")
    assert sim.job(other)["status"] == "running"


def test_rows_of_a_cancelled_job_stay_what_they_were(sim: Simulator, http: httpx.Client, connection_id: str) -> None:
    job_id = running(sim, connection_id)
    sim.advance(295)
    http.delete(f"/jobs/{job_id}")
    rows = http.get(f"/jobs/{job_id}").json()["rowsSynced"]
    sim.advance(1000)
    assert 0 < http.get(f"/jobs/{job_id}").json()["rowsSynced"] == rows < 1000


def test_cancel_asked_for_twice_cancels_once(sim: Simulator, http: httpx.Client, connection_id: str) -> None:
    job_id = running(sim, connection_id)
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(http.delete(f"/jobs/{job_id}").status_code)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 200 in answers
    assert set(answers) <= {200, 409}
    assert sim.job(job_id)["status"] == "cancelled"
