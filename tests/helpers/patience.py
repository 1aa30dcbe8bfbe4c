"""The seconds that the package gives others, since a user waits: no test is to fail because a machine needed more."""

from __future__ import annotations

import pytest

#: More than any machine takes, and less than a test may.
PATIENT = 90.0
#: Where the seconds themselves are the topic, the test sets them.
SPANS = (
    "_airflow.job_report.INTRODUCED_WITHIN",
    "_airflow.job_report.WRITTEN_WITHIN",
    "_airflow.kill.ANSWERS_ON_WORKER_WITHIN",
    "_airflow.off_loop.WRITTEN_WITHIN",
    "_airflow.started_job.NAMED_WITHIN",
    "_job.connections.DESCRIBE_WITHIN",
    "_job.failure.EXPLAIN_WITHIN",
    "_job.wait.FINAL_CHECK_WITHIN",
    "_airflow.base_trigger.FINAL_CHECK_WITHIN",
    "hooks.CANCEL_WITHIN",
    "hooks.FINAL_CHECK_WITHIN",
    "sensors.FINAL_CHECK_WITHIN",
)


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give others all the time that they need.

    :param monkeypatch: Undoes it.
    """
    for span in SPANS:
        monkeypatch.setattr(f"airbyte_deferrable.{span}", PATIENT)
