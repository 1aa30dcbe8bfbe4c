"""One polling loop for all: what it asks, and what it makes of the answers. In virtual time, against the model."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from airbyte_deferrable._watcher import sweep
from airbyte_deferrable._watcher.loop import JobWatcher, watcher_for
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable._watcher.subscriptions import JobNotVisible, Trouble
from airbyte_deferrable.api.errors import ApiError, BadCredentials, Unreachable
from airbyte_deferrable.api.models import Job
from airbyte_deferrable.api.rounds import WOKEN_AT_ONCE
from airbyte_deferrable.api.settings import Settings
from helpers.model_airbyte import Fault, ModelAirbyte, ModelJob, Step, news_of, run_in_virtual_time

NEVER = 1e9
#: The model's loop begins here.
START = 1000.0
POLL = 5.0


def running(job_id: int, end: float = NEVER, *, created: float | None = None, **more: Any) -> ModelJob:
    """Return a job that runs from its creation on and succeeds in the end. Ids and stamps are in the same order."""
    at = START - 600 + job_id * 0.01 if created is None else created
    return ModelJob(job_id, (Step(at, "pending"), Step(at + 0.005, "running"), Step(end, "succeeded")), **more)


class Told:
    """What one waiting task heard, with the moments."""

    def __init__(self) -> None:
        self.jobs: list[tuple[float, Job]] = []
        self.troubles: list[tuple[float, Trouble]] = []
        self.gone: JobNotVisible | None = None

    @property
    def ended_at(self) -> float | None:
        return next((at for at, job in self.jobs if job.terminal), None)


async def follow(watcher: JobWatcher, job_id: int, told: Told, poll: float = POLL, progress: float = 0.0) -> None:
    """Wait for a job's end and keep what is told."""
    loop = asyncio.get_running_loop()
    with watcher.watch(job_id, poll_interval=poll, progress_interval=progress) as watch:
        while True:
            try:
                news = await news_of(watch)
            except JobNotVisible as error:
                told.gone = error
                return
            if isinstance(news, Trouble):
                told.troubles.append((loop.time(), news))
                continue
            told.jobs.append((loop.time(), news))
            if news.terminal:
                return


def watch_for(
    server: ModelAirbyte,
    seconds: float,
    job_ids: Sequence[int] | None = None,
    *,
    poll: float = POLL,
    progress: float = 0.0,
    pace: Pace | None = None,
    metrics: Any = None,
) -> dict[int, Told]:
    """Let a task wait for each job for so long, all of them from the start."""
    ids = [job.job_id for job in server.jobs] if job_ids is None else job_ids
    told = {job_id: Told() for job_id in ids}

    async def go() -> None:
        watcher = JobWatcher(server, pace=pace, metrics=metrics)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(follow(watcher, each, told[each], poll, progress)) for each in ids]
        await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    return told


def asked_since(server: ModelAirbyte, moment: float) -> int:
    return sum(at >= moment for at, _, _ in server.calls)


# What it costs


def test_a_lone_waiter_just_gets_its_job() -> None:
    server = ModelAirbyte([running(1, START + 31)])
    told = watch_for(server, 60)
    assert told[1].ended_at == pytest.approx(START + 35, abs=1)
    assert (server.count("list"), server.count("get")) == (0, 8)


def test_quiet_jobs_cost_one_request_a_sweep_however_many_they_are() -> None:
    server = ModelAirbyte([running(number) for number in range(1, 1001)])
    watch_for(server, 100)
    # From 20 s on the first looks are over, and the first confirmation is not due.
    assert asked_since(server, START + 20) <= 80 / POLL + 1
    assert server.count("get") <= 2


def test_a_confirmation_of_many_is_one_list_although_they_were_read_over_seconds() -> None:
    server = ModelAirbyte([running(number) for number in range(1, 3001)], latency=0.05)
    watch_for(server, 355, poll=10.0)
    assert server.count("get") <= 2
    # From 60 s on: the changes each poll, and thirty pages two or three times.
    assert asked_since(server, START + 60) <= 295 / 10 + 1 + 3 * 31


def test_first_looks_of_many_are_taken_through_the_list() -> None:
    """After a restart: 2,000 wait, a quarter of the jobs ended hours ago, among 3,000 of others."""
    jobs = []
    for number in range(1, 5001):
        created = START - 20_000 + number * 3.8
        ended = number % 5 in (2, 3, 4) or number % 20 == 0
        jobs.append(running(number, created + 600 if ended else NEVER, created=created))
    ours = [job.job_id for job in jobs if job.job_id % 5 in (0, 1)]
    server = ModelAirbyte(jobs)
    told = watch_for(server, 60, ours)
    assert all(told[each].jobs for each in ours)
    assert sum(told[each].ended_at is not None for each in ours) == 250
    assert server.requests < 120


