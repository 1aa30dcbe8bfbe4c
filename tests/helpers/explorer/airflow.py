"""Airflow's rules around a task, as far as a task can tell: tries, XComs, deferral, clears, marks, signals.

As read and measured on Airflow 3.3. One task instance runs, in the main thread: a worker's leg, the triggerer, a leg.
"""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast

from airbyte_deferrable._airflow import after_end, kill
from airbyte_deferrable._compat import AIRFLOW_3, AirflowSkipException, AirflowTaskTimeout
from airbyte_deferrable.triggers import sync as sync_trigger
from helpers.compat import AirflowRescheduleException, TaskDeferred, set_current_context
from helpers.explorer.airbyte import Airbyte
from helpers.explorer.steps import BY_USER, CLEARS, CURRENT, Course, Died, Harm, Kind, Process
from helpers.one_task import Task, TaskInstance, first_event, kept_log, run_in_loop, stored

#: States in which nothing becomes of the task by itself.
ENDED = ("success", "failed", "skipped")
#: Seconds between two times that a triggerer cancels a trigger that has not ended; Airflow's is one.
CANCELS_AGAIN = 0.01


@dataclass
class Row:
    """What is in Airflow's database."""

    retries: int
    map_index: int = -1
    state: str | None = None
    #: What the task instance is called by its own processes: another name for each try, and from a clear on.
    ti_id: int = 0
    try_number: int = 0
    max_tries: int = 0
    clear_number: int = 0
    xcoms: dict[str, Any] = field(default_factory=dict)
    task_state_store: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    #: Those that a worker has written last which Airflow took for dead by then.
    by_zombies: set[str] = field(default_factory=set)
    first_rescheduled: Any = None
    #: What a task that was deferred goes on with.
    deferred: TaskDeferred | None = None
    event: Any = None
    result: Any = None

    def __post_init__(self) -> None:
        self.max_tries = self.retries


@dataclass
class Seen(TaskInstance):
    """What a process knows of its task instance: the tries as they were when it began."""

    db: Any = None
    #: What the DAG's file says by then.
    file_retries: int = 0

    @property
    def task(self) -> Any:
        # Triggers take templates from it.
        return SimpleNamespace(retries=self.file_retries, template_ext=())

    def xcom_push(self, key: str, value: Any) -> None:
        self.db.write_xcom(key, value)

    def get_first_reschedule_date(self, context: Any) -> Any:
        return self.db.row.first_rescheduled


class StateStore:
    """The task state store, as a process sees it that began with this id of its task instance."""

    def __init__(self, airflow: Airflow, ti_id: int) -> None:
        self._airflow = airflow
        self._ti_id = ti_id

    def get(self, key: str, default: Any = None) -> Any:
        with self._reached("get") as kept:
            return kept.get(key, default)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        with self._reached("set") as kept:
            kept[key] = json.loads(json.dumps(value))
            self._airflow.note(value)

    def delete(self, key: str) -> None:
        with self._reached("delete") as kept:
            kept.pop(key, None)

    @contextmanager
    def _reached(self, what: str) -> Iterator[dict[str, Any]]:
        row = self._airflow.row
        with self._airflow.touch(f"task state store: {what}"):
            if self._ti_id != row.ti_id:
                # routes/task_state_store.py looks the task instance up by its id, which a clear and a retry change.
                raise RuntimeError("404: Task instance not found")
            yield row.task_state_store


class Leg(Task):
    """One process on a worker."""

    def __init__(self, make: Callable[[], Any], airflow: Airflow, ti: Seen, *, has_store: bool) -> None:
        super().__init__(make, ti=ti)
        self.log, self.lines = airflow.log, airflow.lines
        self._airflow = airflow
        self._store = StateStore(airflow, airflow.row.ti_id) if has_store else None

    @property
    def context(self) -> dict[str, Any]:
        row = self._airflow.row
        known: dict[str, Any] = {
            "ti": self.ti,
            "task_instance": self.ti,
            "dag_run": SimpleNamespace(clear_number=row.clear_number, run_id=self.ti.run_id),
        }
        return {**known, "task_state_store": self._store} if self._store else known


