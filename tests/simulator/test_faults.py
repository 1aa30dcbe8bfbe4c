"""Trouble on demand, and how many requests are worked on at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.waiting import wait_until

Connect = Callable[[Simulator], httpx.Client]
LONG = Script(duration=600, pending=0)


@pytest.fixture
def raw(http: httpx.Client) -> httpx.Client:
    """A client that has its token, and does not look at what it gets."""
    assert http.get("/jobs").status_code == 200
    http.event_hooks = {}
    return http


def create(http: httpx.Client, connection_id: str, **options: Any) -> httpx.Response:
    return http.post("/jobs", json={"connectionId": connection_id, "jobType": "sync"}, **options)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 418, 425, 429, 500])
def test_status_has_a_body_that_airbyte_could_send(sim: Simulator, http: httpx.Client, status: int) -> None:
    http.get("/jobs")
    sim.add_fault(Fault(call="create", status=status, times=1))
    http.auth = None
    http.headers["Authorization"] = "Bearer any"
    assert create(http, sim.add_connection()).status_code == status
    assert sim.jobs() == []


@pytest.mark.parametrize("status", [502, 503, 504])
def test_gateways_errors_are_pages(sim: Simulator, raw: httpx.Client, status: int) -> None:
    sim.add_fault(Fault(call="list", status=status))
    answer = raw.get("/jobs")
    assert answer.status_code == status
    assert "<center>nginx</center>" in answer.text


def test_body_and_headers_can_be_given(sim: Simulator, raw: httpx.Client) -> None:
    sim.add_fault(Fault(call="list", status=503, body='{"message": "later"}', headers={"Retry-After": "7"}))
    answer = raw.get("/jobs")
    assert answer.json() == {"message": "later"}
    assert answer.headers["Retry-After"] == "7"


def test_fault_ends_after_its_times(sim: Simulator, raw: httpx.Client) -> None:
    sim.add_fault(Fault(call="list", times=2))
    assert [raw.get("/jobs").status_code for _ in range(4)] == [503, 503, 200, 200]


def test_fault_without_times_lasts_until_it_is_cleared(sim: Simulator, raw: httpx.Client) -> None:
    number = sim.add_fault(Fault(call="list"))
    assert [raw.get("/jobs").status_code for _ in range(5)] == [503] * 5
    sim.clear_faults(number)
    assert raw.get("/jobs").status_code == 200


def test_flapping_fault_hits_every_second_request(sim: Simulator, raw: httpx.Client) -> None:
    sim.add_fault(Fault(call="list", every=2))
    assert [raw.get("/jobs").status_code for _ in range(6)] == [200, 503] * 3


def test_rate_hits_some(sim: Simulator, raw: httpx.Client) -> None:
    sim.add_fault(Fault(call="list", rate=0.5))
    statuses = [raw.get("/jobs").status_code for _ in range(60)]
    assert 10 < statuses.count(503) < 50


def test_fault_is_for_its_call_alone(sim: Simulator, raw: httpx.Client) -> None:
    job_id = sim.add_job(sim.add_connection(script=LONG))["id"]
    sim.add_fault(Fault(call="get"))
    assert raw.get("/jobs").status_code == 200
    assert raw.get(f"/jobs/{job_id}").status_code == 503


def test_fault_can_be_for_one_connection_or_one_job(sim: Simulator, raw: httpx.Client) -> None:
    one, two = sim.add_connections(2, LONG)
    sim.add_fault(Fault(connection_id=one))
    assert create(raw, one).status_code == 503
    job_id = create(raw, two).json()["jobId"]
    assert raw.get("/jobs", params={"connectionId": one}).status_code == 503
    assert raw.get(f"/jobs/{job_id}").status_code == 200
    assert raw.get(f"/jobs/{sim.add_job(one)['id']}").status_code == 503
    sim.clear_faults()
    sim.add_fault(Fault(job_id=job_id))
    assert raw.get(f"/jobs/{job_id}").status_code == 503
    assert raw.get("/jobs").status_code == 200
    path = f"{sim.host}/api/v1/jobs/get_light"
    assert raw.post(path, json={"id": job_id}).status_code == 503


@pytest.mark.parametrize(
    ("call", "hit"), [("config", True), ("config:jobs/get_light", True), ("config:jobs/get", False)]
)
def test_config_calls_have_names_of_their_own(sim: Simulator, raw: httpx.Client, call: str, hit: bool) -> None:
    job_id = sim.add_job(sim.add_connection())["id"]
    sim.add_fault(Fault(call=call))
    assert (raw.post(f"{sim.host}/api/v1/jobs/get_light", json={"id": job_id}).status_code == 503) == hit


@pytest.mark.parametrize(
    ("call", "method", "path"),
    [
        ("patch_connection", "PATCH", "/connections/{id}"),
        ("connection", "GET", "/connections/{id}"),
        ("sources", "GET", "/sources"),
        ("destinations", "GET", "/destinations/"),
        ("tags", "GET", "/tags"),
    ],
)
def test_endpoints_beside_the_jobs_can_fail_too(
    sim: Simulator, raw: httpx.Client, call: str, method: str, path: str
) -> None:
    one, two = sim.add_connections(2)
    body = {"name": "New"} if method == "PATCH" else None
    sim.add_fault(Fault(call=call, connection_id=one if "{id}" in path else None))
    assert raw.request(method, path.format(id=one), json=body).status_code == 503
    assert sim.count(call) == 1
    if "{id}" in path:
        assert raw.request(method, path.format(id=two), json=body).status_code == 200
        assert raw.get("/connections").json()["data"][0]["name"] == "Connection 1"


def test_dropped_request_was_not_carried_out(sim: Simulator, raw: httpx.Client) -> None:
    sim.add_fault(Fault(call="create", kind="drop", times=1))
    with pytest.raises(httpx.RemoteProtocolError):
        create(raw, sim.add_connection(script=LONG))
    assert sim.jobs() == []
    assert sim.requests[-1][0::3] == ("create", 0)


def test_lost_answers_request_was_carried_out(sim: Simulator, raw: httpx.Client) -> None:
    sim.add_fault(Fault(call="create", kind="lost_answer", times=1))
    connection_id = sim.add_connection(script=LONG)
    with pytest.raises(httpx.RemoteProtocolError):
        create(raw, connection_id)
    assert [job["connectionId"] for job in sim.jobs()] == [connection_id]


def test_lost_answer_can_be_an_error_instead(sim: Simulator, raw: httpx.Client) -> None:
    sim.add_fault(Fault(call="create", kind="lost_answer", status=504, times=1))
    assert create(raw, sim.add_connection(script=LONG)).status_code == 504
    assert len(sim.jobs()) == 1


def test_lost_answer_can_come_too_late(sim: Simulator, raw: httpx.Client) -> None:
    sim.add_fault(Fault(call="create", kind="lost_answer", seconds=60, times=1))
    with pytest.raises(httpx.ReadTimeout):
        create(raw, sim.add_connection(script=LONG), timeout=0.2)
    assert len(sim.jobs()) == 1


def test_latency_delays_and_carries_out(sim: Simulator, raw: httpx.Client) -> None:
    number = sim.add_fault(Fault(call="create", kind="latency", seconds=3600))
    connection_id = sim.add_connection(script=LONG)
    with pytest.raises(httpx.ReadTimeout):
        create(raw, connection_id, timeout=0.1)
    assert sim.jobs() == []
    sim.clear_faults(number)
    sim.add_fault(Fault(call="create", kind="latency", seconds=0.01))
    assert create(raw, connection_id).status_code == 200


def test_garbage_is_200_and_broken_json(sim: Simulator, raw: httpx.Client) -> None:
    sim.add_fault(Fault(call="list", kind="garbage"))
    answer = raw.get("/jobs")
    assert answer.status_code == 200
    with pytest.raises(ValueError, match="Unterminated"):
        answer.json()


@pytest.mark.parametrize(("given", "status"), [(None, 502), (200, 200)])
def test_html_is_a_page_of_nginx(sim: Simulator, raw: httpx.Client, given: int | None, status: int) -> None:
    sim.add_fault(Fault(call="list", kind="html", status=given))
    answer = raw.get("/jobs")
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")


def test_hanging_request_is_dropped_when_the_fault_is_cleared(sim: Simulator, raw: httpx.Client) -> None:
    sim.add_fault(Fault(call="create", kind="hang"))
    failed = threading.Event()

    def ask(connection_id: str) -> None:
        try:
            create(raw, connection_id)
        except httpx.RemoteProtocolError:
            failed.set()

    thread = threading.Thread(target=ask, args=[sim.add_connection()])
    thread.start()
    wait_until(lambda: sim.faults()[0]["hits"])
    assert not failed.is_set()
    sim.clear_faults()
    thread.join(10)
    assert failed.is_set()
    assert sim.jobs() == []


def test_hanging_request_ends_when_the_client_leaves(sim: Simulator, raw: httpx.Client) -> None:
    sim.add_fault(Fault(call="get", kind="hang"))
    with pytest.raises(httpx.ReadTimeout):
        raw.get("/jobs/1", timeout=0.1)
    wait_until(lambda: sim.count("get"))
    assert sim.requests[-1][0::3] == ("get", 0)


def test_tokens_can_end_in_the_middle(sim: Simulator, raw: httpx.Client) -> None:
    sim.add_fault(Fault(call="list", kind="reset_token", times=1))
    before = sim.count("token")
    assert raw.get("/jobs").status_code == 200  # the client has asked for another one
    assert sim.count("token") == before + 1


def test_delay_goes_with_another_fault(sim: Simulator, raw: httpx.Client) -> None:
    sim.add_fault(Fault(call="list", kind="latency", seconds=0.01))
    sim.add_fault(Fault(call="list", status=500))
    sim.add_fault(Fault(call="list", status=502))
    assert raw.get("/jobs").status_code == 500
    assert [fault["hits"] for fault in sim.faults()] == [1, 1, 0]


@pytest.mark.parametrize("wrong", [{"kind": "flood"}, {"every": 0}])
def test_fault_that_makes_no_sense_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"kind|every"):
        Fault(**wrong)


# --- the clock


def date_of(answer: httpx.Response) -> float:
    return parsedate_to_datetime(answer.headers["Date"]).timestamp()


def test_date_is_the_clock_that_stamps_the_jobs(sim: Simulator, http: httpx.Client) -> None:
    sim.advance(1_000_000)
    assert date_of(http.get("/jobs")) == pytest.approx(sim.now(), abs=2)
    sim.clock_skew = -7200.0
    assert date_of(http.get("/jobs")) == pytest.approx(sim.now() - 7200, abs=2)
    assert sim.add_job(sim.add_connection())["createdAt"] == pytest.approx(sim.now(), abs=2)


def test_date_can_be_missing(sim: Simulator, http: httpx.Client) -> None:
    sim.send_date = False
    assert "Date" not in http.get("/jobs").headers


# --- five threads


def test_only_so_many_are_worked_on_and_a_waiting_post_keeps_its_thread() -> None:
    with Simulator(auth="none", release="2.0", handler_threads=2) as sim:
        connections = sim.add_connections(2, Script(pending=600, duration=1e6))
        with httpx.Client(base_url=sim.url, trust_env=False, timeout=60) as client, ThreadPoolExecutor() as pool:
            posts = [pool.submit(create, client, connection_id) for connection_id in connections]
            wait_until(lambda: len(sim.jobs()) == 2)
            with pytest.raises(httpx.ReadTimeout):
                client.get("/jobs", timeout=0.2)
            sim.advance(700)
            assert [post.result().json()["status"] for post in posts] == ["running", "running"]
            assert client.get("/jobs").status_code == 200
    assert sim.peak_in_flight == 3


def test_span_of_a_request_is_open_until_it_is_answered(sim: Simulator, http: httpx.Client) -> None:
    hanging = sim.add_fault(Fault("list", "hang"))
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(http.get, "/jobs")
        wait_until(lambda: sim.spans)
        http.get("/health")
        (first, began, ended), (second, came, answered) = sim.spans
        assert (first, second, ended) == ("list", "health", None)
        assert answered is not None
        assert began < came <= answered
        sim.clear_faults(hanging)
        assert isinstance(asked.exception(), httpx.RemoteProtocolError)
    wait_until(lambda: sim.spans[0][2] is not None)
    over = sim.spans[0][2]
    assert over is not None
    assert over > answered


def test_health_has_threads_of_its_own() -> None:
    with (
        Simulator(auth="none", handler_seconds=3600) as sim,
        httpx.Client(base_url=sim.url, trust_env=False, timeout=60) as client,
    ):
        with pytest.raises(httpx.ReadTimeout):
            client.get("/jobs", timeout=0.2)
        assert client.get("/health").status_code == 200
