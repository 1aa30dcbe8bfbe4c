"""What Airbyte's API says on the wire, as typed objects."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from enum import Enum
from functools import cache
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel


# Not made on import: each leg of a task imports this, and few need it.
@cache
def _moments() -> TypeAdapter[datetime]:
    return TypeAdapter(datetime)


@cache
def _spans() -> TypeAdapter[timedelta]:
    return TypeAdapter(timedelta)


class JobType(str, Enum):
    """The kinds of job that Airbyte's public API can be asked for.

    ``clear`` is answered as ``reset``: Airbyte stores both as the same. ``refresh`` is refused by the public
    API of today's Airbyte with 422.
    """

    SYNC = "sync"
    RESET = "reset"
    REFRESH = "refresh"
    CLEAR = "clear"

    __str__ = str.__str__


class JobStatus(str, Enum):
    """The statuses that are known. Airbyte may send others: they mean that the job is live.

    ``incomplete`` is no end: a job passes through it between a failed attempt and the next one, and before it
    becomes ``failed`` or ``cancelled``.
    """

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    INCOMPLETE = "incomplete"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    __str__ = str.__str__


class ConnectionStatus(str, Enum):
    """How an Airbyte connection stands. ``deprecated`` is one that was deleted.

    Only an ``active`` one syncs. ``locked`` is one that Airbyte itself has stopped.
    """

    ACTIVE = "active"
    INACTIVE = "inactive"
    LOCKED = "locked"
    DEPRECATED = "deprecated"

    __str__ = str.__str__


#: A job in one of these has ended and never changes again.
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


#: Where an answer keeps a ``name`` as it came, when something in the answer looked like a secret.
TRUE_NAME = "trueName"


class _Wire(BaseModel):
    """Camel case on the wire, snake case in Python; unknown fields are new Airbyte versions and no error.

    What validates is built when it is first used: each leg of a task imports all models, and needs one or two.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, defer_build=True
    )


class Job(_Wire):
    """One job, as ``GET /jobs/{id}`` and ``GET /jobs`` tell it. Attributes are named as the SDK's.

    :param job_id: Airbyte's id of the job.
    :param status: Lower case; see :class:`JobStatus`, but a status not listed there is kept as it came.
    :param job_type: What Airbyte made of the request, which may differ from what was asked (:class:`JobType`).
    :param connection_id: The Airbyte connection, a UUID.
    :param start_time: When the job was **created**, ISO 8601. Airbyte drops zero seconds
        (``2023-06-22T16:15Z``).
    :param last_updated_at: When it ended, ISO 8601; absent while it is live.
    :param duration: From its creation to its last change of status, ISO 8601 (``PT1H2M3S``); absent while it
        is pending.
    :param bytes_synced: Bytes committed so far; absent in the answers to create and cancel.
    :param rows_synced: Rows committed so far; absent in the answers to create and cancel.
    """

    job_id: int
    status: str
    job_type: str = "sync"
    connection_id: str = ""
    start_time: str | None = None
    last_updated_at: str | None = None
    duration: str | None = None
    bytes_synced: int | None = None
    rows_synced: int | None = None

    @property
    def terminal(self) -> bool:
        """Whether the job has ended; a status never heard of is live."""
        return self.status in TERMINAL

    @property
    def duration_seconds(self) -> float | None:
        """Seconds from creation to the last change of status; None if Airbyte did not say."""
        if not self.duration:
            return None
        try:
            return _spans().validate_python(self.duration).total_seconds()
        except ValidationError:
            return None

    @property
    def created_at(self) -> datetime | None:
        """When the job was created, by Airbyte's clock; None if Airbyte did not say."""
        return _timestamp(self.start_time)

    @property
    def updated_at(self) -> datetime | None:
        """When the status last changed, by Airbyte's clock, rounded down by less than two seconds.

        The API only states it for ended jobs. For live ones it follows from the duration, which Airbyte
        computes as updatedAt - createdAt (``JobResponseMapper`` in airbyte-platform).
        """
        if self.last_updated_at:
            return _timestamp(self.last_updated_at)
        created = self.created_at
        try:
            return created + timedelta(seconds=self.duration_seconds or 0.0) if created else None
        except OverflowError:
            return None

    def to_json(self) -> dict[str, Any]:
        """Return the job as plain JSON data, keys as on the wire, without what Airbyte did not say."""
        return self.model_dump(by_alias=True, exclude_none=True)


