"""The steps of a task's processes: each touch of the outside, before and after it, and what happens there."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal

from airbyte_deferrable._compat import AirflowTaskTimeout

Where = Literal["worker", "triggerer", "airflow"]
Phase = Literal["before", "after"]
#: What can happen at a step. ``dies``: as by kill -9. ``raises``: the call fails, with what it did carried out or not.
#: ``stops``: the triggerer is told to stop. ``lost``: Airflow takes the worker for dead, which goes on much later.
#: ``reset``: a scheduler that took over does not know who runs the task, stops its process and begins the next try. The
#: others are what a user does; ``clear with fewer retries`` also after the DAG's file has changed.
#: ``out of time`` is the task's ``execution_timeout``.
Kind = Literal[
    "dies",
    "raises",
    "stops",
    "lost",
    "reset",
    "out of time",
    "clear",
    "clear with fewer retries",
    "failed",
    "success",
]
CLEARS: tuple[Kind, ...] = ("clear", "clear with fewer retries")
BY_USER: tuple[Kind, ...] = (*CLEARS, "failed", "success")
#: What is done in Airflow's database.
ACTIONS: tuple[Kind, ...] = (*BY_USER, "reset")
#: Seconds between two looks of one who is held at a step.
LOOK_AGAIN = 0.002


class Died(BaseException):
    """The process is dead: nothing of it touches the outside any more."""


@dataclass(frozen=True)
class Step:
    """One moment of a task.

    :param try_number: Of the process that gets there.
    :param where: Whose process that is; ``airflow`` for what Airflow itself takes down.
    :param what: What is touched.
    :param phase: Before it is, or when that is done and the process does not know yet.
    :param number: The how-manyth of its kind in this try.
    """

    try_number: int
    where: Where
    what: str
    phase: Phase
    number: int

    def __str__(self) -> str:
        nth = f" #{self.number}" if self.number > 1 else ""
        return f"try {self.try_number}, {self.where} {self.phase} {self.what}{nth}"


@dataclass(frozen=True)
class Harm:
    """What happens at a step.

    :param then: What becomes of a worker's process after ``on_kill``: Airflow ends it, or it was faster. Of a new try
        after a clear: whether it begins before the old trigger is told, and how far it gets until then. Of a worker
        that is taken for dead: whether it goes on beside the next try, or when all is over.
    """

    step: Step
    kind: Kind
    then: Literal["", "dies", "goes on", "beside", "new try begins", "new try waits"] = ""

    def __str__(self) -> str:
        return f"{self.step}: {self.kind}" + (f", {self.then}" if self.then else "")


class Course:
    """The steps that were taken, and the harm that is to come.

    :param harms: In their order.
    """

    def __init__(self, harms: Sequence[Harm] = ()) -> None:
        self.steps: list[Step] = []
        #: Each harm that came, with the number of steps that were taken by then.
        self.came: list[tuple[Harm, int]] = []
        self._to_come = list(harms)
        self._counted: Counter[Step] = Counter()
        self._lock = threading.RLock()

    @property
    def complete(self) -> bool:
        """Whether all of the harm came."""
        return not self._to_come

    def loses(self, try_number: int) -> bool:
        """Whether a leg of this try is the next that is harmed, and will be taken for dead while it lives."""
        return bool(self._to_come) and (self._to_come[0].kind, self._to_come[0].step.try_number) == ("lost", try_number)

    def reach(self, try_number: int, where: Where, what: str, phase: Phase) -> Harm | None:
        """Take down a step, and return what happens there."""
        with self._lock:
            kind = Step(try_number, where, what, phase, 0)
            self._counted[kind] += 1
            step = replace(kind, number=self._counted[kind])
            self.steps.append(step)
            if self._to_come and self._to_come[0].step == step:
                harm = self._to_come.pop(0)
                self.came.append((harm, len(self.steps)))
                return harm
            return None


#: Whose code runs. Threads that Python starts with an empty context belong to the process that began last.
CURRENT: ContextVar[Process] = ContextVar("CURRENT")


class Process:
    """One process of the task: a leg on a worker, or the triggerer that has its trigger.

    :param try_number: The try that it is of.
    :param generation: How often a user had stopped the task by then.
    :param act: Does what is done in Airflow's database.
    """

    def __init__(
        self, course: Course, where: Where, try_number: int, generation: int, act: Callable[[Kind], None]
    ) -> None:
        self.where = where
        self.try_number = try_number
        self.generation = generation
        self.dead = False
        #: Whether its task has ended here, so that no signal may reach it any more.
        self.left = False
        #: What it touches the outside for, where that is not the task itself.
        self.doing = ""
        #: What it is told in the middle of its work.
        self.harm: Harm | None = None
        #: Airflow takes it for dead.
        self.lost = threading.Event()
        #: Whether it goes on beside the next try, and not when all is over.
        self.beside = False
        #: It goes on: its supervisor learns that the task is no longer its own, and stops it.
        self.found = threading.Event()
        #: What a user did is being told to it.
        self.begun = threading.Event()
        #: What a user did has been told to it, and it has done what it does then.
        self.handled = threading.Event()
        self.on_kill: Callable[[], None] = lambda: None
        #: Wakes the triggerer.
        self.wake: Callable[[], None] = lambda: None
        self._course = course
        self._act = act
        self._thread = threading.get_ident()

    @contextmanager
    def touch(self, what: str) -> Iterator[None]:
        """Touch the outside by a call that blocks."""
        self._at(what, "before")
        yield
        self._at(what, "after")

    def moment(self, what: str) -> None:
        """Be about to do what cannot be half done."""
        self._at(what, "before")

    def _at(self, what: str, phase: Phase) -> None:
        harm = self._reach(what, phase)
        if harm is None:
            return
        match harm.kind:
            case "raises":
                raise RuntimeError("API_SERVER_ERROR")
            case "lost":
                self._lose(harm)
                self.found.wait()
                self.on_kill()
            case _:
                self.receive(harm)
                if self.where == "worker":
                    # Airflow answers it meanwhile; who stops the task may wait for that. But after a reset nobody
                    # does: what dies then is to get no further.
                    (self.handled if harm.kind == "reset" else self.begun).wait()
                # The triggerer's thread is not held: what its trigger asks then needs it.
        self._unless_dead()

    async def at(self, what: str, phase: Phase) -> None:
        """Be at a step of a request."""
        harm = self._reach(what, phase)
        if harm is None:
            return
        match harm.kind:
            case "raises":
                raise ConnectionResetError("harmed")
            case "lost":
                self._lose(harm)
                await _until(self.found)
                await asyncio.to_thread(self.on_kill)
            case _:
                self.receive(harm)
                await _until(self.handled)
        self._unless_dead()

    def _reach(self, what: str, phase: Phase) -> Harm | None:
        self._unless_dead()
        harm = self._course.reach(self.try_number, self.where, self.doing + what, phase)
        if harm is not None and harm.kind == "dies":
            self.die()
        return harm

    def _unless_dead(self) -> None:
        if self.dead:
            # A thread that only asks Airflow something takes no other, and nobody takes it from there.
            raise RuntimeError if threading.current_thread().name.endswith("(ask)") else Died

    def _lose(self, harm: Harm) -> None:
        self.beside = harm.then == "beside"
        self.lost.set()

    def die(self) -> None:
        """End at once."""
        self.dead = True
        self.begun.set()
        self.handled.set()
        self.wake()
        if self.where == "worker" and not self._is_here:
            self.signal()
        raise Died

    def receive(self, harm: Harm) -> None:
        """Learn in the middle of it all that somebody stops the task, or that the machine stops."""
        if harm.kind in ACTIONS:
            self._act(harm.kind)
        self.harm = harm
        if self.where == "triggerer":
            self.wake()
        elif self._is_here:
            self.heed()
        else:
            self.signal()

    def heed(self) -> None:
        """Do what a worker's process does at Airflow's signal. Runs in its main thread."""
        if self.left:
            return
        harm, self.harm = self.harm, None
        if harm is not None:
            self.begun.set()
            if harm.kind == "out of time":
                # Airflow's own signal raises it, and the task has time.
                self.handled.set()
                raise AirflowTaskTimeout
            try:
                self.on_kill()
            finally:
                if harm.then == "dies":
                    self.dead = True
                self.handled.set()
        self._unless_dead()

    def signal(self) -> None:
        """Interrupt the main thread."""
        signal.pthread_kill(self._thread, signal.SIGUSR1)

    @property
    def _is_here(self) -> bool:
        return threading.get_ident() == self._thread


async def _until(event: threading.Event) -> None:
    while not event.is_set():
        await asyncio.sleep(LOOK_AGAIN)
