"""``python -m benchmarks.lineage``: what a task's last leg pays to tell of one stream, and of a thousand. Airflow 3.3.

The legs are those of :mod:`benchmarks.legs`: real are the fork, the operator, its requests and its calls to Airflow's
supervisor. What Airflow's API server makes of a thousand assets is not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from airbyte_deferrable.simulator import Script, Stream
from airbyte_deferrable.simulator.surface import Surface
from benchmarks.legs_measure import Kind, Leg, LegsBench
from benchmarks.lineage_connections import CONNECTIONS, WAYS
from benchmarks.measure import simulator
from benchmarks.report import machine
from harness.processes import exit_on_termination

REPEATS = 15
COLUMNS = 10
#: Milliseconds that a thousand streams may add to what one adds.
MOST = 300


@dataclass(frozen=True)
class Row:
    """What a way of telling costs for one number of streams. Milliseconds, the median of some syncs.

    :param seconds: Added to the last leg, beside a task that tells nothing of the same job.
    :param cpu: Likewise of a processor's time.
    :param requests: What is asked of Airbyte, by kind.
    :param calls: What the operator calls Airflow for.
    """

    way: str
    streams: int
    seconds: float
    cpu: float
    requests: Mapping[str, int]
    calls: Sequence[str]


def main() -> int:
    """Measure, and write the table; the exit status is 1 if a thousand streams add too much, or more requests."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lineage", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    parser.add_argument("--repeats", type=int, metavar="N", help=f"syncs of each kind; {REPEATS}, 2 if quick")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), metavar="FOLDER")
    given = parser.parse_args()
    # It would ask for the streams by itself.
    os.environ["AIRFLOW__OPENLINEAGE__DISABLED"] = "True"
    with (
        exit_on_termination(),
        tempfile.TemporaryDirectory(prefix="lineage-", ignore_cleanup_errors=True) as home,
        simulator() as airbyte,
        LegsBench(airbyte, Path(home)) as bench,
    ):
        add_connections(airbyte)
        legs = measure(bench, given.repeats or (2 if given.quick else REPEATS))
    rows = [row(legs, way, streams) for way in WAYS if WAYS[way] for streams in CONNECTIONS]
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "lineage.json").write_text(json.dumps([vars(each) for each in rows], indent=1) + "\n")
    (given.output / "lineage.md").write_text(table(rows, os.getloadavg()[2]))
    print(table(rows, os.getloadavg()[2]))
    return 0 if all(within(rows, way) for way in WAYS if WAYS[way]) else 1


def add_connections(airbyte: Surface) -> None:
    """Add a connection with one stream, and one with a thousand."""
    for count, connection_id in CONNECTIONS.items():
        columns = {f"column_{number}": "string" for number in range(COLUMNS)}
        airbyte.add_connection(
            f"{count} streams",
            Script(rows=10 * count),
            connection_id,
            streams=[Stream(f"table_{number}", "public", columns=columns) for number in range(count)],
            source_type="postgres",
            source_configuration={"host": "db.example.com", "database": "shop"},
            destination_type="snowflake",
            destination_configuration={"host": "acme-prod.snowflakecomputing.com", "database": "wh", "schema": "raw"},
        )


def measure(bench: LegsBench, repeats: int) -> dict[tuple[str, int], list[Leg]]:
    """Run syncs, and return their last legs by way and number of streams."""
    legs: dict[tuple[str, int], list[Leg]] = {(way, streams): [] for streams in CONNECTIONS for way in WAYS}
    began = time.monotonic()
    for repeat in range(repeats + 1):
        print(f"{time.monotonic() - began:4.0f} s  {repeat} of {repeats} ...", flush=True)
        # In turn, so that what else the machine does hits them alike.
        for (way, streams), found in legs.items():
            last = bench.sync(Kind("lineage", f"{way}_{streams}"), 0.0, connection_id=CONNECTIONS[streams])[-1]
            # Not the first: it compiles what nobody had imported before.
            if repeat:
                found.append(last)
    return legs


def row(legs: Mapping[tuple[str, int], Sequence[Leg]], way: str, streams: int) -> Row:
    """Return what telling adds to a leg that tells nothing."""
    with_it, without = legs[way, streams], legs["nothing", streams]
    return Row(
        way,
        streams,
        1000 * (median(leg.seconds for leg in with_it) - median(leg.seconds for leg in without)),
        1000 * (median(leg.cpu for leg in with_it) - median(leg.cpu for leg in without)),
        dict(Counter(with_it[-1].requests) - Counter(without[-1].requests)),
        [call for call in with_it[-1].calls if call not in without[-1].calls],
    )


def within(rows: Sequence[Row], way: str) -> bool:
    """Tell whether a thousand streams ask for no more than one does, and add no more than they may."""
    one, many = (each for each in rows if each.way == way)
    return many.seconds - one.seconds < MOST and many.requests == one.requests and many.calls == one.calls


def table(rows: Sequence[Row], load: float) -> str:
    """Return the table, as Markdown.

    :param load: What else the machine did: how many processes wanted its processors.
    """
    lines = [
        "| Told | Streams | Added to the last leg | of processor time | Requests to Airbyte | Calls to Airflow |",
        "|:--|--:|--:|--:|:--|:--|",
    ]
    for each in rows:
        told = " ".join(f"`{name}={value!r}`" for name, value in WAYS[each.way].items())
        asked = ", ".join(f"{count} {call}" for call, count in sorted(each.requests.items()))
        calls = ", ".join(each.calls)
        lines.append(f"| {told} | {each.streams:,} | {each.seconds:.0f} ms | {each.cpu:.0f} ms | {asked} | {calls} |")
    return f"""{chr(10).join(lines)}

Measured on {machine()}, with a load average of {load:.1f}.

Added beside a task that tells nothing of the same job, without OpenLineage; medians. Each stream has {COLUMNS} columns.
Airbyte answers at once. What Airflow's API server makes of a thousand assets is not in it.
"""


if __name__ == "__main__":
    sys.exit(main())
