"""Runs the legs of one sync after the other, and takes from Airflow's side and from Airbyte's what each of them did."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from airbyte_deferrable.simulator import Script
from airbyte_deferrable.simulator.surface import Surface
from benchmarks.measure import ROOT
from harness.dialogue import Dialogue
from harness.simulator import airflow_connection

#: What the DAG files name.
CONN_ID, CONNECTION_ID = "airbyte_bench", "a1b7e000-0000-4000-8000-000000000001"
#: Seconds that the job of a task runs that waits on its worker.
SHORT_JOB = 1.0
#: What a task tells when it is over, or over for now.
ENDS = {"DeferTask": "deferred", "SucceedTask": "success"}


class Kind(NamedTuple):
    """A way to run a sync.

    :param provider: ``ours``, ``official``, or ``alone``: ours, forked from a process that has loaded nothing of it, as
        in a pod of its own; ``lineage`` for those of :mod:`benchmarks.lineage`.
    :param way: ``deferrable`` or ``worker``; a task of its DAG file, of which only the latter waits on its worker.
    """

    provider: str
    way: str


#: In the order in which they take turns.
KINDS = [
    Kind("ours", "deferrable"),
    Kind("official", "deferrable"),
    Kind("alone", "deferrable"),
    Kind("ours", "worker"),
    Kind("official", "worker"),
]


@dataclass(frozen=True)
class Leg:
    """What one leg cost.

    :param part: ``first``, ``last``, or ``whole`` for the only one.
    :param answer: Seconds that an answer of Airbyte takes.
    :param seconds: From the fork of its process to that process's end.
    :param cpu: CPU seconds of that process.
    :param requests: What it asked of Airbyte, in order.
    :param round_trips: The most of these requests that came one after the other, none before the last was answered.
    :param calls: What the operator asked of Airflow's API, with the key of an XCom or of the task state store.
    :param airflows_calls: What Airflow asked of it by itself: before ``execute``, after it, and in ``finalize``.
    :param triggers_calls: What the trigger asked of it before the last leg, beside the triggerer's event loop.
    """

    kind: Kind
    part: str
    answer: float
    seconds: float
    cpu: float
    requests: list[str]
    round_trips: int
    calls: list[str]
    airflows_calls: list[str]
    triggers_calls: list[str]


class LegsBench:
    """The processes that legs need, for ``with LegsBench(simulator, home) as bench``.

    :param airbyte: The simulator.
    :param home: A folder for what Airflow writes.
    """

    def __init__(self, airbyte: Surface, home: Path) -> None:
        self.airbyte = airbyte
        self._home = home
        self._logs = home / "legs.log"
        self._connection = airflow_connection(airbyte)

    def __enter__(self) -> LegsBench:
        with ExitStack() as started:
            self._worker = started.enter_context(self._helper("benchmarks.legs_worker"))
            nothing = {"AIRFLOW__AIRBYTE_DEFERRABLE__PRELOAD": "False"}
            self._bare_worker = started.enter_context(self._helper("benchmarks.legs_worker", nothing))
            # The worker's tasks ask Airflow for it, as they do where it is kept in Airflow's database.
            told = {f"AIRFLOW_CONN_{CONN_ID.upper()}": json.dumps(self._connection)}
            self._triggerer = started.enter_context(self._helper("benchmarks.legs_triggerer", told))
            self.airbyte.add_connection("Orders", connection_id=CONNECTION_ID)
            self._started = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    def sync(
        self, kind: Kind, answer: float, short_job: float = SHORT_JOB, connection_id: str = CONNECTION_ID
    ) -> list[Leg]:
        """Run a sync from its start to its end, and return its legs.

        :param kind: How.
        :param answer: Seconds that each answer of Airbyte takes.
        :param short_job: Seconds that the job runs if the task waits on its worker. How often the task looks at it
            depends on them, unless they are 0.
        :param connection_id: Which connection of Airbyte's the task names.
        """
        # The operator is to find no jobs of others.
        for job in self.airbyte.jobs():
            self.airbyte.delete_job(job["id"])
        if kind.way == "worker":
            self.airbyte.script(connection_id, Script(duration=short_job))
            return [self._leg(kind, "whole", answer)[0]]
        self.airbyte.script(connection_id, Script(outcome=None))
        first, deferral = self._leg(kind, "first", answer)
        self.airbyte.finish(self.airbyte.jobs()[-1]["id"], "succeeded")
        self.airbyte.handler_seconds = 0.0
        # Our trigger holds back an event that comes in the first seconds; here nobody is in its way.
        deferral["trigger_kwargs"].pop("not_before", None)
        told = ask(self._triggerer, deferral)
        last, _ = self._leg(kind, "last", answer, deferral["next_method"], told["next_kwargs"], told["calls"])
        return [first, last]

    def _leg(
        self,
        kind: Kind,
        part: str,
        answer: float,
        next_method: str | None = None,
        next_kwargs: Any = None,
        triggers_calls: Sequence[str] = (),
    ) -> tuple[Leg, dict[str, Any]]:
        self.airbyte.handler_seconds = answer
        self.airbyte.clear_requests()
        told = ask(
            self._bare_worker if kind.provider == "alone" else self._worker,
            {
                "dag": f"legs_{'ours' if kind.provider == 'alone' else kind.provider}",
                "task": kind.way,
                "connection": {**self._connection, "schema": None, "port": None, "extra": None},
                "log": str(self._logs),
                "next_method": next_method,
                "next_kwargs": next_kwargs,
            },
        )
        if told["state"] != ("deferred" if part == "first" else "success"):
            raise RuntimeError(f"{kind}, {part} leg: {told['state']}\n{self._logs.read_text()[-20000:]}")
        spans = self._answered(answer)
        calls, airflows_calls = split(told["calls"])
        leg = Leg(
            kind=kind,
            part=part,
            answer=answer,
            seconds=told["seconds"],
            cpu=told["cpu"],
            requests=[call for call, _, _ in spans],
            round_trips=in_sequence((began, ended) for _, began, ended in spans),
            calls=calls,
            airflows_calls=airflows_calls,
            triggers_calls=list(triggers_calls),
        )
        return leg, told["end"]

    def _answered(self, answer: float) -> list[tuple[str, float, float]]:
        """Return the requests' spans, when the last that the leg left behind is over, too."""
        deadline = time.monotonic() + answer + 10
        while True:
            spans = self.airbyte.spans
            over = [(call, began, ended) for call, began, ended in spans if ended is not None]
            if len(over) == len(spans):
                return over
            if time.monotonic() > deadline:
                raise TimeoutError(f"not answered: {spans}")
            time.sleep(0.01)

    def _helper(self, module: str, more: dict[str, str] | None = None) -> Dialogue:
        dags = {"path": str(ROOT / "benchmarks" / "dags")}
        bundle = {"name": "legs", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": dags}
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(self._home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
            **(more or {}),
        }
        # Containers like to set it: then each leg would compile anew whatever it imports, 0.15 s of CPU.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        log = self._home / f"{module}.{'-'.join(more or ['plain'])}.stderr"
        return Dialogue(module, [sys.executable, "-m", module], env=environment, log=log, cwd=ROOT)


def ask(process: Dialogue, what: dict[str, Any]) -> dict[str, Any]:
    """Give a process a line of JSON, and return the one that it answers with."""
    process.say(json.dumps(what))
    answer: dict[str, Any] = json.loads(process.hear())
    return answer


def in_sequence(spans: Iterable[tuple[float, float]]) -> int:
    """Return how many of the spans, at most, follow one after the other without touching.

    :param spans: When each began and ended.
    """
    count, over = 0, float("-inf")
    # Always to take the one that is over first leaves the most room for the others.
    for began, ended in sorted(spans, key=lambda span: span[1]):
        if began >= over:
            count, over = count + 1, ended
    return count


def split(calls: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Return the calls of the operator, and those that Airflow makes by itself.

    What the supervisor answers without asking its API server is none.

    :param calls: See :class:`~benchmarks.legs_airflow.Call`.
    """
    operators: list[str] = []
    airflows: list[str] = []
    ended = False
    for call in calls:
        kind, key = call["kind"], call["key"]
        ended = ended or kind in ENDS
        if call["asks"]:
            by_airflow = ended or kind == "SetRenderedFields" or (kind, key) == ("SetXCom", "return_value")
            (airflows if by_airflow else operators).append(kind if key is None else f"{kind} {key}")
    return operators, airflows
