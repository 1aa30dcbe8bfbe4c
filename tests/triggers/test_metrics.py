"""A trigger's metrics are sent without blocking the event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from airbyte_deferrable._airflow import shared_watcher
from airbyte_deferrable.simulator import Script, Simulator
from helpers.one_task import (
    first_event,
)
from helpers.one_trigger import waiting


async def test_metric_is_not_sent_first_from_the_event_loop(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
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
