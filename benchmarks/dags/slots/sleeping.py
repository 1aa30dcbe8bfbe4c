"""Tasks that only sleep deferred: what any deferred task costs the workers of an Airflow."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator

from benchmarks.sleeping import SleepingTrigger

durations = json.loads(Path(os.environ["BENCH_DURATIONS_FILE"]).read_text())


class SleepOperator(BaseOperator):
    """Defers to a trigger that sleeps, and returns.

    :param seconds: For how long.
    """

    def __init__(self, *, seconds: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seconds = seconds

    def execute(self, context: Any) -> None:
        """Write down when the sleep is to end, and defer."""
        end_time = time.time() + self.seconds
        with open(os.environ["BENCH_SLEEP_FILE"], "a") as file:
            file.write(f"{context['ti'].map_index} {end_time}\n")
        self.defer(trigger=SleepingTrigger(end_time, poll_interval=1.0), method_name="resume")

    def resume(self, context: Any, event: Any) -> None:
        """Return."""


with DAG("slots_sleeping", schedule=None, max_active_tasks=len(durations)):
    SleepOperator.partial(task_id="sync").expand(seconds=durations)
