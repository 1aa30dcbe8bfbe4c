"""What a task knows of its job survives a retry, and not a clear."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airbyte_deferrable._airflow import retry_store
from airbyte_deferrable._airflow.retry_store import AirflowRetryStore
from airbyte_deferrable._job.record import Record
from airbyte_deferrable.exceptions import AirbyteTimeout
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Script, Simulator
from helpers.airbyte import connection_to
from helpers.one_task import Store, TaskInstance, Variables

LOG = logging.getLogger(__name__)


@pytest.fixture(params=["task state store", "variables"])
def context(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    context: dict[str, Any] = {"ti": TaskInstance(max_tries=2, run_id="r" * 250)}
    if request.param == "variables":
        variables = Variables()
        monkeypatch.setattr(retry_store, "_variable", lambda: variables)
    else:
        context["task_state_store"] = Store()
    return context


def record(context: Any, **fields: Any) -> Record:
    values = {"generation": context["ti"].max_tries, "connection_id": "c", "job_type": "sync", "written_at": 1.0}
    state = "started" if "job_id" in fields else "requested"
    return Record(**{**values, "state": state, **fields})


def test_retry_reads_the_record_and_a_cleared_task_does_not(context: Any) -> None:
    AirflowRetryStore(context, LOG).write(record(context, after=3))
    AirflowRetryStore(context, LOG).write(record(context, after=3, job_id=4))
    context["ti"].try_number += 1
    found = AirflowRetryStore(context, LOG).read("c", "sync")
    assert found is not None
    assert (found.job_id, found.after, found.state) == (4, 3, "started")
    context["ti"].max_tries += 1
    assert AirflowRetryStore(context, LOG).read("c", "sync") is None


def test_other_work_is_not_found(context: Any) -> None:
    AirflowRetryStore(context, LOG).write(record(context, job_id=4))
    assert AirflowRetryStore(context, LOG).read("other", "sync") is None
    assert AirflowRetryStore(context, LOG).read("c", "reset") is None


def test_record_that_is_deleted_is_gone_also_twice(context: Any) -> None:
    AirflowRetryStore(context, LOG).write(record(context, job_id=4))
    AirflowRetryStore(context, LOG).delete()
    AirflowRetryStore(context, LOG).delete()
    assert AirflowRetryStore(context, LOG).read("c", "sync") is None


def test_record_that_cannot_be_read_is_none(context: Any) -> None:
    AirflowRetryStore(context, LOG)._store.write({"generation": "?"})
    assert AirflowRetryStore(context, LOG).read("c", "sync") is None


def test_mapped_tasks_do_not_share_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = Variables()
    monkeypatch.setattr(retry_store, "_variable", lambda: variables)
    for index in range(3):
        context: Any = {"ti": TaskInstance(max_tries=1, map_index=index)}
        AirflowRetryStore(context, LOG).write(record(context, job_id=index))
    assert len(variables) == 3


def test_variable_is_not_written_for_a_task_that_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = Variables()
    monkeypatch.setattr(retry_store, "_variable", lambda: variables)
    context: Any = {"ti": TaskInstance(max_tries=0)}
    AirflowRetryStore(context, LOG).write(record(context, job_id=1))
    assert not variables


def test_last_try_takes_the_variable_of_the_one_before_and_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = Variables()
    monkeypatch.setattr(retry_store, "_variable", lambda: variables)
    context: Any = {"ti": TaskInstance(max_tries=2)}
    AirflowRetryStore(context, LOG).write(record(context, job_id=4))
    context["ti"].try_number = 2
    for _ in range(2):
        found = AirflowRetryStore(context, LOG).read("c", "sync")
        assert found is not None
        assert found.job_id == 4
    context["ti"].try_number = 3
    last = AirflowRetryStore(context, LOG)
    assert last.read("c", "sync") == found
    assert not variables
    assert found is not None
    last.write(found)
    assert not variables


def test_variable_does_not_stay_of_a_task_that_fails_in_every_try(
    airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job goes on after each timeout: the second try waits for it again, and a third there is none."""
    variables = Variables()
    monkeypatch.setattr(retry_store, "_variable", lambda: variables)
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    connection_id = airbyte_simulator.add_connection(script=Script(outcome=None, pending=0.0))
    ti = TaskInstance(max_tries=1)
    left = []
    for try_number in (1, 2):
        ti.try_number = try_number
        with pytest.raises(AirbyteTimeout):
            AirbyteTriggerSyncOperator(
                task_id="sync", connection_id=connection_id, wait_seconds=0.1, timeout=2.0
            ).execute({"ti": ti})
        left.append([value["job_id"] for value in variables.values()])
    (job,) = airbyte_simulator.jobs(connection_id)
    assert left == [[job["id"]], []]


def test_variable_stays_until_the_very_end_of_a_successful_task(
    airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that dies after the job's success, but before it has told Airflow, finds the job again."""
    variables = Variables()
    monkeypatch.setattr(retry_store, "_variable", lambda: variables)
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    connection_id = airbyte_simulator.add_connection(script=Script(duration=0.1, pending=0.0))
    context: Any = {"ti": TaskInstance(max_tries=1)}
    operator = AirbyteTriggerSyncOperator(task_id="sync", connection_id=connection_id, wait_seconds=0.1)
    result = operator.execute(context)
    assert [value["job_id"] for value in variables.values()] == [result]
    operator.post_execute(context, result)
    assert not variables


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
    monkeypatch.setattr(retry_store, "_variable", lambda: variables)
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    connection_id = airbyte_simulator.add_connection(script=Script(duration=0.1, pending=0.0))
    context: Any = {"ti": TaskInstance(max_tries=2)}
    results = []
    for context["ti"].try_number in (1, 2):
        operator = AirbyteTriggerSyncOperator(task_id="sync", connection_id=connection_id, wait_seconds=0.1)
        results.append(operator.execute(context))
        operator.post_execute(context, results[-1])
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


@pytest.mark.parametrize("cleared", [True, False])
def test_task_that_was_stopped_while_it_ran_tells_later_tries_only_which_job_is_being_cancelled(
    context: Any, cleared: bool
) -> None:
    stopped = AirflowRetryStore(context, LOG)
    stopped.write(record(context, job_id=4))
    stopped.abandon(cleared=cleared)
    stopped.write(record(context, job_id=5))
    context["ti"].try_number += 1
    after = AirflowRetryStore(context, LOG)
    assert after.read("c", "sync") is None
    # A Variable is written for a try that follows only.
    assert after.cleared_job == (4 if cleared or "task_state_store" in context else None)


@pytest.mark.parametrize(
    ("state", "released", "cleared_job"), [("started", "released", 4), ("attached", "attached", None)]
)
def test_job_that_goes_on_without_its_task_is_found_by_a_retry_and_is_no_cleared_tasks(
    context: Any, state: str, released: str, cleared_job: int | None
) -> None:
    AirflowRetryStore(context, LOG).write(record(context, job_id=4, state=state))
    context["ti"].max_tries += 1
    cleared = AirflowRetryStore(context, LOG)
    assert cleared.read("c", "sync") is None
    assert cleared.cleared_job == cleared_job
    context["ti"].max_tries -= 1
    AirflowRetryStore(context, LOG).release()
    found = AirflowRetryStore(context, LOG).read("c", "sync")
    assert found is not None
    assert (found.job_id, found.state) == (4, released)
    context["ti"].max_tries += 1
    cleared = AirflowRetryStore(context, LOG)
    assert cleared.read("c", "sync") is None
    assert cleared.cleared_job is None
