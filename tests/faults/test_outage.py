"""An Airbyte that is away for an hour: no task is told an end before it is back, and each is told the truth then."""

from __future__ import annotations

import asyncio
import logging
import time
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from airbyte_deferrable._job.wait import Deadlines, wait_for_end
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable.simulator import Script, Simulator
from airbyte_deferrable.triggers import AirbyteSyncTrigger
from helpers.airbyte import connection_to
from helpers.model_airbyte import Fault, ModelAirbyte, ModelJob, Step, run_in_virtual_time
from helpers.one_task import first_event, kept_log, said, stored
from helpers.waiting import until

#: The model's loop begins here.
START = 1000.0
#: As the operator has it where nobody says otherwise.
POLL = 10.0
GONE = START + 60
HOUR = 3600.0
#: When the waiting tasks would give up: long after.
A_DAY = 86_400.0
#: What the requests of one sweep take, one after the other.
SWEEP = 2.0


def wait_through(server: ModelAirbyte, log: logging.Logger) -> list[tuple[str, float]]:
    """Wait for all jobs, each by a task of its own; return what each was told, and when."""
    far = Deadlines(time.time() + A_DAY, None)

    async def one(watcher: JobWatcher, job: ModelJob) -> tuple[str, float]:
        event = await wait_for_end(watcher, job.job_id, far, poll_interval=POLL, progress_interval=60, log=log)
        return event.status, asyncio.get_running_loop().time()

    async def all_of_them() -> list[tuple[str, float]]:
        watcher = JobWatcher(server, quiet=True)  # type: ignore[arg-type]
        return await asyncio.gather(*(one(watcher, job) for job in server.jobs))

    return run_in_virtual_time(all_of_them())


@pytest.mark.parametrize(("waiting", "more"), [*product((1, 50), (0.0, 13.1, 28.9)), (1000, 19.9)])
@pytest.mark.parametrize(("kind", "hangs"), [("refused", 0.0), ("down", 0.0), ("hang", 5.0), ("hang", 30.0)])
def test_hour_without_airbyte_is_no_outcome_and_ends_within_two_polls(
    waiting: int, more: float, kind: str, hangs: float
) -> None:
    """Whatever a look is doing in the moment when Airbyte comes back, hence the seconds more."""
    back = GONE + HOUR + more
    ends = [GONE + 1 + number * (HOUR - 2) / waiting for number in range(waiting)]
    lives = [
        (Step(START - 60 + n * 0.01, "pending"), Step(START - 50, "running"), Step(end, "succeeded"))
        for n, end in enumerate(ends)
    ]
    server = ModelAirbyte([ModelJob(n, life) for n, life in enumerate(lives, 1)], [Fault(GONE, back - GONE, kind)])
    server.timeout = hangs
    log, lines = kept_log()
    told = wait_through(server, log)
    assert {status for status, _ in told} == {"success"}
    assert min(at for _, at in told) >= back
    # A request that hangs when Airbyte comes back is given up first.
    assert max(at for _, at in told) <= back + max(2 * POLL, hangs + POLL) + SWEEP
    assert said(lines, "Airbyte cannot be asked now") == waiting


async def test_server_that_is_stopped_and_started_again_resolves_all_who_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Simulator(state_file=tmp_path / "airbyte.jsonl")
    before.start()
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(before))
    jobs = [before.add_job(before.add_connection(), script=Script(outcome=None, pending=0.0))["id"] for _ in range(20)]

    log, lines = kept_log()

    def waiting_for(job_id: int) -> Any:
        trigger = stored(AirbyteSyncTrigger(job_id, "airbyte_default", time.time() + A_DAY, 0.2))
        trigger._log = log
        return trigger

    async def all_said(how: str) -> None:
        await until(lambda: sum(how in line for line in lines) >= len(jobs))

    waiting = [asyncio.ensure_future(first_event(waiting_for(job_id))) for job_id in jobs]
    await all_said("is running")
    await asyncio.to_thread(before.stop)
    await all_said("Airbyte cannot be asked now")
    # As Airbyte's own, its jobs go on and end while nobody can ask for them.
    after = Simulator(urlsplit(before.url).port or 0, state_file=tmp_path / "airbyte.jsonl")
    for job_id in jobs:
        after.finish(job_id, "succeeded")
    assert not any(task.done() for task in waiting)
    with after:
        events = await asyncio.gather(*waiting)
    assert [(event["status"], event["job_id"]) for event in events] == [("success", job_id) for job_id in jobs]
