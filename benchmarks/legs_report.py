"""The table and the plot of what legs cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.legs_airflow import ANSWERS_AFTER
from benchmarks.legs_measure import SHORT_JOB, Kind, Leg
from benchmarks.report import COLOURS, NAMES, machine, markdown

Figure = Callable[[Leg], float]


class Legs:
    """The legs of all runs, by what they have in common.

    :param legs: Every leg.
    """

    def __init__(self, legs: Sequence[Leg]) -> None:
        self.groups: defaultdict[tuple[Kind, str, float], list[Leg]] = defaultdict(list)
        for leg in legs:
            self.groups[leg.kind, leg.part, leg.answer].append(leg)
        self.answers = sorted({leg.answer for leg in legs})
        self.repeats = len(next(iter(self.groups.values())))

    def values(self, provider: str, parts: Sequence[str], answer: float, figure: Figure) -> list[float]:
        """Return a figure of each run, the sum of its parts.

        :param provider: ``ours`` or ``official``.
        :param parts: The parts of a leg: ``first``, ``last``, or ``whole``.
        :param answer: Seconds that an answer takes.
        :param figure: Takes it from a leg.
        """
        kind = Kind(provider, "worker" if "whole" in parts else "deferrable")
        runs = zip(*(self.groups[kind, part, answer] for part in parts), strict=True)
        return [sum(figure(leg) for leg in run) for run in runs]

    def typical(self, provider: str, part: str, answer: float, figure: Figure) -> float:
        """Return the median of a figure of one part of a leg."""
        return median(self.values(provider, [part], answer, figure))


def to_json(legs: Sequence[Leg]) -> dict[str, Any]:
    """Return median, least and most of all figures, and what was asked.

    :param legs: Every leg.
    """
    found = Legs(legs)
    groups = []
    for (kind, part, answer), runs in found.groups.items():
        figures: dict[str, Figure] = {
            "seconds": lambda leg: leg.seconds,
            "cpu": lambda leg: leg.cpu,
            "requests": lambda leg: len(leg.requests),
            "round_trips": lambda leg: leg.round_trips,
            "calls": _calls,
        }
        group: dict[str, Any] = {**kind._asdict(), "part": part, "answer": answer, "runs": len(runs)}
        for name, figure in figures.items():
            values = [figure(leg) for leg in runs]
            group[name] = {"median": median(values), "min": min(values), "max": max(values)}
        group["asked_of_airbyte"] = runs[-1].requests
        group["asked_of_airflow"] = {
            "by the operator": runs[-1].calls,
            "by Airflow itself": runs[-1].airflows_calls,
            "by the trigger": runs[-1].triggers_calls,
        }
        groups.append(group)
    return {"machine": machine(), "airflow_answers_after": ANSWERS_AFTER, "legs": groups}


def table(legs: Sequence[Leg]) -> str:
    """Return the tables and how they were measured, as Markdown.

    :param legs: Every leg.
    """
    found = Legs(legs)
    notes = f"""
Measured on {machine()}.

A task's *leg* is what runs of it on a worker, and holds a slot there. A deferrable sync has two: the first until the
task has deferred, the last from its resumption to its end. All in one run, the kinds in turn; medians of
{found.repeats}, the least and the most are in `legs.json`. An answer of the simulated Airbyte takes as long as the
first column says, that for the token too.

Each leg is a process of its own, forked by Airflow's own supervisor from one that has loaded what a worker of the
LocalExecutor has, and has asked the providers what they are. airbyte-deferrable has loaded then, before the first fork,
what its tasks import; *in a process of its own* is without that, as in a pod of the KubernetesExecutor. It counts from
the fork to the process's end: the DAG file is parsed, the task runs and is finalized
by Airflow's own code, and talks over the real sockets. The resumed task gets the event that its own trigger gave for
the job. What stands in is Airflow's API server: it answers each call after {ANSWERS_AFTER * 1000:.0f} ms, which is
what it took in a real Airflow. Not in it: the scheduler, the start of the worker's own process or pod, the wait of
several tasks for the same processors.

- *Wall* and *CPU*: seconds; CPU is user and system time of the leg's process.
- *Requests*: to Airbyte. *Round trips*: the most of them that came one after the other, none before the one before
  was answered. With answers of 0 s this can't be told.
- *Calls to Airflow*: what the supervisor asked the API server for; each waits for its answer. One more for each leg,
  that it has begun, is made by the supervisor.
"""
    worker = f"""
On the worker, where the task waits for a job of {SHORT_JOB:g} s and has one leg. Both look at the job every 3 s, so
most of the wall time is that wait:

