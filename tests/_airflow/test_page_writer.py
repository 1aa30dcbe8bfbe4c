"""What a triggerer leaves for the page: through real HTTP, against the simulator."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from airbyte_deferrable._airflow import page_writer
from airbyte_deferrable._airflow.page_record import INDEX, PREFIX, Told, read
from airbyte_deferrable._airflow.page_writer import PageWriter, Store
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import ENDLESS
from helpers.one_trigger import end_as_airflow_does, started, waiting
from helpers.waiting import until

#: Moves rows for as long as any test takes.
MOVING = Script(duration=3600, pending=0.0, rows=3_600_000, bytes=360_000_000)


class Kept(Store):
    """A place of the test's own for texts, in which some may not be kept."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.writes = 0
        self.error: Exception | None = None

    def get(self, name: str) -> Any:
        return self.texts.get(name)

    def set(self, name: str, text: str) -> None:
        self.writes += 1
        if self.error is not None:
            raise self.error
        self.texts[name] = text

    def delete(self, name: str) -> None:
        self.texts.pop(name, None)

    def told(self) -> list[Told]:
        return [told for name, text in list(self.texts.items()) if name != INDEX and (told := read(text)) is not None]

    def waits(self) -> list[Told]:
        return [told for told in self.told() if told.health is not None]


def writer(store: Kept, *, wanted: bool = True) -> PageWriter:
    return PageWriter(lambda: wanted, store, every=0.1, first_after=0.0)


async def seen(store: Kept, condition: Callable[[Told], object]) -> Told:
    """Return the record that fulfils a condition, once there is one."""
    await until(lambda: any(condition(told) for told in store.waits()))
    return next(told for told in store.waits() if condition(told))


async def test_record_tells_jobs_their_rates_names_and_health(sim: Simulator) -> None:
    store = Kept()
    cid = sim.add_connection("Orders", MOVING)
    job_id = sim.add_job(cid)["id"]
    trigger = waiting(job_id, connection_id=cid, not_before=time.time(), progress_interval=0.1)
    running = await started(trigger, sim)
    writer(store).start()
    told = await seen(store, lambda told: told.jobs and told.jobs[0].rows_per_second)
    (job,) = told.jobs
    assert told.conn_ids == ("airbyte_default",)
    assert (job.job_id, job.connection_id, job.status) == (job_id, cid, "running")
    assert job.attempts == 1
    assert job.created_at is not None
    assert job.seen_at is not None
    assert job.rows is not None
    assert job.rows > 0
    assert job.rows_per_second is not None
    assert job.rows_per_second > 0
    assert job.bytes_per_second is not None
    health = told.health
    assert health is not None
    assert (health.reachable, health.since, health.trouble, health.waiting) == (True, None, None, 1)
    assert health.requests_per_minute is not None
    assert health.answered_seconds_ago is not None
    # They are learned one after the other.
    await until(lambda: any(cid in each.names and all(each.names[cid]) for each in store.told()))
    (names,) = [each.names for each in store.told() if each.names]
    assert names[cid][0] == "Orders"
    await end_as_airflow_does(trigger, running)


async def test_record_holds_no_secret_and_no_address(sim: Simulator) -> None:
    store = Kept()
    job_id = sim.add_job(sim.add_connection("Orders", ENDLESS))["id"]
    trigger = waiting(job_id)
    running = await started(trigger, sim)
    writer(store).start()
    told = await seen(store, lambda told: told.jobs)
    for secret in (sim.client_secret, sim.client_id, sim.url, "127.0.0.1"):
        assert secret not in repr(told)
    await end_as_airflow_does(trigger, running)


