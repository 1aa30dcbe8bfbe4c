"""How long worker slots are taken: as Airflow's supervisors tell it, and as Airflow's database sees it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

#: Seconds between two samples. A leg takes about a second; each end of it is then missed by a twentieth of one at
#: most, as often too early as too late.
EVERY = 0.1
#: What the supervisor of a task's process logs last: it sits in the executor's slot, from before the process starts
#: until the outcome is told to Airflow and the last line of the process is read. See ``supervise_task`` in Airflow.
#: The executors hold the slot no longer: Celery's own account of the same legs is 0.05 s more, the titles of
#: LocalExecutor's worker processes, sampled, say the same within a hundredth.
FINISHED = re.compile(
    r"Workload finished.*?\bduration=(?P<seconds>[\d.e-]+).*?\bfinal_state=(?P<state>\w+).*?\bworkload_id=(?P<task>\S+)"
)
DEFERRED = "deferred"


def slot_seconds(samples: Sequence[tuple[float, float]]) -> float:
    """Return the area below samples, straight lines between them: they come late when the machine is busy.

    :param samples: Seconds on any clock, in order, each with the number of slots taken then.
    """
    return sum((then - now) * (taken + later) / 2 for (now, taken), (then, later) in pairwise(samples))


@dataclass
class Legs:
    """How long each leg of the tasks had a worker slot, in seconds.

    :param first: Those that ended with the task deferred.
    :param last: Those that ended the task, by the task instance's id.
    """

    first: list[float] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)


def read_legs(log: str, tasks: Collection[str]) -> Legs:
    """Return the legs of which a log tells.

    :param log: What the processes that hold the slots logged: LocalExecutor's workers or Celery's.
    :param tasks: Ids of the task instances; legs of others are left out.
    """
    legs = Legs()
    for line in FINISHED.finditer(log):
        if line["task"] not in tasks:
            continue
        if line["state"] == DEFERRED:
            legs.first.append(float(line["seconds"]))
        else:
            legs.last[line["task"]] = float(line["seconds"])
    return legs


class LegReader:
    """Reads the legs that ended since it was made.

    :param logs: The files of the processes that hold the slots.
    """

    def __init__(self, logs: Sequence[Path]) -> None:
        self._begins = {log: log.stat().st_size for log in logs}

    def read(self, tasks: Collection[str], limit: float = 60.0) -> Legs:
        """Return them, once each task has ended. Its supervisor goes on for a moment after its state has changed.

        :param tasks: Ids of the task instances: a supervisor of an earlier run may only end now.
        :param limit: Seconds.
        :raises TimeoutError: Not all were told of by then.
        """
        deadline = time.monotonic() + limit
        while len((legs := read_legs(self._text(), tasks)).last) < len(tasks):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the supervisors told of the end of {len(legs.last)} tasks, not {len(tasks)}")
            time.sleep(EVERY)
        return legs

    def _text(self) -> str:
        text = ""
        for log, begin in self._begins.items():
            with log.open("rb") as file:
                file.seek(begin)
                text += file.read().decode(errors="replace")
        return text


class Sampler(threading.Thread):
    """Asks for a number again and again, for ``with Sampler(count) as sampler``.

    :param count: Returns the number.
    """

    def __init__(self, count: Callable[[], float]) -> None:
        super().__init__(daemon=True)
        self._count = count
        self._done = threading.Event()
        self._error: Exception | None = None
        self.samples: list[tuple[float, float]] = []

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self.join()
        if self._error and not any(exception):
            raise self._error

    def run(self) -> None:
        """Sample until told to stop; what goes wrong is raised where the sampler was started."""
        try:
            while not self._done.wait(EVERY):
                self.samples.append((time.monotonic(), self._count()))
        except Exception as error:
            self._error = error