def test_the_shortest_poll_interval_is_followed_and_forgotten_with_its_waiter() -> None:
    server = ModelAirbyte([running(1), running(2), running(3, START + 30)])

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        slow = [asyncio.ensure_future(follow(watcher, each, Told(), 30.0)) for each in (1, 2)]
        await follow(watcher, 3, Told(), 1.0)
        await asyncio.sleep(60)
        for task in slow:
            task.cancel()

    run_in_virtual_time(go())
    assert 25 <= asked_since(server, START) - asked_since(server, START + 30) <= 40
    assert asked_since(server, START + 32) <= 3


@pytest.mark.parametrize("faults", [[], [Fault(START, 2)]], ids=["calm", "trouble"])
@pytest.mark.parametrize("job_id", [3, 1], ids=["a job of its own", "a job of theirs"])
def test_a_task_that_joins_more_patient_ones_is_told_within_its_own_poll(job_id: int, faults: list[Fault]) -> None:
    server = ModelAirbyte([running(1, START + 100), running(2), running(3, START + 100)], faults)
    told = Told()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        slow = [asyncio.ensure_future(follow(watcher, each, Told(), 1800.0)) for each in (1, 2)]
        await asyncio.sleep(60)
        await follow(watcher, job_id, told)
        for task in slow:
            task.cancel()

    run_in_virtual_time(go())
    assert (told.ended_at or NEVER) <= START + 100 + POLL + 1
    assert server.requests <= 60 / POLL + 5


def test_a_long_sweep_for_patient_tasks_does_not_hold_up_a_task_that_joins() -> None:
    """It lasts a minute, for 500 jobs are asked for one by one."""
    server = ModelAirbyte([running(number) for number in range(1, 502)], [Fault(START, NEVER, "forbidden", "list")])
    server.latency = 0.1
    told = Told()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(follow(watcher, each, Told(), 600.0)) for each in range(1, 501)]
        await asyncio.sleep(20)
        tasks.append(asyncio.ensure_future(follow(watcher, 501, told)))
        await asyncio.sleep(60)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    assert told.jobs[0][0] <= START + 20 + POLL + 1


def test_jobs_that_are_asked_for_one_by_one_are_asked_for_as_often_as_each_of_their_tasks_wants() -> None:
    jobs = [running(number) for number in range(1, 101)] + [running(101, START + 333)]
    server, told = ModelAirbyte(jobs, [Fault(START, NEVER, "forbidden", "list")]), Told()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(follow(watcher, each, Told(), 600.0)) for each in range(1, 101)]
        await follow(watcher, 101, told)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    assert (told.ended_at or NEVER) <= START + 333 + POLL + 1
    # A look at each, and then at one each poll.
    assert server.count("get") <= 100 + 335 / POLL + 2


def test_tasks_that_trickle_in_do_not_hurry_the_sweeps() -> None:
    server = ModelAirbyte([running(number) for number in range(1, 61)])

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        tasks = []
        for number in range(1, 61):
            tasks.append(asyncio.ensure_future(follow(watcher, number, Told(), 10.0)))
            await asyncio.sleep(1)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    changes = sum(call == "list" and query["updated"] is not None for _, call, query in server.calls)
    assert changes <= 8


# What it sees


@pytest.mark.parametrize("latency", [0.1, 0.5])
def test_no_end_is_skipped_while_pages_shift(latency: float) -> None:
    """Jobs change status while the pages are read: in an order by change, each would push another out of sight."""
    jobs = []
    for number in range(1, 601):
        # The odd ones go to and fro all the time, while the even ones end.
        turns = range(30) if number % 2 else ()
        flips = [Step(START + 20 + turn * 2 + number * 0.003, "incomplete") for turn in turns]
        end = Step(START + (100 if number % 2 else 30) + number * 0.04, "succeeded")
        created = START - 600 + number * 0.01
        jobs.append(ModelJob(number, (Step(created, "pending"), Step(created + 0.005, "running"), *flips, end)))
    server = ModelAirbyte(jobs, latency=latency)
    told = watch_for(server, 150)
    for job in jobs:
        ended_at = told[job.job_id].ended_at
        assert ended_at is not None
        # The poll, and a sweep's eight pages.
        assert ended_at - job.end.at <= POLL + 8 * latency + 2


def test_a_list_that_fails_the_moment_before_airbyte_is_back_is_tried_again() -> None:
    jobs = [running(number, START + 40 + number * 0.001) for number in range(1, 2001)]

    class BackBetween(ModelAirbyte):
        """Comes back with the first request for a single job."""

        async def get_job(self, job_id: int) -> Job:
            self.faults = []
            return await super().get_job(job_id)

    told = watch_for(BackBetween(jobs, [Fault(START + 33, NEVER)]), 90)
    assert max(each.ended_at or NEVER for each in told.values()) <= START + 45 + 3 * POLL


@pytest.mark.parametrize("seconds", [3.0, 14.0])
def test_a_sweep_that_fails_is_made_up_for_by_the_next(seconds: float) -> None:
    ends = [running(number, START + 30 + number * 0.01) for number in range(1, 401)]
    told = watch_for(ModelAirbyte(ends, [Fault(START + 33, seconds)]), 90)
    assert max(each.ended_at or NEVER for each in told.values()) <= START + 33 + seconds + 2 * POLL


