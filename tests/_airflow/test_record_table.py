"""Each cell of the table of events and stores, in the docstring of ``AirflowRetryStore``: what is there afterwards."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

from airbyte_deferrable._airflow import retry_store
from airbyte_deferrable._airflow.retry_store import AirflowRetryStore
from airbyte_deferrable._airflow.started_job import StartedJob
from airbyte_deferrable._airflow.task_instance import generation_of
from airbyte_deferrable._job.record import Record
from airbyte_deferrable._job.submit import Submission
from airbyte_deferrable.api.models import Job
from helpers.one_task import (
    Store,
    TaskInstance,
    Variables,
    airflow_takes_down,
    airflow_takes_down_the_success,
    context_of,
)
from tools.modules import PAGE

LOG = logging.getLogger(__name__)
RULE = re.compile(r"^ *={4,}(?: +={4,})+ *$")


def rows() -> list[list[str]]:
    """Return the table's rows, the head first; a cell that goes on in the next line is put together."""
    lines = (AirflowRetryStore.__doc__ or "").splitlines()
    first, _, last = [number for number, line in enumerate(lines) if RULE.match(line)]
    columns = [match.span() for match in re.finditer("=+", lines[first])]
    found: list[list[str]] = []
    for line in lines[first + 1 : last]:
        if RULE.match(line):
            continue
        cells = [line[start:end].strip() for start, end in columns]
        if cells[0] and (cells[1] or not found):
            found.append(cells)
        else:
            found[-1] = [f"{before} {more}".strip() for before, more in zip(found[-1], cells, strict=True)]
    return found


HEAD, *ROWS = rows()
STORES = dict(zip(HEAD[1:], ("task state store", "variable", "last try", "once"), strict=True))


class World:
    """One task instance with one of the stores."""

    def __init__(self, store: str, variables: Variables) -> None:
        self.ti = TaskInstance(max_tries=0 if store == "once" else 2)
        self.kept: Any = Store() if store == "task state store" else variables
        self.has_store = store == "task state store"
        self.is_last = store == "last try"

    @property
    def context(self) -> Any:
        context = context_of(self.ti)
        return {**context, "task_state_store": self.kept} if self.has_store else context

    def store(self, run: int = 1) -> AirflowRetryStore:
        return AirflowRetryStore(self.context, LOG, run=run)

    def record(self, state: str, **fields: Any) -> Record:
        known = {"job_id": 4, "certain": True} if state != "requested" else {"after": 3}
        return Record.model_validate(
            {
                "generation": generation_of(self.context),
                "connection_id": "c",
                "job_type": "sync",
                "written_at": 1.0,
                "state": state,
                **known,
                **fields,
            }
        )

    def holds(self, state: str, **fields: Any) -> AirflowRetryStore:
        """Let a try before, or this one, have written a record; return the store of a try at which things happen."""
        self.store().write(self.record(state, **fields))
        if self.is_last:
            self.ti.try_number = self.ti.max_tries + 1
        return self.store()

    def what_is_there(self) -> str:
        if not self.kept:
            return "nothing"
        [record] = self.kept.values()
        return "abandoned" if record["abandoned"] else str(record["state"])


def begins(world: World) -> None:
    store = world.holds("started")
    store.take()
    assert (store.read() is None) == (world.ti.max_tries == 0)


def writes(state: str) -> Callable[[World], None]:
    def write(world: World) -> None:
        if world.is_last:
            world.ti.try_number = world.ti.max_tries + 1
        world.store().write(world.record(state))

    return write


def taken(world: World, state: str, **fields: Any) -> AirflowRetryStore:
    """Return the store of a task that has read what there was."""
    store = world.holds(state, **fields)
    store.take()
    store.read()
    return store


def succeeds(world: World) -> None:
    store = taken(world, "started")
    store.delete_after_end()
    before = world.what_is_there()
    assert before == ("started" if world.kept else "nothing")
    airflow_takes_down_the_success(world.ti)


def ends_otherwise(world: World) -> None:
    taken(world, "started").delete_after_end()
    airflow_takes_down(world.ti, "skipped")


def abandoned(
    world: World, state: str = "started", *, cancelled: bool = True, ends: bool = False, **fields: Any
) -> None:
    store = taken(world, state, **fields)
    store.abandon(cancelled=cancelled)
    if ends:
        store.drop_abandoned()
    # A kill has the last word.
    there = world.what_is_there()
    store.write(world.record("started"))
    store.release()
    store.delete()
    assert world.what_is_there() == there


class Finds:
    """An Airbyte in which the job runs."""

    async def get_job(self, job_id: int) -> Job:
        return Job(jobId=job_id, status="running", jobType="sync", connectionId="c")


def finds(world: World) -> None:
    world.store().write(world.record("started"))
    world.ti.try_number = world.ti.max_tries + 1 if world.is_last else 2
    submission = Submission(world.store(), "c", "sync", log=LOG)
    client: Any = Finds()
    job = asyncio.run(submission._find_again(client))
    assert (job is None) == (world.ti.max_tries == 0)
    # By that a worker knows that Airflow has lost touch with that it is another's.
    assert all(record["generation"]["try_number"] == 2 for record in world.kept.values())


