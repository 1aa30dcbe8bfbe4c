"""A process that one talks with says what went wrong, and ends with the block."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from harness.dialogue import Dialogue
from harness.waiting import eventually

ECHO = "import sys\nfor line in sys.stdin: print('you said', line, end='', flush=True)"


def dialogue(folder: Path, program: str) -> Dialogue:
    return Dialogue("it", [sys.executable, "-c", program], env=os.environ, log=folder / "errors")


def test_lines_go_to_and_fro(tmp_path: Path) -> None:
    with dialogue(tmp_path, ECHO) as it:
        it.say("this")
        assert it.hear() == "you said this"
        it.say()
        it.hear("you said ")
        process = psutil.Process(it.pid)
    eventually(lambda: not process.is_running())


def test_another_line_than_expected_is_an_error(tmp_path: Path) -> None:
    with dialogue(tmp_path, ECHO) as it:
        it.say("that")
        with pytest.raises(RuntimeError, match="it said 'you said that', not 'you said this'"):
            it.hear("you said this")


def test_end_is_told_with_its_reason(tmp_path: Path) -> None:
    with dialogue(tmp_path, "raise ValueError('spoilt')") as it:
        with pytest.raises(RuntimeError, match=r"it has ended:\n[\s\S]*ValueError: spoilt"):
            it.hear()
        eventually(lambda: not it.runs)
        with pytest.raises(RuntimeError, match=r"ValueError: spoilt"):
            it.say("still there?")
