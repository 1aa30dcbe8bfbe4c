"""The official provider's classes and ours do the same over the same Airbyte, but for the rows of the migration guide.

Each story below is played twice, with the classes of either provider and an Airbyte of its own. What is seen of it
(how it ends, what is raised, which XComs, what became of the jobs, ...) may differ only where the story names a row of
the tables in ``docs/migrating.md``; and what it names has to differ.
"""

from __future__ import annotations

import inspect
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from importlib.metadata import version
from typing import Any

import pytest

try:
    from airflow.sdk.exceptions import AirflowRescheduleException, AirflowTaskTimeout, TaskDeferred
    from airflow.sdk.execution_time.timeout import timeout as airflows_clock
except ImportError:
    from airflow.exceptions import AirflowRescheduleException, AirflowTaskTimeout, TaskDeferred
    from airflow.utils.timeout import timeout as airflows_clock
from one_task import Store, TaskInstance, airflow_tells, first_event, run_in_loop, stored

from airbyte_deferrable import operators, sensors
from airbyte_deferrable._compat import AirflowSkipException
from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable.simulator import Fault, Script, Simulator

from .blocks import ROOT

CONNECTION = "0f0e0d0c-0b0a-4908-8706-050403020100"
ENDLESS = Script(outcome=None, pending=0.0)
Seen = dict[str, Any]
Story = Callable[["Stage"], Seen]


def rows_of_the_tables() -> dict[str, str]:
    """The rows of the migration guide's tables by their numbers."""
    differences = (ROOT / "docs" / "migrating.md").read_text().partition("## Every difference")[2]
    lines = [line for line in differences.splitlines() if line.startswith("| ") and not line.startswith(("| |", "| -"))]
    numbered = [re.match(r"\| ([OSTHC]\d+) \| (.+?) \|", line) for line in lines]
    assert all(numbered), "each row has a number"
    rows = {match[1]: match[2] for match in numbered if match}
    assert len(rows) == len(lines), "each number is there once"
    return rows


ROWS = rows_of_the_tables()

#: Rows that need more than one process or another network than a story has: the test that holds ours to them.
ELSEWHERE = {
    "O7": "tests/test_triggers.py::test_a_kill_by_a_person_cancels_the_job_and_nothing_else_does",
    "O22": "tests/test_operators.py::test_one_line_names_the_job",
    "O27": "tests/test_event_loop.py::test_no_callback_is_slow_while_a_thousand_triggers_start_wait_and_end",
    "S13": "tests/test_sensors.py::test_execution_timeout_is_that_of_the_whole_task",
    "H7": "tests/api/test_client.py::test_creating_has_a_patience_of_its_own",
    "C1": "tests/docs/test_completeness.py::test_every_field_of_the_connection_is_told",
    "C2": "tests/_airflow/test_connection.py::test_a_proxy_for_what_is_not_understood_is_not_passed_over",
    "C3": "tests/api/test_transport.py::test_a_ca_file_vouches_for_it",
    "C5": "tests/api/test_auth.py::test_a_token_is_asked_for_in_json_and_carried_along",
    "C6": "tests/api/test_auth.py::test_a_token_is_renewed_before_it_ends",
    "C9": "tests/api/test_errors.py::test_a_redirect_to_elsewhere_takes_nothing_along",
    "C11": "tests/api/test_auth.py::test_a_token_without_a_known_end_is_used_until_it_is_refused",
    "C12": "tests/_airflow/test_connection.py::test_connections_of_before_4_0_are_read_where_they_can_be_nothing_else",
    "C13": "tests/api/test_other_clients.py::test_the_way_to_the_server_is_that_of_other_clients",
    "C14": "tests/api/test_other_clients.py::test_what_can_be_read_in_two_ways_is_refused_and_no_outcome",
}


@dataclass(frozen=True)
class Provider:
    """Whose classes play."""

    name: str
    modules: str

    def __getattr__(self, kind: str) -> Any:
        module = {"AirbyteTriggerSyncOperator": "operators", "AirbyteJobSensor": "sensors"}.get(
            kind, "triggers" if kind == "AirbyteSyncTrigger" else "hooks"
        )
        return getattr(import_module(self.modules.format(module)), kind)


OFFICIAL = Provider("official", "airflow.providers.airbyte.{}.airbyte")
OURS = Provider("ours", "airbyte_deferrable.{}")


