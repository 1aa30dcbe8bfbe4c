"""The figures of :mod:`benchmarks.slots`, its table and its plot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import HANDLER_THREADS
from benchmarks.report import COLOURS, NAMES, markdown


@dataclass(frozen=True)
class Kind:
    """What is run.

    :param name: What the table calls it.
    :param label: What the plot calls it.
    :param colour: Its colour there.
    :param syncs: Whether it runs jobs of Airbyte.
    :param on_worker: Whether it keeps its worker, so that there are fewer of it.
    """

    name: str
    label: str
    colour: str
    syncs: bool = True
    on_worker: bool = False


#: By the names of the DAGs, in the order in which they take turns.
KINDS = {
    "ours": Kind(f"{NAMES['ours']}, deferrable", "airbyte-deferrable", COLOURS["ours"]),
    "official": Kind(f"{NAMES['official']}, deferrable", "official provider, deferrable", COLOURS["official"]),
    "sleeping": Kind("tasks that only sleep, deferred", "only sleeping, deferred", COLOURS["sleeping"], syncs=False),
    "official_on_worker": Kind(f"{NAMES['official']}, on the worker", "", COLOURS["official"], on_worker=True),
}


@dataclass(frozen=True)
class Run:
    """What one run of one kind gave. Seconds.

    :param executor: Airflow's.
    :param answer: That each of Airbyte's answers takes.
    :param number: Which of several runs of the same, from 1.
    :param kind: One of :data:`KINDS`.
    :param tasks: How many were run.
    :param first_legs: Slot-seconds of the legs that ended with the task deferred.
    :param last_legs: And of those that ended it.
    :param legs: How many legs there were.
    :param running: How long task instances were in state ``running``, summed over them.
    :param makespan: From the request for the DAG's run to the end of its last task.
    :param requests: To Airbyte, by call.
    :param blocked: How often Airflow found a triggerer's event loop blocked: ``triggers.blocked_main_thread``.
    :param failed: Tasks that did not succeed.
    :param jobs: That Airbyte made.
    :param late: From the end of a job, or of a sleep, to the end of its task: the median.
    :param latest: The longest of them.
    :param measured_at: When, in UTC.
    """

    executor: str
    answer: float
    number: int
    kind: str
    tasks: int
    first_legs: float
    last_legs: float
    legs: int
    running: float
    makespan: float
    requests: Mapping[str, int]
    blocked: int
    failed: int
    jobs: int
    late: float
    latest: float
    measured_at: str

    @property
    def key(self) -> tuple[str, float, int, str]:
        """What a run of the same replaces."""
        return self.executor, self.answer, self.number, self.kind

    @property
    def taken(self) -> float:
        """How long worker slots were taken, summed over the slots."""
        return self.first_legs + self.last_legs

    def brief(self) -> str:
        """Return the most of it in a line."""
        return (
            f"{self.taken / self.tasks:.2f} slot-seconds a sync ({self.running / self.tasks:.2f} of state running), "
            f"makespan {self.makespan:.0f} s, {sum(self.requests.values())} requests, {self.blocked} times blocked, "
            f"{self.failed} failed, {self.jobs} jobs, late {self.late:.1f} s, {self.latest:.1f} s at most"
        )


@dataclass
class Report:
    """All runs of one size on one machine.

    :param machine: The machine, and what ran on it.
    :param tasks: How many syncs each run has.
    :param on_worker: How many those have that keep their worker.
    :param duration: Seconds that a sync takes on average.
    :param spread: Seconds between the shortest and the longest sync.
    :param slots: Worker slots.
    """

    machine: str
    tasks: int
    on_worker: int
    duration: float
    spread: float
    slots: int
    runs: list[Run] = field(default_factory=list)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Report:
        """Return what was written as JSON.

        :param kept: The fields.
        """
        return cls(**{**kept, "runs": [Run(**run) for run in kept["runs"]]})

    @property
    def size(self) -> tuple[int, int, float, float, int]:
        """What runs must have in common to stand in one table."""
        return self.tasks, self.on_worker, self.duration, self.spread, self.slots

    @property
    def longest(self) -> float:
        """Seconds that all syncs would take at once and without any cost."""
        return self.duration + self.spread / 2

    @property
    def syncs(self) -> str:
        """What is run, in words."""
        seconds = f"{self.duration:g}"
        if self.spread:
            seconds = f"{self.duration - self.spread / 2:g} to {self.longest:g}"
        return f"{self.tasks:,} syncs of {seconds} s"

    def add(self, run: Run) -> None:
        """Add a run in its place, instead of an earlier one of the same.

        :param run: The run.
        """
        runs = {each.key: each for each in [*self.runs, run]}.values()
        kinds = list(KINDS)
        # Executors in the order in which they were first measured would change from piece to piece.
        self.runs = sorted(runs, key=lambda r: (r.executor != "LocalExecutor", r.answer, kinds.index(r.kind), r.number))

    def find(self, executor: str, answer: float, number: int, kind: str) -> Run | None:
        """Return a run, None if there is none yet.

        :param executor: Airflow's.
        :param answer: Seconds that an answer takes.
        :param number: Which of several.
        :param kind: Its kind.
        """
        return next((run for run in self.runs if run.key == (executor, answer, number, kind)), None)

    def cells(self) -> dict[tuple[str, float, str], list[Run]]:
        """Return the runs by executor, answer and kind."""
        cells: dict[tuple[str, float, str], list[Run]] = {}
        for run in self.runs:
            cells.setdefault((run.executor, run.answer, run.kind), []).append(run)
        return cells


def table(report: Report) -> str:
    """Return the table and how it was measured, as Markdown.

    :param report: The runs.
    """
    columns: list[tuple[str, Callable[[Run], str]]] = [
        ("Syncs", lambda r: f"{r.tasks:,}"),
        ("Slot-seconds a sync", lambda r: f"{r.taken / r.tasks:.2f}"),
        ("first leg", lambda r: f"{r.first_legs / r.tasks:.2f}"),
        ("last leg", lambda r: f"{r.last_legs / r.tasks:.2f}"),
        ("`running`", lambda r: f"{r.running / r.tasks:.2f}"),
        ("Makespan", lambda r: f"{r.makespan:,.0f} s" + (" (1)" if r.tasks != report.tasks else "")),
        ("Requests a sync", lambda r: f"{sum(r.requests.values()) / r.tasks:.1f}" if KINDS[r.kind].syncs else ""),
        ("Loop blocked", lambda r: f"{r.blocked}"),
        ("Task over after its job: median", lambda r: f"{r.late:.1f} s"),
        ("max", lambda r: f"{r.latest:.0f} s"),
        ("Failed", lambda r: f"{r.failed}"),
        ("Jobs", lambda r: f"{r.jobs:,}" if KINDS[r.kind].syncs else ""),
    ]
    head = ["Executor", "An answer takes", "Kind", *(name for name, _ in columns)]
    lines = ["| " + " | ".join(head) + " |", "|:--|--:|:--" + "|--:" * len(columns) + "|"]
    for (executor, answer, kind), runs in report.cells().items():
        cells = [executor, f"{answer:g} s", KINDS[kind].name]
        cells += [_each(map(show, runs)) for _, show in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" + _notes(report)


#: Between these the README has what :func:`brief` returns.
MARKS = "<!-- slots begin -->", "<!-- slots end -->"


def brief(report: Report) -> str:
    """Return what of the table the README shows.

    :param report: The runs.
    """
    head = ["", "An answer takes", "Slot-seconds a sync", "Makespan", "Requests a sync", "Loop blocked", "Failed"]
    rows = []
    for (executor, answer, kind), runs in report.cells().items():
        if KINDS[kind].on_worker:
            continue
        rows.append(
            [
                f"{executor}: {KINDS[kind].name}",
                f"{answer:g} s",
                _each(f"{run.taken / run.tasks:.2f}" for run in runs),
                _each(f"{run.makespan:,.0f} s" for run in runs),
                _each(f"{sum(run.requests.values()) / run.tasks:.1f}" if KINDS[kind].syncs else "" for run in runs),
                _each(f"{run.blocked}" for run in runs),
                _each(f"{run.failed}" for run in runs),
            ]
        )
    return f"""{markdown(head, rows)}
{report.syncs} on {report.slots} worker slots of a real Airflow, all kinds in one run; all at once and without any cost
a run would take {report.longest:g} s. Measured on {report.machine}.
"""


def _each(shown: Iterable[str]) -> str:
    """Join what several runs gave; once, if they gave the same."""
    values = list(shown)
    return values[0] if len(set(values)) == 1 else "; ".join(values)


def _notes(report: Report) -> str:
    several = max((run.number for run in report.runs), default=1)
    notes = [
        f"""
