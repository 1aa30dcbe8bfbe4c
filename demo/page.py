"""The demo's timeline as one HTML file that needs nothing else: the drawings are inline SVG."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template

from demo.report import Report
from demo.timeline import Bar, Phase, Span, Timeline

WIDTH = 1000  # of a drawing's time axis, in SVG units
LABELS = 90  # left of it
ROW = 18
SLOT_HEIGHT = 30
VISIBLE = 2  # the least width of a span, so that a tenth of a second on a worker can be seen

PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$headline</title>
<style>
:root { color-scheme: light dark; --paper: #fff; --ink: #212529; --muted: #5f6770; --line: #e6e9ed; --card: #f6f7f9;
  --waiting: #dfe3e8; --working: #e8590c; --deferred: #91b9e8; --done: #2b8a3e; --failed: #c92a2a; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e9ecef; --muted: #9aa3ac; --line: #2c3036;
  --card: #1f2226; --waiting: #3a4047; --working: #ff7a2e; --deferred: #4f86c6; --done: #51cf66; --failed: #ff6b6b; } }
body { margin: 0 auto; max-width: 1120px; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.1rem; margin: 2.4rem 0 .4rem; }
p { max-width: 46rem; margin: .4rem 0; }
.muted, footer { color: var(--muted); font-size: .9rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.2rem 0; }
.tile { background: var(--card); border-radius: 10px; padding: .8rem 1.1rem; flex: 1 1 12rem; }
.tile b { display: block; font-size: 1.6rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .9rem; margin: .4rem 0; }
.legend i { display: inline-block; width: 1.1em; height: .75em; border-radius: 2px; margin-right: .4em; }
.scroll { overflow-x: auto; }
svg { display: block; width: 100%; min-width: 640px; height: auto; font: 11px system-ui, sans-serif; }
svg text { fill: var(--muted); } svg .ink { fill: var(--ink); }
.waiting { color: var(--waiting); } .working { color: var(--working); } .deferred { color: var(--deferred); }
.done { color: var(--done); } .failed { color: var(--failed); }
.legend i { background: currentColor; } rect, circle, path { fill: currentColor; }
.grid { stroke: var(--line); } .limit { stroke: var(--muted); stroke-dasharray: 5 4; fill: none; }
.computed { fill: none; stroke: var(--working); stroke-dasharray: 4 3; }
rect:hover { opacity: .75; }
</style>
<h1>$headline</h1>
<p>$summary</p>
<div class="tiles">$tiles</div>
<h2>Makespan, from triggering the run to the end of its last task</h2>
<div class="scroll">$makespans</div>
$runs
<footer><h2>How to read this</h2>
<p>A task is <em>on a worker</em> while Airflow calls it running, and it is then that it takes one of the worker slots;
<em>deferred</em> tasks wait in the triggerer and take none; <em>waiting to run</em> is everything else before its
end: created, scheduled, queued.</p>
<p>When a task went to a worker, was deferred and ended is taken from Airflow's event log. When it came to wait for a
slot again was found by asking Airflow's REST API twice a second. Stretches too short to see are drawn $visible units
wide; point at one to read its real length. The executor can hold a slot for some seconds longer than the task runs
in it, while it cleans up after the task's process; that is Airflow's doing, and shows as waiting of the next tasks.</p>
</footer>
</html>
""")

CLASSES = {phase: phase.name.lower() for phase in Phase}


def write(report: Report, path: Path) -> None:
    """Write the page.

    :param report: What was found.
    :param path: The HTML file to write.
    """
    longest = max(timeline.makespan for timeline in report.timelines)
    page = PAGE.substitute(
        headline=escape(report.headline),
        summary=_summary(report),
        tiles="".join(_tiles(report)),
        makespans=_makespans(report),
        runs="".join(_run(timeline, longest) for timeline in report.timelines),
        visible=VISIBLE,
    )
    path.write_text(page, encoding="utf-8")


def _summary(report: Report) -> str:
    run = report.deferrable
    summary = (
        f"Each task started its sync, left its worker, and came back when Airbyte was done. All {report.syncs} were "
        f"over after {_bold(run.makespan)}. Tasks that stay on their workers take turns: {report.arithmetic} are "
        f"{_bold(report.lower_bound)}, computed and without any overhead"
    )
    if report.synchronous:
        summary += f"; measured in this demo: {_bold(report.synchronous.makespan)}"
    if run.failures:
        summary += f". <strong>{run.failures} of the tasks failed</strong>"
    return summary + "."


def _bold(seconds: float) -> str:
    return f"<b>{seconds:.0f}&nbsp;s</b>"


def _tiles(report: Report) -> Iterator[str]:
    for label, seconds, measured in report.makespans:
        yield _tile(f"{seconds:.0f} s", f"{label} ({'measured' if measured else 'computed'})")
    run = report.deferrable
    yield _tile(f"{run.average_slots:.2f} of {run.slots}", "worker slots in use on average, deferrable")
    yield _tile(f"{max(number for _, number in run.count(Phase.DEFERRED))}", "tasks deferred at the same time")


