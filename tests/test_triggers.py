"""The trigger: one event, its deadlines, and a job that goes only when a person killed its task."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from one_task import TaskInstance, airflow_tells, connection_to, first_event, kept_log, said, stored

from airbyte_deferrable import triggers
from airbyte_deferrable._airflow import (
    base_trigger,
    cancel_killed,
    credentials,
    execution_timeout,
    off_loop,
    shared_watcher,
)
from airbyte_deferrable._airflow.execution_timeout import execution_deadline
from airbyte_deferrable._airflow.kill import WAIT_MARKER
from airbyte_deferrable._job import wait as waiting_module
from airbyte_deferrable.simulator import Fault, Script, Simulator
from airbyte_deferrable.triggers import AirbyteQueueTrigger, AirbyteSyncTrigger

ENDLESS = Script(outcome=None, pending=0.0)
SERVED = {"job_id": 7, "conn_id": "airbyte_default", "end_time": 2e9, "poll_interval": 0.1}


@pytest.fixture
def sim(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    return airbyte_simulator


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncIterator[None]:
    yield
    mine = asyncio.current_task()
    for task in asyncio.all_tasks() - {mine}:
        task.cancel()


def waiting(job_id: int, ti: TaskInstance | None = None, **arguments: Any) -> Any:
    trigger = AirbyteSyncTrigger(**{**SERVED, "job_id": job_id, **arguments})
    trigger.task_instance = ti
    trigger._log = logging.getLogger("task")
    return trigger


# Its arguments


@pytest.mark.parametrize(
    "trigger",
    [
        AirbyteSyncTrigger(7, "c", 1.5, 0.5, 2.5, "v2", True, 3, 4.0, 5.0),
        AirbyteQueueTrigger("u", "c", 1.0, 2.0, 3.0, None, "v2", 4, 5.0),
    ],
    ids=["job", "queue"],
)
def test_arguments_survive_airflows_database(trigger: Any) -> None:
    assert stored(trigger).serialize() == trigger.serialize()


@pytest.mark.parametrize(
    "arguments",
    [
        {"conn_id": "c", "job_id": 7, "end_time": 1.0, "poll_interval": 3},
        {"conn_id": "c", "job_id": 7, "end_time": 1.0, "poll_interval": 3, "execution_deadline": None},
        {"conn_id": "c", "job_id": "7", "end_time": 1.0, "poll_interval": 3.0},
    ],
)
def test_arguments_of_the_official_provider_and_older_versions_load(arguments: dict[str, Any]) -> None:
    trigger = AirbyteSyncTrigger(**arguments)
    assert trigger.job_id == 7
    assert trigger.cancel_on_kill is False


def test_arguments_hold_no_secret(sim: Simulator) -> None:
    text = str(AirbyteSyncTrigger(**SERVED).serialize())
    assert sim.client_secret not in text
    assert sim.client_id not in text


def test_airflow_2_is_told_before_it_ends_the_task_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert execution_deadline(100.0, None) is None
    monkeypatch.setattr(execution_timeout, "AIRFLOW_3", True)
    assert execution_deadline(100.0, timedelta(seconds=50)) == 150.0
    monkeypatch.setattr(execution_timeout, "AIRFLOW_3", False)
    assert execution_deadline(100.0, timedelta(seconds=50)) == 145.0
    assert execution_deadline(100.0, timedelta(hours=5)) == 100.0 + 5 * 3600 - 30


@pytest.mark.parametrize("airflow_3", [True, False])
def test_an_execution_timeout_of_no_length_is_none_as_to_airflow(
    monkeypatch: pytest.MonkeyPatch, airflow_3: bool
) -> None:
    monkeypatch.setattr(execution_timeout, "AIRFLOW_3", airflow_3)
    assert execution_deadline(100.0, timedelta(0)) is None


# Its event


@pytest.mark.parametrize(("end", "status"), [("succeeded", "success"), ("failed", "error"), ("cancelled", "cancelled")])
async def test_the_end_of_the_job_is_its_event(sim: Simulator, end: str, status: str) -> None:
    job = sim.add_job(cid := sim.add_connection(), script=Script(duration=0.2, pending=0.0, outcome=end))
    event = await first_event(waiting(job["id"], try_number=3))
    assert (event["status"], event["job_id"], event["try_number"]) == (status, job["id"], 3)
    assert event["job"]["connectionId"] == cid
    assert str(job["id"]) in event["message"]


async def test_it_ends_at_its_event(sim: Simulator) -> None:
    job = sim.add_job(sim.add_connection(), script=Script(duration=0.0, pending=0.0))
    assert len([event async for event in waiting(job["id"]).run()]) == 1


async def test_timeout_is_an_error_and_execution_timeout_a_timeout(sim: Simulator) -> None:
    job = sim.add_job(sim.add_connection(), script=ENDLESS)
    soon = time.time() + 0.3
    event = await first_event(waiting(job["id"], end_time=soon))
    assert (event["status"], event["reason"], event["job"]["status"]) == ("error", "timeout", "running")
    event = await first_event(waiting(job["id"], execution_deadline=soon))
    assert (event["status"], event["reason"]) == ("timeout", "timeout")
    assert sim.job(job["id"])["status"] == "running"


async def test_a_trigger_that_comes_back_after_its_deadline_looks_once_more(sim: Simulator) -> None:
    job = sim.add_job(sim.add_connection(), script=ENDLESS)
    sim.finish(job["id"], "succeeded")
    assert (await first_event(waiting(job["id"], end_time=time.time() - 3600)))["status"] == "success"


async def test_the_deadline_holds_while_the_connection_cannot_be_read(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "FINAL_CHECK_WITHIN", 0.2)
    event = await first_event(waiting(7, conn_id="missing", end_time=time.time()))
    assert (event["status"], event["reason"]) == ("error", "timeout")


async def test_an_unknown_job_is_an_error_of_its_own(sim: Simulator) -> None:
    event = await first_event(waiting(999))
    assert (event["status"], event["reason"]) == ("error", "not_visible")


async def test_an_early_event_is_held_back_where_a_scheduler_is(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3 can fail a task that is resumed while it still finishes to defer; in dag.test there is no such race."""
    monkeypatch.setattr(base_trigger, "HOLD_EVENTS", 10.0)
    job = sim.add_job(sim.add_connection(), script=Script(duration=0.0, pending=0.0))
    later = time.time() + 0.6
    await first_event(waiting(job["id"], not_before=time.time() + 3600))
    await first_event(waiting(job["id"], TaskInstance(), not_before=later))
    assert time.time() >= later


