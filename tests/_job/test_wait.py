"""A wait ends with the job, with Airbyte's word that it is not there, or with time; and says what happens meanwhile."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from airbyte_deferrable._job.events import Event
from airbyte_deferrable._job.wait import FINAL_CHECK_WITHIN, Deadlines, wait_for_end
from airbyte_deferrable._watcher.loop import JobWatcher
from helpers.model_airbyte import Fault, ModelAirbyte, ModelJob, Step, run_in_virtual_time

START = 1000.0
TASK = logging.getLogger("tests.task")


@pytest.fixture(autouse=True)
def seconds_as_in_earnest(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the topic here, in a time that passes only when it may."""
    monkeypatch.setattr("airbyte_deferrable._job.wait.FINAL_CHECK_WITHIN", FINAL_CHECK_WITHIN)


def life(*steps: tuple[float, str], **more: object) -> ModelJob:
    """Return job 7: seconds after the start, and what it is from then on."""
    return ModelJob(7, tuple(Step(START + at, status) for at, status in steps), **more)  # type: ignore[arg-type]


def wait(server: ModelAirbyte, end: float | None = None, kill: float | None = None, progress: float = 0.0) -> Event:
    """Wait for job 7 with these clocks, seconds from now."""
    now = time.time()
    deadlines = Deadlines(None if end is None else now + end, None if kill is None else now + kill)

    async def go() -> Event:
        watcher = JobWatcher(server, quiet=True)  # type: ignore[arg-type]
        return await wait_for_end(
            watcher, 7, deadlines, poll_interval=5, progress_interval=progress, log=TASK, try_number=2
        )

    return run_in_virtual_time(go())


@pytest.mark.parametrize(
    ("status", "told"), [("succeeded", "success"), ("failed", "error"), ("cancelled", "cancelled")]
)
def test_job_ends(status: str, told: str) -> None:
    event = wait(ModelAirbyte([life((0, "running"), (20, status))]))
    assert (event.status, event.reason, event.try_number) == (told, None, 2)
    assert event.job is not None
    assert event.job.status == status


def test_job_is_not_to_be_seen() -> None:
    event = wait(ModelAirbyte([]))
    assert (event.status, event.reason) == ("error", "not_visible")


@pytest.mark.parametrize(("clocks", "told"), [((60, None), "error"), ((None, 60), "timeout"), ((90, 60), "timeout")])
def test_time_is_up(clocks: tuple[float | None, float | None], told: str) -> None:
    event = wait(ModelAirbyte([life((0, "running"))]), *clocks)
    assert (event.status, event.reason) == (told, "timeout")


def test_job_that_has_ended_since_the_last_check_is_no_timeout() -> None:
    event = wait(ModelAirbyte([life((0, "running"), (61, "succeeded"))]), end=62)
    assert event.status == "success"


def test_airbyte_that_is_down_at_the_deadline_is_a_timeout_and_no_success() -> None:
    server = ModelAirbyte([life((0, "running"), (20, "succeeded"))], [Fault(START + 10, 1e9, "hang")], timeout=30)
    event = wait(server, end=60)
    assert (event.status, event.reason) == ("error", "timeout")


# Many waits that are over together, as when a triggerer was down for longer than their deadlines


