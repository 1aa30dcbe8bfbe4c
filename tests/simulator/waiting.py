"""Wait for what will happen."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object]) -> None:
    """Return when a condition holds; the test's own timeout ends a wait that is in vain."""
    while not condition():
        time.sleep(0.01)
