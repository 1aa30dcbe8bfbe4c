"""A subclass that was the official trigger's may have any private name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.providers.airbyte.triggers.airbyte import AirbyteSyncTrigger as Official
from airflow.triggers.base import BaseTrigger

from airbyte_deferrable._airflow import base_trigger
from airbyte_deferrable.simulator import Script, Simulator
from airbyte_deferrable.triggers import AirbyteFreshnessTrigger, AirbyteQueueTrigger, AirbyteSyncTrigger
from airbyte_deferrable.triggers import sync as sync_trigger
from harness.waiting import IN_VAIN
from helpers.airbyte import connection_to
from helpers.one_task import TaskInstance, airflow_tells, first_event

#: ``_log`` is Airflow's, but the official trigger runs without it.
LIKELY = """
    _run _wait _look _check _finish _poll _connect _begin _start _execute _hook _log _logger _state _status _job _jobs
    _job_id _client _session _token _watch _watcher _settings _cancel _kill _killed _is_killed _clean_up _cleanup _event
    _events _payload _fire _fired _fired_at _introduce _introduction _report _url _job_url _link _xcom _xcoms _write
    _writers _result _results _write_results _deadline _deadlines _timeout _expired _sleep _hold _held _retry _attempt
    _outcome _admission _queue _position _turn _renewal _credentials _course _task _task_log _ti _conn _connection
    _get_hook _get_job _get_conn _get_status _get_async_hook _is_running _still_running _stop _stopped _stopping _told
    _lock _loop _progress _metrics _stats _serialize _arguments _kwargs _started _started_here _ended _wait_for
"""
#: What the official class has, and Airflow's own classes do not.
OFFICIAL = {name for name in dir(Official) if name.startswith("_") and not name.startswith("__")} - set(
    dir(BaseTrigger)
)
NAMES = sorted({*LIKELY.split(), *OFFICIAL})

ENDLESS = Script(outcome=None, pending=0.0)


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("this is the user's")


def with_methods(kind: type[Any]) -> Callable[..., Any]:
    """Return a subclass with a method of each name, which nobody but the user calls."""
    return type("HasMethods", (kind,), dict.fromkeys(NAMES, refuse))


def with_attributes(kind: type[Any]) -> Callable[..., Any]:
    """Return what makes a trigger of a subclass that has set an attribute of each name."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        set_all(self)
        kind.__init__(self, *args, **kwargs)
        set_all(self)

    def set_all(trigger: Any) -> None:
        for name in NAMES:
            setattr(trigger, name, "the user's")

    return type("HasAttributes", (kind,), {"__init__": __init__})


def named_alike(kind: type[Any]) -> Callable[..., Any]:
    """Return a subclass of the same name, whose mangled names are as ours would be."""
    return type(kind.__name__, (kind,), dict.fromkeys([f"_{kind.__name__}_{name}" for name in NAMES], refuse))


SUBCLASSES = [with_methods, with_attributes, named_alike]


@pytest.fixture(autouse=True)
def ti(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskInstance]:
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    monkeypatch.setattr(base_trigger, "HOLD_EVENTS", 0.0)
    ti = TaskInstance(state="deferred")
    with airflow_tells(monkeypatch, ti):
        yield ti


def of_job(make: Callable[..., Any], job_id: int, ti: TaskInstance, connection_id: str) -> Any:
    trigger = make(
        job_id,
        "airbyte_default",
        2e9,
        0.1,
        cancel_on_kill=True,
        try_number=1,
        connection_id=connection_id,
        started_here=True,
        not_before=2e9,
    )
    trigger.task_instance = ti
    return trigger


def in_queue(make: Callable[..., Any], connection_id: str, queued_at: float, ti: TaskInstance) -> Any:
    trigger = make(connection_id, "airbyte_default", queued_at, 0.1)
    trigger.task_instance = ti
    return trigger


async def end_as_airflow_does(trigger: Any, running: asyncio.Task[Any]) -> None:
    """Cancel it until it has ended, then tell it of the kill where Airflow does."""
    while not running.done():
        running.cancel()
        await asyncio.wait({running}, timeout=0.05)
    if sync_trigger.AIRFLOW_TELLS_OF_KILLS:
        await trigger.on_kill()


