"""When the loop begins and ends, and who shares one."""

from __future__ import annotations

import asyncio

from airbyte_deferrable._watcher.loop import JobWatcher, watcher_for
from airbyte_deferrable.api.settings import Settings
from helpers.followers import POLL, START, Told, follow, running
from helpers.model_airbyte import ModelAirbyte, run_in_virtual_time


def test_session_is_closed_some_time_after_the_last_waiter() -> None:
    server = ModelAirbyte([running(1, START + 10)])

    async def go() -> list[int]:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        await follow(watcher, 1, Told())
        await asyncio.sleep(50)
        before = server.closed
        await asyncio.sleep(20)
        return [before, server.closed]

    assert run_in_virtual_time(go()) == [0, 1]


def test_steady_trickle_of_tasks_does_not_reconnect() -> None:
    server = ModelAirbyte([running(number, START + number * 40) for number in range(1, 6)])

    async def go() -> int:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        for number in range(1, 6):
            await follow(watcher, number, Told())
            await asyncio.sleep(30)
        return server.closed

    assert run_in_virtual_time(go()) == 0


def test_watcher_works_again_after_it_has_closed() -> None:
    server = ModelAirbyte([running(1, START + 10), running(2, START + 300), running(3, START + 310)])

    async def go() -> list[float | None]:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        await follow(watcher, 1, Told())
        await asyncio.sleep(200)
        later = [Told(), Told()]
        await asyncio.gather(follow(watcher, 2, later[0]), follow(watcher, 3, later[1]))
        return [each.ended_at for each in later]

    ended = run_in_virtual_time(go())
    assert all(at is not None and at <= START + 310 + POLL + 1 for at in ended)


def test_client_may_be_borrowed_while_nobody_waits() -> None:
    server = ModelAirbyte([running(1, START + 10), running(2, START + 200)])

    async def go() -> tuple[int, float | None, list[str]]:
        failures: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(str(context)))
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        await follow(watcher, 1, Told())
        for _ in range(4):
            await watcher.borrow_client().get_job(1)
            await asyncio.sleep(40)
        closed, told = server.closed, Told()
        await follow(watcher, 2, told)
        return closed, told.ended_at, failures

    closed, ended_at, failures = run_in_virtual_time(go())
    assert (closed, failures) == (0, [])
    assert ended_at is not None


async def test_same_settings_share_a_watcher_and_others_do_not() -> None:
    here, there = Settings("http://a.example"), Settings("http://b.example")
    assert watcher_for(here) is watcher_for(Settings("http://a.example"))
    assert watcher_for(here) is not watcher_for(there)
