"""The triggers: what waits in the triggerer, and the arguments with which Airflow stores it.

Each is imported when it is first used: a worker needs one of them, and pays for what it imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airbyte_deferrable._airflow.results import read_event
    from airbyte_deferrable._job.events import Event
    from airbyte_deferrable.triggers.ended import AirbyteSyncEndedTrigger
    from airbyte_deferrable.triggers.freshness import AirbyteFreshnessTrigger
    from airbyte_deferrable.triggers.queue import AirbyteQueueTrigger
    from airbyte_deferrable.triggers.sync import AirbyteSyncTrigger

__all__ = [
    "AirbyteFreshnessTrigger",
    "AirbyteQueueTrigger",
    "AirbyteSyncEndedTrigger",
    "AirbyteSyncTrigger",
    "Event",
    "read_event",
]

_HOMES = {
    "AirbyteFreshnessTrigger": "triggers.freshness",
    "AirbyteQueueTrigger": "triggers.queue",
    "AirbyteSyncEndedTrigger": "triggers.ended",
    "AirbyteSyncTrigger": "triggers.sync",
    "Event": "_job.events",
    "read_event": "_airflow.results",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"airbyte_deferrable.{_HOMES[name]}"), name)
