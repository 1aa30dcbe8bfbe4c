"""Which ends a trigger of an asset is to tell: what a DAG gives, checked when its file is read."""

from __future__ import annotations

from typing import Any

from airbyte_deferrable._airflow.moment import read_moment
from airbyte_deferrable._airflow.validation import bad, job_types, one_of, seconds, uuid
from airbyte_deferrable._job.ended import SHORTEST_EVENT_INTERVAL, WhichEnds
from airbyte_deferrable._job.selection import ConnectionFilter, InvalidFilter
from airbyte_deferrable._job.watched import WhichConnections
from airbyte_deferrable._watcher.subscriptions import SHORTEST_POLL
from airbyte_deferrable.api.models import TERMINAL
from airbyte_deferrable.exceptions import AirbyteInputError

FASTER_EVENTS = "Of events that come faster, Airflow gives a DAG's run only the first, and the rest to a later one."


def check_ended(trigger: Any) -> WhichEnds:
    """Refuse what cannot work, or can fit nothing, when a DAG's file is read.

    :param trigger: An :class:`~airbyte_deferrable.triggers.AirbyteSyncEndedTrigger`.
    :return: Which ends it is to tell.
    :raises AirbyteInputError: For the first parameter that is none, or if they contradict each other.
    """
    conn_id = trigger.conn_id
    if not isinstance(trigger.asset, str) or not trigger.asset:
        raise bad("asset", trigger.asset, "the name of the asset that has the watcher", conn_id)
    ids, names, statuses = trigger.connection_ids, trigger.connection_names, trigger.statuses
    patterns = [name for name in ("tag", "name_pattern") if getattr(trigger, name) is not None]
    ways = ["connection_ids"] * bool(ids) + ["connection_names"] * bool(names) + patterns[:1]
    if len(ways) != 1 and not (not ways and trigger.workspace_id):
        raise AirbyteInputError(
            "Give one of connection_ids, connection_names, tag (and, or, name_pattern) and workspace_id: "
            + (f"{' and '.join(ways)} are too many." if ways else "none says which connections are watched."),
            conn_id=conn_id,
        )
    if not statuses:
        raise bad("statuses", statuses, f"one or several of {', '.join(sorted(TERMINAL))}", conn_id)
    for each in statuses:
        one_of("statuses", each, sorted(TERMINAL), conn_id)
    for name, shortest, why in (
        ("poll_interval", SHORTEST_POLL, ""),
        ("event_interval", SHORTEST_EVENT_INTERVAL, FASTER_EVENTS),
    ):
        seconds(name, getattr(trigger, name), conn_id)
        if getattr(trigger, name) < shortest:
            raise bad(name, getattr(trigger, name), f"{shortest:g} s or more", conn_id, why)
    workspace = trigger.workspace_id and uuid("workspace_id", trigger.workspace_id, "workspace", conn_id)
    try:
        matching = (
            None
            if ids or names
            else ConnectionFilter(workspace_id=workspace, tag=trigger.tag, name_pattern=trigger.name_pattern)
        )
    except InvalidFilter as error:
        raise AirbyteInputError(str(error), conn_id=conn_id) from None
    return WhichEnds(
        WhichConnections(
            tuple(uuid("connection_ids", each, "connection", conn_id) for each in ids),
            tuple(names),
            workspace,
            matching,
        ),
        frozenset(statuses),
        job_types(trigger.job_types, conn_id),
        None if trigger.since is None else read_moment("since", trigger.since, conn_id),
    )