async def requests(sim: Simulator, kind: str, count: int) -> None:
    while sim.count(kind) < count:
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("subclass", SUBCLASSES)
async def test_subclass_names_leave_a_job_its_event(
    airbyte_simulator: Simulator, ti: TaskInstance, subclass: Callable[[type[Any]], Any]
) -> None:
    job = airbyte_simulator.add_job(cid := airbyte_simulator.add_connection(), script=Script(duration=0.2, pending=0.0))
    trigger = of_job(subclass(AirbyteSyncTrigger), job["id"], ti, cid)
    event = await asyncio.wait_for(first_event(trigger), IN_VAIN)
    assert (event["status"], event["xcoms_written"], event["connection_id"]) == ("success", True, cid)
    assert trigger.serialize()[0] == "airbyte_deferrable.triggers.AirbyteSyncTrigger"


@pytest.mark.parametrize("subclass", SUBCLASSES)
@pytest.mark.parametrize("tells", [True, False], ids=["told", "finds out"])
async def test_subclass_names_leave_a_killed_jobs_cancellation(
    airbyte_simulator: Simulator,
    ti: TaskInstance,
    monkeypatch: pytest.MonkeyPatch,
    subclass: Callable[[type[Any]], Any],
    tells: bool,
) -> None:
    monkeypatch.setattr(sync_trigger, "AIRFLOW_TELLS_OF_KILLS", tells)
    job = airbyte_simulator.add_job(cid := airbyte_simulator.add_connection(), script=ENDLESS)
    trigger = of_job(subclass(AirbyteSyncTrigger), job["id"], ti, cid)
    running = asyncio.ensure_future(first_event(trigger))
    await requests(airbyte_simulator, "get", 1)
    ti.state = "failed"
    await asyncio.wait_for(end_as_airflow_does(trigger, running), IN_VAIN)
    assert running.cancelled()
    assert airbyte_simulator.job(job["id"])["status"] == "cancelled"


@pytest.mark.parametrize("subclass", SUBCLASSES)
async def test_subclass_names_leave_the_queue_its_event_and_its_kill(
    airbyte_simulator: Simulator,
    ti: TaskInstance,
    monkeypatch: pytest.MonkeyPatch,
    subclass: Callable[[type[Any]], Any],
) -> None:
    cid = airbyte_simulator.add_connection()
    make = subclass(AirbyteQueueTrigger)
    event = await asyncio.wait_for(first_event(in_queue(make, cid, 1.0, ti)), IN_VAIN)
    assert event["status"] == "free"
    # One that is killed while its event is held back, and the next one.
    cid = airbyte_simulator.add_connection()
    monkeypatch.setattr(base_trigger, "HOLD_EVENTS", 3600.0)
    killed, after = in_queue(make, cid, 2.0, ti), in_queue(make, cid, 3.0, ti)
    killed.not_before = 2e10
    before = airbyte_simulator.count("list")
    held = asyncio.ensure_future(first_event(killed))
    await requests(airbyte_simulator, "list", before + 1)
    waits = asyncio.ensure_future(first_event(after))
    await requests(airbyte_simulator, "list", before + 2)
    await asyncio.wait_for(end_as_airflow_does(killed, held), IN_VAIN)
    assert (await asyncio.wait_for(waits, IN_VAIN))["status"] == "free"


@pytest.mark.parametrize("subclass", SUBCLASSES)
async def test_subclass_names_leave_a_fresh_sync_its_event(
    airbyte_simulator: Simulator, ti: TaskInstance, subclass: Callable[[type[Any]], Any]
) -> None:
    cid = airbyte_simulator.add_connection()
    trigger = subclass(AirbyteFreshnessTrigger)("airbyte_default", cid, 0.0, 2e9, 0.1, try_number=1)
    trigger.task_instance = ti
    waits = asyncio.ensure_future(first_event(trigger))
    await requests(airbyte_simulator, "list", 1)
    airbyte_simulator.add_job(cid, script=Script(duration=0.0, pending=0.0))
    event = await asyncio.wait_for(waits, IN_VAIN)
    assert (event["status"], event["xcoms_written"], event["connection_id"]) == ("success", True, cid)
