"""What a PATCH of a connection asks for (``ConnectionUpdateMapper`` of airbyte-platform)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from airbyte_deferrable.simulator import wire
from airbyte_deferrable.simulator.records import Connection
from airbyte_deferrable.simulator.streams import STORED_MODES, Stream

#: What is kept as it comes: the name on the wire, the name here, and the values that there are.
_PLAIN: tuple[tuple[str, str, frozenset[str] | None], ...] = (
    ("name", "name", None),
    ("prefix", "prefix", None),
    ("namespaceFormat", "namespace_format", None),
    ("namespaceDefinition", "namespace_definition", frozenset({"source", "destination", "custom_format"})),
    ("status", "status", frozenset({"active", "inactive", "deprecated", "locked"})),
    (
        "nonBreakingSchemaUpdatesBehavior",
        "schema_changes",
        frozenset({"ignore", "disable_connection", "propagate_columns", "propagate_fully"}),
    ),
)


def read_patch(body: dict[str, Any], connection: Connection) -> dict[str, Any]:
    """Return what :meth:`~airbyte_deferrable.simulator.world.World.change_connection` is to change.

    :param body: What came; null means that nothing is to change.
    :param connection: Of what.
    :raises Refusal: For a value that there is not.
    """
    changes: dict[str, Any] = {}
    for name, here, choices in _PLAIN:
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or (choices is not None and value not in choices):
            raise wire.error_id(422)
        changes[here] = value
    try:
        if (schedule := body.get("schedule")) is not None:
            changes["schedule"] = _schedule(schedule)
        if (tags := body.get("tags")) is not None:
            changes["tags"] = [str(tag["tagId"]) for tag in tags]
        # Airbyte takes an empty list for all that the connection has already.
        if asked := (body.get("configurations") or {}).get("streams"):
            changes["streams"] = _streams(asked, connection.streams)
    except (TypeError, KeyError, AttributeError):
        raise wire.error_id(422) from None
    return changes


def _schedule(asked: dict[str, Any]) -> dict[str, str]:
    kind = asked["scheduleType"]
    if kind not in ("manual", "cron"):
        raise wire.error_id(422)
    if kind == "cron" and not asked.get("cronExpression"):
        raise wire.bad_request("Missing cron expression in the schedule.")
    return {"scheduleType": kind} | ({"cronExpression": str(asked["cronExpression"])} if kind == "cron" else {})


def _streams(asked: list[dict[str, Any]], known: Sequence[Stream]) -> list[Stream]:
    """Select the streams that are asked for, each as it is asked for, and no other."""
    streams = {stream.key: replace(stream, selected=False) for stream in known}
    for each in asked:
        found = [s for s in known if s.name == each["name"] and each.get("namespace") in (None, s.namespace)]
        if not found:
            raise wire.bad_request(f"Invalid stream found. The list of valid streams include: {', '.join(streams)}.")
        streams[found[0].key] = _configured(found[0], each)
    return list(streams.values())


def _configured(stream: Stream, asked: dict[str, Any]) -> Stream:
    changes: dict[str, Any] = {"selected": True}
    if (mode := asked.get("syncMode")) is not None:
        if mode not in STORED_MODES:
            raise wire.error_id(422)
        changes["sync_mode"], changes["destination_sync_mode"] = STORED_MODES[mode]
    if cursor := asked.get("cursorField"):
        changes["cursor"] = cursor[-1]
    if key := asked.get("primaryKey"):
        changes["primary_key"] = [path[-1] for path in key]
    if (fields := asked.get("selectedFields")) is not None:
        changes["selected_columns"] = [each["fieldPath"][0] for each in fields] or None
    return replace(stream, **changes)
