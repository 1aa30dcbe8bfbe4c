"""A task without a scheduler: the operator or sensor, what Airflow gives it, and the triggerer's part, in one thread.

Airflow is real where it matters (its base classes, its serialization of triggers); what stands in for it is its
interface to a task: the context, XComs, states and the task state store.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import import_module
from types import SimpleNamespace, new_class
from typing import Any, TypeVar

import pytest
from airflow.models.trigger import Trigger

from airbyte_deferrable._airflow import retry_store, task_instance
from airbyte_deferrable._compat import AIRFLOW_3
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Fault, Simulator
from helpers.airbyte import hits
from helpers.compat import AirflowRescheduleException, TaskDeferred, airflows_clock
from helpers.waiting import meanwhile

T = TypeVar("T")

#: Where an operator waits.
WAYS = ["worker", "deferred"]
#: How a sensor waits.
MODES = ["poke", "reschedule", "deferrable"]


class Store(dict[str, Any]):
    """Airflow 3.3's task state store, which keeps JSON."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.pop(key, None)


@dataclass
class TaskInstance:
    """What a task and its trigger know of the task instance.

    :param retries: What the DAG says; None for a task that does not know its operator.
    :param operator: That operator, where more of it matters.
    :param clear_number: How often its DAG run was cleared.
    """

    try_number: int = 1
    max_tries: int = 0
    map_index: int = -1
    dag_id: str = "dag"
    task_id: str = "sync"
    run_id: str = "run"
    state: str | None = "running"
    xcoms: dict[str, Any] = field(default_factory=dict)
    first_rescheduled: Any = None
    retries: int | None = None
    clear_number: int = 0
    operator: Any = None

    @property
    def task(self) -> Any:
        if self.operator is None and self.retries is not None:
            # Triggers take templates from an operator.
            return SimpleNamespace(retries=self.retries, template_ext=())
        return self.operator

    @task.setter
    def task(self, operator: Any) -> None:
        self.operator = operator

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))

    def get_first_reschedule_date(self, context: Any) -> Any:
        return self.first_rescheduled


class Task:
    """One task instance, each leg with a new operator, as each has a process of its own.

    :param make: Makes the operator or sensor.
    :param store: The task state store; None for an Airflow that has none.
    """

    def __init__(self, make: Callable[[], Any], *, ti: TaskInstance | None = None, store: Store | None = None) -> None:
        self.ti = ti or TaskInstance()
        self.store = Store() if store is None else store
        self.log, self.lines = kept_log()
        self.triggers: list[Any] = []
        self.events: list[Any] = []
        self._make = make

    @property
    def context(self) -> dict[str, Any]:
        return {**context_of(self.ti), "task_state_store": self.store}

    def operator(self) -> Any:
        # A process of its own has begun no run yet.
        retry_store._begun.clear()
        operator = self._make()
        if isinstance(operator, AirbyteTriggerSyncOperator):
            # A sensor's hook says nothing.
            inside: Any = operator
            inside._AirbyteTriggerSyncOperator__task.hook._log = self.log
        # Airflow's own property leads to the log that its task runner has set up. A class of its own, since other
        # tests run the same operators in a real task runner.
        kind, own = type(operator), {"log": property(lambda _, log=self.log: log)}
        operator.__class__ = new_class(kind.__name__, (kind,), {}, lambda names: names.update(own))
        return operator

    def leave(self) -> TaskDeferred:
        """Run the first leg, which is to end with the task leaving the worker."""
        with pytest.raises(TaskDeferred) as deferred:
            self.operator().execute(self.context)
        return deferred.value

    def run(self) -> Any:
        """Run to the end, and return or raise what the task does."""
        try:
            return self.operator().execute(self.context)
        except TaskDeferred as deferred:
            return self.come_back(deferred)

    def come_back(self, deferred: TaskDeferred, **changed: Any) -> Any:
        """Let the triggerer do its part, and go on with what it tells.

        :param changed: What the trigger has by then, such as a deadline that is over.
        """
        while True:
            trigger = stored(deferred.trigger)
            vars(trigger).update(changed)
            trigger._log = self.log
            self.triggers.append(trigger)
            event = run_in_loop(first_event(trigger))
            self.events.append(event)
            try:
                return self.resume(deferred, event)
            except TaskDeferred as again:
                deferred = again

    def resume(self, deferred: TaskDeferred, event: Any) -> Any:
        kwargs = {**(deferred.kwargs or {}), "event": json.loads(json.dumps(event))}
        return self.operator().resume_execution(deferred.method_name, kwargs, self.context)

    def next_try(self) -> None:
        """Do what Airflow does before a retry."""
        self.ti.try_number += 1
        self.ti.xcoms.clear()

    def clear(self, retries: int | None = None) -> None:
        """Do what Airflow does when a user clears the task while it does not run.

        :param retries: What the DAG says by now. Default: as before.
        """
        if retries is not None:
            self.ti.retries = retries
        known = self.ti.max_tries if self.ti.retries is None else self.ti.retries
        self.ti.max_tries = self.ti.try_number + known
        self.ti.clear_number += 1
        self.next_try()