def test_a_first_reading_of_the_changes_that_fails_reaches_back_as_far_the_next_time() -> None:
    """A task waits alone for a while, its job ends, and the changes are read again when another task comes."""

    class FailsOnce(ModelAirbyte):
        armed = False

        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            rows = await super().list_jobs(**query)
            if self.armed and query.get("updated_since") is not None:
                self.armed = False
                raise Unreachable("GET /jobs", "Service Unavailable", 503)
            return rows

    # What ends after it moves Airbyte's clock, as far as it is known, well past its end.
    others = [running(100 + number, START + 64 + number * 0.02, created=START - 500) for number in range(150)]
    server = FailsOnce([running(1, START + 62), running(2, START + 30), running(3), *others])
    told = Told()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        waits = [asyncio.ensure_future(follow(watcher, 1, told, 20.0))]
        waits.append(asyncio.ensure_future(follow(watcher, 2, Told(), 20.0)))
        await asyncio.sleep(61)
        server.armed = True
        waits.append(asyncio.ensure_future(follow(watcher, 3, Told(), 20.0)))
        await asyncio.wait(waits, timeout=200)

    run_in_virtual_time(go())
    assert not server.armed
    assert (told.ended_at or NEVER) <= START + 62 + 2 * 20


def test_a_pod_whose_clock_is_behind_delays_few_reports_until_that_is_learned() -> None:
    """Half of the ends are stamped by a pod that is 15 s behind: behind what the sweeps have read."""
    jobs = []
    for number in range(1, 41):
        created, end = START - 600 + number * 0.01, START + 20 + number * 11
        steps = Step(created, "pending"), Step(created + 0.005, "running")
        jobs.append(ModelJob(number, (*steps, Step(end, "succeeded", skew=-15.0 if number % 2 else 0.0))))
    told = watch_for(ModelAirbyte(jobs), 500, progress=20.0)
    late = [(told[job.job_id].ended_at or NEVER) - job.end.at for job in jobs]
    # A report of progress that saw one of them run later than the stamp of its end taught that, or a part of it.
    assert 1 <= sum(seconds > POLL + 1 for seconds in late) <= 6


def test_changes_that_become_visible_half_a_second_after_their_stamp_are_seen_within_a_poll() -> None:
    """Airbyte stamps a change before it commits it. A few of these are stamped before a sweep and seen after it."""
    # At whole seconds, from which Airbyte's clock is learned as well as can be.
    punctual = [running(number, START + 20 + number) for number in range(1, 21)]
    late = []
    for number in range(21, 221):
        created = START - 600 + number * 0.01
        end = Step(START + 30 + number * 0.1, "succeeded", lag=0.5)
        late.append(ModelJob(number, (Step(created, "pending"), Step(created + 0.005, "running"), end)))
    told = watch_for(ModelAirbyte([*punctual, *late]), 120)
    for job in late:
        assert (told[job.job_id].ended_at or NEVER) <= job.end.visible_at + POLL + 1


def test_a_job_that_no_list_names_is_seen_within_a_poll() -> None:
    jobs = [running(number) for number in range(1, 50)] + [running(50, START + 33, listed=False)]
    told = watch_for(ModelAirbyte(jobs), 60)
    assert (told[50].ended_at or NEVER) <= START + 33 + POLL + 1


def test_long_lists_of_progress_do_not_delay_the_sweeps() -> None:
    jobs = [running(number) for number in range(1, 3000)] + [running(3000, START + 62)]
    server = ModelAirbyte(jobs, latency=0.4)
    told = watch_for(server, 90, progress=60.0)
    assert (told[3000].ended_at or NEVER) <= START + 62 + POLL + 2


def test_progress_is_told_once_an_interval_and_never_by_a_request_for_each_job() -> None:
    server = ModelAirbyte([running(number) for number in range(1, 301)])
    told = watch_for(server, 310, progress=60.0)
    assert {len(each.jobs) for each in told.values()} == {6}
    assert server.count("get") <= 2


def test_without_an_interval_progress_is_not_told() -> None:
    told = watch_for(ModelAirbyte([running(1), running(2)]), 600)
    assert [len(each.jobs) for each in told.values()] == [1, 1]


def test_few_tasks_are_woken_in_one_round_of_the_event_loop() -> None:
    """Each writes to its log then, and nothing else runs meanwhile: first looks, progress, trouble and its end."""
    server = ModelAirbyte([running(number) for number in range(1, 501)], [Fault(START + 130, 60)])
    woken: Counter[int] = Counter()

    async def count(watcher: JobWatcher, job_id: int) -> None:
        loop: Any = asyncio.get_running_loop()
        with watcher.watch(job_id, poll_interval=POLL, progress_interval=60) as watch:
            while True:
                await news_of(watch)
                woken[loop.rounds] += 1

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(count(watcher, job.job_id)) for job in server.jobs]
        await asyncio.wait(tasks, timeout=220)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    assert woken.total() >= 5 * 500
    assert max(woken.values()) <= WOKEN_AT_ONCE


# What it makes of refusals


