"""Who may stop a job: a person and a deadline. Nothing that crashes, restarts or pauses does.

Every cell has a run, a connection and a job of its own; the job never ends by itself. All runs are started together,
acted upon one after the other, and judged by what the simulated Airbyte says: which jobs there are, whether somebody
asked to cancel one, and when it was cancelled.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from airbyte_deferrable._compat import AIRFLOW_3
from airbyte_deferrable.simulator import Fault, Script
from harness.airflow import LocalAirflow
from harness.processes import is_dead
from harness.waiting import eventually

from .support import DAGS, Airbyte

pytestmark = [pytest.mark.e2e, pytest.mark.killmatrix]

FOREVER = Script(duration=10, outcome=None)
TERMINAL = ("succeeded", "failed", "cancelled")
#: Seconds that a triggerer may be silent before the others take its triggers.
TRIGGERER_HEALTH = 6
WAYS = ("on_worker", "deferred")
PERSON: dict[str, Callable[[Run], None]] = {
    "mark failed": lambda run: run.airflow.set_state(run.dag_id, run.run_id, "failed", "sync", run.map_index),
    "mark success": lambda run: run.airflow.set_state(run.dag_id, run.run_id, "success", "sync", run.map_index),
    "clear": lambda run: run.airflow.clear(run.dag_id, run.run_id, "sync", run.map_index),
    "run failed": lambda run: run.airflow.set_state(run.dag_id, run.run_id, "failed"),
}


def moment(text: str) -> float:
    """A time that Airflow's API tells, in seconds since the epoch. Python 3.10 does not know its "Z"."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@dataclass
class Run:
    """A run of one of the DAGs, or one map index of it, on a connection of its own."""

    airflow: LocalAirflow
    airbyte: Airbyte
    kind: str
    way: str
    connection_id: str
    run_id: str = ""
    map_index: int = -1
    acted_at: float = 0.0
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def dag_id(self) -> str:
        return f"kill_{self.kind}_{self.way}"

    def start(self) -> None:
        self.run_id = self.airflow.trigger(self.dag_id, conf={"connection_id": self.connection_id, **self.more})

    def task(self) -> dict[str, Any]:
        return self.airflow.task_instance(self.dag_id, self.run_id, "sync", self.map_index)

    def jobs(self) -> list[dict[str, Any]]:
        return self.airbyte.jobs(self.connection_id)

    def process(self) -> psutil.Process:
        """The process on the worker that runs it."""
        return psutil.Process(self.task()["pid"])

    def waits(self) -> bool:
        """Whether its job runs, and it waits where it should."""
        if not [job for job in self.jobs() if job["status"] == "running"]:
            return False
        task = self.task()
        if self.way == "on_worker":
            return task["state"] == "running" and bool(task["pid"])
        # A trigger that has not begun yet is dropped without a word when its task is killed.
        told = f"Airbyte job {self.jobs()[0]['id']} is running"
        return task["state"] == "deferred" and told in self.log()

    def act(self, action: str) -> None:
        self.acted_at = time.time()
        PERSON[action](self)

    def cancelled_after(self) -> float:
        """Wait until its first job is cancelled; return how long that took after the action, in seconds."""
        eventually(lambda: self.jobs()[0]["status"] in TERMINAL)
        job = self.jobs()[0]
        assert job["status"] == "cancelled", job
        assert job["cancel_requested_by"] == job["id"], job
        return job["updatedAt"] - self.acted_at

    def ended_at(self) -> float:
        """When its DAG run ended, seconds since the epoch."""
        run = self.airflow.api("GET", f"/dags/{self.dag_id}/dagRuns/{self.run_id}")
        return moment(run["end_date"])

    def triggerer_seen_at(self) -> float:
        """When the triggerer that has it was alive, seconds since the epoch; 0 if none has it."""
        triggerer = self.task()["triggerer_job"]
        return moment(triggerer["latest_heartbeat"]) if triggerer else 0.0

    def log(self) -> str:
        """What its present try has written."""
        return self.airflow.log(self.dag_id, self.run_id, "sync", self.task()["try_number"], self.map_index)

    def variables(self) -> list[str]:
        """What Airflow's Variables keep of it."""
        kept = self.airflow.api("GET", "/variables?limit=100")["variables"]
        return [each["key"] for each in kept if self.run_id in (each["description"] or "")]

    def untouched(self) -> bool:
        """Whether it has one job, which runs, and nobody asked to cancel it."""
        return [(job["status"], job["cancel_requested_by"]) for job in self.jobs()] == [("running", None)]


