"""What Airflow's database knows of the syncs of its tasks: the one module that knows Airflow's models.

They are no public API, so all that is asked of them is in here, and tested on each Airflow. Each function asks a fixed
number of questions, however many syncs there are, and none writes. All block.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow.models.crypto import get_fernet
from airflow.models.renderedtifields import RenderedTaskInstanceFields as Rendered
from airflow.models.taskinstance import TaskInstance as TI
from airflow.models.taskinstancehistory import TaskInstanceHistory as History
from airflow.models.trigger import Trigger
from airflow.models.variable import Variable
from airflow.models.xcom import XComModel as XCom
from sqlalchemy import and_, or_, select
from sqlalchemy.orm import aliased

from airbyte_deferrable._airflow.failure_note import FAILURE
from airbyte_deferrable._airflow.kill import WAIT_MARKER
from airbyte_deferrable._airflow.page_record import INDEX, PREFIX, Told, read
from airbyte_deferrable.links import JOB_URL

log = logging.getLogger(__name__)

#: What a task leaves in XCom of its job when that has ended.
JOB = "airbyte_job"
STREAMS = "streams"
OURS = "airbyte_deferrable.triggers."
OFFICIAL = "airflow.providers.airbyte.triggers.airbyte.AirbyteSyncTrigger"
#: What waits on a worker is known by its class, until it has left an XCom.
OPERATORS = ("AirbyteTriggerSyncOperator", "AirbyteJobSensor", "AirbyteFreshnessSensor")
#: States of tasks that are waiting, or about to go on.
ON_WORKER = ("running", "up_for_reschedule")
GOING_ON = ("scheduled", "queued")
#: So many are read at most; what a user is shown of them is limited further.
MOST_WAITING = 20_000
MOST_ENDED = 10_000
#: So many jobs that have ended, the newest, tell how long the syncs of connections usually take.
MOST_FOR_USUAL = 20_000
MOST_TRIES = 20
#: Of a trigger's arguments and of a task's rendered fields, only these leave this module.
ARGUMENTS = frozenset(
    {"conn_id", "connection_id", "connection_name", "job_id", "queued_at", "end_time", "execution_deadline", "after"}
)
FIELDS = frozenset({"airbyte_conn_id", "connection_id", "connection_name", "airbyte_job_id"})

_OF_TASK = (
    TI.dag_id,
    TI.run_id,
    TI.task_id,
    TI.map_index,
    TI.try_number,
    TI.state,
    TI.start_date,
    TI.end_date,
    TI.operator,
)


@dataclass(frozen=True)
class Task:
    """A task instance.

    :param dag_id: The DAG.
    :param run_id: The run.
    :param task_id: The task.
    :param map_index: Which instance of a mapped task; -1 for a task that is not.
    :param try_number: The try.
    :param state: Airflow's word for its state; None for none.
    :param started_at: When the try started.
    :param ended_at: When it ended.
    :param operator: The name of the task's class.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    state: str | None
    started_at: datetime | None
    ended_at: datetime | None
    operator: str | None = None

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What tells it from all others."""
        return self.dag_id, self.run_id, self.task_id, self.map_index


@dataclass(frozen=True)
class Waiting:
    """A task that waits for a sync.

    :param task: The task instance.
    :param trigger: The name of its trigger's class; empty for one that waits on a worker.
    :param arguments: What its trigger was given, as far as the page needs it.
    :param xcoms: Its XComs of ours, by key.
    :param fields: Its rendered fields, as far as the page needs them.
    """

    task: Task
    trigger: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    xcoms: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """A task whose sync has ended, one way or the other.

    :param task: The task instance.
    :param noted_at: When the task, or its trigger, left word of that.
    :param xcoms: Its XComs of ours, by key.
    :param fields: Its rendered fields, as far as the page needs them.
    """

    task: Task
    noted_at: datetime
    xcoms: dict[str, Any]
    fields: Mapping[str, Any] = field(default_factory=dict)


class Reader:
    """Asks the questions that are asked again and again, and remembers what need not be asked twice."""

    def __init__(self) -> None:
        #: The arguments of the triggers that were there the last time: they never change, and to decrypt them is most
        #: of the time that two thousand of them take.
        self._arguments: dict[str, Mapping[str, Any]] = {}

    def waiting(self, session: Any) -> list[Waiting]:
        """Return the tasks that wait for a sync.

        :param session: Of the database.
        """
        deferred = session.execute(
            select(*_OF_TASK, Trigger.classpath, Trigger.encrypted_kwargs)
            .join(Trigger, TI.trigger_id == Trigger.id)
            .where(
                TI.state == "deferred",
                or_(Trigger.classpath.startswith(OURS, autoescape=True), Trigger.classpath == OFFICIAL),
            )
            .order_by(TI.start_date)
            .limit(MOST_WAITING)
        ).all()
        left = _left(XCom.key.in_((WAIT_MARKER, JOB_URL)))
        # A task that is started anew still has the XComs of its try before, until it runs.
        others = session.execute(
            select(*_OF_TASK, Rendered.rendered_fields)
            .outerjoin(Rendered, _same(Rendered))
            .where(
                or_(
                    and_(TI.state.in_(ON_WORKER), or_(TI.operator.in_(OPERATORS), left)),
                    and_(TI.state.in_(GOING_ON), TI.next_method.is_not(None), left),
                )
            )
            .order_by(TI.start_date)
            .limit(MOST_WAITING)
        ).all()
        values = self._xcoms_of_waiting(session)
        known = self._known({row.encrypted_kwargs for row in deferred})
        found = [
            Waiting(
                task=_task(row),
                trigger=row.classpath.rpartition(".")[2],
                arguments=known[row.encrypted_kwargs],
                xcoms=values.get(_key(row), {}),
            )
            for row in deferred
        ]
        found += [Waiting(_task(row), xcoms=values.get(_key(row), {}), fields=_fields(row)) for row in others]
        return found

    def _xcoms_of_waiting(self, session: Any) -> dict[tuple[str, str, str, int], dict[str, Any]]:
        rows = session.execute(
            select(XCom.dag_id, XCom.run_id, XCom.task_id, XCom.map_index, XCom.key, XCom.value)
            .join(TI, _same(XCom))
            .where(TI.state.in_(("deferred", *ON_WORKER, *GOING_ON)), XCom.key.in_((WAIT_MARKER, JOB_URL, JOB)))
            .limit(3 * MOST_WAITING)
        )
        found: dict[tuple[str, str, str, int], dict[str, Any]] = {}
        for row in rows:
            found.setdefault(_key(row), {})[row.key] = decoded(row.value)
        return found

    def _known(self, encrypted: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        before = self._arguments
        self._arguments = {each: before[each] if each in before else _arguments(each) for each in encrypted}
        return self._arguments


def ended(session: Any, since: datetime) -> list[Ended]:
    """Return the tasks whose syncs have ended, those that ended last first.

    :param session: Of the database.
    :param since: From when on.
    """
    link = aliased(XCom)
    rows = session.execute(
        select(*_OF_TASK, XCom.key, XCom.value, XCom.timestamp, link.value.label("link"), Rendered.rendered_fields)
        .select_from(XCom)
        .join(TI, _same(XCom))
        .outerjoin(
            link,
            and_(
                link.dag_run_id == XCom.dag_run_id,
                link.task_id == XCom.task_id,
                link.map_index == XCom.map_index,
                link.key == JOB_URL,
            ),
        )
        .outerjoin(Rendered, _same(Rendered))
        .where(XCom.key.in_((JOB, FAILURE)), XCom.timestamp >= since)
        .order_by(XCom.timestamp.desc())
        .limit(2 * MOST_ENDED)
    )
    found: dict[tuple[str, str, str, int], Ended] = {}
    for row in rows:
        known = found.get(_key(row))
        value = decoded(row.value)
        if known is None:
            xcoms = {row.key: value, JOB_URL: decoded(row.link)}
            found[_key(row)] = Ended(_task(row), row.timestamp, xcoms, _fields(row))
        else:
            # Both are of the same try, whose end the task itself notes last.
            known.xcoms[row.key] = value
    return list(found.values())


def newest_jobs(session: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the jobs that have ended, the newest first, as Airbyte told them.

    :param session: Of the database.
    """
    rows = session.execute(
        select(XCom.value).where(XCom.key == JOB).order_by(XCom.dag_run_id.desc()).limit(MOST_FOR_USUAL)
    )
    for (value,) in rows:
        job = decoded(value)
        if isinstance(job, dict):
            yield job


