"""The official provider's documented ways of use run with only the import changed."""

from __future__ import annotations

import importlib.util
import inspect
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import airbyte_deferrable.hooks
import airbyte_deferrable.operators
import airbyte_deferrable.sensors
import airbyte_deferrable.triggers
from airbyte_deferrable.simulator import Simulator
from helpers.blocks import in_language

try:
    from airflow.providers.airbyte.hooks.airbyte import AirbyteHook as OfficialHook
    from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator as OfficialOperator
    from airflow.providers.airbyte.sensors.airbyte import AirbyteJobSensor as OfficialSensor
    from airflow.providers.airbyte.triggers.airbyte import AirbyteSyncTrigger as OfficialTrigger
finally:
    assert importlib.util.find_spec("airflow.providers.airbyte"), "the test group brings the official provider"

CONNECTION = "0f0e0d0c-0b0a-4908-8706-050403020100"

# The shape of the provider's example DAG: one task that waits, and one that does not with a sensor behind it.
OFFICIAL_DAG = f'''
from datetime import datetime, timedelta

from airflow import DAG
from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator
from airflow.providers.airbyte.sensors.airbyte import AirbyteJobSensor
from harness.waiting import IN_VAIN

with DAG(
    dag_id="official_example",
    schedule=None,
    start_date=datetime(2021, 1, 1),
    dagrun_timeout=timedelta(minutes=60),
    catchup=False,
):
    waits = AirbyteTriggerSyncOperator(task_id="waits", connection_id="{CONNECTION}")
    starts = AirbyteTriggerSyncOperator(task_id="starts", connection_id="{CONNECTION}", asynchronous=True)
    ends = AirbyteJobSensor(task_id="ends", airbyte_job_id=starts.output, poke_interval=0.2)
    waits >> starts

    deferred = AirbyteTriggerSyncOperator(
        task_id="deferred",
        airbyte_conn_id="airbyte_default",
        connection_id="{CONNECTION}",
        deferrable=True,
        api_version="v1",
        wait_seconds=0.2,
        timeout=IN_VAIN,
    )
    deferred_sensor = AirbyteJobSensor(
        task_id="deferred_sensor",
        airbyte_conn_id="airbyte_default",
        airbyte_job_id=deferred.output,
        deferrable=True,
        poke_interval=0.2,
        timeout=IN_VAIN,
    )
    ends >> deferred
'''


def only_the_import_changed(source: str, folder: Path) -> str:
    """Do what the page on migrating says."""
    (block,) = (block for block in in_language("sh") if block.page == "docs/migrating.md")
    (folder / "dags").mkdir()
    file = folder / "dags" / "mine.py"
    file.write_text(source)
    subprocess.run(block.text, shell=True, cwd=folder, check=True)
    changed = file.read_text()
    assert changed != source
    return changed


def test_official_example_runs(
    airbyte_for: Callable[[str], Simulator],
    run_dags: Callable[[str], dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    airbyte = airbyte_for(OFFICIAL_DAG)
    runs = run_dags(only_the_import_changed(OFFICIAL_DAG, tmp_path_factory.mktemp("migrated")))
    assert runs["official_example"].state == "success"
    assert [job["status"] for job in airbyte.jobs()] == ["succeeded"] * 3


@pytest.mark.parametrize(
    ("official", "ours"),
    [
        (OfficialOperator, airbyte_deferrable.operators.AirbyteTriggerSyncOperator),
        (OfficialSensor, airbyte_deferrable.sensors.AirbyteJobSensor),
        (OfficialTrigger, airbyte_deferrable.triggers.AirbyteSyncTrigger),
        (OfficialHook, airbyte_deferrable.hooks.AirbyteHook),
    ],
    ids=lambda each: f"{each.__module__.split('.')[0]}-{each.__name__}",
)
def test_classes_take_what_the_official_ones_take(official: type, ours: type) -> None:
    assert ours.__name__ == official.__name__
    theirs = inspect.signature(inspect.unwrap(official.__init__)).parameters
    own = inspect.signature(inspect.unwrap(ours.__init__)).parameters
    # The operator's poll interval depends on where it waits, unless it is given.
    meant = {"wait_seconds": None}
    for name, parameter in theirs.items():
        assert name in own
        assert own[name].kind == parameter.kind
        if parameter.default is not parameter.empty:
            assert own[name].default == meant.get(name, parameter.default), name
    assert [name for name in own if name in theirs] == list(theirs), "positional arguments keep their places"
    assert set(getattr(official, "template_fields", ())) <= set(getattr(ours, "template_fields", ()))


def test_hook_offers_what_the_official_one_offers() -> None:
    gone = {"create_api_session", "get_conn_params"}  # they hand out the SDK
    methods = {name for name in vars(OfficialHook) if not name.startswith("_")} - gone
    assert {name for name in methods if not hasattr(airbyte_deferrable.hooks.AirbyteHook, name)} == set()


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize("token_url", ["", "v1/applications/token", "/api/public/v1/applications/token"])
def test_connection_as_documented(
    airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch, end: str, token_url: str
) -> None:
    connection = {
        "conn_type": "airbyte",
        "host": f"{airbyte_simulator.url}{end}",
        "schema": token_url,
        "login": airbyte_simulator.client_id,
        "password": airbyte_simulator.client_secret,
        "extra": {"timeout": 20, "proxies": {}},
    }
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", json.dumps(connection))
    assert airbyte_deferrable.hooks.AirbyteHook().test_connection()[0]


def test_hook_as_documented(airbyte_for: Callable[[str], Simulator]) -> None:
    airbyte = airbyte_for(CONNECTION)
    hook = airbyte_deferrable.hooks.AirbyteHook(airbyte_conn_id="airbyte_default", api_version="v1")
    assert hook.test_connection()[0] is True
    job = hook.submit_sync_connection(connection_id=CONNECTION)
    assert hook.wait_for_job(job_id=job.job_id, wait_seconds=0.1, timeout=30) is None
    assert hook.get_job_status(job.job_id) == "succeeded"
    assert hook.get_job_details(job.job_id).connection_id == CONNECTION
    reset = hook.submit_reset_connection(CONNECTION)
    assert reset.job_type == "reset"
    hook.cancel_job(reset.job_id)
    assert airbyte.job(reset.job_id)["status"] in ("cancelled", "succeeded")
