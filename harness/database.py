"""The database of an Airflow that is not started: what reads it needs its tables only."""

from __future__ import annotations

import subprocess
import sys

from harness.waiting import IN_VAIN


def make_database() -> None:
    """Make the database of this process' Airflow, or bring it up to date."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True, timeout=IN_VAIN)
