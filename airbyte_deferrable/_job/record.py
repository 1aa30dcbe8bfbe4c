"""What a task writes down of its job for its next try, and what it needs of the place where that is kept."""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

#: How the task stands to the job: see :class:`Record`.
RecordState = Literal["requested", "started", "attached", "released", "abandoned"]


class Record(BaseModel):
    """What is kept of a job from one try to the next.

    ==============  ===================================================  ============================================
    state           written when                                         a later try
    ==============  ===================================================  ============================================
    ``requested``   Airbyte is about to be asked for the job             looks for the job that the request has made
    ``started``     the job is this task's, which has yet to see its     waits for it; one after a clear knows that
                    end: a user who kills the task has it cancelled      this job is being cancelled
    ``attached``    the job is somebody else's: never cancelled          waits for it
    ``released``    the job is this task's, and goes on without it       waits for it, and sees its end again
    ``abandoned``   a user stopped the task while it ran                 starts another, and knows that this job is
                                                                         being cancelled
    ==============  ===================================================  ============================================

    :param generation: Tells the tries after a user cleared the task from those before: a cleared task starts afresh.
        It is the task's ``max_tries``, which Airflow raises at each clear and leaves alone at a retry. It leaves it
        alone, too, when the task runs while it is cleared: hence the state ``abandoned``.
    :param connection_id: The connection that was to run.
    :param job_type: What was to run.
    :param state: See above.
    :param after: The connection's newest job before this one was asked for; None if that could not be learned.
    :param written_at: When, seconds since the epoch.
    :param job_id: The job; None until Airbyte has told.
    """

    model_config = ConfigDict(defer_build=True)

    generation: int
    connection_id: str
    job_type: str
    state: RecordState = "requested"
    after: int | None = None
    written_at: float
    job_id: int | None = None

    @property
    def started_here(self) -> bool:
        """Whether the job, once it is known, is this task's own."""
        return self.state != "attached"

    @property
    def cancelled_with_task(self) -> bool:
        """Whether a user who kills or clears the task has the job cancelled."""
        return self.job_id is not None and self.state in ("started", "abandoned")


class RetryStore(Protocol):
    """Where a record is kept from one try to the next. All methods block."""

    @property
    def generation(self) -> int:
        """That of the present try: see :class:`Record`."""

    @property
    def cleared_job(self) -> int | None:
        """The job of a try before the task was cleared that is being cancelled, once :meth:`read` has found one."""

    def read(self, connection_id: str, job_type: str) -> Record | None:
        """Return what an earlier try of the same generation wrote about the same work."""

    def write(self, record: Record) -> None:
        """Keep a record. Fails only for one that does not name its job."""

    def delete(self) -> None:
        """Let a later try start another job."""

    def release(self) -> None:
        """Note that the job goes on without the task. Never fails."""

    def finish(self) -> None:
        """Drop what is not needed once the task has what it wanted. Never fails."""

    def abandon(self, *, cleared: bool) -> None:
        """Let no later try find the job, for a task that a user stops while it runs. Keeps nothing from then on.

        :param cleared: Whether another try follows at once.
        """
