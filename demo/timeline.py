"""What became of a DAG run's tasks over time: when each was on a worker, deferred, or waiting to run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from harness.rest import FINISHED_RUN, AirflowApi


class Phase(Enum):
    """What a task is doing, in a reader's words; the value is the label in every picture."""

    WAITING = "waiting to run"
    WORKING = "on a worker"
    DEFERRED = "deferred"
    DONE = "done"
    FAILED = "failed"


PHASES = {
    "running": Phase.WORKING,
    "restarting": Phase.WORKING,
    "deferred": Phase.DEFERRED,
    "success": Phase.DONE,
    "skipped": Phase.DONE,
    "removed": Phase.DONE,
    "failed": Phase.FAILED,
    "upstream_failed": Phase.FAILED,
}
LASTING = (Phase.DONE, Phase.FAILED)


@dataclass(frozen=True)
class Span:
    """A stretch of time that a task spent in one phase; seconds since the run was triggered."""

    phase: Phase
    start: float
    end: float


@dataclass(frozen=True)
class Bar:
    """One task's spans in order, and the phase that it ended in."""

    label: str
    spans: tuple[Span, ...]
    ending: Phase

    @property
    def end(self) -> float:
        """When the task was over."""
        return self.spans[-1].end if self.spans else 0.0


@dataclass(frozen=True)
class Timeline:
    """A finished DAG run.

    :param title: What was run, for headings.
    :param bars: One for each task.
    :param slots: How many worker slots Airflow had.
    """

    title: str
    bars: tuple[Bar, ...]
    slots: int

    @property
    def makespan(self) -> float:
        """Seconds from triggering the run to the end of its last task."""
        return max((bar.end for bar in self.bars), default=0.0)

    @property
    def slot_seconds(self) -> float:
        """Seconds that tasks spent on workers, added up."""
        return sum(s.end - s.start for bar in self.bars for s in bar.spans if s.phase is Phase.WORKING)

    @property
    def average_slots(self) -> float:
        """How many slots were in use at a time, on average over the makespan."""
        return self.slot_seconds / self.makespan if self.makespan else 0.0

    @property
    def failures(self) -> int:
        """How many tasks did not end well."""
        return sum(bar.ending is Phase.FAILED for bar in self.bars)

    def count(self, phase: Phase) -> list[tuple[float, int]]:
        """How many tasks are in a phase, as steps: from this second on, so many.

        :param phase: Which.
        """
        changes = [(s.start, 1) for bar in self.bars for s in bar.spans if s.phase is phase]
        changes += [(s.end, -1) for bar in self.bars for s in bar.spans if s.phase is phase]
        steps, level = {0.0: 0}, 0
        for moment, change in sorted(changes):
            level += change
            steps[moment] = level
        return list(steps.items())

    def buckets(self, phase: Phase, number: int) -> list[float]:
        """The same as averages over equal parts of the makespan.

        :param phase: Which.
        :param number: How many parts.
        """
        width = self.makespan / number if self.makespan else 1.0
        sums = [0.0] * number
        for span in (s for bar in self.bars for s in bar.spans if s.phase is phase):
            for bucket in range(int(span.start / width), min(int(span.end / width), number - 1) + 1):
                sums[bucket] += max(0.0, min(span.end, (bucket + 1) * width) - max(span.start, bucket * width))
        return [total / width for total in sums]


@dataclass
class Recorder:
    """Watches a run until it has ended.

    Airflow's event log has the exact moments at which tasks went to a worker, were deferred and ended, but not when
    they were queued; that comes from looking at the tasks again and again, and is as exact as ``interval``.

    :param airflow: The Airflow.
    :param dag_id: The run's DAG.
    :param run_id: The run.
    :param interval: Seconds between two looks.
    """

    airflow: AirflowApi
    dag_id: str
    run_id: str
    interval: float = 0.5
    began: float = field(default_factory=time.time)
    _seen: dict[tuple[str, int], list[tuple[float, str]]] = field(default_factory=dict)

    def watch(self, report: Callable[[float, Sequence[Phase]], None], timeout: float) -> None:
        """Look until the run has ended.

        :param report: Called after each look with the seconds since the beginning and every task's phase.
        :param timeout: Seconds.
        :raises TimeoutError: it did not end in time.
        """
        while True:
            moment = time.time()
            state = self.airflow.run_state(self.dag_id, self.run_id)
            tasks = self.airflow.task_instances(self.dag_id, self.run_id)
            for task in tasks:
                samples = self._seen.setdefault((task["task_id"], task["map_index"]), [])
                samples.append((moment, task["state"] or "none"))
            report(moment - self.began, [phase_of(task["state"]) for task in tasks])
            if state in FINISHED_RUN:
                return
            if moment - self.began > timeout:
                raise TimeoutError(f"{self.dag_id} is still {state} after {timeout:g} s")
            time.sleep(self.interval)

    def timeline(self, title: str, slots: int) -> Timeline:
        """What has been seen, complete once :meth:`watch` has returned.

        :param title: What was run, for headings.
        :param slots: How many worker slots Airflow had.
        """
        logged = self._logged()
        bars = []
        for number, key in enumerate(sorted(self._seen), 1):
            exact = logged.get(key, [])
            samples = self._seen[key]
            if exact:
                samples = [(moment, state) for moment, state in samples if phase_of(state) is Phase.WAITING]
            bars.append(_bar(f"{key[0]} {number}", self.began, [*samples, *exact]))
        return Timeline(title, tuple(bars), slots)

    def _logged(self) -> dict[tuple[str, int], list[tuple[float, str]]]:
        logged: dict[tuple[str, int], list[tuple[float, str]]] = {}
        query = {"dag_id": self.dag_id, "run_id": self.run_id, "order_by": "event_log_id"}
        for entry in self.airflow.collect("/eventLogs", "event_logs", query):
            if entry["task_id"] and entry["event"] in PHASES:
                moment = datetime.fromisoformat(entry["when"].replace("Z", "+00:00")).timestamp()
                logged.setdefault((entry["task_id"], entry["map_index"]), []).append((moment, entry["event"]))
        return logged


def phase_of(state: str | None) -> Phase:
    """The phase that one of Airflow's task states belongs to.

    :param state: The state; None for a task that Airflow has not scheduled yet.
    """
    return PHASES.get(state or "", Phase.WAITING)


def _bar(label: str, began: float, changes: Iterable[tuple[float, str]]) -> Bar:
    spans: list[Span] = []
    phase, since = Phase.WAITING, began
    for moment, state in sorted(changes):
        following = phase_of(state)
        if following is phase or moment < began:
            continue
        spans.append(Span(phase, since - began, moment - began))
        phase, since = following, moment
        if phase in LASTING:
            break
    return Bar(label, tuple(spans), phase)
