"""What is done once Airflow knows that the task has ended, and will not be tried again by itself.

After a task's ``post_execute`` Airflow may still fail it: when it pushes the return value or renders the map index. Nor
is ``on_success_callback`` late enough everywhere: Airflow 2 calls it before it commits the success. Listeners are told
after that in every Airflow, by the process that has run the task.

That a task is skipped, listeners are told only from Airflow 3.2 on, and that it fails they are also told before a
retry. But each Airflow notes the end in the task instance, and tells them last of all that the process stops.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from airbyte_deferrable._airflow.task_instance import key_of, task_instance
from airbyte_deferrable._compat import Context

#: Where a task is skipped, or fails although it has tries left, as by an AirflowFailException.
WITHOUT_SUCCESS = ("skipped", "failed")


class _Due(NamedTuple):
    """What is to be done, and of which task."""

    ti: Any
    success: Callable[[], None]
    other_end: Callable[[], None]


class _Listener:
    """Knows what the one task of this process has to do."""

    def __init__(self) -> None:
        self._due: _Due | None = None

    def expect(self, due: _Due) -> None:
        # Of earlier tasks, in a process that runs several, none has anything to do any more.
        self._due = due

    def on_task_instance_success(self, task_instance: Any) -> None:
        due = self._due
        if due is not None and key_of(due.ti) == key_of(task_instance):
            self._due = None
            due.success()

    def before_stopping(self) -> None:
        due, self._due = self._due, None
        state = getattr(due.ti, "state", None) if due is not None else None
        if due is not None and getattr(state, "value", state) in WITHOUT_SUCCESS:
            due.other_end()


def after_end(context: Context, success: Callable[[], None], other_end: Callable[[], None]) -> None:
    """Do something once Airflow knows that the present try has ended the task, in place of what was to be done before.

    :param success: What to do when it has succeeded. Never fails.
    :param other_end: What to do when it was skipped, or has failed for good, also by a user. Never fails.
    """
    _listener().expect(_Due(task_instance(context), success, other_end))


@cache
def _listener() -> _Listener:
    """Return the one that Airflow tells. Not sooner than there is something to do: no DAG file pays for it."""
    from pluggy import HookimplMarker

    try:
        listeners = import_module("airflow.sdk.listener")
    except ImportError:  # before 3.2
        listeners = import_module("airflow.listeners.listener")
    for told in (_Listener.on_task_instance_success, _Listener.before_stopping):
        HookimplMarker("airflow")(told)
    listener = _Listener()
    listeners.get_listener_manager().add_listener(listener)
    return listener