def _tile(value: str, label: str) -> str:
    return f'<div class="tile"><b>{escape(value)}</b><span class="muted">{escape(label)}</span></div>'


def _makespans(report: Report) -> str:
    scale = (WIDTH - 290) / max(seconds for _, seconds, _ in report.makespans)
    left, parts = LABELS + 50, []
    for row, (label, seconds, measured) in enumerate(report.makespans):
        y, right = row * 30, left + seconds * scale + 8
        css = ("deferred" if row == 0 else "working") if measured else "computed"
        note = "measured" if measured else f"computed: {report.arithmetic}"
        parts.append(
            f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="{css}" x="{left}" y="{y + 3}" width="{seconds * scale:.1f}" height="20" rx="3"/>'
            f'<text class="ink" x="{right:.1f}" y="{y + 17}">{seconds:.1f} s ({escape(note)})</text>'
        )
    return _svg(len(report.makespans) * 30, parts)


def _run(timeline: Timeline, longest: float) -> str:
    legend = "".join(f'<span><i class="{CLASSES[phase]}"></i>{phase.value}</span>' for phase in _present(timeline))
    return (
        f'<h2>{escape(timeline.title)}: each task</h2><div class="legend">{legend}</div>'
        f'<div class="scroll">{_bars(timeline, longest)}</div>'
        f"<h2>{escape(timeline.title)}: worker slots in use</h2>"
        f'<p class="muted">On average {timeline.average_slots:.2f} of {timeline.slots}; '
        f"{timeline.slot_seconds:.1f} slot-seconds in all.</p>"
        f'<div class="scroll">{_slots(timeline, longest)}</div>'
    )


def _present(timeline: Timeline) -> list[Phase]:
    seen = {span.phase for bar in timeline.bars for span in bar.spans} | {bar.ending for bar in timeline.bars}
    return [phase for phase in Phase if phase in seen]


def _bars(timeline: Timeline, longest: float) -> str:
    height = len(timeline.bars) * ROW
    parts = [*_axis(longest, height)]
    for row, bar in enumerate(timeline.bars):
        parts.extend(_bar(bar, row * ROW, longest))
    return _svg(height + 22, parts)


def _bar(bar: Bar, y: float, longest: float) -> Iterator[str]:
    yield f'<text x="{LABELS - 8}" y="{y + 13}" text-anchor="end">{escape(bar.label)}</text>'
    for span in sorted(bar.spans, key=lambda span: span.phase is Phase.WORKING):
        width = max((span.end - span.start) / longest * WIDTH, VISIBLE)
        yield (
            f'<rect class="{CLASSES[span.phase]}" x="{_x(span.start, longest):.1f}" y="{y + 2}" width="{width:.1f}" '
            f'height="{ROW - 4}"><title>{escape(_tooltip(bar, span))}</title></rect>'
        )
    yield (
        f'<circle class="{CLASSES[bar.ending]}" cx="{_x(bar.end, longest) + 8:.1f}" cy="{y + ROW / 2}" r="3.5">'
        f"<title>{escape(bar.label)}: {bar.ending.value} after {bar.end:.1f} s</title></circle>"
    )


def _tooltip(bar: Bar, span: Span) -> str:
    seconds = span.end - span.start
    return f"{bar.label}: {span.phase.value} for {seconds:.2f} s ({span.start:.1f} s to {span.end:.1f} s)"


def _slots(timeline: Timeline, longest: float) -> str:
    height = timeline.slots * SLOT_HEIGHT
    points, level = [f"M {LABELS} {height}"], 0
    for moment, number in [*timeline.count(Phase.WORKING), (timeline.makespan, 0)]:
        x = _x(moment, longest)
        points.append(f"L {x:.1f} {height - level * SLOT_HEIGHT} L {x:.1f} {height - number * SLOT_HEIGHT}")
        level = number
    parts = [
        *_axis(longest, height),
        f'<path class="working" d="{" ".join(points)} Z"/>',
        f'<path class="limit" d="M {LABELS} .5 H {LABELS + WIDTH}"/>',
        f'<text x="{LABELS - 8}" y="10" text-anchor="end">{timeline.slots}</text>',
        f'<text x="{LABELS - 8}" y="{height}" text-anchor="end">0</text>',
    ]
    return _svg(height + 22, parts)


def _axis(longest: float, height: float) -> Iterator[str]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if longest / step <= 12)
    for second in range(0, int(longest) + 1, step):
        x = _x(second, longest)
        yield f'<path class="grid" d="M {x:.1f} 0 V {height}"/>'
        yield f'<text x="{x:.1f}" y="{height + 16}" text-anchor="middle">{second} s</text>'


def _x(moment: float, longest: float) -> float:
    return LABELS + moment / longest * WIDTH


def _svg(height: float, parts: list[str]) -> str:
    width = LABELS + WIDTH + 25
    return f'<svg viewBox="0 0 {width} {height:g}" role="img">{"".join(parts)}</svg>'
