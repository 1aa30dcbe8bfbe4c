"""How the demo turns what Airflow says into bars, numbers, text and pictures. Needs no Airflow."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from matplotlib import image

from demo import page, picture
from demo.progress import Progress
from demo.report import Report
from demo.timeline import Bar, Phase, Recorder, Span, Timeline

BEGAN = 1_700_000_000.0


def recorder(samples: list[tuple[float, str]], logged: list[tuple[float, str]]) -> Recorder:
    """A recorder that has seen one task; the times are seconds since the run was triggered."""

    class Log:
        def collect(self, path: str, key: str, params: Any) -> list[dict[str, Any]]:
            when = [datetime.fromtimestamp(BEGAN + moment, timezone.utc).isoformat() for moment, _ in logged]
            return [
                {"task_id": "sync", "map_index": 0, "event": event, "when": moment}
                for moment, (_, event) in zip(when, logged, strict=True)
            ]

    watched = Recorder(Log(), "dag", "run", began=BEGAN)  # type: ignore[arg-type]
    watched._seen[("sync", 0)] = [(BEGAN + moment, state) for moment, state in samples]
    return watched


def spans(watched: Recorder) -> list[tuple[Phase, float, float]]:
    (bar,) = watched.timeline("Deferrable", slots=2).bars
    return [(span.phase, pytest.approx(span.start), pytest.approx(span.end)) for span in bar.spans]


def test_exact_moments_come_from_the_event_log_and_waiting_from_samples() -> None:
    watched = recorder(
        samples=[(0.1, "scheduled"), (0.6, "queued"), (5, "deferred"), (9, "queued"), (11, "success")],
        logged=[(1, "running"), (1.2, "deferred"), (10, "running"), (10.5, "success")],
    )
    assert spans(watched) == [
        (Phase.WAITING, 0, 1),
        (Phase.WORKING, 1, 1.2),
        (Phase.DEFERRED, 1.2, 9),
        (Phase.WAITING, 9, 10),
        (Phase.WORKING, 10, 10.5),
    ]


def test_samples_do_where_the_event_log_is_silent() -> None:
    watched = recorder(samples=[(1, "running"), (2, "deferred"), (5, "running"), (6, "failed")], logged=[])
    assert spans(watched) == [
        (Phase.WAITING, 0, 1),
        (Phase.WORKING, 1, 2),
        (Phase.DEFERRED, 2, 5),
        (Phase.WORKING, 5, 6),
    ]
    assert watched.timeline("Deferrable", slots=2).failures == 1


def timeline() -> Timeline:
    """Two tasks: seconds 1 to 2 with both on workers, then deferred, then one of them on a worker to the end."""
    first = (
        Span(Phase.WAITING, 0, 1),
        Span(Phase.WORKING, 1, 2),
        Span(Phase.DEFERRED, 2, 8),
        Span(Phase.WORKING, 8, 10),
    )
    second = (Span(Phase.WAITING, 0, 1), Span(Phase.WORKING, 1, 2), Span(Phase.DEFERRED, 2, 7))
    return Timeline("Deferrable <&>", (Bar("sync 1", first, Phase.DONE), Bar("sync 2", second, Phase.FAILED)), slots=2)


def test_numbers_of_a_timeline() -> None:
    run = timeline()
    assert (run.makespan, run.slot_seconds, run.average_slots, run.failures) == (10, 4, 0.4, 1)
    assert run.count(Phase.WORKING) == [(0, 0), (1, 2), (2, 0), (8, 1), (10, 0)]
    assert run.buckets(Phase.WORKING, 5) == pytest.approx([1, 0, 0, 0, 1])


@pytest.mark.parametrize(("syncs", "slots", "bound"), [(24, 2, 240), (25, 2, 260), (1, 4, 20)])
def test_computed_bound_counts_full_rounds(syncs: int, slots: int, bound: float) -> None:
    assert Report(syncs, 20, slots, timeline()).lower_bound == bound


def test_text_says_what_is_measured_and_what_is_computed() -> None:
    computed = Report(2, 6, 1, timeline()).text()
    assert re.search(r"deferrable +10\.0 s +\(measured\)", computed)
    assert re.search(r"synchronous, at least +12\.0 s +\(computed: 2 rounds of 6 s\)", computed)
    assert not re.search(r"synchronous +\d", computed)
    assert "1 task failed" in computed
    both = Report(2, 6, 1, timeline(), timeline()).text()
    assert re.search(r"synchronous +10\.0 s +\(measured\)", both)


def test_page_is_well_formed_and_escaped(tmp_path: Path) -> None:
    page.write(Report(2, 6, 1, timeline(), timeline()), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Deferrable &lt;&amp;&gt;" in text
    assert "1 of the tasks failed" in text
    drawings = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    assert len(drawings) == 5
    bars = drawings[1].findall("rect")
    assert [bar.get("class") for bar in bars].count("working") == 3
    assert "deferred for 6.00 s" in "".join(drawings[1].itertext())


@pytest.mark.parametrize("synchronous", [None, timeline()])
def test_picture_has_the_colours_of_its_phases(tmp_path: Path, synchronous: Timeline | None) -> None:
    picture.draw(Report(2, 6, 1, timeline(), synchronous), tmp_path / "picture.png")
    pixels = image.imread(tmp_path / "picture.png")[:, :, :3]
    seen = {tuple(round(channel * 255) for channel in colour) for colour in pixels[::3, ::3].reshape(-1, 3)}
    for phase in (Phase.WAITING, Phase.WORKING, Phase.DEFERRED):
        wanted = picture.COLOURS[phase].lstrip("#")
        assert tuple(bytes.fromhex(wanted)) in seen, phase


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_writes_a_plain_line_only_when_something_changed() -> None:
    stream = io.StringIO()
    progress = Progress(slots=2, stream=stream)
    for moment in (1.0, 2.0):
        progress(moment, [Phase.WORKING, Phase.DEFERRED])
    progress(3.0, [Phase.DEFERRED, Phase.FAILED])
    first, second = stream.getvalue().splitlines()
    assert first.split(" | ") == ["   1.0 s", "0 waiting to run", "1/2 slots in use", "1 deferred", "0 done"]
    assert second.endswith("| 0/2 slots in use | 1 deferred | 0 done | 1 failed")


def test_progress_redraws_its_block_in_a_terminal() -> None:
    stream = Terminal()
    progress = Progress(slots=2, stream=stream)
    progress(1.0, [Phase.WORKING] * 100)
    assert "\x1b[3A" not in stream.getvalue()
    progress(2.0, [Phase.DONE] * 100)
    block = stream.getvalue().rpartition("\x1b[3A")[2]
    assert block.count("✓") == 100
    assert block.count("\n") == 3
