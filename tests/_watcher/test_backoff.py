"""How long the pauses are after sweeps that fail, and for an Airbyte that is slow or throttles."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable.api.errors import Unreachable
from airbyte_deferrable.api.models import Job
from helpers.followers import NEVER, POLL, START, Told, asked_since, follow, running, watch_for
from helpers.model_airbyte import Fault, ModelAirbyte, run_in_virtual_time


@pytest.mark.parametrize("seconds", [3.0, 14.0])
def test_sweep_that_fails_is_made_up_for_by_the_next(seconds: float) -> None:
    ends = [running(number, START + 30 + number * 0.01) for number in range(1, 401)]
    told = watch_for(ModelAirbyte(ends, [Fault(START + 33, seconds)]), 90)
    assert max(each.ended_at or NEVER for each in told.values()) <= START + 33 + seconds + 2 * POLL


def test_sweep_that_fails_after_many_good_ones_is_made_up_for_soon() -> None:
    told = watch_for(ModelAirbyte([running(1, START + 98), running(2)], [Fault(START + 99, 2)]), 120)
    assert (told[1].ended_at or NEVER) <= START + 100 + POLL / 2 + 1


@pytest.mark.parametrize("kind", ["throttled", "down"])
@pytest.mark.parametrize("every", [3, 5])
def test_server_that_sheds_part_of_its_load_is_asked_no_more_than_one_that_is_well(kind: str, every: int) -> None:
    jobs = [running(1), running(2)]
    well, shedding = ModelAirbyte(jobs), ModelAirbyte(jobs, [Fault(START + 100, NEVER, kind, every=every)])
    for server in (well, shedding):
        watch_for(server, 1100)
    # Beyond: checks of what nobody has confirmed for long, tried again.
    assert asked_since(shedding, START + 100) <= 1.05 * asked_since(well, START + 100)


def test_slow_airbyte_is_asked_in_proportion_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airbyte_deferrable")
    server = ModelAirbyte([running(number) for number in range(1, 51)])
    server.latency = 2.0
    watch_for(server, 600)
    # Four times as slow as a healthy one at the most.
    assert asked_since(server, START + 60) <= 540 / (4 * POLL) + 8
    [line] = [each.getMessage() for each in caplog.records if "is asked each" in each.getMessage()]
    assert line == "This Airbyte takes 2.0 s to answer: it is asked each 20 s instead of 5 s"


def test_answer_that_takes_long_once_is_no_slow_airbyte(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airbyte_deferrable")

    class Hiccup(ModelAirbyte):
        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            if START + 100 < asyncio.get_running_loop().time() < START + 130:
                await asyncio.sleep(20)
            return await super().list_jobs(**query)

    watch_for(Hiccup([running(number) for number in range(1, 51)]), 300)
    assert not [each for each in caplog.records if "is asked each" in each.getMessage()]


def test_airbyte_that_throttles_is_asked_less_until_it_has_been_well_for_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="airbyte_deferrable")

    class Throttling(ModelAirbyte):
        """Sheds what comes within 12 s of the request before, until a moment."""

        last = 0.0

        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            now = asyncio.get_running_loop().time()
            before, self.last = self.last, now
            answer = await super().list_jobs(**query)
            if now < START + 1000 and START + 60 < now < before + 12:
                raise Unreachable("GET /jobs", "later", 429)
            return answer

    server = Throttling([running(number) for number in range(1, 51)])
    watch_for(server, 2000)
    assert asked_since(server, START + 200) - asked_since(server, START + 1000) <= 800 / 9
    assert asked_since(server, START + 1800) >= 200 / POLL - 5
    lines = [each.getMessage() for each in caplog.records if "This Airbyte" in each.getMessage()]
    assert lines[0] == "This Airbyte wants to be asked less often: it is asked each 10 s instead of 5 s"
    assert lines[-1] == "This Airbyte is asked each 5 s again"


def test_server_that_sheds_load_is_asked_ever_less() -> None:
    server = ModelAirbyte([running(1), running(2)], [Fault(START + 20, NEVER, "throttled")])
    watch_for(server, 620)
    assert asked_since(server, START + 120) <= 500 / 42 + 1


@pytest.mark.parametrize(("status", "retry_after"), [(429, None), (429, 40.0), (503, 40.0)])
def test_server_that_sheds_load_is_not_asked_for_each_task_that_comes(status: int, retry_after: float | None) -> None:
    class Shedding(ModelAirbyte):
        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            return self.shed(await super().list_jobs(**query))

        async def get_job(self, job_id: int) -> Job:
            return self.shed(await super().get_job(job_id))

        def shed(self, answer: Any) -> Any:
            if asyncio.get_running_loop().time() >= START + 21:
                raise Unreachable("GET /jobs", "later", status, retry_after=retry_after)
            return answer

    server = Shedding([running(number) for number in range(1, 101)])

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(follow(watcher, each, Told(), 20.0)) for each in (1, 2)]
        await asyncio.sleep(22)
        # They come three at a time, so that the list is of use for them.
        for number in range(3, 93, 3):
            tasks += [asyncio.ensure_future(follow(watcher, number + more, Told(), 20.0)) for more in range(3)]
            await asyncio.sleep(1.5)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    (first, *more) = [at for at, _, _ in server.calls if at >= START + 21]
    assert first <= START + 22 + Pace().recent + Pace().gather + 1
    # It is left alone for as long as after a sweep that fails.
    assert all(at >= first + (retry_after or 20.0) for at in more)


def test_retry_after_is_kept_to_within_reason() -> None:
    class Throttled(ModelAirbyte):
        wanted = 100.0

        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            await super().list_jobs(**query)
            raise Unreachable("GET /jobs", "later", 429, retry_after=self.wanted)

    server = Throttled([running(1), running(2)])
    watch_for(server, 950)
    assert server.requests == 10
    server = Throttled([running(1), running(2)])
    server.wanted = 1e6
    watch_for(server, 950)
    assert server.requests == 4