def records(session: Any) -> list[Told]:
    """Return what triggerers have left for the page, without what cannot be read.

    :param session: Of the database.
    """
    # Not whole models: each of them tells the masker its value when it is loaded, and decrypts it for that.
    rows = session.execute(
        select(Variable._val.label("text"), Variable.is_encrypted).where(
            Variable.key.startswith(PREFIX, autoescape=True), Variable.key != INDEX
        )
    )
    return [told for row in rows if (told := read(_plain(row.text or "", row.is_encrypted))) is not None]


def one(session: Any, key: tuple[str, str, str, int]) -> tuple[Task, dict[str, Any], str, Mapping[str, Any]] | None:
    """Return a task instance, its XComs of ours, its trigger's class, and of its arguments and fields what is needed.

    :param session: Of the database.
    :param key: The task instance.
    :return: None if there is none.
    """
    row = session.execute(
        select(*_OF_TASK, Trigger.classpath, Trigger.encrypted_kwargs, Rendered.rendered_fields)
        .outerjoin(Trigger, TI.trigger_id == Trigger.id)
        .outerjoin(Rendered, _same(Rendered))
        .where(*_is(TI, key))
    ).first()
    if row is None:
        return None
    xcoms = session.execute(
        select(XCom.key, XCom.value).where(*_is(XCom, key), XCom.key.in_((WAIT_MARKER, JOB_URL, JOB, FAILURE, STREAMS)))
    )
    path = row.classpath or ""
    ours = path.startswith(OURS) or path == OFFICIAL
    arguments = _arguments(row.encrypted_kwargs) if ours else {}
    found = {each.key: decoded(each.value) for each in xcoms}
    return _task(row), found, path.rpartition(".")[2] if ours else "", {**_fields(row), **arguments}