class Airflow:
    """The rules.

    :param make: Makes the operator or sensor, for each process anew.
    :param has_store: Whether it has a task state store, as Airflow 3.3; else Variables stay from one try to the next.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        course: Course,
        airbyte: Airbyte,
        *,
        retries: int,
        map_index: int,
        has_store: bool,
    ) -> None:
        self.row = Row(retries, map_index)
        # Of another case, whose task has the same name.
        after_end._listener()._due = None
        self.log, self.lines = kept_log()
        self.course = course
        self.airbyte = airbyte
        #: Who began last.
        self.present = self._process("airflow")
        #: Whose main thread is this process's, for signals.
        self.on_worker: Process | None = None
        #: Legs that Airflow takes for dead, and that are not.
        self.zombies: list[tuple[Process, threading.Thread]] = []
        self._make = make
        self._has_store = has_store

    # What processes ask

    @contextmanager
    def touch(self, what: str) -> Iterator[None]:
        with CURRENT.get(self.present).touch(what):
            yield

    def read_xcom(self, key: str) -> Any:
        with self.touch(f"XCom {key}: get"):
            return self.row.xcoms.get(key)

    def write_xcom(self, key: str, value: Any) -> None:
        with self.touch(f"XCom {key}: set"):
            self.row.xcoms[key] = json.loads(json.dumps(value))

    def read_state(self) -> str | None:
        with self.touch("state: get"):
            return self.row.state

    def write_variable(self, key: str, value: dict[str, Any]) -> None:
        self.row.variables[key] = value
        late = CURRENT.get(self.present).lost.is_set()
        (self.row.by_zombies.add if late else self.row.by_zombies.discard)(key)
        self.note(value)

    def note(self, record: dict[str, Any]) -> None:
        """Take note of what a task writes down for a later try."""
        self.airbyte.kept(CURRENT.get(self.present), record.get("job_id"))

    # What users and schedulers do

    def act(self, kind: Kind) -> None:
        """Do it in the database. Whoever runs is told afterwards."""
        row = self.row
        if kind == "reset":
            row.ti_id += 1
            row.state = None
            return
        self.airbyte.generation += 1
        if kind not in CLEARS:
            row.state = kind
            return
        row.clear_number += 1
        row.ti_id += 1
        if kind == "clear with fewer retries":
            row.retries = max(0, row.max_tries - row.try_number)
        if row.state == "running":
            # Stopped by its supervisor, and always tried again.
            row.state = "restarting"
            return
        row.max_tries = row.try_number + row.retries
        row.state = row.deferred = row.event = None

    # What Airflow does

    def run(self) -> None:
        """Run the task, until nothing becomes of it by itself and nobody does anything to it."""
        before = signal.signal(signal.SIGUSR1, self._signalled)
        try:
            while not (self.row.state in ENDED and self._pause("the end") is None):
                self._go_on()
            for process, thread in self.zombies:
                process.found.set()
                thread.join()
        finally:
            signal.signal(signal.SIGUSR1, before)

    def _go_on(self) -> None:
        row = self.row
        match row.state:
            case "up_for_retry":
                if self._pause("the wait for a retry") is None:
                    self.begin_try()
            case "deferred":
                harm = self._pause("the deferral")
                # Airflow drops a trigger whose task was killed before it has begun.
                if harm is None or harm.kind == "out of time":
                    self._trigger(out_of_time=harm is not None)
            case "scheduled":
                if self._pause("the event") is None:
                    self._leg(resumes=True)
            case "up_for_reschedule":
                self._leg(resumes=False)
            case "restarting":
                # Measured on 3.3, where the scheduler does so once the process has ended. Older ones leave it alone.
                if self._has_store:
                    row.max_tries = row.try_number + row.retries
                self.begin_try()
            case None | "begun":
                self.begin_try()
            case _ if row.state not in ENDED:
                raise AssertionError(f"nothing becomes of {row.state}")

    def begin_try(self) -> None:
        """Start a try from its beginning."""
        if self.row.state != "begun":
            self.row.try_number += 1
        self.row.deferred = self.row.event = self.row.first_rescheduled = None
        self._leg(resumes=False)

    def _pause(self, what: str) -> Harm | None:
        """Be at a step at which no process of the task is alive."""
        harm = self.course.reach(self.row.try_number, "airflow", what, "after")
        if harm is not None:
            assert harm.kind in (*BY_USER, "out of time")
            if harm.kind in BY_USER:
                self.act(harm.kind)
        return harm

    def _process(self, where: Any) -> Process:
        process = Process(self.course, where, self.row.try_number, self.airbyte.generation, self.act)
        self.present = process
        return process

    def _seen(self) -> Seen:
        row = self.row
        return Seen(row.try_number, row.max_tries, row.map_index, state="", db=self, file_retries=row.retries)

    # On a worker

    def _leg(self, *, resumes: bool) -> None:
        """Run one process on a worker, in a thread of its own if it will become a zombie."""
        lose = self.course.loses(self.row.try_number)
        process = None if lose else self._process("worker")
        if process is not None:
            self._run(process, resumes=resumes)
            return
        ready, started = threading.Event(), []

        def run() -> None:
            started.append(self._process("worker"))
            ready.set()
            self._run(started[0], resumes=resumes)

        thread = threading.Thread(target=run)
        thread.start()
        ready.wait()
        (zombie,) = started
        while thread.is_alive() and not zombie.lost.is_set():
            thread.join(0.002)
        if zombie.lost.is_set():
            self.zombies.append((zombie, thread))
            self._failed()
        else:
            thread.join()

    def _run(self, process: Process, *, resumes: bool) -> None:
        CURRENT.set(process)
        before = self.on_worker
        if threading.current_thread() is threading.main_thread():
            self.on_worker = process
        self.row.state = "running"
        try:
            end: Callable[[], None] = self._died
            # A signal may come when Died was raised already.
            with suppress(Died):
                end = self._outcome_of(process, resumes=resumes)
        finally:
            process.left = True
            self.on_worker = before
        # Nobody listens to a zombie.
        if not process.lost.is_set() and self.row.state == "running":
            end()

    def find_zombies(self, process: Process) -> None:
        """Let those go on that are to do so beside a later try, once that waits for its job."""
        for zombie, _ in self.zombies:
            if zombie.beside and process.try_number > zombie.try_number:
                zombie.found.set()

    def _outcome_of(self, process: Process, *, resumes: bool) -> Callable[[], None]:
        """Run the task's code, and return what Airflow does for what comes of it."""
        row = self.row
        leg = Leg(self._make, self, self._seen(), has_store=self._has_store)
        operator, context = leg.operator(), leg.context
        process.on_kill = operator.on_kill
        try:
            # There is one in a real process: it is the one that signals reach.
            here = set_current_context(cast(Any, context)) if process is self.on_worker else nullcontext()
            with here:
                process.moment("start")
                result = self._execute(operator, context, resumes=resumes)
            with process.touch("XCom return_value: set"):
                row.xcoms["return_value"] = result
            process.moment("success")
            if process.lost.is_set() or row.state != "running":
                # Airflow does not take it down, and the process ends.
                return self._died
            row.state, row.result = "success", result
            process.doing = "after the success, "
            _tell_listeners(leg.ti)
            return self._died
        except TaskDeferred as deferred:
            leaves = deferred
            process.moment("defer")
            return lambda: self._deferred(leaves)
        except AirflowRescheduleException:
            return self._rescheduled
        except AirflowSkipException:
            return self._skipped
        except (Exception, AirflowTaskTimeout) as error:
            self.log.info("failed: %r", error)
            return self._failed
        except Died:
            return self._died

    def _execute(self, operator: Any, context: Any, *, resumes: bool) -> Any:
        row = self.row
        try:
            if not resumes:
                row.xcoms.clear()
                result = operator.execute(context)
            else:
                assert row.deferred is not None
                kwargs = {**(row.deferred.kwargs or {}), "event": row.event}
                result = operator.resume_execution(row.deferred.method_name, kwargs, context)
        except AirflowTaskTimeout:
            operator.on_kill()
            raise
        operator.post_execute(context, result)
        return result

    def _signalled(self, *_: Any) -> None:
        if self.on_worker is not None:
            self.on_worker.heed()

    def _skipped(self) -> None:
        self.row.state = "skipped"

    def _rescheduled(self) -> None:
        self.row.state = "up_for_reschedule"
        self.row.first_rescheduled = self.row.first_rescheduled or datetime.now(timezone.utc)

    def _deferred(self, deferred: TaskDeferred) -> None:
        self.row.state, self.row.deferred = "deferred", deferred

    def _died(self) -> None:
        self._failed()

    def _failed(self) -> None:
        row = self.row
        row.deferred = row.event = None
        if row.max_tries and row.try_number <= row.max_tries:
            row.state, row.ti_id = "up_for_retry", row.ti_id + 1
        else:
            row.state = "failed"

    # In the triggerer

    def _trigger(self, *, out_of_time: bool) -> None:
        """Run the trigger, in one triggerer after the other, until there is an event or nobody waits for one."""
        deferred = self.row.deferred
        assert deferred is not None
        process = self._process("triggerer")
        CURRENT.set(process)
        # A process of its own has asked for nothing yet.
        kill._warming.clear()
        trigger = stored(deferred.trigger)
        # Time has passed since the task was deferred.
        trigger.not_before = 0.0
        if out_of_time:
            trigger.execution_deadline = time.time()
        trigger._log = self.log
        trigger.task_instance = self._seen()
        with suppress(Died):
            event = run_in_loop(self._attend(process, trigger))
            if event is not None and self.row.deferred is deferred:
                process.moment("event")
                self.row.event = json.loads(json.dumps(event))
                self.row.state = "scheduled"

    async def _attend(self, process: Process, trigger: Any) -> Any:
        """Return the trigger's event; None if it was stopped before."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            # When its end is taken down it has none any more.
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.set)

        process.wake = wake
        process.moment("start")
        running = asyncio.ensure_future(first_event(trigger))
        told = asyncio.ensure_future(news.wait())
        await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        harm, process.harm = process.harm, None
        if process.dead:
            raise Died
        if harm is None:
            return running.result()
        try:
            if harm.then == "new try begins":
                # Its DAG file takes long to parse, so that its XComs are not cleared yet.
                self.row.try_number += 1
                self.row.state = "running"
            elif harm.then == "new try waits":
                await asyncio.to_thread(self.begin_try)
            await _cancel(running, process)
            if harm.kind in BY_USER and sync_trigger.AIRFLOW_TELLS_OF_KILLS:
                await _cancel(asyncio.ensure_future(trigger.on_kill()), process)
        finally:
            if harm.then == "new try begins":
                self.row.state = "begun"
        return None


def _tell_listeners(ti: Any) -> None:
    try:
        listeners = import_module("airflow.sdk.listener")
    except ImportError:  # before 3.2
        listeners = import_module("airflow.listeners.listener")
    told = {"previous_state": "running", "task_instance": ti, **({} if AIRFLOW_3 else {"session": None})}
    with suppress(Exception):
        listeners.get_listener_manager().hook.on_task_instance_success(**told)


async def _cancel(task: asyncio.Future[Any], process: Process) -> None:
    """Cancel again and again, as Airflow does, until the trigger has ended."""
    while not task.done():
        await asyncio.wait({task}, timeout=CANCELS_AGAIN)
        task.cancel()
        process.handled.set()
        if process.dead:
            raise Died
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
