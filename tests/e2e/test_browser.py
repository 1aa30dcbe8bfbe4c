"""What a person sees in a browser: the connection form, its Test button, the button to the job, an asset's syncs."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from airbyte_deferrable.provider import FIELD_BEHAVIOUR, FORM_FIELDS, OFFICIAL_PROVIDER
from airbyte_deferrable.simulator import Amount, Fault, Script
from harness.airflow import LocalAirflow
from harness.waiting import eventually

from .support import DAGS, EXAMPLES, QUICK, Airbyte
from .tab import Tab, needs_chromium
from .test_examples import NAMED

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.journey,
    needs_chromium,
]

TEST = "button[aria-label='Test Connection']"
REACTS = "example_react_to_airbyte"
(ORDERS,) = NAMED["example_deferrable"]
#: As shop_dags.py has it.
SHOP = "a1b7e000-0000-4000-8000-0000000000e9"


@pytest.fixture(scope="module")
def python_without_official_provider(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment with the same packages, in which nothing says that the official provider is installed."""
    home = tmp_path_factory.mktemp("without-official-provider")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    (packages,) = home.glob("lib/python*/site-packages")
    official = importlib.metadata.distribution(OFFICIAL_PROVIDER)._path.name  # type: ignore[attr-defined]
    for folder in map(Path, site.getsitepackages()):
        for entry in folder.iterdir():
            if entry.name != official and not (packages / entry.name).exists():
                (packages / entry.name).symlink_to(entry)
    return str(home / "bin" / "python")


@pytest.fixture(scope="module")
def airflow(
    tmp_path_factory: pytest.TempPathFactory, airbyte: Airbyte, python_without_official_provider: str
) -> Iterator[LocalAirflow]:
    home = tmp_path_factory.mktemp("browser")
    (home / "dags").mkdir()
    for example in ("example_deferrable.py", "example_react_to_airbyte.py"):
        shutil.copy(EXAMPLES / example, home / "dags")
    shutil.copy(DAGS / "shop_dags.py", home / "dags")
    with LocalAirflow(
        home,
        dags=home / "dags",
        python=python_without_official_provider,
        connections={"airbyte_default": airbyte.airflow_connection},
        config={"AIRFLOW__CORE__TEST_CONNECTION": "Enabled"},
    ) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def run_id(airflow: LocalAirflow, airbyte: Airbyte) -> Iterator[str]:
    """A run whose task waits for a job. It gets there while the other tests look at the form."""
    airbyte.add_connection("Orders", Script(outcome=None, rows=48_200, bytes=91_300_000), ORDERS)
    yield airflow.trigger("example_deferrable")
    for job in airbyte.jobs(ORDERS):
        airbyte.finish(job["id"], "succeeded")


@pytest.fixture(scope="module")
def tab(airflow: LocalAirflow) -> Iterator[Tab]:
    pictures = airflow.home / "pictures"
    pictures.mkdir()
    with Tab(airflow.url, pictures) as opened:
        yield opened


def begin_connection(tab: Tab, conn_id: str) -> None:
    tab.open("/connections")
    tab.press("button", "Add Connection")
    tab.one("[role=dialog] input[role=combobox]").send_keys("airbyte", Keys.ENTER)
    tab.one("input[name=host]")
    tab.one("input[name=connection_id]").send_keys(conn_id)


def test_form_has_every_field_with_label_and_help(tab: Tab, airflow: LocalAirflow, airbyte: Airbyte) -> None:
    tab.chrome.set_window_size(1200, 2200)
    begin_connection(tab, "by_form")
    for field, label in FIELD_BEHAVIOUR["relabeling"].items():
        box = tab.one(f"[role=dialog] input[name={field}]")
        shown = tab.one(f"label[for='{box.get_attribute('id')}']").text
        assert shown == label
        assert box.get_attribute("placeholder") == FIELD_BEHAVIOUR["placeholders"].get(field, "")
    for name, value in airbyte.airflow_connection.items():
        if name != "conn_type":
            tab.one(f"[role=dialog] input[name={name}]").send_keys(value)
    assert tab.one("input[name=password]").get_attribute("type") == "password"
    tab.picture("connection-form", of="[role=dialog]")

    tab.press("[role=dialog] button", "Extra Fields")
    words = tab.await_(lambda: tab.one("[role=dialog]").text if "Web app URL" in tab.one("[role=dialog]").text else "")
    for field in FORM_FIELDS.values():
        assert field["label"] in words
        assert field["description"] in words
    assert "null" not in words
    tab.picture("connection-form-extra", of="[role=dialog]")

    tab.press("[role=dialog] button", "Save")
    tab.one("tbody tr", "by_form")
    stored = airflow.api("GET", "/connections/by_form")
    assert {name: stored[name] for name in ("conn_type", "host", "login")} == {
        name: airbyte.airflow_connection[name] for name in ("conn_type", "host", "login")
    }
    assert set(json.loads(stored["extra"])) <= set(FORM_FIELDS)