class Stage:
    """One provider's classes, an Airbyte, and what Airflow gives a task."""

    def __init__(self, provider: Provider, sim: Simulator, monkeypatch: pytest.MonkeyPatch, ti: TaskInstance) -> None:
        self.provider, self.sim, self.monkeypatch, self.ti = provider, sim, monkeypatch, ti
        self.context: Any = {"ti": ti, "task_instance": ti, "task_state_store": Store()}
        self.operator_class = provider.AirbyteTriggerSyncOperator
        self.sensor_class = provider.AirbyteJobSensor
        self.trigger_class = provider.AirbyteSyncTrigger
        sim.add_connection(connection_id=CONNECTION, script=ENDLESS)
        self.connect()

    def connect(self, **fields: Any) -> None:
        login = {"login": self.sim.client_id, "password": self.sim.client_secret}
        given = {"conn_type": "airbyte", "host": self.sim.url, **login, "extra": {"timeout": 5}, **fields}
        self.monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", json.dumps(given))

    def hook(self, **arguments: Any) -> Any:
        return self.provider.AirbyteHook(**arguments)

    def operator(self, kind: Any = None, **arguments: Any) -> Any:
        given = {"task_id": "sync", "connection_id": CONNECTION, "wait_seconds": 0.05, **arguments}
        return (kind or self.operator_class)(**given)

    def sensor(self, kind: Any = None, **arguments: Any) -> Any:
        given = {"task_id": "wait", "airbyte_job_id": 1, "poke_interval": 0.05, "timeout": 30, **arguments}
        return (kind or self.sensor_class)(**given)

    def job(self, status: str | None = None, **script: Any) -> int:
        """Have a job of the connection, ended if a status is given."""
        made = self.sim.add_job(CONNECTION, script=Script(**script) if script else ENDLESS)
        if status is not None:
            self.sim.finish(made["id"], status)
        return int(made["id"])

    def run(self, make: Callable[[], Any], meanwhile: Callable[[], object] = lambda: None, **changed: Any) -> Any:
        """Run a task to its end; while it is deferred, something happens before its trigger, changed so, looks."""
        try:
            return make().execute(self.context)
        except TaskDeferred as deferred:
            meanwhile()
            vars(deferred.trigger).update(changed)
            told = run_in_loop(first_event(stored(deferred.trigger)))
            event = {"event": json.loads(json.dumps(told))}
            return make().resume_execution(deferred.method_name, {**(deferred.kwargs or {}), **event}, self.context)

    @contextmanager
    def ending_when_looked_at(self, job_id: int = 1) -> Iterator[None]:
        """Let a job succeed once a provider has looked twice, be the machine as slow as it may."""
        left = threading.Event()

        def end() -> None:
            while not left.wait(0.02):
                if self.sim.count("get") + self.sim.count("list") >= 2:
                    self.sim.finish(job_id, "succeeded")
                    return

        thread = threading.Thread(target=end)
        thread.start()
        try:
            yield
        finally:
            left.set()
            thread.join()

    def seen(self, play: Callable[[], Any], *more: str) -> Seen:
        """Play, and return what is seen of it: all that is compared."""
        seen: Seen = {"end": "done", "value": None, "raises": None, "message": None}
        try:
            seen["value"] = play()
        except TaskDeferred as deferred:
            seen["end"] = f"deferred to {deferred.method_name}"
        except AirflowRescheduleException:
            seen["end"] = "rescheduled"
        except AirflowSkipException:
            seen["end"] = "skipped"
        except (Exception, AirflowTaskTimeout) as error:
            seen |= {"end": "failed", "raises": type(error).__name__, "message": str(error)}
        seen["jobs"] = [(job["jobType"], job["status"]) for job in self.sim.jobs()]
        # Of one that has not begun, nobody knows whether it has by now.
        seen["jobs"] = [(kind, "running" if status == "pending" else status) for kind, status in seen["jobs"]]
        # The address for the button comes while the task waits: whether it is there yet is a matter of speed.
        seen["xcoms"] = self.ti.xcoms.keys() - {"airbyte_job_url"}
        if "asked" in more:
            seen["asked"] = {call for call, _, _, _ in self.sim.requests} - {"token"}
        return seen

    @contextmanager
    def clock(self, seconds: int) -> Iterator[None]:
        """Airflow's own for ``execution_timeout``, and what it does when it is over."""
        with airflows_clock(seconds=seconds):
            yield


@dataclass(frozen=True)
class Case:
    story: Story
    rows: dict[str, str]
    airbyte: dict[str, Any]


CASES: list[Case] = []


def differs(airbyte: dict[str, Any] | None = None, **rows: str) -> Callable[[Story], Story]:
    """Register a story: what is seen of it differs by these rows of the tables, and by nothing else.

    :param airbyte: How the Airbyte is set up.
    :param rows: By what is seen, the number of the row.
    """

    def register(story: Story) -> Story:
        CASES.append(Case(story, rows, airbyte or {}))
        return story

    return register


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Case], tuple[Seen, Seen]]:
    # Seconds that the stories need not take.
    monkeypatch.setattr(sensors, "CONFIRM_NOT_FOUND_AFTER", 0.05)

    def play(case: Case) -> tuple[Seen, Seen]:
        seen = []
        for provider in (OFFICIAL, OURS):
            ti = TaskInstance()
            with Simulator(**case.airbyte) as sim, monkeypatch.context() as patch, airflow_tells(patch, ti):
                patch.setattr(
                    operators.AirbyteTriggerSyncOperator,
                    "submit_policy",
                    SubmitPolicy(settle=2.0, unreachable=4.0, pause=0.2, unlisted=0.5),
                )
                patch.setattr(
                    "airbyte_deferrable._sync_task.get_current_context", lambda ti=ti: {"ti": ti, "task_instance": ti}
                )
                seen.append(case.story(Stage(provider, sim, patch, ti)))
        return seen[0], seen[1]

    return play


# The operator, as the official documentation describes it


def ended(way: str, status: str) -> Story:
    def story(stage: Stage) -> Seen:
        if way == "deferred":
            make = lambda: stage.operator(deferrable=True)  # noqa: E731
            return stage.seen(lambda: stage.run(make, lambda: stage.sim.finish(1, status)))
        stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0, outcome=status))
        return stage.seen(lambda: stage.run(stage.operator))

    story.__name__ = f"an_operator_{way}_whose_job_{status}"
    return story


differs(xcoms="O2")(ended("on_the_worker", "succeeded"))
differs(xcoms="O2", value="O1")(ended("deferred", "succeeded"))
for how in ("on_the_worker", "deferred"):
    for status in ("failed", "cancelled"):
        differs(xcoms="O2", raises="O18", message="O19")(ended(how, status))


@differs()
def asynchronous(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.run(lambda: stage.operator(asynchronous=True)))


