"""The triggerer's part of a leg: it runs the trigger that a task left behind, and gives its event.

Started by :mod:`benchmarks.legs`. Takes one deferral in a line of JSON, as the worker told it to Airflow, and answers
with the arguments that Airflow resumes the task with, and with what the trigger asked of Airflow.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import MaskSecret
from airflow.sdk.serde import deserialize, serialize

from benchmarks.legs_airflow import ANSWERS_AFTER


class Airflow:
    """Takes what a trigger tells Airflow, in the place of the triggerer's supervisor."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def send(self, message: Any) -> None:
        """Take a message.

        :param message: One of Airflow's.
        """
        if isinstance(message, MaskSecret):
            # The supervisor asks nobody.
            return
        time.sleep(ANSWERS_AFTER)
        self.calls.append(" ".join(filter(None, [type(message).__name__, getattr(message, "key", None)])))


async def first_event(trigger: Any) -> Any:
    """Run a trigger as Airflow does, and return the payload of its event.

    :param trigger: The trigger.
    """
    # Airflow gives each trigger the task instance that waits: by this it can tell that it is in a triggerer.
    trigger.task_instance = SimpleNamespace(dag_id="legs", task_id="sync", run_id="run", map_index=-1)
    async for event in trigger.run():
        return event.payload
    raise RuntimeError(f"{trigger} ended without an event")


def main() -> None:
    """Run triggers until the standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        deferral = json.loads(line)
        module, _, name = deferral["classpath"].rpartition(".")
        trigger_kwargs: Any = deserialize(deferral["trigger_kwargs"])
        trigger = getattr(import_module(module), name)(**trigger_kwargs)
        airflow = task_runner.SUPERVISOR_COMMS = Airflow()  # type: ignore[assignment]
        event = asyncio.run(first_event(trigger))
        # As handle_event_submit does in Airflow's models.trigger.
        next_kwargs: Any = deserialize(deferral["next_kwargs"])
        resumed = serialize({**next_kwargs, "event": event})
        answers.write(json.dumps({"next_kwargs": resumed, "calls": airflow.calls}) + "\n")


if __name__ == "__main__":
    main()