async def test_a_worker_whose_clock_is_ahead_does_not_hold_an_event_for_long(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_trigger, "HOLD_EVENTS", 0.1)
    ahead = time.time() + 3600
    job = sim.add_job(cid := sim.add_connection(), script=Script(duration=0.0, pending=0.0))
    trigger = waiting(job["id"], TaskInstance(), not_before=ahead)
    assert (await asyncio.wait_for(first_event(trigger), 20))["status"] == "success"
    turn: Any = AirbyteQueueTrigger(cid, "airbyte_default", 1.0, 0.1, not_before=ahead)
    turn.task_instance = TaskInstance()
    assert (await asyncio.wait_for(first_event(turn), 20))["status"] == "free"


async def test_a_turn_is_an_event_and_its_deadlines_too(sim: Simulator) -> None:
    idle, busy = sim.add_connection(), sim.add_connection()
    sim.add_job(busy, script=ENDLESS)
    arguments: dict[str, Any] = {"conn_id": "airbyte_default", "queued_at": 1.0, "poll_interval": 0.1}
    assert (await first_event(AirbyteQueueTrigger(idle, **arguments, try_number=2)))["status"] == "free"
    event = await first_event(AirbyteQueueTrigger(busy, **arguments, end_time=time.time() + 0.3))
    assert (event["status"], event["reason"]) == ("timeout", "timeout")
    event = await first_event(AirbyteQueueTrigger(busy, **arguments, execution_deadline=time.time() + 0.3))
    assert (event["status"], event["reason"]) == ("timeout", "execution_timeout")


def in_line(cid: str, queued_at: float, ti: TaskInstance | None = None, **arguments: Any) -> Any:
    turn = AirbyteQueueTrigger(cid, "airbyte_default", queued_at, 0.1, **arguments)
    turn.task_instance = ti
    turn._log = logging.getLogger("task")
    return turn


