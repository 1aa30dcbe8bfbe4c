"""Short pauses of Python's garbage collector in a triggerer, however much Airflow has loaded there.

A full collection holds the event loop while it goes through all objects of the process. Of Airflow's own there are
180,000 before the first trigger runs, and nearly all stay until the process ends.
"""

from __future__ import annotations

import gc
import logging

from airbyte_deferrable._compat import conf

log = logging.getLogger(__name__)

_frozen = False


def freeze_what_is_loaded() -> None:
    """Have the collector leave out what there is by now, once a process, unless the setting says no.

    References are counted as before, so only what is unused by now and refers to itself is never freed. A collection
    that would free it first is left to Airflow: it would be the long pause that is to be avoided.
    """
    global _frozen
    if _frozen:
        return
    _frozen = True
    if _wanted():
        gc.freeze()


def _wanted() -> bool:
    try:
        return bool(conf.getboolean("airbyte_deferrable", "gc_freeze", fallback=True))
    except Exception as error:
        # Each Airflow has its own error for a value that is none, and no sync is to fail by it.
        log.warning("The setting gc_freeze is taken for True: %s", error)
        return True