def runs_out_of_time(world: World) -> None:
    store = taken(world, "started")
    submission = Submission(store, "c", "sync", log=LOG)
    submission.started_job = 4
    cancelled: list[int] = []

    def cancel(job_id: int, *_: Any) -> Job:
        cancelled.append(job_id)
        return Job(jobId=job_id, status="cancelled", jobType="sync", connectionId="c")

    StartedJob(submission, store, cancel=cancel, log=LOG).cancel_out_of_time(60.0)
    assert cancelled == [4]


def in_a_further_run(do: Callable[[AirflowRetryStore], object]) -> Callable[[World], None]:
    """Let something happen in the try's second run, and leave what the first has written."""

    def happen(world: World) -> None:
        for run in (1, 2):
            world.store(run).write(world.record("started"))
        if world.is_last:
            world.ti.try_number = world.ti.max_tries + 1
            world.store().take()
        store = world.store(run=2)
        store.take()
        do(store)
        second = world.store(run=2)._store
        second.delete()

    return happen


def succeeds_in(store: AirflowRetryStore) -> None:
    store.delete_after_end()
    airflow_takes_down_the_success(store._context["ti"])


def clear(world: World) -> None:
    world.ti.max_tries, world.ti.try_number = world.ti.max_tries + world.ti.try_number, world.ti.try_number + 1


def cleared(world: World, *, ends: bool = False) -> None:
    # A last try takes what there is, before the clear.
    taken(world, "started")
    clear(world)
    store = world.store()
    record = store.read()
    assert (record is None) == (world.ti.max_tries == 1 or world.is_last)
    assert record is None or store.generation.since(record) == "cleared"
    if ends:
        store.delete()


def lost(world: World) -> None:
    """Do all that a worker may still do that Airflow has lost touch with: the next try has written something else."""
    left = taken(world, "started"), taken(world, "started")
    if world.is_last:
        # Only a clear has another one begin.
        clear(world)
    else:
        world.ti.try_number += 1
    following = world.store()
    following.write(world.record("started", job_id=5))
    for store, cancelled in zip(left, (True, False), strict=True):
        store._in_touch_at = 0.0
        store.write(world.record("started", generation=store.generation))
        store.release()
        store.delete()
        store._finish()
        store.abandon(cancelled=cancelled)
    assert all(record["job_id"] == 5 for record in world.kept.values())


#: What brings each row about, by the row's words.
EVENTS: dict[str, Callable[[World], None]] = {
    "a run begins, or is resumed": begins,
    "a retry finds its job live or succeeded": finds,
    "Airbyte is about to be asked": writes("requested"),
    "Airbyte has named the job": writes("started"),
    "... and the task does not wait": writes("released"),
    "it waits for somebody else's": writes("attached"),
    "the job goes on without the task": lambda world: taken(world, "started").release(),
    "its ``execution_timeout`` is over": runs_out_of_time,
    "no job was made, or it did not succeed": lambda world: taken(world, "requested").delete(),
    "Airflow knows that the task succeeded": succeeds,
    "... that it is skipped, or fails for good": ends_otherwise,
    "... what an earlier run of it wrote": in_a_further_run(succeeds_in),
    "a user stops the task while it runs": abandoned,
    "... and its job is seen to end": lambda world: abandoned(world, ends=True),
    "... and its job is not to be cancelled": lambda world: abandoned(world, cancelled=False),
    "... while its job is only asked for": lambda world: abandoned(world, "requested"),
    "... and nothing leads to the job": lambda world: abandoned(world, "requested", after=None),
    "... while it waits for somebody else's": lambda world: abandoned(world, "attached"),
    "... after its job went on without it": lambda world: abandoned(world, "released"),
    "... and what an earlier run wrote": in_a_further_run(lambda store: store.abandon(cancelled=True)),
    "the task is cleared otherwise": cleared,
    "... and its old job is seen to end": lambda world: cleared(world, ends=True),
    "a later try has begun, and it goes on all the same": lost,
}
#: What a cell's words mean, where they are not what is there.
MEANS = {"read": "started", "read, then deleted": "nothing", "deleted": "nothing"}


def stays_as(event: str) -> str:
    return "abandoned" if event == "... and its job is seen to end" else "started"


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_record_table_says_what_is_there_afterwards(
    monkeypatch: pytest.MonkeyPatch, row: list[str], store: str
) -> None:
    variables = Variables()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)
    cell = row[1 + list(STORES).index(store)]
    world = World(STORES[store], variables)
    EVENTS[row[0]](world)
    assert world.what_is_there() == (stays_as(row[0]) if cell == "stays" else MEANS.get(cell, cell.strip("`")))


def test_record_table_is_walked_whole() -> None:
    assert [row[0] for row in ROWS] == list(EVENTS)


def test_record_table_is_that_of_the_internals() -> None:
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (HEAD, ["---"] * len(HEAD), *ROWS))
    assert table.replace("``", "`") in PAGE.read_text()
