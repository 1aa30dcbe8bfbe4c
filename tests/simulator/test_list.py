"""GET /jobs."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airbyte_deferrable.simulator import Script, Simulator
from airbyte_deferrable.simulator.index import page

Connect = Callable[[Simulator], httpx.Client]
LONG = Script(duration=10_000, pending=0)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def ids(http: httpx.Client, **params: Any) -> list[int]:
    answer = http.get("/jobs", params=params)
    assert answer.status_code == 200, answer.text
    return [job["jobId"] for job in answer.json()["data"]]


def iso(seconds: float) -> str:
    return (EPOCH + timedelta(microseconds=round(seconds * 1e6))).isoformat().replace("+00:00", "Z")


@pytest.fixture
def jobs(sim: Simulator) -> list[dict]:
    """Five jobs, an hour apart; the later one was created, the earlier it was updated."""
    for hours, connection_id in enumerate(sim.add_connections(5)):
        created_ago = (10 - hours) * 3600
        ended = created_ago - hours * 60 - 60
        sim.add_job(connection_id, Script(statuses=[(1, "running"), (ended, "succeeded")]), created_ago)
    return sim.jobs()


def test_oldest_come_first(http: httpx.Client, jobs: list[dict]) -> None:
    assert ids(http) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("createdAt|ASC", [1, 2, 3, 4, 5]),
        ("createdAt|DESC", [5, 4, 3, 2, 1]),
        ("updatedAt|ASC", [5, 4, 3, 2, 1]),
        ("updatedAt|DESC", [1, 2, 3, 4, 5]),
    ],
)
def test_orders(http: httpx.Client, jobs: list[dict], order: str, expected: list[int]) -> None:
    assert ids(http, orderBy=order) == expected
    assert ids(http, orderBy=order, limit=2, offset=1) == expected[1:3]


@pytest.mark.parametrize(
    "order", ["id", "createdAt", "updatedAt", "createdAt|UP", "status|ASC", "createdAt,ASC", "createdAt|asc"]
)
def test_unknown_order_is_a_bad_request(http: httpx.Client, order: str) -> None:
    answer = http.get("/jobs", params={"orderBy": order})
    assert answer.status_code == 400
    assert answer.json()["title"] == "bad-request"


def test_twenty_rows_a_page_unless_told(sim: Simulator, http: httpx.Client) -> None:
    sim.add_jobs(sim.add_connections(120, LONG))
    assert len(ids(http)) == 20
    assert len(ids(http, limit=100)) == 100
    assert ids(http, limit=100, offset=100) == list(range(101, 121))
    assert ids(http, offset=500) == []


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 101}, {"offset": -1}])
def test_page_out_of_bounds_is_refused(http: httpx.Client, params: dict[str, int]) -> None:
    answer = http.get("/jobs", params=params)
    assert answer.status_code == 400
    assert "errorId" in answer.json()


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "many"},
        {"status": "sleeping"},
        {"jobType": "dance"},
        {"workspaceIds": "no-uuid"},
        {"updatedAtStart": "yesterday"},
        {"updatedAtStart": "1687450500000"},
        {"updatedAtStart": "2023-06-22T16:15:00"},
        {"updatedAtStart": "2023-06-22T16:15:00 00:00"},  # a + that was not percent-encoded
    ],
)
def test_parameter_that_cannot_be_converted_is_micronauts_error(http: httpx.Client, params: dict[str, str]) -> None:
    answer = http.get("/jobs", params=params)
    assert answer.status_code == 400
    assert answer.json()["message"] == "Bad Request"


@pytest.mark.parametrize("field", ["createdAt", "updatedAt"])
def test_time_bounds_are_inclusive_to_the_microsecond(http: httpx.Client, jobs: list[dict], field: str) -> None:
    stamp = jobs[2][field]
    step = 1e-6
    assert 3 in ids(http, **{f"{field}Start": iso(stamp), f"{field}End": iso(stamp)})
    assert 3 not in ids(http, **{f"{field}Start": iso(stamp + step)})
    assert 3 not in ids(http, **{f"{field}End": iso(stamp - step)})


@pytest.mark.parametrize("order", ["createdAt|ASC", "createdAt|DESC", "updatedAt|ASC", "updatedAt|DESC"])
@pytest.mark.parametrize("status", [None, "succeeded", "failed"])
@pytest.mark.parametrize("field", ["createdAt", "updatedAt"])
def test_filters_and_orders_agree_with_a_plain_reading(
    http: httpx.Client, jobs: list[dict], field: str, status: str | None, order: str
) -> None:
    start = sorted(job[field] for job in jobs)[2]
    by, direction = order.split("|")
    expected = [job for job in jobs if job[field] >= start and status in (None, job["status"])]
    expected.sort(key=lambda job: job[by], reverse=direction == "DESC")
    params = {f"{field}Start": iso(start), "orderBy": order} | ({"status": status} if status else {})
    assert ids(http, **params) == [job["id"] for job in expected]


@pytest.mark.parametrize("text", ["{:%Y-%m-%dT%H:%MZ}", "{:%Y-%m-%dT%H:%M:%S+00:00}", "{:%a, %d %b %Y %H:%M:%S GMT}"])
def test_times_that_micronaut_reads(sim: Simulator, http: httpx.Client, text: str) -> None:
    moment = datetime(2026, 5, 4, 12, 30, tzinfo=timezone.utc)
    connection_id = sim.add_connection(script=Script(duration=1))
    for second in (-1, 0, 1):
        sim.add_job(connection_id, created_at=moment.timestamp() + second)
    assert ids(http, createdAtStart=text.format(moment)) == [2, 3]


def test_offset_from_utc_counts(sim: Simulator, http: httpx.Client) -> None:
    moment = datetime(2026, 5, 4, 12, 30, tzinfo=timezone.utc)
    sim.add_job(sim.add_connection(script=Script(duration=1)), created_at=moment.timestamp())
    assert ids(http, createdAtStart="2026-05-04T14:30:00+02:00") == [1]
    assert ids(http, createdAtStart="2026-05-04T14:30:00+01:00") == []


def test_list_takes_one_status_at_a_time(sim: Simulator, http: httpx.Client) -> None:
    first, second, third = sim.add_jobs(sim.add_connections(3, LONG))
    sim.advance(5)
    sim.finish(second, "succeeded")
    assert ids(http, status="running") == [first, third]
    assert ids(http, status="succeeded") == [second]
    assert ids(http, status="queued") == []


def test_job_type_narrows_and_none_means_all(sim: Simulator, http: httpx.Client) -> None:
    connection_id = sim.add_connection(script=Script(duration=1))
    for kind in ("sync", "reset", "refresh"):
        sim.add_job(connection_id, job_type=kind)
    assert ids(http) == [1, 2, 3]
    assert ids(http, jobType="refresh") == [3]


def test_release_2_lists_only_syncs_and_resets_unless_told(connect: Connect) -> None:
    with Simulator(release="2.0") as sim:
        connection_id = sim.add_connection(script=Script(duration=1))
        for kind in ("sync", "reset", "refresh"):
            sim.add_job(connection_id, job_type=kind)
        http = connect(sim)
        assert ids(http) == [1, 2]
        assert ids(http, jobType="refresh") == [3]


def test_connection_wins_over_workspaces(sim: Simulator, http: httpx.Client) -> None:
    one, two = sim.add_connections(2, LONG)
    sim.add_jobs([one, two])
    assert ids(http, connectionId=two, workspaceIds=str(uuid.uuid4())) == [2]


@pytest.mark.parametrize("joined", [True, False], ids=["joined by commas", "repeated"])
def test_workspaces_narrow(sim: Simulator, http: httpx.Client, joined: bool) -> None:
    spaces = [str(uuid.uuid4()) for _ in range(3)]
    for space in spaces:
        sim.add_job(sim.add_connection(script=LONG, workspace_id=space))
    wanted: object = ",".join(spaces[:2]) if joined else spaces[:2]
    assert ids(http, workspaceIds=wanted) == [1, 2]
    assert ids(http, workspaceIds=spaces[2]) == [3]


def test_unknown_connection_has_no_jobs_for_an_admin_and_is_forbidden_to_others(
    sim: Simulator, http: httpx.Client
) -> None:
    params = {"connectionId": str(uuid.uuid4())}
    assert http.get("/jobs", params=params).json() == {"previous": "", "next": "", "data": []}
    sim.instance_admin = False
    assert http.get("/jobs", params=params).status_code == 403


def test_next_is_there_on_the_last_page_and_forgets_the_filters(sim: Simulator, http: httpx.Client) -> None:
    connection_id = sim.add_connection(script=LONG)
    sim.add_job(connection_id)
    params: dict[str, Any] = {
        "connectionId": connection_id,
        "status": "running",
        "orderBy": "updatedAt|DESC",
        "limit": 50,
    }
    sim.advance(5)
    link = urlsplit(http.get("/jobs", params=params).json()["next"])
    assert f"{link.scheme}://{link.netloc}{link.path}" == "http://localhost:8001/api/public/v1/jobs"
    assert dict(parse_qsl(link.query, keep_blank_values=True)) == {
        "jobType": "",
        "connectionId": connection_id,
        "limit": "50",
        "offset": "50",
    }
    empty = http.get("/jobs", params={**params, "offset": 50}).json()
    assert empty["next"] == ""
    assert empty["previous"].count("limit=50") == 2
    assert empty["previous"].endswith("&offset=0")


def test_rows_of_one_stamp_come_in_any_order_each_time_anew(sim: Simulator, http: httpx.Client) -> None:
    for connection_id in sim.add_connections(10, Script(duration=1)):
        sim.add_job(connection_id, created_at=1_700_000_000)
    orders = {tuple(ids(http)) for _ in range(20)}
    assert len(orders) > 1
    assert all(sorted(order) == list(range(1, 11)) for order in orders)
    pages = Counter(job for offset in range(0, 10, 2) for job in ids(http, limit=2, offset=offset))
    assert set(pages) <= set(range(1, 11))


@settings(deadline=None)
@given(
    stamps=st.lists(st.integers(0, 8), max_size=30).map(sorted),
    offset=st.integers(0, 12),
    limit=st.integers(1, 12),
    descending=st.booleans(),
    random=st.randoms(use_true_random=False),
)
def test_page_has_the_stamps_that_a_sorted_list_has_there(
    stamps: list[int], offset: int, limit: int, descending: bool, random: Random
) -> None:
    entries = [(stamp, number) for number, stamp in enumerate(stamps)]
    found = page(entries, 0, len(entries), offset=offset, limit=limit, descending=descending, random=random)
    expected = sorted(stamps, reverse=descending)[offset : offset + limit]
    assert [stamps[number] for number in found] == expected
    assert len(set(found)) == len(found)


def test_counts_of_live_jobs_are_in_the_list(sim: Simulator, http: httpx.Client) -> None:
    sim.add_job(sim.add_connection(), Script(duration=1000, rows=1000, pending=0))
    sim.advance(500)
    (job,) = http.get("/jobs").json()["data"]
    assert job["rowsSynced"] == pytest.approx(500, abs=60)


def test_list_of_thirty_thousand_live_jobs_is_right_while_they_change(sim: Simulator, http: httpx.Client) -> None:
    jobs = sim.add_jobs(sim.add_connections(30_000, Script(duration=10_000, pending=5)))
    sim.advance(3000)
    since = iso(sim.now())
    assert ids(http, status="running", limit=100, offset=29_950) == jobs[29_950:]
    for job in jobs[::3000]:
        sim.finish(job, "succeeded")
    assert ids(http, updatedAtStart=since, orderBy="createdAt|ASC", limit=100) == jobs[::3000]
    assert ids(http, status="succeeded") == jobs[::3000]
    assert ids(http, status="pending") == []


def test_change_can_become_visible_after_a_younger_one(connect: Connect) -> None:
    with Simulator(commit_lag=1000.0, seed=1) as sim:
        http = connect(sim)
        sim.add_jobs(sim.add_connections(50, Script(statuses=[(1, "succeeded")])))
        known: set[float] = set()
        came_late = False
        for _ in range(11):
            sim.advance(100)
            stamps = {job["updatedAt"] for job in sim.jobs(status="succeeded")}
            came_late |= bool(known) and min(stamps - known, default=max(known)) < max(known)
            known |= stamps
        assert came_late
        assert sorted(ids(http, status="succeeded", limit=100)) == list(range(1, 51))
