"""The table and the plot of the measurements."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import HANDLER_MS, HANDLER_THREADS, Result

NAMES = {
    "ours": "airbyte-deferrable",
    "official": "apache-airflow-providers-airbyte",
    "sleeping": "a trigger that only sleeps",
    "alone": "airbyte-deferrable, in a process of its own",
}
#: Between these the README has what :func:`brief` returns.
BEGIN, END = "<!-- benchmark begins -->", "<!-- benchmark ends -->"
COLOURS = {"ours": "#1f6feb", "official": "#d9480f", "sleeping": "#8c959f"}


def machine() -> str:
    """Name the machine and what ran on it."""
    libraries = ("apache-airflow", "apache-airflow-providers-airbyte", "airbyte-api", "aiohttp")
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    return f"{os.cpu_count()} cores of {_cpu()}, {platform.system()}, Python {platform.python_version()}, {versions}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(results: Sequence[Result]) -> str:
    """Return the table and how it was measured, as Markdown."""
    columns: list[tuple[str, Callable[[Result], str]]] = [
        ("Trigger", lambda r: NAMES[r.trigger]),
        ("Waiters", lambda r: f"{r.waiters:,}"),
        ("Longest freeze", lambda r: _seconds(r.longest_freeze)),
        ("of it collection", lambda r: _seconds(r.longest_collection)),
        ("Time frozen", lambda r: f"{r.frozen_share:.1%}"),
        ("Memory", lambda r: f"{r.memory / 1e6:,.1f} MB"),
        ("CPU a minute", lambda r: f"{r.cpu_per_minute:.2f} s"),
        ("Requests", lambda r: f"{r.requests:,}"),
        ("Late: median", lambda r: _seconds(r.late_median)),
        ("99 %", lambda r: _seconds(r.late_p99)),
        ("max", lambda r: _seconds(r.late_max)),
    ]
    notes = f"""
Measured on {machine()}.

All in one run on one simulator, whose answers take {HANDLER_MS} ms and which works on {HANDLER_THREADS} requests at a
time, as Airbyte's public API does. Poll interval {results[0].poll:g} s. Each row is a process of its own in which so
many triggers start as in Airflow's triggerer; then their jobs end evenly over {results[0].spread:g} s.

- *Longest freeze*: the longest round of the event loop, in which nothing else of the triggerer runs, less the time
  that the process waited for one of the machine's processors. *Of it
  collection*: the longest pause of Python's garbage collector, which goes through all of the process's objects but for
  those that airbyte-deferrable has it leave out.
- *Time frozen*: the share of the time that passed in rounds longer than 20 ms.
- *Memory*: growth of the process's own memory (USS), libraries loaded before.
- *CPU a minute*: of waiting, with all jobs ending in it.
- *Requests*: first looks, sweeps and the token.
- *A trigger that only sleeps* asks nobody: what asyncio and Airflow's trigger class cost by themselves.
- *Late*: from the job's end in Airbyte, or from the moment at which the triggers were to start, to the event.
"""
    return _rows(results, columns) + notes


def brief(results: Sequence[Result]) -> str:
    """Return what of the table the README shows.

    :param results: The measurements.
    """
    columns: list[tuple[str, Callable[[Result], str]]] = [
        ("Trigger", lambda r: NAMES[r.trigger]),
        ("Waiting tasks", lambda r: f"{r.waiters:,}"),
        ("Longest freeze", lambda r: _seconds(r.longest_freeze)),
        ("Memory", lambda r: f"{r.memory / 1e6:,.0f} MB"),
        ("CPU a minute", lambda r: f"{r.cpu_per_minute:.1f} s"),
        ("Requests", lambda r: f"{r.requests:,}"),
        ("Last end seen after", lambda r: _seconds(r.late_max)),
    ]
    shown = [result for result in results if result.trigger != "sleeping" and result.waiters >= 100]
    return _rows(shown, columns) + f"\nMeasured on {machine()}; poll interval {results[0].poll:g} s.\n"


def write_between(path: Path, text: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Put a text between the two marks of a document.

    :param path: The document.
    :param text: The text.
    :param marks: The marks. Default: those of the table of waiting.
    """
    before, begin, rest = path.read_text().partition(marks[0])
    _, end, after = rest.partition(marks[1])
    path.write_text(f"{before}{begin}\n\n{text}\n{end}{after}")