class Narrow(ModelAirbyte):
    """As the real client has it: four requests are under way at once, and the others wait."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._in_flight = asyncio.Semaphore(4)

    async def _asked(self, call: str, query: dict[str, Any], job_id: int | None) -> None:
        async with self._in_flight:
            await super()._asked(call, query, job_id)


async def wait_too_late(
    watcher: JobWatcher, job_id: int, after: float = 0.0, left: float = -60.0, poll_interval: float = 10
) -> tuple[Event, float]:
    """Begin to wait some seconds from now; return the event, and how long after the wait was over it came."""
    await asyncio.sleep(after)
    loop, end = asyncio.get_running_loop(), time.time() + left
    over_at = loop.time() + max(0.0, left)
    event = await wait_for_end(
        watcher, job_id, Deadlines(end, None), poll_interval=poll_interval, progress_interval=0, log=TASK
    )
    return event, loop.time() - over_at


def all_too_late(server: ModelAirbyte, apart: float = 0.004, **more: float) -> list[tuple[Event, float]]:
    """Let as many wait as there are jobs, one after the other."""

    async def go() -> list[tuple[Event, float]]:
        watcher = JobWatcher(server, quiet=True)  # type: ignore[arg-type]
        waits = (wait_too_late(watcher, job.job_id, number * apart, **more) for number, job in enumerate(server.jobs))
        return await asyncio.gather(*waits)

    return run_in_virtual_time(go())


def ended_jobs(count: int, end: float = START - 100) -> list[ModelJob]:
    return [ModelJob(n, (Step(START - 300 + n / 100, "running"), Step(end, "succeeded"))) for n in range(1, count + 1)]


def test_many_waits_that_are_over_together_are_answered_by_the_list() -> None:
    server = Narrow(ended_jobs(1000), latency=0.2)
    told = all_too_late(server)
    assert {event.status for event, _ in told} == {"success"}
    assert server.requests < 100


def test_many_waits_that_are_over_together_are_all_answered_where_there_is_no_list() -> None:
    server = Narrow(ended_jobs(1000), [Fault(0, 1e9, "forbidden", "list")], latency=0.05)
    assert {event.status for event, _ in all_too_late(server)} == {"success"}


def test_many_waits_that_are_over_just_when_airbyte_is_back_are_all_answered() -> None:
    server = Narrow(ended_jobs(1000, end=START + 100), [Fault(START + 10, 289)])
    told = all_too_late(server, apart=0.0, left=300, poll_interval=60)
    assert {event.status for event, _ in told} == {"success"}


@pytest.mark.parametrize("kind", ["down", "throttled", "hang"])
def test_many_waits_that_are_over_together_do_not_storm_an_airbyte_in_trouble(kind: str) -> None:
    server = Narrow(ended_jobs(1000), [Fault(0, 1e9, kind)])
    told = all_too_late(server)
    assert {(event.status, event.reason) for event, _ in told} == {("error", "timeout")}
    assert max(late for _, late in told) < 3 * FINAL_CHECK_WITHIN
    assert server.requests < 40


def test_jobs_that_cannot_be_read_are_the_only_ones_whose_final_check_fails() -> None:
    bad = [Fault(0, 1e9, "hang", "get", job_id=1), Fault(0, 1e9, "down", "get", job_id=20)]
    server = Narrow(ended_jobs(40), [Fault(0, 1e9, "forbidden", "list"), *bad])
    told = [event.reason for event, _ in all_too_late(server)]
    assert [n for n, reason in enumerate(told, 1) if reason == "timeout"] == [1, 20]


def test_tasks_whose_wait_for_one_job_is_over_share_a_final_check() -> None:
    server = Narrow([life((-60, "running"), (130, "succeeded"))], [Fault(START + 10, 1e9, "forbidden", "list")])

    async def go() -> list[tuple[Event, float]]:
        watcher = JobWatcher(server, quiet=True)  # type: ignore[arg-type]
        return await asyncio.gather(*(wait_too_late(watcher, 7, left=200, poll_interval=120) for _ in range(100)))

    assert {event.status for event, _ in run_in_virtual_time(go())} == {"success"}
    assert server.requests < 10


def test_lone_wait_that_is_over_ends_with_the_next_answer() -> None:
    server = ModelAirbyte([life((-60, "running"))], latency=0.2)
    ((event, late),) = all_too_late(server, left=100, poll_interval=60)
    assert (event.reason, event.job and event.job.status) == ("timeout", "running")
    assert late < 0.3


def test_hiccup_at_the_deadline_is_no_timeout() -> None:
    server = ModelAirbyte([life((-60, "running"), (90, "succeeded"))], [Fault(START + 99, 2)])
    ((event, late),) = all_too_late(server, left=100, poll_interval=60)
    assert event.status == "success"
    assert late < FINAL_CHECK_WITHIN


def test_cancelled_wait_leaves_no_watch() -> None:
    async def go() -> int:
        watcher = JobWatcher(ModelAirbyte([life((0, "running"))]), quiet=True)  # type: ignore[arg-type]
        soon = Deadlines(time.time() + 1000, None)
        task = asyncio.ensure_future(wait_for_end(watcher, 7, soon, poll_interval=5, progress_interval=0, log=TASK))
        await asyncio.sleep(7)
        task.cancel()
        await asyncio.wait([task])
        return watcher.waiting

    assert run_in_virtual_time(go()) == 0


def test_log_has_one_line_for_each_change_and_for_an_outage_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    server = ModelAirbyte(
        [life((0, "pending"), (8, "brand-new-status"), (30, "running"), (200, "succeeded"))],
        [Fault(START + 60, 60)],
    )
    with caplog.at_level(logging.INFO, "tests.task"):
        wait(server)
    words = [record.getMessage() for record in caplog.records if record.name == "tests.task"]
    assert len(words) == 5
    assert "is pending" in words[0]
    assert "brand-new-status" in words[1]
    assert "is running" in words[2]
    assert "cannot be asked" in words[3]
    assert "answers again" in words[4]


@pytest.mark.parametrize(
    ("lives", "told"),
    [
        # Each change is seen.
        (
            [(0, "pending"), (6, "running"), (50, "incomplete"), (62, "running"), (100, "failed")],
            ["pending", "running", "incomplete", "running again: attempt 2 started"],
        ),
        # Nobody looked between two attempts.
        (
            [
                (0, "running"),
                (51, "incomplete"),
                (52, "running"),
                (101, "incomplete"),
                (102, "running"),
                (150, "succeeded"),
            ],
            ["running", "running again: attempt 2 started", "running again: attempt 3 started"],
        ),
        # A whole attempt between two looks: from then on nobody knows which it is.
        (
            [(0, "running"), (46, "incomplete"), (51, "running"), (53, "incomplete"), (62, "running"), (90, "failed")],
            [
                "running",
                "incomplete",
                "incomplete again: another attempt failed",
                "running again: another attempt started",
            ],
        ),
        # Somebody began to wait late: which attempt it is, nobody knows.
        (
            [(-600, "pending"), (-90, "running"), (30, "incomplete"), (42, "running"), (90, "failed")],
            ["running", "incomplete", "running again: another attempt started"],
        ),
        (
            [(-90, "running"), (-10, "incomplete"), (20, "running"), (90, "failed")],
            ["incomplete", "running again: another attempt started"],
        ),
        ([(0, "queued"), (300, "running"), (400, "succeeded")], ["queued", "running"]),
        (
            [(-90, "running"), (30, "hibernating"), (60, "running"), (90, "succeeded")],
            ["running", "hibernating", "running"],
        ),
    ],
)
@pytest.mark.parametrize("progress", [0.0, 15.0])
def test_log_has_one_line_for_each_attempt(
    lives: list[tuple[float, str]], told: list[str], progress: float, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tests.task"):
        wait(ModelAirbyte([life(*lives)]), progress=progress)
    words = [record.getMessage() for record in caplog.records if record.name == "tests.task"]
    assert [line.removeprefix("Airbyte job 7 is ") for line in words if "so far" not in line] == told


def test_rows_and_bytes_are_one_line_an_interval(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tests.task"):
        wait(ModelAirbyte([life((0, "running"), (200, "succeeded"))]), progress=60)
    words = [record.getMessage() for record in caplog.records if record.name == "tests.task"]
    assert [("so far" in line) for line in words] == [False, True, True, True]
    # What Airbyte calls a live job's duration stands still: no line says that.
    assert set(words[1:]) == {"Airbyte job 7 is running: no figures so far"}