@differs()
def asynchronous_beats_deferrable(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.run(lambda: stage.operator(asynchronous=True, deferrable=True)))


@differs(interval="O3")
def a_deferred_interval(stage: Stage) -> Seen:
    with pytest.raises(TaskDeferred) as deferred:
        stage.operator(deferrable=True, wait_seconds=7).execute(stage.context)
    return {"interval": deferred.value.trigger.poll_interval, "method": deferred.value.method_name}


@differs(wait_seconds="O4", new="O25", templated="O24", execute="O28", execute_complete="O28")
def the_operators_face(stage: Stage) -> Seen:
    face = parameters(stage.operator_class)
    given = ["connection_id", "airbyte_conn_id", "asynchronous", "deferrable", "api_version", "wait_seconds", "timeout"]
    defaults = {name: face[name].default for name in given if name != "connection_id"}
    return {
        **defaults,
        "new": set(face) - set(given),
        "order": [name for name in face if name in given],
        "templated": stage.operator_class.template_fields,
        "color": stage.operator_class.ui_color,
        **returns(stage.operator_class, "execute", "execute_complete"),
    }


@differs(deferred="O4")
def what_an_operator_has_by_default(stage: Stage) -> Seen:
    ways = {"on the worker": False, "deferred": True}
    made = {
        way: stage.operator_class(task_id="sync", connection_id=CONNECTION, deferrable=deferrable)
        for way, deferrable in ways.items()
    }
    return {way: operator.wait_seconds for way, operator in made.items()} | {
        "timeouts": [operator.timeout for operator in made.values()]
    }


@differs(end="O29", raises="O29", message="O29")
def a_timeout_as_a_timedelta(stage: Stage) -> Seen:
    make = lambda: stage.operator(deferrable=True, timeout=timedelta(hours=1), do_xcom_push=False)  # noqa: E731
    seen = stage.seen(lambda: make().execute(stage.context))
    return {name: seen[name] for name in ("end", "raises", "message", "jobs")}


@differs(raises="O30", message="O30")
def a_connection_that_is_inactive(stage: Stage) -> Seen:
    stage.sim.set_connection_status(CONNECTION, "inactive")
    return stage.seen(lambda: stage.run(stage.operator))


@differs(links="O26")
def the_operators_button(stage: Stage) -> Seen:
    return {"links": [type(link).__name__ for link in stage.operator_class.operator_extra_links]}


@differs(jobs="O5", raises="O18", message="O19")
def a_timeout_on_the_worker(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.run(lambda: stage.operator(timeout=2)))


@differs(raises="O18", message="O19", xcoms="O2")
def a_timeout_deferred(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.run(lambda: stage.operator(deferrable=True), end_time=1.0))


@differs(end="O6", raises="O6", message="O6", value="O1", xcoms="O2")
def a_timeout_of_nought_deferred(stage: Stage) -> Seen:
    make = lambda: stage.operator(timeout=0, deferrable=True)  # noqa: E731
    return stage.seen(lambda: stage.run(make, lambda: stage.sim.finish(1, "succeeded")))


@differs(xcoms="O2")
def a_timeout_of_nought_on_the_worker(stage: Stage) -> Seen:
    stage.sim.script(CONNECTION, Script(duration=0.5, pending=0.0))
    return stage.seen(lambda: stage.run(lambda: stage.operator(timeout=0)))


@differs(end="O15", raises="O15", message="O15", value="O1", xcoms="O2")
def a_job_that_ends_as_the_timeout_does(stage: Stage) -> Seen:
    make = lambda: stage.operator(deferrable=True)  # noqa: E731
    return stage.seen(lambda: stage.run(make, lambda: stage.sim.finish(1, "succeeded"), end_time=1.0))


@differs(raises="O18", message="O19", xcoms="O2")
def an_execution_timeout_deferred(stage: Stage) -> Seen:
    make = lambda: stage.operator(deferrable=True, execution_timeout=timedelta(hours=1))  # noqa: E731
    return stage.seen(lambda: stage.run(make, lambda: stage.sim.advance(1), execution_deadline=1.0))


@differs(raises="O20", message="O20")
def an_execution_timeout_on_the_worker(stage: Stage) -> Seen:
    def run() -> Any:
        operator = stage.operator(execution_timeout=timedelta(seconds=3))
        try:
            with stage.clock(3):
                return operator.execute(stage.context)
        except AirflowTaskTimeout:
            # As Airflow does.
            operator.on_kill()
            raise

    seen = stage.seen(run)
    # A job that is cancelled before it runs may be seen to end, or not.
    return {name: seen[name] for name in ("end", "raises", "message", "jobs")}


def stopped(state: str) -> Story:
    def story(stage: Stage) -> Seen:
        operator = stage.operator(asynchronous=True)
        operator.execute(stage.context)
        stage.sim.advance(2)
        stage.ti.state = state
        return stage.seen(operator.on_kill)

    story.__name__ = f"a_worker_is_told_to_stop_a_task_that_is_{state}"
    return story


differs()(stopped("failed"))
differs(jobs="O8")(stopped("running"))


@differs(jobs="O9")
def a_job_that_has_ended_is_cancelled(stage: Stage) -> Seen:
    over = stage.job("succeeded")
    stage.job()
    stage.hook().cancel_job(over)
    return {"jobs": [job["status"] for job in stage.sim.jobs()]}


