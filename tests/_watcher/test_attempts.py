"""Attempts are counted by the changes that are seen, and not told where that is not enough."""

from __future__ import annotations

import pytest

from airbyte_deferrable._watcher.attempts import attempt_of
from airbyte_deferrable.api.models import Job


@pytest.mark.parametrize(
    ("seen", "attempt"),
    [
        ([("pending", None)], None),
        ([("pending", None), ("running", 5)], 1),
        # It has run for too short a time to be the second.
        ([("running", 5)], 1),
        ([("running", 500)], None),
        ([("running", 5), ("running", 5)], 1),
        ([("running", 5), ("incomplete", 60), ("running", 70)], 2),
        # Nobody has seen the pause between the two.
        ([("running", 5), ("running", 70)], 2),
        ([("running", 500), ("incomplete", 600), ("running", 610)], None),
        # Nobody has seen the attempt between the two.
        ([("running", 5), ("incomplete", 60), ("incomplete", 120), ("running", 130)], None),
        ([("running", 5), ("incomplete", 60), ("running", 70), ("succeeded", 100)], 2),
    ],
)
def test_attempt_follows_from_what_was_seen(seen: list[tuple[str, int | None]], attempt: int | None) -> None:
    status, lasted, found = "", None, None
    for now, seconds in seen:
        job = Job(job_id=7, status=now, duration=None if seconds is None else f"PT{seconds}S")
        found = attempt_of(job, status, lasted, found)
        status, lasted = job.status, job.duration_seconds
    assert found == attempt
