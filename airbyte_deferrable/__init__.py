"""Airbyte syncs in Apache Airflow that hold no worker slot.

The public names are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airbyte_deferrable.hooks import AirbyteHook
    from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
    from airbyte_deferrable.sensors import AirbyteFreshnessSensor, AirbyteJobSensor
    from airbyte_deferrable.triggers import AirbyteSyncTrigger

__version__ = "0.1.0"

__all__ = [
    "AirbyteFreshnessSensor",
    "AirbyteHook",
    "AirbyteJobSensor",
    "AirbyteSyncTrigger",
    "AirbyteTriggerSyncOperator",
    "__version__",
]

_HOMES = {
    "AirbyteFreshnessSensor": "sensors",
    "AirbyteHook": "hooks",
    "AirbyteJobSensor": "sensors",
    "AirbyteSyncTrigger": "triggers",
    "AirbyteTriggerSyncOperator": "operators",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
