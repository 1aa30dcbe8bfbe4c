"""Which of Airbyte's attempts a job is in, as far as that can be told.

The public API does not name attempts. But each begins with a change to ``running``, and the duration of a live job is
that from its creation to its last change (``JobResponseMapper`` in airbyte-platform).
"""

from __future__ import annotations

from airbyte_deferrable.api.models import Job, JobStatus

#: Seconds that Airbyte pauses, at least, after an attempt that failed and brought nothing. A job that has run since
#: earlier is in its first.
SECOND_ATTEMPT_AFTER = 10.0
_BEFORE_ATTEMPTS = (JobStatus.PENDING, JobStatus.QUEUED)
#: A change to running from one of these begins a new attempt, also from running: nobody checked between the two.
BETWEEN_ATTEMPTS = (JobStatus.RUNNING, JobStatus.INCOMPLETE)


def attempt_of(job: Job, status_before: str, lasted_before: float | None, attempt: int | None) -> int | None:
    """Return the attempt that runs, or ran last; None if that cannot be told.

    :param job: The job as it is now.
    :param status_before: Its status when it was seen last; empty for one that was not.
    :param lasted_before: Likewise its duration, seconds.
    :param attempt: What this returned then; None for a job that was not seen.
    """
    lasted = job.duration_seconds
    if job.status != JobStatus.RUNNING:
        if job.status == JobStatus.INCOMPLETE and status_before == JobStatus.INCOMPLETE and lasted != lasted_before:
            # How many there were between the two checks, nobody knows.
            return None
        return attempt
    if status_before in BETWEEN_ATTEMPTS:
        if (status_before, lasted_before) == (job.status, lasted):
            return attempt
        return None if attempt is None else attempt + 1
    first = status_before in _BEFORE_ATTEMPTS or (lasted or 0.0) < SECOND_ATTEMPT_AFTER
    return 1 if first else None
