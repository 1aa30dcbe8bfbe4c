"""What a task writes down of its job for its next try, and what it needs of the place where that is kept."""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

#: How the task stands to the job: see :class:`Record`.
RecordState = Literal["requested", "started", "attached", "released"]
#: What has become of the task since an earlier try: see :meth:`Generation.since`.
Since = Literal["retried", "cleared", "unclear"]


class Generation(BaseModel):
    """Where a try stands among its task's tries, as far as Airflow tells: what tells a clear from a retry.

    :param try_number: The try.
    :param max_tries: How many retries are allowed in all. A clear sets it to the try's number plus ``retries``, a retry
        leaves it alone.
    :param retries: What the DAG says by then; None if that is not known.
    :param clear_number: How often the DAG run was cleared, a sibling of the task included; None if that is not known,
        or if Airflow does not count each time.
    """

    model_config = ConfigDict(defer_build=True)

    try_number: int = 1
    max_tries: int = 0
    retries: int | None = None
    clear_number: int | None = None

    def since(self, record: Record) -> Since:
        """Tell what has become of the task since a record was written.

        ============================================================  =============  ================================
        what is found                                                 is             a job that still runs then
        ============================================================  =============  ================================
        a user stopped the task while it ran                          ``cleared``    is cancelled, and seen to end
        another ``max_tries``                                         ``cleared``    the same
        the same, and a clear of this task would have made another    ``retried``    is waited for, and is the task's
        of it, or nothing of the run was cleared
        the same, as a clear of this task may have left it, since     ``unclear``    is waited for, and then another
        ``retries`` was lowered by as many as the task had used                      is started
        ============================================================  =============  ================================

        Airflow may leave ``max_tries`` alone, too, when the task runs while it is cleared: hence the first row.
        """
        then = record.generation
        if record.abandoned or self.max_tries != then.max_tries:
            return "cleared"
        if self.clear_number is not None and self.clear_number == then.clear_number:
            return "retried"
        # Also where clears were counted this is no certain clear: the count is the run's, and it may have been a
        # sibling that was cleared, while this task was retried and its DAG changed. Of the three mistakes that are
        # possible, the least is made. A job that is cancelled takes its work with it; one that is taken for the task's
        # own lets a task end green that a user wanted done again; one more job after the other costs a run, and loses
        # nothing.
        return "unclear" if self._clear_may_have_left_max_tries(then) else "retried"

    def _clear_may_have_left_max_tries(self, then: Generation) -> bool:
        """Tell whether ``max_tries`` is what a clear of one of the tries since then makes of it."""
        return self.retries is not None and then.try_number <= self.max_tries - self.retries < self.try_number


class Record(BaseModel):
    """What is kept of a job from one try to the next.

    ==============  ===================================  =========================  ===============================
    state           written when                         a retry                    a try after a clear
    ==============  ===================================  =========================  ===============================
    ``requested``   Airbyte is about to be asked for     looks for the job that     the same, and waits for its end
                    the job                              the request has made
    ``started``     the job is this task's, which has    waits for it               has it cancelled if it is
                    yet to see its end                                              certain, and sees it end
    ``attached``    the job is somebody else's           waits for it               meets it as any other
    ``released``    the job is this task's, and goes     waits for it, and sees     meets it as any other
                    on without it                        its end again
    ==============  ===================================  =========================  ===============================

    Until a try after a clear has seen the old job end, the record stays, for the try that comes next.

    :param generation: That of the try that wrote it.
    :param connection_id: The connection that was to run.
    :param job_type: What was to run.
    :param state: See above.
    :param certain: Whether Airbyte has named the job, and as a new one, in its answer to this task's request. Only such
        a job is ever cancelled on the task's behalf. One that was found after the answer was lost may be a job that
        somebody else has started in the same moments.
    :param abandoned: Whether a user has stopped the task while it ran.
    :param after: The connection's newest job before this one was asked for; None if that could not be learned.
    :param written_at: When, seconds since the epoch.
    :param job_id: The job; None until Airbyte has told.
    """

    model_config = ConfigDict(defer_build=True)

    generation: Generation
    connection_id: str
    job_type: str
    state: RecordState = "requested"
    certain: bool = False
    abandoned: bool = False
    after: int | None = None
    written_at: float
    job_id: int | None = None

    @property
    def leads_to_a_job(self) -> bool:
        """Whether a later try can find the job by it."""
        return self.job_id is not None or self.after is not None

    @property
    def started_job(self) -> int | None:
        """The job, if this task has started it for certain."""
        return self.job_id if self.certain and self.state != "attached" else None


class RetryStore(Protocol):
    """Where a record is kept from one try to the next. All methods block."""

    @property
    def generation(self) -> Generation:
        """That of the present try."""

    def read(self) -> Record | None:
        """Return what an earlier try wrote, or this one."""

    def write(self, record: Record) -> None:
        """Keep a record. Fails only for one that does not name its job."""

    def delete(self) -> None:
        """Let a later try start another job."""

    def release(self) -> None:
        """Note that the job goes on without the task. Never fails."""

    def following(self) -> RetryStore:
        """Return the store of the task's next run in the same try."""
