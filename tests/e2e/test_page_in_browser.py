"""The page in a browser, on a real Airflow whose users may not all see everything: it follows syncs to their ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from airbyte_deferrable._airflow.page_setting import CAN_BRING_PAGES
from airbyte_deferrable.simulator import Script
from harness.airflow import LocalAirflow

from .support import DAGS, EXAMPLES, Airbyte
from .tab import Tab, needs_chromium
from .test_examples import NAMED

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.journey,
    pytest.mark.page,
    needs_chromium,
    pytest.mark.skipif(not CAN_BRING_PAGES, reason="this Airflow's plugins bring no pages"),
]

DAG, TASK = "example_deferrable", "sync_orders"
(ORDERS,) = NAMED[DAG]
#: What would do harm where a name became a part of the page.
NAME = "Orders <script>document.title = 'harm'</script>"
#: As shop_dags.py has it.
SHOP = "a1b7e000-0000-4000-8000-0000000000e9"
#: As helpers/rights.py has them: one may read all DAGs, the other the one that they are named after.
ADMIN, READER = "all", DAG
PASSWORDS = {ADMIN: "a password", READER: "another password"}


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, airbyte: Airbyte) -> Iterator[LocalAirflow]:
    home = tmp_path_factory.mktemp("page")
    (home / "dags").mkdir()
    shutil.copy(EXAMPLES / f"{DAG}.py", home / "dags")
    shutil.copy(DAGS / "shop_dags.py", home / "dags")
    (home / "passwords.json").write_text(json.dumps(PASSWORDS))
    with LocalAirflow(
        home,
        dags=home / "dags",
        connections={"airbyte_default": airbyte.airflow_connection},
        login=(ADMIN, PASSWORDS[ADMIN]),
        config={
            "AIRFLOW__CORE__AUTH_MANAGER": "helpers.rights.RightsByDag",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin,{READER}:viewer",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
            "PYTHONPATH": str(Path(__file__).parents[1]),
        },
    ) as running:
        yield running


@pytest.fixture(scope="module")
def run_id(airflow: LocalAirflow, airbyte: Airbyte) -> Iterator[str]:
    """A run whose sync brings more rows by the second, until it is told to end."""
    airbyte.add_connection(NAME, Script(outcome=None, duration=1000, rows=1_000_000), ORDERS)
    airbyte.add_connection("Shop", Script(duration=2), SHOP)
    yield airflow.trigger(DAG)
    for job in airbyte.jobs(ORDERS):
        airbyte.finish(job["id"], "succeeded")


@pytest.fixture
def tab(airflow: LocalAirflow, tmp_path: Path) -> Iterator[Tab]:
    """A browser in which nobody is logged in."""
    with Tab(airflow.url, tmp_path) as opened:
        opened.chrome.set_window_size(1400, 1000)
        yield opened


def log_in(tab: Tab, user: str) -> None:
    tab.open("/")
    tab.one("input[name=username]").send_keys(user)
    tab.one("input[name=password]").send_keys(PASSWORDS[user])
    tab.press("button", "Sign in")
    tab.one("button", "Browse")


def open_page(tab: Tab) -> None:
    """Go where the navigation leads."""

    def is_there() -> bool:
        for entry in tab.all("a[href$='airbyte'], [role=menuitem]"):
            if "Airbyte" in entry.text and entry.is_displayed():
                entry.click()
                return True
        menu = tab.one("button", "Browse")
        # What Airflow renders anew meanwhile closes it.
        if menu.get_attribute("aria-expanded") != "true":
            menu.click()
        return False

    tab.await_(is_there)


def asked(tab: Tab, path: str) -> tuple[int, str]:
    """Ask as the page does, in its user's name, and return the answer's status and text."""
    status, text = tab.chrome.execute_async_script(
        "const done = arguments[1];"
        "fetch(arguments[0]).then(async (answer) => done([answer.status, await answer.text()]));",
        path,
    )
    return int(status), str(text)


def test_page_is_shown_to_nobody_without_a_login(tab: Tab, run_id: str) -> None:
    for path in ("/airbyte/page", "/airbyte/api/syncs", "/airbyte/static/page.js"):
        tab.open(path)
        assert "detail" in tab.one("body").text
        assert asked(tab, path)[0] == 401
    tab.open("/")
    tab.one("input[name=password]")


def test_page_follows_syncs_as_they_run_and_end(tab: Tab, airflow: LocalAirflow, airbyte: Airbyte, run_id: str) -> None:
    log_in(tab, ADMIN)
    open_page(tab)
    with tab.frame():
        row = tab.one("#running tbody tr", NAME)
        assert "Running" in row.text
        assert tab.chrome.execute_script("return document.title") == "Airbyte syncs"
        tab.one("#health-good", "airbyte_default")

        def rows() -> str:
            return tab.one("#running tbody tr", TASK).find_element("css selector", "td:nth-of-type(4)").text

        before = tab.await_(rows)
        tab.await_(lambda: rows() not in ("", before))

        assert airflow.wait("sync_shop", airflow.trigger("sync_shop")) == "success"
        assert "Succeeded" in tab.one("#ended tbody tr", "sync_shop").text
        airbyte.finish(airbyte.jobs(ORDERS)[-1]["id"], "failed")
        assert airflow.wait(DAG, run_id) == "failed"
        assert "Failed" in tab.one("#ended tbody tr", TASK).text
        tab.await_(lambda: not tab.all("#running tbody tr"))

        tab.one("select[name=dag]").send_keys("sync_shop")
        tab.await_(lambda: TASK not in tab.one("#ended").text)
        tab.one("#ended tbody tr", "sync_shop")
        tab.press("button[name=clear]")
        tab.one("#ended tbody tr", TASK)


def test_page_has_a_tab_on_each_task(tab: Tab, run_id: str) -> None:
    log_in(tab, ADMIN)
    tab.open(f"/dags/{DAG}/runs/{run_id}/tasks/{TASK}/plugin/airbyte-sync")
    with tab.frame():
        tab.one("main", NAME)


def test_page_tells_nothing_of_a_dag_to_who_may_not_read_it(tab: Tab, airflow: LocalAirflow, run_id: str) -> None:
    hidden = airflow.trigger("sync_shop")
    assert airflow.wait("sync_shop", hidden) == "success"
    log_in(tab, READER)
    open_page(tab)
    with tab.frame():
        tab.one("tbody tr", TASK)
        assert "sync_shop" not in tab.one("main").text
        assert "Shop" not in tab.one("main").text
    status, text = asked(tab, "/airbyte/api/syncs")
    assert (status, DAG in text) == (200, True)
    assert "sync_shop" not in text
    assert SHOP not in text
    which = {"dag_id": "sync_shop", "run_id": hidden, "task_id": "sync"}
    assert airflow.plugin("/airbyte/api/sync", which)["ours"] is True
    status, text = asked(tab, f"/airbyte/api/sync?dag_id=sync_shop&run_id={hidden}&task_id=sync")
    assert (status, SHOP in text) == (404, False)
    tab.open(f"/airbyte/sync?dag_id=sync_shop&run_id={hidden}&task_id=sync&map_index=-1")
    tab.one("body", "Airflow knows no such task instance, or you may not see it.")
