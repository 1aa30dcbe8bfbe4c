"""Each cell of the table of events and stores, in the docstring of ``AirflowRetryStore``: what is there afterwards."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

from airbyte_deferrable._airflow import retry_store
from airbyte_deferrable._airflow.retry_store import AirflowRetryStore
from airbyte_deferrable._airflow.task_instance import generation_of
from airbyte_deferrable._job.record import Record
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

    def store(self) -> AirflowRetryStore:
        return AirflowRetryStore(self.context, LOG)

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

    def holds(self, state: str) -> AirflowRetryStore:
        """Let a try before, or this one, have written a record; return the store of a try at which things happen."""
        self.store().write(self.record(state))
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


def taken(world: World, state: str) -> AirflowRetryStore:
    """Return the store of a task that has read what there was."""
    store = world.holds(state)
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


def abandoned(world: World, *, cancelled: bool = True, ends: bool = False) -> None:
    store = taken(world, "started")
    store.abandon(cancelled=cancelled)
    if ends:
        store.drop_abandoned()
    # A kill has the last word.
    there = world.what_is_there()
    store.write(world.record("started"))
    store.release()
    store.delete()
    assert world.what_is_there() == there


def cleared(world: World, *, ends: bool = False) -> None:
    if world.is_last:
        store = taken(world, "started")
    else:
        world.store().write(world.record("started"))
        world.ti.max_tries, world.ti.try_number = world.ti.max_tries + world.ti.try_number, world.ti.try_number + 1
        store = world.store()
        record = store.read()
        assert record is None or store.generation.since(record) == "cleared"
    if ends:
        store.delete()


#: What brings each row about, by the row's words.
EVENTS: dict[str, Callable[[World], None]] = {
    "a run begins, or is resumed": begins,
    "Airbyte is about to be asked": writes("requested"),
    "Airbyte has named the job": writes("started"),
    "... and the task does not wait": writes("released"),
    "it waits for somebody else's": writes("attached"),
    "the job goes on without the task": lambda world: taken(world, "started").release(),
    "no job was made, or it did not succeed": lambda world: taken(world, "requested").delete(),
    "Airflow knows that the task succeeded": succeeds,
    "... that it is skipped, or fails for good": ends_otherwise,
    "a user stops the task while it runs": abandoned,
    "... and its job is seen to end": lambda world: abandoned(world, ends=True),
    "... and its job is not to be cancelled": lambda world: abandoned(world, cancelled=False),
    "the task is cleared otherwise": cleared,
    "... and its old job is seen to end": lambda world: cleared(world, ends=True),
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
