"""What an Airbyte's database holds: connections, jobs and their attempts."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from airbyte_deferrable.simulator.connectors import Connector
from airbyte_deferrable.simulator.script import PENDING, SUCCEEDED, TERMINAL, Script
from airbyte_deferrable.simulator.streams import DEFAULT, Amount, Stream, total

SECOND = 1_000_000

SYNC, RESET, REFRESH, CLEAR = "sync", "reset_connection", "refresh", "clear"
#: How the public API calls the stored kinds of job. ``clear`` jobs are stored as resets.
PUBLIC_TYPES = {SYNC: "sync", RESET: "reset", REFRESH: "refresh", CLEAR: "clear"}
STORED_KINDS = {public: stored for stored, public in PUBLIC_TYPES.items()}


@dataclass
class Attempt:
    """One attempt of a job, as far as it has come. Stamps are microseconds.

    :param output: Whether it left an output behind: what the config API knows of its rows where nothing is hydrated.
    """

    number: int
    started: int
    updated: int
    status: str = "running"
    failure: dict[str, Any] | None = None
    output: bool = False


@dataclass(frozen=True)
class Tag:
    """A tag of a workspace.

    :param color: Hexadecimal, without a ``#``.
    """

    id: str
    name: str
    workspace_id: str
    color: str = "615EFF"


@dataclass(eq=False)
class Connection:
    """An Airbyte connection and the scripts of its next jobs.

    :param status: ``active``, ``inactive``, ``deprecated``, ``locked``, or ``deleted`` for one without a workflow.
    :param streams: All that its source has; it syncs those that are selected.
    :param schedule: As the public API's ``schedule``.
    :param schema_changes: As the public API's ``nonBreakingSchemaUpdatesBehavior``.
    """

    id: str
    name: str
    workspace_id: str
    source_name: str
    destination_name: str
    status: str
    created: int
    scripts: deque[Script]
    source: Connector
    destination: Connector
    streams: Sequence[Stream] = DEFAULT
    tags: tuple[Tag, ...] = ()
    namespace_definition: str = "destination"
    namespace_format: str | None = None
    prefix: str = ""
    schedule: dict[str, str] = field(default_factory=lambda: {"scheduleType": "manual"})
    schema_changes: str = "ignore"
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
    def catalog(self) -> tuple[Stream, ...]:
        """The streams that it syncs: the APIs name no others."""
        return tuple(stream for stream in self.streams if stream.selected)

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
        "amounts",
        "attempts",
        "cancel_requested_by",
        "catalog",
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
        #: The streams that were synced when it was created, and what it moves of each: a reset moves nothing.
        self.catalog = connection.catalog
        moves = kind in (SYNC, REFRESH)
        self.amounts = script.amounts(self.catalog) if moves else (Amount(),) * len(self.catalog)
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

    def moved(self, now: int) -> tuple[Amount, ...]:
        """Return what is committed so far of each stream: it grows evenly while an attempt runs.

        :param now: Microseconds.
        """
        part = self._part(now, len(self.attempts))
        return tuple(amount.part(part) for amount in self.amounts)

    def moved_in(self, attempt: Attempt, now: int) -> tuple[Amount, ...]:
        """Return what one attempt has committed of each stream; all of them add up to :meth:`moved`.

        :param attempt: One of its attempts.
        :param now: Microseconds.
        """
        before, after = self._part(now, attempt.number), self._part(now, attempt.number + 1)
        return tuple(amount.part(after) - amount.part(before) for amount in self.amounts)

    def progress(self, now: int) -> Amount:
        """Return what is committed so far, of all streams.

        :param now: Microseconds.
        """
        if len(self.amounts) == 1:
            # By far the most jobs; a page of the list has a hundred.
            return self.amounts[0].part(self._part(now, len(self.attempts)))
        return total(self.moved(now))

    def _part(self, now: int, attempts: int) -> float:
        """Return how much of its work the first so-many attempts have done, from 0 to 1."""
        done = attempts == len(self.attempts)
        if done and self.status == SUCCEEDED:
            return 1.0
        if not attempts:
            return 0.0
        if not self.script.running_seconds:
            return 1.0
        ran = self.ran if done else sum(each.updated - each.started for each in self.attempts[:attempts])
        if done and self.attempts[-1].status == "running":
            ran += max(0, now - self.attempts[-1].started)
        return min(1.0, ran / (self.script.running_seconds * SECOND))
