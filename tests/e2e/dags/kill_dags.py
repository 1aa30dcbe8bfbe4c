"""DAGs to be killed: each takes the Airbyte connection from the run's configuration."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from airbyte_deferrable._compat import AIRFLOW_3
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

try:
    from airflow.sdk import DAG, task
    from airflow.sdk.exceptions import TaskDeferred
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.decorators import task
    from airflow.exceptions import TaskDeferred

#: As long as this file exists, this one is being parsed.
SLOW = Path(__file__).with_name("slow")
while SLOW.exists():
    time.sleep(0.1)

FROM_CONF = {"connection_id": "{{ dag_run.conf['connection_id'] }}"}
WAYS: dict[str, dict[str, Any]] = {
    "on_worker": {"deferrable": False, "wait_seconds": 1},
    "deferred": {"deferrable": True, "wait_seconds": 2},
}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "kept": {"cancel_on_kill": False},
    "adopted": {"if_running": "attach"},
    "timed_out": {"timeout": 20},
    "overdue": {"execution_timeout": timedelta(seconds=20)},
    "overdue_kept": {"execution_timeout": timedelta(seconds=20), "cancel_on_kill": False},
    # More than a test needs: Airflow uses up some when a task cannot even begin.
    "retried": {"retries": 9, "retry_delay": timedelta(seconds=2)},
}
#: Holds how often the lowered DAG's task is retried, once that has changed.
LOWERED = Path(__file__).with_name("retries")
RESTS = timedelta(hours=1)
#: Its tasks get no worker while the test closes it.
POOL = "gate"
RESTING: dict[str, Any] = {"retries": 9, "retry_delay": RESTS}
#: Those whose process can be killed at any time also where they defer.
HALTING: dict[str, dict[str, Any]] = {
    "resting": RESTING,
    "resting_kept": {**RESTING, "cancel_on_kill": False},
    "queued": {**KINDS["retried"], "pool": POOL},
}
KINDS["between"] = {**KINDS["retried"], "pool": POOL, "timeout": 40}
KINDS["lowered"] = {"retries": int(LOWERED.read_text()) if LOWERED.exists() else 1, "retry_delay": RESTS}
#: A run's worth, the wait for a worker included.
RUN_TIMEOUT = timedelta(seconds=75)
NEVER = 24 * 3600.0


def linger(context: Any) -> None:
    """Linger in the first try."""
    if context["ti"].try_number == 1:
        Path(context["dag_run"].conf["mark"]).touch()
        time.sleep(NEVER)


class Lingering(AirbyteTriggerSyncOperator):
    """Has its result, but does not end: a callback that takes long, or a worker that is about to die."""

    def post_execute(self, context: Any, result: Any = None) -> None:
        """Linger, where nothing later comes before Airflow knows of the success."""
        if AIRFLOW_3:
            linger(context)


class Halting(AirbyteTriggerSyncOperator):
    """Has its job, but does not come to defer if its run has a mark: a worker that is about to die."""

    def execute(self, context: Any) -> int:
        """Run."""
        try:
            return super().execute(context)
        except TaskDeferred:
            if "mark" in context["dag_run"].conf:
                linger(context)
            raise


class Unpushable(AirbyteTriggerSyncOperator):
    """Has its result, but Airflow cannot push it in the first try."""

    def execute(self, context: Any) -> int:
        """Run."""
        job_id = super().execute(context)
        self.multiple_outputs = context["ti"].try_number == 1
        return job_id


class Misled(AirbyteTriggerSyncOperator):
    """Does not come to look for its job in its last try."""

    def execute(self, context: Any) -> int:
        """Run, with a name that nobody has in the last try."""
        if context["ti"].try_number > 1:
            self.connection_id, self.connection_name = "", "nobody's"
        return super().execute(context)


@task
def connections(**context: Any) -> list[str]:
    """Tell which connections a run of many is for."""
    found: list[str] = context["dag_run"].conf["connection_ids"]
    return found


for way, how in WAYS.items():
    with DAG(f"kill_mapped_{way}", schedule=None):
        AirbyteTriggerSyncOperator.partial(task_id="sync", **how).expand(connection_id=connections())
    with DAG(f"kill_overdue_run_{way}", schedule=None, default_args=FROM_CONF, dagrun_timeout=RUN_TIMEOUT):
        AirbyteTriggerSyncOperator(task_id="sync", **how)
    for kind, what in KINDS.items():
        with DAG(f"kill_{kind}_{way}", schedule=None, default_args=FROM_CONF):
            AirbyteTriggerSyncOperator(task_id="sync", **how, **what)
    for kind, what in HALTING.items():
        with DAG(f"kill_{kind}_{way}", schedule=None, default_args=FROM_CONF):
            Halting(task_id="sync", **how, **what)

with DAG("kill_lingering_deferred", schedule=None, default_args=FROM_CONF):
    # Airflow 2 calls it before it commits the success.
    callback = {} if AIRFLOW_3 else {"on_success_callback": linger}
    Lingering(task_id="sync", **WAYS["deferred"], **KINDS["retried"], **callback)

with DAG("kill_unpushable_on_worker", schedule=None, default_args=FROM_CONF):
    Unpushable(task_id="sync", **WAYS["on_worker"], **KINDS["retried"])

with DAG("kill_unnamed_on_worker", schedule=None, default_args=FROM_CONF):
    # Airflow renders it after everything else, and cannot in the first try.
    unnamed = {"map_index_template": "{{ 1 // (ti.try_number - 1) }}"}
    AirbyteTriggerSyncOperator(task_id="sync", **WAYS["on_worker"], **KINDS["retried"], **unnamed)

with DAG("kill_misled_on_worker", schedule=None, default_args=FROM_CONF):
    Misled(task_id="sync", **WAYS["on_worker"], retries=1, retry_delay=timedelta(seconds=1))
