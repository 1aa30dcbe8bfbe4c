"""A finished wait becomes XComs, and the task's return value or exception."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airbyte_deferrable._airflow.results import fail, finish, push, read_event
from airbyte_deferrable._job.events import not_visible, ran_out
from airbyte_deferrable.api.models import Job
from airbyte_deferrable.exceptions import (
    AirbyteException,
    AirbyteJobCancelled,
    AirbyteJobFailed,
    AirbyteNotVisibleError,
    AirbyteTimeout,
)
from helpers.one_task import TaskInstance

LOG = logging.getLogger(__name__)


def job(status: str = "succeeded", **fields: Any) -> Job:
    return Job(job_id=7, status=status, connection_id="c", **fields)


@pytest.mark.parametrize(
    ("payload", "named"),
    [(None, "NoneType"), ("success", "str"), ({}, r"\[\]"), ({"status": "ok", "job_id": 1}, "job_id")],
)
def test_event_that_is_none_is_no_success(payload: Any, named: str) -> None:
    with pytest.raises(AirbyteException, match=named):
        read_event(payload)


@pytest.mark.parametrize(("status", "raises"), [("failed", AirbyteJobFailed), ("cancelled", AirbyteJobCancelled)])
def test_job_that_did_not_succeed_is_an_exception_that_names_all(status: str, raises: type[AirbyteException]) -> None:
    with pytest.raises(raises, match="job 7 of connection c") as failed:
        finish(job(status), LOG, "airbyte")
    assert (failed.value.conn_id, failed.value.connection_id, failed.value.job_id) == ("airbyte", "c", 7)


def test_success_returns_the_job_id() -> None:
    assert finish(job(), LOG, "airbyte") == 7


@pytest.mark.parametrize(
    ("event", "raises", "says"),
    [
        (ran_out("timeout", 7, None), AirbyteTimeout, r"timeout \(9 s\) was over. The job goes on; [^.]*\.$"),
        (ran_out("timeout", 7, job("running")), AirbyteTimeout, r"The job goes on.*It was seen last as 'running'"),
        (ran_out("execution_timeout", 7, None), AirbyteTimeout, r"execution_timeout \(9 s\) was over. The job goes on"),
        (not_visible(7, "HTTP 403"), AirbyteNotVisibleError, "cannot be seen.*'airbyte'.*HTTP 403"),
    ],
)
def test_wait_without_the_jobs_end_names_its_cause(event: Any, raises: type[Exception], says: str) -> None:
    error = fail(event, "airbyte", "c", 9)
    assert type(error) is raises
    with pytest.raises(raises, match=says):
        raise error


def test_facts_are_left_in_xcom_as_json() -> None:
    ti = TaskInstance()
    context: Any = {"ti": ti}
    push(job(rows_synced=5, bytes_synced=0, duration="PT1M5S", start_time="2023-06-22T16:15Z"), context)
    assert ti.xcoms == {
        "final_status": "succeeded",
        "rows_synced": 5,
        "airbyte_job": {
            "jobId": 7,
            "status": "succeeded",
            "jobType": "sync",
            "connectionId": "c",
            "startTime": "2023-06-22T16:15Z",
            "duration": "PT1M5S",
            "bytesSynced": 0,
            "rowsSynced": 5,
            "durationSeconds": 65.0,
        },
    }