async def test_a_turn_whose_task_is_killed_while_the_event_is_held_back_is_the_next_ones(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_trigger, "HOLD_EVENTS", 3600.0)
    cid = sim.add_connection()
    first = in_line(cid, 1.0, TaskInstance(), not_before=time.time() + 3600)
    held, second = (asyncio.ensure_future(first_event(each)) for each in (first, in_line(cid, 2.0)))
    while sim.count("list") < 2:
        # Only who has become the first of the line asks: by the second request the turn was given.
        await asyncio.sleep(0.02)
    assert not second.done()
    await asyncio.wait_for(end_as_airflow_does(first, held), 20)
    assert (await asyncio.wait_for(second, 20))["status"] == "free"


async def test_a_turn_that_its_task_has_heard_of_stays_its_own(sim: Simulator) -> None:
    cid = sim.add_connection()
    told = in_line(cid, 1.0).run()
    await anext(told)
    with pytest.raises(asyncio.CancelledError):
        await told.athrow(asyncio.CancelledError())
    second = asyncio.ensure_future(first_event(in_line(cid, 2.0)))
    done, _ = await asyncio.wait({second}, timeout=0.5)
    assert not done


# Its last lines


class SlowLog(logging.Logger):
    """Has a line written when it is told to."""

    def __init__(self) -> None:
        super().__init__("slow")
        self.reached, self.free = threading.Event(), threading.Event()
        self.lines: list[str] = []

    def handle(self, record: logging.LogRecord) -> None:
        self.reached.set()
        self.free.wait(30)
        self.lines.append(record.getMessage())


@pytest.fixture
def slow_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowLog]:
    monkeypatch.setattr(off_loop, "WRITTEN_WITHIN", 30.0)
    log = SlowLog()
    yield log
    log.free.set()


async def ends_when_all_is_written(ending: asyncio.Task[Any], log: SlowLog) -> None:
    assert await asyncio.to_thread(log.reached.wait, 10)
    done, _ = await asyncio.wait({ending}, timeout=1.0)
    assert not done
    log.free.set()
    await asyncio.wait({ending}, timeout=20)
    assert ending.done()


@pytest.mark.parametrize("ends", ["runs out of time", "is killed"])
async def test_the_lines_of_a_wait_for_a_turn_are_written_before_it_ends(
    sim: Simulator, slow_log: SlowLog, ends: str
) -> None:
    sim.add_job(cid := sim.add_connection(), script=ENDLESS)
    turn = in_line(cid, 1.0, end_time=time.time() + (0.5 if ends == "runs out of time" else 3600))
    turn._log = slow_log
    waits = asyncio.ensure_future(first_event(turn))
    if ends == "is killed":
        assert await asyncio.to_thread(slow_log.reached.wait, 10)
        waits.cancel()
    await ends_when_all_is_written(waits, slow_log)
    assert waits.cancelled() or waits.result()["status"] == "timeout"
    assert slow_log.lines[0].startswith(f"Connection {cid} runs job")


async def test_why_a_job_is_left_alone_is_written_before_a_kill_is_over(slow_log: SlowLog) -> None:
    """There is no Airflow here to tell how the task stands."""
    trigger = waiting(7, TaskInstance(), cancel_on_kill=True, try_number=1)
    trigger._log = slow_log
    await ends_when_all_is_written(asyncio.ensure_future(trigger.on_kill()), slow_log)
    assert "leaving job 7 alone" in slow_log.lines[0]


async def test_the_lines_of_a_wait_whose_job_is_to_go_on_are_written_before_a_kill_is_over(
    sim: Simulator, slow_log: SlowLog
) -> None:
    trigger = waiting(sim.add_job(sim.add_connection(), script=ENDLESS)["id"])
    trigger._log = slow_log
    waits = asyncio.ensure_future(first_event(trigger))
    assert await asyncio.to_thread(slow_log.reached.wait, 10)
    await ends_when_all_is_written(asyncio.ensure_future(end_as_airflow_does(trigger, waits)), slow_log)
    assert waits.cancelled()
    assert slow_log.lines[0].endswith("is running")


