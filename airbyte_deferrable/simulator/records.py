"""What an Airbyte's database holds: connections, jobs and their attempts."""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from airbyte_deferrable.simulator.script import PENDING, SUCCEEDED, TERMINAL, Script

SECOND = 1_000_000

SYNC, RESET, REFRESH, CLEAR = "sync", "reset_connection", "refresh", "clear"
#: How the public API calls the stored kinds of job. ``clear`` jobs are stored as resets.
PUBLIC_TYPES = {SYNC: "sync", RESET: "reset", REFRESH: "refresh", CLEAR: "clear"}
STORED_KINDS = {public: stored for stored, public in PUBLIC_TYPES.items()}


@dataclass
class Attempt:
    """One attempt of a job, as far as it has come. Stamps are microseconds."""

    number: int
    started: int
    updated: int
    status: str = "running"
    failure: dict[str, Any] | None = None


@dataclass(eq=False)
class Connection:
    """An Airbyte connection and the scripts of its next jobs."""

    id: str
    name: str
    workspace_id: str
    source_name: str
    destination_name: str
    status: str
    created: int
    scripts: deque[Script]
    jobs: list[int] = field(default_factory=list)
    live: list[Job] = field(default_factory=list)

    @property
    def source_id(self) -> str:
        """The UUID of its source."""
        return str(uuid.uuid5(uuid.UUID(self.id), "source"))

    @property
    def destination_id(self) -> str:
        """The UUID of its destination."""
        return str(uuid.uuid5(uuid.UUID(self.id), "destination"))

    @property
    def told_status(self) -> str:
        """Its status as the APIs tell it: they know nothing of a workflow that is gone."""
        return "active" if self.status == "deleted" else self.status

    @property
    def running(self) -> Job | None:
        """The job that it runs now, whatever the status is called."""
        return self.live[-1] if self.live else None


class Job:
    """A job as the database has it, and what is still to come of its script. Stamps are microseconds.

    :param job_id: Its id.
    :param connection: Whose it is.
    :param kind: Which kind, as it is stored.
    :param created: Its stamp.
    :param script: What it does.
    """

    __slots__ = (
        "attempts",
        "cancel_requested_by",
        "connection",
        "created",
        "foreign",
        "generation",
        "id",
        "kind",
        "ran",
        "script",
        "started",
        "status",
        "steps",
        "text",
        "updated",
    )

    def __init__(self, job_id: int, connection: Connection, kind: str, created: int, script: Script) -> None:
        self.id = job_id
        self.connection = connection
        self.kind = kind
        self.status = PENDING
        self.created = self.updated = created
        self.started: int | None = None
        self.script = script
        #: What comes next: visible at, stamp, status.
        self.steps: deque[tuple[int, int, str]] = deque()
        self.generation = 0
        self.attempts: list[Attempt] = []
        self.ran = 0
        self.cancel_requested_by: int | str | None = None
        self.foreign = False
        #: Rendered parts of the answer that stay the same until the next change of status.
        self.text: dict[str, str] = {}

    @property
    def terminal(self) -> bool:
        """Whether it has ended."""
        return self.status in TERMINAL

    def progress(self, now: int) -> tuple[int, int]:
        """Return rows and bytes committed so far: they grow evenly while an attempt runs.

        :param now: Microseconds.
        """
        if self.kind != SYNC and self.kind != REFRESH:
            return 0, 0
        if self.status == SUCCEEDED:
            return self.script.rows, self.script.bytes
        ran = self.ran
        if self.attempts and self.attempts[-1].status == "running":
            ran += max(0, now - self.attempts[-1].started)
        part = min(1.0, ran / (self.script.running_seconds * SECOND)) if self.script.running_seconds else 1.0
        return int(self.script.rows * part), int(self.script.bytes * part)
