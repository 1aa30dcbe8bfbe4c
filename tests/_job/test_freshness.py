"""Which jobs are fresh, which of several is the one, and what is asked for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from airbyte_deferrable._job import freshness
from airbyte_deferrable._job.freshness import FreshSync, find_fresh, wait_for_fresh
from airbyte_deferrable._job.wait import Deadlines
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.models import Job
from airbyte_deferrable.api.settings import ClientCredentials, Settings
from airbyte_deferrable.simulator import Simulator
from helpers.airbyte import ENDLESS
from helpers.freshness import MOMENT, ended

CONNECTION = "a1b7e000-0000-4000-8000-000000000001"


@pytest_asyncio.fixture
async def client(airbyte_simulator: Simulator) -> AsyncIterator[AirbyteClient]:
    sim = airbyte_simulator
    async with AirbyteClient(Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret))) as client:
        yield client


def job(job_id: int, status: str = "succeeded", **changed: Any) -> Job:
    told = {
        "connection_id": CONNECTION,
        "start_time": "2026-01-01T12:00Z",
        "last_updated_at": "2026-01-01T12:00:05Z",
        **changed,
    }
    return Job(job_id=job_id, status=status, **told)


def wanted(**changed: Any) -> FreshSync:
    return FreshSync(**{"connection_id": CONNECTION, "after": MOMENT, **changed})


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ({}, True),
        ({"last_updated_at": "2026-01-01T12:00Z"}, True),
        ({"last_updated_at": "2026-01-01T11:59:59Z"}, False),
        ({"last_updated_at": "2026-01-01T14:00:00+02:00"}, True),
        ({"status": "running"}, False),
        ({"status": "a status of tomorrow"}, False),
        ({"job_type": "reset"}, False),
        ({"connection_id": CONNECTION.upper()}, True),
        ({"connection_id": "a1b7e000-0000-4000-8000-000000000002"}, False),
        ({"last_updated_at": None, "start_time": None}, False),
    ],
)
def test_job_counts_if_it_ended_at_the_moment_or_later(changed: dict[str, Any], counts: bool) -> None:
    assert wanted().counts(job(1, **changed)) is counts


@pytest.mark.parametrize(("start", "counts"), [("2026-01-01T12:00Z", True), ("2026-01-01T11:59:59Z", False)])
def test_job_that_must_have_started_counts_by_its_creation(start: str, counts: bool) -> None:
    assert wanted(must_have="started").counts(job(1, start_time=start)) is counts


@pytest.mark.parametrize(
    ("statuses", "if_waits", "if_fails"),
    [
        ("", None, None),
        ("failed", None, 1),
        ("cancelled", None, 1),
        ("failed cancelled", None, 2),
        ("succeeded", 1, 1),
        ("succeeded succeeded", 1, 1),
        ("failed succeeded", 2, 2),
        ("succeeded failed", 1, 1),
        ("running failed", None, 2),
    ],
)
def test_first_success_decides_and_else_the_newest_failure(
    statuses: str, if_waits: int | None, if_fails: int | None
) -> None:
    jobs = [job(number, status) for number, status in enumerate(statuses.split(), 1)]
    for rule, decides in (("wait", if_waits), ("fail", if_fails)):
        found = wanted(if_failed=rule).decided_by(reversed(jobs))
        assert (found.job_id if found else None) == decides


async def test_question_is_one_request_among_thousands_of_jobs(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    cid, other = airbyte_simulator.add_connection(), airbyte_simulator.add_connection()
    for number in range(300):
        ended(airbyte_simulator, cid, number - 500)
        ended(airbyte_simulator, cid, number, "failed")
        ended(airbyte_simulator, cid, number, job_type="reset")
        ended(airbyte_simulator, other, number)
    first = ended(airbyte_simulator, cid, 1000)
    for number in range(300):
        ended(airbyte_simulator, cid, 1001 + number)
    for rule in ("wait", "fail"):
        before = airbyte_simulator.count("list")
        found = await find_fresh(client, wanted(connection_id=cid, if_failed=rule))
        assert found is not None
        assert found.job_id == first
        assert airbyte_simulator.count("list") == before + 1


async def test_question_for_several_types_reads_on_until_one_counts(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    cid = airbyte_simulator.add_connection()
    for number in range(250):
        ended(airbyte_simulator, cid, number)
    reset = ended(airbyte_simulator, cid, 300, job_type="reset")
    types = frozenset({"reset", "refresh"})
    found = await find_fresh(client, wanted(connection_id=cid, job_types=types))
    assert found is not None
    assert (found.job_id, found.job_type) == (reset, "reset")
    assert airbyte_simulator.count("list") == 3


async def test_question_for_failures_is_not_answered_by_what_runs_or_is_old(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    cid = airbyte_simulator.add_connection()
    ended(airbyte_simulator, cid, -20, "failed")
    airbyte_simulator.add_job(cid, script=ENDLESS)
    asked = wanted(connection_id=cid, if_failed="fail")
    assert await find_fresh(client, asked) is None
    ended(airbyte_simulator, cid, 20, "failed")
    newest = ended(airbyte_simulator, cid, 40, "cancelled")
    found = await find_fresh(client, asked)
    assert found is not None
    assert found.job_id == newest


@pytest.mark.parametrize("seed", range(4))
async def test_question_and_wait_agree_with_the_rule_whatever_has_happened(
    airbyte_simulator: Simulator, client: AirbyteClient, seed: int
) -> None:
    random, sim = Random(seed), airbyte_simulator
    asked: list[FreshSync] = []
    for _ in range(40):
        cid = sim.add_connection()
        at = -60
        for _ in range(random.randrange(8)):
            at += random.choice((10, 11, 30))
            kind = random.choice(("sync", "sync", "reset", "refresh"))
            ended(sim, cid, at, random.choice(("succeeded", "failed", "cancelled")), job_type=kind)
        asked.append(
            wanted(
                connection_id=cid,
                must_have=random.choice(("ended", "started")),
                if_failed=random.choice(("wait", "fail")),
                job_types=frozenset(random.choice((("sync",), ("refresh",), ("sync", "reset")))),
            )
        )

    log, watcher = logging.getLogger("task"), JobWatcher(client, quiet=True)

    async def waited_for(each: FreshSync) -> int:
        return (await wait_for_fresh(watcher, each, Deadlines(None, None), poll_interval=0.1, log=log)).job_id

    decided = 0
    for each in asked:
        rule = each.decided_by(await client.list_jobs(connection_id=each.connection_id))
        found = await find_fresh(client, each)
        assert found == rule
        if rule is not None:
            assert await asyncio.wait_for(waited_for(each), 20) == rule.job_id
            decided += 1
    assert 0 < decided < len(asked)


async def test_question_knows_what_started_from_what_ended(airbyte_simulator: Simulator, client: AirbyteClient) -> None:
    cid = airbyte_simulator.add_connection()
    across = ended(airbyte_simulator, cid, 5)
    assert await find_fresh(client, wanted(connection_id=cid, must_have="started")) is None
    after = ended(airbyte_simulator, cid, 15)
    for must_have, first in (("ended", across), ("started", after)):
        found = await find_fresh(client, wanted(connection_id=cid, must_have=must_have))
        assert found is not None
        assert found.job_id == first


def test_what_is_waited_for_is_said_in_words() -> None:
    asked = wanted(after=MOMENT + timedelta(seconds=5), must_have="started", job_types=frozenset({"sync", "refresh"}))
    assert str(asked) == (
        f"a refresh or sync of connection {CONNECTION} that started at 2026-01-01 12:00:05 UTC or later"
    )


async def test_checks_that_connections_are_there_are_spread_though_their_waits_began_together(
    airbyte_simulator: Simulator, client: AirbyteClient
) -> None:
    """The first, and those after one reading that has answered all at the same moment."""
    watcher, loop = JobWatcher(client, quiet=True), asyncio.get_running_loop()
    cids = airbyte_simulator.add_connections(50)
    with watcher.watch_connections(cids, since=MOMENT, poll_interval=0.1) as subscription:
        standings = [freshness._Standing(watcher, cid, subscription) for cid in cids]
        for _ in range(2):
            due = sorted(each._next.when() - loop.time() for each in standings)
            assert due[-1] <= freshness.DEFERRED_CONNECTION_AGAIN
            # None is needed at once: the task has just checked.
            assert due[0] > 0.4 * freshness.DEFERRED_CONNECTION_AGAIN
            assert due[-1] - due[0] > 0.2 * freshness.DEFERRED_CONNECTION_AGAIN
            await asyncio.gather(*(each._ask() for each in standings))
        for each in standings:
            each.stop()
