"""What any trigger costs: one that only sleeps."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent


class SleepingTrigger(BaseTrigger):
    """Looks at the clock at each poll, until its time has come.

    :param end_time: When that is, seconds since the epoch.
    :param poll_interval: Seconds.
    :param ignored: What other triggers need to know.
    """

    def __init__(self, end_time: float, poll_interval: float, **ignored: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.end_time = end_time
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments."""
        arguments = {"end_time": self.end_time, "poll_interval": self.poll_interval}
        return f"{self.__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep, and yield one event."""
        while time.time() < self.end_time:
            await asyncio.sleep(self.poll_interval)
        yield TriggerEvent({"status": "success"})


class SleepingUntilToldTrigger(BaseTrigger):
    """Sleeps until a file says when to wake: ``[first, seconds apart]``, for a task in a real Airflow.

    :param file: The file; it need not be there yet.
    :param number: Which sleeper this is.
    :param poll_interval: Seconds.
    """

    def __init__(self, file: str, number: int, poll_interval: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.file = file
        self.number = number
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments."""
        arguments = {"file": self.file, "number": self.number, "poll_interval": self.poll_interval}
        return f"{self.__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep, and yield one event."""
        while time.time() < self._wakes_at():
            await asyncio.sleep(self.poll_interval)
        yield TriggerEvent({"status": "success"})

    def _wakes_at(self) -> float:
        # One small look a poll, so short that it may be in the event loop.
        try:
            first, apart = json.loads(Path(self.file).read_text())
        except FileNotFoundError:
            return float("inf")
        return float(first + apart * self.number)
