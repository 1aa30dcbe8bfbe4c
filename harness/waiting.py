"""How the harness, and what stands on it, waits for something."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds after which something is waited for in vain: what a quiet machine does in ten takes a busy one minutes.
IN_VAIN = 600.0


def eventually(
    condition: Callable[[], object], timeout: float = IN_VAIN, *, what: str = "", interval: float = 0.1
) -> None:
    """Wait until a condition holds.

    :param condition: Called again and again; an error of its own ends the wait, too.
    :param timeout: Seconds.
    :param what: What is waited for, for the message; the condition's name by default.
    :param interval: Seconds between two calls.
    :raises TimeoutError: It does not hold in time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what or getattr(condition, '__name__', condition)}: not within {timeout:g} s")
        time.sleep(interval)
