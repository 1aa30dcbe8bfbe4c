"""Which tables a job filled, and with how much: as XCom, as asset events and as OpenLineage's datasets.

The public names are imported when they are first used: a task whose streams nobody wants to know pays for none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airbyte_deferrable.lineage.asset_events import stream_alias
    from airbyte_deferrable.lineage.model import Column, Dataset, JobStream, JobStreams

__all__ = ["Column", "Dataset", "JobStream", "JobStreams", "stream_alias"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "asset_events" if name == "stream_alias" else "model"
    return getattr(import_module(f"{__name__}.{home}"), name)
