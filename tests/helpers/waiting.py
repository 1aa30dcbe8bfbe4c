"""Wait for what will happen; the test's own timeout ends a wait that is in vain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


def wait_until(happened: Callable[[], object]) -> None:
    """Return when a condition holds."""
    while not happened():
        time.sleep(0.01)


async def until(happened: Callable[[], object]) -> None:
    """Return when a condition holds, and let the event loop run meanwhile."""
    while not happened():
        await asyncio.sleep(0.01)
