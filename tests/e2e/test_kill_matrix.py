"""Who may stop a job: a person and a deadline. Nothing that crashes, restarts or pauses does.

Every cell has a run, a connection and a job of its own; the job never ends by itself. All runs are started together,
acted upon one after the other, and judged by what the simulated Airbyte says: which jobs there are, whether somebody
asked to cancel one, and when it was cancelled. What comes of each is in the table of :mod:`helpers.kill_cells`.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from packaging.version import Version

from airbyte_deferrable._compat import AIRFLOW_3
from airbyte_deferrable.simulator import Fault, Script
from harness.airflow import LocalAirflow
from harness.processes import is_dead
from harness.rest import FINISHED_RUN
from harness.waiting import eventually
from helpers.kill_cells import CELLS, DEFERRED, WORKER, Cell, Outcome

from .support import DAGS, Airbyte

pytestmark = [pytest.mark.e2e, pytest.mark.killmatrix]

FOREVER = Script(duration=10, outcome=None)
TERMINAL = ("succeeded", "failed", "cancelled")
#: Seconds that a triggerer may be silent before the others take its triggers.
TRIGGERER_HEALTH = 6
TRIGGERERS = ("triggerer", "triggerer-2")
BEFORE_3_3 = Version(version("apache-airflow")) < Version("3.3")
#: The pool of those that a test keeps waiting for a worker, as kill_dags.py has it.
POOL = "gate"
SLOTS = 16
WAYS = (*WORKER, *DEFERRED)
#: What the table calls them.
KINDS = {"kept": "cancel_on_kill=False", "adopted": "job of somebody else"}
PERSON: dict[str, Callable[[Run], None]] = {
    "mark failed": lambda run: run.airflow.set_state(run.dag_id, run.run_id, "failed", "sync", run.map_index),
    "mark success": lambda run: run.airflow.set_state(run.dag_id, run.run_id, "success", "sync", run.map_index),
    "clear": lambda run: run.airflow.clear(run.dag_id, run.run_id, "sync", run.map_index),
    "mark run failed": lambda run: run.airflow.set_state(run.dag_id, run.run_id, "failed"),
}
#: What is done to a task that no process runs. A run that is marked does no more than mark its tasks.
AT_REST = ("clear", "mark failed", "mark success")


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
    mark: Path | None = None

    @property
    def dag_id(self) -> str:
        return f"kill_{self.kind}_{self.way}"

    def start(self) -> None:
        mark = {"mark": str(self.mark)} if self.mark else {}
        self.run_id = self.airflow.trigger(self.dag_id, conf={"connection_id": self.connection_id, **mark})

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

    def is_as(self, outcome: Outcome) -> bool:
        """Whether the task is what an outcome calls it."""
        task = self.task()
        match outcome.task:
            case "goes on":
                return task["state"] in ("running", "deferred")
            case "runs again":
                return task["try_number"] > 1 and task["state"] in ("running", "deferred", "success")
            case state:
                return bool(task["state"] == state)

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

    def run(self, kind: str, way: str, script: Script = FOREVER, mark: Path | None = None) -> Run:
        """Start a run of a DAG on a connection of its own.

        :param mark: File that the task makes when it lingers, where its DAG does.
        """
        connection_id = self.airbyte.add_connection(name=f"{kind} {way}", script=script)
        run = Run(self.airflow, self.airbyte, kind, way, connection_id, mark=mark)
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

    def waiting(self, kind: str, way: str) -> Run:
        """Start a run and see it wait for its job."""
        run = self.run(kind, way)
        eventually(run.waits)
        return run

    def note(self, what: str, run: Run, job: str, seconds: float | None = None) -> None:
        """Put down a line of the table, and see the task become what the table of all cells says.

        :param what: What has happened.
        :param job: What became of the run's job.
        :param seconds: How long that took.
        """
        found = CELLS[Cell(what, run.way)]
        # Those between the two columns are like one or the other.
        columns = [found.before] * BEFORE_3_3 + [found.now] * AIRFLOW_3
        outcomes = [outcome for outcome in columns if outcome is not None and outcome.job == job]
        assert outcomes, (what, run.way, job)
        try:
            eventually(lambda: any(map(run.is_as, outcomes)))
        except TimeoutError:
            raise AssertionError(f"{what}, {run.way}: not {outcomes}, but {run.task()}\n{run.log()}") from None
        self.table.append((what, run.way, f"{job}; {outcomes[0].task}", "" if seconds is None else f"{seconds:.1f} s"))

    @contextmanager
    def closed_pool(self) -> Iterator[None]:
        """Let no task of the pool have a worker meanwhile, as if others had all of its slots."""
        self.airflow.set_slots(POOL, 0)
        try:
            yield
        finally:
            self.airflow.set_slots(POOL, SLOTS)


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
            parallelism=SLOTS,
            triggerers=2,
            connections={"airbyte_default": airbyte.airflow_connection},
            config={
                # The DAG file takes as long to parse as a test wants.
                "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
                "AIRFLOW__CORE__DAG_FILE_PROCESSOR_TIMEOUT": "600",
                "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "600",
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
        airflow.add_pool(POOL, SLOTS)
        found = Matrix(airflow, airbyte)
        yield found
        widths = [max(map(len, column)) for column in zip(*found.table, strict=True)]
        print(f"\nThe kill matrix, Airflow {airflow.version}")
        for line in sorted(found.table):
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


# What a person does


def is_there(what: str, way: str) -> bool:
    """Whether this Airflow can do that."""
    found = CELLS[Cell(what, way)]
    return (found.now if AIRFLOW_3 else found.before) is not None


@pytest.mark.parametrize(("action", "way"), [each for each in product(PERSON, WAYS) if is_there(*each)])
def test_task_that_a_person_stops_has_its_job_cancelled(matrix: Matrix, action: str, way: str) -> None:
    run = matrix.waiting("plain", way)
    run.act(action)
    seconds = run.cancelled_after()
    if action == "clear":
        # The new try has a job of its own.
        eventually(lambda: [job["status"] for job in run.jobs()] == ["cancelled", "running"])
        run.airbyte.finish(run.jobs()[1]["id"], "succeeded")
    matrix.note(action, run, "cancelled" + (", 1 new" if action == "clear" else ""), seconds)


@pytest.mark.parametrize("way", WAYS)
def test_map_index_that_a_person_stops_has_its_own_job_cancelled_and_no_other(matrix: Matrix, way: str) -> None:
    # Airflow 2.11 cannot clear a single index over its API.
    actions = [action for action in PERSON if action != "mark run failed" and (AIRFLOW_3 or action != "clear")]
    runs = matrix.mapped(way, len(actions) + 2)
    for run in runs:
        eventually(run.waits)
    # Neighbours on either side, which nobody stops.
    first, *stopped, last = runs
    seconds = {}
    for action, run in zip(actions, stopped, strict=True):
        run.act(action)
        seconds[action] = run.cancelled_after()
    for action, run in zip(actions, stopped, strict=True):
        statuses = [job["status"] for job in run.jobs()]
        assert statuses[0] == "cancelled"
        if action == "clear":
            # The new try has a job of its own.
            eventually(lambda run=run: [job["status"] for job in run.jobs()] == ["cancelled", "running"])
            run.airbyte.finish(run.jobs()[1]["id"], "succeeded")
        else:
            assert statuses == ["cancelled"]
        found = "cancelled" + (", 1 new" if action == "clear" else "")
        matrix.note(f"{action}, one map index", run, found, seconds[action])
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
        if is_there(what := f"{action}, {KINDS[kind]}", way):
            matrix.note(what, run, "goes on")
    matrix.left_alone += runs.values()


# What the clock does


def test_execution_timeout_and_dagrun_timeout_cancel_the_job_and_timeout_does_not(matrix: Matrix) -> None:
    kinds = "overdue", "overdue_kept", "overdue_run", "timed_out"
    overdue, kept, overdue_runs, timed_out = ([matrix.run(kind, way) for way in WAYS] for kind in kinds)
    for run in overdue_runs:
        eventually(run.waits)
    for run in (*overdue, *kept):
        assert run.airflow.wait(run.dag_id, run.run_id) == "failed"
        (job,) = run.jobs()
        assert job["status"] == "cancelled"
        if AIRFLOW_3 or run.way == "on_worker":
            # Airflow 2 also keeps this clock for deferred tasks, and on a slow machine is first to say so.
            assert "AirbyteTimeout" in run.log()
            assert "execution_timeout" in run.log()
        # Contrary to a kill: the task's own limit.
        what = "execution_timeout, cancel_on_kill=False" if run in kept else "execution_timeout"
        matrix.note(what, run, "cancelled", job["updatedAt"] - job["createdAt"] - 20)
    for run in overdue_runs:
        assert run.airflow.wait(run.dag_id, run.run_id) == "failed"
        run.acted_at = run.ended_at()
        seconds = run.cancelled_after()
        assert len(run.jobs()) == 1
        matrix.note("dagrun_timeout", run, "cancelled", seconds)
    for run in timed_out:
        assert run.airflow.wait(run.dag_id, run.run_id) == "failed"
        assert run.untouched()
        assert "AirbyteTimeout" in run.log()
        matrix.note("timeout", run, "goes on")
        matrix.left_alone.append(run)


# What machines do


def kill(airflow: LocalAirflow, triggerer: str) -> None:
    airflow.kill(triggerer)


def terminate(airflow: LocalAirflow, triggerer: str) -> None:
    airflow.kill(triggerer, signal.SIGTERM, everything=False)
    eventually(lambda: airflow.returncode(triggerer) is not None)


def pause(airflow: LocalAirflow, triggerer: str) -> None:
    airflow.kill(triggerer, signal.SIGSTOP)


@pytest.mark.parametrize(("what", "disturb"), [("killed", kill), ("terminated", terminate), ("paused", pause)])
def test_triggerer_that_stops_or_pauses_cancels_no_job(
    matrix: Matrix, what: str, disturb: Callable[[LocalAirflow, str], None]
) -> None:
    runs = [matrix.run("plain", "deferred") for _ in range(3)]
    for run in runs:
        eventually(run.waits)
    for triggerer in TRIGGERERS:
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
    matrix.note(f"triggerer {what}", runs[0], "goes on")
    matrix.left_alone.append(runs.pop())
    for run in runs:
        assert run.untouched()
        run.airbyte.finish(run.jobs()[0]["id"], "succeeded")
    for run in runs:
        assert run.airflow.wait(run.dag_id, run.run_id) == "success"
        assert [job["status"] for job in run.jobs()] == ["succeeded"]


def finds_its_job(matrix: Matrix, run: Run, what: str) -> None:
    """See a later try wait for the one job, and end with it."""
    eventually(lambda: run.task()["try_number"] > 1 and run.waits())
    assert run.untouched()
    run.airbyte.finish(run.jobs()[0]["id"], "succeeded")
    assert run.airflow.wait(run.dag_id, run.run_id) == "success"
    assert [job["status"] for job in run.jobs()] == ["succeeded"]
    matrix.note(what, run, "found again, no other")


def test_task_that_is_killed_while_it_waits_finds_its_job_again(matrix: Matrix) -> None:
    run = matrix.waiting("retried", "on_worker")
    run.process().kill()
    finds_its_job(matrix, run, "worker killed while it waits")


@pytest.mark.parametrize("way", WAYS)
def test_task_that_is_killed_while_it_starts_its_job_finds_it(matrix: Matrix, way: str) -> None:
    matrix.airbyte.add_fault(Fault(call="create", kind="lost_answer", seconds=60, times=1))
    run = matrix.run("retried", way)
    eventually(run.jobs)
    eventually(lambda: run.task()["pid"])
    run.process().kill()
    finds_its_job(matrix, run, "worker killed before it knows its job")


def test_task_that_is_killed_after_its_job_has_succeeded_does_not_start_another(matrix: Matrix, tmp_path: Path) -> None:
    run = matrix.run("lingering", "deferred", script=Script(duration=1), mark=tmp_path / "mark")
    eventually((tmp_path / "mark").exists)
    run.process().kill()
    ends_with_its_one_job(run)
    matrix.note("worker killed after the job's end", run, "found again, no other")


def test_task_whose_result_cannot_be_pushed_does_not_start_another(matrix: Matrix) -> None:
    run = matrix.run("unpushable", "on_worker", script=Script(duration=1))
    ends_with_its_one_job(run)
    matrix.note("result cannot be pushed", run, "found again, no other")


def test_task_whose_map_index_cannot_be_rendered_does_not_start_another(matrix: Matrix) -> None:
    run = matrix.run("unnamed", "on_worker", script=Script(duration=1))
    ends_with_its_one_job(run)
    matrix.note("map index cannot be rendered", run, "found again, no other")


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
    matrix.note("last try fails early", run, "goes on")
    matrix.left_alone.append(run)


# What a user does while no process of the task is alive


def die(run: Run) -> None:
    """Let its worker die, and Airflow take note of it."""
    run.process().kill()
    if not AIRFLOW_3:
        # Airflow 2's DAG processor does, and 0.2 s later writes all that it has read of the task once more: a clear in
        # between is lost.
        written = f"Executed callback for <TaskInstance: {run.dag_id}.sync {run.run_id} "
        logs = run.airflow.home / "logs" / "scheduler"
        eventually(lambda: any(written in log.read_text(errors="replace") for log in logs.glob("*/kill_dags.py.log")))


def rest(run: Run) -> None:
    """Let its worker die, so that it waits for its next try, which is far off."""
    die(run)
    eventually(lambda: run.task()["state"] == "up_for_retry")
    assert run.untouched()


def starts_afresh(matrix: Matrix, run: Run, what: str) -> None:
    """See the old job cancelled, and one new one."""
    seconds = run.cancelled_after()
    ends_with_a_new_job(run, "cancelled")
    matrix.note(what, run, "cancelled, 1 new", seconds)


def ends_with_a_new_job(run: Run, old: str) -> None:
    """See one job start beside the old one, and the run end with it."""
    eventually(lambda: [job["status"] for job in run.jobs()] == [old, "running"])
    run.airbyte.finish(run.jobs()[1]["id"], "succeeded")
    assert run.airflow.wait(run.dag_id, run.run_id) == "success"
    assert [job["status"] for job in run.jobs()] == [old, "succeeded"]


def waits_for_the_old_one(matrix: Matrix, run: Run, what: str) -> None:
    """See the next try wait until the old job has ended, and then start one."""
    eventually(lambda: run.task()["state"] in ("running", "deferred") and "waiting for its end" in run.log())
    assert run.untouched()
    run.airbyte.finish(run.jobs()[0]["id"], "succeeded")
    ends_with_a_new_job(run, "succeeded")
    matrix.note(what, run, "waited for, then 1 new")


def with_a_process(matrix: Matrix, kind: str, way: str, mark: Path) -> Run:
    """Start a run that has its job, and a process that can be killed: where it defers, just before that."""
    if way == "on_worker":
        return matrix.waiting(kind, way)
    run = matrix.run(kind, way, mark=mark)
    eventually(mark.exists)
    return run


def judge(matrix: Matrix, runs: Mapping[str, Run], moment: str) -> None:
    """See the next try of the cleared one cancel the job; a marked one has none."""
    starts_afresh(matrix, runs["clear"], f"clear, {moment}")
    for action in ("mark failed", "mark success"):
        leaves_its_job(matrix, runs[action], f"{action}, {moment}")


def leaves_its_job(matrix: Matrix, run: Run, what: str) -> None:
    """See a run end, and nobody touch its job."""
    eventually(lambda: run.airflow.run_state(run.dag_id, run.run_id) in FINISHED_RUN)
    assert run.untouched()
    matrix.note(what, run, "goes on")
    matrix.left_alone.append(run)


@pytest.mark.parametrize("way", WAYS)
def test_task_that_a_user_stops_while_it_is_up_for_retry(matrix: Matrix, way: str, tmp_path: Path) -> None:
    runs = {action: with_a_process(matrix, "resting", way, tmp_path / action) for action in AT_REST}
    for run in runs.values():
        rest(run)
    for action, run in runs.items():
        run.act(action)
    judge(matrix, runs, "up for retry")


@pytest.mark.parametrize("way", WAYS)
def test_task_that_a_user_stops_while_it_is_queued_for_a_retry(matrix: Matrix, way: str, tmp_path: Path) -> None:
    runs = {action: with_a_process(matrix, "queued", way, tmp_path / action) for action in AT_REST}
    with matrix.closed_pool():
        for run in runs.values():
            die(run)
        for action, run in runs.items():
            eventually(lambda run=run: (run.task()["state"], run.task()["try_number"]) == ("scheduled", 2))
            assert run.untouched()
            run.act(action)
    judge(matrix, runs, "queued for a retry")


def test_task_that_a_user_stops_between_its_event_and_its_resumption(matrix: Matrix) -> None:
    # The wait is over, and the job is not.
    runs = {action: matrix.run("between", "deferred") for action in AT_REST}
    ended = matrix.run("between", "deferred")
    for run in (*runs.values(), ended):
        eventually(run.waits)
    with matrix.closed_pool():
        ended.airbyte.finish(ended.jobs()[0]["id"], "succeeded")
        for run in (*runs.values(), ended):
            eventually(lambda run=run: (run.task()["state"], run.task()["try_number"]) == ("scheduled", 1))
        for action, run in runs.items():
            assert run.untouched()
            run.act(action)
        ended.act("clear")
    judge(matrix, runs, "between event and resumption")
    ends_with_a_new_job(ended, "succeeded")
    matrix.note("clear, between event and resumption, job succeeded", ended, "has ended, 1 new")


def test_task_that_a_user_stops_before_its_trigger_begins(matrix: Matrix) -> None:
    for triggerer in TRIGGERERS:
        matrix.airflow.kill(triggerer)
    # Before Airflow 3.3, a task without retries has no record.
    runs = {action: matrix.run("resting", "deferred") for action in AT_REST}
    for run in runs.values():
        eventually(
            lambda run=run: [job["status"] for job in run.jobs()] == ["running"] and run.task()["state"] == "deferred"
        )
    for action, run in runs.items():
        run.act(action)
    # By its next try.
    runs["clear"].cancelled_after()
    for triggerer in TRIGGERERS:
        matrix.airflow.restart(triggerer)
    starts_afresh(matrix, runs.pop("clear"), "clear, before its trigger begins")
    for action, run in runs.items():
        what = f"{action}, before its trigger begins"
        if AIRFLOW_3:
            # Of two triggerers that start, one may begin it before the other has dropped what nobody wants any more.
            assert [job["status"] for job in run.jobs()] in (["running"], ["cancelled"])
            matrix.note(what, run, "goes on or cancelled")
        else:
            leaves_its_job(matrix, run, what)


@contextmanager
def paused_triggerers(airflow: LocalAirflow) -> Iterator[None]:
    """Let the triggerers learn of nothing meanwhile."""
    for triggerer in TRIGGERERS:
        airflow.kill(triggerer, signal.SIGSTOP)
    try:
        yield
    finally:
        for triggerer in TRIGGERERS:
            airflow.kill(triggerer, signal.SIGCONT)


def test_task_that_is_cleared_and_whose_new_try_parses_for_long(matrix: Matrix) -> None:
    """To Airflow 3 the new try runs then, and what the old one has left for its trigger is still there."""
    run = matrix.waiting("retried", "deferred")
    slow = matrix.airflow.dags / "slow"
    slow.touch()
    try:
        with paused_triggerers(matrix.airflow):
            run.act("clear")
            # Airflow 2 calls it running only when it has been parsed.
            eventually(lambda: run.task()["state"] == ("running" if AIRFLOW_3 else "queued"))
        if AIRFLOW_3:
            eventually(lambda: "trigger completed" in run.airflow.log(run.dag_id, run.run_id, "sync", 1))
            # The old trigger could not tell, so the new try will.
            assert run.untouched()
        else:
            run.cancelled_after()
    finally:
        slow.unlink()
    starts_afresh(matrix, run, "clear, new try parses for long")


@pytest.mark.parametrize("way", WAYS)
def test_task_that_is_cleared_and_keeps_its_job_waits_for_its_end(matrix: Matrix, way: str, tmp_path: Path) -> None:
    run = with_a_process(matrix, "resting_kept", way, tmp_path / "mark")
    rest(run)
    run.act("clear")
    waits_for_the_old_one(matrix, run, "clear, up for retry, cancel_on_kill=False")


def test_clear_that_leaves_max_tries_alike_runs_the_task_again(matrix: Matrix) -> None:
    """``retries`` is lowered from one, which was used, to none: as far as Airflow tells, it may also be a retry."""
    run = matrix.waiting("lowered", "on_worker")
    rest(run)
    dags = matrix.airflow.dags
    (dags / "retries").write_text("0")
    (dags / "kill_dags.py").touch()
    eventually(lambda: run.airflow.api("GET", f"/dags/{run.dag_id}/tasks/sync")["retries"] == 0, 120)
    run.act("clear")
    waits_for_the_old_one(matrix, run, "clear, up for retry, retries lowered")


def test_worker_that_is_told_to_stop_cancels_nothing(matrix: Matrix) -> None:
    run = matrix.waiting("retried", "on_worker")
    process = run.process()
    # As systemd and container runtimes do, to every process of the worker at once: first asking, then not.
    process.terminate()
    with suppress(psutil.TimeoutExpired):
        process.wait(10)
    with suppress(psutil.NoSuchProcess):
        process.kill()
    finds_its_job(matrix, run, "worker terminated")


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
        finds_its_job(matrix, run, "API server killed")
    else:
        assert run.waits()
        assert run.untouched()
        matrix.note("API server killed", run, "goes on")
        matrix.left_alone.append(run)


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
    finds_its_job(matrix, run, "scheduler killed")


def answers(run: Run) -> bool:
    try:
        run.task()
    except httpx.TransportError:
        return False
    return True


def test_jobs_that_were_left_alone_still_run(matrix: Matrix) -> None:
    assert [run for run in matrix.left_alone if not run.untouched()] == []


def test_matrix_has_found_all_that_its_table_has(matrix: Matrix, request: pytest.FixtureRequest) -> None:
    if request.config.option.keyword or any("::" in argument for argument in request.config.args):
        pytest.skip("only some of the cells were run")
    there = {cell for cell, found in CELLS.items() if AIRFLOW_3 or found.before is not None}
    assert {Cell(what, way) for what, way, _, _ in matrix.table} == there
