"""What an Airflow is started with: its own settings, nothing of the user's, nothing that listens to the world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.environment import base_settings, components, environment, reports

HOME = Path("home")


def made(major: int) -> dict[str, str]:
    connections: dict[str, Any] = {
        "airbyte_default": {"conn_type": "airbyte", "login": "me"},
        "other": "http://example.org",
    }
    return environment(HOME, python="bin/python", settings=base_settings(major, HOME, 8), connections=connections)


@pytest.mark.parametrize("major", [2, 3])
def test_nothing_of_the_users_own_airflow_leaks_in(major: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIRFLOW__CORE__EXECUTOR", "AIRFLOW_CONN_MINE", "AIRFLOW_VAR_MINE", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("MY_OWN", "kept")
    found = made(major)
    assert "mine" not in found.values()
    assert (found["MY_OWN"], found["AIRFLOW_HOME"]) == ("kept", "home")
    assert json.loads(found["AIRFLOW_CONN_AIRBYTE_DEFAULT"])["login"] == "me"
    assert found["AIRFLOW_CONN_OTHER"] == "http://example.org"


@pytest.mark.parametrize(("major", "host"), [(2, "AIRFLOW__WEBSERVER__WEB_SERVER_HOST"), (3, "AIRFLOW__API__HOST")])
def test_everybody_is_an_administrator_so_it_listens_on_the_loopback_only(major: int, host: str) -> None:
    assert made(major)[host] == "127.0.0.1"


@pytest.mark.parametrize("major", [2, 3])
def test_secrets_of_each_airflow_are_its_own(major: int) -> None:
    one, other = made(major), made(major)
    secrets = [name for name in one if name.endswith(("FERNET_KEY", "SECRET_KEY", "JWT_SECRET"))]
    assert len(secrets) >= 2
    assert all(one[name] != other[name] for name in secrets)


def test_components_are_those_of_the_release() -> None:
    assert set(components(2, 1)) == {"scheduler", "triggerer", "webserver"}
    assert set(components(3, 2)) == {"scheduler", "triggerer", "triggerer-2", "dag-processor", "api-server"}
    assert reports(3) - reports(2) == {"dag_processor"}
