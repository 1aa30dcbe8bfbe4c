"""A task's log in the triggerer, written beside the event loop.

Airflow 3's triggerer hands each line to its supervisor through a socket, and who writes waits while that is full. In
the event loop this stops all triggers; and for good if the supervisor, just then, sends more triggers than the loop's
own socket holds: it waits for the loop to take them, and the loop for it to take the line. A triggerer that took a
thousand waiting tasks over was seen to hang so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Protocol

#: Seconds that a trigger waits for its last lines before it ends: after its end Airflow closes the task's log.
WRITTEN_WITHIN = 1.0

#: One thread, so that lines keep their order.
_writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="airbyte-log")
#: The line that was handed to it last: the others are written before.
_last: Future[None] | None = None


class Log(Protocol):
    """A task's log: the standard library's logger in Airflow 2, structlog's in Airflow 3."""

    def info(self, event: str, *args: Any) -> Any:
        """Log a change of state."""

    def warning(self, event: str, *args: Any) -> Any:
        """Log what somebody may want to look into."""

    def error(self, event: str, *args: Any) -> Any:
        """Log what failed."""


class TaskLog:
    """Takes a task's lines without waiting until they are written.

    :param log: Where they go. Airflow finds the task of a line by the context of the trigger that writes it.
    """

    __slots__ = ("_log",)

    def __init__(self, log: Log) -> None:
        self._log = log

    def info(self, event: str, *args: Any) -> None:
        """Log a change of state.

        :param event: The line, with places as in :mod:`logging`.
        """
        _submit(self._log.info, event, args)

    def warning(self, event: str, *args: Any) -> None:
        """Log what somebody may want to look into.

        :param event: The line, with places as in :mod:`logging`.
        """
        _submit(self._log.warning, event, args)

    def error(self, event: str, *args: Any) -> None:
        """Log what failed.

        :param event: The line, with places as in :mod:`logging`.
        """
        _submit(self._log.error, event, args)


async def all_written() -> None:
    """Wait until all lines so far are written, but not for long."""
    last = _last
    if last is not None and not last.done():
        await asyncio.wait({asyncio.wrap_future(last)}, timeout=WRITTEN_WITHIN)


def _submit(method: Callable[..., Any], event: str, args: tuple[Any, ...]) -> None:
    global _last
    _last = _writer.submit(copy_context().run, _write, method, event, args)


def _write(method: Callable[..., Any], event: str, args: tuple[Any, ...]) -> None:
    method(event, *args)
