"""Syncs that somebody else starts reach a DAG through its asset: each once, whatever is killed, paused or edited."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from airbyte_deferrable._compat import AIRFLOW_3
from airbyte_deferrable.simulator import Script
from harness.airflow import LocalAirflow
from harness.waiting import eventually

from .support import DAGS, QUICK, Airbyte

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not AIRFLOW_3, reason="before Airflow 3, assets have no watchers"),
]

#: The asset and its DAG, and the tag of the connections that it watches, as ended_dags.py has them.
NAME = "e2e_ended"
TAG = "ended"
#: Where its position is kept, as docs/react.md has it: that of an example, in the same Airflow, is elsewhere.
_ASSET_NAME_CONNECTION = json.dumps([NAME, "", "airbyte_default"])
KEYS = (
    "airbyte_told__airbyte_default",
    f"airbyte_told__{hashlib.sha256(_ASSET_NAME_CONNECTION.encode()).hexdigest()[:32]}",
)
FAILED = Script(duration=0.5, outcome="failed")
CANCELLED = Script(duration=0.5, outcome="cancelled")
#: Some seconds in which something can happen to Airflow before all end in the same one.
TOGETHER = Script(duration=2)
TERMINAL = ("succeeded", "failed", "cancelled")
#: Seconds that a triggerer may be silent before the others take its triggers.
TRIGGERER_HEALTH = 15
FIRED = "Trigger fired event"
BEGUN = re.compile(r"Watching \d+ Airbyte connections")
#: What no triggerer says as long as its trigger is well. Airflow has tracebacks of its own: when it is told to stop
#: while its triggers ask it for something.
COMPLAINT = re.compile(
    r"airbyte_deferrable/|Shared stream poll failed|Watching Airbyte failed|Airflow does not|Trigger failed"
)


@dataclass
class Watched:
    """The DAG that an asset starts, the Airflow in which it is, and the Airbyte that is watched."""

    airflow: LocalAirflow
    airbyte: Airbyte

    @contextmanager
    def unpaused(self) -> Iterator[None]:
        """Let the asset be watched, from when this begins until it ends."""
        self.pause(False)
        try:
            eventually(self.position, what="a position that Airflow keeps")
            yield
        finally:
            self.pause(True)

    def pause(self, paused: bool) -> None:
        """Pause the DAG, or let it go on. With the next look at its file, its asset is watched no more, or again."""
        self.airflow.set_paused(NAME, paused)
        # Airflow looks at a file that has changed at once, and at others twice a minute.
        self.file.touch()

    @property
    def file(self) -> Path:
        """The DAG's."""
        return self.airflow.dags / "ended_dags.py"

    def asset(self) -> dict[str, Any]:
        """The asset, as Airflow tells it."""
        (found,) = self.airflow.api("GET", "/assets", params={"name_pattern": NAME})["assets"]
        return dict(found)

    def position(self) -> dict[str, Any] | None:
        """Up to where the trigger says that all was told: from where a next one would go on."""
        if self.keeps_in_asset:
            path = f"/assets/{self.asset()['id']}/state-store"
            kept = self.airflow.api("GET", path)["asset_state_store"]
        else:
            kept = self.airflow.api("GET", "/variables", params={"limit": 100})["variables"]
        found = [each["value"] for each in kept if each["key"] in KEYS]
        return dict(json.loads(found[0])) if found else None

    def is_behind(self, job_id: int) -> bool:
        """Whether a next trigger would take this job's end for told: the position is past it, or names it."""
        position = self.position()
        if position is None:
            return False
        ended_at = stamp(self.airbyte.job(job_id)["updatedAt"])
        return job_id in position["handed_out"] or ended_at < datetime.fromisoformat(position["moment"])

    @property
    def keeps_in_asset(self) -> bool:
        """Whether this Airflow has a place for that, and says when an event is stored."""
        return self._version >= (3, 3)

    @property
    def tells_watchers(self) -> bool:
        """Whether this Airflow says which watchers an asset has."""
        return "watchers" in self.asset()

    @property
    def _version(self) -> tuple[int, int]:
        major, minor, *_ = self.airflow.version.split(".")
        return int(major), int(minor)

    def start(self, connection_ids: Sequence[str], script: Script) -> list[int]:
        """Let Airbyte start a sync of each connection."""
        return self.airbyte.add_jobs(connection_ids, script)

    def ended(self, jobs: Sequence[int]) -> bool:
        """Whether these jobs have."""
        return all(self.airbyte.job(job)["status"] in TERMINAL for job in jobs)

    def events(self) -> list[dict[str, Any]]:
        """What the asset was told, one payload an event, in their order; nothing as long as Airflow does not say."""
        try:
            found = self.airflow.collect("/assets/events", "asset_events", {"asset_id": self.asset()["id"]})
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 500:
                raise
            # A run that has one of them has not begun.
            return []
        return [each["extra"]["payload"] for each in sorted(found, key=lambda each: each["id"])]

    def stored(self) -> list[int]:
        """The jobs of which the asset was told, one as often as it was told."""
        return [job["job_id"] for event in self.events() for job in event["jobs"]]

    def runs(self) -> list[str]:
        """The DAG's runs, each of which the asset began."""
        found = self.airflow.collect(f"/dags/{NAME}/dagRuns", "dag_runs", {"order_by": "id"})
        assert {run["state"] for run in found} <= {"queued", "running", "success"}, found
        return [run["dag_run_id"] for run in found]

    def told(self) -> list[dict[str, Any]]:
        """The syncs that the task has got, in all runs so far."""
        return [sync for run_id in self.runs() for sync in self.airflow.xcom(NAME, run_id, "tell") or ()]

    def told_jobs(self) -> Counter[int]:
        """How often the task has got each job."""
        return Counter(sync["job_id"] for sync in self.told())

    def await_told(self, jobs: Sequence[int]) -> None:
        """Wait until the task has got all of these."""
        eventually(lambda: set(jobs) <= set(self.told_jobs()), what=f"jobs {jobs} in the DAG's runs", interval=0.5)

    def is_quiet(self) -> bool:
        """Whether Airflow has done all that the events so far make it do."""
        runs = self.airflow.collect(f"/dags/{NAME}/dagRuns", "dag_runs", {"order_by": "id"})
        return all(run["state"] == "success" for run in runs) and not self.waiting_for_a_run()

    def waiting_for_a_run(self) -> bool:
        """Whether there is an event for which Airflow is yet to begin a run."""
        try:
            return bool(self.airflow.api("GET", f"/dags/{NAME}/assets/queuedEvents")["queued_events"])
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                return False
            raise

    def triggerers(self) -> list[str]:
        """The triggerers' names."""
        return [name for name in self.airflow.components if name.startswith("triggerer")]

    def triggerer_log(self, triggerer: str) -> list[str]:
        """What a triggerer has said in all of its lives."""
        return (self.airflow.home / "logs" / f"{triggerer}.log").read_text(errors="replace").splitlines()

    def lives(self) -> list[str]:
        """The triggerers in which the trigger has begun, once for each time."""
        return [name for name, line in self.trigger_lines() if BEGUN.search(line)]

    def trigger_lines(self) -> list[tuple[str, str]]:
        """What the triggerers have said of the trigger's work, each with its name, the last one last."""
        lines = [(line, name) for name in self.triggerers() for line in self.triggerer_log(name)]
        # Each begins with the time, alike in all of them.
        return [(name, line) for line, name in sorted(lines) if BEGUN.search(line) or FIRED in line]

    def end(self, signum: signal.Signals) -> None:
        """Send a signal to the triggerer that has the trigger; come back when it has ended."""
        name = self.trigger_lines()[-1][0]
        # A process manager asks the one that it has started; a machine that dies takes all.
        self.airflow.kill(name, signum, everything=signum == signal.SIGKILL)
        eventually(lambda: self.airflow.returncode(name) is not None, what=f"the end of {name}")

    def bring_back(self) -> None:
        """Start the triggerers that have ended."""
        for name in self.triggerers():
            if self.airflow.returncode(name) is not None:
                self.airflow.restart(name)

    def complaints(self) -> list[str]:
        """What the triggerers have to complain about."""
        return [line for name in self.triggerers() for line in self.triggerer_log(name) if COMPLAINT.search(line)]


