"""What the tests of lineage share: an Airbyte with a connection, and tasks that run a job of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airbyte_deferrable.lineage import learn
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.sensors import AirbyteJobSensor
from airbyte_deferrable.simulator import Amount, Script, Simulator, Stream
from helpers.one_task import Sensing, Task, TaskInstance, airflow_tells
from helpers.patience import PATIENT

ORDERS = Stream(
    "Orders",
    "shop",
    sync_mode="full_refresh",
    destination_sync_mode="overwrite",
    columns={"id": "integer", "Total Sum": "number", "at": {"type": "string", "format": "date-time"}},
)
PEOPLE = Stream("people", "crm", columns={"name": "string", "mail": "string"}, selected_columns=["name"])
MOVES = {"Orders": Amount(rows=40, bytes=4000, rejected=2), "people": Amount()}
SECRET = {"password": "hunter2-s3cret", "jdbc_url_params": "password=hunter2-s3cret"}
POSTGRES = {"host": "db.example.com", "port": 5432, "database": "shop", **SECRET}
SNOWFLAKE = {"host": "acme-prod.snowflakecomputing.com", "database": "wh", "schema": "raw", **SECRET}


class Told(list[tuple[str, Any]]):
    """The events of one alias."""

    def add(self, asset: Any, extra: Any = None) -> None:
        self.append((asset.uri, extra))


class Events(dict[str, Any]):
    """What Airflow's context has for the events of outlets: made when it is asked for, here by their names."""

    kind = Told

    def __getitem__(self, alias: Any) -> Any:
        return self.setdefault(alias.name, self.kind())


class Telling(Task):
    """A task whose events of outlets are kept, and the operator of its last leg, which Airflow asks for lineage."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.events_of = Events()
        self.last: Any = None

    def operator(self) -> Any:
        self.last = super().operator()
        return self.last

    @property
    def context(self) -> dict[str, Any]:
        return {**super().context, "outlet_events": self.events_of}


class TellingSensor(Telling, Sensing):
    """Likewise a sensor."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn, "LEARN_WITHIN", PATIENT)
    monkeypatch.setattr(learn, "CONFIG_API_WITHIN", PATIENT)


@pytest.fixture
def ends() -> dict[str, Any]:
    """Return source and destination of a connection."""
    return {
        "source_type": "postgres",
        "source_configuration": dict(POSTGRES),
        "destination_type": "snowflake",
        "destination_configuration": dict(SNOWFLAKE),
    }


@pytest.fixture
def connection_id(sim: Simulator, ends: dict[str, Any]) -> str:
    return sim.add_connection(
        name="Shop",
        script=Script(duration=0.3, pending=0, streams=MOVES),
        streams=[ORDERS, PEOPLE, Stream("skipped", selected=False)],
        **ends,
    )


@pytest.fixture
def telling(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Telling]]:
    """Return a maker of tasks: in each way an operator's, or a sensor's, which is given a job."""
    ti = TaskInstance()

    def make(of: Any, way: str = "worker", **parameters: Any) -> Telling:
        kind = parameters.pop("kind", AirbyteTriggerSyncOperator)
        arguments: dict[str, Any] = {"task_id": "sync", **parameters}
        if way in ("poke", "reschedule", "deferrable"):
            arguments |= {"deferrable": True} if way == "deferrable" else {"mode": way}
            return TellingSensor(lambda: AirbyteJobSensor(airbyte_job_id=of, poke_interval=0.1, **arguments), ti=ti)
        arguments |= {"wait_seconds": 0.1, "deferrable": way == "deferred"}
        return Telling(lambda: kind(connection_id=of, **arguments), ti=ti)

    with airflow_tells(monkeypatch, ti):
        yield make
