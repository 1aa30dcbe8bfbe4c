"""How moments, spans and paths are written for the browser."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote


def moment(when: datetime | float | None) -> str | None:
    """Return a moment in ISO 8601, in UTC; None for none.

    :param when: The moment, or seconds since the epoch.
    """
    if when is None:
        return None
    if not isinstance(when, datetime):
        when = datetime.fromtimestamp(when, tz=timezone.utc)
    elif when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    text = when.astimezone(timezone.utc).isoformat(timespec="seconds")
    return f"{text.removesuffix('+00:00')}Z"


def task_path(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    """Return where Airflow's web pages show a task instance, below their own address.

    :param dag_id: The DAG.
    :param run_id: The run.
    :param task_id: The task.
    :param map_index: Which instance of a mapped task; -1 for a task that is not.
    """
    dag, run, task = (quote(each, safe="") for each in (dag_id, run_id, task_id))
    mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
    return f"/dags/{dag}/runs/{run}/tasks/{task}{mapped}"


def web_address(found: Any) -> str | None:
    """Return an address that a browser may be sent to; None for what is none, such as a script.

    :param found: What was found.
    """
    return found if isinstance(found, str) and found.startswith(("http://", "https://")) else None


def number(found: Any) -> float | int | None:
    """Return a number that is one; None for anything else.

    :param found: What was found.
    """
    # JSON knows no infinity.
    return found if isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found) else None


def text(found: Any) -> str | None:
    """Return a text that says something; None for anything else.

    :param found: What was found.
    """
    return found if isinstance(found, str) and found else None
