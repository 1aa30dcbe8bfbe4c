"""In a triggerer, and only there, the garbage collector's full collections leave out what Airflow has loaded."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from airbyte_deferrable._airflow import off_loop
from airbyte_deferrable.simulator import Script, Simulator
from airbyte_deferrable.triggers import AirbyteQueueTrigger, AirbyteSyncTrigger
from helpers.airbyte import connection_to
from helpers.one_task import TaskInstance, first_event

SETTING = "AIRFLOW__AIRBYTE_DEFERRABLE__GC_FREEZE"


class Loaded:
    """Something that Airflow has loaded."""


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(off_loop, "_frozen", False)
    gc.unfreeze()
    yield
    gc.unfreeze()


@pytest.fixture
def job_id(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    return int(airbyte_simulator.add_job(airbyte_simulator.add_connection(), Script(duration=0))["id"])


def gone_through(loaded: Loaded) -> bool:
    """Whether a full collection goes through the object."""
    return any(each is loaded for each in gc.get_objects())


async def run(job_id: int, ti: TaskInstance | None) -> None:
    trigger = AirbyteSyncTrigger(job_id, "airbyte_default", None, 0.1)
    trigger.task_instance = ti
    assert (await first_event(trigger))["status"] == "success"


async def test_collector_leaves_out_what_is_loaded_once_a_triggerer_waits_for_a_job(job_id: int) -> None:
    loaded = Loaded()
    assert gone_through(loaded)
    await run(job_id, TaskInstance())
    assert not gone_through(loaded)


async def test_collector_leaves_out_what_is_loaded_once_a_triggerer_waits_in_the_queue(
    airbyte_simulator: Simulator, job_id: int
) -> None:
    loaded = Loaded()
    connection_id = airbyte_simulator.add_connection()
    trigger = AirbyteQueueTrigger(connection_id, "airbyte_default", 0.0, 0.1)
    trigger.task_instance = TaskInstance()
    assert (await first_event(trigger))["status"] == "free"
    assert not gone_through(loaded)


async def test_collector_goes_through_what_comes_later(job_id: int) -> None:
    await run(job_id, TaskInstance())
    later = Loaded()
    await run(job_id, TaskInstance())
    assert gone_through(later)


async def test_outside_of_a_triggerer_nothing_is_left_out(job_id: int) -> None:
    loaded = Loaded()
    await run(job_id, None)
    assert gone_through(loaded)


async def test_setting_turns_it_off(job_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "False")
    loaded = Loaded()
    await run(job_id, TaskInstance())
    assert gone_through(loaded)


async def test_setting_that_cannot_be_read_fails_no_task(
    job_id: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(SETTING, "perhaps")
    loaded = Loaded()
    await run(job_id, TaskInstance())
    assert not gone_through(loaded)
    assert "gc_freeze" in caplog.text
