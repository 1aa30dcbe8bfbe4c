"""Airflow's Variables: what outlives tries and triggers where an Airflow has no store of its own for that."""

from __future__ import annotations

from typing import Any


def variables() -> Any:
    """Return what reads and writes them. Imported when it is wanted: most tasks never need one."""
    try:
        from airflow.sdk import Variable
    except ImportError:  # 2.11
        from airflow.models import Variable
    return Variable
