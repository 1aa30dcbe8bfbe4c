"""What users do to tasks and connections while everything is being killed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

import httpx

from airbyte_deferrable.simulator import Script
from chaos.cluster import Cluster
from chaos.plan import INTRUDES, Deed
from chaos.rules import ENDED, Action, Evidence, Outage, Triggerer
from harness.airflow import LocalAirflow
from harness.rest import AirflowApi
from harness.simulator import SimulatorProcess

#: What Airflow answers to what makes no sense, such as marking a task as what it is.
REFUSALS = (400, 409, 422)
#: Seconds that somebody else's sync lasts.
INTRUSION = 6.0
#: What a triggerer says when it goes on.
STOOD_STILL = re.compile(r"^(?P<at>\S+) .*Heartbeat recovered after (?P<for>[\d.]+) seconds", re.MULTILINE)
COLOR = re.compile(r"\x1b\[[0-9;]*m")
#: What a process of a task says of itself: that Airflow does not answer, and that there is a job of before.
NOT_TOLD, MEETS = "Airflow does not tell why", "waiting for its end"


@dataclass(frozen=True)
class Run:
    """The run whose tasks they clear and mark.

    :param connection_ids: The connections, in the order of the tasks' map indexes.
    :param again: Seconds that a job lasts whose task was cleared.
    """

    dag_id: str
    run_id: str
    connection_ids: Sequence[str]
    again: float


class Users:
    """Do what is planned, each thing as soon as Airflow, or Airbyte, takes it.

    In a thread of their own: a request to what has just been killed can hang for a minute, and the kills go on.

    :param deeds: The plan.
    :param say: Is told what they do.
    """

    def __init__(
        self,
        everything: Cluster,
        airbyte: SimulatorProcess,
        run: Run,
        deeds: Sequence[Deed],
        say: Callable[[str], None],
    ) -> None:
        self._say = say
        self._began: float | None = None
        self._everything = everything
        self._airbyte = airbyte
        self._run = run
        self._to_come = list(deeds)
        #: What they did to tasks, also where nobody has answered.
        self.actions: list[Action] = []

    @property
    def done(self) -> bool:
        """Whether all of it is done."""
        return not self._to_come

    def begin(self) -> None:
        """Take note that the first job was started, once."""
        if self._began is None:
            self._began = time.monotonic()
            Thread(target=self._live, daemon=True).start()

    def _live(self) -> None:
        while self._to_come:
            assert self._began is not None
            self._act(time.monotonic() - self._began)
            time.sleep(0.5)

    def _act(self, now: float) -> None:
        """Do what is due.

        :param now: Seconds since the first job was started.
        """
        for deed in [deed for deed in self._to_come if deed.at <= now]:
            try:
                what = self._intrude(deed) if deed.kind == INTRUDES else self._do(deed)
            except (httpx.HTTPError, OSError):
                # Again at the next look: whoever is down is to be tended meanwhile.
                break
            if what:
                self._to_come.remove(deed)
                self._say(what)

    def _intrude(self, deed: Deed) -> str:
        """Start a sync of a connection as somebody else; nothing is said while it runs another."""
        connection_id = self._run.connection_ids[deed.index]
        if any(job["status"] not in ENDED for job in self._airbyte.jobs(connection_id)):
            return ""
        job = self._airbyte.add_job(connection_id, Script(duration=INTRUSION))
        return f"somebody else's job {job['id']} of the connection of task {deed.index}"

    def _do(self, deed: Deed) -> str:
        run, airflow = self._run, self._everything.airflow
        before: dict[str, Any] = airflow.task_instance(run.dag_id, run.run_id, "sync", deed.index)
        if deed.kind == "clear":
            self._airbyte.script(run.connection_ids[deed.index], Script(duration=run.again))
        begun = _begin(deed, before)
        try:
            if deed.kind == "clear":
                airflow.clear(run.dag_id, run.run_id, "sync", deed.index)
            else:
                airflow.set_state(run.dag_id, run.run_id, deed.kind, "sync", deed.index)
        except httpx.HTTPStatusError as error:
            if error.response.status_code not in REFUSALS:
                self._note(begun, answered=False)
                raise
            return f"{deed.kind} task {deed.index}, which is {before['state']}: Airflow refuses"
        except httpx.HTTPError:
            self._note(begun, answered=False)
            raise
        self._note(begun, answered=True)
        return f"{deed.kind} task {deed.index}, which is {before['state']}"

    def _note(self, begun: Action, *, answered: bool) -> None:
        self.actions.append(replace(begun, ended=time.time(), answered=answered))


def _begin(deed: Deed, task: Mapping[str, Any]) -> Action:
    """Take down how a task stands at the moment in which something is done to it.

    :param task: Its task instance, as Airflow shows it.
    """
    state, trigger = task["state"], task["trigger"] or {}
    alive = state != "running" or _lives(task["pid"])
    deferred_at = seconds(trigger.get("created_date")) or 0.0
    began = time.time()
    return Action(
        deed.index,
        deed.kind,
        began,
        began,
        state=state,
        alive=alive,
        triggerer=trigger.get("triggerer_id"),
        deferred_at=deferred_at,
    )


def _lives(pid: int | None) -> bool:
    """Tell whether a process of this machine lives. One that nobody has taken notice of after its end does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def evidence(airflow: LocalAirflow, run: Run, actions: Sequence[Action], outages: Sequence[Outage]) -> Evidence:
    """Ask Airflow what else is known of a run that is over.

    :param actions: What was done to its tasks.
    :param outages: What was down.
    """
    triggerers = {
        job["id"]: Triggerer(seconds(job["latest_heartbeat"]) or 0.0, seconds(job["end_date"]))
        for job in airflow.collect("/jobs", "jobs", {"job_type": "TriggererJob", "order_by": "id"})
    }
    tries = {
        index: tuple(filter(None, (seconds(each["start_date"]) for each in _tries(airflow, run, index))))
        for index in {action.index for action in actions}
    }
    silences = [each for log in sorted((airflow.home / "logs").glob("triggerer*.log")) for each in silences_in(log)]
    logs = {index: list(_logs(airflow, run, index)) for index in tries}
    asked_in_vain, met = (
        {index: tuple(at for log in found for at in said(log, what)) for index, found in logs.items()}
        for what in (NOT_TOLD, MEETS)
    )
    return Evidence(outages, silences, triggerers, tries, asked_in_vain, met)


