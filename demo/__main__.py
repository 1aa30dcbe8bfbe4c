"""The command ``python -m demo``, which ``make demo`` runs."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from airbyte_deferrable.simulator import Script
from demo import page, picture
from demo.progress import Progress
from demo.report import Report
from demo.timeline import Recorder, Timeline
from harness.airflow import LocalAirflow
from harness.processes import exit_on_termination
from harness.simulator import SimulatorProcess

EXAMPLE = Path(__file__).parents[1] / "example_dags" / "example_mapped.py"
SYNCHRONOUS = Path(__file__).parent / "dags" / "demo_synchronous.py"
say = partial(print, flush=True)  # a log file, too, shows what happens when it happens
OVERHEAD = 300.0  # seconds that a run may take beyond what its syncs need


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    :param arguments: The command line's arguments; those of this process by default.
    :return: The exit status: 0 when every sync succeeded, 1 when not, 130 after Ctrl-C.
    :raises SystemExit: with status 143 after SIGTERM, 129 after SIGHUP.
    """
    options = _parser().parse_args(arguments)
    try:
        with exit_on_termination(), TemporaryDirectory(prefix="airbyte-deferrable-demo-") as scratch:
            return _run(options, Path(scratch))
    except (RuntimeError, TimeoutError, ValueError) as error:
        say(f"The demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("\nInterrupted; everything is stopped.")
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Run many Airbyte syncs over few worker slots, in a real Airflow, against a simulated Airbyte.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--syncs", type=_number(int, 1), default=24, help="how many syncs")
    parser.add_argument("--seconds", type=_number(float, 0), default=20, help="how long Airbyte works on each")
    parser.add_argument("--slots", type=_number(int, 1), default=2, help="how many worker slots Airflow has")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="where to write the timeline")
    parser.add_argument("--compare", action="store_true", help="also run the synchronous operator, which takes longer")
    parser.add_argument("--keep", action="store_true", help="leave Airflow running until Ctrl-C")
    return parser


def _number(kind: Callable[[str], float], least: float) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = kind(text)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be at least {least}")
        return value

    return convert


def _run(options: argparse.Namespace, scratch: Path) -> int:
    dags = scratch / "dags"
    dags.mkdir()
    for source in [EXAMPLE, SYNCHRONOUS] if options.compare else [EXAMPLE]:
        shutil.copy(source, dags)
    say("Starting a simulated Airbyte and a real Airflow; this takes about half a minute.")
    with SimulatorProcess(scratch / "simulator.log") as airbyte:
        airbyte_connections = [
            airbyte.add_connection(name=f"Demo {number}", script=Script(duration=options.seconds))
            for number in range(1, options.syncs + 1)
        ]
        config = {"AIRBYTE_DEMO_CONNECTIONS": json.dumps(airbyte_connections)}
        with LocalAirflow(
            scratch / "airflow",
            dags=dags,
            parallelism=options.slots,
            connections={"airbyte_default": airbyte.airflow_connection},
            config=config,
        ) as airflow:
            until = "until Ctrl-C" if options.keep else "until the demo ends; --keep leaves it open"
            say(f"Airflow {airflow.version} is ready: {airflow.url} ({until})\n")
            report = _measure(options, airflow)
            _publish(report, options.output)
            if options.keep:
                say(f"\nAirflow stays at {airflow.url} until you press Ctrl-C.")
                with suppress(KeyboardInterrupt):
                    while True:
                        time.sleep(3600)
    say("\nEverything that was started is stopped.")
    return 1 if any(timeline.failures for timeline in report.timelines) else 0


def _measure(options: argparse.Namespace, airflow: LocalAirflow) -> Report:
    deferrable = _record(options, airflow, "example_mapped", "Deferrable")
    synchronous = _record(options, airflow, "demo_synchronous", "Synchronous") if options.compare else None
    return Report(options.syncs, options.seconds, options.slots, deferrable, synchronous)


def _record(options: argparse.Namespace, airflow: LocalAirflow, dag_id: str, title: str) -> Timeline:
    say(f"{title}: {options.syncs} syncs of {options.seconds:g} s each")
    recorder = Recorder(airflow, dag_id, airflow.trigger(dag_id))
    recorder.watch(Progress(options.slots), timeout=OVERHEAD + options.syncs * (options.seconds + 10))
    timeline = recorder.timeline(title, options.slots)
    say()
    for task in airflow.task_instances(dag_id, recorder.run_id):
        if task["state"] != "success":
            where = (dag_id, recorder.run_id, task["task_id"], task["try_number"], task["map_index"])
            say(f"{task['task_id']} [{task['map_index']}] is {task['state']}:\n{airflow.log(*where)}\n")
            break  # one log explains, more hide
    return timeline


def _publish(report: Report, output: Path) -> None:
    say(report.text())
    output.mkdir(parents=True, exist_ok=True)
    drawing, document = output / "timeline.png", output / "timeline.html"
    picture.draw(report, drawing)
    page.write(report, document)
    say(f"\nTimeline: {document.absolute().as_uri()}\n          {drawing.absolute().as_uri()}")


if __name__ == "__main__":
    sys.exit(main())