@differs(end="O10", raises="O10", message="O10", xcoms="O2")
def a_retry_while_the_job_runs(stage: Stage) -> Seen:
    with pytest.raises(TaskDeferred):
        stage.operator(deferrable=True).execute(stage.context)
    stage.sim.advance(2)
    stage.ti.try_number += 1
    stage.ti.xcoms.clear()
    return stage.seen(lambda: stage.operator(deferrable=True).execute(stage.context))


@differs(end="O11", raises="O11", message="O11", value="O11", jobs="O11", xcoms="O11")
def a_busy_connection(stage: Stage) -> Seen:
    other = stage.job()
    stage.sim.advance(1)
    stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0))
    with stage.ending_when_looked_at(other):
        return stage.seen(lambda: stage.run(stage.operator))


@differs(end="O12", raises="O12", message="O12", value="O12", xcoms="O12", jobs="O12")
def the_answer_to_create_is_lost(stage: Stage) -> Seen:
    stage.sim.add_fault(Fault("create", "lost_answer", times=1))
    with stage.ending_when_looked_at():
        return stage.seen(lambda: stage.run(stage.operator))


@differs(end="O13", raises="O13", message="O13", value="O13", xcoms="O2")
def a_look_that_fails_deferred(stage: Stage) -> Seen:
    def meanwhile() -> None:
        stage.sim.finish(1, "succeeded")
        for call in ("get", "list"):
            stage.sim.add_fault(Fault(call, times=1))

    return stage.seen(lambda: stage.run(lambda: stage.operator(deferrable=True), meanwhile))


@differs(xcoms="O2")
def a_look_that_fails_on_the_worker(stage: Stage) -> Seen:
    stage.sim.script(CONNECTION, Script(duration=0.3, pending=0.0))
    for call in ("get", "list"):
        stage.sim.add_fault(Fault(call, times=2))
    return stage.seen(lambda: stage.run(stage.operator))


@differs(raises="O14", message="O14", jobs="O14")
def a_job_that_cannot_be_seen_on_the_worker(stage: Stage) -> Seen:
    for call in ("get", "list"):
        stage.sim.add_fault(Fault(call, status=403))
    return stage.seen(lambda: stage.run(lambda: stage.operator(timeout=3)))


@differs(asked="O16", xcoms="O2", raises="O18", message="O19")
def calls_to_airbyte(stage: Stage) -> Seen:
    stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0, outcome="failed"))
    return stage.seen(lambda: stage.run(stage.operator), "asked")


@differs(end="O17", raises="O17", message="O17", xcoms="O2")
def a_status_of_the_future(stage: Stage) -> Seen:
    stage.sim.script(CONNECTION, Script(statuses=[(0.0, "resting")]))
    return stage.seen(lambda: stage.operator(deferrable=True).execute(stage.context))


@differs(loads="O21", raises="O21")
def an_operator_without_a_connection_id(stage: Stage) -> Seen:
    try:
        operator = stage.operator_class(task_id="sync")
    except Exception:
        return {"loads": False, "raises": None}
    return {"loads": True, "raises": stage.seen(lambda: operator.execute(stage.context))["raises"]}


@differs(raises="O18", message="O19", asked="O21")
def a_connection_id_that_is_none(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.run(lambda: stage.operator(connection_id="orders")), "asked")


@differs(asked="O23")
def an_api_version(stage: Stage) -> Seen:
    stage.connect(host=stage.sim.url.removesuffix("/api/public/v1"), login=None, password=None)
    stage.seen(lambda: stage.hook(api_version="v7").get_job_status(1))
    return {"asked": {"v7" in path for _, _, path, _ in stage.sim.requests}}


@differs(xcoms="O2")
def a_list_that_cannot_be_had(stage: Stage) -> Seen:
    stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0))
    stage.sim.add_fault(Fault("list", status=500))
    return stage.seen(lambda: stage.run(stage.operator))


# The operator, for those who subclass it and those who test it


@differs()
def an_operator_by_hand(stage: Stage) -> Seen:
    stage.context = {}
    stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0))
    return stage.seen(lambda: stage.run(stage.operator))


@differs(value="O1")
def an_operator_by_hand_deferred(stage: Stage) -> Seen:
    stage.context = {}
    make = lambda: stage.operator(deferrable=True)  # noqa: E731
    return stage.seen(lambda: stage.run(make, lambda: stage.sim.finish(1, "succeeded")))


@differs()
def an_operator_without_xcoms(stage: Stage) -> Seen:
    stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0))
    return {**stage.seen(lambda: stage.run(lambda: stage.operator(do_xcom_push=False))), "left": stage.ti.xcoms}


@differs(before="O31", kill="O31")
def the_job_id(stage: Stage) -> Seen:
    operator = stage.operator(asynchronous=True)
    before, kill = hasattr(operator, "job_id"), stage.seen(operator.on_kill)["raises"]
    operator.execute(stage.context)
    return {"before": before, "kill": kill, "after": operator.job_id}


@differs(end="O32", raises="O32", message="O32", value="O1")
def an_operator_is_told_of_success_that_is_none(stage: Stage) -> Seen:
    stage.job("failed")
    operator, event = stage.operator(deferrable=True), {"status": "success", "message": "", "job_id": 1}
    seen = stage.seen(lambda: operator.execute_complete({}, event))
    return {**seen, "value": stage.seen(lambda: told_of_success(stage, operator))["value"]}


def told_of_success(stage: Stage, told: Any) -> Any:
    done = stage.job("succeeded")
    return told.execute_complete({}, {"status": "success", "message": "", "job_id": done})


@differs(xcoms="O2")
def two_runs_within_one_task(stage: Stage) -> Seen:
    kind = stage.operator_class

    class Twice(kind):  # type: ignore[misc, valid-type]
        def execute(self, context: Any) -> Any:
            return [super().execute(context), super().execute(context)]

    stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0))
    return stage.seen(lambda: stage.run(lambda: stage.operator(Twice)))


