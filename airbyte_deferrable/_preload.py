"""What tasks import, loaded once in the process that forks them instead of once in each task.

Airflow runs a task in a fork of its worker, a worker of the LocalExecutor is a fork of the scheduler, one of Celery's a
fork of its main process. What these have loaded, a task need not load: aiohttp and the certificates of the machine
alone are 0.1 s of CPU, a third of what a sync costs its worker. Airflow's own provider for Celery loads Airflow's
operators so (``on_celery_import_modules``).

It happens right before the first fork of a process that has asked its providers what they are, as every component of
Airflow does at its start. A process that forks nobody, as the ``airflow`` command, pays nothing. A task in a pod of its
own gains nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any

log = logging.getLogger(__name__)

#: Named, not imported: before it is time, not one of them is to be loaded.
MODULES = (
    "airbyte_deferrable.operators",
    "airbyte_deferrable.sensors",
    # Imported with the first request only, so that no DAG file pays for it.
    "aiohttp",
    # With the first token.
    "cryptography.fernet",
)

_arranged = False


def preload_before_forks() -> None:
    """Load what tasks import before this process forks for the first time, unless the setting says no."""
    global _arranged
    # Where there is no fork, as on Windows, there is nothing to gain.
    if not _arranged and hasattr(os, "register_at_fork"):
        _arranged = True
        os.register_at_fork(before=_preload)


def _models(base: type[Any]) -> Iterator[type[Any]]:
    """Yield the models of this package."""
    for model in base.__subclasses__():
        if model.__module__.startswith("airbyte_deferrable."):
            yield model
        yield from _models(model)


_done = False


def _preload() -> None:
    global _done
    if _done:
        return
    _done = True
    try:
        # Airflow is still reading its configuration when it asks what we are, but not when it forks.
        conf = import_module("airbyte_deferrable._compat").conf
        if conf.getboolean("airbyte_deferrable", "preload", fallback=True):
            for module in MODULES:
                import_module(module)
            for model in _models(import_module("pydantic").BaseModel):
                # Pydantic builds what checks them with the first use.
                model.model_rebuild()
    except Exception as error:
        # Each task then loads it for itself, and says what is wrong.
        log.warning("The modules of Airbyte's tasks are not loaded before these are forked: %s", error)
