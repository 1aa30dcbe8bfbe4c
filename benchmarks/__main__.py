"""``python -m benchmarks``: our trigger beside the official provider's, in one run."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.measure import Result, measure, simulator
from benchmarks.report import brief, plot, table, write_between
from harness.processes import exit_on_termination

#: What the repository keeps, and the README and the documentation show.
RESULTS = Path("benchmarks/results")

#: The official trigger holds the loop for a request per waiter and poll: at 10,000 it would need hours.
FULL = [("official", 10), ("official", 100), ("official", 1000)]
FULL += [("ours", waiters) for waiters in (10, 100, 1000, 10_000, 30_000)]
FULL += [("sleeping", waiters) for waiters in (1000, 10_000, 30_000)]
QUICK = [("official", 10), ("official", 50), ("ours", 10), ("ours", 50), ("ours", 1000), ("sleeping", 1000)]


def main() -> int:
    """Measure, and write the table and the plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    parser.add_argument("--poll", type=float, default=5.0, metavar="SECONDS", help="poll interval")
    parser.add_argument("--spread", type=float, metavar="SECONDS", help="from the first job's end to the last")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER")
    given = parser.parse_args()
    poll = 1.0 if given.quick else given.poll
    spread = given.spread or (5.0 if given.quick else 25.0)

    results: list[Result] = []
    began = time.monotonic()
    with exit_on_termination(), simulator() as server:
        for trigger, waiters in QUICK if given.quick else FULL:
            print(f"{time.monotonic() - began:4.0f} s  {trigger}, {waiters:,} waiters ...", flush=True)
            results.append(measure(server, trigger, waiters, poll=poll, spread=spread))
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "results.json").write_text(json.dumps([result.to_json() for result in results], indent=1) + "\n")
    (given.output / "table.md").write_text(table(results))
    plot(results, given.output / "plot.png")
    if given.output == RESULTS:
        write_between(Path("README.md"), brief(results))
    print(f"{time.monotonic() - began:4.0f} s  done\n\n{table(results)}\nand {given.output / 'plot.png'}")
    wrong = sum(result.wrong for result in results)
    if wrong:
        print(f"{wrong} events were wrong or too early", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
