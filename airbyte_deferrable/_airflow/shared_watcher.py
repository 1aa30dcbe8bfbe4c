"""The watcher that all triggers of this triggerer share, which counts in Airflow's metrics."""

from __future__ import annotations

from contextlib import suppress

from airbyte_deferrable._airflow.off_loop import in_thread
from airbyte_deferrable._airflow.page_writer import write_for_the_page
from airbyte_deferrable._compat import Stats
from airbyte_deferrable._watcher.loop import JobWatcher, watcher_for
from airbyte_deferrable.api.aio import Shared
from airbyte_deferrable.api.settings import Settings

#: Whether Airflow's metrics have been used once in this process.
_metrics_opened = False


async def shared_watcher(settings: Settings) -> JobWatcher:
    """Return the watcher of this Airbyte in this event loop.

    The first metric of a process reads a file and looks its server up (60 ms were measured): not in the event loop.
    """
    if not _metrics_opened:
        await _open_metrics_once()
    write_for_the_page()
    return opened_watcher(settings)


def opened_watcher(settings: Settings) -> JobWatcher:
    """Return the same, once :func:`shared_watcher` has returned one."""
    return watcher_for(settings, metrics=Stats)


def _open_metrics() -> None:
    global _metrics_opened
    with suppress(Exception):
        Stats.incr("airbyte_deferrable.sweeps", 0)
    _metrics_opened = True


_open_metrics_once = Shared(lambda: in_thread(_open_metrics))