def test_an_unknown_job_is_believed_gone_when_airbyte_says_so_twice() -> None:
    server = ModelAirbyte([running(1), running(2)])
    told = watch_for(server, 30, [1, 2, 99])
    assert told[99].gone is not None
    assert sum(query.get("job_id") == 99 for _, _, query in server.calls) == 2
    assert told[1].gone is None


def test_two_refusals_within_one_sweep_are_one() -> None:
    """The oldest of many newcomers is asked for first, to read all that was created since."""
    jobs = [ModelJob(number, (Step(START - 600, "queued"), Step(START + 20, "succeeded"))) for number in range(1, 31)]
    others = [running(number, created=START - 500) for number in range(31, 1500)] + [running(1500, created=START - 1)]
    server = ModelAirbyte(jobs + others, [Fault(START, 4, "forbidden", "get")])
    told = watch_for(server, 60, [job.job_id for job in jobs])
    assert [each.gone for each in told.values()] == [None] * 30


def test_one_refusal_is_not_believed() -> None:
    server = ModelAirbyte([running(1, START + 20)], [Fault(START, 1, "forbidden", "get")])
    told = watch_for(server, 60)
    assert (told[1].gone, told[1].ended_at is not None) == (None, True)


def test_a_forbidden_list_ends_no_wait_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    jobs = [running(number, START + 3000 + number) for number in range(1, 21)]
    server = ModelAirbyte(jobs, [Fault(START, NEVER, "forbidden", "list")])
    with caplog.at_level(logging.WARNING, "airbyte_deferrable"):
        told = watch_for(server, 3100)
    assert all((told[job.job_id].ended_at or NEVER) <= job.end.at + POLL + 2 for job in jobs)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "does not let its jobs be listed" in caplog.text


def test_a_list_that_is_refused_once_is_tried_again_soon() -> None:
    """Meanwhile, so many jobs take minutes one by one."""
    jobs = [running(number, START + 300 + number % 50) for number in range(1, 3001)]
    server = ModelAirbyte(jobs, [Fault(START + 200, POLL, "forbidden", "list")], latency=0.05)
    told = watch_for(server, 400)
    assert all((told[job.job_id].ended_at or NEVER) <= job.end.at + POLL + 2 for job in jobs)


def test_a_list_that_is_refused_again_and_again_is_asked_for_every_ten_minutes() -> None:
    server = ModelAirbyte([running(1), running(2)], [Fault(START, NEVER, "forbidden", "list")])
    watch_for(server, 3000)
    assert server.count("list") == 6


def test_a_list_that_always_fails_does_not_hide_jobs_that_can_be_asked_for() -> None:
    jobs = [running(number, START + 60 + number) for number in range(1, 21)]
    told = watch_for(ModelAirbyte(jobs, [Fault(START + 20, NEVER, "down", "list")]), 120)
    assert all((told[job.job_id].ended_at or NEVER) <= job.end.at + 4 * POLL for job in jobs)


def test_a_server_where_too_much_else_changes_is_asked_for_ours_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours = [running(number, START + 100 + number) for number in range(1, 6)]
    others = [
        running(number, START + number * 0.01, created=START - 300 + number * 1e-3) for number in range(6, 13_000)
    ]
    server = ModelAirbyte(ours + others)
    with caplog.at_level(logging.INFO, "airbyte_deferrable"):
        told = watch_for(server, 125, [job.job_id for job in ours])
    assert all((told[job.job_id].ended_at or NEVER) <= job.end.at + POLL + 2 for job in ours)
    # Five waiters cost no more than a request each a poll, and a try of the list a minute.
    assert server.requests <= 5 * 125 / POLL + 3 * 15
    assert caplog.text.count("has too many changes to list") == 1


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let a hundred jobs be as many pages as a thousand are."""
    monkeypatch.setattr(sweep, "PAGE_SIZE", 10)
    return 10


def test_many_of_ours_that_end_together_are_not_taken_for_others(small_pages: int) -> None:
    """Those whose end has been told are gone, but their changes are still in the next sweep's window."""
    jobs = [running(number, START + 60 + number * 0.02) for number in range(1, 1001)]
    server = ModelAirbyte(jobs, page_size=small_pages)
    told = watch_for(server, 120)
    assert all((told[job.job_id].ended_at or NEVER) <= job.end.at + POLL + 3 for job in jobs)
    assert server.count("get") <= 10


def test_many_of_ours_are_found_in_lists_while_too_much_else_changes(small_pages: int) -> None:
    ours = [running(number, START + 30 + number * 0.2) for number in range(1, 101)]
    others = [
        running(number, START + (number - 100) * 0.01, created=START - 300 + number * 1e-3)
        for number in range(101, 7000)
    ]
    server = ModelAirbyte(ours + others, page_size=small_pages)
    told = watch_for(server, 60, [job.job_id for job in ours])
    assert all((told[job.job_id].ended_at or NEVER) <= job.end.at + 2 * POLL for job in ours)
    # The pages that ours fill, each poll, and one by one only what is not among the running ones any more.
    assert server.count("get") <= 150
    assert server.requests <= 60 / POLL * 60


