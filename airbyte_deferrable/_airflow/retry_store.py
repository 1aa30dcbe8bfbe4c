"""Which job an earlier try of the task started, also when its worker was killed.

Airflow 3.3 has a store for that, the task state store. Before, Airflow forgets everything a task wrote when its
next try begins, XComs included; an Airflow Variable is the only place that stays. It is written only for tries that
another one may follow, and deleted when Airflow knows of the task's end, or by the last try, which is the last that can
want it.

A task may run several jobs in one try: a subclass calls ``super().execute()`` twice, a Python task calls two operators.
Each run has a record of its own, numbered by its order in the try, so that a retry's second run finds the job of the
second run before, and never that of the first.
"""

from __future__ import annotations

import hashlib
import json
import time
from threading import Lock
from typing import Any, Protocol

from pydantic import ValidationError

from airbyte_deferrable._airflow.after_end import after_end
from airbyte_deferrable._airflow.task_instance import generation_of, key_of, task_instance, try_of
from airbyte_deferrable._airflow.variables import variables
from airbyte_deferrable._compat import Context
from airbyte_deferrable._job.record import Record
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable.exceptions import AirbyteException

#: Seconds within which Airflow takes no worker for dead that it has just started, or answered. By default that takes
#: 300 (``[scheduler] task_instance_heartbeat_timeout``).
IN_TOUCH = 30.0
#: The key in the task state store, and the beginning of a Variable's name.
KEY = "airbyte_retry"
#: How many runs the present task has begun in its present try. A process has one task at a time.
_begun: dict[tuple[Any, ...], int] = {}


def begin_run(context: Context) -> int:
    """Count a new run of the task's present try, and return its number, from 1 on."""
    return resume_run(context, _begun.get(_try_key(context), 0) + 1)


def resume_run(context: Context, run: int | None = None) -> int:
    """Note that the task goes on with a run that another process has begun, so that the next is a further one.

    :param run: The run's number. Default: that of :func:`present_run`.
    :return: The same.
    """
    number = present_run(context) if run is None else run
    _begun.clear()
    _begun[_try_key(context)] = number
    return number


def present_run(context: Context) -> int:
    """Return the number of the run that the task is at."""
    return _begun.get(_try_key(context), 1)