Measured on {report.machine}, {_when(report)}.

Each run is a mapped task of {report.syncs} on {report.slots} worker slots, in a whole
Airflow with PostgreSQL on that machine: LocalExecutor with one triggerer, or CeleryExecutor with Redis, two workers and
two triggerers. The kinds were run in turn in the same Airflow. The simulated Airbyte works on {HANDLER_THREADS}
requests at a time. Every operator has its default poll interval. Airflow's settings are its defaults, but for the
scheduler's pause when idle (0.1 s instead of 1 s) and the workers' `min_heartbeat_interval` (1 s instead of 5 s: for so
long a supervisor that misses its process's end keeps the slot, by chance). All at once and without any cost, a run
would take {report.longest:g} s.
"""
    ]
    if several > 1:
        notes.append(f"- Each was run up to {several} times; the values are those of the runs, in order.")
    notes.append(
        """- *Slot-seconds*: how long worker slots were taken, summed over the slots: from the start of a leg's
  supervisor to its end, as each supervisor logs it. *First leg*: until the task was deferred; *last leg*: until it was
  over.
- *`running`*: task instances in that state in Airflow's database, sampled ten times a second: without the start and
  the end of the processes.
- *Makespan*: from the request for the DAG's run to the end of its last task.
- *Loop blocked*: Airflow's `triggers.blocked_main_thread`, of all triggerers.
- *Task over after its job*: from the job's end in Airbyte (a sleep's end, of which nobody has to learn) to the task's.
- *Tasks that only sleep* ask Airbyte nothing: what any deferred task costs in this Airflow."""
    )
    if any(run.tasks != report.tasks for run in report.runs):
        notes.append(
            f"""- (1) *On the worker* {report.on_worker:,} syncs were run instead of {report.tasks:,}, as each keeps its
  slot to its end. Its figures a sync are measured with those; its makespan is that of {report.on_worker:,}, which does
  not compare with the others'. Nothing is extrapolated."""
        )
    return "\n".join(notes) + "\n"


