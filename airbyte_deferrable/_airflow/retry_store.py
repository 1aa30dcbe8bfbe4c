"""Which job an earlier try of the task started, also when its worker was killed.

Airflow 3.3 has a store for that, the task state store. Before, Airflow forgets everything a task wrote when its
next try begins, XComs included; an Airflow Variable is the only place that stays. It is written only for tries that
another one may follow, and deleted when the task is done, or by the last try, which is the last that can want it.

A task may run several jobs in one try: a subclass calls ``super().execute()`` twice, a Python task calls two operators.
Each run has a record of its own, numbered by its order in the try, so that a retry's second run finds the job of the
second run before, and never that of the first.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol

from pydantic import ValidationError

from airbyte_deferrable._airflow.task_instance import task_instance, try_of
from airbyte_deferrable._compat import Context
from airbyte_deferrable._job.record import Record
from airbyte_deferrable._job.task_log import Log

#: The key in the task state store, and the beginning of a Variable's name.
KEY = "airbyte_retry"
#: How many runs the present task has begun in its present try. A process has one task at a time.
_begun: dict[tuple[Any, ...], int] = {}


def begin_run(context: Context) -> int:
    """Count a new run of the task's present try, and return its number, from 1 on."""
    return resume_run(context, _begun.get(_try_key(context), 0) + 1)


def resume_run(context: Context, run: int) -> int:
    """Note that the task goes on with a run that another process has begun, so that the next is a further one.

    :param run: The run's number.
    :return: The same.
    """
    _begun.clear()
    _begun[_try_key(context)] = run
    return run


def present_run(context: Context) -> int:
    """Return the number of the run that the task is at."""
    return _begun.get(_try_key(context), 1)


def _try_key(context: Context) -> tuple[Any, ...]:
    ti = task_instance(context)
    return () if try_of(context) is None else (ti.dag_id, ti.run_id, ti.task_id, ti.map_index, ti.try_number)


class _Store(Protocol):
    """One place for one record."""

    #: Whether Airflow deletes it by itself, some time after the task has ended.
    cleans_up: bool

    def read(self) -> Any: ...

    def write(self, value: dict[str, Any]) -> None: ...

    def delete(self) -> None: ...


class AirflowRetryStore:
    """A :class:`~airbyte_deferrable._job.record.RetryStore` of one task instance.

    ====================================  =================  ==================  ===================  ===============
    what happens                          task state store   Variable, another   Variable, last try   tried only once
                                          (Airflow 3.3)      try may follow
    ====================================  =================  ==================  ===================  ===============
    a run begins, or is resumed           read               read                read, then deleted   nothing
    Airbyte is about to be asked          ``requested``      ``requested``       nothing              nothing
    the task has started its job          ``started``        ``started``         nothing              nothing
    ... and does not wait for it          ``released``       ``released``        nothing              nothing
    it waits for somebody else's          ``attached``       ``attached``        nothing              nothing
    the job goes on without the task      ``released``       ``released``        nothing              nothing
    no job was made, or it did not        deleted            deleted             nothing              nothing
    succeed
    the task succeeds                     stays              deleted             nothing              nothing
    a user clears the task while it runs  ``abandoned``      ``abandoned``       nothing              nothing
    a user marks it while it runs         ``abandoned``      deleted             nothing              nothing
    ====================================  =================  ==================  ===================  ===============

    A worker can still die between its task's success and Airflow's hearing of it, and the next try then needs the
    record. Airflow cleans the task state store up by itself; a Variable would stay for ever, as it does if Airflow
    fails to delete it then.

    :param fresh: Whether the run begins, and is not resumed. Default: False.
    :param run: The run's number in the try. Default: 1.
    """

    def __init__(self, context: Context, log: Log, *, fresh: bool = False, run: int = 1) -> None:
        ti: Any = task_instance(context)
        known = try_of(context) is not None
        self._log = log
        self.generation = int(ti.max_tries or 0) if known else 0
        self.cleared_job: int | None = None
        stores = [_store_for(context, ti, each) if known else _NoStore() for each in range(1, run + 1)]
        self._store: _Store = stores.pop()
        #: Those of the try's earlier runs.
        self._earlier: list[_Store] = stores
        #: Whether there may be a record: each question to Airflow takes a worker 10 to 25 ms. Airflow counts a try for
        #: every clear, retry and lost worker, so that nothing is written yet when the first one begins.
        self._may_hold = not (fresh and try_of(context) in (None, 1))

    def read(self, connection_id: str, job_type: str) -> Record | None:
        """Return what an earlier try of the same generation wrote about the same work."""
        record = _read(self._store) if self._may_hold else None
        self._may_hold = record is not None
        if record is None or record.generation != self.generation or record.state == "abandoned":
            self.cleared_job = record.job_id if record is not None and record.cancelled_with_task else None
            return None
        return record if (record.connection_id, record.job_type) == (connection_id, job_type) else None

    def write(self, record: Record) -> None:
        """Write before, and again after, Airbyte is asked for the job.

        :param record: Once it names the job, a failure is no more than a line in the log: what was written before
            leads a next try to the job, too.
        """
        self._may_hold = True
        try:
            self._store.write(record.model_dump())
        except Exception as error:
            if record.job_id is None:
                raise
            self._log.warning("Airflow does not take down that the task waits for job %s: %s", record.job_id, error)

    def delete(self) -> None:
        """Let a later try start another job."""
        if self._may_hold:
            self._store.delete()
            self._may_hold = False

    def release(self) -> None:
        """Note that the job goes on, and no user who kills the task from now on has it cancelled."""
        try:
            record = _read(self._store)
            if record is not None and record.state == "started":
                self._store.write(record.model_copy(update={"state": "released"}).model_dump())
        except Exception as error:
            self._log.warning("Airflow does not take down that the task has left its job: %s", error)

    def finish(self) -> None:
        """Drop what nobody cleans up: the task has what it wanted, and is about to end."""
        if self._store.cleans_up:
            return
        try:
            self.delete()
            for earlier in self._earlier:
                earlier.delete()
        except Exception as error:
            self._log.warning("Airflow does not delete the Variable that held the task's job: %s", error)

    def abandon(self, *, cleared: bool) -> None:
        """Let no later try find the job, and what follows know at most that it is being cancelled.

        For a task that a user stops while it runs: to Airflow, its next try after a clear is no other than a retry.

        :param cleared: Whether another try follows at once.
        """
        store, self._store = self._store, _NoStore()
        for earlier in self._earlier:
            earlier.delete()
        record = _read(store)
        told = record is not None and record.job_id is not None and record.started_here
        if record is not None and told and (cleared or store.cleans_up):
            store.write(record.model_copy(update={"state": "abandoned"}).model_dump())
        else:
            store.delete()


