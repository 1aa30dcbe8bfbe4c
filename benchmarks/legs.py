"""``python -m benchmarks.legs``: what a leg of a task costs its worker, beside the official provider's. Airflow 3.3."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.legs_measure import KINDS, Leg, LegsBench
from benchmarks.legs_report import plot, table, to_json
from benchmarks.measure import simulator
from harness.processes import exit_on_termination

#: Seconds that an answer of Airbyte takes.
ANSWERS = (0.0, 0.1, 0.3, 1.0, 3.0)
QUICK = (0.0, 0.3)
REPEATS = 5


def main() -> int:
    """Measure, and write the table and the plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.legs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    parser.add_argument("--repeats", type=int, metavar="N", help=f"syncs of each kind; {REPEATS}, 1 if quick")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), metavar="FOLDER")
    given = parser.parse_args()
    answers, repeats = (QUICK, given.repeats or 1) if given.quick else (ANSWERS, given.repeats or REPEATS)

    legs: list[Leg] = []
    began = time.monotonic()
    with (
        exit_on_termination(),
        tempfile.TemporaryDirectory(prefix="legs-", ignore_cleanup_errors=True) as home,
        simulator() as airbyte,
        LegsBench(airbyte, Path(home)) as bench,
    ):
        for kind in KINDS[:2]:
            # Not counted: it compiles what nobody had imported before, and reads it from the disk.
            bench.sync(kind, 0.0)
        for answer in answers:
            print(f"{time.monotonic() - began:4.0f} s  an answer takes {answer:g} s ...", flush=True)
            # In turn, so that what else the machine does hits them alike.
            for _ in range(repeats):
                for kind in KINDS:
                    legs += bench.sync(kind, answer)
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "legs.json").write_text(json.dumps(to_json(legs), indent=1) + "\n")
    (given.output / "legs.md").write_text(table(legs))
    plot(legs, given.output / "legs.png")
    print(f"{time.monotonic() - began:4.0f} s  done\n\n{table(legs)}\nand {given.output / 'legs.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
