"""A trigger without a triggerer: run, ended and killed as Airflow does."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from airbyte_deferrable.simulator import Simulator
from airbyte_deferrable.triggers import AirbyteQueueTrigger, AirbyteSyncTrigger
from airbyte_deferrable.triggers import sync as sync_trigger
from helpers.one_task import (
    TaskInstance,
    first_event,
    kept_log,
)
from helpers.waiting import until

SERVED: dict[str, Any] = {"job_id": 7, "conn_id": "airbyte_default", "end_time": 2e9, "poll_interval": 0.1}


def waiting(job_id: int, ti: TaskInstance | None = None, **arguments: Any) -> Any:
    trigger = AirbyteSyncTrigger(**{**SERVED, "job_id": job_id, **arguments})
    trigger.task_instance = ti
    trigger._log = logging.getLogger("task")
    return trigger


def queued(cid: str, queued_at: float, ti: TaskInstance | None = None, **arguments: Any) -> Any:
    turn = AirbyteQueueTrigger(cid, "airbyte_default", queued_at, 0.1, **arguments)
    turn.task_instance = ti
    turn._log = logging.getLogger("task")
    return turn


def with_log(trigger: Any) -> list[str]:
    trigger._log, lines = kept_log()
    return lines


async def is_said(lines: list[str], what: str) -> None:
    await until(lambda: any(what in line for line in lines))


async def started(trigger: Any, sim: Simulator) -> asyncio.Task[Any]:
    running = asyncio.ensure_future(first_event(trigger))
    before = sim.count("get")
    await until(lambda: sim.count("get") > before)
    return running


async def end_as_airflow_does(trigger: Any, running: asyncio.Task[Any]) -> None:
    """Cancel again and again until the trigger has ended, then tell it of the kill where Airflow does."""
    while not running.done():
        running.cancel()
        await asyncio.wait({running}, timeout=0.05)
    if sync_trigger.AIRFLOW_TELLS_OF_KILLS:
        telling = asyncio.ensure_future(trigger.on_kill())
        await asyncio.wait({telling}, timeout=0.05)
        while not telling.done():
            telling.cancel()
            await asyncio.wait({telling}, timeout=0.05)
