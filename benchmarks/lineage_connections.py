"""What the DAG of :mod:`benchmarks.lineage` and its simulator have in common."""

from __future__ import annotations

from typing import Any

#: By the number of its streams, an Airbyte connection.
CONNECTIONS = {1: "a1b7e000-0000-4000-8000-00000000001a", 1000: "a1b7e000-0000-4000-8000-00000000001b"}
#: By a task's name, what it tells of streams.
WAYS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "xcom": {"push_streams": True},
    "moved": {"stream_assets": "moved"},
    "all": {"stream_assets": "all"},
}
