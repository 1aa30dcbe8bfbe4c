"""A worker's process: it runs one leg after the other, each in a fork, as Airflow's workers do.

Started by :mod:`benchmarks.legs`. Takes one line of JSON for each leg on its standard input, and answers with one. It
has imported what a worker of Airflow's LocalExecutor has, which is a fork of the scheduler, and has asked the providers
what they are, as the scheduler does: what a provider does not load by itself then, each leg is to pay for.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import resource
import sys
import time
import uuid
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import airflow.cli.cli_parser
import airflow.cli.commands.scheduler_command
import airflow.executors.local_executor
import airflow.jobs.scheduler_job_runner
import airflow.utils.serve_logs  # noqa: F401
import httpx
from airflow.providers_manager import ProvidersManager
from airflow.sdk._shared.secrets_masker import reset_secrets_masker
from airflow.sdk.api.client import Client
from airflow.sdk.api.datamodels._generated import BundleInfo, TaskInstance
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.supervisor import _configure_logging, ensure_secrets_backend_loaded

from benchmarks.legs_airflow import ExecutionApi, Supervisor

#: What no worker has loaded, and a leg is to load by itself.
LEGS_OWN = {"aiohttp", "airbyte_api", "airbyte_deferrable.operators", "airflow.providers.airbyte.operators.airbyte"}
#: The name under which Airflow knows the folder of the DAG files.
BUNDLE = "legs"


def run_leg(api: ExecutionApi, log: Path) -> dict[str, Any]:
    """Run a leg in a process of its own, and return its figures.

    :param api: Airflow for this task instance.
    :param log: Where the task's log goes.
    """
    reading, writing = os.pipe()
    client = Client(base_url="http://airflow", token="", transport=httpx.MockTransport(api.answer))
    logger, file = _configure_logging(str(log), client)
    # This and what follows is what Airflow's ``supervise_task`` does.
    ensure_secrets_backend_loaded()
    reset_secrets_masker()
    with open(reading) as figures, file, client:
        leg = Supervisor.start(
            what=TaskInstance(
                id=uuid.UUID(api.ti_id),
                task_id=api.task_id,
                dag_id=api.dag_id,
                run_id=api.run_id,
                try_number=1,
                dag_version_id=uuid.uuid4(),
            ),
            dag_rel_path=f"{api.dag_id}.py",
            bundle_info=BundleInfo(name=BUNDLE),
            client=client,
            api=api,
            logger=logger,
            target=partial(_in_the_leg, writing),
        )
        os.close(writing)
        leg.wait()
        if api.unknown:
            # A figure is not to hide an error.
            raise NotImplementedError(f"asked of Airflow's API: {', '.join(api.unknown)}")
        return {
            **json.loads(figures.readline()),
            "state": leg.final_state,
            "end": api.end,
            "calls": [asdict(call) for call in leg.calls],
        }


def _in_the_leg(tell: int) -> None:
    began = time.perf_counter()

    def end() -> None:
        seconds = time.perf_counter() - began
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu = sum(each.ru_utime + each.ru_stime for each in used)
        os.write(tell, json.dumps({"seconds": seconds, "cpu": cpu}).encode() + b"\n")

    # What is registered first comes last: what libraries do at a process's end is part of the leg.
    atexit.register(end)
    task_runner.main()


def main() -> None:
    """Run legs until the standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if loaded := LEGS_OWN & sys.modules.keys():
        raise RuntimeError(f"no leg would pay any more for {', '.join(sorted(loaded))}")
    # As ``airflow scheduler`` and ``airflow celery worker`` do, whose forks run the tasks.
    ProvidersManager().initialize_providers_configuration()
    # As the LocalExecutor does before it forks its workers.
    gc.freeze()
    api: ExecutionApi | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["next_method"] is None:
            api = ExecutionApi(asked["connection"], asked["dag"], asked["task"])
        assert api is not None
        api.next_method, api.next_kwargs = asked["next_method"], asked["next_kwargs"]
        answers.write(json.dumps(run_leg(api, Path(asked["log"]))) + "\n")


if __name__ == "__main__":
    main()
