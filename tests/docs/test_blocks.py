"""Every code block of the documentation does what it claims."""

from __future__ import annotations

import argparse
import configparser
import importlib
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.configuration import conf

from airbyte_deferrable._airflow.connection import Extra, read_connection
from airbyte_deferrable._airflow.results import finish
from airbyte_deferrable._job.failure import Explanation
from airbyte_deferrable.api.models import Failure, Job
from airbyte_deferrable.exceptions import AirbyteConfigError
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Simulator
from airbyte_deferrable.simulator.__main__ import connection_id_of
from harness.waiting import IN_VAIN
from helpers.airbyte import ENDLESS
from helpers.blocks import BLOCKS, ROOT, Block, in_language
from helpers.one_task import Task, airflow_tells, when_said

try:
    from airflow import sdk
except ImportError:  # Airflow 2
    sdk = None

# A page that shows a test shows a whole project: its titled blocks are the project's files.
PROJECTS = sorted({block.page for block in BLOCKS if block.title.startswith("tests/")})
FILES = [block for block in BLOCKS if block.page in PROJECTS and block.title]
PYTHON = [block for block in in_language("python") if block not in FILES]
DAG_FILES = [block for block in PYTHON if "with DAG(" in block.text]
SCRIPTS = [block for block in PYTHON if block not in DAG_FILES]


def for_this_airflow(source: str) -> str:
    """Do what the pages tell users of Airflow 2 to do."""
    if sdk is not None:
        return source
    source = source.replace(
        "from airflow.sdk import DAG, task", "from airflow import DAG\nfrom airflow.decorators import task"
    )
    source = source.replace(
        "from airflow.sdk import DAG, BaseOperator", "from airflow import DAG\nfrom airflow.models import BaseOperator"
    )
    return source.replace("from airflow.sdk import DAG", "from airflow import DAG")


def test_blocks_are_of_kinds_that_are_checked() -> None:
    assert {block.language for block in BLOCKS} == {"python", "sh", "json", "ini", "text"}


@pytest.mark.parametrize("block", DAG_FILES, ids=str)
def test_dags_run_to_their_end(
    block: Block, airbyte_for: Callable[..., Simulator], run_dags: Callable[..., Any]
) -> None:
    if sdk is None and "stream_assets" in block.text:
        pytest.skip("Airflow 2.11's dag.test() knows no aliases of datasets; tests/e2e/test_lineage.py has one")
    needs = re.findall(r"\b(ExceptionRetryPolicy|AssetWatcher)\b", block.text)
    if needs and not hasattr(sdk, needs[0]):
        with pytest.raises(AssertionError, match=needs[0]):
            run_dags(for_this_airflow(block.text))
        return
    airbyte = airbyte_for(block.text)
    runs = run_dags(for_this_airflow(block.text))
    assert runs
    assert {dag_id: run.state for dag_id, run in runs.items()} == dict.fromkeys(runs, "success")
    # What reacts to syncs starts none.
    assert {job["status"] for job in airbyte.jobs()} == ({"succeeded"} if "ended_syncs" not in block.text else set())


@pytest.mark.parametrize("block", SCRIPTS, ids=str)
def test_scripts_run(block: Block, airbyte_for: Callable[..., Simulator]) -> None:
    airbyte_for(block.text)
    exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PROJECTS)
def test_tests_pass(page: str, tmp_path: Path) -> None:
    files = [block for block in FILES if block.page == page]
    for block in files:
        (tmp_path / block.title).parent.mkdir(exist_ok=True)
        (tmp_path / block.title).write_text(for_this_airflow(block.text))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=IN_VAIN,
    )
    promised = sum(block.text.count("\ndef test_") for block in files)
    assert f"{promised} passed" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.parametrize("block", in_language("json"), ids=str)
def test_json_is_an_extra_that_is_understood(block: Block) -> None:
    fields = json.loads(block.text)
    assert set(fields) <= set(Extra.model_fields)
    Extra.model_validate(fields)


@pytest.mark.parametrize("block", [block for block in in_language("ini") if block not in FILES], ids=str)
def test_settings_are_settings_of_airflow(block: Block) -> None:
    config = configparser.ConfigParser()
    config.read_string(block.text)
    assert config.sections()
    for section in config.sections():
        for option in config.options(section):
            # Airflow 2.11 calls it so, as the pages say.
            known_as = "default_capacity" if sdk is None and option == "capacity" else option
            assert conf.has_option(section, known_as), f"[{section}] {option}"


# Text: what a reader is told to find in the log.


@pytest.mark.parametrize("block", in_language("text"), ids=str)
def test_texts_show_what_is_to_be_seen(block: Block, request: pytest.FixtureRequest) -> None:
    shown = SHOWN[block.page](request)
    # Lines of the page are as wide as the page is: what is shown is one text, in which "…" stands for anything.
    words = r"\s+".join(re.escape(word).replace("…", r"\S*") for word in block.text.split())
    assert re.search(words, shown), shown


