"""An event says how a wait ended, survives Airflow's database, and is no success if it cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airbyte_deferrable._job.events import (
    Event,
    ended,
    not_visible,
    ran_out,
    read_event,
    readable_bytes,
    readable_seconds,
)
from airbyte_deferrable.api.models import Job


def job(status: str = "succeeded", **fields: Any) -> Job:
    return Job(job_id=7, status=status, connection_id="c", **fields)


@pytest.mark.parametrize(
    "event",
    [
        ended(job(rows_synced=5, duration="PT1M"), 2),
        ended(job("failed")),
        ended(job("cancelled")),
        ran_out("timeout", 7, job("running"), 1),
        ran_out("execution_timeout", 7, None),
        not_visible(7, "HTTP 403"),
    ],
    ids=lambda event: f"{event.status}-{event.reason}",
)
def test_event_survives_airflows_database(event: Any) -> None:
    assert read_event(json.loads(json.dumps(event.payload()))) == event


def test_event_of_a_later_version_is_understood() -> None:
    assert read_event({"status": "success", "job_id": 7, "weather": "fine"}).job_id == 7


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (ended(job()), "ended"),
        (ended(job("failed")), "ended"),
        (ended(job("cancelled")), "ended"),
        (ran_out("timeout", 7, job("running")), "timeout"),
        (ran_out("execution_timeout", 7, job("running")), "execution_timeout"),
        (not_visible(7, "HTTP 403"), "not_visible"),
        # The official provider's.
        (Event(status="success", job_id=7, message="Job run 7 has completed successfully."), "unknown"),
        (Event(status="error", job_id=7, message="Job run 7 has failed."), "unknown"),
        (Event(status="error", job_id=7, message="Job run 7 has not reached a terminal status after 9 s"), "timeout"),
        (Event(status="timeout", job_id=7), "execution_timeout"),
        # And with the job as it was checked since.
        (
            Event(status="error", job_id=7, message="Job run 7 has not reached a terminal status", job=job("running")),
            "timeout",
        ),
        (Event(status="timeout", job_id=7, job=job("running")), "execution_timeout"),
    ],
)
def test_event_tells_how_the_wait_ended(event: Event, kind: str) -> None:
    assert event.kind == kind
    assert "kind" not in event.payload()


def test_figures_are_said_as_people_do() -> None:
    assert [readable_bytes(n) for n in (0, 999, 1500, 2e6, 3e9, 4e13)] == [
        "0 bytes",
        "999 bytes",
        "1.5 kB",
        "2 MB",
        "3 GB",
        "40 TB",
    ]
    assert [readable_seconds(n) for n in (5, 65, 3723)] == ["5s", "1m 05s", "1h 02m 03s"]