class Matrix:
    """The Airflow and the Airbyte of the matrix."""

    def __init__(self, airflow: LocalAirflow, airbyte: Airbyte) -> None:
        self.airflow = airflow
        self.airbyte = airbyte
        self.table: list[tuple[str, str, str, str]] = []
        #: Runs whose jobs nobody may stop, however long one waits.
        self.left_alone: list[Run] = []

    def run(self, kind: str, way: str, script: Script = FOREVER, **more: Any) -> Run:
        """Start a run of a DAG on a connection of its own."""
        connection_id = self.airbyte.add_connection(name=f"{kind} {way}", script=script)
        run = Run(self.airflow, self.airbyte, kind, way, connection_id, more=more)
        if kind == "adopted":
            self.airbyte.add_job(connection_id)
        run.start()
        return run

    def mapped(self, way: str, number: int) -> list[Run]:
        """Start one run with a mapped task, and return its map indexes, each on a connection of its own."""
        ids = [self.airbyte.add_connection(name=f"mapped {way} {index}", script=FOREVER) for index in range(number)]
        run_id = self.airflow.trigger(f"kill_mapped_{way}", conf={"connection_ids": ids})
        return [
            Run(self.airflow, self.airbyte, "mapped", way, connection_id, run_id, index)
            for index, connection_id in enumerate(ids)
        ]

    def waiting(self, kind: str, way: str, **more: Any) -> Run:
        """Start a run and see it wait for its job."""
        run = self.run(kind, way, **more)
        eventually(run.waits)
        return run

    def note(self, cell: str, way: str, jobs: str, seconds: float | None) -> None:
        """Put down a line of the table."""
        self.table.append((cell, way, jobs, "" if seconds is None else f"{seconds:.1f} s"))


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """Start an Airflow with two triggerers."""
    home = tmp_path_factory.mktemp("kill-matrix")
    (home / "dags").mkdir()
    shutil.copy(DAGS / "kill_dags.py", home / "dags")
    with (
        Airbyte(home / "airbyte.log") as airbyte,
        LocalAirflow(
            home,
            dags=home / "dags",
            parallelism=16,
            triggerers=2,
            connections={"airbyte_default": airbyte.airflow_connection},
            config={
                # A scheduler that starts finds what another has left, once that is silent for 30 s.
                "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
                "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
                "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(TRIGGERER_HEALTH),
                # A worker that cannot report on its task stops it within seconds, not minutes.
                "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "3",
                "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MIN": "0.1",
                "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "0.5",
                # But a busy machine's is slow to answer for the first time.
                "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
                "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "2",
                "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
            },
        ) as airflow,
    ):
        found = Matrix(airflow, airbyte)
        yield found
        widths = [max(map(len, column)) for column in zip(*found.table, strict=True)]
        print(f"\nThe kill matrix, Airflow {airflow.version}")
        for line in sorted(found.table):
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


# What a person does


def person_cells() -> Iterator[Any]:
    for action, way in product(PERSON, WAYS):
        if AIRFLOW_3 or (action, way) != ("clear", "on_worker"):
            # Airflow 2.11 answers 200 to a call that clears a running task, and lets it run on.
            yield action, way


@pytest.mark.parametrize(("action", "way"), list(person_cells()))
def test_task_that_a_person_stops_has_its_job_cancelled(matrix: Matrix, action: str, way: str) -> None:
    run = matrix.waiting("plain", way)
    run.act(action)
    seconds = run.cancelled_after()
    if action == "clear":
        # The new try has a job of its own.
        eventually(lambda: [job["status"] for job in run.jobs()] == ["cancelled", "running"])
        run.airbyte.finish(run.jobs()[1]["id"], "succeeded")
    matrix.note(action, way, "cancelled" + (", 1 new one" if action == "clear" else ""), seconds)


