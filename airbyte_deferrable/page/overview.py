"""All syncs of this Airflow, read once in some seconds for all who look, and cut to what each of them may see."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple, TypeVar

from airflow.utils.session import create_session

from airbyte_deferrable.page import airflow_models
from airbyte_deferrable.page.airflow_models import Ended, Reader, Waiting
from airbyte_deferrable.page.cached import Cached
from airbyte_deferrable.page.rows import ended_row, running_row
from airbyte_deferrable.page.told import Record
from airbyte_deferrable.page.usual import Usual, usual_spans
from airbyte_deferrable.page.wire import moment

Of = TypeVar("Of", Waiting, Ended)

#: Seconds between two refreshes of a page that is open.
REFRESH = 10
#: Seconds for which what was read is shown to all who look.
FRESH_FOR = 5.0
#: Seconds for which it is kept how long syncs usually take: one more changes little.
USUAL_FOR = 300.0
#: What has ended is shown for so long.
ENDED_FOR = timedelta(hours=24)
#: A user is shown so many rows at most: those that run longest, and those that ended last.
MOST_RUNNING = 3000
MOST_ENDED = 2000

log = logging.getLogger(__name__)


class Row(NamedTuple):
    """A row of the page.

    :param dag_id: The DAG, whose readers may see it.
    :param text: The row as JSON: made once, not once for each who looks.
    """

    dag_id: str
    text: str


@dataclass(frozen=True)
class Overview:
    """What was read at one moment.

    :param made_at: When, seconds since the epoch.
    :param running: The syncs that tasks wait for, those that have run longest first.
    :param ended: Those that have ended, the last one first.
    :param record: What triggerers have told.
    :param conn_ids: Which Airflow connections the syncs of each DAG use.
    """

    made_at: float
    running: Sequence[Row]
    ended: Sequence[Row]
    record: Record
    conn_ids: AbstractSet[tuple[str, str]]

    def for_user(self, dag_ids: AbstractSet[str], may_see_connection: Callable[[str], bool], now: float) -> str:
        """Return what a user may see, as JSON.

        :param dag_ids: The DAGs that the user may read.
        :param may_see_connection: Whether the user may read an Airflow connection. Those of the rows that the user
            sees are no secret: the rows name them.
        :param now: Seconds since the epoch.
        """
        seen = {conn_id for dag_id, conn_id in self.conn_ids if dag_id in dag_ids}
        health = [each for each in self.record.health if each["conn_id"] in seen or may_see_connection(each["conn_id"])]
        head = {"now": moment(now), "refresh_seconds": REFRESH, "made_at": moment(self.made_at), "health": health}
        running, running_left_out = _cut(self.running, dag_ids, MOST_RUNNING)
        ended, ended_left_out = _cut(self.ended, dag_ids, MOST_ENDED)
        return (
            f"{json.dumps(head)[:-1]}, "
            f'"running": {running}, "running_left_out": {running_left_out}, '
            f'"ended": {ended}, "ended_left_out": {ended_left_out}}}'
        )


class Overviews:
    """Makes overviews, no more often than need be.

    :param now: Returns the time, seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._reader = Reader()
        self._usual: Cached[dict[str, Usual]] = Cached(self._read_usual, USUAL_FOR)
        self._overview: Cached[Overview] = Cached(self._read, FRESH_FOR)

    def overview(self) -> Overview:
        """Return how all syncs stand, or stood some seconds ago."""
        return self._overview.get()

    def usual(self) -> dict[str, Usual]:
        """Return how long the syncs of each connection take."""
        return self._usual.get()

    def _read_usual(self) -> dict[str, Usual]:
        with create_session() as session:
            return usual_spans(airflow_models.newest_jobs(session))

    def _read(self) -> Overview:
        usual, now = self.usual(), self._now()
        with create_session() as session:
            waiting = self._reader.waiting(session)
            ended = airflow_models.ended(session, datetime.fromtimestamp(now, tz=timezone.utc) - ENDED_FOR)
            record = Record(airflow_models.records(session), now)
        wait = {each.task.key for each in waiting}
        running_rows = _made(lambda each: running_row(each, record, usual, now), waiting)
        ended_rows = _made(
            lambda each: ended_row(each, record, usual), [each for each in ended if each.task.key not in wait]
        )
        running_rows.sort(key=lambda row: row["since"] or "")
        ended_rows.sort(key=lambda row: row["ended_at"] or "", reverse=True)
        used = {(row["dag_id"], row["conn_id"]) for row in (*running_rows, *ended_rows) if row["conn_id"]}
        return Overview(now, _texts(running_rows), _texts(ended_rows), record, used)


def _made(make: Callable[[Of], dict[str, Any]], each_of: Iterable[Of]) -> list[dict[str, Any]]:
    """Return a row for each; without those that cannot be made, which cost nobody the others.

    Whoever may write a DAG may leave anything under the names of our XComs.
    """
    rows = []
    for each in each_of:
        try:
            rows.append(make(each))
        except Exception as error:
            log.warning("The Airbyte page leaves out task instance %s: %s", each.task.key, type(error).__name__)
    return rows


def _texts(rows: Iterable[dict[str, Any]]) -> list[Row]:
    return [Row(row["dag_id"], json.dumps(row)) for row in rows]


def _cut(rows: Sequence[Row], dag_ids: AbstractSet[str], most: int) -> tuple[str, int]:
    """Return the rows that a user may see, as JSON, and how many of them are left out."""
    visible = [row.text for row in rows if row.dag_id in dag_ids]
    return f"[{', '.join(visible[:most])}]", max(0, len(visible) - most)