"""
    return _deferrable(found) + notes + worker + _worker(found) + "\nCalls to Airflow in a leg:\n\n" + _asked(found)


def _deferrable(legs: Legs) -> str:
    head = ["An answer takes", "", "Wall: both legs", "first + last", "CPU: first + last"]
    head += ["Requests: first + last", "Round trips", "Calls to Airflow"]
    rows = []
    for answer in legs.answers:
        for provider in ("ours", "official", "alone"):

            def pair(figure: Figure, form: str, provider: str = provider, answer: float = answer) -> str:
                return " + ".join(
                    format(legs.typical(provider, part, answer, figure), form) for part in ("first", "last")
                )

            both = median(legs.values(provider, ["first", "last"], answer, lambda leg: leg.seconds))
            rows.append(
                [
                    f"{answer:g} s",
                    NAMES[provider],
                    f"{both:.2f}",
                    pair(lambda leg: leg.seconds, ".2f"),
                    pair(lambda leg: leg.cpu, ".2f"),
                    pair(lambda leg: len(leg.requests), "g"),
                    pair(lambda leg: leg.round_trips, "g") if answer else "",
                    pair(_calls, "g"),
                ]
            )
    return markdown(head, rows, names=2)


def _worker(legs: Legs) -> str:
    head = ["An answer takes", "", "Wall", "CPU", "Requests", "Round trips", "Calls to Airflow"]
    rows = []
    for answer in legs.answers:
        for provider in ("ours", "official"):

            def one(figure: Figure, form: str, provider: str = provider, answer: float = answer) -> str:
                return format(legs.typical(provider, "whole", answer, figure), form)

            rows.append(
                [
                    f"{answer:g} s",
                    NAMES[provider],
                    one(lambda leg: leg.seconds, ".2f"),
                    one(lambda leg: leg.cpu, ".2f"),
                    one(lambda leg: len(leg.requests), "g"),
                    one(lambda leg: leg.round_trips, "g") if answer else "",
                    one(_calls, "g"),
                ]
            )
    return markdown(head, rows, names=2)


def _asked(legs: Legs) -> str:
    rows = []
    for (kind, part, answer), runs in legs.groups.items():
        if answer == legs.answers[0] and kind.provider != "alone":
            name = f"{NAMES[kind.provider]}, {'on the worker' if kind.way == 'worker' else f'{part} leg'}"
            rows.append([name, _counted(runs[-1].calls), _counted(runs[-1].airflows_calls)])
            if runs[-1].triggers_calls:
                rows.append([f"{NAMES[kind.provider]}, its trigger", _counted(runs[-1].triggers_calls), ""])
    return markdown(["", "by the operator", "by Airflow itself"], rows, names=3)


def _counted(names: Sequence[str]) -> str:
    counts = Counter(names).items()
    return ", ".join(f"`{name}`" if count == 1 else f"{count} `{name}`" for name, count in counts)


def _calls(leg: Leg) -> float:
    return len(leg.calls) + len(leg.airflows_calls)


def plot(legs: Sequence[Leg], path: Path) -> None:
    """Draw the wall seconds of a deferrable sync's legs against the seconds that an answer takes.

    :param legs: Every leg.
    :param path: Where the picture goes.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = Legs(legs)
    # What most Airbytes are like would be a corner of the whole picture.
    quick = [answer for answer in found.answers if answer <= 0.3]
    shown = [quick] if quick == found.answers else [quick, found.answers]
    figure, grid = pyplot.subplots(1, len(shown), figsize=(5.5 * len(shown), 4.6), layout="constrained", squeeze=False)
    for axes, answers in zip(grid.flat, shown, strict=True):
        for provider in ("official", "ours"):
            colour = COLOURS[provider]
            runs = [found.values(provider, ["first", "last"], answer, lambda leg: leg.seconds) for answer in answers]
            both = [median(values) for values in runs]
            first = [found.typical(provider, "first", answer, lambda leg: leg.seconds) for answer in answers]
            axes.plot(answers, both, "o-", color=colour, linewidth=2.2, label=f"{NAMES[provider]}: both legs")
            axes.plot(answers, first, "o--", color=colour, linewidth=1.2, markersize=3, label="its first leg")
            axes.fill_between(answers, [min(v) for v in runs], [max(v) for v in runs], color=colour, alpha=0.12, lw=0)
            axes.annotate(
                f"{both[-1]:.1f} s",
                (answers[-1], both[-1]),
                xytext=(0, 8),
                textcoords="offset points",
                ha="right",
                color=colour,
                fontweight="bold",
            )
        axes.set_xticks(answers, ["" if len(answers) > 3 and answer == 0.1 else f"{answer:g}" for answer in answers])
        axes.set_xlabel("seconds that an answer of Airbyte takes")
        axes.set_ylim(0, axes.get_ylim()[1] * 1.08)
        axes.grid(color="#e3e6ea")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    grid[0][0].set_ylabel("wall seconds on a worker")
    figure.suptitle("What a deferrable sync holds of a worker", fontweight="bold")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(shown), frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
