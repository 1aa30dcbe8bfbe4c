"""What tasks import is loaded once, in the process that forks them."""

from __future__ import annotations

import os
import subprocess
import sys

from harness.waiting import IN_VAIN

#: A worker, as far as that matters here: it asks the providers what they are, and forks a task.
WORKER = """
import os, sys
from airflow.providers_manager import ProvidersManager

ProvidersManager().initialize_providers_configuration()

def show(who):
    print(who, *(name for name in {names} if name in sys.modules), flush=True)

{before}
show("worker")
for task in ("task", "another"):
    if os.fork() == 0:
        {in_the_task}
        show(task)
        os._exit(0)
    os.wait()
"""
ALL = "aiohttp airbyte_deferrable.operators airbyte_deferrable.sensors"


def run(before: str = "", in_the_task: str = "pass", **environment: str) -> tuple[list[str], str]:
    """Return what a worker and its tasks say they have loaded, and all that was said beside that."""
    program = WORKER.format(before=before, in_the_task=in_the_task, names=ALL.split())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=IN_VAIN,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    said = [line for line in lines if line.split()[0] in ("worker", "task", "another", "True")]
    return said, "\n".join([line for line in lines if line not in said] + [done.stderr])


def test_tasks_find_loaded_what_they_import() -> None:
    said, complaints = run()
    assert said == ["worker", f"task {ALL}", f"another {ALL}"]
    assert "airbyte" not in complaints


def test_tasks_find_the_models_built() -> None:
    said, _ = run(
        in_the_task="from airbyte_deferrable.api.models import Job; print(Job.__pydantic_complete__, flush=True)"
    )
    assert said.count("True") == 2


def test_with_the_setting_off_nothing_is_loaded() -> None:
    said, _ = run(AIRFLOW__AIRBYTE_DEFERRABLE__PRELOAD="False")
    assert said == ["worker", "task", "another"]


def test_preload_that_fails_stops_no_task() -> None:
    said, complaints = run(before="sys.modules['aiohttp'] = None")
    assert [line.split()[0] for line in said] == ["worker", "task", "another"]
    assert complaints.count("are not loaded before") == 1
    assert "aiohttp" in complaints


def test_setting_that_is_none_stops_no_task() -> None:
    said, complaints = run(AIRFLOW__AIRBYTE_DEFERRABLE__PRELOAD="maybe")
    assert said == ["worker", "task", "another"]
    assert complaints.count("are not loaded before") == 1


def test_program_that_is_started_is_no_fork() -> None:
    said, _ = run(before="import subprocess; subprocess.run([sys.executable, '-c', 'pass'])")
    assert said[0] == "worker"
