"""What a task knows of its job survives a retry, and not a clear."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest

from airbyte_deferrable._airflow import retry_store
from airbyte_deferrable._airflow.retry_store import IN_TOUCH, AirflowRetryStore
from airbyte_deferrable._airflow.task_instance import generation_of
from airbyte_deferrable._job.record import Record
from airbyte_deferrable.exceptions import AirbyteException, AirbyteTimeout
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Script, Simulator
from helpers.airbyte import connection_to
from helpers.one_task import (
    Store,
    TaskInstance,
    Variables,
    airflow_is_silent,
    airflow_takes_down,
    airflow_takes_down_the_success,
)
from helpers.waiting import Clock, meanwhile

LOG = logging.getLogger(__name__)


@pytest.fixture(params=["task state store", "variables"])
def context(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    context: dict[str, Any] = {"ti": TaskInstance(max_tries=2, run_id="r" * 250)}
    if request.param == "variables":
        variables = Variables()
        monkeypatch.setattr(retry_store, "variables", lambda: variables)
    else:
        context["task_state_store"] = Store()
    return context


def record(context: Any, **fields: Any) -> Record:
    values = {"generation": generation_of(context), "connection_id": "c", "job_type": "sync", "written_at": 1.0}
    known = {"state": "started", "certain": True} if "job_id" in fields else {"state": "requested"}
    return Record(**{**values, **known, **fields})


def test_later_try_reads_the_record_and_tells_a_clear_from_a_retry(context: Any) -> None:
    AirflowRetryStore(context, LOG).write(record(context, after=3))
    AirflowRetryStore(context, LOG).write(record(context, after=3, job_id=4))
    context["ti"].try_number += 1
    store = AirflowRetryStore(context, LOG)
    found = store.read()
    assert found is not None
    assert (found.job_id, found.after, found.state) == (4, 3, "started")
    assert store.generation.since(found) == "retried"
    context["ti"].max_tries += 1
    assert AirflowRetryStore(context, LOG).generation.since(found) == "cleared"


def test_record_that_is_deleted_is_gone_also_twice(context: Any) -> None:
    AirflowRetryStore(context, LOG).write(record(context, job_id=4))
    AirflowRetryStore(context, LOG).delete()
    AirflowRetryStore(context, LOG).delete()
    assert AirflowRetryStore(context, LOG).read() is None


def test_record_that_cannot_be_read_is_none(context: Any) -> None:
    AirflowRetryStore(context, LOG)._store.write({"generation": "?"})
    assert AirflowRetryStore(context, LOG).read() is None


def test_mapped_tasks_do_not_share_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = Variables()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)
    for index in range(3):
        context: Any = {"ti": TaskInstance(max_tries=1, map_index=index)}
        AirflowRetryStore(context, LOG).write(record(context, job_id=index))
    assert len(variables) == 3


def test_variable_is_not_written_for_a_task_that_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = Variables()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)
    context: Any = {"ti": TaskInstance(max_tries=0)}
    AirflowRetryStore(context, LOG).write(record(context, job_id=1))
    assert not variables


def test_last_try_takes_the_variable_of_the_one_before_and_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = Variables()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)
    context: Any = {"ti": TaskInstance(max_tries=2)}
    AirflowRetryStore(context, LOG).write(record(context, job_id=4))
    context["ti"].try_number = 2
    for _ in range(2):
        found = AirflowRetryStore(context, LOG).read()
        assert found is not None
        assert found.job_id == 4
    context["ti"].try_number = 3
    last = AirflowRetryStore(context, LOG)
    assert last.read() == found
    assert not variables
    assert found is not None
    last.write(found)
    assert not variables


def test_variable_does_not_stay_of_a_task_that_fails_in_every_try(
    airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """Its job goes on after each timeout: the second try waits for it again, and a third there is none."""
    variables = Variables()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    connection_id = airbyte_simulator.add_connection(script=Script(outcome=None, pending=0.0))
    ti = TaskInstance(max_tries=1)
    left = []
    for try_number in (1, 2):
        ti.try_number = try_number
        checks = airbyte_simulator.count("get") + try_number
        operator = AirbyteTriggerSyncOperator(
            task_id="sync", connection_id=connection_id, wait_seconds=0.1, timeout=600
        )
        # The second try checks the job before it waits for it.
        with meanwhile(lambda: airbyte_simulator.count("get") >= checks, clock.jump), pytest.raises(AirbyteTimeout):  # noqa: B023
            operator.execute({"ti": ti})
        left.append([value["job_id"] for value in variables.values()])
    (job,) = airbyte_simulator.jobs(connection_id)
    assert left == [[job["id"]], []]


def test_variable_stays_until_the_very_end_of_a_successful_task(
    airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that dies after the job's success, but before it has told Airflow, finds the job again."""
    variables = Variables()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    connection_id = airbyte_simulator.add_connection(script=Script(duration=0.1, pending=0.0))
    context: Any = {"ti": TaskInstance(max_tries=1)}
    operator = AirbyteTriggerSyncOperator(task_id="sync", connection_id=connection_id, wait_seconds=0.1)
    result = operator.execute(context)
    assert [value["job_id"] for value in variables.values()] == [result]
    operator.post_execute(context, result)
    assert variables
    airflow_takes_down_the_success(context["ti"])
    assert not variables


