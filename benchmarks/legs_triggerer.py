"""The triggerer's part of a leg: it runs the trigger that a task left behind, and gives its event.

Started by :mod:`benchmarks.legs`. Takes one deferral in a line of JSON, as the worker told it to Airflow, and answers
with the arguments that Airflow resumes the task with.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from airflow.sdk.serde import deserialize, serialize


async def first_event(trigger: Any) -> Any:
    """Run a trigger as Airflow does, and return the payload of its event.

    :param trigger: The trigger.
    """
    # Airflow gives each trigger the task instance that waits: by this it can tell that it is in a triggerer.
    trigger.task_instance = SimpleNamespace(task_id="sync")
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
        trigger = getattr(import_module(module), name)(**deserialize(deferral["trigger_kwargs"]))
        event = asyncio.run(first_event(trigger))
        # As handle_event_submit does in Airflow's models.trigger.
        answers.write(json.dumps(serialize({**deserialize(deferral["next_kwargs"]), "event": event})) + "\n")


if __name__ == "__main__":
    main()
