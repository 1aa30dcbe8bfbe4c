"""The demo as a user meets it: it shows, it writes, and it leaves nothing running."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.waiting import IN_VAIN, eventually

from .support import processes_with

pytestmark = [pytest.mark.e2e, pytest.mark.journey]

MARK = "AIRBYTE_DEMO_TEST"


@contextmanager
def demo(output: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Path, str]]:
    """Start the demo; gives its process, the file with what it prints, and the mark of everything it starts."""
    mark, printed = uuid.uuid4().hex, output.parent / "printed.txt"
    with printed.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "demo", "--output", str(output), *arguments],
            cwd=Path(__file__).parents[2],
            env={**os.environ, MARK: mark},
            stdout=stream,
            stderr=subprocess.STDOUT,
            # A test runner in the background ignores SIGINT, and would hand that down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        yield process, printed, mark
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(timeout=IN_VAIN)
        finally:
            for left in processes_with(MARK, mark):
                left.kill()


def test_demo_shows_writes_and_stops(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with demo(output, "--syncs", "4", "--seconds", "3") as (process, printed, mark):
        assert process.wait(timeout=IN_VAIN) == 0, printed.read_text()
        assert processes_with(MARK, mark) == []
    text = printed.read_text()
    assert "4 syncs of 3 s over 2 worker slots" in text
    assert re.search(r"deferrable +\d+\.\d s +\(measured\)", text)
    assert re.search(r"synchronous, at least +6\.0 s +\(computed: 2 rounds of 3 s\)", text)
    assert re.search(r"http://127\.0\.0\.1:\d+", text)
    assert (output / "timeline.png").read_bytes().startswith(b"\x89PNG")
    page = (output / "timeline.html").read_text()
    assert page.count("<circle") == 4
    assert not re.search(r"(src|href)=", page), "the page must need nothing else"


@pytest.mark.parametrize(
    ("moment", "signum", "status"),
    [
        pytest.param("Starting a simulated Airbyte", signal.SIGTERM, 143, id="terminated while it starts"),
        pytest.param("2 deferred", signal.SIGINT, 130, id="interrupted while syncs run"),
    ],
)
def test_demo_leaves_no_process_when(tmp_path: Path, moment: str, signum: int, status: int) -> None:
    with demo(tmp_path / "out", "--syncs", "2", "--seconds", "600") as (process, printed, mark):

        def the_moment_has_come() -> bool:
            assert process.poll() is None, printed.read_text()
            return moment in printed.read_text() and len(processes_with(MARK, mark)) > 2

        eventually(the_moment_has_come)
        process.send_signal(signum)
        assert process.wait(timeout=IN_VAIN) == status
        assert processes_with(MARK, mark) == []