class _TaskStateStore:
    """Airflow 3.3's own place for it. It survives retries, and clears too, hence the generation."""

    cleans_up = True

    def __init__(self, store: Any, run: int) -> None:
        self._store = store
        self._key = KEY if run == 1 else f"{KEY}_{run}"

    def read(self) -> Any:
        return self._store.get(self._key)

    def write(self, value: dict[str, Any]) -> None:
        self._store.set(self._key, value)

    def delete(self) -> None:
        self._store.delete(self._key)


class _VariableStore:
    """A Variable for each run of a task instance. Its name is a digest, since run ids may be longer than names may."""

    cleans_up = False

    def __init__(self, ti: Any, run: int) -> None:
        names = [ti.dag_id, ti.run_id, ti.task_id, str(ti.map_index)]
        if run > 1:
            names.append(str(run))
        self._about = " ".join(names)
        self._key = f"{KEY}_{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:32]}"

    def read(self) -> Any:
        return _variable().get(self._key, None, deserialize_json=True)

    def write(self, value: dict[str, Any]) -> None:
        description = f"The Airbyte job of {self._about}"
        _variable().set(self._key, value, description=description, serialize_json=True)

    def delete(self) -> None:
        _variable().delete(self._key)


class _NoStore:
    """For tasks that are tried once."""

    cleans_up = False

    def read(self) -> Any:
        return None

    def write(self, value: dict[str, Any]) -> None:
        pass

    def delete(self) -> None:
        pass


class _LastTryStore(_NoStore):
    """For a task's last try. It takes what the tries before have left, and leaves nothing itself.

    However it ends, nobody is there any more who would delete a Variable; and after a clear nobody would believe one.

    :param before: The store of the tries before.
    """

    def __init__(self, before: _VariableStore) -> None:
        self._before = before

    def read(self) -> Any:
        value = self._before.read()
        if value is not None:
            self._before.delete()
        return value


def _read(store: _Store) -> Record | None:
    try:
        return Record.model_validate(store.read())
    except ValidationError:
        return None


def _store_for(context: Context, ti: Any, run: int) -> _Store:
    store = context.get("task_state_store")
    if store is not None:
        return _TaskStateStore(store, run)
    if not ti.max_tries:
        return _NoStore()
    variable = _VariableStore(ti, run)
    return variable if ti.try_number <= ti.max_tries else _LastTryStore(variable)


def _variable() -> Any:
    try:
        from airflow.sdk import Variable
    except ImportError:
        from airflow.models import Variable
    return Variable
