"""One sync of one task: how it stands or how it ended, its story, its attempts and its streams."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from airbyte_deferrable.page import airflow_models
from airbyte_deferrable.page.airflow_models import JOB, STREAMS, Ended, Task, Waiting
from airbyte_deferrable.page.rows import attempts, ended_row, is_ours, job_of, running_row, story, streams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airbyte_deferrable.page.told import Record
    from airbyte_deferrable.page.usual import Usual

#: States of a task that waits for nothing any more; in any other it does, or is about to go on.
OVER = frozenset({"success", "failed", "skipped", "up_for_retry", "upstream_failed", "removed"})


class Key(NamedTuple):
    """A task instance, as a browser names it.

    :param dag_id: The DAG.
    :param run_id: The run. Airflow 3.1 does not encode it, so that a ``+`` in it may arrive as a space.
    :param task_id: The task.
    :param map_index: Which instance of a mapped task. What is no number stands for a task that is not mapped: Airflow
        leaves its placeholder there.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: str

    def candidates(self) -> list[tuple[str, str, str, int]]:
        """Return which task instances may be meant, the likeliest first."""
        try:
            map_index = max(-1, int(self.map_index))
        except ValueError:
            map_index = -1
        run_ids = dict.fromkeys((self.run_id, self.run_id.replace(" ", "+")))
        return [(self.dag_id, run_id, self.task_id, map_index) for run_id in run_ids]


def sync_of(session: Any, record: Record, usual: Mapping[str, Usual], key: Key, now: float) -> dict[str, Any] | None:
    """Return what there is to say of a task's sync, as the browser wants it.

    :param session: Of the database.
    :param record: What triggerers have told.
    :param usual: How long syncs take, by connection.
    :param key: The task instance.
    :param now: Seconds since the epoch.
    :return: None if there is no such task instance.
    """
    for candidate in key.candidates():
        found = airflow_models.one(session, candidate)
        if found is not None:
            break
    else:
        return None
    task, xcoms, trigger, arguments = found
    if not is_ours(task, trigger, xcoms):
        return {"ours": False}
    row = _row(task, xcoms, trigger, arguments, record, usual, now)
    rows, left_out = streams(xcoms.get(STREAMS))
    return {
        "ours": True,
        "sync": row,
        "story": story(task, airflow_models.earlier_tries(session, task.key), row, xcoms),
        "attempts": attempts(row),
        "streams": rows,
        "streams_left_out": left_out,
    }


def _row(
    task: Task,
    xcoms: dict[str, Any],
    trigger: str,
    arguments: Any,
    record: Record,
    usual: Mapping[str, Usual],
    now: float,
) -> dict[str, Any]:
    # Also one that a user has ended while it waited, or that leaves no XCom of its end, waits for nothing any more.
    if task.state not in OVER:
        waiting = Waiting(task, trigger, arguments, xcoms, arguments)
        return {**running_row(waiting, record, usual, now), "ended": False}
    job = job_of(xcoms.get(JOB))
    noted_at = task.ended_at or (job.updated_at if job else None) or datetime.fromtimestamp(now, tz=timezone.utc)
    return {**ended_row(Ended(task, noted_at, xcoms, arguments), record, usual), "ended": True}