def earlier_tries(session: Any, key: tuple[str, str, str, int]) -> Sequence[Task]:
    """Return the tries of a task instance before the present one, oldest first, the last ones if they are many.

    :param session: Of the database.
    :param key: The task instance.
    """
    columns = [getattr(History, column.key) for column in _OF_TASK]
    rows = session.execute(
        select(*columns).where(*_is(History, key)).order_by(History.try_number.desc()).limit(MOST_TRIES)
    )
    return [_task(row) for row in rows][::-1]


def decoded(value: Any) -> Any:
    """Return what an XCom holds: Airflow 3 stores the text of its JSON, as JSON. None for what is none.

    :param value: The column.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        # As of an XCom backend of the installation's own, which keeps values elsewhere.
        return None


def _arguments(encrypted: str) -> Mapping[str, Any]:
    try:
        found = Trigger._decrypt_kwargs(encrypted)
    except Exception as error:
        # With another key than it was stored with; the error may quote what it could not read.
        log.warning("The arguments of a trigger cannot be read: %s", type(error).__name__)
        return {}
    return {key: value for key, value in found.items() if key in ARGUMENTS}


def _plain(text: str, encrypted: bool) -> str:
    """Return what a Variable says; nothing if it was stored with another key."""
    try:
        return get_fernet().decrypt(text.encode()).decode() if encrypted else text
    except Exception as error:
        log.warning("A record of a triggerer's cannot be read: %s", type(error).__name__)
        return ""


def _fields(row: Any) -> Mapping[str, Any]:
    fields = row.rendered_fields
    if not isinstance(fields, dict):
        return {}
    return {key: value for key, value in fields.items() if key in FIELDS and isinstance(value, (str, int))}


def _left(which: Any) -> Any:
    """Return the condition that a task has left an XCom."""
    return select(XCom.key).where(_same(XCom), which).correlate(TI).exists()


def _same(model: Any) -> Any:
    """Return the condition that a row is one of the task instance."""
    return and_(
        model.dag_id == TI.dag_id,
        model.run_id == TI.run_id,
        model.task_id == TI.task_id,
        model.map_index == TI.map_index,
    )


def _is(model: Any, key: tuple[str, str, str, int]) -> tuple[Any, ...]:
    dag_id, run_id, task_id, map_index = key
    return (
        model.dag_id == dag_id,
        model.run_id == run_id,
        model.task_id == task_id,
        model.map_index == map_index,
    )


def _key(row: Any) -> tuple[str, str, str, int]:
    return row.dag_id, row.run_id, row.task_id, row.map_index


def _task(row: Any) -> Task:
    return Task(*_key(row), row.try_number, row.state and str(row.state), row.start_date, row.end_date, row.operator)
