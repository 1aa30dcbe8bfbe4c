"""What the watcher's own log says."""

from __future__ import annotations

import asyncio
import logging

import pytest

from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable.api.models import Job
from helpers.followers import NEVER, POLL, START, Told, follow, running, watch_for
from helpers.model_airbyte import Fault, ModelAirbyte, run_in_virtual_time


@pytest.mark.parametrize("poll", [POLL, 60.0, 600.0])
@pytest.mark.parametrize("faults", [[], [Fault(START + 60, 1000)]], ids=["no outage", "outage"])
def test_log_says_once_a_minute_what_is_waited_for_however_rare_the_sweeps(
    caplog: pytest.LogCaptureFixture, poll: float, faults: list[Fault]
) -> None:
    with caplog.at_level(logging.INFO, "airbyte_deferrable"):
        watch_for(ModelAirbyte([running(1), running(2)], faults), 3610, poll=poll)
    assert sum("Waiting for 2 jobs" in record.getMessage() for record in caplog.records) == 60


def test_long_sweep_holds_up_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """It lasts five minutes, for 500 jobs are asked for one by one."""
    server = ModelAirbyte([running(number) for number in range(1, 501)], [Fault(START, NEVER, "forbidden", "list")])
    server.latency = 0.6
    with caplog.at_level(logging.INFO, "airbyte_deferrable"):
        watch_for(server, 190, poll=600.0)
    assert sum("Waiting for 500 jobs" in record.getMessage() for record in caplog.records) == 3


def test_log_says_nothing_while_nothing_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    server = ModelAirbyte([running(1, START + 30), running(2, START + 70)])

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        await asyncio.gather(*(follow(watcher, each, Told()) for each in (1, 2)))
        # It lingers for a minute, and has ended long before the hour is over.
        await asyncio.sleep(3600)

    with caplog.at_level(logging.INFO, "airbyte_deferrable"):
        run_in_virtual_time(go())
    assert sum("Waiting for" in record.getMessage() for record in caplog.records) == 1


def test_quiet_watcher_says_nothing_even_in_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    server = ModelAirbyte(
        [running(1), running(2)], [Fault(START + 100, 100), Fault(START + 300, 50, "forbidden", "list")]
    )

    async def go() -> None:
        watcher = JobWatcher(server, quiet=True)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(follow(watcher, each, Told())) for each in (1, 2)]
        await asyncio.sleep(400)
        for task in tasks:
            task.cancel()

    with caplog.at_level(logging.DEBUG, "airbyte_deferrable"):
        run_in_virtual_time(go())
    assert caplog.records == []


def test_quiet_watcher_does_not_hide_what_is_wrong_in_itself(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ModelAirbyte):
        async def get_job(self, job_id: int) -> Job:
            raise ValueError("never thought of")

    async def go() -> None:
        watcher = JobWatcher(Broken([running(1)]), quiet=True)  # type: ignore[arg-type]
        await asyncio.wait({asyncio.ensure_future(follow(watcher, 1, Told()))}, timeout=20)

    run_in_virtual_time(go())
    assert "never thought of" in caplog.text