def test_no_end_is_missed_when_changes_are_read_again_and_not_to_their_end(small_pages: int) -> None:
    """A task waits alone for a while, and its job ends just before another task comes."""
    others = [running(number, START + number / 3, created=START - 300 + number * 1e-3) for number in range(1, 301)]
    # Its change to running is read in a list, so that the changes are relied on for its end.
    first = ModelJob(301, (Step(START, "pending"), Step(START + 8, "running"), Step(START + 40.5, "succeeded")))
    ours = {"first": first, "gone": running(302, START + 12), "later": running(303)}
    server = ModelAirbyte([*others, *ours.values()], page_size=small_pages)
    told = {name: Told() for name in ours}

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        waits = [asyncio.ensure_future(follow(watcher, ours[name].job_id, told[name])) for name in ("first", "gone")]
        await asyncio.sleep(44)
        later = asyncio.ensure_future(follow(watcher, ours["later"].job_id, told["later"]))
        await asyncio.wait(waits, timeout=60)
        later.cancel()

    run_in_virtual_time(go())
    assert (told["first"].ended_at or NEVER) <= START + 40.5 + POLL + 2


def test_the_list_is_tried_again_when_many_more_wait() -> None:
    """The first of a thousand tasks see changes that they take for others'."""
    server = ModelAirbyte([running(number, created=START - 20 + number * 0.01) for number in range(1, 1001)])

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(follow(watcher, each, Told())) for each in (1, 2)]
        await asyncio.sleep(3)
        tasks += [asyncio.ensure_future(follow(watcher, each, Told())) for each in range(3, 1001)]
        await asyncio.sleep(30)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    assert server.count("get") <= 10


# Trouble


def test_trouble_is_told_to_all_once_when_it_begins_and_once_when_it_ends() -> None:
    server = ModelAirbyte([running(number, START + 900) for number in range(1, 11)], [Fault(START + 60, 600)])
    told = watch_for(server, 1000)
    for each in told.values():
        (_, began), (ended_at, ended) = each.troubles
        assert began.error is not None
        assert ended.error is None
        assert ended.seconds == pytest.approx(600, abs=15)
        assert ended_at <= START + 660 + 2 * POLL


def test_credentials_that_are_refused_are_told_of_in_the_middle_of_other_trouble() -> None:
    """An Airbyte that was down to be given other credentials: these want a person, or the connection's new ones."""
    kinds = ("down", "unauthorized", "down", "unauthorized")
    faults = [Fault(START + 60 + 100 * number, 100, kind) for number, kind in enumerate(kinds)]
    server = ModelAirbyte([running(1, START + 900)], faults)
    (told,) = watch_for(server, 1000).values()
    assert [type(trouble.error) for _, trouble in told.troubles] == [Unreachable, BadCredentials, type(None)]
    assert told.troubles[-1][1].seconds == pytest.approx(400, abs=15)


def test_one_failed_sweep_is_no_trouble() -> None:
    server = ModelAirbyte([running(1, START + 90), running(2, START + 90)], [Fault(START + 29, 2)])
    told = watch_for(server, 120)
    assert [each.troubles for each in told.values()] == [[], []]


@pytest.mark.parametrize("pause", [30, 7000], ids=["the loop lingers", "the loop has ended"])
def test_trouble_that_ended_while_nobody_waited_is_told_to_nobody(pause: int) -> None:
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
    assert [trouble.error is not None for _, trouble in told[1].troubles] == [True]
    assert told[2].troubles == []


def test_trouble_that_began_while_nobody_waited_is_told_with_its_own_length() -> None:
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
    (began_at, began), (_, ended) = told.troubles
    # Two sweeps that fail, as for those who were there from the beginning.
    assert began.error is not None
    assert START + 7100 + POLL / 2 <= began_at <= START + 7100 + 3 * POLL
    assert ended.seconds == pytest.approx(200, abs=2 * POLL)


def test_a_job_that_alone_cannot_be_read_is_trouble_of_its_own() -> None:
    jobs = [running(number, START + 100) for number in range(1, 11)] + [running(11, listed=False), running(12)]
    server = ModelAirbyte(jobs, [Fault(START, NEVER, "down", "get", job_id=11)])
    told = watch_for(server, 130)
    assert all(told[number].ended_at is not None and not told[number].troubles for number in range(1, 11))
    assert [trouble.error is not None for _, trouble in told[11].troubles] == [True]


def test_a_sweep_that_fails_after_many_good_ones_is_made_up_for_soon() -> None:
    told = watch_for(ModelAirbyte([running(1, START + 98), running(2)], [Fault(START + 99, 2)]), 120)
    assert (told[1].ended_at or NEVER) <= START + 100 + POLL / 2 + 1


@pytest.mark.parametrize("kind", ["throttled", "down"])
@pytest.mark.parametrize("every", [3, 5])
def test_a_server_that_sheds_part_of_its_load_is_asked_no_more_than_in_calm(kind: str, every: int) -> None:
    jobs = [running(1), running(2)]
    calm, shedding = ModelAirbyte(jobs), ModelAirbyte(jobs, [Fault(START + 100, NEVER, kind, every=every)])
    for server in (calm, shedding):
        watch_for(server, 1100)
    # Beyond: looks for what nobody has confirmed for long, tried again.
    assert asked_since(shedding, START + 100) <= 1.05 * asked_since(calm, START + 100)


