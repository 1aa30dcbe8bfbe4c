"""What a person sees in a browser: the connection form, its Test button, the button to the job, an asset's syncs."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import site
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from airbyte_deferrable.provider import FIELD_BEHAVIOUR, FORM_FIELDS, OFFICIAL_PROVIDER
from airbyte_deferrable.simulator import Amount, Fault, Script
from harness.airflow import LocalAirflow
from harness.waiting import eventually
from helpers.chromium import MISSING, start_chromium

from .support import DAGS, EXAMPLES, QUICK, Airbyte
from .test_examples import NAMED

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.journey,
    # The CI has to look, whatever it takes.
    pytest.mark.skipif(bool(MISSING) and "CI" not in os.environ, reason=f"needs Debian's {', '.join(MISSING)}"),
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


class Page:
    """A tab of Chromium, as wide as the pictures in the documentation."""

    def __init__(self, url: str, pictures: Path) -> None:
        self.chrome = start_chromium()
        self._url = url
        self._pictures = pictures

    def open(self, path: str) -> None:
        self.chrome.get(self._url + path)

    def all(self, selector: str) -> list[WebElement]:
        return self.chrome.find_elements(By.CSS_SELECTOR, selector)

    def await_(self, what: Callable[[], Any]) -> Any:
        try:
            return WebDriverWait(self.chrome, 30, ignored_exceptions=[StaleElementReferenceException]).until(
                lambda _: what()
            )
        except TimeoutException:
            self.picture("waited-in-vain")
            raise

    def one(self, selector: str, text: str = "") -> WebElement:
        """Wait for an element, the first that holds a text."""
        return self.await_(
            lambda: next((each for each in self.all(selector) if text in each.text and each.is_displayed()), None)
        )

    @contextmanager
    def frame(self) -> Iterator[None]:
        """Look into the frame in which Airflow shows what a plugin brings."""
        self.chrome.switch_to.frame(self.one("iframe"))
        try:
            yield
        finally:
            self.chrome.switch_to.default_content()

    def press(self, selector: str, text: str = "") -> None:
        self.one(selector, text).click()

    def press_in(self, row: str, selector: str) -> None:
        """Press a button of a table's row. Not with the mouse, whose tooltips would be in the way of the next one."""
        button = self.one("tbody tr", row).find_element(By.CSS_SELECTOR, selector)
        self.chrome.execute_script("arguments[0].click()", button)

    def unfold(self, text: str) -> None:
        """Press one arrow of the JSON on the page after the other, until a text is to be seen that was folded away."""
        folded = ".codicon-folding-collapsed"
        self.one(folded)

        def is_shown() -> bool:
            for arrow in self.all(folded)[:1]:
                webdriver.ActionChains(self.chrome).move_to_element(arrow).click().perform()
            return text in self.one("body").text

        self.await_(is_shown)

    def picture(self, name: str, of: str = "") -> None:
        """Keep what is to be seen, for the documentation."""
        path = str(self._pictures / f"{name}.png")
        if of:
            self.one(of).screenshot(path)
        else:
            self.chrome.save_screenshot(path)


@pytest.fixture(scope="module")
def page(airflow: LocalAirflow) -> Iterator[Page]:
    pictures = airflow.home / "pictures"
    pictures.mkdir()
    opened = Page(airflow.url, pictures)
    try:
        yield opened
    finally:
        opened.chrome.quit()


def begin_connection(page: Page, conn_id: str) -> None:
    page.open("/connections")
    page.press("button", "Add Connection")
    page.one("[role=dialog] input[role=combobox]").send_keys("airbyte", Keys.ENTER)
    page.one("input[name=host]")
    page.one("input[name=connection_id]").send_keys(conn_id)


def test_form_has_every_field_with_label_and_help(page: Page, airflow: LocalAirflow, airbyte: Airbyte) -> None:
    page.chrome.set_window_size(1200, 2200)
    begin_connection(page, "by_form")
    for field, label in FIELD_BEHAVIOUR["relabeling"].items():
        box = page.one(f"[role=dialog] input[name={field}]")
        shown = page.one(f"label[for='{box.get_attribute('id')}']").text
        assert shown == label
        assert box.get_attribute("placeholder") == FIELD_BEHAVIOUR["placeholders"].get(field, "")
    for name, value in airbyte.airflow_connection.items():
        if name != "conn_type":
            page.one(f"[role=dialog] input[name={name}]").send_keys(value)
    assert page.one("input[name=password]").get_attribute("type") == "password"
    page.picture("connection-form", of="[role=dialog]")

    page.press("[role=dialog] button", "Extra Fields")
    words = page.await_(
        lambda: page.one("[role=dialog]").text if "Web app URL" in page.one("[role=dialog]").text else ""
    )
    for field in FORM_FIELDS.values():
        assert field["label"] in words
        assert field["description"] in words
    assert "null" not in words
    page.picture("connection-form-extra", of="[role=dialog]")

    page.press("[role=dialog] button", "Save")
    page.one("tbody tr", "by_form")
    stored = airflow.api("GET", "/connections/by_form")
    assert {name: stored[name] for name in ("conn_type", "host", "login")} == {
        name: airbyte.airflow_connection[name] for name in ("conn_type", "host", "login")
    }
    assert set(json.loads(stored["extra"])) <= set(FORM_FIELDS)


