"""Why a job failed, as far as Airbyte's config API tells.

The public API only says ``failed``. The config API knows the attempts, their failures and their logs; where it
cannot be reached, or takes too long, a task fails without the reason.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.api.models import Failure, FailureSummary, JobInfo, JobStats

#: Seconds that a failed task waits for the reason.
EXPLAIN_WITHIN = 5.0
#: Airbyte's type for what fails again until a user mends the settings.
CONFIG_ERROR = "config_error"
LOG_LINES = 20
#: A line of a log, and a message, are cut after so many characters.
LINE = 300
MESSAGE = 2000


@dataclass(frozen=True)
class Explanation:
    """Why a job failed.

    :param failure: The first failure of the last attempt that names one; None if none does.
    :param attempts: How many attempts Airbyte made.
    :param rows_committed: Rows that the job committed before it failed, in all its attempts; None if Airbyte did not
        say.
    :param bytes_committed: Likewise bytes.
    :param log_lines: The last lines of the last attempt's log, oldest first.
    :param rows_rejected: Rows that the destination refused; None if Airbyte did not say.
    """

    failure: Failure | None
    attempts: int
    rows_committed: int | None = None
    bytes_committed: int | None = None
    log_lines: tuple[str, ...] = ()
    rows_rejected: int | None = None

    @property
    def is_config_error(self) -> bool:
        """Whether trying again is in vain until a user mends the settings."""
        return self.failure is not None and self.failure.failure_type == CONFIG_ERROR

    def __str__(self) -> str:
        """Say it in a sentence or two."""
        made = f"after {_some(self.attempts, 'attempt')}"
        if self.failure is None:
            return f"Airbyte names no reason {made}."
        origin = self.failure.failure_origin or "an unknown place"
        kind = f" ({self.failure.failure_type})" if self.failure.failure_type else ""
        message = self.failure.external_message or self.failure.internal_message or "no message"
        return f"Failed in {origin}{kind} {made}{self._moved}: {_cut(message, MESSAGE)}"

    @property
    def _moved(self) -> str:
        if not self.rows_rejected:
            return "" if self.rows_committed is None else f" and {_some(self.rows_committed, 'row')} committed"
        return f", {_some(self.rows_committed or 0, 'row')} committed and {self.rows_rejected:,} rejected"


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


async def explain(client: AirbyteClient, job_id: int, details: Any = None) -> Explanation | None:
    """Ask why a job failed, for a few seconds at most.

    :param details: ``jobs/get_without_logs``, if it was asked already, empty if in vain. Default: it is asked.
    :return: What could be learned; None if nothing.
    """
    found: list[Explanation] = []
    with suppress(ApiError, ValidationError, asyncio.TimeoutError):
        await asyncio.wait_for(_ask(client, job_id, details, found), EXPLAIN_WITHIN)
    return found[-1] if found else None


async def _ask(client: AirbyteClient, job_id: int, details: Any, found: list[Explanation]) -> None:
    """Collect what is learned step by step, so that an answer in time is not lost for one that comes late."""
    if details is None:
        details = await client.ask_config_api("jobs/get_without_logs", {"id": job_id})
    info = JobInfo.model_validate(details)
    if not info.attempts:
        return
    last = info.attempts[-1].attempt
    summaries = [each.attempt.failure_summary or FailureSummary() for each in info.attempts]
    # An attempt's first failure is the cause, those behind it are what it caused.
    named = next((each.failures[0] for each in reversed(summaries) if each.failures), None)
    stats = info.job.aggregated_stats or JobStats()
    told = Explanation(
        failure=named,
        attempts=len(info.attempts),
        rows_committed=stats.records_committed,
        bytes_committed=stats.bytes_committed,
        rows_rejected=stats.records_rejected,
    )
    found.append(told)
    log = await client.ask_config_api("attempt/get_for_job", {"jobId": job_id, "attemptNumber": last.id})
    found.append(replace(told, log_lines=_last_lines(log)))


def _last_lines(answer: Any) -> tuple[str, ...]:
    """Return the end of an attempt's log, which is structured events or plain lines, by Airbyte's release."""
    logs = answer.get("logs") if isinstance(answer, dict) else None
    if not isinstance(logs, dict):
        return ()
    events, lines = logs.get("events"), logs.get("logLines")
    if isinstance(events, list):
        lines = [f"{event.get('level', '')} {event.get('message', '')}" for event in events if isinstance(event, dict)]
    if not isinstance(lines, list):
        return ()
    return tuple(_cut(str(line), LINE) for line in lines[-LOG_LINES:] if str(line).strip())


def _cut(text: str, length: int) -> str:
    text = text.strip()
    return text if len(text) <= length else f"{text[:length]} …"
