"""The database of an Airflow that is not started: what reads it needs its tables only."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.waiting import IN_VAIN


def make_database() -> None:
    """Make the database of this process' Airflow, or bring it up to date."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True, timeout=IN_VAIN)


@contextmanager
def statements() -> Iterator[list[str]]:
    """Note the statements that are sent to it meanwhile."""
    # It reads Airflow's settings, which not all who make the database have made by then.
    from airflow import settings
    from sqlalchemy import event

    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        sent.append(statement)

    event.listen(settings.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(settings.engine, "before_cursor_execute", note)
