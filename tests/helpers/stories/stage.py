"""The stage of a story: a provider's classes, an Airbyte, and what Airflow gives a task."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest

from airbyte_deferrable._compat import AirflowSkipException, AirflowTaskTimeout
from airbyte_deferrable.simulator import Script, Simulator
from helpers.airbyte import ENDLESS
from helpers.blocks import ROOT
from helpers.compat import AirflowRescheduleException, TaskDeferred
from helpers.one_task import Store, TaskInstance, execution_timeout_over_when, first_event, run_in_loop, stored
from helpers.waiting import meanwhile

CONNECTION = "0f0e0d0c-0b0a-4908-8706-050403020100"
Seen = dict[str, Any]
Story = Callable[["Stage"], Seen]


def rows_of_the_tables() -> dict[str, str]:
    """The rows of the migration guide's tables by their numbers."""
    differences = (ROOT / "docs" / "migrating.md").read_text().partition("## Every difference")[2]
    lines = [line for line in differences.splitlines() if line.startswith("| ") and not line.startswith(("| |", "| -"))]
    numbered = [re.match(r"\| ([OSTHC]\d+) \| (.+?) \|", line) for line in lines]
    assert all(numbered), "each row has a number"
    rows = {match[1]: match[2] for match in numbered if match}
    assert len(rows) == len(lines), "each number is there once"
    return rows


ROWS = rows_of_the_tables()


@dataclass(frozen=True)
class Provider:
    """Whose classes play."""

    name: str
    modules: str

    def __getattr__(self, kind: str) -> Any:
        module = {"AirbyteTriggerSyncOperator": "operators", "AirbyteJobSensor": "sensors"}.get(
            kind, "triggers" if kind == "AirbyteSyncTrigger" else "hooks"
        )
        return getattr(import_module(self.modules.format(module)), kind)


OFFICIAL = Provider("official", "airflow.providers.airbyte.{}.airbyte")
OURS = Provider("ours", "airbyte_deferrable.{}")


class Stage:
    """One provider's classes, an Airbyte, and what Airflow gives a task."""

    def __init__(self, provider: Provider, sim: Simulator, monkeypatch: pytest.MonkeyPatch, ti: TaskInstance) -> None:
        self.provider, self.sim, self.monkeypatch, self.ti = provider, sim, monkeypatch, ti
        self.context: Any = {"ti": ti, "task_instance": ti, "task_state_store": Store()}
        self.operator_class = provider.AirbyteTriggerSyncOperator
        self.sensor_class = provider.AirbyteJobSensor
        self.trigger_class = provider.AirbyteSyncTrigger
        sim.add_connection(connection_id=CONNECTION, script=ENDLESS)
        self.connect()

    def connect(self, **fields: Any) -> None:
        login = {"login": self.sim.client_id, "password": self.sim.client_secret}
        given = {"conn_type": "airbyte", "host": self.sim.url, **login, "extra": {"timeout": 5}, **fields}
        self.monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", json.dumps(given))

    def hook(self, **arguments: Any) -> Any:
        return self.provider.AirbyteHook(**arguments)

    def operator(self, kind: Any = None, **arguments: Any) -> Any:
        given = {"task_id": "sync", "connection_id": CONNECTION, "wait_seconds": 0.05, **arguments}
        return (kind or self.operator_class)(**given)

    def sensor(self, kind: Any = None, **arguments: Any) -> Any:
        given = {"task_id": "wait", "airbyte_job_id": 1, "poke_interval": 0.05, "timeout": 30, **arguments}
        return (kind or self.sensor_class)(**given)

    def job(self, status: str | None = None, **script: Any) -> int:
        """Have a job of the connection, ended if a status is given."""
        made = self.sim.add_job(CONNECTION, script=Script(**script) if script else ENDLESS)
        if status is not None:
            self.sim.finish(made["id"], status)
        return int(made["id"])

    def run(self, make: Callable[[], Any], meanwhile: Callable[[], object] = lambda: None, **changed: Any) -> Any:
        """Run a task to its end; while it is deferred, something happens before its trigger, changed so, looks."""
        try:
            return make().execute(self.context)
        except TaskDeferred as deferred:
            meanwhile()
            vars(deferred.trigger).update(changed)
            told = run_in_loop(first_event(stored(deferred.trigger)))
            event = {"event": json.loads(json.dumps(told))}
            return make().resume_execution(deferred.method_name, {**(deferred.kwargs or {}), **event}, self.context)

    def ending_when_looked_at(self, job_id: int = 1) -> AbstractContextManager[None]:
        """Let a job succeed once a provider has looked twice, be the machine as slow as it may."""
        return meanwhile(
            lambda: self.sim.count("get") + self.sim.count("list") >= 2,
            lambda: self.sim.finish(job_id, "succeeded"),
            has_to=False,
        )

    def seen(self, play: Callable[[], Any], *more: str) -> Seen:
        """Play, and return what is seen of it: all that is compared."""
        seen: Seen = {"end": "done", "value": None, "raises": None, "message": None}
        try:
            seen["value"] = play()
        except TaskDeferred as deferred:
            seen["end"] = f"deferred to {deferred.method_name}"
        except AirflowRescheduleException:
            seen["end"] = "rescheduled"
        except AirflowSkipException:
            seen["end"] = "skipped"
        except (Exception, AirflowTaskTimeout) as error:
            seen |= {"end": "failed", "raises": type(error).__name__, "message": str(error)}
        seen["jobs"] = [(job["jobType"], job["status"]) for job in self.sim.jobs()]
        # Of one that has not begun, nobody knows whether it has by now.
        seen["jobs"] = [(kind, "running" if status == "pending" else status) for kind, status in seen["jobs"]]
        # The address for the button comes while the task waits: whether it is there yet is a matter of speed.
        seen["xcoms"] = self.ti.xcoms.keys() - {"airbyte_job_url"}
        if "asked" in more:
            seen["asked"] = {call for call, _, _, _ in self.sim.requests} - {"token"}
        return seen

    def clock(self) -> AbstractContextManager[None]:
        """Airflow's own for ``execution_timeout``, which is over when a job has been looked at."""
        return execution_timeout_over_when(lambda: self.sim.count("get"))


@dataclass(frozen=True)
class Case:
    story: Story
    rows: dict[str, str]
    airbyte: dict[str, Any]


CASES: list[Case] = []


def differs(airbyte: dict[str, Any] | None = None, **rows: str) -> Callable[[Story], Story]:
    """Register a story: what is seen of it differs by these rows of the tables, and by nothing else.

    :param airbyte: How the Airbyte is set up.
    :param rows: By what is seen, the number of the row.
    """

    def register(story: Story) -> Story:
        CASES.append(Case(story, rows, airbyte or {}))
        return story

    return register


def parameters(kind: Any) -> dict[str, inspect.Parameter]:
    found = inspect.signature(inspect.unwrap(kind.__init__)).parameters
    return {name: each for name, each in found.items() if name != "self" and each.kind is not each.VAR_KEYWORD}


def returns(kind: Any, *methods: str) -> dict[str, Any]:
    return {name: inspect.signature(inspect.unwrap(getattr(kind, name))).return_annotation for name in methods}
