"""What an Airflow is started with: its components, and the environment variables of all of them. Airflow 2.11 and 3."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Mapping
from json import dumps
from pathlib import Path
from typing import Any

from harness.loopback import LOOPBACK
from harness.rest import PAGE

#: Seconds for which SQLite lets writers wait for each other. Python's default of 5 is short for a start, and for as
#: long Airflow 3's API server can stand still: it writes down what a user does inside its event loop, and a heartbeat
#: that has the lock needs that loop to let it go.
LOCKED = 15
#: Airflow 2's way to say that everybody is an administrator, without logging in.
WEBSERVER_CONFIG = 'AUTH_ROLE_PUBLIC = "Admin"\nWTF_CSRF_ENABLED = False\n'


def components(major: int, triggerers: int) -> dict[str, list[str]]:
    """Return the components by name, each with the arguments of Airflow's command line.

    :param major: Airflow's major version.
    :param triggerers: How many triggerers.
    """
    commands = {"scheduler": ["scheduler", "--skip-serve-logs"]}
    for number in range(1, triggerers + 1):
        name = "triggerer" if number == 1 else f"triggerer-{number}"
        commands[name] = ["triggerer", "--skip-serve-logs"]
    if major >= 3:
        return {**commands, "dag-processor": ["dag-processor"], "api-server": ["api-server"]}
    return {**commands, "webserver": ["webserver"]}


def reports(major: int) -> set[str]:
    """Return what has to be healthy before an Airflow can be used, as its health report calls it.

    :param major: Airflow's major version.
    """
    return {"metadatabase", "scheduler", "triggerer"} | ({"dag_processor"} if major >= 3 else set())


def environment(
    home: Path,
    *,
    python: str,
    settings: Mapping[str, str],
    connections: Mapping[str, Mapping[str, Any] | str],
) -> dict[str, str]:
    """Return the whole environment of every component.

    :param home: Airflow's home.
    :param python: The interpreter whose Airflow it is.
    :param settings: Airflow's settings, by section and name: ``{"CORE__EXECUTOR": "LocalExecutor"}``.
    :param connections: Airflow connections by id, each a URI or a dictionary (``conn_type``, ``host``, ...).
    """
    inherited = dict(os.environ)
    for name in os.environ:
        # Nothing of the user's own Airflow may leak in: neither its settings nor its connections and variables. And
        # with the other one, which containers like to set, each of hundreds of processes compiles all that it imports.
        if name.startswith("AIRFLOW_") or name == "PYTHONDONTWRITEBYTECODE":
            del inherited[name]
    return {
        **inherited,
        "PATH": os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), LOOPBACK, "localhost"])),
        # macOS kills forked children that use its frameworks, as Airflow's workers do when they look for proxies.
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
        "AIRFLOW_HOME": str(home),
        **as_variables(settings),
        **{
            f"AIRFLOW_CONN_{conn_id.upper()}": value if isinstance(value, str) else dumps(value)
            for conn_id, value in connections.items()
        },
    }


def as_variables(settings: Mapping[str, str]) -> dict[str, str]:
    """Return Airflow's settings (section and name) as environment variables."""
    return {f"AIRFLOW__{name}": value for name, value in settings.items()}


def base_settings(major: int, home: Path, port: int) -> dict[str, str]:
    """Return the settings that every Airflow here has: quick, quiet, and open to whoever is on this machine.

    :param major: Airflow's major version.
    :param home: Airflow's home.
    :param port: Where its API server (Airflow 2: its webserver) listens.
    """
    url = f"http://{LOOPBACK}:{port}"
    settings = {
        "API__MAXIMUM_PAGE_LIMIT": str(PAGE),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__MAX_ACTIVE_TASKS_PER_DAG": "1000",
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    if major >= 3:
        return settings | {
            "API__HOST": LOOPBACK,
            "API__PORT": str(port),
            "API__BASE_URL": url,
            "API__WORKERS": "1",
            "API__SECRET_KEY": secrets.token_hex(16),
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        }
    return settings | {
        "WEBSERVER__WEB_SERVER_HOST": LOOPBACK,
        "WEBSERVER__WEB_SERVER_PORT": str(port),
        "WEBSERVER__BASE_URL": url,
        "WEBSERVER__WORKERS": "1",
        "WEBSERVER__SECRET_KEY": secrets.token_hex(16),
        "API__AUTH_BACKENDS": "airflow.api.auth.backend.default",
        "SCHEDULER__PARSING_PROCESSES": "1",
    }
