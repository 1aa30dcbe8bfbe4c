"""Why a task failed is left for the page, and whatever goes wrong with that, the task fails for its own reason."""

from __future__ import annotations

from typing import Any

import pytest

from airbyte_deferrable._airflow import failure_note
from airbyte_deferrable._airflow.failure_note import FAILURE, LONGEST, noting_failures
from airbyte_deferrable._compat import AIRFLOW_3
from airbyte_deferrable._job.failure import Explanation
from airbyte_deferrable.api.models import Failure
from airbyte_deferrable.exceptions import (
    AirbyteConfigError,
    AirbyteException,
    AirbyteInputError,
    AirbyteJobCancelled,
    AirbyteTimeout,
)
from helpers.one_task import TaskInstance

SUBJECT: dict[str, Any] = {"conn_id": "airbyte", "connection_id": "c", "job_id": 7}


@pytest.fixture(autouse=True)
def _page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_note, "page_is_wanted", lambda: True)


def note(error: Exception, *, wanted: bool = True, ti: TaskInstance | None = None) -> Any:
    """Return what is left of a failure."""
    ti = ti or TaskInstance()
    context: Any = {"ti": ti}
    with pytest.raises(type(error)) as raised, noting_failures(context, wanted=wanted):
        raise error
    assert raised.value is error
    return ti.xcoms.get(FAILURE)


def test_failed_job_leaves_its_reason_and_its_attempts() -> None:
    why = Explanation(Failure(failure_origin="source"), attempts=3)
    assert note(AirbyteConfigError("Job 7 failed. The password is wrong.", explanation=why, **SUBJECT)) == {
        "outcome": "failed",
        "reason": "Job 7 failed. The password is wrong.",
        "attempts": 3,
        **SUBJECT,
    }


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (AirbyteJobCancelled("x"), "cancelled"),
        (AirbyteTimeout("x"), "timeout"),
        (AirbyteInputError("x"), "unknown"),
        (AirbyteException("x"), "unknown"),
    ],
)
def test_each_cause_has_an_outcome(error: AirbyteException, outcome: str) -> None:
    assert note(error)["outcome"] == outcome


@pytest.mark.skipif(not AIRFLOW_3, reason="this Airflow has no page")
def test_reason_is_without_what_airflow_masks_in_logs() -> None:
    """An error of a connector's may quote what is a secret of some other connection of Airflow's."""
    from airflow.sdk.log import mask_secret

    mask_secret("of-a-warehouse-8d1f")
    assert note(AirbyteException("jdbc:x?password=of-a-warehouse-8d1f"))["reason"] == "jdbc:x?password=***"


def test_long_reason_is_cut() -> None:
    assert len(note(AirbyteException("x" * 5000))["reason"]) == LONGEST


def test_nothing_is_left_of_what_is_no_cause_of_ours_or_where_no_xcom_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert note(RuntimeError("a user's code")) is None
    assert note(AirbyteException("x"), wanted=False) is None
    monkeypatch.setattr(failure_note, "page_is_wanted", lambda: False)
    assert note(AirbyteException("x")) is None


def test_airflow_that_takes_no_xcom_changes_nothing() -> None:
    class Refusing(TaskInstance):
        def xcom_push(self, key: str, value: Any) -> None:
            raise RuntimeError("the API server is away")

    assert note(AirbyteException("x"), ti=Refusing()) is None
    by_hand: Any = {}
    with pytest.raises(AirbyteException), noting_failures(by_hand, wanted=True):
        raise AirbyteException("called by hand")