def _rows(results: Sequence[Result], columns: Sequence[tuple[str, Callable[[Result], str]]]) -> str:
    ordered = sorted(results, key=lambda r: (r.waiters, r.trigger))
    return markdown([name for name, _ in columns], [[show(result) for _, show in columns] for result in ordered])


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """Return a table.

    :param head: What is above the columns.
    :param rows: The cells.
    :param names: How many columns, from the left, are text and not figures.
    """
    lines = ["| " + " | ".join(head) + " |", "|:--" * names + "|--:" * (len(head) - names) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def plot(results: Sequence[Result], path: Path) -> None:
    """Draw requests, memory, freeze and lateness against waiters.

    :param results: The measurements.
    :param path: Where the picture goes.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, NullFormatter

    panels: list[tuple[str, Callable[[Result], float], Callable[[float], str]]] = [
        ("Requests to Airbyte", lambda r: r.requests, lambda v: f"{v:,.0f}"),
        ("Memory growth", lambda r: r.memory / 1e6, lambda v: f"{v:,.0f} MB"),
        ("Longest freeze of the event loop", lambda r: r.longest_freeze, _short),
        ("Latest notice of an end", lambda r: r.late_max, _short),
    ]
    figure, grid = pyplot.subplots(2, 2, figsize=(10, 7.2), layout="constrained")
    counts = sorted({result.waiters for result in results})
    for axes, (title, value, show) in zip(grid.flat, panels, strict=True):
        for trigger in ("sleeping", "official", "ours"):
            # A logarithmic axis has no place for nothing.
            points = sorted((r.waiters, value(r)) for r in results if r.trigger == trigger and value(r) > 0)
            if not points:
                continue
            thin = trigger == "sleeping"
            axes.plot(
                *zip(*points, strict=True),
                marker="o",
                color=COLOURS[trigger],
                label=NAMES[trigger],
                linewidth=1.2 if thin else 2.2,
                linestyle="--" if thin else "-",
            )
            if thin:
                continue
            last_x, last_y = points[-1]
            axes.annotate(
                show(last_y),
                (last_x, last_y),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                color=COLOURS[trigger],
                fontweight="bold",
            )
        axes.set(xscale="log", yscale="log", title=title)
        axes.margins(x=0.1)
        axes.set_xticks(counts, [f"{count // 1000}k" if count >= 1000 else f"{count}" for count in counts])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _, show=show: show(v)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        low, high = axes.get_ylim()
        axes.set_ylim(low / 1.3, high * 2)
        axes.grid(which="major", color="#e3e6ea")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        axes.title.set_fontweight("bold")
    for axes in grid[1]:
        axes.set_xlabel("tasks that wait in one triggerer")
    poll, spread = results[0].poll, results[0].spread
    axes = grid[1][1]
    axes.axhline(poll, color="#57606a", linewidth=1, linestyle=":")
    axes.annotate(
        f"poll interval, {poll:g} s",
        (1, poll),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, -12),
        textcoords="offset points",
        ha="right",
        color="#57606a",
    )
    handles, labels = grid[0][1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=11)
    figure.supxlabel(
        f"Jobs end evenly over {spread:g} s. {os.cpu_count()} cores of {_cpu()}, Python {platform.python_version()}, "
        f"Airflow {version('apache-airflow')}",
        fontsize=9,
        color="#57606a",
    )
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _short(value: float) -> str:
    return f"{value * 1000:,.0f} ms" if value < 1 else f"{value:,.0f} s"
