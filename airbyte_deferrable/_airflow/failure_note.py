"""Why a task failed, left for the page: the task's log is a file, which nobody can ask for all tasks at once.

It is one more call to Airflow, of some 15 ms, and only of a task that fails.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from airbyte_deferrable._airflow.page_setting import page_is_wanted
from airbyte_deferrable._airflow.task_instance import task_instance
from airbyte_deferrable.exceptions import (
    AirbyteException,
    AirbyteJobCancelled,
    AirbyteJobFailed,
    AirbyteTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airbyte_deferrable._compat import Context

#: The XCom.
FAILURE = "airbyte_failure"
#: Characters of the reason at most.
LONGEST = 1000


@contextmanager
def noting_failures(context: Context, *, wanted: bool) -> Iterator[None]:
    """Leave word of the failure if what is in the block fails for a cause of ours.

    :param context: The task's context; one without a task instance has no XComs.
    :param wanted: Whether the task may leave XComs.
    """
    try:
        yield
    except AirbyteException as error:
        ti = task_instance(context)
        if wanted and ti is not None and page_is_wanted():
            # The task fails for its own reason, not for this.
            with suppress(Exception):
                ti.xcom_push(key=FAILURE, value=note_of(error))
        raise


def note_of(error: AirbyteException) -> dict[str, Any]:
    """Return what is left of a failure.

    :param error: What the task fails with; its words are in the task's log, too.
    """
    words = _masked(str(error))
    explanation = getattr(error, "explanation", None)
    return {
        "outcome": _outcome(error),
        "reason": words if len(words) <= LONGEST else f"{words[: LONGEST - 1]}…",
        "attempts": explanation.attempts if explanation is not None else None,
        "job_id": error.job_id,
        "connection_id": error.connection_id,
        "conn_id": error.conn_id,
    }


def _masked(words: str) -> str:
    """Return words without what Airflow masks in a task's log: an XCom is shown as it is."""
    try:
        from airflow.sdk.log import mask_logs
    except ImportError:  # Airflow 2, which has no page
        return words
    return str(mask_logs(None, "", {"event": words})["event"])


def _outcome(error: AirbyteException) -> str:
    match error:
        case AirbyteJobFailed():
            return "failed"
        case AirbyteJobCancelled():
            return "cancelled"
        case AirbyteTimeout():
            return "timeout"
        case _:
            return "unknown"