@pytest.mark.parametrize("way", WAYS)
def test_map_index_that_a_person_stops_has_its_own_job_cancelled_and_no_other(matrix: Matrix, way: str) -> None:
    # Airflow 2.11 cannot clear a single index over its API.
    actions = [action for action in PERSON if action != "run failed" and (AIRFLOW_3 or action != "clear")]
    runs = matrix.mapped(way, len(actions) + 2)
    for run in runs:
        eventually(run.waits)
    # Neighbours on either side, which nobody stops.
    first, *stopped, last = runs
    for action, run in zip(actions, stopped, strict=True):
        run.act(action)
        matrix.note(f"{action}, one map index", way, "cancelled, no other", run.cancelled_after())
    for action, run in zip(actions, stopped, strict=True):
        statuses = [job["status"] for job in run.jobs()]
        assert statuses[0] == "cancelled"
        if action == "clear":
            # The new try has a job of its own.
            eventually(lambda run=run: [job["status"] for job in run.jobs()] == ["cancelled", "running"])
            run.airbyte.finish(run.jobs()[1]["id"], "succeeded")
        else:
            assert statuses == ["cancelled"]
    assert first.untouched()
    assert last.untouched()
    matrix.left_alone += [first, last]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["kept", "adopted"])
def test_job_that_is_not_to_be_cancelled_survives_what_a_person_does(matrix: Matrix, kind: str, way: str) -> None:
    runs = {action: matrix.run(kind, way) for action in PERSON}
    others = matrix.run("plain", way)
    for run in (*runs.values(), others):
        eventually(run.waits)
    for action, run in runs.items():
        run.act(action)
    others.act("mark failed")
    others.cancelled_after()
    for action, run in runs.items():
        assert run.untouched(), action
        matrix.note(f"{action}, {kind}", way, "left alone", None)
    matrix.left_alone += runs.values()


# What the clock does


def test_execution_timeout_and_dagrun_timeout_cancel_the_job_and_timeout_does_not(matrix: Matrix) -> None:
    kinds = "overdue", "overdue_run", "timed_out"
    overdue, overdue_runs, timed_out = ({way: matrix.run(kind, way) for way in WAYS} for kind in kinds)
    for run in overdue_runs.values():
        eventually(run.waits)
    for way, run in overdue.items():
        assert run.airflow.wait(run.dag_id, run.run_id) == "failed"
        (job,) = run.jobs()
        assert job["status"] == "cancelled"
        if AIRFLOW_3 or way == "on_worker":
            # Airflow 2 also keeps this clock for deferred tasks, and on a slow machine is first to say so.
            assert "AirbyteTimeout" in run.log()
            assert "execution_timeout" in run.log()
        matrix.note("execution_timeout", way, "cancelled", job["updatedAt"] - job["createdAt"] - 20)
    for way, run in overdue_runs.items():
        assert run.airflow.wait(run.dag_id, run.run_id) == "failed"
        run.acted_at = run.ended_at()
        seconds = run.cancelled_after()
        assert len(run.jobs()) == 1
        assert run.task()["state"] == "skipped"
        matrix.note("dagrun_timeout", way, "cancelled", seconds)
    for way, run in timed_out.items():
        assert run.airflow.wait(run.dag_id, run.run_id) == "failed"
        assert run.untouched()
        assert "AirbyteTimeout" in run.log()
        matrix.note("timeout", way, "left alone", None)
        matrix.left_alone.append(run)


# What machines do


def kill(airflow: LocalAirflow, triggerer: str) -> None:
    airflow.kill(triggerer)


def terminate(airflow: LocalAirflow, triggerer: str) -> None:
    airflow.kill(triggerer, signal.SIGTERM, everything=False)
    eventually(lambda: airflow.returncode(triggerer) is not None)


def pause(airflow: LocalAirflow, triggerer: str) -> None:
    airflow.kill(triggerer, signal.SIGSTOP)


@pytest.mark.parametrize("disturb", [kill, terminate, pause])
def test_triggerer_that_stops_or_pauses_cancels_no_job(
    matrix: Matrix, disturb: Callable[[LocalAirflow, str], None]
) -> None:
    runs = [matrix.run("plain", "deferred") for _ in range(3)]
    for run in runs:
        eventually(run.waits)
    for triggerer in ("triggerer", "triggerer-2"):
        disturb(matrix.airflow, triggerer)
        # Whoever has the tasks then was alive after the other one had been given up.
        given_up = time.time() + TRIGGERER_HEALTH
        eventually(lambda given_up=given_up: all(run.triggerer_seen_at() > given_up for run in runs))
        if disturb is pause:
            matrix.airflow.kill(triggerer, signal.SIGCONT)
        else:
            matrix.airflow.restart(triggerer)
    # The triggerers work, so they have also dealt with what they found when they came back.
    others = matrix.waiting("plain", "deferred")
    others.act("mark failed")
    others.cancelled_after()
    matrix.note(f"triggerer: {disturb.__name__}", "deferred", "left alone", None)
    matrix.left_alone.append(runs.pop())
    for run in runs:
        assert run.untouched()
        run.airbyte.finish(run.jobs()[0]["id"], "succeeded")
    for run in runs:
        assert run.airflow.wait(run.dag_id, run.run_id) == "success"
        assert [job["status"] for job in run.jobs()] == ["succeeded"]


