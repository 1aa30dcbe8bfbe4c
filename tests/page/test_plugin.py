"""What Airflow is told of the page: on 3.1 and later where it is, before that nothing; and what that costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from airbyte_deferrable._airflow import page_setting
from airbyte_deferrable._airflow.page_setting import CAN_BRING_PAGES, page_is_wanted
from airbyte_deferrable.page import plugin
from harness.waiting import IN_VAIN

#: What Airflow does with plugins at the start of each of its processes, and what is loaded then.
LOAD = """
import json, sys
from airflow import plugins_manager
from airbyte_deferrable.page.plugin import AirbytePage
from airflow.plugins_manager import AirflowPlugin
assert issubclass(AirbytePage, AirflowPlugin)
AirbytePage.validate()
AirbytePage.on_load()
new = set(sys.modules) - before
ours = sorted(name for name in new if name.startswith("airbyte_deferrable."))
print()
print(json.dumps({
    "ours": ours,
    "apps": [each["url_prefix"] for each in getattr(AirbytePage, "fastapi_apps", ())],
    "views": [each["href"] for each in getattr(AirbytePage, "external_views", ())],
    "heavy": sorted({"aiohttp", "fastapi", "pydantic", "airflow.models.taskinstance"} & new),
}))
"""


def loaded(**settings: str) -> dict[str, Any]:
    """Load the plugin in a process of its own."""
    environment = {**os.environ, **settings}
    program = "import airflow.plugins_manager, sys\nbefore = set(sys.modules)\n" + LOAD
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=IN_VAIN
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_plugin_is_registered_where_airflow_can_bring_pages_and_costs_nothing() -> None:
    told = loaded(AIRFLOW__API__BASE_URL="https://airflow.example.com/base/", AIRFLOW__AIRBYTE_DEFERRABLE__PAGE="True")
    # In workers, triggerers and DAG processors, too.
    assert told["heavy"] == []
    assert told["ours"] == [
        "airbyte_deferrable._airflow",
        "airbyte_deferrable._airflow.page_setting",
        "airbyte_deferrable.page",
        "airbyte_deferrable.page.plugin",
    ]
    if CAN_BRING_PAGES:
        assert told["apps"] == ["/airbyte"]
        assert [each.partition("?")[0] for each in told["views"]] == ["/base/airbyte/page", "/base/airbyte/sync"]
    else:
        assert (told["apps"], told["views"]) == ([], [])


def test_page_can_be_turned_off() -> None:
    told = loaded(AIRFLOW__AIRBYTE_DEFERRABLE__PAGE="False")
    assert (told["apps"], told["views"]) == ([], [])


@pytest.mark.parametrize(("given", "wanted"), [("True", True), ("False", False), ("perhaps", True)])
def test_setting_that_is_none_is_taken_for_its_default(
    given: str, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AIRBYTE_DEFERRABLE__PAGE", given)
    monkeypatch.setattr(page_setting, "CAN_BRING_PAGES", True)
    assert page_is_wanted() is wanted


def test_tab_names_the_task_instance() -> None:
    nav, tab = plugin.views("")
    assert (nav["destination"], nav["href"]) == ("nav", "/airbyte/page")
    assert (tab["destination"], tab["href"].partition("?")[0]) == ("task_instance", "/airbyte/sync")
    for name in ("{DAG_ID}", "{RUN_ID}", "{TASK_ID}", "{MAP_INDEX}"):
        assert name in tab["href"]


@pytest.mark.skipif(not CAN_BRING_PAGES, reason="this Airflow's plugins bring no pages")
async def test_app_is_made_with_its_first_request_and_asks_for_a_user() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    app = plugin.LazyApp()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/page",
        "raw_path": b"/page",
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "state": {},
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 401
