"""Who may see what of the page: nobody without a login anything, and each user only what is of a readable DAG."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.routing import Route

from harness import rows
from helpers.page import FILES, Browser
from helpers.page_rows import CONN, deferred, ended, failed, record
from helpers.rights import WITHOUT

NOBODY: Any = None


def paths(browser: Browser) -> list[str]:
    """Return a path for each route that there is, and for some that are none."""
    found = []
    for route in browser.api.routes:
        assert isinstance(route, Route), f"{route} is no route: what asks for a user there?"
        found.append(route.path.replace("{name}", "page.js").replace("{path:path}", "no/such/page"))
    return [*found, *(f"/static/{name}" for name in FILES), "/docs", "/openapi.json", "/redoc", "/"]


def test_nobody_without_a_login_gets_anything_from_any_route(browser: Browser) -> None:
    rows.write([deferred(), ended(dag_id="orders")])
    asked = paths(browser)
    assert len(asked) > 8
    for path in asked:
        answer = browser.get(path, NOBODY, dag_id="orders", run_id=rows.RUN, task_id="sync")
        assert (path, answer.status_code) == (path, 401)
        assert set(answer.json()) == {"detail"}


def test_forged_login_gets_nothing(browser: Browser) -> None:
    for path in paths(browser):
        answer = browser._http.get(f"/airbyte{path}", headers={"Cookie": "_token=forged"})
        assert (path, answer.status_code) == (path, 403)


def test_no_route_does_anything_but_read(browser: Browser) -> None:
    for route in browser.api.routes:
        assert isinstance(route, Route)
        assert route.methods is not None
        assert route.methods <= {"GET", "HEAD"}, route.path
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in ("/page", "/api/syncs", "/no/such/page"):
            assert browser.get(path, method=method).status_code == 405


def test_user_sees_only_what_is_of_a_readable_dag(browser: Browser) -> None:
    rows.write(
        [deferred(dag_id=each, conn_id=f"airbyte_{each}") for each in ("orders", "secret")]
        + [ended(dag_id=each, task_id="done") for each in ("orders", "secret")]
        + [failed(dag_id=each, task_id="gone") for each in ("orders", "secret")],
        record(conn_ids=("airbyte_orders",)) | record(process="other", conn_ids=("airbyte_secret",)),
    )
    told = browser.syncs("orders")
    assert {row["dag_id"] for row in (*told["running"], *told["ended"])} == {"orders"}
    assert [each["conn_id"] for each in told["health"]] == ["airbyte_orders"]
    assert (told["running_left_out"], told["ended_left_out"]) == (0, 0)
    assert "secret" not in browser.get("/api/syncs", "orders").text
    everything = browser.syncs("all")
    assert len(everything["running"]) == 2
    assert len(everything["ended"]) == 4
    assert {each["conn_id"] for each in everything["health"]} == {"airbyte_orders", "airbyte_secret"}
    assert browser.syncs("another_dag")["health"] == []


def test_one_sync_is_shown_only_to_readers_of_its_dag(browser: Browser) -> None:
    rows.write([deferred()])
    which = {"dag_id": "orders", "run_id": rows.RUN, "task_id": "sync"}
    assert browser.get("/api/sync", "orders", **which).json()["ours"] is True
    refused = browser.get("/api/sync", "another_dag", **which)
    absent = browser.get("/api/sync", "orders", **{**which, "task_id": "absent"})
    assert (refused.status_code, refused.json()) == (absent.status_code, absent.json())
    assert refused.status_code == 404


@pytest.mark.parametrize("user", WITHOUT)
def test_user_without_the_right_to_tasks_or_to_their_xcoms_sees_nothing(browser: Browser, user: str) -> None:
    rows.write([deferred()])
    assert browser.get("/api/syncs", user).status_code == 403
    assert browser.get("/api/syncs", user, dag_id="orders").status_code == 403
    assert browser.get("/api/sync", user, dag_id="orders", run_id=rows.RUN, task_id="sync").status_code == 404


@pytest.mark.parametrize("user", [None, "all"])
def test_every_answer_keeps_the_browser_from_harm(browser: Browser, user: str | None) -> None:
    for path in paths(browser):
        headers = browser.get(path, user).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] in ("no-store", "private, no-cache")
        assert headers["content-type"].partition(";")[0] in (
            *("text/html", "text/javascript", "text/css", "application/json"),
        )
    assert browser.get("/api/syncs", user).headers["cache-control"] == "no-store"


def test_files_are_those_of_the_page_and_no_others(browser: Browser) -> None:
    assert browser.get("/page").text == FILES["page.html"]
    assert browser.get("/sync").text == FILES["sync.html"]
    assert browser.get("/static/page.css").headers["content-type"] == "text/css; charset=utf-8"
    for name in ("..%2fapp.py", "../app.py", "%2e%2e/app.py", "app.py", "nothing.js"):
        assert browser.get(f"/static/{name}").status_code in (401, 404), name


def test_error_tells_nothing_of_itself(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*asked: Any) -> Any:
        raise RuntimeError("postgresql://airflow:s3cret@db/airflow is down")

    monkeypatch.setattr("airbyte_deferrable.page.overview.create_session", break_down)
    answer = browser.get("/api/syncs")
    assert answer.status_code == 500
    assert set(answer.json()) == {"detail"}
    assert "s3cret" not in answer.text
    assert "content-security-policy" in answer.headers


def test_arguments_of_triggers_that_the_page_does_not_need_stay_where_they_are(browser: Browser) -> None:
    rows.write([deferred(more={"password": "s3cret", "api_version": "v1"})])
    assert CONN in browser.get("/api/syncs").text
    assert "s3cret" not in browser.get("/api/syncs").text
    one = browser.get("/api/sync", dag_id="orders", run_id=rows.RUN, task_id="sync")
    assert "s3cret" not in one.text


def test_address_that_is_a_script_is_not_handed_on(browser: Browser) -> None:
    rows.write([deferred(xcoms={"airbyte_job_url": "javascript:alert(1)"})])
    (row,) = browser.syncs()["running"]
    assert row["airbyte_url"] is None
