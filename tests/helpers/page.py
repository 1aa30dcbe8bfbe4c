"""The page's app as Airflow mounts it, asked over HTTP by users with rights of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow.api_fastapi import app as airflow_app
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi import FastAPI
from fastapi.testclient import TestClient

from airbyte_deferrable.page.app import make_api, with_headers
from airbyte_deferrable.page.plugin import PREFIX

#: Files that stand for the page's own.
FILES = {
    "page.html": "<!doctype html><title>Airbyte</title>",
    "sync.html": "<!doctype html><title>Sync</title>",
    "page.js": "'use strict';",
    "page.css": ":root {}",
}


class Browser:
    """Asks the page, as a user or as nobody.

    :param api: The routes.
    """

    def __init__(self, api: FastAPI) -> None:
        self.api = api
        outer = FastAPI()
        outer.mount(PREFIX, with_headers(api))
        self._http = TestClient(outer, base_url="http://localhost", raise_server_exceptions=False)

    def get(self, path: str, user: str | None = "all", *, method: str = "GET", **params: Any) -> Any:
        """Ask, and return the answer.

        :param path: Below the page's own.
        :param user: Who asks; None for nobody.
        """
        cookies = {"_token": token(user)} if user is not None else {}
        cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())} if cookies else {}
        return self._http.request(method, PREFIX + path, params=params, headers=cookie)

    def syncs(self, user: str = "all") -> Mapping[str, Any]:
        """Return what the page shows."""
        answer = self.get("/api/syncs", user)
        assert answer.status_code == 200, answer.text
        told: Mapping[str, Any] = answer.json()
        return told


def token(user: str) -> str:
    """Return what a user who is logged in has in a cookie."""
    return str(airflow_app.get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=user, role="viewer")))


@contextmanager
def browsers(monkeypatch: pytest.MonkeyPatch, static: Path) -> Iterator[Browser]:
    """Let the page be asked, with files of the test's own."""
    static.mkdir()
    for name, text in FILES.items():
        (static / name).write_text(text)
    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "helpers.rights.RightsByDag")
    airflow_app.purge_cached_app()
    airflow_app.init_auth_manager()
    try:
        yield Browser(make_api(static))
    finally:
        airflow_app.purge_cached_app()