@differs()
def official_code_in_a_subclass(stage: Stage) -> Seen:
    """The official ``execute``, as it was copied to be changed."""

    class Copied(stage.operator_class):  # type: ignore[misc, name-defined]
        def execute(self, context: Any) -> Any:
            hook = stage.hook(airbyte_conn_id=self.airbyte_conn_id, api_version=self.api_version)
            self.job_id = hook.submit_sync_connection(connection_id=self.connection_id).job_id
            hook.wait_for_job(job_id=self.job_id, wait_seconds=self.wait_seconds / 10, timeout=self.timeout)
            return self.job_id

    stage.sim.script(CONNECTION, Script(duration=0.2, pending=0.0))
    return stage.seen(lambda: Copied(task_id="sync", connection_id=CONNECTION).execute(stage.context))


def resetting(stage: Stage) -> Any:
    class Resets(stage.operator_class):  # type: ignore[misc, name-defined]
        def execute(self, context: Any) -> Any:
            self.job_id = stage.hook().submit_reset_connection(self.connection_id).job_id
            stage.sim.advance(2)
            self.defer(
                trigger=stage.trigger_class(
                    job_id=self.job_id,
                    conn_id=self.airbyte_conn_id,
                    end_time=2e9,
                    poll_interval=0.1,
                    execution_deadline=1.0,
                ),
                method_name="execute_complete",
            )

    return Resets


@differs()
def a_kill_of_a_subclass_that_started_the_job(stage: Stage) -> Seen:
    operator = stage.operator(resetting(stage))
    with pytest.raises(TaskDeferred):
        operator.execute(stage.context)
    stage.ti.state = "failed"
    return stage.seen(operator.on_kill)


@differs(raises="O18", message="O19")
def an_execution_deadline_of_a_subclass_that_started_the_job(stage: Stage) -> Seen:
    kind = resetting(stage)
    return stage.seen(lambda: stage.run(lambda: stage.operator(kind)))


# The sensor


def sensed(way: str, status: str) -> Story:
    def story(stage: Stage) -> Seen:
        stage.job()
        if way == "deferred":
            make = lambda: stage.sensor(deferrable=True)  # noqa: E731
            return stage.seen(lambda: stage.run(make, lambda: stage.sim.finish(1, status)))
        stage.sim.finish(1, status)
        return stage.seen(lambda: stage.run(lambda: stage.sensor(mode=way)))

    story.__name__ = f"a_sensor_{way}_whose_job_{status}"
    return story


for way in ("poke", "reschedule", "deferred"):
    differs(xcoms="S2", value="S1")(sensed(way, "succeeded"))
    for status in ("failed", "cancelled"):
        differs(xcoms="S2", raises="S3", message="S4")(sensed(way, status))


@differs()
def a_sensor_that_is_rescheduled(stage: Stage) -> Seen:
    stage.job()
    return stage.seen(lambda: stage.run(lambda: stage.sensor(mode="reschedule")))


@differs(interval="S6")
def a_sensors_deferred_interval(stage: Stage) -> Seen:
    stage.job()
    with pytest.raises(TaskDeferred) as deferred:
        stage.sensor(deferrable=True, poke_interval=7).execute(stage.context)
    return {"interval": deferred.value.trigger.poll_interval, "method": deferred.value.method_name}


@differs(new="S17", execute_complete="S18", links="S5")
def the_sensors_face(stage: Stage) -> Seen:
    face = parameters(stage.sensor_class)
    given = ["airbyte_job_id", "deferrable", "airbyte_conn_id", "api_version"]
    return {
        **{name: face[name].default for name in given},
        "new": set(face) - set(given),
        "templated": stage.sensor_class.template_fields,
        "color": stage.sensor_class.ui_color,
        "links": [type(link).__name__ for link in stage.sensor_class.operator_extra_links],
        **returns(stage.sensor_class, "poke", "execute", "execute_complete"),
    }


@differs()
def what_a_deferrable_sensor_has_by_default(stage: Stage) -> Seen:
    sensor = stage.sensor_class(task_id="wait", airbyte_job_id=1, deferrable=True)
    return {"poke_interval": sensor.poke_interval, "timeout": sensor.timeout}


def softly(soft: str, way: str, status: str | None) -> Story:
    def story(stage: Stage) -> Seen:
        stage.job()
        given: dict[str, Any] = {soft: True, "timeout": 0.1}
        if way == "deferred":
            make = lambda: stage.sensor(deferrable=True, **given)  # noqa: E731
            return stage.seen(lambda: stage.run(make, lambda: status and stage.sim.finish(1, status)))
        if status:
            stage.sim.finish(1, status)
        return stage.seen(lambda: stage.run(lambda: stage.sensor(**given)))

    story.__name__ = f"a_sensor_{way}_with_{soft}_whose_job_{status or 'goes_on'}"
    return story


differs(end="S7", raises="S7", message="S7", xcoms="S2")(softly("soft_fail", "poke", "failed"))
differs(end="S7", raises="S7", message="S7", xcoms="S2")(softly("soft_fail", "poke", "cancelled"))
differs()(softly("soft_fail", "poke", None))
differs(xcoms="S2")(softly("never_fail", "poke", "failed"))
differs(end="S8", raises="S8", message="S8")(softly("never_fail", "poke", None))
differs(raises="S3", message="S4", xcoms="S2")(softly("silent_fail", "poke", "failed"))
for soft in ("soft_fail", "never_fail"):
    differs(end="S9", raises="S9", message="S9", xcoms="S2")(softly(soft, "deferred", "failed"))