def test_test_button_tells_what_is_wrong(page: Page, airflow: LocalAirflow, airbyte: Airbyte) -> None:
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
    page.open("/connections")
    for conn_id, (_, faults, words) in cases.items():
        for fault in faults:
            airbyte.add_fault(fault)
        try:
            page.press_in(conn_id, TEST)
            page.one("[data-scope=toast]", words)
        finally:
            airbyte.clear_faults()
    page.chrome.set_window_size(1200, 700)
    page.open("/connections")
    page.press_in("wrong_secret", TEST)
    page.one("[data-scope=toast]", "refuses the credentials")
    page.picture("connection-test")


def test_button_on_a_deferred_task_leads_to_its_job(
    page: Page, airflow: LocalAirflow, airbyte: Airbyte, run_id: str
) -> None:
    def is_deferred() -> bool:
        return airflow.task_instance("example_deferrable", run_id, "sync_orders")["state"] == "deferred"

    eventually(is_deferred)
    job = airbyte.jobs(ORDERS)[-1]
    page.chrome.set_window_size(1200, 800)
    page.open(f"/dags/example_deferrable/runs/{run_id}/tasks/sync_orders")
    page.one("body", f"Submitted job {job['id']} (sync) of connection {ORDERS}")
    page.one("body", f"Airbyte job {job['id']} is running")
    page.one("body", f"Airbyte job {job['id']} is one of connection 'Orders'")
    page.picture("task-log")
    page.press("a", "Details")
    button = page.one("a", "Airbyte job")
    page.picture("deferred-task")
    address = button.get_attribute("href") or ""
    job_page = rf"{airbyte.host}/workspaces/[\w-]+/connections/{ORDERS}/timeline\?.*jobId={job['id']}"
    assert re.fullmatch(job_page, address)


def test_asset_shows_its_syncs_and_the_runs_that_they_started(
    page: Page, airflow: LocalAirflow, airbyte: Airbyte
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
    page.chrome.set_window_size(1400, 1000)
    page.open(f"/assets/{asset['id']}")
    page.one("body", REACTS)
    page.unfold('"connection_name"')
    page.picture("asset-events")


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


def test_graph_of_a_table_shows_what_fills_it_and_what_runs_for_it(
    page: Page, airflow: LocalAirflow, shop: None
) -> None:
    assert airflow.wait("sync_shop", airflow.trigger("sync_shop")) == "success"
    eventually(lambda: airflow.api("GET", "/dags/after_orders/dagRuns")["dag_runs"], what="a run for the table")
    (asset,) = airflow.api("GET", "/assets", params={"name_pattern": "WAREHOUSE/PUBLIC/ORDERS"})["assets"]
    page.chrome.set_window_size(1400, 800)
    page.open(f"/assets/{asset['id']}")
    for node in ("sync_shop", "after_orders", "monthly_report"):
        page.one(".react-flow__node", node)
    page.picture("table-graph")


def test_page_is_in_the_navigation_and_follows_syncs_as_they_run_and_end(
    page: Page, airflow: LocalAirflow, run_id: str, shop: None
) -> None:
    page.chrome.set_window_size(1400, 1000)
    page.open("/")
    page.press("nav button, [aria-label=Browse], button", "Browse")
    page.press("a, [role=menuitem]", "Airbyte")
    with page.frame():
        page.one("#running tbody tr", "48,200")
        assert "Running" in page.one("#running tbody tr", "Orders").text
        # While the page is open.
        assert airflow.wait("sync_shop", airflow.trigger("sync_shop")) == "success"
        assert "Succeeded" in page.one("#ended tbody tr", "sync_shop").text
        page.one("#health-good", "airbyte_default")


def test_page_has_a_tab_on_each_task(page: Page, run_id: str) -> None:
    page.open(f"/dags/example_deferrable/runs/{run_id}/tasks/sync_orders/plugin/airbyte-sync")
    with page.frame():
        assert "Running" in page.one("main", "48,200").text
