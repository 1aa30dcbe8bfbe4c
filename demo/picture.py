"""The demo's timeline as a PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo.report import Report
from demo.timeline import LASTING, Phase, Timeline

COLOURS = {
    Phase.WAITING: "#dfe3e8",
    Phase.WORKING: "#e8590c",
    Phase.DEFERRED: "#91b9e8",
    Phase.DONE: "#2b8a3e",
    Phase.FAILED: "#c92a2a",
}
INK = "#212529"
MUTED = "#6c757d"


def draw(report: Report, path: Path) -> None:
    """Draw every run of the report, one bar a task, with the slots in use below it, and the makespans on top.

    :param report: What was found.
    :param path: The PNG file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

    heights = [0.42 * len(report.makespans)]
    for timeline in report.timelines:
        heights += [max(1.2, 0.155 * len(timeline.bars)), 0.9]
    figure = Figure(figsize=(10, sum(heights) + 0.75 * len(heights) + 0.6), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    grid = GridSpec(len(heights), 1, figure=figure, height_ratios=heights)
    panels = [figure.add_subplot(grid[row]) for row in range(len(heights))]
    _makespans(panels[0], report)
    longest = max(timeline.makespan for timeline in report.timelines)
    for number, timeline in enumerate(report.timelines):
        bars, slots = panels[1 + 2 * number : 3 + 2 * number]
        _bars(bars, timeline, longest)
        _slots(slots, timeline, longest)
    figure.suptitle(report.headline, x=0.01, ha="left", fontsize=14, fontweight="bold", color=INK)
    figure.set_layout_engine("constrained")
    figure.savefig(path)


def _makespans(panel: Any, report: Report) -> None:
    for row, (_label, seconds, measured) in enumerate(report.makespans):
        colour = COLOURS[Phase.DEFERRED] if row == 0 else COLOURS[Phase.WORKING]
        style: dict[str, Any] = {"color": colour}
        if not measured:
            style = {"facecolor": "white", "edgecolor": colour, "hatch": "////"}
        panel.barh(row, seconds, height=0.62, **style)
        note = "measured" if measured else f"computed: {report.arithmetic}"
        panel.annotate(
            f" {seconds:.0f} s ({note})", (seconds, row), va="center", fontsize=9, color=INK, annotation_clip=False
        )
    panel.set_yticks(range(len(report.makespans)), [label for label, _, _ in report.makespans])
    panel.set_xlim(0, 1.3 * max(seconds for _, seconds, _ in report.makespans))
    panel.set_xticks([])
    panel.invert_yaxis()
    _plain(panel, "Makespan, from triggering the run to the end of its last task", spines=("left",))


def _bars(panel: Any, timeline: Timeline, longest: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    for row, bar in enumerate(timeline.bars):
        for span in sorted(bar.spans, key=lambda span: span.phase is Phase.WORKING):
            # An outline keeps a tenth of a second on a worker visible.
            outline = 1.2 if span.phase is Phase.WORKING else 0
            colour = COLOURS[span.phase]
            panel.barh(row, span.end - span.start, left=span.start, height=0.74, color=colour, ec=colour, lw=outline)
        marker = "o" if bar.ending is Phase.DONE else "X"
        panel.plot(bar.end + longest * 0.008, row, marker, color=COLOURS[bar.ending], markersize=4, clip_on=False)
    present = {span.phase for bar in timeline.bars for span in bar.spans}
    handles: list[Any] = [Patch(color=COLOURS[phase], label=phase.value) for phase in Phase if phase in present]
    for phase, marker in zip(LASTING, "oX", strict=True):
        if any(bar.ending is phase for bar in timeline.bars):
            handles.append(Line2D([], [], ls="", marker=marker, color=COLOURS[phase], label=phase.value, ms=5))
    panel.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        borderaxespad=0.2,
    )
    panel.set_yticks(range(len(timeline.bars)), [bar.label for bar in timeline.bars], fontsize=7)
    panel.tick_params(axis="y", length=0)
    panel.set_xlim(0, longest * 1.02)
    panel.set_ylim(len(timeline.bars) - 0.4, -0.6)
    panel.tick_params(axis="x", labelbottom=False, length=0)
    _plain(panel, f"{timeline.title}: each task", spines=())
    panel.grid(axis="x", color="#eceff2", lw=0.8)
    panel.set_axisbelow(True)


def _slots(panel: Any, timeline: Timeline, longest: float) -> None:
    steps = [*timeline.count(Phase.WORKING), (timeline.makespan, 0)]
    times, levels = zip(*steps, strict=True)
    panel.fill_between(times, levels, step="post", color=COLOURS[Phase.WORKING], lw=0.8)
    panel.axhline(timeline.slots, color=MUTED, lw=1, ls=(0, (4, 3)))
    panel.set_xlim(0, longest * 1.02)
    panel.set_ylim(0, timeline.slots * 1.2)
    panel.set_yticks(range(timeline.slots + 1) if timeline.slots < 6 else [0, timeline.slots])
    panel.set_xlabel("seconds since the run was triggered", color=MUTED, fontsize=9)
    _plain(
        panel, f"Worker slots in use (on average {timeline.average_slots:.2f} of {timeline.slots})", spines=("bottom",)
    )


def _plain(panel: Any, title: str, spines: tuple[str, ...]) -> None:
    panel.set_title(title, loc="left", fontsize=10, color=INK)
    panel.tick_params(colors=MUTED)
    for side, spine in panel.spines.items():
        spine.set_visible(side in spines)
        spine.set_color("#ced4da")