# Credentials that change


@pytest.fixture
def rotated(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what gives Airbyte's application another secret, which its Airflow connection is given, too."""
    monkeypatch.setattr(credentials, "KNOWN_FOR", 0.0)
    monkeypatch.setattr(credentials, "LOOK_FOR_CHANGE", 0.1)

    def rotate() -> None:
        sim.rotate_secret()
        sim.revoke_tokens()
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim))

    return rotate


def with_log(trigger: Any) -> list[str]:
    trigger._log, lines = kept_log()
    return lines


async def is_said(lines: list[str], what: str) -> None:
    while not any(what in line for line in lines):
        await asyncio.sleep(0.02)


async def test_a_wait_goes_on_with_a_secret_that_was_changed_meanwhile(
    sim: Simulator, rotated: Callable[[], None]
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    trigger = waiting(job_id, try_number=1)
    lines = with_log(trigger)
    running = await started(trigger, sim)
    await is_said(lines, "is running")
    rotated()
    await is_said(lines, "goes on with its new credentials")
    sim.finish(job_id, "succeeded")
    assert (await asyncio.wait_for(running, 20))["status"] == "success"
    assert said(lines, f"Airbyte job {job_id} is running: ") <= 1
    assert [line.partition(".")[0] for line in lines if "so far" not in line] == [
        f"Airbyte job {job_id} is running",
        "Airbyte cannot be asked now",
        "Airflow connection 'airbyte_default' was changed: this task goes on with its new credentials",
    ]
    assert sim.client_secret not in "".join(lines)


async def test_a_wait_whose_credentials_are_refused_just_goes_on_while_the_connection_is_unchanged(
    sim: Simulator, rotated: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = 0
    load = credentials.load_settings

    def count(*args: Any, **kwargs: Any) -> Any:
        nonlocal looked_up
        looked_up += 1
        return load(*args, **kwargs)

    monkeypatch.setattr(credentials, "load_settings", count)
    job_ids = sim.add_jobs(sim.add_connections(30), ENDLESS)
    triggers_ = [waiting(job_id) for job_id in job_ids]
    lines = [with_log(each) for each in triggers_]
    waits = [asyncio.ensure_future(first_event(each)) for each in triggers_]
    for each in lines:
        await is_said(each, "is running")
    before = looked_up
    fault = sim.add_fault(Fault("token", "status", status=401))
    sim.revoke_tokens()
    for each in lines:
        await is_said(each, "cannot be asked now")
    while looked_up < before + 3:
        await asyncio.sleep(0.02)
    # One look-up for all of them each time, not one each.
    assert looked_up < before + 30
    assert not any(each.done() for each in waits)
    sim.clear_faults(fault)
    for each in lines:
        await is_said(each, "answers again")
    for job_id in job_ids:
        sim.finish(job_id, "succeeded")
    assert {event["status"] for event in await asyncio.gather(*waits)} == {"success"}
    assert not any("goes on with" in line for each in lines for line in each)


async def test_a_wait_does_not_go_on_at_another_airbyte(
    sim: Simulator, rotated: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, a job of that number is another."""
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    trigger = waiting(job_id)
    lines = with_log(trigger)
    running = await started(trigger, sim)
    with Simulator() as other:
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(other))
        fault = sim.add_fault(Fault("token", "status", status=401))
        sim.revoke_tokens()
        await is_said(lines, "cannot be asked now")
        sim.clear_faults(fault)
        await is_said(lines, "answers again")
        sim.finish(job_id, "succeeded")
        assert (await asyncio.wait_for(running, 20))["status"] == "success"
        assert other.count() == 0


async def test_the_deadline_and_a_kill_hold_while_the_old_secret_is_refused(
    sim: Simulator, rotated: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    late, killed = sim.add_jobs(sim.add_connections(2), ENDLESS)
    ti = TaskInstance(state="failed")
    trigger = waiting(killed, ti, cancel_on_kill=True, try_number=1)
    lines = with_log(trigger)
    running = await started(trigger, sim)
    monkeypatch.setattr(waiting_module, "FINAL_CHECK_WITHIN", 0.2)
    runs_out = asyncio.ensure_future(first_event(waiting(late, end_time=time.time() + 2)))
    sim.rotate_secret()
    sim.revoke_tokens()
    await is_said(lines, "cannot be asked now")
    assert (await asyncio.wait_for(runs_out, 20))["reason"] == "timeout"
    with airflow_tells(monkeypatch, ti):
        kill = asyncio.ensure_future(end_as_airflow_does(trigger, running))
        refused = sim.count("token") + 1
        await is_said(lines, "was killed by a user action")
        while sim.count("token") < refused:
            await asyncio.sleep(0.02)
        assert sim.job(killed)["status"] == "running"
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim))
        await asyncio.wait_for(kill, 20)
    assert sim.job(killed)["status"] == "cancelled"


@pytest.mark.parametrize("asks", ["for the job that runs", "whether it is idle"])
async def test_a_turn_is_waited_for_with_a_secret_that_was_changed_meanwhile(
    sim: Simulator, rotated: Callable[[], None], asks: str
) -> None:
    job_id = sim.add_job(cid := sim.add_connection(), script=ENDLESS)["id"]
    if asks == "whether it is idle":
        # Somebody has a turn already.
        sim.finish(job_id, "succeeded")
        told = in_line(cid, 0.5).run()
        await anext(told)
    line = [in_line(cid, float(place)) for place in (1, 2)]
    lines = [with_log(each) for each in line]
    waits = [asyncio.ensure_future(first_event(each)) for each in line]
    calls = sim.count("list")
    while sim.count("list") < calls + 1:
        await asyncio.sleep(0.02)
    rotated()
    await is_said(lines[0], "goes on with its new credentials")
    if asks == "for the job that runs":
        sim.finish(job_id, "succeeded")
    assert (await asyncio.wait_for(waits[0], 20))["status"] == "free"
    sim.add_job(cid, script=Script(duration=0.0, pending=0.0))
    assert (await asyncio.wait_for(waits[1], 20))["status"] == "free"


# A kill


async def end_as_airflow_does(trigger: Any, running: asyncio.Task[Any]) -> None:
    """Cancel again and again until the trigger has ended, then tell it of the kill where Airflow does."""
    while not running.done():
        running.cancel()
        await asyncio.wait({running}, timeout=0.05)
    if triggers.AIRFLOW_TELLS_OF_KILLS:
        telling = asyncio.ensure_future(trigger.on_kill())
        await asyncio.wait({telling}, timeout=0.05)
        while not telling.done():
            telling.cancel()
            await asyncio.wait({telling}, timeout=0.05)


async def started(trigger: Any, sim: Simulator) -> asyncio.Task[Any]:
    running = asyncio.ensure_future(first_event(trigger))
    before = sim.count("get")
    while sim.count("get") == before:
        await asyncio.sleep(0.02)
    return running


@pytest.mark.parametrize("tells", [True, False], ids=["told", "finds out"])
@pytest.mark.parametrize(
    ("state", "parameters", "status"),
    [
        ("failed", {}, "cancelled"),
        ("success", {}, "cancelled"),
        ("queued", {}, "cancelled"),
        ("deferred", {}, "running"),
        ("failed", {"cancel_on_kill": False}, "running"),
        ("failed", {"end_time": 0.0}, "running"),
    ],
)
async def test_a_kill_by_a_person_cancels_the_job_and_nothing_else_does(
    sim: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    parameters: dict[str, Any],
    status: str,
    tells: bool,
) -> None:
    monkeypatch.setattr(triggers, "AIRFLOW_TELLS_OF_KILLS", tells)
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    ti = TaskInstance(state=state, xcoms={WAIT_MARKER: {"job_id": job_id, "try": 1, "started_here": True}})
    trigger = waiting(job_id, ti, cancel_on_kill=True, try_number=1)
    running = await started(trigger, sim)
    trigger.end_time = parameters.get("end_time", trigger.end_time)
    trigger.cancel_on_kill = parameters.get("cancel_on_kill", True)
    with airflow_tells(monkeypatch, ti):
        await asyncio.wait_for(end_as_airflow_does(trigger, running), 20)
    assert running.cancelled()
    assert sim.job(job_id)["status"] == status


async def test_a_kill_does_not_cancel_another_airbytes_job(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Airflow connection leads to another Airbyte than when the task began to wait."""
    monkeypatch.setattr(credentials, "KNOWN_FOR", 0.0)
    job_id = sim.add_job(cid := sim.add_connection(), script=ENDLESS)["id"]
    ti = TaskInstance(state="failed")
    trigger = waiting(job_id, ti, cancel_on_kill=True, try_number=1, connection_id=cid)
    running = await started(trigger, sim)
    with Simulator() as new, airflow_tells(monkeypatch, ti):
        others = new.add_job(new.add_connection(), script=ENDLESS)["id"]
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(new))
        await asyncio.wait_for(end_as_airflow_does(trigger, running), 20)
        assert new.job(others)["status"] == "running"
        assert new.count("get") == 1


async def test_a_kill_after_the_event_does_nothing(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.0, pending=0.0))["id"]
    ti = TaskInstance(state="failed")
    trigger = waiting(job_id, ti, cancel_on_kill=True, try_number=1)
    generator = trigger.run()
    await anext(generator)
    requests = sim.count()
    with airflow_tells(monkeypatch, ti):
        with pytest.raises(asyncio.CancelledError):
            await generator.athrow(asyncio.CancelledError())
        if triggers.AIRFLOW_TELLS_OF_KILLS:
            await trigger.on_kill()
    assert sim.count() == requests


async def test_dag_test_cancels_the_trigger_after_its_event_and_no_job(sim: Simulator) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    trigger = waiting(job_id, None, cancel_on_kill=True, try_number=1)
    running = await started(trigger, sim)
    await asyncio.wait_for(end_as_airflow_does(trigger, running), 20)
    assert sim.job(job_id)["status"] == "running"


async def test_a_kill_while_airbyte_is_in_trouble_is_said_and_ends(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancel_killed, "CANCEL_KILLED_WITHIN", 0.5)
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    ti = TaskInstance(state="failed")
    trigger = waiting(job_id, ti, cancel_on_kill=True, try_number=1)
    running = await started(trigger, sim)
    sim.add_fault(Fault("*", "hang"))
    with airflow_tells(monkeypatch, ti):
        await asyncio.wait_for(end_as_airflow_does(trigger, running), 20)
    sim.clear_faults()
    assert running.cancelled()


async def test_many_kills_at_once_all_reach_their_jobs_and_hold_nobody_elses_looks(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airbyte answers a cancel call only when the job has stopped: the last of them has long to wait."""
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim, max_requests=1))
    *killed, other = sim.add_jobs(sim.add_connections(26), ENDLESS)
    sim.add_fault(Fault("cancel", "latency", seconds=0.45))
    waits_on = await started(waiting(other), sim)
    ti = TaskInstance(state="failed")
    with airflow_tells(monkeypatch, ti):
        kills = asyncio.gather(*(waiting(each, ti, cancel_on_kill=True, try_number=1).on_kill() for each in killed))
        while sim.count("cancel") < 2:
            await asyncio.sleep(0.02)
        sim.finish(other, "succeeded")
        assert (await waits_on)["status"] == "success"
        assert sim.count("cancel") < 12
        await kills
    assert {sim.job(each)["status"] for each in killed} == {"cancelled"}


# Metrics


async def test_the_first_metric_is_not_sent_from_the_event_loop(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow reads a file and looks its metrics server up then; and a server that is wrong harms no wait."""
    threads: list[int] = []

    class Broken:
        def __getattr__(self, name: str) -> Any:
            def fail(*_: Any) -> None:
                threads.append(threading.get_ident())
                raise OSError("no such metrics server")

            return fail

    monkeypatch.setattr(shared_watcher, "Stats", Broken())
    monkeypatch.setattr(shared_watcher, "_metrics_opened", False)
    job_ids = sim.add_jobs(sim.add_connections(3), Script(duration=0.5))
    events = await asyncio.gather(*(first_event(waiting(job_id)) for job_id in job_ids))
    assert [event["status"] for event in events] == ["success"] * 3
    here = threading.get_ident()
    assert threads[0] != here
    # Only the first: the others take no time.
    assert set(threads[1:]) == {here}