def log_of_the_quick_start(request: pytest.FixtureRequest) -> str:
    """Run the page's task on the connection of its simulator, and return what the task logs."""
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setattr("airbyte_deferrable._sync_task.HOLD_EVENTS", 0)
    airbyte: Simulator = request.getfixturevalue("airbyte_for")("")
    orders = airbyte.add_connection("Connection 1", ENDLESS, connection_id_of(1))
    task = Task(lambda: AirbyteTriggerSyncOperator(task_id="sync_orders", connection_id=orders, deferrable=True))
    when_said(task.log, "See it in Airbyte", lambda: (airbyte.advance(20), airbyte.finish(1, "succeeded")))
    with airflow_tells(monkeypatch, task.ti):
        task.run()
    log = "\n".join(task.lines)
    log = log.replace(airbyte.url.partition("/api/")[0], "http://localhost:8000")
    # As long as the simulator of the page takes, and what this machine has added.
    return re.sub(r", 2\ds$", ", 20s", log, flags=re.M)


def error_of_a_failed_sync(request: pytest.FixtureRequest) -> str:
    """Let a job fail as the page says, and return what the task fails with."""
    told = {"jobId": 7, "status": "failed", "jobType": "sync", "connectionId": connection_id_of(1)}
    job = Job.model_validate({**told, "duration": "PT1M2S", "rowsSynced": 0, "bytesSynced": 0})
    failure = Failure(
        failure_origin="source",
        failure_type="config_error",
        external_message='The password for user "reader" is wrong.',
    )
    with pytest.raises(AirbyteConfigError) as error:
        finish(job, logging.getLogger(), "airbyte_default", Explanation(failure, attempts=3, rows_committed=0))
    return f"{error.type.__name__}: {error.value}"


SHOWN = {"docs/quick-start.md": log_of_the_quick_start, "docs/outcomes.md": error_of_a_failed_sync}


# Shell: what a command claims, as far as it can be checked without leaving this machine.


@pytest.mark.parametrize("block", in_language("sh"), ids=str)
def test_commands_exist_and_take_these_arguments(block: Block, tmp_path: Path) -> None:
    for command in commands(block.text):
        CHECKS[command[0]](command, tmp_path)


def commands(script: str) -> list[list[str]]:
    """Split a script into its commands."""
    found: list[list[str]] = []
    pending = ""
    for line in script.replace("\\\n", " ").splitlines(keepends=True):
        pending += line
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:
            continue  # a quotation that goes on in the next line
        found.extend([words] if words else [])
        pending = ""
    assert not pending
    return found


def check_pip(command: list[str], _: Path) -> None:
    *head, name = command
    assert head == ["pip", "install"]
    assert f'name = "{name}"' in (ROOT / "pyproject.toml").read_text()


def check_make(command: list[str], _: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in command[1:]:
        assert re.search(rf"^{target}:", makefile, re.M), target


def check_airflow(command: list[str], tmp_path: Path) -> None:
    from airflow.cli.cli_parser import get_parser

    told = get_parser().parse_args(command[1:])
    if command[1:3] == ["connections", "add"]:
        check_connection(told)
    if hasattr(told, "dag_id"):
        assert any(f'DAG("{told.dag_id}"' in block.text for block in DAG_FILES)


def check_connection(told: argparse.Namespace) -> None:
    """The connection that a command makes is one that this package can use."""
    from airflow.models.connection import Connection

    connection = Connection(
        told.conn_id,
        told.conn_type,
        host=told.conn_host,
        login=told.conn_login,
        password=told.conn_password,
        extra=told.conn_extra,
    )
    assert connection.conn_type == "airbyte"
    settings = read_connection(connection, told.conn_id)
    assert settings.web_url is not None
    assert type(settings.credentials).__name__ == "ClientCredentials"


def check_export(command: list[str], _: Path) -> None:
    name, _, value = command[1].partition("=")
    if name.startswith("AIRFLOW__"):
        section, option = name.removeprefix("AIRFLOW__").lower().split("__")
        assert conf.has_option(section, option)
        return
    assert name.startswith("AIRFLOW_CONN_")
    from airflow.models.connection import Connection

    connection = Connection.from_json(value, conn_id="airbyte_default")
    assert read_connection(connection, "airbyte_default").config_url is not None


def check_python(command: list[str], _: Path) -> None:
    assert command[1] == "-m"
    module = importlib.import_module(f"{command[2]}.__main__")
    module._parser().parse_args(command[3:])


def check_find(command: list[str], tmp_path: Path) -> None:
    """The one line turns the official provider's imports into ours, all of them, and nothing else."""
    team = tmp_path / "dags" / "team"
    team.mkdir(parents=True)
    kinds = {
        "operators": "AirbyteTriggerSyncOperator",
        "sensors": "AirbyteJobSensor",
        "triggers": "AirbyteSyncTrigger",
        "hooks": "AirbyteHook",
    }
    other = "from airflow.providers.standard.operators.bash import BashOperator\n"
    official = "".join(f"from airflow.providers.airbyte.{kind}.airbyte import {name}\n" for kind, name in kinds.items())
    for file in (team.parent / "mine.py", team / "ours.py"):
        file.write_text(other + official)
    subprocess.run(command, cwd=tmp_path, check=True)
    ours = "".join(f"from airbyte_deferrable.{kind} import {name}\n" for kind, name in kinds.items())
    for file in (team.parent / "mine.py", team / "ours.py"):
        assert file.read_text() == other + ours
    exec(ours, {})


def check_ulimit(command: list[str], _: Path) -> None:
    assert command[1] == "-n"
    assert int(command[2]) > 5000, "the triggerer beside it has a log file open for each of 5,000 triggers"


CHECKS: dict[str, Callable[[list[str], Path], None]] = {
    "airflow": check_airflow,
    "export": check_export,
    "find": check_find,
    "make": check_make,
    "pip": check_pip,
    "python": check_python,
    "ulimit": check_ulimit,
}