@differs(raises="S10", message="S4")
def a_sensors_timeout_deferred(stage: Stage) -> Seen:
    stage.job()
    return stage.seen(lambda: stage.run(lambda: stage.sensor(deferrable=True), end_time=1.0))


@differs(raises="S3", message="S4")
def a_sensors_timeout_on_the_worker(stage: Stage) -> Seen:
    stage.job()
    return stage.seen(lambda: stage.run(lambda: stage.sensor(timeout=0.2)))


@differs(raises="S3", message="S4")
def a_sensors_timeout_of_nought(stage: Stage) -> Seen:
    stage.job()
    return stage.seen(lambda: stage.run(lambda: stage.sensor(timeout=0)))


@differs(by_airflow="S11", by_trigger="S11")
def a_sensors_execution_timeout_deferred(stage: Stage) -> Seen:
    stage.job()
    with pytest.raises(TaskDeferred) as deferred:
        stage.sensor(deferrable=True, execution_timeout=timedelta(hours=1)).execute(stage.context)
    trigger = deferred.value.trigger
    return {"by_airflow": deferred.value.timeout, "by_trigger": trigger.execution_deadline is not None}


@differs(raises="S12", message="S12")
def a_sensors_execution_timeout_on_the_worker(stage: Stage) -> Seen:
    stage.job()

    def run() -> Any:
        with stage.clock(3):
            return stage.sensor(execution_timeout=timedelta(seconds=3)).execute(stage.context)

    return stage.seen(run)


def sensed_future(way: str) -> Story:
    def story(stage: Stage) -> Seen:
        stage.job(statuses=[(0.0, "resting")])
        with stage.ending_when_looked_at():
            return stage.seen(lambda: stage.run(lambda: stage.sensor(deferrable=way == "deferred")))

    story.__name__ = f"a_sensors_status_of_the_future_{way}"
    return story


for way in ("poke", "deferred"):
    differs(end="S14", raises="S14", message="S14", jobs="S14", value="S1", xcoms="S2")(sensed_future(way))


@differs(end="S15", raises="S15", message="S15", value="S1", xcoms="S2")
def a_sensors_look_that_fails(stage: Stage) -> Seen:
    stage.job("succeeded")
    stage.sim.add_fault(Fault("get", times=1))
    return stage.seen(lambda: stage.run(stage.sensor))


@differs(end="S16", raises="S16", message="S16", value="S1", xcoms="S2")
def a_sensors_job_that_ends_as_the_timeout_does(stage: Stage) -> Seen:
    stage.job()
    make = lambda: stage.sensor(deferrable=True)  # noqa: E731
    return stage.seen(lambda: stage.run(make, lambda: stage.sim.finish(1, "succeeded"), end_time=1.0))


@differs(value="S1", xcoms="S2")
def a_job_id_as_text(stage: Stage) -> Seen:
    stage.job("succeeded")
    return stage.seen(lambda: stage.run(lambda: stage.sensor(airbyte_job_id="1")))


@differs(raises="S19", message="S19")
def a_job_id_that_is_no_number_deferred(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.run(lambda: stage.sensor(airbyte_job_id="one", deferrable=True)), "asked")


@differs(raises="S19", message="S19")
def a_job_id_that_is_no_number(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.run(lambda: stage.sensor(airbyte_job_id="one")), "asked")


@differs()
def a_look_by_hand(stage: Stage) -> Seen:
    stage.job()
    sensor = stage.sensor()
    looks = [sensor.poke({})]
    stage.sim.finish(1, "succeeded")
    return {"looks": [*looks, sensor.poke({})]}


@differs(value="S1")
def a_sensor_by_hand(stage: Stage) -> Seen:
    stage.context = {}
    stage.job("succeeded")
    return stage.seen(lambda: stage.run(stage.sensor))


@differs(value="S1")
def a_sensor_by_hand_deferred(stage: Stage) -> Seen:
    stage.context = {}
    stage.job()
    make = lambda: stage.sensor(deferrable=True)  # noqa: E731
    return stage.seen(lambda: stage.run(make, lambda: stage.sim.finish(1, "succeeded")))


@differs(value="S1")
def a_sensor_without_xcoms(stage: Stage) -> Seen:
    stage.job("succeeded")
    return {**stage.seen(lambda: stage.run(lambda: stage.sensor(do_xcom_push=False))), "left": stage.ti.xcoms}


@differs(value="S1", xcoms="S2")
def a_subclass_that_looks_at_what_poke_returns(stage: Stage) -> Seen:
    looks: list[Any] = []

    class Counts(stage.sensor_class):  # type: ignore[misc, name-defined]
        def poke(self, context: Any) -> Any:
            looks.append(super().poke(context))
            return looks[-1]

    stage.job("succeeded")
    return {**stage.seen(lambda: stage.run(lambda: stage.sensor(Counts))), "looks": looks}


@differs(end="S20", raises="S20", message="S20", value="S1")
def a_sensor_is_told_of_success_that_is_none(stage: Stage) -> Seen:
    stage.job("failed")
    sensor, event = stage.sensor(deferrable=True), {"status": "success", "message": "", "job_id": 1}
    seen = stage.seen(lambda: sensor.execute_complete({}, event))
    again = stage.sensor(deferrable=True, airbyte_job_id=2)
    return {**seen, "value": stage.seen(lambda: told_of_success(stage, again))["value"]}