def test_test_button_tells_what_is_wrong(tab: Tab, airflow: LocalAirflow, airbyte: Airbyte) -> None:
    good = airbyte.airflow_connection
    forbidden = Fault(call="list", kind="status", status=403)
    cases: dict[str, tuple[dict[str, Any], list[Fault], str]] = {
        "good": ({}, [], "Connection successfully tested"),
        "wrong_address": ({"host": "http://127.0.0.1:9/api/public/v1"}, [], "The address is wrong, or Airbyte is down"),
        "wrong_path": ({"host": f"{airbyte.host}/elsewhere"}, [], "The address is wrong, or Airbyte is down"),
        "no_permission": ({}, [forbidden], "The credentials are good, but lack the permission"),
        "wrong_secret": ({"password": "not the secret"}, [], "Airbyte is there, but refuses the credentials"),
    }
    for conn_id, (changes, _, _) in cases.items():
        # With a port, which is not used: without, the button of Airflow 3.3.2 fails (apache/airflow#73298).
        airflow.api("POST", "/connections", {"connection_id": conn_id, "port": 443, **good, **changes})
    tab.open("/connections")
    for conn_id, (_, faults, words) in cases.items():
        for fault in faults:
            airbyte.add_fault(fault)
        try:
            tab.press_in(conn_id, TEST)
            tab.one("[data-scope=toast]", words)
        finally:
            airbyte.clear_faults()
    tab.chrome.set_window_size(1200, 700)
    tab.open("/connections")
    tab.press_in("wrong_secret", TEST)
    tab.one("[data-scope=toast]", "refuses the credentials")
    tab.picture("connection-test")


def test_button_on_a_deferred_task_leads_to_its_job(
    tab: Tab, airflow: LocalAirflow, airbyte: Airbyte, run_id: str
) -> None:
    def is_deferred() -> bool:
        return airflow.task_instance("example_deferrable", run_id, "sync_orders")["state"] == "deferred"

    eventually(is_deferred)
    job = airbyte.jobs(ORDERS)[-1]
    tab.chrome.set_window_size(1200, 800)
    tab.open(f"/dags/example_deferrable/runs/{run_id}/tasks/sync_orders")
    tab.one("body", f"Submitted job {job['id']} (sync) of connection {ORDERS}")
    tab.one("body", f"Airbyte job {job['id']} is running")
    tab.one("body", f"Airbyte job {job['id']} is one of connection 'Orders'")
    tab.picture("task-log")
    tab.press("a", "Details")
    button = tab.one("a", "Airbyte job")
    tab.picture("deferred-task")
    address = button.get_attribute("href") or ""
    job_page = rf"{airbyte.host}/workspaces/[\w-]+/connections/{ORDERS}/timeline\?.*jobId={job['id']}"
    assert re.fullmatch(job_page, address)


def test_asset_shows_its_syncs_and_the_runs_that_they_started(
    tab: Tab, airflow: LocalAirflow, airbyte: Airbyte
) -> None:
    orders, clicks = (airbyte.add_connection(name=name, script=QUICK, tags=["hourly"]) for name in ("Orders", "Clicks"))
    airflow.set_paused(REACTS, False)
    triggerer = airflow.home / "logs" / "triggerer.log"
    eventually(lambda: "Watching 2 Airbyte connections" in triggerer.read_text(errors="replace"), what="it watches")
    job, _ = airbyte.add_jobs([orders, clicks], QUICK)
    line = f"Orders: Airbyte's job {job} brought 1000 rows."

    def runs_with_the_line() -> list[str]:
        runs = airflow.api("GET", f"/dags/{REACTS}/dagRuns", params={"state": "success"})["dag_runs"]
        return [run["dag_run_id"] for run in runs if line in airflow.log(REACTS, run["dag_run_id"], "react")]

    eventually(runs_with_the_line)
    (asset,) = airflow.api("GET", "/assets", params={"name_pattern": "example_airbyte_syncs"})["assets"]
    tab.chrome.set_window_size(1400, 1000)
    tab.open(f"/assets/{asset['id']}")
    tab.one("body", REACTS)
    tab.unfold('"connection_name"')
    tab.picture("asset-events")


@pytest.fixture(scope="module")
def shop(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    """A connection that fills two tables, and what runs for each."""
    moved = {"orders": Amount(rows=48_200, bytes=9_130_000), "customers": Amount(rows=310, bytes=52_000)}
    airbyte.add_connection(
        "Shop",
        Script(duration=2, streams=moved),
        SHOP,
        streams=list(moved),
        destination_type="snowflake",
        destination_configuration={
            "host": "acme-prod.snowflakecomputing.com",
            "database": "warehouse",
            "schema": "public",
        },
    )
    for dag_id in ("after_orders", "monthly_report"):
        airflow.set_paused(dag_id, False)


def test_graph_of_a_table_shows_what_fills_it_and_what_runs_for_it(tab: Tab, airflow: LocalAirflow, shop: None) -> None:
    assert airflow.wait("sync_shop", airflow.trigger("sync_shop")) == "success"
    eventually(lambda: airflow.api("GET", "/dags/after_orders/dagRuns")["dag_runs"], what="a run for the table")
    (asset,) = airflow.api("GET", "/assets", params={"name_pattern": "WAREHOUSE/PUBLIC/ORDERS"})["assets"]
    tab.chrome.set_window_size(1400, 800)
    tab.open(f"/assets/{asset['id']}")
    for node in ("sync_shop", "after_orders", "monthly_report"):
        tab.one(".react-flow__node", node)
    tab.picture("table-graph")