def test_newcomers_whose_jobs_the_sweeps_have_named_are_not_asked_for() -> None:
    """A task leaves its worker some seconds after its job was made."""
    server = ModelAirbyte([running(number, created=START + number, end=START + 200) for number in range(1, 101)])
    told = {number: Told() for number in range(1, 101)}

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        await asyncio.sleep(3)
        tasks = []
        for number in range(1, 101):
            tasks.append(asyncio.ensure_future(follow(watcher, number, told[number])))
            await asyncio.sleep(1)
        await asyncio.sleep(POLL)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    # But for the first, who waits alone until the second comes.
    assert server.count("get") <= 3
    assert server.count("list") <= 100 / POLL + 5
    assert all(each.jobs[0][0] <= START + 3 + number + POLL for number, each in told.items())


def test_what_was_read_long_ago_is_no_news_to_a_newcomer() -> None:
    server, told = ModelAirbyte([running(number) for number in range(1, 4)]), Told()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(follow(watcher, each, Told(), 600.0)) for each in (1, 2)]
        await asyncio.sleep(100)
        tasks.append(asyncio.ensure_future(follow(watcher, 3, told, 600.0)))
        await asyncio.sleep(10)
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())
    assert told.jobs[0][0] >= START + 100 + Pace().gather
    assert server.calls[-1][0] >= START + 100


def test_a_slow_airbyte_is_asked_in_proportion_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airbyte_deferrable")
    server = ModelAirbyte([running(number) for number in range(1, 51)])
    server.latency = 2.0
    watch_for(server, 600)
    # Four times as slow as a healthy one at the most.
    assert asked_since(server, START + 60) <= 540 / (4 * POLL) + 8
    [line] = [each.getMessage() for each in caplog.records if "is asked each" in each.getMessage()]
    assert line == "This Airbyte takes 2.0 s to answer: it is asked each 20 s instead of 5 s"


def test_one_answer_that_takes_long_is_no_slow_airbyte(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="airbyte_deferrable")

    class Hiccup(ModelAirbyte):
        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            if START + 100 < asyncio.get_running_loop().time() < START + 130:
                await asyncio.sleep(20)
            return await super().list_jobs(**query)

    watch_for(Hiccup([running(number) for number in range(1, 51)]), 300)
    assert not [each for each in caplog.records if "is asked each" in each.getMessage()]


def test_an_airbyte_that_throttles_is_asked_less_until_it_has_been_well_for_a_while(
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


def test_a_server_that_sheds_load_is_asked_ever_less() -> None:
    server = ModelAirbyte([running(1), running(2)], [Fault(START + 20, NEVER, "throttled")])
    watch_for(server, 620)
    assert asked_since(server, START + 120) <= 500 / 42 + 1


@pytest.mark.parametrize(("status", "retry_after"), [(429, None), (429, 40.0), (503, 40.0)])
def test_a_server_that_sheds_load_is_not_asked_for_each_task_that_comes(status: int, retry_after: float | None) -> None:
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
    assert first <= START + 22 + sweep.RECENT + Pace().gather + 1
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


def test_an_error_in_the_watcher_itself_leaves_nobody_waiting_for_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ModelAirbyte):
        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            if asyncio.get_running_loop().time() < START + 30:
                raise ValueError("never thought of")
            return await super().list_jobs(**query)

    told = watch_for(Broken([running(1, START + 60), running(2, START + 60)]), 90)
    assert all(each.ended_at is not None for each in told.values())
    assert "never thought of" in caplog.text


def test_an_error_while_newcomers_are_looked_for_leaves_nobody_waiting_for_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(ModelAirbyte):
        async def get_job(self, job_id: int) -> Job:
            if job_id == 2 and asyncio.get_running_loop().time() < START + 10:
                raise ValueError("never thought of")
            return await super().get_job(job_id)

    server, told = Broken([running(1, START + 21), running(2, START + 22)]), {1: Told(), 2: Told()}

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        first = asyncio.ensure_future(follow(watcher, 1, told[1], 20.0))
        await asyncio.sleep(2)
        await asyncio.wait([first, asyncio.ensure_future(follow(watcher, 2, told[2], 20.0))], timeout=60)

    run_in_virtual_time(go())
    assert max(each.ended_at or NEVER for each in told.values()) <= START + 22 + 20 + 1
    assert "Looking for newcomers failed" in caplog.text