class Sensing(Task):
    """A sensor; a rescheduled one is started again at once."""

    def run(self) -> Any:
        while True:
            try:
                return super().run()
            except AirflowRescheduleException:
                self.ti.first_rescheduled = self.ti.first_rescheduled or datetime.now(timezone.utc)
                self.ti.xcoms.clear()


#: What the fixtures ``task`` and ``sensing`` are: makers of tasks, for a connection or a job.
Make = Callable[..., Task]
Sense = Callable[..., Sensing]


class WithoutStore(Task):
    """A task of an Airflow that has no task state store."""

    @property
    def context(self) -> dict[str, Any]:
        return context_of(self.ti)


class Variables(dict[str, Any]):
    """Airflow's Variables, for versions that have no task state store."""

    def get(self, key: str, default: Any = None, deserialize_json: bool = False) -> Any:
        return dict.get(self, key, default)

    def set(self, key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        assert len(key) <= 250
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


def context_of(ti: TaskInstance) -> dict[str, Any]:
    """Return a task's context, of an Airflow that has no task state store."""
    return {"ti": ti, "task_instance": ti, "dag_run": SimpleNamespace(clear_number=ti.clear_number)}


def airflow_takes_down_the_success(ti: Any) -> None:
    """Do what Airflow does once it has taken down that a task succeeded: it tells its listeners, and nobody before."""
    told: dict[str, Any] = {"previous_state": "running", "task_instance": ti}
    _listeners().on_task_instance_success(**told, **({} if AIRFLOW_3 else {"session": None}))


def airflow_takes_down(ti: Any, state: str) -> None:
    """Do what Airflow does once it has taken down another end of a try: it notes it, and tells that the process stops.

    That the task is skipped, its listeners are told from Airflow 3.2 on; that it has failed, also for a retry.
    """
    ti.state = state
    _listeners().before_stopping(component=None)


def _listeners() -> Any:
    try:
        listeners = import_module("airflow.sdk.listener")
    except ImportError:  # before 3.2
        listeners = import_module("airflow.listeners.listener")
    return listeners.get_listener_manager().hook


def kept_log() -> tuple[logging.Logger, list[str]]:
    """Return a task's log, and the list of what is said there."""
    lines: list[str] = []
    # Not one that Airflow could configure away.
    log = logging.Logger("task", logging.INFO)  # noqa: LOG001
    log.addHandler(_Keeper(lines))
    return log, lines


def said(lines: list[str], beginning: str) -> int:
    """Return how many lines begin so."""
    return sum(line.startswith(beginning) for line in lines)


def when_said(log: logging.Logger, what: str, do: Callable[[], object]) -> None:
    """Do something each time that a line with these words is said, before it goes on.

    :param log: A task's log.
    :param what: The words.
    :param do: What to do.
    """
    log.addHandler(listener := logging.Handler())
    listener.emit = lambda record: do() if what in record.getMessage() else None


class _Keeper(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def stored(trigger: Any) -> Any:
    """Return the trigger as it comes out of Airflow's database."""
    row = Trigger.from_object(trigger)
    module, _, name = row.classpath.rpartition(".")
    return getattr(import_module(module), name)(**row.kwargs)


def run_in_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, and end what it leaves behind: before Python 3.12 a task can swallow a cancellation."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        while left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=0.1))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def first_event(trigger: Any) -> Any:
    """Run a trigger as the triggerer does, and return its event."""
    generator = trigger.run()
    try:
        event = await anext(generator)
    finally:
        await generator.aclose()
    return event.payload


@contextmanager
def airflow_tells(monkeypatch: pytest.MonkeyPatch, ti: TaskInstance) -> Iterator[None]:
    """Let Airflow answer what tasks and triggers ask for: XComs and states."""

    def get_one(*, key: str, **_: Any) -> Any:
        return ti.xcoms.get(key)

    def set_one(*, key: str, value: Any, **_: Any) -> None:
        ti.xcom_push(key, value)

    with monkeypatch.context() as patch:
        try:
            from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
            from airflow.sdk.execution_time.xcom import XCom
        except ImportError:
            from airflow.models import XCom

            def read_state(*_: Any) -> str | None:
                return task_instance._name({} if ti.state == "deleted" else {"state": ti.state}, "state")

            patch.setattr(task_instance, "_read_state_from_database", read_state)
            # Airflow 2's sensors ask the database themselves when they were first rescheduled.
            patch.setattr("airflow.sensors.base._orig_start_date", lambda *_, **__: ti.first_rescheduled)
        else:

            def get_task_states(*, run_ids: list[str], task_ids: list[str], **_: Any) -> dict[str, Any]:
                key = task_ids[0] if ti.map_index < 0 else f"{task_ids[0]}_{ti.map_index}"
                return {} if ti.state == "deleted" else {run_ids[0]: {key: ti.state}}

            patch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(get_task_states))
        patch.setattr(XCom, "get_one", staticmethod(get_one))
        patch.setattr(XCom, "set", staticmethod(set_one))
        yield


def airflow_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Airflow give no answer to those who ask how a task stands."""

    def fail(*_: Any, **__: Any) -> Any:
        raise ConnectionError("Airflow does not answer")

    try:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    except ImportError:
        # Not left to the database: another test of this process may have made one, and then it answers.
        monkeypatch.setattr("airflow.utils.session.create_session", fail)
    else:
        monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(fail))


@contextmanager
def interrupted_when(happened: Callable[[], object], by: signal.Signals) -> Iterator[None]:
    """Send this thread a signal in the middle of what it does, when something has happened.

    It is to hit the task: what a signal's handler raises in a finalizer is lost, and there are long ones. That of the
    official provider's client runs an event loop, whenever the garbage collector comes to what an earlier test left.
    """
    here = threading.get_ident()
    gc.collect()
    gc.disable()
    try:
        with meanwhile(happened, lambda: signal.pthread_kill(here, by)):
            yield
    finally:
        gc.enable()


@contextmanager
def execution_timeout_over_when(happened: Callable[[], object]) -> Iterator[None]:
    """Let Airflow's clock for ``execution_timeout`` run out when something has happened."""
    with airflows_clock(seconds=600), interrupted_when(happened, signal.SIGALRM):
        yield


@contextmanager
def over_in_the_middle_of_a_check(sim: Simulator) -> Iterator[None]:
    """Let Airflow's clock for ``execution_timeout`` run out while Airbyte does not answer the next check."""
    fault = sim.add_fault(Fault("get", "hang", times=1))
    with execution_timeout_over_when(lambda: hits(sim, fault)):
        yield


@contextmanager
def killed_when(
    happened: Callable[[], object],
    task: Task,
    operator: Any,
    *,
    state: str | None = "failed",
    then: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Call ``on_kill`` in the middle of what the operator does, when something has happened, as a task runner does.

    :param state: What Airflow says of the task by then: ``failed`` if a user has marked it so.
    :param then: Called when ``on_kill`` has returned.
    """

    def handle(*_: Any) -> None:
        task.ti.state = state
        operator.on_kill()
        then()

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with interrupted_when(happened, signal.SIGUSR1):
            yield
    finally:
        signal.signal(signal.SIGUSR1, before)