def told_by_hand(event: dict[str, Any], name: str) -> Story:
    def story(stage: Stage) -> Seen:
        stage.job()
        sensor = stage.sensor(deferrable=True)
        return stage.seen(lambda: sensor.execute_complete({}, {"job_id": 1, **event}))

    story.__name__ = f"a_sensor_is_told_of_{name}"
    return story


differs(raises="S10", message="S4")(
    told_by_hand({"status": "error", "message": "Job run 1 has not reached a terminal status after 1 seconds."}, "time")
)
differs(raises="S3", message="S4")(
    told_by_hand({"status": "timeout", "message": "Job run 1 has reached execution timeout."}, "execution_timeout")
)


# The trigger


def told(stage: Stage, kind: Any = None, **arguments: Any) -> dict[str, Any]:
    given = {"job_id": 1, "conn_id": "airbyte_default", "end_time": 2e9, "poll_interval": 0.1, **arguments}
    event = run_in_loop(first_event(stored((kind or stage.trigger_class)(**given))))
    return {"keys": set(event), **{key: event[key] for key in ("status", "message", "job_id")}}


def event_of(status: str) -> Story:
    def story(stage: Stage) -> Seen:
        stage.job(status)
        return told(stage)

    story.__name__ = f"the_event_of_a_job_that_{status}"
    return story


for status in ("succeeded", "failed", "cancelled"):
    differs(keys="T1")(event_of(status))


def event_in_time(clock: str, *, over: bool) -> Story:
    def story(stage: Stage) -> Seen:
        stage.job("succeeded" if over else None)
        return told(stage, **{clock: 1.0})

    story.__name__ = f"the_event_when_{clock}_is_over_{'and_the_job_too' if over else ''}"
    return story


for clock in ("end_time", "execution_deadline"):
    differs(keys="T1", message="T2")(event_in_time(clock, over=False))
    differs(keys="T1", message="T6", status="T6")(event_in_time(clock, over=True))


@differs(keys="T1", status="T5", message="T5")
def an_exception_while_a_trigger_waits(stage: Stage) -> Seen:
    stage.job("succeeded")
    for call in ("get", "list"):
        stage.sim.add_fault(Fault(call, times=1))
    return told(stage)


@differs(keys="T1", status="T7", message="T7")
def a_triggers_status_of_the_future(stage: Stage) -> Seen:
    stage.job(statuses=[(0.0, "resting")])
    with stage.ending_when_looked_at():
        return told(stage)


@differs(keys="T1", status="T8", message="T8")
def a_trigger_without_an_end(stage: Stage) -> Seen:
    stage.job("succeeded")
    return told(stage, end_time=None)


@differs(new="T3", path="T4", arguments="T3")
def the_triggers_face(stage: Stage) -> Seen:
    face = parameters(stage.trigger_class)
    given = ["job_id", "conn_id", "end_time", "poll_interval", "execution_deadline"]
    path, arguments = stage.trigger_class(1, "c", 2.0, 3.0).serialize()
    return {
        **{name: face[name].default for name in given},
        "new": set(face) - set(given),
        "order": list(face)[: len(given)],
        "path": path,
        "arguments": set(arguments),
        "official arguments": {name: arguments[name] for name in given},
    }


@differs(path="T4")
def a_trigger_subclass_with_the_official_arguments(stage: Stage) -> Seen:
    class Mine(stage.trigger_class):  # type: ignore[misc, name-defined]
        def __init__(
            self,
            job_id: int,
            conn_id: str,
            end_time: float,
            poll_interval: float,
            execution_deadline: float | None = None,
        ):
            super().__init__(job_id, conn_id, end_time, poll_interval, execution_deadline)

    path, arguments = Mine(1, "c", 2.0, 3.0).serialize()
    again = Mine(**arguments)
    return {"path": path, "arguments": arguments, "again": again.serialize()[1]}


@differs()
def a_trigger_is_asked_whether_its_job_runs(stage: Stage) -> Seen:
    stage.job()
    trigger = stage.trigger_class(1, "airbyte_default", 2e9, 0.1)
    running = run_in_loop(trigger.is_still_running(stage.hook()))
    stage.sim.finish(1, "succeeded")
    return {"then": running, "now": run_in_loop(trigger.is_still_running(stage.hook()))}


# The hook


@differs(gone="H1", new="H1")
def what_a_hook_offers(stage: Stage) -> Seen:
    hook = stage.hook()
    # For Python 3.10 there is no 6.2, and 6.1 has none.
    unknown = {"timeout"} if version("apache-airflow-providers-airbyte").startswith("6.1.") else set()
    names = {"airbyte_api", "create_api_session", "get_conn_params", "conn"}
    kept = {"get_job_details", "get_job_status", "wait_for_job", "submit_sync_connection", "submit_reset_connection"}
    kept |= {"cancel_job", "test_connection", "airbyte_conn_id", "api_version", "timeout", "conn_name_attr"}
    return {
        "gone": {name for name in names if hasattr(hook, name)},
        "kept": {name for name in kept - unknown if hasattr(hook, name)},
        "new": hasattr(hook, "async_client"),
        "parameters": {name: each.default for name, each in parameters(type(hook)).items() if name not in unknown},
    }


@differs(kind="H4", dump="H5")
def a_hooks_jobs(stage: Stage) -> Seen:
    stage.job("succeeded")
    job = stage.hook().get_job_details(1)
    names = ("job_id", "status", "connection_id", "job_type", "rows_synced", "bytes_synced")
    values = {name: getattr(getattr(job, name), "value", getattr(job, name)) for name in names}
    types = {name: type(getattr(job, name)) for name in ("start_time", "last_updated_at", "duration")}
    return {**values, **types, "kind": type(job).__name__, "dump": set(job.model_dump())}