@pytest.mark.parametrize("absurd", ["9999-12-31T23:59:59Z", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
def test_a_job_with_an_absurd_stamp_hides_no_others_end(absurd: str) -> None:
    class Broken(ModelAirbyte):
        async def list_jobs(self, **query: Any) -> tuple[Job, ...]:
            odd = Job(job_id=99, status="succeeded", start_time="2024-01-01T00:00:00Z", last_updated_at=absurd)
            return (*await super().list_jobs(**query), odd)

    told = watch_for(Broken([running(1, START + 32), running(2, START + 33)]), 60)
    assert all(each.ended_at is not None and each.ended_at <= START + 33 + POLL + 1 for each in told.values())
    assert not any(each.troubles for each in told.values())


@pytest.mark.parametrize("hanging", [1, 3])
def test_jobs_whose_look_hangs_do_not_delay_the_others(hanging: int) -> None:
    jobs = [running(number, START + 40 + number * 7) for number in range(1, 11)]
    stuck = [running(number, listed=False) for number in range(11, 11 + hanging)]
    faults = [Fault(START + 10, NEVER, "hang", "get", job_id=job.job_id) for job in stuck]
    # Another that goes on, so that those whose look hangs are never left alone.
    told = watch_for(ModelAirbyte([*jobs, *stuck, running(99)], faults, timeout=30.0), 400)
    late = [(told[job.job_id].ended_at or NEVER) - job.end.at for job in jobs]
    assert max(late) <= POLL * (1 + hanging) + 1
    assert all([trouble.error is not None for _, trouble in told[job.job_id].troubles] == [True] for job in stuck)


def test_a_look_that_still_goes_on_is_no_sign_of_life() -> None:
    """First one job's look hangs, then all of Airbyte; and the one is left alone with the watcher."""
    faults = [Fault(START + 10, 50, "hang", "get", job_id=2), Fault(START + 60, 340, "hang")]
    server = ModelAirbyte([running(1), running(2, START + 420, listed=False)], faults, timeout=30.0)
    told = Told()

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        other = asyncio.ensure_future(follow(watcher, 1, Told()))
        waiting = asyncio.ensure_future(follow(watcher, 2, told))
        await asyncio.sleep(220)
        other.cancel()
        await asyncio.wait([waiting], timeout=300)

    run_in_virtual_time(go())
    assert told.ended_at is not None
    assert any(trouble.error is not None for _, trouble in told.troubles)
    assert all(at >= START + 400 for at, trouble in told.troubles if trouble.error is None)


@pytest.mark.parametrize("latency", [8.0, 20.0])
@pytest.mark.parametrize("lists", [True, False])
def test_a_server_that_is_slow_with_every_answer_still_gives_one(latency: float, lists: bool) -> None:
    jobs = [running(number, START + 40 + number, listed=number % 2 == 0) for number in range(1, 7)]
    faults = [] if lists else [Fault(START, NEVER, "forbidden", "list")]
    told = watch_for(ModelAirbyte(jobs, faults, latency=latency, timeout=30.0), 900)
    assert all(each.ended_at is not None for each in told.values())


def test_an_airbyte_that_hangs_does_not_delay_the_waiters_of_another() -> None:
    hanging = ModelAirbyte([running(1), running(2)], [Fault(START, NEVER, "hang")], timeout=30.0)
    healthy = ModelAirbyte([running(1, START + 21), running(2, START + 22)])
    told = {1: Told(), 2: Told()}

    async def go() -> None:
        watchers = [JobWatcher(server) for server in (hanging, healthy)]  # type: ignore[arg-type]
        stuck = [asyncio.ensure_future(follow(watchers[0], each, Told())) for each in (1, 2)]
        await asyncio.gather(*(follow(watchers[1], each, told[each]) for each in (1, 2)))
        for task in stuck:
            task.cancel()

    run_in_virtual_time(go())
    assert max(each.ended_at or NEVER for each in told.values()) <= START + 22 + POLL + 1


# Coming and going


def test_the_session_is_closed_some_time_after_the_last_waiter() -> None:
    server = ModelAirbyte([running(1, START + 10)])

    async def go() -> list[int]:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        await follow(watcher, 1, Told())
        await asyncio.sleep(50)
        before = server.closed
        await asyncio.sleep(20)
        return [before, server.closed]

    assert run_in_virtual_time(go()) == [0, 1]


def test_a_steady_trickle_of_tasks_does_not_reconnect() -> None:
    server = ModelAirbyte([running(number, START + number * 40) for number in range(1, 6)])

    async def go() -> int:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        for number in range(1, 6):
            await follow(watcher, number, Told())
            await asyncio.sleep(30)
        return server.closed

    assert run_in_virtual_time(go()) == 0


def test_a_watcher_works_again_after_it_has_closed() -> None:
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


def test_the_client_may_be_borrowed_while_nobody_waits() -> None:
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


async def test_the_same_settings_share_a_watcher_and_others_do_not() -> None:
    here, there = Settings("http://a.example"), Settings("http://b.example")
    assert watcher_for(here) is watcher_for(Settings("http://a.example"))
    assert watcher_for(here) is not watcher_for(there)


# What it says


class Counters:
    """Keeps what Airflow's ``Stats`` would pass on."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.levels: dict[str, float] = {}
        self.spans: dict[str, list[timedelta]] = {}

    def incr(self, stat: str, count: int = 1) -> None:
        self.counts[stat] = self.counts.get(stat, 0) + count

    def gauge(self, stat: str, value: float) -> None:
        self.levels[stat] = value

    def timing(self, stat: str, dt: timedelta) -> None:
        self.spans.setdefault(stat, []).append(dt)


def test_metrics_count_sweeps_requests_errors_and_how_late_ends_are_seen() -> None:
    metrics = Counters()
    jobs = [running(1, START + 62), running(2, START + 63), running(3, START - 300)]
    server = ModelAirbyte(jobs, [Fault(START + 20, 8)])
    watch_for(server, 90, metrics=metrics)
    assert set(metrics.counts) == {f"airbyte_deferrable.{name}" for name in ("sweeps", "requests", "errors")}
    assert metrics.counts["airbyte_deferrable.requests"] == pytest.approx(server.requests, abs=2)
    late = metrics.spans["airbyte_deferrable.seen_after"]
    # Not the job that had ended before anybody waited for it.
    assert len(late) == 2
    assert all(timedelta(0) <= each <= timedelta(seconds=POLL + 2) for each in late)
    assert set(metrics.levels) == {"airbyte_deferrable.waiting"}


@pytest.mark.parametrize("poll", [POLL, 60.0, 600.0])
@pytest.mark.parametrize("faults", [[], [Fault(START + 60, 1000)]], ids=["calm", "trouble"])
def test_one_line_a_minute_says_what_is_waited_for_however_rare_the_sweeps(
    caplog: pytest.LogCaptureFixture, poll: float, faults: list[Fault]
) -> None:
    with caplog.at_level(logging.INFO, "airbyte_deferrable"):
        watch_for(ModelAirbyte([running(1), running(2)], faults), 3610, poll=poll)
    assert sum("Waiting for 2 jobs" in record.getMessage() for record in caplog.records) == 60


def test_a_long_sweep_holds_up_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """It lasts five minutes, for 500 jobs are asked for one by one."""
    server = ModelAirbyte([running(number) for number in range(1, 501)], [Fault(START, NEVER, "forbidden", "list")])
    server.latency = 0.6
    with caplog.at_level(logging.INFO, "airbyte_deferrable"):
        watch_for(server, 190, poll=600.0)
    assert sum("Waiting for 500 jobs" in record.getMessage() for record in caplog.records) == 3


def test_no_line_is_written_while_nothing_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    server = ModelAirbyte([running(1, START + 30), running(2, START + 70)])

    async def go() -> None:
        watcher = JobWatcher(server)  # type: ignore[arg-type]
        await asyncio.gather(*(follow(watcher, each, Told()) for each in (1, 2)))
        # It lingers for a minute, and has ended long before the hour is over.
        await asyncio.sleep(3600)

    with caplog.at_level(logging.INFO, "airbyte_deferrable"):
        run_in_virtual_time(go())
    assert sum("Waiting for" in record.getMessage() for record in caplog.records) == 1


def test_metrics_tell_how_long_ago_a_job_had_ended_when_it_was_seen() -> None:
    metrics = Counters()
    # The first ends just before a look, which teaches Airbyte's clock; the second eight seconds before one.
    watch_for(ModelAirbyte([running(1, START + 50), running(2, START + 62)]), 90, poll=10.0, metrics=metrics)
    just_now, long_ago = metrics.spans["airbyte_deferrable.seen_after"]
    assert timedelta(0) <= just_now <= timedelta(seconds=1)
    # Stamps are in whole seconds.
    assert timedelta(seconds=7) <= long_ago <= timedelta(seconds=9)


def test_requests_between_two_rare_sweeps_are_counted_within_a_minute() -> None:
    metrics, server = Counters(), ModelAirbyte([running(number) for number in range(1, 5)])

    async def go() -> None:
        watcher = JobWatcher(server, metrics=metrics)  # type: ignore[arg-type]
        tasks = [asyncio.ensure_future(follow(watcher, each, Told(), 600.0)) for each in (1, 2)]
        await asyncio.sleep(100)
        before = server.requests
        tasks += [asyncio.ensure_future(follow(watcher, each, Told(), 600.0)) for each in (3, 4)]
        await asyncio.sleep(60)
        assert metrics.counts["airbyte_deferrable.requests"] == server.requests > before
        for task in tasks:
            task.cancel()

    run_in_virtual_time(go())


def test_a_quiet_watcher_says_nothing_even_in_trouble(caplog: pytest.LogCaptureFixture) -> None:
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


def test_a_quiet_watcher_does_not_hide_what_is_wrong_in_itself(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ModelAirbyte):
        async def get_job(self, job_id: int) -> Job:
            raise ValueError("never thought of")

    async def go() -> None:
        watcher = JobWatcher(Broken([running(1)]), quiet=True)  # type: ignore[arg-type]
        await asyncio.wait({asyncio.ensure_future(follow(watcher, 1, Told()))}, timeout=20)

    run_in_virtual_time(go())
    assert "never thought of" in caplog.text


def test_errors_of_any_kind_are_api_errors_to_those_who_wait() -> None:
    server = ModelAirbyte([running(1)], [Fault(START, NEVER)])
    told = watch_for(server, 60)
    assert [isinstance(trouble.error, ApiError) for _, trouble in told[1].troubles] == [True]