def _when(report: Report) -> str:
    """Say from when to when: the pieces of a report may be of several days."""
    times = sorted(run.measured_at for run in report.runs)
    return f"from {times[0]} to {times[-1]}" if times else "not yet"


def plot(report: Report, path: Path) -> None:
    """Draw slot-seconds a sync and makespan of each cell.

    :param report: The runs.
    :param path: The file.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    cells = report.cells()
    places = list(dict.fromkeys((executor, answer) for executor, answer, _ in cells))
    kinds = [name for name, kind in KINDS.items() if not kind.on_worker and any(key[2] == name for key in cells)]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    figures: Sequence[tuple[Any, str, Callable[[Run], float], str]] = (
        (left, "Worker time a sync takes (slot-seconds)", lambda r: r.taken / r.tasks, "{:.1f}"),
        (
            right,
            f"Seconds until all {report.tasks:,} are over (dotted: all at once, {report.longest:g})",
            lambda r: r.makespan,
            "{:,.0f} s",
        ),
    )
    for axes, title, figure_of, form in figures:
        for offset, name in enumerate(kinds):
            for place, (executor, answer) in enumerate(places):
                values = [figure_of(run) for run in cells.get((executor, answer, name), [])]
                if not values:
                    continue
                x = place + (offset - (len(kinds) - 1) / 2) * 0.28
                axes.bar(x, median(values), 0.26, color=KINDS[name].colour)
                if len(values) > 1:
                    axes.plot([x] * len(values), values, "o", color="#1f2328", markersize=2.5)
                axes.annotate(
                    form.format(median(values)),
                    (x, max(values)),
                    xytext=(0, 4),
                    textcoords="offset points",
                    ha="center",
                    fontsize=9,
                    color=KINDS[name].colour,
                    fontweight="bold",
                )
        axes.set_title(title, fontweight="bold", fontsize=11)
        axes.set_xticks(range(len(places)), [f"{executor}\nanswers take {answer:g} s" for executor, answer in places])
        axes.tick_params(axis="x", length=0, labelsize=8.5)
        axes.set_xlim(-0.6, max(len(places), 2) - 0.4)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.12)
        axes.grid(axis="y", color="#e3e6ea")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0, labelsize=8.5)
        axes.set_axisbelow(True)
    right.axhline(report.longest, color="#1f2328", linewidth=1.2, linestyle=":")
    left.set_xlabel("less is better", color="#57606a", fontsize=9)
    right.set_xlabel("less is better", color="#57606a", fontsize=9)
    handles = [Patch(color=KINDS[name].colour, label=KINDS[name].label) for name in kinds]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=11)
    figure.supxlabel(_caption(report), fontsize=8.5, color="#57606a")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _caption(report: Report) -> str:
    text = f"{report.syncs} on {report.slots} worker slots of a real Airflow."
    on_worker = [run.taken / run.tasks for run in report.runs if KINDS[run.kind].on_worker]
    if on_worker:
        text += (
            f" Not deferred, the official provider's take {median(on_worker):.0f} slot-seconds a sync, measured with "
            f"{report.on_worker:,}."
        )
    return text