def _try_key(context: Context) -> tuple[Any, ...]:
    return () if try_of(context) is None else key_of(task_instance(context))


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
    a retry finds its job live or         ``started``        ``started``         nothing              nothing
    succeeded
    Airbyte is about to be asked          ``requested``      ``requested``       nothing              nothing
    Airbyte has named the job             ``started``        ``started``         nothing              nothing
    ... and the task does not wait        ``released``       ``released``        nothing              nothing
    it waits for somebody else's          ``attached``       ``attached``        nothing              nothing
    the job goes on without the task      ``released``       ``released``        nothing              nothing
    its ``execution_timeout`` is over     stays              stays               nothing              nothing
    no job was made, or it did not        deleted            deleted             nothing              nothing
    succeed
    Airflow knows that the task           stays              deleted             nothing              nothing
    succeeded
    ... that it is skipped, or fails      stays              deleted             nothing              nothing
    for good
    ... what an earlier run of it wrote   stays              deleted             nothing              nothing
    a user stops the task while it runs   abandoned          abandoned           nothing              nothing
    ... and its job is seen to end        stays              deleted             nothing              nothing
    ... and its job is not to be          deleted            deleted             nothing              nothing
    cancelled
    ... while its job is only asked for   abandoned          abandoned           nothing              nothing
    ... and nothing leads to the job      deleted            deleted             nothing              nothing
    ... while it waits for somebody       deleted            deleted             nothing              nothing
    else's
    ... after its job went on without it  abandoned          abandoned           nothing              nothing
    ... and what an earlier run wrote     deleted            deleted             nothing              nothing
    the task is cleared otherwise         stays              stays               nothing              nothing
    ... and its old job is seen to end    deleted            deleted             nothing              nothing
    a later try has begun, and it goes    stays              stays               stays                nothing
    on all the same
    ====================================  =================  ==================  ===================  ===============

    Airflow cleans the task state store up by itself; a Variable would stay for ever, as it does if Airflow fails to
    delete it, or a user ends the task before its last try. A last try takes its Variable before anything else, so that
    it leaves none however it ends.

    What is abandoned keeps its state, and what leads to the job, for the try after a clear: also where Airbyte had not
    named the job yet. A kill has the last word: whatever else of the process is about to write does not.

    A worker that Airflow has lost touch with, and that wakes up beside the next try, leaves alone what that has
    written. Airflow 3.3 itself does not let it any more: its store knows a try by an id of its own. A Variable has no
    owner, so it is looked up whose the record is by now: before each deletion, of which a start has none; and before a
    write only if a while has passed since Airflow was last heard of, so that a start costs no request more.

    :param fresh: Whether the run begins, and is not resumed. Default: False.
    :param run: The run's number in the try. Default: 1.
    """

    def __init__(self, context: Context, log: Log, *, fresh: bool = False, run: int = 1) -> None:
        ti: Any = task_instance(context)
        known = try_of(context) is not None
        self._context = context
        self._run = run
        self._log = log
        self.generation = generation_of(context)
        stores = [_store_for(context, ti, each) if known else _NoStore() for each in range(1, run + 1)]
        self._store: _Store = stores.pop()
        #: Those of the try's earlier runs.
        self._earlier: list[_Store] = stores
        #: Whether there may be a record: each question to Airflow takes a worker 10 to 25 ms. Airflow counts a try for
        #: every clear, retry and lost worker, so that nothing is written yet when the first one begins.
        self._may_hold = not (fresh and try_of(context) in (None, 1))
        #: Held by who writes: a kill comes in a thread of its own.
        self._writing = Lock()
        #: Whether a user has stopped the task: nothing is written any more.
        self._abandoned = False
        #: Whether the process was told to stop, whoever wants it.
        self.told_to_stop = False
        #: When Airflow was last heard of. It has started this process for the first run it asks about.
        self._in_touch_at = time.time() if run == 1 else 0.0

    def take(self) -> None:
        """Take what the tries before have left, for a last try; others read it when they need it."""
        if isinstance(self._store, _LastTryStore) and self._may_hold:
            self._store.take()

    def read(self) -> Record | None:
        """Return what an earlier try wrote, or this one."""
        record = self._read() if self._may_hold else None
        self._may_hold = record is not None
        return record

    def _read(self) -> Record | None:
        record = _read(self._store)
        self._in_touch_at = time.time()
        return record

    def write(self, record: Record) -> None:
        """Write before, and again after, Airbyte is asked for the job.

        :param record: Once it names the job, a failure is no more than a line in the log: what was written before
            leads a next try to the job, too.
        :raises AirbyteException: If a later try has begun, so that nobody would wait for the job.
        """
        try:
            # Before the lock is taken, as in delete().
            if time.time() >= self._in_touch_at + IN_TOUCH and self._is_of_a_later_try(self._store):
                raise AirbyteException("A later try of this task has begun: this one starts no job.")
            with self._writing:
                if self._abandoned:
                    return
                self._may_hold = True
                self._store.write(record.model_dump())
            self._in_touch_at = time.time()
        except Exception as error:
            if record.job_id is None:
                raise
            self._log.warning("Airflow does not take down that the task waits for job %s: %s", record.job_id, error)

    def delete(self) -> None:
        """Let a later try start another job."""
        # Looked up before the lock is taken: a kill in the middle of that, in the same thread, would wait for itself.
        if self._may_hold and not self._is_of_a_later_try(self._store):
            with self._writing:
                if self._abandoned:
                    return
                self._store.delete()
        self._may_hold = False

    def release(self) -> None:
        """Note that the job goes on, and no user who kills the task from now on has it cancelled."""
        try:
            record = self._read()
            if record is not None and record.state == "started" and not self._is_later(record):
                self.write(record.model_copy(update={"state": "released"}))
        except Exception as error:
            self._log.warning("Airflow does not take down that the task has left its job: %s", error)

    def following(self) -> AirflowRetryStore:
        """Return the store of the task's next run in the same try."""
        return AirflowRetryStore(self._context, self._log, run=self._run + 1)

    def delete_after_end(self) -> None:
        """Have what nobody cleans up dropped once Airflow knows that the task has ended, and is not tried again."""
        if isinstance(self._store, _VariableStore):
            after_end(self._context, self._finish, self._finish_by_itself)

    def _finish_by_itself(self) -> None:
        # Else it may be a user who has ended it, without a word from Airflow: a try after a clear is to find its job.
        if not self.told_to_stop:
            self._finish()

    def _finish(self) -> None:
        try:
            self.delete()
            for earlier in self._earlier:
                self._drop(earlier)
        except Exception as error:
            self._log.warning("Airflow does not delete the Variable that held the task's job: %s", error)

    def abandon(self, *, cancelled: bool) -> bool:
        """Let no later try take the job for its own, for a task that a user stops while it runs.

        To Airflow, its next try after a clear is no other than a retry.

        :param cancelled: Whether the job is to be cancelled, so that a later try has to know of it.
        :return: Whether it is this try's to stop: Airflow may have lost touch with it, and begun another.
        """
        with self._writing:
            self._abandoned = True
            record = _read(self._store)
            if (record is not None and self._is_later(record)) or any(map(self._is_of_a_later_try, self._earlier)):
                return False
            for earlier in self._earlier:
                earlier.delete()
            if record is None or record.state == "attached" or not record.leads_to_a_job or not cancelled:
                self._store.delete()
                return True
            # A kill also cancels what the task was just about to leave.
            state = "started" if record.state == "released" else record.state
            self._store.write(record.model_copy(update={"state": state, "abandoned": True}).model_dump())
            return True

    def drop_abandoned(self) -> None:
        """Drop what was abandoned, and nobody cleans up, once its job has ended."""
        if not self._store.cleans_up:
            with self._writing:
                self._drop(self._store)

    def _drop(self, store: _Store) -> None:
        if not self._is_of_a_later_try(store):
            store.delete()

    def _is_of_a_later_try(self, store: _Store) -> bool:
        """Tell whether there is a record that is none of this process', which Airflow has lost touch with, any more."""
        record = None if isinstance(store, _NoStore) else _read(store)
        return record is not None and self._is_later(record)

    def _is_later(self, record: Record) -> bool:
        return record.generation.try_number > self.generation.try_number


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
        return variables().get(self._key, None, deserialize_json=True)

    def write(self, value: dict[str, Any]) -> None:
        description = f"The Airbyte job of {self._about}"
        variables().set(self._key, value, description=description, serialize_json=True)

    def delete(self) -> None:
        variables().delete(self._key)


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
        self._before: _VariableStore | None = before
        self._taken: Any = None

    def take(self) -> None:
        if self._before is not None:
            self._taken = self._before.read()
            if self._taken is not None:
                self._before.delete()
            self._before = None

    def read(self) -> Any:
        self.take()
        return self._taken

    def delete(self) -> None:
        self._taken = None


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
