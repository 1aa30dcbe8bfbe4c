"""The trigger for an asset: which syncs it tells, what it says of what is wrong, and where the next life goes on."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airbyte_deferrable._airflow import credentials, shared_watcher, told_position
from airbyte_deferrable._airflow.told_position import VariableStore
from airbyte_deferrable._job import ended, watched
from airbyte_deferrable._watcher import connection_subscription, directory, server_clock
from airbyte_deferrable._watcher.connection_subscription import Position
from airbyte_deferrable.exceptions import AirbyteInputError
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import AT_ONCE, connection_to
from helpers.one_task import Variables
from helpers.waiting import until

pytest.importorskip("airflow.sdk", reason="before Airflow 3, assets have no watchers")

from airbyte_deferrable.triggers import ended as ended_trigger
from airbyte_deferrable.triggers.ended import AirbyteSyncEndedTrigger

NAME = "orders"
ID = "a1b7e000-0000-4000-8000-000000000001"
FAILED = Script(duration=0.1, pending=0.0, outcome="failed")


@pytest.fixture(autouse=True)
def kept(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Variables]:
    """Where the position is kept, as on Airflows whose assets have no store, and all pauses short."""
    variables = Variables()
    monkeypatch.setattr(told_position, "variables", lambda: variables)
    monkeypatch.setattr(told_position, "_store_for", lambda *whose: VariableStore("__".join(whose)))
    monkeypatch.setattr(told_position, "READ_AGAIN", 0.05)
    monkeypatch.setattr(ended_trigger, "STORED_WITHIN", 0.05)
    monkeypatch.setattr(ended, "NOTE_AGAIN", 0.2)
    monkeypatch.setattr(ended, "ANEW_AFTER", (0.05, 0.1))
    monkeypatch.setattr(watched, "READ_AGAIN", 0.2)
    monkeypatch.setattr(watched, "READ_AGAIN_SOON", 0.2)
    monkeypatch.setattr(ended, "READ_AGAIN_SOON", 0.2)
    monkeypatch.setattr(directory, "KEEP_STANDING", 0.1)
    yield variables
    # A trigger that is stopped in the middle of a request leaves a connection, which the server is to see end before it
    # is stopped itself.
    for _ in range(5):
        sim.count()


class Life:
    """One run of a trigger, until it is cancelled."""

    def __init__(self, **which: Any) -> None:
        event_interval = which.pop("event_interval", 0.05)
        trigger: Any = AirbyteSyncEndedTrigger(NAME, poll_interval=0.1, **which)
        trigger.event_interval = event_interval
        trigger._log = logging.getLogger("task")
        self.events: list[Any] = []
        self.running = asyncio.ensure_future(self._run(trigger))

    async def _run(self, trigger: Any) -> None:
        async for event in trigger.run():
            # As Airflow keeps it.
            self.events.append(json.loads(json.dumps(event.payload)))

    @property
    def jobs(self) -> list[dict[str, Any]]:
        return [job for event in self.events for job in event["jobs"]]

    @property
    def told(self) -> list[int]:
        return [job["job_id"] for job in self.jobs]


@asynccontextmanager
async def living(**which: Any) -> AsyncIterator[Life]:
    """Run a trigger from the first position on, and stop it."""
    life = Life(**which)
    try:
        yield life
    finally:
        life.running.cancel()
        await asyncio.gather(life.running, return_exceptions=True)


async def noted(kept: Variables) -> None:
    """Wait until it has begun."""
    await until(lambda: kept)


# What is told


async def test_ended_syncs_are_told_whoever_started_them(sim: Simulator, kept: Variables) -> None:
    cid, other = sim.add_connection(name="Orders → warehouse"), sim.add_connection()
    sim.add_job(cid, script=AT_ONCE, created_ago=60)
    async with living(connection_ids=[cid.upper()]) as life:
        await noted(kept)
        sim.add_job(other, script=AT_ONCE)
        mine = sim.add_job(cid, script=AT_ONCE)["id"]
        await until(lambda: life.told)
    assert life.told == [mine]
    job = life.jobs[0]
    assert (job["connection_id"], job["connection_name"]) == (cid, "Orders → warehouse")
    assert (job["status"], job["job_type"]) == ("succeeded", "sync")
    assert job["job_url"].endswith(f"/connections/{cid}/timeline?openLogs=true&jobId={mine}")
    assert datetime.fromisoformat(job["ended_at"]) >= datetime.fromisoformat(job["started_at"])
    assert {"duration_seconds", "rows_synced", "bytes_synced"} <= job.keys()


@pytest.mark.parametrize(
    ("which", "told"),
    [
        ({}, ["good"]),
        ({"statuses": "failed"}, ["bad"]),
        ({"statuses": ["failed", "succeeded"]}, ["good", "bad"]),
        ({"job_types": "reset"}, ["reset"]),
        ({"job_types": ["sync", "clear"]}, ["good", "reset"]),
    ],
    ids=str,
)
async def test_ended_syncs_are_told_of_the_types_and_outcomes_that_are_wanted(
    sim: Simulator, kept: Variables, which: dict[str, Any], told: list[str]
) -> None:
    cid = sim.add_connection()
    async with living(connection_ids=cid, **which) as life:
        await noted(kept)
        jobs = {}
        for name, script, job_type in (("good", AT_ONCE, "sync"), ("bad", FAILED, "sync"), ("reset", AT_ONCE, "reset")):
            job = sim.add_job(cid, job_type=job_type, script=script)
            await until(lambda job=job: sim.job(job["id"])["status"] in ("succeeded", "failed"))
            jobs[name] = job["id"]
        await until(lambda: len(life.told) >= len(told))
    assert life.told == [jobs[name] for name in told]


@pytest.mark.parametrize("by", ["connection_names", "tag", "name_pattern", "workspace_id"])
async def test_ended_syncs_are_told_of_what_comes_to_fit_later(sim: Simulator, kept: Variables, by: str) -> None:
    workspace = "0a1b7e00-0000-4000-8000-000000000000"
    fits: dict[str, Any] = {"name": "Orders 1", "workspace_id": workspace, "tags": ["nightly"]}
    which = {
        "connection_names": ["Orders 1", "Orders 2"],
        "tag": "nightly",
        "name_pattern": "orders *",
        "workspace_id": workspace,
    }[by]
    first, other = sim.add_connection(**fits), sim.add_connection(name="Clicks")
    async with living(**{by: which}) as life:
        await noted(kept)
        sim.add_job(other, script=AT_ONCE)
        sim.add_job(first, script=AT_ONCE)
        await until(lambda: life.told)
        later = sim.add_connection(**{**fits, "name": "Orders 2"})
        sim.add_job(later, script=AT_ONCE)
        await until(lambda: len(life.told) > 1)
    assert [job["connection_id"] for job in life.jobs] == [first, later]
    assert {job["connection_name"] for job in life.jobs} == {"Orders 1", "Orders 2"}


async def test_ended_syncs_are_told_from_a_moment_that_is_given(sim: Simulator, kept: Variables) -> None:
    cid = sim.add_connection()
    before = sim.add_job(cid, script=AT_ONCE)["id"]
    since = datetime.now(timezone.utc) - timedelta(hours=1)
    async with living(connection_ids=cid, since=since) as life:
        await until(lambda: life.told)
    assert life.told == [before]


async def test_ended_syncs_are_told_together(sim: Simulator, kept: Variables, monkeypatch: pytest.MonkeyPatch) -> None:
    cids = sim.add_connections(30)
    async with living(connection_ids=cids) as life:
        await noted(kept)
        requests = sim.add_fault(Fault("list", "status", status=503))
        sim.add_jobs(cids, AT_ONCE)
        sim.clear_faults(requests)
        await until(lambda: len(life.told) == 30)
    assert len(life.events) < 10
    assert sorted(life.told) == sorted(set(life.told))


@pytest.mark.parametrize("slow", [False, True], ids=["at once", "slowly"])
async def test_which_connections_are_meant_is_asked_beside_the_telling(
    sim: Simulator, kept: Variables, caplog: pytest.LogCaptureFixture, slow: bool
) -> None:
    """Neither waits for the other: a pause between events may last an hour, and so may the answers for hundreds."""
    first = sim.add_connection(tags=["nightly"])
    async with living(tag="nightly", event_interval=0.0 if slow else 3600.0) as life:
        await until(lambda: "Watching 1 Airbyte connections" in caplog.text)
        asked = sim.count("connections")
        fault = sim.add_fault(Fault("connections", "hang" if slow else "latency"))
        await until(lambda: sim.count("connections") > asked + (not slow))
        for number in range(1, 3 if slow else 2):
            sim.add_job(first, script=AT_ONCE)
            await until(lambda number=number: len(life.told) == number)
        later = sim.add_connection(tags=["nightly"])
        sim.clear_faults(fault)
        await until(lambda: "Watching 2 Airbyte connections" in caplog.text)
        sim.add_job(later, script=AT_ONCE)
        await until(lambda: not slow or len(life.told) == 3)


async def test_ended_syncs_of_which_too_many_wait_are_told_before_the_pause_is_over(
    sim: Simulator, kept: Variables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_subscription, "MOST_PENDING", 4)
    monkeypatch.setattr(ended, "SHORTEST_EVENT_INTERVAL", 0.05)
    cids = sim.add_connections(22)
    async with living(connection_ids=cids, event_interval=3600.0) as life:
        await noted(kept)
        sim.add_job(cids[0], script=AT_ONCE)
        await until(lambda: life.told)
        sim.add_jobs(cids[1:], AT_ONCE)
        # What is left over waits for the pause.
        await until(lambda: len(life.told) > 22 - 4)
    assert sorted(life.told) == sorted(set(life.told))


async def test_ended_syncs_are_counted(sim: Simulator, kept: Variables, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: dict[str, list[Any]] = {}

    class Stats:
        def take(self, name: str, value: Any = 1) -> None:
            counted.setdefault(name.removeprefix("airbyte_deferrable."), []).append(value)

        incr = gauge = timing = take

    monkeypatch.setattr(shared_watcher, "Stats", Stats())
    cids = sim.add_connections(2)
    async with living(connection_ids=cids) as life:
        await noted(kept)
        sim.add_jobs(cids, AT_ONCE)
        await until(lambda: len(life.told) == 2)
    assert sum(counted["ended_syncs"]) == len(counted["told_after"]) == 2
    assert sum(counted["asset_events"]) == len(life.events)
    assert 2 in counted["watching"]


# Where the next life goes on


async def test_ended_syncs_are_told_after_a_stop(sim: Simulator, kept: Variables) -> None:
    cid = sim.add_connection()
    async with living(connection_ids=cid) as life:
        await noted(kept)
        first = sim.add_job(cid, script=AT_ONCE)["id"]
        await until(lambda: first in json.loads(next(iter(kept.values())))["handed_out"])
    meanwhile = sim.add_job(cid, script=AT_ONCE)["id"]
    # Edited meanwhile.
    async with living(connection_ids=cid, statuses=["succeeded", "failed"]) as again:
        await until(lambda: again.told)
    assert (life.told, again.told) == ([first], [meanwhile])
    assert [event["doubtful"] for event in (*life.events, *again.events)] == [True, True]


async def test_ended_syncs_of_what_came_to_fit_just_before_a_stop_are_told(
    sim: Simulator, kept: Variables, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watched, "READ_AGAIN", 3600.0)
    first = sim.add_connection(tags=["nightly"])
    async with living(tag="nightly") as life:
        await until(lambda: "Watching 1 Airbyte connections" in caplog.text)
        later = sim.add_connection(tags=["nightly"])
        unseen = sim.add_job(later, script=AT_ONCE)["id"]
        await until(lambda: sim.job(unseen)["status"] == "succeeded")
        sim.advance(120)
        seen = sim.add_job(first, script=AT_ONCE)["id"]
        await until(lambda: seen in json.loads(next(iter(kept.values())))["handed_out"])
    async with living(tag="nightly") as again:
        await until(lambda: again.told)
    assert (life.told, again.told) == ([seen], [unseen])


async def test_ended_syncs_are_told_from_the_first_start_on_though_that_came_to_nothing(
    sim: Simulator, kept: Variables
) -> None:
    cid = sim.add_connection()
    outage = sim.add_fault(Fault("*", "status", status=503))
    async with living(connection_ids=cid):
        await noted(kept)
    job_id = sim.add_job(cid, script=AT_ONCE)["id"]
    sim.clear_faults(outage)
    async with living(connection_ids=cid) as again:
        await until(lambda: again.told)
    assert again.told == [job_id]


async def test_ended_syncs_are_told_again_if_airflow_may_not_have_stored_them(
    sim: Simulator, kept: Variables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_trigger, "STORED_WITHIN", 3600.0)
    cid = sim.add_connection()
    async with living(connection_ids=cid) as life:
        await noted(kept)
        sim.add_job(cid, script=AT_ONCE)
        await until(lambda: life.told)
    async with living(connection_ids=cid) as again:
        await until(lambda: again.told)
    assert life.told == again.told
    assert life.events[0]["airbyte_batch"] != again.events[0]["airbyte_batch"]


async def test_ended_syncs_are_not_doubtful_once_the_trigger_has_run_for_some_time(
    sim: Simulator, kept: Variables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended, "CLOCKS_APART", timedelta(seconds=-2))
    cid = sim.add_connection()
    async with living(connection_ids=cid) as life:
        await noted(kept)
        sim.add_job(cid, script=AT_ONCE)
        await until(lambda: life.told)
    assert [event["doubtful"] for event in life.events] == [False]


async def test_position_is_kept_once_airflow_has_stored_the_event(sim: Simulator, kept: Variables) -> None:
    """Airflow 3.3 also takes an event for stored whose trigger is stopped right before it has the event."""
    shared_stream = pytest.importorskip("airflow.triggers.shared_stream", reason="before 3.3 Airflow says nothing")
    cid = sim.add_connection()
    arguments: dict[str, Any] = {"asset": NAME, "connection_ids": [cid], "poll_interval": 0.1}
    producer: Any = AirbyteSyncEndedTrigger.create_shared_stream_producer(arguments)
    stream = producer.open_stream()
    stored = shared_stream.AdvanceOutcome(acked=1, failed=0)

    async def handed(what: Any) -> Any:
        yield what

    begin, _ = await anext(stream)
    trigger = AirbyteSyncEndedTrigger(**arguments)
    assert [event async for event in trigger.filter_shared_stream(handed(begin))] == []
    await producer.advance([shared_stream.AdvanceItem(begin, stored)])
    before = dict(kept)
    sim.add_job(cid, script=AT_ONCE)
    handing, item = await anext(stream)
    events = trigger.filter_shared_stream(handed(handing))
    assert [job["job_id"] for job in (await anext(events)).payload["jobs"]] == [1]
    with pytest.raises(RuntimeError, match="it is told again"):
        await producer.advance([shared_stream.AdvanceItem(item, stored)])
    assert kept == before
    assert [event async for event in events] == []
    with pytest.raises(RuntimeError, match="it is told again"):
        await producer.advance([shared_stream.AdvanceItem(item, shared_stream.AdvanceOutcome(acked=0, failed=1))])
    await producer.advance([shared_stream.AdvanceItem(item, stored)])
    assert json.loads(next(iter(kept.values())))["handed_out"] == [1]
    await stream.aclose()


async def test_airflow_connection_that_is_corrected_is_noticed(
    sim: Simulator, kept: Variables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "KNOWN_FOR", 0.0)
    cid = sim.add_connection()
    with Simulator() as wrong:
        wrong.add_fault(Fault("*", "status", status=503))
        monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(wrong))
        async with living(connection_ids=cid) as life:
            await until(lambda: wrong.count())
            monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim))
            job_id = sim.add_job(cid, script=AT_ONCE)["id"]
            await until(lambda: life.told)
    assert life.told == [job_id]


async def test_position_is_only_raised(sim: Simulator, kept: Variables) -> None:
    """A triggerer that was stopped for long goes on for some moments, beside the one that has taken over."""
    cid = sim.add_connection()
    newer = json.dumps({"moment": "2099-01-01T00:00:00+00:00", "handed_out": []})
    async with living(connection_ids=cid) as life:
        await noted(kept)
        key = next(iter(kept))
        kept[key] = newer
        sim.add_job(cid, script=AT_ONCE)
        await until(lambda: life.told)
        sim.add_job(cid, script=AT_ONCE)
        await until(lambda: len(life.told) == 2)
    assert kept == {key: newer}


async def test_position_forgets_nothing_that_another_has_told(sim: Simulator, kept: Variables) -> None:
    """It stays at one moment for minutes, in which two may write."""
    moment = datetime(2026, 11, 29, tzinfo=timezone.utc)
    told = [told_position.ToldPosition(NAME, "", "c", logging.getLogger("task")) for _ in range(2)]
    await told[0].keep(Position(moment, frozenset({1, 2})))
    await told[1].keep(Position(moment, frozenset({1, 3})))
    assert await told[0].read() == Position(moment, frozenset({1, 2, 3}))
    await told[1].keep(Position(moment + timedelta(seconds=1), frozenset({3})))
    assert await told[0].read() == Position(moment + timedelta(seconds=1), frozenset({3}))


@pytest.mark.parametrize("why", ["deleted", "no such id", "no such name"])
async def test_position_does_not_wait_for_ever_for_what_is_gone(
    sim: Simulator, kept: Variables, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    hours = 0
    monkeypatch.setattr(server_clock, "utc_now", lambda: datetime.now(timezone.utc) + timedelta(hours=hours))
    cid, gone = sim.add_connection(name="Orders"), sim.add_connection(name="Clicks")
    which: dict[str, Any] = {
        "deleted": {"connection_ids": [cid, gone]},
        "no such id": {"connection_ids": [cid, ID]},
        "no such name": {"connection_names": ["Orders", "Ordrs"]},
    }[why]
    async with living(**which) as life:
        await until(lambda: "Airbyte connections" in caplog.text)
        if why == "deleted":
            sim.set_connection_status(gone, "deprecated")
            await until(lambda: "was deleted" in caplog.text)
        first = sim.add_job(cid, script=AT_ONCE)["id"]
        await until(lambda: life.told == [first])
        told_by = datetime.now(timezone.utc)
        while hours < 7:
            hours += 1
            sim.advance(3600)
            told = sim.add_job(cid, script=AT_ONCE)["id"]
            await until(lambda told=told: told in life.told)
        await until(lambda: position_in(kept) > told_by)


async def test_connection_that_is_missing_at_first_is_told_with_all_that_ended_during_a_long_stop(
    sim: Simulator, kept: Variables, caplog: pytest.LogCaptureFixture
) -> None:
    sim.add_connection(name="Orders")
    stopped = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=12)
    async with living(connection_names=["Orders", "Clicks"], since=stopped.isoformat()) as life:
        await until(lambda: "'Clicks'" in caplog.text)
        asked = sim.count("connections")
        await until(lambda: sim.count("connections") > asked + 1)
        assert position_in(kept) == stopped
        cid = sim.add_connection(name="Clicks")
        job = sim.add_job(cid, script=AT_ONCE, created_ago=8 * 3600)["id"]
        await until(lambda: life.told == [job])


async def test_ended_sync_that_waits_is_told_although_its_connection_fits_no_more(
    sim: Simulator, kept: Variables, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection_subscription, "MOST_PENDING", 2)
    monkeypatch.setattr(ended, "SHORTEST_EVENT_INTERVAL", 0.05)
    leaving, staying = sim.add_connection(name="Leaves", tags=["nightly"]), sim.add_connection(tags=["nightly"])
    async with living(tag="nightly", event_interval=3600.0) as life:
        await until(lambda: "Watching 2 Airbyte connections" in caplog.text)
        first = sim.add_job(staying, script=AT_ONCE)["id"]
        await until(lambda: life.told == [first])
        waits = sim.add_job(leaving, script=AT_ONCE)["id"]
        swept = sim.count("list")
        await until(lambda: sim.count("list") > swept + 2)
        sim.set_connection_status(leaving, "deprecated")
        await until(lambda: "Watching 1 Airbyte connections" in caplog.text)
        # With another one it is too many to wait.
        sim.add_job(staying, script=AT_ONCE)
        await until(lambda: waits in life.told)
    assert [job["connection_name"] for job in life.jobs if job["job_id"] == waits] == ["Leaves"]


def position_in(kept: Variables) -> datetime:
    return datetime.fromisoformat(json.loads(next(iter(kept.values())))["moment"])


# What is wrong is said, and it goes on


async def test_outage_is_said_once_and_what_ends_meanwhile_is_told(
    sim: Simulator, kept: Variables, caplog: pytest.LogCaptureFixture
) -> None:
    cid = sim.add_connection()
    async with living(connection_ids=cid) as life:
        await until(lambda: "Watching 1 Airbyte connections" in caplog.text)
        fault = sim.add_fault(Fault("*", "status", status=503))
        await until(lambda: "Airbyte cannot be asked now" in caplog.text)
        job_id = sim.add_job(cid, script=AT_ONCE)["id"]
        sim.clear_faults(fault)
        await until(lambda: life.told == [job_id])
    assert caplog.text.count("Airbyte cannot be asked now. What ends meanwhile is told afterwards") == 1


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ({"connection_names": ["Orders", "Ordrs"]}, "is named 'Ordrs'; near matches: 'Orders'"),
        ({"connection_ids": ID}, f"Airbyte connection {ID} cannot be seen: is its id right?"),
        ({"tag": "nigthly"}, "There is no tag 'nigthly'"),
    ],
    ids=str,
)
async def test_what_there_is_not_is_said_once_and_looked_for_again(
    sim: Simulator, kept: Variables, caplog: pytest.LogCaptureFixture, which: dict[str, Any], said: str
) -> None:
    sim.add_connection(name="Orders", tags=["nightly"])
    async with living(**which) as life:
        await until(lambda: said in caplog.text)
        asked = sim.count("connections") + sim.count("connection") + sim.count("tags")
        await until(lambda: sim.count("connections") + sim.count("connection") + sim.count("tags") > asked + 3)
        assert not life.running.done()
    assert caplog.text.count(said) == 1


async def test_connection_that_is_deleted_is_said(
    sim: Simulator, kept: Variables, caplog: pytest.LogCaptureFixture
) -> None:
    cid, other = sim.add_connection(name="Orders"), sim.add_connection()
    async with living(connection_ids=[cid, other]) as life:
        await noted(kept)
        sim.set_connection_status(cid, "deprecated")
        await until(lambda: f"Airbyte connection {cid} ('Orders') was deleted." in caplog.text)
        sim.add_job(other, script=AT_ONCE)
        await until(lambda: life.told)


async def test_position_that_cannot_be_read_is_waited_for(
    sim: Simulator, kept: Variables, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cid, failures = sim.add_connection(), 3

    def read(self: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise ConnectionError("Airflow is away")
        return kept.get("x")

    monkeypatch.setattr(VariableStore, "_read", read)
    async with living(connection_ids=cid):
        await noted(kept)
    assert caplog.text.count("Airflow does not tell up to where all syncs were told") == 1
    assert caplog.text.count("Airbyte answers again") <= 1


@pytest.mark.parametrize(
    "garbled",
    [
        "{",
        "[]",
        "7",
        '{"moment": "2026-11-29T05:00:00", "handed_out": []}',
        '{"moment": "yesterday", "handed_out": []}',
        '{"moment": null}',
    ],
)
async def test_position_that_was_garbled_by_hand_says_what_mends_it(
    sim: Simulator, kept: Variables, caplog: pytest.LogCaptureFixture, garbled: str
) -> None:
    cid = sim.add_connection()
    async with living(connection_ids=cid):
        await noted(kept)
    (key,) = kept
    kept[key] = garbled
    async with living(connection_ids=cid):
        await until(lambda: "if it is emptied, the trigger begins like a new one" in caplog.text)
    kept[key] = ""
    async with living(connection_ids=cid):
        await until(lambda: kept[key])


async def test_error_of_its_own_begins_it_anew_where_it_was(
    sim: Simulator, kept: Variables, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cid = sim.add_connection()
    failed: list[int] = []
    counts = ended.WhichEnds.counts

    def fail_once(self: Any, job: Any) -> bool:
        if not failed:
            failed.append(job.job_id)
            raise RuntimeError("something that nobody thought of")
        return counts(self, job)

    async with living(connection_ids=cid) as life:
        await noted(kept)
        monkeypatch.setattr(ended.WhichEnds, "counts", fail_once)
        job_id = sim.add_job(cid, script=AT_ONCE)["id"]
        await until(lambda: life.told == [job_id])
    assert "begins anew" in caplog.text


# What is stored


def test_arguments_survive_airflows_database() -> None:
    given: dict[str, Any] = {
        "asset": "a",
        "conn_id": "mine",
        "connection_names": ["x", "y"],
        "workspace_id": ID,
        "statuses": ["failed"],
        "job_types": ["reset"],
        "since": datetime(2026, 11, 29, tzinfo=timezone.utc),
        "poll_interval": 30.0,
        "event_interval": 60.0,
        "name": "second",
        "api_version": "v2",
    }
    trigger = AirbyteSyncEndedTrigger(**given)
    path, arguments = trigger.serialize()
    assert path == "airbyte_deferrable.triggers.AirbyteSyncEndedTrigger"
    assert arguments == {**given, "since": "2026-11-29T00:00:00+00:00"}
    assert AirbyteSyncEndedTrigger(**json.loads(json.dumps(arguments))).serialize() == (path, arguments)


def test_arguments_that_are_as_by_default_are_left_out() -> None:
    assert AirbyteSyncEndedTrigger("a", tag="t").serialize()[1] == {"asset": "a", "tag": "t"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "none says which connections are watched"),
        ({"connection_ids": ID, "tag": "t"}, "connection_ids and tag are too many"),
        ({"connection_ids": "x"}, "connection_ids must be the UUID of an Airbyte connection, not 'x'"),
        ({"connection_names": [1]}, "connection_names must be a text or several"),
        ({"workspace_id": "x"}, "workspace_id must be the UUID of an Airbyte workspace"),
        ({"tag": " "}, "tag must be the name of a tag"),
        ({"tag": "t", "statuses": ["success"]}, "statuses must be one of cancelled, failed, succeeded, not 'success'"),
        ({"tag": "t", "statuses": []}, "statuses must be one or several of cancelled, failed, succeeded"),
        ({"tag": "t", "job_types": ["x"]}, "job_types must be one of"),
        ({"tag": "t", "job_types": []}, "job_types must be a type of job or several"),
        ({"tag": "t", "since": datetime(2026, 1, 1)}, "since must say its time zone"),
        ({"tag": "t", "since": "yesterday"}, "since must be a moment with a time zone"),
        ({"tag": "t", "event_interval": 1}, "event_interval must be 5 s or more, not 1"),
        ({"tag": "t", "poll_interval": 0}, r"poll_interval must be 0\.1 s or more, not 0\.$"),
        ({"tag": "t", "poll_interval": -1}, "poll_interval must be a number of seconds"),
        ({"tag": "t", "asset": ""}, "asset must be the name of the asset"),
    ],
    ids=str,
)
def test_bad_input_is_refused_where_the_dag_is_read(given: dict[str, Any], said: str) -> None:
    with pytest.raises(AirbyteInputError, match=said):
        AirbyteSyncEndedTrigger(**{"asset": "a", **given})


async def test_kill_does_nothing(sim: Simulator) -> None:
    """Airflow 3.3 calls it when the DAG is paused."""
    trigger: Any = AirbyteSyncEndedTrigger(NAME, tag="t")
    if hasattr(trigger, "on_kill"):
        await trigger.on_kill()
    assert sim.count() == 0
