"""What is done once Airflow knows that the task has succeeded.

After a task's ``post_execute`` Airflow may still fail it: when it pushes the return value or renders the map index. Nor
is ``on_success_callback`` late enough everywhere: Airflow 2 calls it before it commits the success. Listeners are told
after that in every Airflow, by the process that has run the task.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from airbyte_deferrable._airflow.task_instance import key_of, task_instance
from airbyte_deferrable._compat import Context


class _Listener:
    """Knows what the one task of this process has to do."""

    def __init__(self) -> None:
        self._due: dict[tuple[Any, ...], Callable[[], None]] = {}

    def expect(self, key: tuple[Any, ...], do: Callable[[], None]) -> None:
        # Of earlier tasks, in a process that runs several, none has anything to do any more.
        self._due = {key: do}

    def on_task_instance_success(self, task_instance: Any) -> None:
        do = self._due.pop(key_of(task_instance), None)
        if do is not None:
            do()


def after_success(context: Context, do: Callable[[], None]) -> None:
    """Do something once Airflow knows that the present try has succeeded, in place of what was to be done before.

    :param do: What to do. Never fails.
    """
    _listener().expect(key_of(task_instance(context)), do)


@cache
def _listener() -> _Listener:
    """Return the one that Airflow tells. Not sooner than there is something to do: no DAG file pays for it."""
    from pluggy import HookimplMarker

    try:
        listeners = import_module("airflow.sdk.listener")
    except ImportError:  # before 3.2
        listeners = import_module("airflow.listeners.listener")
    HookimplMarker("airflow")(_Listener.on_task_instance_success)
    listener = _Listener()
    listeners.get_listener_manager().add_listener(listener)
    return listener
