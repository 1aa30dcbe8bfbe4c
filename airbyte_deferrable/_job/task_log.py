"""What everything here needs of a task's log."""

from __future__ import annotations

from typing import Any, Protocol


class Log(Protocol):
    """A task's log: the standard library's logger in Airflow 2, structlog's in Airflow 3."""

    def info(self, event: str, *args: Any) -> Any:
        """Log a change of state."""

    def warning(self, event: str, *args: Any) -> Any:
        """Log what a user may want to look into."""

    def error(self, event: str, *args: Any) -> Any:
        """Log what failed."""
