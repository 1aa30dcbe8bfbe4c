"""``python -m benchmarks.model``: what so many syncs an hour ask of Airbyte, workers and triggerers.

The requests follow from what the code asks; the seconds of a worker slot are fitted to two runs of
:mod:`benchmarks.slots` and checked against the others.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import markdown, write_between
from benchmarks.slots_report import Report, Run

PAGE = Path("docs/at-scale.md")
MARKS = "<!-- model begins -->", "<!-- model ends -->"

#: Rows of a page of Airbyte's lists.
PAGE_SIZE = 100
#: Seconds for which a token of Airbyte's serves: a quarter of an hour, less the minute in which it is renewed.
TOKEN_LIFE = 840.0
#: Changes of status that a sync makes: made, running, ended.
CHANGES = 3
#: Seconds that a sweep reaches back beyond the last one.
OVERLAP = 1.0
#: Seconds between two readings of all running jobs, for rows and bytes in the tasks' logs.
PROGRESS = 60.0
#: Seconds for which names are kept.
NAMES_KEPT = 3600.0
#: Handler threads of one server pod of Airbyte.
THREADS = 5
#: Triggers of one triggerer: Airflow's default.
CAPACITY = 1000
#: Calls of a trigger to Airflow, and seconds for each: a triggerer makes them one after the other.
CALLS, CALL = 2, 0.017
#: How much of anything is planned to be in use.
USED = 0.7


@dataclass(frozen=True)
class Load:
    """What is asked for.

    :param syncs: An hour.
    :param duration: Seconds that a sync takes.
    :param triggerers: How many there are.
    :param machines: On which workers run; where each leg has a pod of its own, none shares a token.
    :param poll: Seconds between two sweeps.
    """

    syncs: float
    duration: float = 600.0
    triggerers: int = 1
    machines: int = 1
    poll: float = 5.0

    @property
    def rate(self) -> float:
        """Syncs a second."""
        return self.syncs / 3600

    @property
    def at_once(self) -> float:
        """How many wait at the same time."""
        return self.rate * self.duration

    def requests(self) -> dict[str, float]:
        """Return the requests a second to Airbyte, by kind."""
        changes = self.rate * CHANGES * (1 + OVERLAP / self.poll)
        names = 3 * math.ceil(self.syncs / PAGE_SIZE) / NAMES_KEPT
        return {
            "list before": self.rate,
            "create": self.rate,
            "sweeps": self.triggerers * max(1 / self.poll, changes / PAGE_SIZE),
            "progress": self.triggerers * math.ceil(self.at_once / PAGE_SIZE) / PROGRESS,
            "names": self.triggerers * names,
            "tokens": (min(self.machines / TOKEN_LIFE, self.rate)) + self.triggerers / TOKEN_LIFE,
        }


@dataclass(frozen=True)
class Slots:
    """How long a sync takes a worker slot: ``fixed + trips * answer`` seconds.

    :param fixed: What does not depend on Airbyte.
    :param trips: Round trips in sequence.
    """

    fixed: float
    trips: float

    @classmethod
    def fit(cls, runs: Sequence[Run]) -> Slots:
        """Lay a line through two runs.

        :param runs: The two, with different answers.
        """
        low, high = sorted(runs, key=lambda run: run.answer)
        trips = (high.taken / high.tasks - low.taken / low.tasks) / (high.answer - low.answer)
        return cls(low.taken / low.tasks - trips * low.answer, trips)

    def seconds(self, answer: float) -> float:
        """Return the slot-seconds of a sync.

        :param answer: Seconds that Airbyte's answers take.
        """
        return self.fixed + self.trips * answer


def needs(load: Load, slots: Slots, answer: float) -> dict[str, float]:
    """Return how many of each are needed, with some to spare.

    :param load: What is asked for.
    :param slots: What a sync takes.
    :param answer: Seconds that Airbyte's answers take.
    """
    return {
        "worker slots": load.rate * slots.seconds(answer) / USED,
        "triggerers": max(load.at_once / CAPACITY, load.rate * CALLS * CALL / USED),
        "server pods": sum(load.requests().values()) * answer / THREADS / USED,
    }


def expected_requests(run: Run, duration: float) -> Mapping[str, float]:
    """Return how many requests a run of the benchmark should have taken, by kind.

    :param run: The run.
    :param duration: Seconds of a sync.
    """
    load = Load(run.tasks / run.makespan * 3600, duration, triggerers=2 if "Celery" in run.executor else 1)
    return {kind: each * run.makespan for kind, each in load.requests().items()}


def table(slots: Slots, answer: float = 0.1) -> str:
    """Return what grows first, as Markdown.

    :param slots: What a sync takes.
    :param answer: Seconds that Airbyte's answers take.
    """
    head = [
        "Syncs an hour",
        "Wait at once",
        "Requests a second",
        "of them to start",
        "Worker slots",
        "Triggerers",
        "Airbyte's server pods",
    ]
    rows = []
    for syncs in (100, 1_000, 10_000, 30_000, 100_000):
        triggerers = max(1, math.ceil(needs(Load(syncs), slots, answer)["triggerers"]))
        load = Load(syncs, triggerers=triggerers, machines=max(1, syncs // 5000))
        needed, requests = needs(load, slots, answer), load.requests()
        rows.append(
            [
                f"{syncs:,}",
                f"{load.at_once:,.0f}",
                f"{sum(requests.values()):.1f}",
                f"{requests['list before'] + requests['create']:.1f}",
                f"{math.ceil(needed['worker slots']):,}",
                f"{triggerers:,}",
                f"{math.ceil(needed['server pods']):,}",
            ]
        )
    return markdown(head, rows)


def check(report: Report, fitted: Sequence[Run], slots: Slots) -> str:
    """Return how well the model tells the runs that it was not fitted to, as Markdown.

    :param report: All runs.
    :param fitted: Those that it was fitted to.
    :param slots: The fit.
    """
    head = ["Run", "Slot-seconds a sync: measured", "model", "Requests: measured", "model"]
    rows = []
    for run in report.runs:
        if run.kind != "ours":
            continue
        expected = sum(expected_requests(run, report.duration).values())
        rows.append(
            [
                f"{run.executor}, {run.answer:g} s" + (" (fitted to)" if run in fitted else ""),
                f"{run.taken / run.tasks:.2f}",
                f"{slots.seconds(run.answer):.2f}",
                f"{sum(run.requests.values()):,}",
                f"{expected:,.0f}",
            ]
        )
    return markdown(head, rows)


def text(report: Report) -> str:
    """Return what the documentation shows.

    :param report: The runs.
    """
    ours = [run for run in report.runs if run.kind == "ours" and run.number == 1]
    fitted = [run for run in ours if run.executor == "LocalExecutor"]
    slots = Slots.fit(fitted)
    return f"""{table(slots)}
Fitted to two runs: {slots.fixed:.2f} slot-seconds a sync, and {slots.trips:.1f} answers of Airbyte. Beside what was
measured:

{check(report, fitted, slots)}"""


def main() -> int:
    """Print the model's tables, and put them into the documentation."""
    report = Report.from_json(json.loads(Path("benchmarks/results/slots.json").read_text()))
    write_between(PAGE, text(report), MARKS)
    print(text(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
