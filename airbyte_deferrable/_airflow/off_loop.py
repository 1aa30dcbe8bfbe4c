"""What would hold the triggerer's event loop, done beside it: blocking calls, log lines, the garbage collector.

Airflow 3's triggerer hands each log line to its supervisor through a socket, and whoever writes waits while that is
full. In the event loop this stops all triggers; and for good if the supervisor, just then, sends more triggers than the
loop's own socket holds: it waits for the loop to take them, and the loop for it to take the line. A triggerer that took
a thousand waiting tasks over was seen to hang so.

A full collection of garbage holds the event loop while it goes through all objects of the process. Of Airflow's own
there are 180,000 before the first trigger runs, and nearly all stay until the process ends.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

from airbyte_deferrable._compat import conf
from airbyte_deferrable._job.task_log import Log

#: Seconds that a trigger waits for its last lines before it ends: after its end Airflow closes the task's log.
WRITTEN_WITHIN = 1.0

log = logging.getLogger(__name__)

T = TypeVar("T")

#: One thread, so that lines keep their order.
_writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="airbyte-log")
#: The line that was handed to it last: the others are written before.
_last: Future[None] | None = None
#: Whether the collector leaves out what Airflow has loaded, or the setting was found to say no.
_frozen = False


async def in_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run blocking Airflow code beside the event loop, safely for triggers.

    The shield is what keeps Airflow alive: on 3.0 and 3.1, cancelling a trigger while it awaits a call to its
    supervisor kills the whole triggerer ("Response read out of order"), and on 3.3 it makes Airflow forget
    ``on_kill`` (asgiref drops the message of the cancellation).
    """
    call = asyncio.ensure_future(sync_to_async(function)(*args, **kwargs))
    # Nobody may be left to take the result of a call whose trigger was cancelled.
    call.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    return await asyncio.shield(call)


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
        """Log what a user may want to look into.

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


def freeze_what_is_loaded() -> None:
    """Have the garbage collector leave out what there is by now, once a process, unless the setting says no.

    References are counted as before, so only what is unused by now and refers to itself is never freed. A collection
    that would free it first is left to Airflow: it would be the long pause that is to be avoided.
    """
    global _frozen
    if _frozen:
        return
    _frozen = True
    if _freeze_is_wanted():
        gc.freeze()


def _freeze_is_wanted() -> bool:
    try:
        return bool(conf.getboolean("airbyte_deferrable", "gc_freeze", fallback=True))
    except Exception as error:
        # Each Airflow has its own error for a value that is none, and no sync is to fail by it.
        log.warning("The setting gc_freeze is taken for True: %s", error)
        return True


def _submit(method: Callable[..., Any], event: str, args: tuple[Any, ...]) -> None:
    global _last
    _last = _writer.submit(copy_context().run, _write, method, event, args)


def _write(method: Callable[..., Any], event: str, args: tuple[Any, ...]) -> None:
    method(event, *args)