def finds_its_job(matrix: Matrix, run: Run, cell: str) -> None:
    """See a later try wait for the one job, and end with it."""
    eventually(lambda: run.task()["try_number"] > 1 and run.waits())
    assert run.untouched()
    run.airbyte.finish(run.jobs()[0]["id"], "succeeded")
    assert run.airflow.wait(run.dag_id, run.run_id) == "success"
    assert [job["status"] for job in run.jobs()] == ["succeeded"]
    matrix.note(cell, run.way, "found again", None)


def test_task_that_is_killed_while_it_waits_finds_its_job_again(matrix: Matrix) -> None:
    run = matrix.waiting("retried", "on_worker")
    run.process().kill()
    finds_its_job(matrix, run, "kill -9 while it waits")


@pytest.mark.parametrize("way", WAYS)
def test_task_that_is_killed_while_it_starts_its_job_finds_it(matrix: Matrix, way: str) -> None:
    matrix.airbyte.add_fault(Fault(call="create", kind="lost_answer", seconds=60, times=1))
    run = matrix.run("retried", way)
    eventually(run.jobs)
    eventually(lambda: run.task()["pid"])
    run.process().kill()
    finds_its_job(matrix, run, "kill -9 before it knows its job")


def test_task_that_is_killed_after_its_job_has_succeeded_does_not_start_another(matrix: Matrix, tmp_path: Path) -> None:
    run = matrix.run("lingering", "deferred", script=Script(duration=1), mark=str(tmp_path / "mark"))
    eventually((tmp_path / "mark").exists)
    run.process().kill()
    ends_with_its_one_job(run)
    matrix.note("kill -9 after the job's end", "resuming", "found again", None)


def test_task_whose_result_cannot_be_pushed_does_not_start_another(matrix: Matrix) -> None:
    run = matrix.run("unpushable", "on_worker", script=Script(duration=1))
    ends_with_its_one_job(run)
    matrix.note("result not pushed", "on_worker", "found again", None)


def test_task_whose_map_index_cannot_be_rendered_does_not_start_another(matrix: Matrix) -> None:
    run = matrix.run("unnamed", "on_worker", script=Script(duration=1))
    ends_with_its_one_job(run)
    matrix.note("map index not rendered", "on_worker", "found again", None)


def ends_with_its_one_job(run: Run) -> None:
    assert run.airflow.wait(run.dag_id, run.run_id) == "success"
    assert run.task()["try_number"] > 1
    (job,) = run.jobs()
    assert run.airflow.xcom(run.dag_id, run.run_id, "sync") == job["id"]
    eventually(lambda: not run.variables())


def test_last_try_that_does_not_come_to_its_job_leaves_no_variable(matrix: Matrix) -> None:
    run = matrix.waiting("misled", "on_worker")
    run.process().kill()
    assert run.airflow.wait(run.dag_id, run.run_id) == "failed"
    assert run.task()["try_number"] == 2
    assert run.untouched()
    assert not run.variables()
    matrix.note("last try fails early", "on_worker", "left alone, no Variable", None)
    matrix.left_alone.append(run)


# What a person does while no process of the task is alive


def rest(run: Run) -> None:
    """Let its worker die, so that it waits for its next try, which is far off."""
    run.process().kill()
    eventually(lambda: run.task()["state"] == "up_for_retry")
    assert run.untouched()


def starts_afresh(matrix: Matrix, run: Run, cell: str) -> None:
    """See the old job cancelled, and one new one."""
    seconds = run.cancelled_after()
    eventually(lambda: [job["status"] for job in run.jobs()] == ["cancelled", "running"])
    run.airbyte.finish(run.jobs()[1]["id"], "succeeded")
    assert run.airflow.wait(run.dag_id, run.run_id) == "success"
    assert len(run.jobs()) == 2
    matrix.note(cell, run.way, "cancelled, 1 new one", seconds)


def test_task_that_is_cleared_while_it_is_up_for_retry_has_its_job_cancelled(matrix: Matrix) -> None:
    run = matrix.waiting("resting", "on_worker")
    rest(run)
    run.act("clear")
    starts_afresh(matrix, run, "clear, up for retry")


