"""What the wire says, as objects."""

from __future__ import annotations

import gc
import time
from datetime import datetime, timedelta, timezone

import pytest

from airbyte_deferrable.api.models import Connection, Job, JobPage, JobStatus, JobType

MINIMAL = {"jobId": 7, "status": "running", "jobType": "sync", "connectionId": "c"}


def job(**more: object) -> Job:
    return Job.model_validate({**MINIMAL, **more})


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2023-06-22T16:15:07Z", datetime(2023, 6, 22, 16, 15, 7, tzinfo=timezone.utc)),
        ("2023-06-22T16:15Z", datetime(2023, 6, 22, 16, 15, tzinfo=timezone.utc)),
        ("2023-06-22T16:15:07.123456Z", datetime(2023, 6, 22, 16, 15, 7, 123456, tzinfo=timezone.utc)),
        ("2023-06-22T18:15+02:00", datetime(2023, 6, 22, 16, 15, tzinfo=timezone.utc)),
        ("2023-06-22T16:15:07", datetime(2023, 6, 22, 16, 15, 7, tzinfo=timezone.utc)),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_time_is_read_as_java_writes_it(text: str | None, moment: datetime | None) -> None:
    assert job(startTime=text).created_at == moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT0S", 0.0),
        ("PT8H6M12S", 29172.0),
        ("PT25H", 90000.0),
        ("PT100H0.5S", 360000.5),
        ("PT1.25S", 1.25),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_duration_is_read_as_java_writes_it(text: str | None, seconds: float | None) -> None:
    assert job(duration=text).duration_seconds == seconds


def test_last_change_of_a_live_job_follows_from_its_duration() -> None:
    began = datetime(2023, 6, 22, 16, 15, tzinfo=timezone.utc)
    assert job(startTime="2023-06-22T16:15Z", duration="PT1M").updated_at == began + timedelta(minutes=1)
    assert job(startTime="2023-06-22T16:15Z").updated_at == began
    ended = job(startTime="2023-06-22T16:15Z", duration="PT1M", lastUpdatedAt="2023-06-22T16:20Z")
    assert ended.updated_at == began + timedelta(minutes=5)
    assert job().updated_at is None
    assert job(startTime="2023-06-22T16:15Z", duration="P999999999D").updated_at is None


@pytest.mark.parametrize("status", [*JobStatus, "paused-by-the-moon"])
def test_only_three_statuses_are_an_end(status: str) -> None:
    seen = job(status=str(status))
    assert seen.status == status
    assert seen.terminal is (status in ("succeeded", "failed", "cancelled"))


def test_fields_of_newer_releases_are_left_alone_and_missing_ones_are_none() -> None:
    seen = job(newField={"a": 1})
    assert (seen.rows_synced, seen.bytes_synced, seen.start_time, seen.duration) == (None, None, None, None)
    assert seen.to_json() == MINIMAL


def test_job_goes_to_json_and_back() -> None:
    whole = job(startTime="2023-06-22T16:15Z", lastUpdatedAt="2023-06-22T16:20Z", duration="PT5M", rowsSynced=0)
    assert Job.model_validate(whole.to_json()) == whole
    assert whole.to_json()["rowsSynced"] == 0


def test_types_and_statuses_are_written_as_on_the_wire() -> None:
    assert f"{JobType.SYNC} {JobStatus.RUNNING}" == "sync running"


def test_full_page_is_read_within_two_milliseconds() -> None:
    row = {**MINIMAL, "startTime": "2023-06-22T16:15Z", "duration": "PT5M", "rowsSynced": 1, "bytesSynced": 2}
    page = {"data": [{**row, "jobId": number} for number in range(100)], "next": "", "previous": ""}
    spent = []
    gc.disable()
    try:
        for _ in range(20):
            # The processor's time of this thread alone, and the best of many: a busy machine does not count.
            began = time.thread_time()
            JobPage.model_validate(page)
            spent.append(time.thread_time() - began)
    finally:
        gc.enable()
    assert min(spent) < 0.002


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"scheduleType": "manual"}, ("manual", "", "")),
        ({"scheduleType": "cron", "cronExpression": "0 0 12 * * ? UTC"}, ("cron", "0 0 12 * * ? UTC", "")),
        ({"scheduleType": "basic", "basicTiming": "Every 24 HOURS"}, ("basic", "", "Every 24 HOURS")),
    ],
)
def test_connection_tells_when_airbyte_starts_it(told: dict[str, str], said: tuple[str, str, str]) -> None:
    schedule = Connection.model_validate({"connectionId": "c", "schedule": told}).schedule
    assert schedule is not None
    assert (schedule.schedule_type, schedule.cron_expression, schedule.basic_timing) == said


def test_connection_of_an_airbyte_that_tells_little_has_no_tags_and_no_schedule() -> None:
    connection = Connection.model_validate({"connectionId": "c"})
    assert (connection.tags, connection.schedule, connection.status) == ((), None, "")