@pytest.mark.parametrize(
    ("state", "left"), [("skipped", 0), ("failed", 0), ("up_for_retry", 1), ("deferred", 1), ("running", 1)]
)
def test_variable_does_not_stay_of_a_task_that_is_skipped_or_fails_for_good_before_its_last_try(
    airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch, state: str, left: int
) -> None:
    """A subclass raises AirflowSkipException or AirflowFailException after its sync."""
    variables = Variables()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    connection_id = airbyte_simulator.add_connection(script=Script(duration=0.1, pending=0.0))
    context: Any = {"ti": TaskInstance(max_tries=1)}
    AirbyteTriggerSyncOperator(task_id="sync", connection_id=connection_id, wait_seconds=0.1).execute(context)
    airflow_takes_down(context["ti"], state)
    assert len(variables) == left


def test_variable_stays_of_a_task_that_is_told_to_stop_and_airflow_does_not_say_why(
    airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user has marked it, and its job goes on: if the task is cleared then, its next try is to find that."""
    variables = Variables()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    airflow_is_silent(monkeypatch)
    connection_id = airbyte_simulator.add_connection(script=Script(duration=0.1, pending=0.0))
    context: Any = {"ti": TaskInstance(max_tries=1)}
    operator = AirbyteTriggerSyncOperator(task_id="sync", connection_id=connection_id, wait_seconds=0.1)
    operator.execute(context)
    operator.on_kill()
    airflow_takes_down(context["ti"], "failed")
    assert len(variables) == 1


def test_hiccup_of_airflow_after_the_start_fails_neither_the_start_nor_the_success(
    airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written before the start leads the next try to the job as well."""

    class Hiccups(Variables):
        def set(self, key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
            if value["job_id"] is not None:
                raise RuntimeError("API_SERVER_ERROR")
            super().set(key, value, description, serialize_json)

        def delete(self, key: str) -> None:
            raise RuntimeError("API_SERVER_ERROR")

    variables = Hiccups()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    connection_id = airbyte_simulator.add_connection(script=Script(duration=0.1, pending=0.0))
    context: Any = {"ti": TaskInstance(max_tries=2)}
    results = []
    for context["ti"].try_number in (1, 2):
        operator = AirbyteTriggerSyncOperator(task_id="sync", connection_id=connection_id, wait_seconds=0.1)
        results.append(operator.execute(context))
        airflow_takes_down_the_success(context["ti"])
    assert results == [job["id"] for job in airbyte_simulator.jobs(connection_id)] * 2


def test_record_that_cannot_be_written_before_the_start_starts_nothing(
    airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Store):
        def set(self, key: str, value: Any, *, retention: Any = None) -> None:
            raise RuntimeError("API_SERVER_ERROR")

    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    context: Any = {"ti": TaskInstance(), "task_state_store": Broken()}
    with pytest.raises(RuntimeError, match="API_SERVER_ERROR"):
        AirbyteTriggerSyncOperator(task_id="sync", connection_id=airbyte_simulator.add_connection()).execute(context)
    assert airbyte_simulator.count("create") == 0


class Slow(Variables):
    """An Airflow that is about to write when something else happens."""

    def __init__(self) -> None:
        super().__init__()
        self.about_to_write: Callable[[], object] = lambda: None

    def set(self, key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        do, self.about_to_write = self.about_to_write, lambda: None
        do()
        super().set(key, value, description, serialize_json)


@pytest.mark.parametrize("writes", ["release", "write"])
def test_kill_has_the_last_word(monkeypatch: pytest.MonkeyPatch, writes: str) -> None:
    """It comes in a thread of its own, while another write is on its way to Airflow."""
    variables = Slow()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)
    context: Any = {"ti": TaskInstance(max_tries=2)}
    store = AirflowRetryStore(context, LOG)
    store.write(record(context, job_id=4))
    kill = Thread(target=lambda: store.abandon(cancelled=True))

    def kill_now() -> None:
        kill.start()
        # Time enough to come before the write, if it can.
        kill.join(0.3)

    variables.about_to_write = kill_now
    if writes == "release":
        store.release()
    else:
        store.write(record(context, job_id=4, after=3))
    kill.join()
    store.write(record(context, job_id=5))
    [kept] = variables.values()
    assert (kept["abandoned"], kept["job_id"]) == (True, 4)


def lost_and_next(context: Any, run: int = 1) -> tuple[AirflowRetryStore, AirflowRetryStore]:
    """Return the store of a worker that Airflow has lost touch with, and that of the try that it has begun since."""
    lost = AirflowRetryStore(context, LOG, run=run)
    lost.write(record(context, job_id=4))
    context["ti"].try_number += 1
    following = AirflowRetryStore(context, LOG)
    following.write(record(context, job_id=5))
    return lost, following


#: What such a worker comes to.
COMES_TO: dict[str, Callable[[AirflowRetryStore], object]] = {
    "release": lambda lost: lost.release(),
    "kill": lambda lost: lost.abandon(cancelled=True),
    "kill without cancel": lambda lost: lost.abandon(cancelled=False),
    "kill and the job's end": lambda lost: (lost.abandon(cancelled=True), lost.drop_abandoned()),
    "failed job": lambda lost: lost.delete(),
    "success": lambda lost: lost._finish(),
}


@pytest.mark.parametrize("run", [1, 2])
@pytest.mark.parametrize("to", COMES_TO)
def test_worker_that_airflow_has_lost_touch_with_leaves_the_record_of_the_next_try_alone(
    context: Any, to: str, run: int
) -> None:
    """Also the record of the try's earlier run, which the next try comes to first."""
    lost, following = lost_and_next(context, run)
    COMES_TO[to](lost)
    kept = following.read()
    assert kept is not None
    assert (kept.job_id, kept.state, kept.abandoned) == (5, "started", False)


def test_worker_that_airflow_has_lost_touch_with_writes_nothing_over_the_next_try(context: Any, clock: Clock) -> None:
    """It stood still while it started its job; one that has not is not asked, which would cost each start a request."""
    lost, following = lost_and_next(context)
    clock.jump(IN_TOUCH)
    lost.write(Record(**{**lost_record(lost), "job_id": 4}))
    kept = following.read()
    assert kept is not None
    assert kept.job_id == 5


def test_worker_that_airflow_has_lost_touch_with_asks_for_no_job(context: Any, clock: Clock) -> None:
    lost, _ = lost_and_next(context)
    clock.jump(IN_TOUCH)
    with pytest.raises(AirbyteException, match="later try"):
        lost.write(Record(**lost_record(lost)))


def lost_record(store: AirflowRetryStore) -> dict[str, Any]:
    return {"generation": store.generation, "connection_id": "c", "job_type": "sync", "written_at": 1.0, "after": 3}


def test_start_in_touch_with_airflow_asks_for_nothing_but_what_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = Counting()
    monkeypatch.setattr(retry_store, "variables", lambda: variables)
    context: Any = {"ti": TaskInstance(max_tries=2)}
    store = AirflowRetryStore(context, LOG, fresh=True)
    store.read()
    store.write(record(context, after=3))
    store.write(record(context, after=3, job_id=4))
    assert variables.reads == 0


class Counting(Variables):
    """Counts what it is asked."""

    reads = 0

    def get(self, key: str, default: Any = None, deserialize_json: bool = False) -> Any:
        self.reads += 1
        return super().get(key, default, deserialize_json)
