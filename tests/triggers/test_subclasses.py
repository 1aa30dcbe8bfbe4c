"""Triggers that users made of the official one: stored, loaded again, and run as they were."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent

from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.simulator import Script, Simulator
from airbyte_deferrable.triggers import AirbyteSyncTrigger
from helpers.one_task import first_event, stored

FURTHER = {"api_version", "cancel_on_kill", "try_number", "progress_interval", "not_before", "connection_id"}
FURTHER |= {"started_here", "write_xcoms"}
OFFICIAL = {"job_id", "conn_id", "end_time", "poll_interval", "execution_deadline"}


class StoresItself(AirbyteSyncTrigger):
    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.{type(self).__name__}", {**super().serialize()[1], **self.mine()}

    def mine(self) -> dict[str, Any]:
        return {}


class AsOfficial(StoresItself):
    def __init__(
        self,
        job_id: int,
        conn_id: str,
        end_time: float,
        poll_interval: float,
        execution_deadline: float | None = None,
    ):
        super().__init__(job_id, conn_id, end_time, poll_interval, execution_deadline)


class WithMore(StoresItself):
    def __init__(
        self, job_id: int, conn_id: str, end_time: float, poll_interval: float, team: str = "none", **rest: Any
    ):
        super().__init__(job_id=job_id, conn_id=conn_id, end_time=end_time, poll_interval=poll_interval, **rest)
        self.team = team

    def mine(self) -> dict[str, Any]:
        return {"team": self.team}


class OverOneThatTakesFewer(AsOfficial):
    def __init__(self, team: str = "none", **rest: Any):
        super().__init__(**rest)
        self.team = team

    def mine(self) -> dict[str, Any]:
        return {"team": self.team}


class WithOneOfOurs(StoresItself):
    def __init__(
        self, job_id: int, conn_id: str, end_time: float, poll_interval: float, api_version: str = "v1", **_: Any
    ):
        super().__init__(job_id, conn_id, end_time, poll_interval, api_version=api_version)


class Tells(AsOfficial):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        async for event in super().run():
            event.payload["told_by"] = "mine"
            yield event


class NotStoredItself(AirbyteSyncTrigger):
    def __init__(self, job_id: int, conn_id: str, end_time: float, poll_interval: float = 1, **_: Any):
        super().__init__(job_id, conn_id, end_time, poll_interval)


@pytest.mark.parametrize(
    ("kind", "more", "further"),
    [
        (AirbyteSyncTrigger, {"api_version": "v2"}, FURTHER),
        (StoresItself, {"api_version": "v2"}, FURTHER),
        (AsOfficial, {"execution_deadline": 3.0}, set()),
        (Tells, {}, set()),
        (WithMore, {"team": "data", "api_version": "v2"}, FURTHER),
        (OverOneThatTakesFewer, {"team": "data"}, set()),
    ],
    ids=lambda each: each.__name__ if isinstance(each, type) else "",
)
def test_subclass_is_stored_with_what_it_takes(kind: Any, more: dict[str, Any], further: set[str]) -> None:
    trigger = kind(job_id=7, conn_id="c", end_time=2.0, poll_interval=1, **more)
    again = stored(trigger)
    assert type(again) is kind
    assert again.serialize() == trigger.serialize()
    assert {name: getattr(again, name) for name in more} == more
    assert set(again.serialize()[1]) == OFFICIAL | further | (more.keys() & {"team"})


def test_subclass_that_names_a_parameter_of_ours_is_stored_with_it() -> None:
    assert stored(WithOneOfOurs(7, "c", 2.0, 1, api_version="v2")).api_version == "v2"


def test_subclass_that_does_not_store_itself_is_the_trigger_that_it_is_made_of() -> None:
    """As of the official class, whose path is fixed, too."""
    official = pytest.importorskip("airflow.providers.airbyte.triggers.airbyte").AirbyteSyncTrigger
    theirs = type("Theirs", (official,), {})(job_id=7, conn_id="c", end_time=2.0, poll_interval=1)
    ours = NotStoredItself(7, "c", 2.0)
    assert (type(stored(theirs)), type(stored(ours))) == (official, AirbyteSyncTrigger)
    assert ours.serialize()[1].items() >= theirs.serialize()[1].items()


async def test_subclass_waits_as_it_says(sim: Simulator) -> None:
    job = sim.add_job(sim.add_connection(), script=Script(duration=0.2, pending=0.0))
    event = await first_event(stored(Tells(job["id"], "airbyte_default", 2e9, 0.1)))
    assert (event["status"], event["told_by"]) == ("success", "mine")


async def test_subclass_tells_whether_its_job_is_still_running(sim: Simulator) -> None:
    job = sim.add_job(sim.add_connection(), script=Script(outcome=None, pending=0.0))
    trigger = AsOfficial(job["id"], "airbyte_default", 2e9, 0.1)
    assert await trigger.is_still_running(AirbyteHook()) is True
    sim.finish(job["id"], "failed")
    assert await trigger.is_still_running(AirbyteHook()) is False
