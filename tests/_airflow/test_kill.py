"""Only a user's kill, never Airflow's own moving about, is taken for a reason to cancel the job."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from airbyte_deferrable._airflow import kill
from airbyte_deferrable._airflow.kill import WAIT_MARKER, killed_by_user, read_marker, write_marker
from helpers.one_task import TaskInstance, airflow_tells

LOG = logging.getLogger(__name__)
OWN, NEWER_SAME, NEWER_OTHER = ({"job_id": j, "try": t, "started_here": True} for j, t in ((7, 1), (7, 2), (8, 2)))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill, "NEW_TRY_WRITES_WITHIN", 0.05)


@pytest.mark.parametrize("map_index", [-1, 3])
@pytest.mark.parametrize(
    ("state", "written", "killed"),
    [
        ("failed", OWN, True),
        ("success", OWN, True),
        ("skipped", OWN, True),
        ("removed", None, True),
        (None, OWN, True),
        ("scheduled", OWN, True),
        ("queued", OWN, True),
        ("queued", None, True),
        ("deferred", OWN, False),
        ("deferred", NEWER_SAME, False),
        ("running", NEWER_SAME, False),
        ("deferred", NEWER_OTHER, True),
        ("running", NEWER_OTHER, True),
        ("running", OWN, False),
        ("running", None, True),
        ("deferred", None, True),
        ("up_for_retry", OWN, False),
        ("deleted", None, True),
        ("deleted", OWN, False),
    ],
)
async def test_table(
    monkeypatch: pytest.MonkeyPatch, state: str | None, written: Any, killed: bool, map_index: int
) -> None:
    ti = TaskInstance(state=state, xcoms={WAIT_MARKER: written} if written else {}, map_index=map_index)
    with airflow_tells(monkeypatch, ti):
        assert await killed_by_user(ti, 7, 1, LOG) is killed


async def test_new_try_that_is_just_beginning_is_given_time_to_write_its_wait_marker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ti = TaskInstance(state="running")
    looks = []

    def look(ti: Any, key: str) -> Any:
        looks.append(key)
        return None if len(looks) == 1 else NEWER_SAME

    with airflow_tells(monkeypatch, ti):
        monkeypatch.setattr(kill, "read_xcom", look)
        assert await killed_by_user(ti, 7, 1, LOG) is False


async def test_airflow_that_does_not_answer_leaves_the_job_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("no supervisor")

    monkeypatch.setattr(kill, "read_state", broken)
    assert await killed_by_user(TaskInstance(), 7, 1, LOG) is False


async def test_triggers_that_are_killed_at_once_are_all_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as all that triggers ask Airflow: the clock is far ahead when the last is answered."""
    loop = asyncio.get_running_loop()
    real, ahead = loop.time, 0.0

    def answer(_: Any) -> str:
        nonlocal ahead
        ahead += 0.017
        return "failed"

    monkeypatch.setattr(loop, "time", lambda: real() + ahead)
    monkeypatch.setattr(kill, "read_state", answer)
    told = await asyncio.gather(*(killed_by_user(TaskInstance(), job, 1, LOG) for job in range(2000)))
    assert all(told)


async def test_dag_test_has_no_task_instance_and_nothing_is_cancelled() -> None:
    assert await killed_by_user(None, 7, 1, LOG) is False


def test_wait_marker_is_that_of_its_try(monkeypatch: pytest.MonkeyPatch) -> None:
    ti = TaskInstance(try_number=2)
    context: Any = {"ti": ti}
    with airflow_tells(monkeypatch, ti):
        assert read_marker(context) is None
        write_marker(context, 7, "c", started_here=True)
        assert read_marker(context) == (7, "c", True)
        write_marker(context, 7, "c", started_here=False)
        assert read_marker(context) == (7, "c", False)
        write_marker(context, 7, "c", started_here=True)
        ti.try_number = 3
        assert read_marker(context) is None
