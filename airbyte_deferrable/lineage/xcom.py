"""A job's streams as an XCom: JSON that stays small, and says what it leaves out."""

from __future__ import annotations

import json
from typing import Any

from airbyte_deferrable.lineage.model import JobStreams

KEY = "streams"
#: Bytes that it may take: MySQL keeps 65,535 of an XCom.
LARGEST = 48_000


def to_xcom(told: JobStreams) -> dict[str, Any]:
    """Return what is told of a job's streams, in ``streams``.

    Where that would be too much it is without columns, and ``left_out`` says so; if it still is, only the first streams
    are there, and ``left_out`` says how many are not.

    :param told: The streams.
    """
    head = {"job_id": told.job_id, "connection_id": told.connection_id}
    rows = [stream.to_json(columns=False) for stream in told.streams]
    room = LARGEST - _size({**head, "streams": [], "left_out": {"columns": True, "streams": len(rows)}})
    if _size(rows) <= LARGEST:
        # Else columns would be put together for nothing.
        whole = {**head, "streams": [stream.to_json() for stream in told.streams]}
        if _size(whole) <= LARGEST:
            return whole
    kept: list[dict[str, Any]] = []
    for row in rows:
        room -= _size(row) + len(", ")
        if room < 0:
            break
        kept.append(row)
    return {**head, "streams": kept, "left_out": {"columns": True, "streams": len(rows) - len(kept)}}


def _size(value: Any) -> int:
    return len(json.dumps(value))
