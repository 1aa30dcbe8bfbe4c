"""Who follows the quick start, command by command on a real Airflow, gets a sync and reads the log that it shows."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest

from airbyte_deferrable.simulator import RemoteSimulator
from airbyte_deferrable.simulator.__main__ import connection_id_of
from harness.airflow import LocalAirflow
from harness.loopback import free_port
from harness.waiting import IN_VAIN
from helpers.airbyte import ENDLESS
from helpers.blocks import BLOCKS
from helpers.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.journey]

PAGE = [block for block in BLOCKS if block.page == "docs/quick-start.md"]
#: What this environment has done already, and what stands for it here.
DONE_OTHERWISE = {"pip install airbyte-deferrable": "this environment", "airflow standalone": "LocalAirflow"}


def answers(url: str) -> bool:
    try:
        return bool(urlopen(url, timeout=1).status == 200)
    except OSError:
        return False


def test_quick_start_leads_to_a_sync(tmp_path: Path) -> None:
    [dag_file] = [block for block in PAGE if block.title == "dags/orders.py"]
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / Path(dag_file.title).name).write_text(dag_file.text)
    port = free_port()

    def at_the_port(text: str) -> str:
        return text.replace("localhost:8000", f"localhost:{port}").replace("--port 8000", f"--port {port}")

    scripts = [at_the_port(block.text) for block in PAGE if block.language == "sh"]
    [start_airbyte] = [script for script in scripts if "airbyte_deferrable.simulator" in script]
    commands = [
        script for script in scripts if script != start_airbyte and not set(DONE_OTHERWISE) & set(lines(script))
    ]
    assert len(commands) == len(scripts) - 1 - len(DONE_OTHERWISE)

    as_airflow_has_it = {"AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True"}
    with LocalAirflow(tmp_path / "home", dags=dags, config=as_airflow_has_it) as airflow:
        airbyte = subprocess.Popen(["bash", "-c", f"exec {start_airbyte}"], env=airflow.env, start_new_session=True)
        try:
            wait_until(lambda: answers(f"http://localhost:{port}/api/public/v1/health"))
            orders = RemoteSimulator(f"http://localhost:{port}")
            # On a busy machine its half minute may be over before the triggerer looks: it ends when that has looked.
            orders.script(connection_id_of(1), ENDLESS)
            for command in commands:
                subprocess.run(["bash", "-ec", command], env=airflow.env, check=True, timeout=IN_VAIN)
            wait_until(lambda: airflow.task_instances("orders"))
            run = airflow.task_instances("orders")[0]["dag_run_id"]
            wait_until(lambda: orders.jobs(status="running"))
            looks = orders.count("get") + orders.count("list")
            wait_until(lambda: orders.count("get") + orders.count("list") >= looks + 2)
            orders.finish(1, "succeeded")
            assert airflow.wait("orders", run) == "success"
            log = airflow.log("orders", run, "sync_orders")
        finally:
            os.killpg(airbyte.pid, signal.SIGTERM)
            airbyte.wait(30)
    [shown] = [block.text for block in PAGE if block.language == "text"]
    for line in lines(at_the_port(shown)):
        told = re.escape(line).replace("…", "[^/]+")
        assert re.search(re.sub(r"\d+s$", r"\\d+s", told), log), f"{line}\n\n{log}"


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
