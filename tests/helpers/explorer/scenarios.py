"""What is harmed: one task, in a mode, with a store, on a connection that is idle or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import product
from typing import Any, Literal

from airbyte_deferrable.operators import AirbyteTriggerSyncOperator, SubmitPolicy
from airbyte_deferrable.sensors import AirbyteJobSensor
from airbyte_deferrable.simulator import Simulator
from helpers.airbyte import ENDLESS
from helpers.explorer.airbyte import Airbyte, Fate
from helpers.explorer.airflow import Airflow
from helpers.explorer.steps import Course, Harm
from helpers.explorer.wiring import wired

Mode = Literal["worker", "deferred", "asynchronous", "poke", "reschedule", "deferrable"]
IfRunning = Literal["wait", "attach", "skip", "fail"]
#: Of a sensor.
SENSES: tuple[Mode, ...] = ("poke", "reschedule", "deferrable")


class Once(AirbyteTriggerSyncOperator):
    """The operator, in a hurry."""

    submit_policy = SubmitPolicy(settle=0.1, unreachable=5.0, pause=0.02, unlisted=0.05)


class Twice(Once):
    """Runs its connection twice, one job after the other."""

    def execute(self, context: Any) -> Any:
        first = super().execute(context)
        return [first, super().execute(context)]


class TwiceDeferred(Once):
    """Runs its connection twice, and leaves its worker for each."""

    def execute(self, context: Any) -> Any:
        # A retry may find its job ended, and then does not leave.
        return self._go_on(context, super().execute(context))

    def execute_complete(self, context: Any, event: Any = None) -> Any:
        return self._go_on(context, super().execute_complete(context, event))

    def _go_on(self, context: Any, job_id: Any) -> Any:
        if isinstance(job_id, list):
            return job_id
        ti = context["ti"]
        done = [*(ti.db.read_xcom("done") or []), job_id]
        ti.xcom_push(key="done", value=done)
        return done if len(done) == 2 else self.execute(context)


@dataclass(frozen=True)
class Scenario:
    """One task.

    :param mode: How it waits; of the last three it is a sensor.
    :param retries: How many tries are left after the first.
    :param has_store: Whether there is a task state store, or Variables.
    :param busy: Whether somebody else's job runs when it begins; a sensor waits for that.
    :param if_running: What the task does then.
    :param fates: How its jobs end, in their order; the others succeed.
    :param cancel_on_kill: Whether its job goes with a task that a user kills.
    :param execution_timeout: Whether it has one: then that is what is explored.
    """

    mode: Mode
    retries: int = 2
    has_store: bool = True
    busy: bool = False
    if_running: IfRunning = "wait"
    map_index: int = -1
    runs: int = 1
    fates: tuple[Fate, ...] = ()
    cancel_on_kill: bool = True
    execution_timeout: bool = False

    def __str__(self) -> str:
        told = [self.mode, "task state store" if self.has_store else "Variable", f"{self.retries} retries"]
        told += [f"busy, {self.if_running}"] if self.busy and self.mode not in SENSES else []
        told += ["mapped"] if self.map_index >= 0 else []
        told += [f"{self.runs} runs"] if self.runs > 1 else []
        told += [f"jobs {' '.join(self.fates)}"] if self.fates else []
        told += [] if self.cancel_on_kill else ["cancel_on_kill=False"]
        told += ["execution_timeout"] if self.execution_timeout else []
        return ", ".join(told)

    @property
    def is_sensor(self) -> bool:
        return self.mode in SENSES

    @property
    def plain(self) -> bool:
        """Whether everything is done to it; of the others, what may differ."""
        return self.mode in ("worker", "deferred") and self == Scenario(self.mode, has_store=self.has_store)

    def make(self, connection_id: str, job_id: int | None) -> Any:
        """Make the operator or sensor."""
        quick: dict[str, Any] = {"task_id": "sync", "progress_seconds": 0}
        if self.is_sensor:
            way: dict[str, Any] = {"deferrable": True} if self.mode == "deferrable" else {"mode": self.mode}
            return AirbyteJobSensor(airbyte_job_id=job_id or 0, poke_interval=0.02, timeout=60, **way, **quick)
        deferrable = self.mode == "deferred"
        kind = Once if self.runs == 1 else TwiceDeferred if deferrable else Twice
        return kind(
            connection_id=connection_id,
            deferrable=deferrable,
            asynchronous=self.mode == "asynchronous",
            if_running=self.if_running,
            cancel_on_kill=self.cancel_on_kill,
            execution_timeout=timedelta(hours=1) if self.execution_timeout else None,
            wait_seconds=0.02,
            timeout=60,
            **quick,
        )


@dataclass
class Ran:
    """What became of a case."""

    scenario: Scenario
    harms: tuple[Harm, ...]
    airflow: Airflow
    airbyte: Airbyte
    course: Course
    jobs: list[dict[str, Any]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"[{self.scenario}] " + "; ".join(map(str, self.harms))


def run(sim: Simulator, scenario: Scenario, harms: Sequence[Harm] = ()) -> Ran:
    """Run a scenario with some harm, on a connection of its own."""
    course = Course(harms)
    airbyte = Airbyte(sim, course, sim.add_connection(script=ENDLESS), scenario.fates)
    needs_job = scenario.busy or scenario.is_sensor
    job_id = sim.add_job(airbyte.connection_id, ENDLESS)["id"] if needs_job else None
    airflow = Airflow(
        lambda: scenario.make(airbyte.connection_id, job_id),
        course,
        airbyte,
        retries=scenario.retries,
        map_index=scenario.map_index,
        has_store=scenario.has_store,
    )
    with wired(airflow, airbyte):
        airflow.run()
    return Ran(scenario, tuple(harms), airflow, airbyte, course, airbyte.jobs())


def scenarios() -> Iterator[Scenario]:
    """All of them."""
    for has_store in (True, False):
        for mode, retries in product(("worker", "deferred", "asynchronous"), (2, 0)):
            yield Scenario(mode, retries, has_store)  # type: ignore[arg-type]
        for plain in (Scenario("worker", 2, has_store), Scenario("deferred", 2, has_store)):
            yield replace(plain, map_index=3)
            yield replace(plain, runs=2)
            yield replace(plain, fates=("failed",))
            yield replace(plain, busy=True)
            yield replace(plain, busy=True, if_running="attach")
            yield replace(plain, busy=True, if_running="skip")
            yield replace(plain, busy=True, if_running="fail")
            yield replace(plain, cancel_on_kill=False)
            yield replace(plain, execution_timeout=True)
    for mode in SENSES:
        yield Scenario(mode)