def _timestamp(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = _moments().validate_python(text)
    except ValidationError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


class JobPage(_Wire):
    """One page of ``GET /jobs``.

    ``next`` is not kept: it forgets the filters, and names ``localhost`` on Community installations.

    ``data`` is required: an answer without it is no list, and must not pass for "there is no such job".
    """

    data: tuple[Job, ...]


class Tag(_Wire):
    """A tag of a workspace.

    :param tag_id: A UUID.
    :param name: What it is called, for users: once in a workspace, but other workspaces may have one of the same name.
    :param true_name: As of :class:`Connection`.
    :param workspace_id: The workspace that it belongs to, a UUID.
    """

    tag_id: str = ""
    name: str = ""
    true_name: str = Field(default="", validation_alias=AliasChoices(TRUE_NAME, "name"), repr=False)
    workspace_id: str = ""


class TagList(_Wire):
    """The answer of ``GET /tags``, which has no pages."""

    data: tuple[Tag, ...]


class Schedule(_Wire):
    """When Airbyte itself starts a connection's syncs.

    :param schedule_type: ``manual`` for never, ``cron``, or ``basic``.
    :param cron_expression: With ``cron``: Quartz's expression and the time zone, ``0 0 12 * * ? UTC``.
    :param basic_timing: With ``basic``: how often, in words, ``Every 24 HOURS``.
    """

    schedule_type: str = ""
    cron_expression: str = ""
    basic_timing: str = ""


class Connection(_Wire):
    """An Airbyte connection: what leads from one source to one destination.

    :param connection_id: Its id, a UUID.
    :param name: What it is called, for users.
    :param true_name: The same to be compared with, never to be shown: a secret header may be a word of it.
    :param workspace_id: The workspace that it belongs to, a UUID.
    :param source_id: Its source, a UUID.
    :param destination_id: Its destination, a UUID.
    :param status: See :class:`ConnectionStatus`, but a status not listed there is kept as it came.
    :param tags: Its tags. Airbytes that know no tags tell none.
    :param schedule: When Airbyte starts it by itself; None if Airbyte did not say.
    """

    connection_id: str
    name: str = ""
    true_name: str = Field(default="", validation_alias=AliasChoices(TRUE_NAME, "name"), repr=False)
    workspace_id: str = ""
    source_id: str = ""
    destination_id: str = ""
    status: str = ""
    tags: tuple[Tag, ...] = ()
    schedule: Schedule | None = None


class Actor(_Wire):
    """A source or a destination: which of the two, its id tells.

    :param name: What it is called, for users.
    :param source_id: Its id if it is a source, a UUID.
    :param destination_id: Its id if it is a destination, a UUID.
    :param source_type: What Airbyte calls its kind if it is a source: ``postgres``, ``google-sheets``; empty for a
        custom connector (``SourceReadMapper`` in airbyte-platform looks it up by the definition's id).
    :param destination_type: Likewise if it is a destination.
    """

    name: str = ""
    source_id: str = ""
    destination_id: str = ""
    source_type: str = ""
    destination_type: str = ""


class ActorPage(_Wire):
    """One page of ``GET /sources`` or ``GET /destinations``."""

    data: tuple[Actor, ...]


class ConnectionPage(_Wire):
    """One page of ``GET /connections``."""

    data: tuple[Connection, ...]


class Workspace(_Wire):
    """A workspace.

    :param workspace_id: Its id, a UUID.
    :param name: What it is called, for users.
    """

    workspace_id: str = ""
    name: str = ""


class Failure(_Wire):
    """Why an attempt failed, as the config API tells it.

    :param failure_origin: ``source``, ``destination``, ``replication``, ``airbyte_platform``, ...
    :param failure_type: ``config_error`` (will fail again until a user mends the settings),
        ``system_error``, ``transient_error``, ``heartbeat_timeout``, ...
    :param external_message: Written for users.
    :param internal_message: Written for developers.
    """

    failure_origin: str | None = None
    failure_type: str | None = None
    external_message: str | None = None
    internal_message: str | None = None


class FailureSummary(_Wire):
    """Why an attempt failed: the cause first, then what it caused."""

    failures: tuple[Failure, ...] = ()


class JobStats(_Wire):
    """What a job has moved in all its attempts; None where Airbyte does not say.

    :param records_rejected: Records that the destination refused; releases before July 2025 do not count them.
    """

    records_committed: int | None = None
    bytes_committed: int | None = None
    records_rejected: int | None = None


class JobDetails(_Wire):
    """A job, as the config API tells it.

    :param aggregated_stats: Only some calls have them, ``jobs/get_without_logs`` among these.
    """

    aggregated_stats: JobStats | None = None


class Attempt(_Wire):
    """One of Airbyte's own tries inside a job.

    Its own counts are not read: the calls that have the job's have an attempt's only if that left an output behind,
    which one that failed mostly did not (``JobConverter.getTotalAttemptStats``).

    :param id: Its number in the job, from 0 on.
    """

    id: int = 0
    failure_summary: FailureSummary | None = None


class AttemptInfo(_Wire):
    """An attempt, as :class:`JobInfo` wraps it."""

    attempt: Attempt


class JobInfo(_Wire):
    """A job and its attempts, as the config API's ``jobs/get_without_logs`` tells them."""

    job: JobDetails = JobDetails()
    attempts: tuple[AttemptInfo, ...] = ()