@differs(raises="H2", message="H3")
def a_hooks_refusal(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.hook().get_job_status(99))


@differs(looked_up="H6")
def a_hook_without_a_connection(stage: Stage) -> Seen:
    try:
        hook = stage.hook(airbyte_conn_id="nowhere")
    except Exception as error:
        return {"looked_up": "when made", "raises": type(error).__name__}
    return {"looked_up": "when used", "raises": stage.seen(lambda: hook.get_job_status(1))["raises"]}


@differs(jobs="H8", raises="H2", message="H3")
def a_hooks_wait_that_is_over(stage: Stage) -> Seen:
    stage.job()
    return stage.seen(lambda: stage.hook().wait_for_job(1, wait_seconds=0.05, timeout=0.2))


def hooks_wait(status: str) -> Story:
    def story(stage: Stage) -> Seen:
        stage.job(status)
        return stage.seen(lambda: stage.hook().wait_for_job("1", wait_seconds=0.05))

    story.__name__ = f"a_hooks_wait_for_a_job_that_{status}"
    return story


differs()(hooks_wait("succeeded"))
for status in ("failed", "cancelled"):
    differs(raises="H2", message="H3")(hooks_wait(status))


@differs(jobs="H9")
def a_hook_cancels_a_job_that_has_ended(stage: Stage) -> Seen:
    return a_job_that_has_ended_is_cancelled(stage)


@differs()
def a_hook_cancels_a_live_job(stage: Stage) -> Seen:
    job_id = stage.job()
    return {"status": str(getattr(told := stage.hook().cancel_job(job_id).status, "value", told))}


@differs(words="H10")
def a_hooks_test(stage: Stage) -> Seen:
    ok, words = stage.hook().test_connection()
    return {"ok": ok, "words": words}


@differs(ok="H10")
def a_hooks_test_with_a_wrong_secret(stage: Stage) -> Seen:
    stage.connect(password="wrong")
    return {"ok": stage.hook().test_connection()[0]}


@differs(raises="H2", message="H3")
def a_hooks_timeout_that_is_none(stage: Stage) -> Seen:
    return stage.seen(lambda: stage.hook(timeout=-1).get_job_status(1))


@differs(end="H11", raises="H11", message="H11")
def a_hooks_wait_of_unset_seconds(stage: Stage) -> Seen:
    stage.job("succeeded")
    return stage.seen(lambda: stage.hook().wait_for_job(1, wait_seconds=None))


# The connection


@differs(end="C15", raises="C15", message="C15", value="C15")
def white_space_around_a_secret(stage: Stage) -> Seen:
    stage.job("succeeded")
    stage.connect(password=f"{stage.sim.client_secret}\n")
    return stage.seen(lambda: str(getattr(s := stage.hook().get_job_status(1), "value", s)))


@differs(airbyte={"auth": "bearer"}, end="C4", raises="C4", message="C4", value="C4")
def a_bearer_token(stage: Stage) -> Seen:
    stage.job("succeeded")
    stage.connect(login=None, password=stage.sim.token, extra={"auth": "bearer", "timeout": 5})
    return stage.seen(lambda: str(getattr(s := stage.hook().get_job_status(1), "value", s)))


@differs(end="C7", raises="C7", message="C7", value="C7")
def a_401(stage: Stage) -> Seen:
    stage.job("succeeded")
    stage.sim.add_fault(Fault("get", status=401, times=1))
    return stage.seen(lambda: str(getattr(s := stage.hook().get_job_status(1), "value", s)))


@differs(end="C8", raises="C8", message="C8", value="C8")
def a_host_without_a_path(stage: Stage) -> Seen:
    stage.job("succeeded")
    stage.connect(host=stage.sim.url.removesuffix("/api/public/v1"))
    return stage.seen(lambda: str(getattr(s := stage.hook().get_job_status(1), "value", s)))


@differs(asks="C10")
def a_connection_without_a_host(stage: Stage) -> Seen:
    stage.connect(host="")
    hook = stage.hook()
    if hasattr(hook, "airbyte_api"):
        return {"asks": hook.airbyte_api.sdk_configuration.get_server_details()[0]}
    return {"asks": stage.seen(lambda: hook.get_job_status(1))["raises"]}


def parameters(kind: Any) -> dict[str, inspect.Parameter]:
    found = inspect.signature(inspect.unwrap(kind.__init__)).parameters
    return {name: each for name, each in found.items() if name != "self" and each.kind is not each.VAR_KEYWORD}


def returns(kind: Any, *methods: str) -> dict[str, Any]:
    return {name: inspect.signature(inspect.unwrap(getattr(kind, name))).return_annotation for name in methods}


# What is held


@pytest.mark.parametrize("case", [pytest.param(case, id=case.story.__name__) for case in CASES])
def test_what_differs_is_what_the_tables_say(case: Case, play: Callable[[Case], tuple[Seen, Seen]]) -> None:
    assert set(case.rows.values()) <= ROWS.keys()
    official, ours = play(case)
    assert official.keys() == ours.keys()
    different = {name: (official[name], ours[name]) for name in official if official[name] != ours[name]}
    assert different.keys() == case.rows.keys(), different


def test_every_row_is_told_by_a_story_or_held_by_another_test() -> None:
    told = {row for case in CASES for row in case.rows.values()}
    assert told | ELSEWHERE.keys() == ROWS.keys()
    assert not told & ELSEWHERE.keys()
    for where in ELSEWHERE.values():
        path, _, name = where.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(), where
