"""An outage is notified once when it begins and once when it is over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable.api.errors import ApiError, BadCredentials, Unreachable
from airbyte_deferrable.api.models import Job
from helpers.followers import NEVER, POLL, START, Told, follow, running, watch_for
from helpers.model_airbyte import Fault, ModelAirbyte, run_in_virtual_time


def test_outage_is_notified_to_all_once_when_it_begins_and_once_when_it_is_over() -> None:
    server = ModelAirbyte([running(number, START + 900) for number in range(1, 11)], [Fault(START + 60, 600)])
    told = watch_for(server, 1000)
    for each in told.values():
        (_, began), (ended_at, ended) = each.outages
        assert began.error is not None
        assert ended.error is None
        assert ended.seconds == pytest.approx(600, abs=15)
        assert ended_at <= START + 660 + 2 * POLL


def test_credentials_that_are_refused_are_news_in_the_middle_of_an_outage() -> None:
    """An Airbyte that was down to be given other credentials: these want a user, or the connection's new ones."""
    kinds = ("down", "unauthorized", "down", "unauthorized")
    faults = [Fault(START + 60 + 100 * number, 100, kind) for number, kind in enumerate(kinds)]
    server = ModelAirbyte([running(1, START + 900)], faults)
    (told,) = watch_for(server, 1000).values()
    assert [type(outage.error) for _, outage in told.outages] == [Unreachable, BadCredentials, type(None)]
    assert told.outages[-1][1].seconds == pytest.approx(400, abs=15)


def test_failed_sweep_alone_is_no_outage() -> None:
    server = ModelAirbyte([running(1, START + 90), running(2, START + 90)], [Fault(START + 29, 2)])
    told = watch_for(server, 120)
    assert [each.outages for each in told.values()] == [[], []]


@pytest.mark.parametrize("pause", [30, 7000], ids=["the loop lingers", "the loop has ended"])
def test_outage_that_ended_while_nobody_waited_is_notified_to_nobody(pause: int) -> None:
    server = ModelAirbyte([running(1), running(2, START + 8000)], [Fault(START + 20, 90)])
    told = {1: Told(), 2: Told()}

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        first = asyncio.ensure_future(follow(watcher, 1, told[1]))
        await asyncio.sleep(100)
        first.cancel()
        await asyncio.sleep(pause)
        await follow(watcher, 2, told[2])

    run_in_virtual_time(go())
    assert [outage.error is not None for _, outage in told[1].outages] == [True]
    assert told[2].outages == []


def test_outage_that_began_while_nobody_waited_is_notified_with_its_own_length() -> None:
    server = ModelAirbyte([running(1), running(2, START + 8000)], [Fault(START + 20, 200), Fault(START + 7000, 300)])
    told = Told()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        first = asyncio.ensure_future(follow(watcher, 1, Told()))
        await asyncio.sleep(100)
        first.cancel()
        await asyncio.sleep(7000)
        await follow(watcher, 2, told)

    run_in_virtual_time(go())
    (began_at, began), (_, ended) = told.outages
    # Two sweeps that fail, as for those who were there from the beginning.
    assert began.error is not None
    assert START + 7100 + POLL / 2 <= began_at <= START + 7100 + 3 * POLL
    assert ended.seconds == pytest.approx(200, abs=2 * POLL)


def test_job_that_alone_cannot_be_read_has_an_outage_of_its_own() -> None:
    jobs = [running(number, START + 100) for number in range(1, 11)] + [running(11, listed=False), running(12)]
    server = ModelAirbyte(jobs, [Fault(START, NEVER, "down", "get", job_id=11)])
    told = watch_for(server, 130)
    assert all(told[number].ended_at is not None and not told[number].outages for number in range(1, 11))
    assert [outage.error is not None for _, outage in told[11].outages] == [True]


def test_errors_of_any_kind_are_api_errors_to_those_who_wait() -> None:
    server = ModelAirbyte([running(1)], [Fault(START, NEVER)])
    told = watch_for(server, 60)
    assert [isinstance(outage.error, ApiError) for _, outage in told[1].outages] == [True]


def test_error_in_the_watcher_itself_leaves_nobody_waiting_for_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ModelAirbyte):
        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            if asyncio.get_running_loop().time() < START + 30:
                raise ValueError("never thought of")
            return await super().list_jobs(**query)

    told = watch_for(Broken([running(1, START + 60), running(2, START + 60)]), 90)
    assert all(each.ended_at is not None for each in told.values())
    assert "never thought of" in caplog.text
