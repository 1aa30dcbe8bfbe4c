"""Live progress in a terminal: a small block that is redrawn, or plain lines where nobody watches."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from demo.timeline import Phase

SYMBOLS = {Phase.WAITING: "·", Phase.WORKING: "█", Phase.DEFERRED: "○", Phase.DONE: "✓", Phase.FAILED: "✗"}
COLOURS = {Phase.WAITING: "2", Phase.WORKING: "33", Phase.DEFERRED: "36", Phase.DONE: "32", Phase.FAILED: "31"}
ROW = 60


class Progress:
    """Shows how a run is getting on.

    :param slots: How many worker slots there are.
    :param stream: Where to write; the standard output by default.
    """

    def __init__(self, slots: int, stream: TextIO | None = None) -> None:
        self._slots = slots
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._drawn = 0
        self._last: Counter[Phase] | None = None

    def __call__(self, elapsed: float, phases: Sequence[Phase]) -> None:
        """Show a moment.

        :param elapsed: Seconds since the run was triggered.
        :param phases: Every task's phase.
        """
        counts = Counter(phases)
        if self._live:
            self._redraw([self._summary(elapsed, counts), *_strip(phases)])
        elif counts != self._last:
            print(self._summary(elapsed, counts), file=self._stream, flush=True)
        self._last = counts

    def _summary(self, elapsed: float, counts: Counter[Phase]) -> str:
        parts = [f"{elapsed:6.1f} s"]
        for phase in Phase:
            if phase is Phase.WORKING:
                parts.append(f"{counts[phase]}/{self._slots} slots in use")
            elif phase is not Phase.FAILED or counts[phase]:
                parts.append(f"{counts[phase]} {phase.value}")
        return " | ".join(parts)

    def _redraw(self, lines: Sequence[str]) -> None:
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._stream.write(up + "".join(f"\x1b[2K  {line}\n" for line in lines))
        self._stream.flush()
        self._drawn = len(lines)


def _strip(phases: Sequence[Phase]) -> list[str]:
    """One coloured character a task."""
    cells = [f"\x1b[{COLOURS[phase]}m{SYMBOLS[phase]}\x1b[0m" for phase in phases]
    return ["".join(cells[start : start + ROW]) for start in range(0, len(cells), ROW)]