def test_task_that_is_marked_while_it_is_up_for_retry_leaves_its_job_running(matrix: Matrix) -> None:
    run = matrix.waiting("resting", "on_worker")
    rest(run)
    run.act("mark failed")
    eventually(lambda: run.task()["state"] == "failed")
    matrix.note("mark failed, up for retry", "on_worker", "left alone", None)
    matrix.left_alone.append(run)


def test_task_that_is_cleared_before_its_trigger_begins_has_its_job_cancelled(matrix: Matrix) -> None:
    triggerers = "triggerer", "triggerer-2"
    for triggerer in triggerers:
        matrix.airflow.kill(triggerer)
    # Before Airflow 3.3, a task without retries has no record.
    run = matrix.run("resting", "deferred")
    eventually(lambda: run.jobs() and run.jobs()[0]["status"] == "running" and run.task()["state"] == "deferred")
    run.act("clear")
    run.cancelled_after()
    for triggerer in triggerers:
        matrix.airflow.restart(triggerer)
    starts_afresh(matrix, run, "clear, no trigger yet")


def test_clear_that_leaves_max_tries_alike_runs_the_task_again(matrix: Matrix) -> None:
    """``retries`` is lowered from one, which was used, to none: as far as Airflow tells, it may also be a retry."""
    run = matrix.waiting("lowered", "on_worker")
    rest(run)
    dags = matrix.airflow.dags
    (dags / "retries").write_text("0")
    (dags / "kill_dags.py").touch()
    eventually(lambda: run.airflow.api("GET", f"/dags/{run.dag_id}/tasks/sync")["retries"] == 0, 120)
    run.act("clear")
    eventually(lambda: run.task()["state"] == "running" and "waiting for its end" in run.log())
    assert run.untouched()
    run.airbyte.finish(run.jobs()[0]["id"], "succeeded")
    eventually(lambda: [job["status"] for job in run.jobs()] == ["succeeded", "running"])
    run.airbyte.finish(run.jobs()[1]["id"], "succeeded")
    assert run.airflow.wait(run.dag_id, run.run_id) == "success"
    matrix.note("clear, retries lowered", "on_worker", "waited for, 1 new one", None)


def test_worker_that_is_told_to_stop_cancels_nothing(matrix: Matrix) -> None:
    run = matrix.waiting("retried", "on_worker")
    process = run.process()
    # As systemd and container runtimes do, to every process of the worker at once: first asking, then not.
    process.terminate()
    with suppress(psutil.TimeoutExpired):
        process.wait(10)
    with suppress(psutil.NoSuchProcess):
        process.kill()
    finds_its_job(matrix, run, "worker: terminate")


def test_worker_that_loses_the_api_server_cancels_nothing(matrix: Matrix) -> None:
    run = matrix.waiting("retried", "on_worker")
    process = run.process()
    server = "api-server" if AIRFLOW_3 else "webserver"
    matrix.airflow.kill(server)
    if AIRFLOW_3:
        # Airflow stops a task that it cannot report on.
        process.wait(60)
    matrix.airflow.restart(server)
    eventually(lambda: answers(run))
    if AIRFLOW_3:
        finds_its_job(matrix, run, "API server: kill")
    else:
        assert run.waits()
        assert run.untouched()


def test_worker_whose_scheduler_dies_cancels_nothing(matrix: Matrix) -> None:
    """The next scheduler does not know who runs the task, and starts it over; its process is stopped."""
    run = matrix.waiting("retried", "on_worker")
    process = run.process()
    # Alone: what it has started lives on, as on the machines of workers.
    matrix.airflow.kill("scheduler", everything=False)
    with matrix.airflow.successor("scheduler"):
        # Airflow 2 begins the next try beside it, and stops it minutes later.
        eventually(lambda: is_dead(process.pid) if AIRFLOW_3 else run.task()["try_number"] > 1)
        assert run.untouched()
    # With the first one's workers end its connections to the database, whose locks keep a successor from its work.
    matrix.airflow.restart("scheduler")
    finds_its_job(matrix, run, "scheduler: kill")


def answers(run: Run) -> bool:
    try:
        run.task()
    except httpx.TransportError:
        return False
    return True


def test_jobs_that_were_left_alone_still_run(matrix: Matrix) -> None:
    assert [run for run in matrix.left_alone if not run.untouched()] == []
