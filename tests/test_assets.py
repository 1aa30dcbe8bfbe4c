"""What a DAG's tasks are handed out of what its assets were told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airbyte_deferrable.assets import EndedSync, ended_syncs
from airbyte_deferrable.exceptions import AirbyteException

context = pytest.importorskip("airflow.sdk.execution_time.context", reason="before Airflow 3, assets have no watchers")

AT = datetime(2026, 11, 29, 6, 0, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Asset:
    name: str
    uri: str = "airbyte://orders"


@dataclass(frozen=True)
class AssetAlias:
    name: str


@dataclass(frozen=True)
class Event:
    timestamp: datetime
    extra: Any


@dataclass(frozen=True)
class ListedEvent(Event):
    """As Airflow lists it: a run's own events have no number."""

    id: int


ORDERS, CLICKS = Asset("orders"), Asset("clicks", "airbyte://clicks")


def event(name: str, *job_ids: int, minute: int = 0, doubtful: bool = False, connection_id: str = "c") -> Event:
    jobs = [
        {"connection_id": connection_id, "job_id": each, "status": "succeeded", "ended_at": "2026-11-29T05:59:00Z"}
        for each in job_ids
    ]
    payload = {"airbyte_batch": name, "jobs": jobs, "doubtful": doubtful}
    return Event(AT + timedelta(minutes=minute), {"from_trigger": True, "payload": payload})


class Asked:
    """What Airflow answers to whom asks for an asset's events."""

    events: dict[Any, list[Event]]
    asked: list[tuple[str, str]]

    def __init__(self, inlets: list[Any]) -> None:
        (self._asset,) = inlets
        self._span: list[str] = []

    def __getitem__(self, asset: Any) -> Asked:
        assert asset == self._asset
        return self

    def before(self, moment: str) -> Asked:
        self._span.append(moment)
        return self

    def after(self, moment: str) -> Asked:
        self._span.insert(0, moment)
        return self

    def __iter__(self) -> Iterator[Event]:
        self.asked.append((self._span[0], self._span[1]))
        if self._asset not in self.events:
            raise ConnectionError("API_SERVER_ERROR")
        return iter(self.events[self._asset])


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> type[Asked]:
    Asked.events, Asked.asked = {ORDERS: [], CLICKS: []}, []
    monkeypatch.setattr(context, "InletEventsAccessors", Asked)
    return Asked


def ids(triggering: dict[Any, list[Event]]) -> list[int]:
    return [sync.job_id for sync in ended_syncs({"triggering_asset_events": triggering})]


@pytest.mark.parametrize("run", [{}, {"triggering_asset_events": None}, {"triggering_asset_events": {}}], ids=str)
def test_run_that_no_asset_began_is_handed_out_nothing(run: Any) -> None:
    assert ended_syncs(run) == []


def test_syncs_of_a_run_are_all_of_its_events_in_order(asked: type[Asked]) -> None:
    assert ids({ORDERS: [event("a", 5, 7), event("b", 6, minute=1)]}) == [5, 6, 7]
    assert ids({ORDERS: [event("a", 5)], AssetAlias("x"): [event("a", 5)]}) == [5]


def test_syncs_of_two_airbytes_with_the_same_number_are_two() -> None:
    assert ids({ORDERS: [event("a", 5)], CLICKS: [event("b", 5, connection_id="d")]}) == [5, 5]


def test_sync_has_what_its_event_tells_and_knows_no_secret_of_a_later_version() -> None:
    told = event("a", 5)
    told.extra["payload"]["jobs"][0]["of_a_later_version"] = 1
    (sync,) = ended_syncs({"triggering_asset_events": {ORDERS: [told]}})
    assert sync == EndedSync(connection_id="c", job_id=5, status="succeeded", ended_at=AT - timedelta(minutes=1))


@pytest.mark.parametrize("extra", [{}, None, {"payload": 1}, {"payload": {"jobs": []}}], ids=str)
def test_event_of_somebody_else_is_left_alone(extra: Any) -> None:
    assert ids({ORDERS: [Event(AT, extra), event("a", 5)]}) == [5]


def test_sync_that_an_earlier_event_told_is_of_the_run_of_that(asked: type[Asked]) -> None:
    first, again = event("a", 5), event("b", 5, 6, minute=2)
    later = event("c", 6, 7, minute=3)
    asked.events[ORDERS] = [first, again, later]
    assert (ids({ORDERS: [first]}), ids({ORDERS: [again]}), ids({ORDERS: [later]})) == ([5], [6], [7])
    assert ids({ORDERS: [first, again, later]}) == [5, 6, 7]


def test_which_event_was_first_is_told_by_airflows_numbers_and_not_by_two_machines_clocks(asked: type[Asked]) -> None:
    first, again = event("a", 5), event("b", 5, 6, minute=-2)
    asked.events[ORDERS] = [
        ListedEvent(again.timestamp, again.extra, id=12),
        ListedEvent(first.timestamp, first.extra, id=11),
    ]
    assert (ids({ORDERS: [first]}), ids({ORDERS: [again]})) == ([5], [6])


def test_earlier_events_are_asked_for_from_the_first_end_on(asked: type[Asked]) -> None:
    ids({ORDERS: [event("a", 5), event("b", 6, minute=2)]})
    assert asked.asked == [("2026-11-29T05:49:00+00:00", "2026-11-29T06:12:00+00:00")]


def test_run_whose_doubles_airflow_does_not_tell_fails_only_if_they_are_likely(asked: type[Asked]) -> None:
    del asked.events[ORDERS]
    assert ids({ORDERS: [event("a", 5)]}) == [5]
    with pytest.raises(AirbyteException, match=r"'orders' has told of may have been told before.*API_SERVER_ERROR"):
        ids({ORDERS: [event("a", 5, doubtful=True)]})