def stamp(seconds: float) -> datetime:
    """A time of the simulator as Airbyte's API tells it."""
    return datetime.fromtimestamp(int(seconds)).astimezone()


def test_ended_syncs_reach_a_dag(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    watched = Watched(airflow, airbyte)
    orders, clicks = (airbyte.add_connection(name=name, script=QUICK, tags=[TAG]) for name in ("Orders", "Clicks"))
    others = airbyte.add_connection(name="Others", script=QUICK)
    # One that has ended before anybody watched.
    airbyte.add_job(orders, created_ago=60)
    with watched.unpaused():
        begun = watched.position()
        failed = airbyte.add_job(clicks, FAILED)
        eventually(lambda: watched.ended([failed["id"]]))
        watched.start([others], QUICK)
        jobs = watched.start([orders, clicks], QUICK)
        watched.await_told(jobs)
        last = watched.start([orders], QUICK)
        watched.await_told(last)
        assert watched.told_jobs() == Counter([*jobs, *last])
        # It goes on from behind what Airflow has stored.
        eventually(lambda: all(watched.is_behind(job) for job in [*jobs, *last]))
    assert begun is not None
    for sync in watched.told():
        job = airbyte.job(sync["job_id"])
        assert sync["connection_id"] == job["connectionId"]
        assert sync["connection_name"] == {orders: "Orders", clicks: "Clicks"}[job["connectionId"]]
        assert (sync["status"], sync["job_type"]) == ("succeeded", "sync")
        assert (sync["rows_synced"], sync["bytes_synced"]) == (1000, 100_000)
        started_at, ended_at = (datetime.fromisoformat(sync[name]) for name in ("started_at", "ended_at"))
        assert (started_at, ended_at) == (stamp(job["createdAt"]), stamp(job["updatedAt"]))
        assert sync["duration_seconds"] == pytest.approx((ended_at - started_at).total_seconds(), abs=1)
        workspace = f"/workspaces/{airbyte.workspace_id}/connections/{job['connectionId']}/"
        assert workspace in sync["job_url"]
        assert f"jobId={job['id']}" in sync["job_url"]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Watched]:
    """Start an Airflow of the test's own, with two triggerers, and ten connections that are watched there."""
    (tmp_path / "dags").mkdir()
    shutil.copy(DAGS / "ended_dags.py", tmp_path / "dags")
    with (
        Airbyte(tmp_path / "airbyte.log") as airbyte,
        LocalAirflow(
            tmp_path,
            dags=tmp_path / "dags",
            triggerers=2,
            connections={"airbyte_default": airbyte.airflow_connection},
            config={
                # A watcher that is edited is removed with one look at the file, and added with the next.
                "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "2",
                "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
                "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(TRIGGERER_HEALTH),
                "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            },
        ) as airflow,
    ):
        yield Watched(airflow, airbyte)


@pytest.mark.killmatrix
def test_ended_syncs_survive_kills(own: Watched) -> None:
    """Fifty syncs, of which ten end in one second, and all that happens to Airflow meanwhile."""
    cids = [own.airbyte.add_connection(name=f"Orders {number}", tags=[TAG]) for number in range(10)]
    jobs: list[int] = []

    def start(number: int, script: Script = TOGETHER) -> list[int]:
        started = own.start(cids[:number], script)
        jobs.extend(started)
        return started

    def all_stored() -> bool:
        return set(jobs) <= set(own.stored())

    with own.unpaused():
        start(5)
        eventually(all_stored)

        # kill -9 right after an event was stored: it is told again, and once to the DAG.
        started = start(10)
        eventually(lambda: set(started) & set(own.stored()), interval=0.05)
        own.end(signal.SIGKILL)
        # These end while nobody watches.
        start(5)
        eventually(all_stored)
        own.bring_back()

        # SIGTERM while syncs end: the other triggerer takes over.
        start(5)
        own.end(signal.SIGTERM)
        start(5)
        eventually(all_stored)
        own.bring_back()

        # kill -9 while syncs end.
        start(5)
        own.end(signal.SIGKILL)
        eventually(all_stored)
        own.bring_back()

        # The DAG is paused while syncs end, and goes on afterwards.
        meanwhile = start(5)
        own.pause(True)
        eventually(lambda: own.ended(meanwhile))
        if own.tells_watchers:
            eventually(lambda: own.asset()["watchers"] == [], what="the end of the watcher")
        start(5)
        own.pause(False)
        eventually(all_stored)

        # Its file is edited before these have been told: from then on it is another trigger, which also tells others.
        start(5)
        text = own.file.read_text()
        own.file.write_text(text.replace('["succeeded"]', '["succeeded", "cancelled"]'))
        assert own.file.read_text() != text
        start(1, CANCELLED)
        eventually(all_stored)

        # Events that come close together Airflow may leave for the next run: one that comes alone brings them.
        eventually(own.is_quiet)
        own.await_told(start(1))
        assert own.told_jobs() == Counter(jobs)

        # Airflow has kept up to where all was told, in whichever life.
        eventually(lambda: own.is_behind(jobs[-1]))
        doubled = len(own.stored()) - len(jobs)
        print(f"\nAirflow {own.airflow.version}: {len(jobs)} syncs in {len(own.events())} events, {doubled} told again")
        print(f"{len(own.runs())} runs, {len(own.lives())} lives of the trigger: {', '.join(own.lives())}")
    assert own.complaints() == []
