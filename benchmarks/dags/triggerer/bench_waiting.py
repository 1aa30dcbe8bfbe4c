"""Many syncs, and many tasks that only sleep."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from benchmarks.sleeping import SleepingUntilToldTrigger

POLL = float(os.environ["BENCH_POLL"])


class SleepOperator(BaseOperator):
    """Defers to a trigger that sleeps, and returns.

    :param number: Which of them all it is.
    """

    def __init__(self, *, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = number

    def execute(self, context: Any) -> None:
        """Defer."""
        trigger = SleepingUntilToldTrigger(os.environ["BENCH_SLEEP_FILE"], self.number, POLL)
        self.defer(trigger=trigger, method_name="resume")

    def resume(self, context: Any, event: Any) -> None:
        """Return."""


connections = json.loads(Path(os.environ["BENCH_CONNECTIONS_FILE"]).read_text())

with DAG("bench_syncs", schedule=None, max_active_tasks=len(connections)):
    AirbyteTriggerSyncOperator.partial(
        task_id="wait", airbyte_conn_id="airbyte_bench", deferrable=True, wait_seconds=POLL
    ).expand(connection_id=connections)

with DAG("bench_sleepers", schedule=None, max_active_tasks=len(connections)):
    SleepOperator.partial(task_id="wait").expand(number=list(range(int(os.environ["BENCH_SLEEPERS"]))))