def said(log: Path, what: str) -> Iterator[float]:
    """Yield when a process of a task has written something into its log, seconds since the epoch.

    :param log: A JSON object a line, as Airflow 3 writes it.
    :param what: A part of what it says.
    """
    for line in log.read_text(errors="replace").splitlines():
        if what in line:
            yield seconds(json.loads(line)["timestamp"]) or 0.0


def _logs(airflow: LocalAirflow, run: Run, index: int) -> Iterator[Path]:
    folder = airflow.home / f"logs/dag_id={run.dag_id}/run_id={run.run_id}/task_id=sync/map_index={index}"
    return folder.glob("*.log")


def silences_in(log: Path) -> Iterator[Outage]:
    """Yield when a triggerer stood still, as it tells in its log each time that it goes on.

    :param log: The output of all its processes.
    """
    for told in STOOD_STILL.finditer(COLOR.sub("", log.read_text(errors="replace"))):
        ended = seconds(told["at"]) or 0.0
        yield Outage(log.stem, ended - float(told["for"]), ended)


def _tries(airflow: AirflowApi, run: Run, index: int) -> list[dict[str, Any]]:
    path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/sync/{index}/tries"
    found: list[dict[str, Any]] = airflow.api("GET", path)["task_instances"]
    return found


def seconds(at: str | None) -> float | None:
    """Return what Airflow says of a time as seconds since the epoch."""
    return datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp() if at else None