async def test_last_record_says_that_nothing_waits_and_then_there_is_none(sim: Simulator) -> None:
    store = Kept()
    job_id = sim.add_job(sim.add_connection("Orders", ENDLESS))["id"]
    trigger = waiting(job_id)
    running = await started(trigger, sim)
    one = writer(store)
    one.start()
    await seen(store, lambda told: told.jobs)
    sim.finish(job_id, "succeeded")
    await running
    last = await seen(store, lambda told: told.health is not None and told.health.waiting == 0)
    assert last.jobs == ()
    # Nothing is left that could write another.
    await until(lambda: one._task is None)
    assert not [task for task in asyncio.all_tasks() if "PageWriter" in repr(task.get_coro())]

    # The next wait begins it again.
    again = waiting(sim.add_job(sim.add_connection("Users", ENDLESS))["id"])
    running = await started(again, sim)
    one.start()
    await seen(store, lambda told: told.jobs)
    await end_as_airflow_does(again, running)


async def test_outage_is_told_with_what_is_wrong(sim: Simulator) -> None:
    store = Kept()
    trigger = waiting(sim.add_job(sim.add_connection("Orders", ENDLESS))["id"])
    running = await started(trigger, sim)
    writer(store).start()
    await seen(store, lambda told: told.jobs)
    fault = sim.add_fault(Fault("*", status=503))
    told = await seen(store, lambda told: told.health is not None and not told.health.reachable)
    assert told.health is not None
    assert told.health.since is not None
    assert told.health.trouble is not None
    assert "503" in told.health.trouble
    sim.clear_faults(fault)
    await seen(store, lambda told: told.health is not None and told.health.reachable)
    await end_as_airflow_does(trigger, running)


async def test_airflow_that_takes_nothing_down_breaks_no_wait_and_is_said_once(
    sim: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    store = Kept()
    store.error = RuntimeError("no Variables today")
    job_id = sim.add_job(sim.add_connection("Orders", ENDLESS))["id"]
    trigger = waiting(job_id)
    running = await started(trigger, sim)
    with caplog.at_level(logging.INFO, logger=page_writer.__name__):
        writer(store).start()
        await until(lambda: store.writes > 3)
        store.error = None
        await seen(store, lambda told: told.jobs)

        def levels() -> list[str]:
            return [record.levelname for record in caplog.records if record.name == page_writer.__name__]

        await until(lambda: len(levels()) >= 2)
    assert levels() == ["WARNING", "INFO"]
    sim.finish(job_id, "succeeded")
    assert (await running)["status"] == "success"


async def test_nothing_is_written_where_there_is_no_page(sim: Simulator) -> None:
    store = Kept()
    trigger = waiting(sim.add_job(sim.add_connection("Orders", ENDLESS))["id"])
    running = await started(trigger, sim)
    none = writer(store, wanted=False)
    none.start()
    assert none._task is None
    # Nor is it in a process that is no triggerer, such as this one.
    assert not page_writer.in_a_triggerer()
    await end_as_airflow_does(trigger, running)


async def test_record_that_nobody_renews_is_deleted_by_the_next_process(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Kept()
    dead = f"{PREFIX}dead_0_waits_"
    store.texts = {
        f"{dead}0": "1:old",
        f"{dead}1": "1:old",
        "somebody_elses": "stays",
        INDEX: f'{{"{dead}": [2, {time.time() - 1}], "{PREFIX}lives_0_waits_": [1, {time.time() + 600}],'
        ' "somebody_": [9, 0]}',
        f"{PREFIX}lives_0_waits_0": "1:new",
    }
    trigger = waiting(sim.add_job(sim.add_connection("Orders", ENDLESS))["id"])
    running = await started(trigger, sim)
    writer(store).start()
    await until(lambda: f"{dead}1" not in store.texts)
    assert f"{dead}0" not in store.texts
    assert store.texts["somebody_elses"] == "stays"
    assert store.texts[f"{PREFIX}lives_0_waits_0"] == "1:new"
    await until(lambda: dead not in store.texts[INDEX])
    await end_as_airflow_does(trigger, running)


def test_index_that_was_changed_by_hand_is_begun_anew() -> None:
    for text in (None, "", "[]", "5", '{"a": 1}', "{", f'{{"{PREFIX}x": ["y", 1]}}'):
        assert page_writer._index_of(text) == {}
