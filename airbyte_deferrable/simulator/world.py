"""The Airbyte behind the API: connections, their jobs, and the time in which these run. No HTTP here."""

from __future__ import annotations

import heapq
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from airbyte_deferrable.simulator.index import Index, page
from airbyte_deferrable.simulator.journal import Journal
from airbyte_deferrable.simulator.script import (
    CANCELLED,
    INCOMPLETE,
    PENDING,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    TERMINAL,
    Script,
)

SECOND = 1_000_000
#: Seconds from a cancel request to the job's end; Airbyte's own handler looks every 10 ms until the run has stopped.
CANCELLING = 0.05

SYNC, RESET, REFRESH, CLEAR = "sync", "reset_connection", "refresh", "clear"
#: How the public API calls the stored kinds of job. ``clear`` jobs are stored as resets.
PUBLIC_TYPES = {SYNC: "sync", RESET: "reset", REFRESH: "refresh", CLEAR: "clear"}


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
    def running(self) -> Job | None:
        """The job that it runs now, whatever the status is called."""
        return self.live[-1] if self.live else None


class Job:
    """A job as the database has it, and what is still to come of its script. Stamps are microseconds."""

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
        """Return rows and bytes committed so far: they grow evenly while an attempt runs."""
        if self.kind != SYNC and self.kind != REFRESH:
            return 0, 0
        if self.status == SUCCEEDED:
            return self.script.rows, self.script.bytes
        ran = self.ran
        if self.attempts and self.attempts[-1].status == "running":
            ran += max(0, now - self.attempts[-1].started)
        part = min(1.0, ran / (self.script.running_seconds * SECOND)) if self.script.running_seconds else 1.0
        return int(self.script.rows * part), int(self.script.bytes * part)


@dataclass(frozen=True)
class Query:
    """A page of the job list. Stamps are microseconds, bounds are included.

    :param kinds: Stored kinds of job; None for all.
    :param statuses: None for all.
    :param descending: Newest first.
    """

    connection_id: str | None = None
    workspace_ids: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    statuses: frozenset[str] | None = None
    created_start: int | None = None
    created_end: int | None = None
    updated_start: int | None = None
    updated_end: int | None = None
    by_update: bool = False
    descending: bool = False
    limit: int = 20
    offset: int = 0


class World:
    """All that an Airbyte remembers, and its clock.

    What changes it goes through :meth:`_do`, which writes it into the journal; reading the journal does the same
    again, at the same moments, so that jobs continue where they would be now.

    :param state_file: Where to keep it all; None for nowhere.
    :param release: ``head`` or ``2.0``.
    :param commit_lag: Seconds, at most, between the stamp of a change of status and its becoming visible: the server
        stamps a row before it commits, so a row can appear that is older than one already seen.
    :param seed: For everything that is left to chance.
    """

    def __init__(
        self,
        state_file: str | Path | None = None,
        release: str = "head",
        commit_lag: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.release = release
        self.commit_lag = commit_lag
        self.random = Random(seed)
        self.connections: dict[str, Connection] = {}
        self.jobs: dict[int, Job] = {}
        self.tokens: dict[str, int] = {}
        self.pruned: set[int] = set()
        self.kinds: Counter[str] = Counter()
        self.workspaces: dict[str, str] = {}
        self.identity: dict[str, str] = {}
        self._offset = 0
        self._last_id = 0
        self._sources: dict[str, Connection] = {}
        self._destinations: dict[str, Connection] = {}
        self._created = Index()
        self._updated = Index()
        self._by_status: dict[str, tuple[Index, Index]] = defaultdict(lambda: (Index(), Index()))
        #: What narrowed lists had in them, until the next change: the pages of one sweep are asked for in a row.
        self._found: dict[Query, Index] = {}
        self._due: list[tuple[int, int, int, int]] = []  # visible at, tie-break, job id, generation
        self._sequence = 0
        self._journal = Journal(state_file)
        for record in self._journal.read():
            op, at = record.pop("op"), record.pop("at")
            self.settle(at)
            getattr(self, f"_on_{op}")(at, **record)

    # --- time

    def now(self) -> int:
        """Return the simulator's own time in microseconds since 1970."""
        return time.time_ns() // 1000 + self._offset

    def settle(self, now: int | None = None) -> int:
        """Let every job come to where it is now.

        :param now: The moment; the clock's when left out.
        :returns: The moment.
        """
        now = self.now() if now is None else now
        while self._due and self._due[0][0] <= now:
            _, _, job_id, generation = heapq.heappop(self._due)
            job = self.jobs.get(job_id)
            if job is not None and job.generation == generation:
                self._play(job, now)
        return now

    def advance(self, seconds: float) -> None:
        """Move the clock on."""
        self._do("advance", seconds=seconds)

    # --- what happens

    def identify(self, **identity: str) -> dict[str, str]:
        """Keep who this Airbyte is: its credentials and its workspace."""
        if identity != self.identity:
            self._do("identify", **identity)
        return self.identity

    def add_connection(
        self,
        name: str,
        connection_id: str,
        workspace_id: str,
        source_name: str,
        destination_name: str,
        status: str,
        script: Script,
    ) -> Connection:
        """Add a connection; one with the same id is replaced, its jobs stay."""
        connection: Connection = self._do(
            "connection",
            name=name,
            connection_id=str(uuid.UUID(connection_id)),
            workspace_id=workspace_id,
            source_name=source_name,
            destination_name=destination_name,
            status=status,
            script=script,
        )
        return connection

    def script(self, connection_id: str, scripts: Iterable[Script]) -> None:
        """Say what the next jobs of a connection do; the last script repeats."""
        self.connection(connection_id)
        self._do("script", connection_id=connection_id, scripts=list(scripts))

    def add_job(
        self,
        connection_id: str,
        kind: str = SYNC,
        script: Script | None = None,
        created: int | None = None,
        foreign: bool = False,
    ) -> Job:
        """Start a job.

        :param connection_id: Whose.
        :param kind: The stored kind of job.
        :param script: What it does; the connection's next script when left out.
        :param created: Its stamp; now when left out.
        :param foreign: Started by someone else than the API's client.
        """
        self.connection(connection_id)
        job: Job = self._do(
            "job", connection_id=connection_id, kind=kind, script=script, created=created, foreign=foreign
        )
        return job

    def cancel(self, job: Job, requested_by: int | str) -> None:
        """Stop a job: at once ``incomplete`` if an attempt runs, ``cancelled`` a moment later."""
        self._do("cancel", job_id=job.id, requested_by=requested_by)

    def finish(self, job_id: int, status: str) -> None:
        """End a job now."""
        if status not in TERMINAL:
            raise ValueError(f"a job ends as one of {', '.join(sorted(TERMINAL))}, not {status!r}")
        self.job(job_id)
        self._do("finish", job_id=job_id, status=status)

    def delete(self, job_id: int) -> None:
        """Remove a job, as Airbyte prunes old ones."""
        self.job(job_id)
        self._do("delete", job_id=job_id)

    def set_connection_status(self, connection_id: str, status: str) -> None:
        """Make a connection ``active``, ``inactive``, ``deprecated``, ``locked`` or ``deleted`` (no workflow)."""
        self.connection(connection_id)
        self._do("connection_status", connection_id=connection_id, status=status)

    def add_token(self, token: str, lifetime: float) -> None:
        """Let a token be good for some seconds."""
        self._do("token", token=token, lifetime=lifetime)

    def revoke_tokens(self) -> None:
        """End all tokens."""
        self._do("revoke")

    # --- what there is

    def connection(self, connection_id: str) -> Connection:
        """Return a connection.

        :raises LookupError: If there is none with this id.
        """
        try:
            return self.connections[connection_id]
        except KeyError:
            raise LookupError(f"no connection {connection_id}") from None

    def job(self, job_id: int) -> Job:
        """Return a job.

        :raises LookupError: If there is none with this id.
        """
        try:
            return self.jobs[job_id]
        except KeyError:
            raise LookupError(f"no job {job_id}") from None

    def source(self, source_id: str) -> Connection | None:
        """Return the connection that a source belongs to."""
        return self._sources.get(source_id)

    def destination(self, destination_id: str) -> Connection | None:
        """Return the connection that a destination belongs to."""
        return self._destinations.get(destination_id)

    def token_is_good(self, token: str) -> bool:
        """Say whether a token was given out and has not ended."""
        return self.tokens.get(token, 0) > self.now()

    def page(self, query: Query) -> list[Job]:
        """Return the jobs of one page."""
        index, low, high = self._select(query)
        ids = page(
            index.entries,
            low,
            high,
            offset=query.offset,
            limit=query.limit,
            descending=query.descending,
            random=self.random,
        )
        return [self.jobs[job_id] for job_id in ids]

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _select(self, query: Query) -> tuple[Index, int, int]:
        """Return an index whose places from the second to the third value are the query's rows, in its order."""
        created = (query.created_start, query.created_end)
        updated = (query.updated_start, query.updated_end)
        statuses, kinds, workspaces = query.statuses, query.kinds, query.workspace_ids
        if kinds is not None and kinds.issuperset(kind for kind, count in self.kinds.items() if count):
            kinds = None
        if workspaces is not None and workspaces.issuperset(self.workspaces):
            workspaces = None

        if query.connection_id is not None:
            jobs = [self.jobs[i] for i in self.connection(query.connection_id).jobs]
            workspaces = None
        else:
            by_created, by_updated = self._created, self._updated
            if statuses is not None and len(statuses) == 1:
                by_created, by_updated = self._by_status[next(iter(statuses))]
                statuses = None
            if by_created.covers(*created):
                created = (None, None)
            if by_updated.covers(*updated):
                updated = (None, None)
            ordered, other = (updated, created) if query.by_update else (created, updated)
            index = by_updated if query.by_update else by_created
            if statuses is None and kinds is None and workspaces is None and other == (None, None):
                return index, *index.bounds(*ordered)
            key = replace(query, limit=0, offset=0)
            if (found := self._found.get(key)) is not None:
                return found, 0, len(found.entries)
            narrow, range_ = (by_created, created) if updated == (None, None) else (by_updated, updated)
            low, high = narrow.bounds(*range_)
            jobs = [self.jobs[i] for _, i in narrow.entries[low:high]]
            if narrow is by_updated:
                updated = (None, None)
            else:
                created = (None, None)

        filters: list[tuple[frozenset[str] | None, Callable[[Job], str]]] = [
            (statuses, lambda job: job.status),
            (kinds, lambda job: job.kind),
            (workspaces, lambda job: job.connection.workspace_id),
        ]
        for wanted, part in filters:
            if wanted is not None:
                jobs = [job for job in jobs if part(job) in wanted]
        if created != (None, None):
            low, high = _bounds(created)
            jobs = [job for job in jobs if low <= job.created <= high]
        if updated != (None, None):
            low, high = _bounds(updated)
            jobs = [job for job in jobs if low <= job.updated <= high]

        found = Index()
        found.entries = sorted([(job.updated if query.by_update else job.created, job.id) for job in jobs])
        if query.connection_id is None:
            self._found[key] = found
        return found, 0, len(found.entries)

    # --- how it happens; also what the journal is read with

    def _do(self, op: str, **data: Any) -> Any:
        at = self.settle()
        self._journal.write({"op": op, "at": at, **data})
        return getattr(self, f"_on_{op}")(at, **data)

    def _on_advance(self, at: int, seconds: float) -> None:
        self._offset += int(seconds * SECOND)
        self.settle(at + int(seconds * SECOND))

    def _on_identify(self, at: int, **identity: str) -> None:
        self.identity = identity
        self.workspaces.setdefault(identity["workspace_id"], "Default Workspace")

    def _on_connection(
        self,
        at: int,
        name: str,
        connection_id: str,
        workspace_id: str,
        source_name: str,
        destination_name: str,
        status: str,
        script: Any,
    ) -> Connection:
        connection = Connection(
            id=connection_id,
            name=name,
            workspace_id=workspace_id,
            source_name=source_name,
            destination_name=destination_name,
            status=status,
            created=at,
            scripts=deque([Script.read(script)]),
        )
        before = self.connections.get(connection_id)
        if before is not None:
            connection.jobs, connection.live = before.jobs, before.live
            for job_id in before.jobs:
                self.jobs[job_id].connection = connection
        self.connections[connection_id] = connection
        self._sources[connection.source_id] = self._destinations[connection.destination_id] = connection
        self.workspaces.setdefault(workspace_id, f"Workspace {len(self.workspaces) + 1}")
        return connection

    def _on_connection_status(self, at: int, connection_id: str, status: str) -> None:
        self.connections[connection_id].status = status

    def _on_script(self, at: int, connection_id: str, scripts: list[Any]) -> None:
        self.connections[connection_id].scripts = deque(Script.read(script) for script in scripts)

    def _on_job(self, at: int, connection_id: str, kind: str, script: Any, created: int | None, foreign: bool) -> Job:
        connection = self.connections[connection_id]
        if script is None:
            scripts = connection.scripts
            script = scripts.popleft() if len(scripts) > 1 else scripts[0]
        self._last_id += 1
        job = Job(self._last_id, connection, kind, at if created is None else created, Script.read(script))
        job.foreign = foreign
        self.jobs[job.id] = job
        self.kinds[kind] += 1
        connection.jobs.append(job.id)
        connection.live.append(job)
        self._created.add(job.created, job.id)
        self._enter(job)
        steps = [(job.created + int(seconds * SECOND), status) for seconds, status in job.script.timeline]
        self._plan(job, steps, self.commit_lag)
        self._play(job, at)
        return job

    def _on_cancel(self, at: int, job_id: int, requested_by: int | str) -> None:
        job = self.jobs[job_id]
        if job.terminal or job.cancel_requested_by is not None:
            return
        job.cancel_requested_by = requested_by
        steps = [(at + int(CANCELLING * SECOND), CANCELLED)]
        if job.attempts and job.attempts[-1].status == "running":
            steps.insert(0, (at, INCOMPLETE))
        self._plan(job, steps)
        self._play(job, at)

    def _on_finish(self, at: int, job_id: int, status: str) -> None:
        job = self.jobs[job_id]
        running = bool(job.attempts) and job.attempts[-1].status == "running"
        steps = [(at, INCOMPLETE)] if running and status != SUCCEEDED else []
        self._plan(job, [*steps, (at, status)])
        self._play(job, at)

    def _on_delete(self, at: int, job_id: int) -> None:
        job = self.jobs[job_id]
        self._leave(job)
        self._created.remove(job.created, job.id)
        job.connection.jobs.remove(job.id)
        if job in job.connection.live:
            job.connection.live.remove(job)
        self.kinds[job.kind] -= 1
        del self.jobs[job_id]
        self.pruned.add(job_id)

    def _on_token(self, at: int, token: str, lifetime: float) -> None:
        for old in [known for known, end in self.tokens.items() if end <= at]:
            del self.tokens[old]
        self.tokens[token] = at + int(lifetime * SECOND)

    def _on_revoke(self, at: int) -> None:
        self.tokens.clear()

    # --- jobs move on

    def _plan(self, job: Job, steps: list[tuple[int, str]], lag: float = 0.0) -> None:
        """Set what comes next, each step visible up to ``lag`` seconds after its stamp."""
        job.generation += 1
        job.steps.clear()
        visible = 0
        for at, status in steps:
            if self.release == "2.0" and status == QUEUED:
                continue
            late = int(self.random.uniform(0, lag) * SECOND) if lag else 0
            visible = max(visible, at + late)
            job.steps.append((visible, at, status))

    def _play(self, job: Job, now: int) -> None:
        """Take the steps of a job that are due, and note when the next one is."""
        if job.steps and job.steps[0][0] <= now:
            self._leave(job)
            while job.steps and job.steps[0][0] <= now and not job.terminal:
                _, at, status = job.steps.popleft()
                self._move(job, at, status)
            self._enter(job)
        if job.steps and not job.terminal:
            self._sequence += 1
            heapq.heappush(self._due, (job.steps[0][0], self._sequence, job.id, job.generation))

    def _move(self, job: Job, at: int, status: str) -> None:
        attempt = job.attempts[-1] if job.attempts and job.attempts[-1].status == "running" else None
        if status == RUNNING and attempt is None:
            job.attempts.append(Attempt(len(job.attempts), started=at, updated=at))
            job.started = at if job.started is None else job.started
        elif attempt is not None and (status == INCOMPLETE or status in TERMINAL):
            job.ran += at - attempt.started
            attempt.updated = at
            attempt.status = "succeeded" if status == SUCCEEDED else "failed"
            if status != SUCCEEDED:
                attempt.failure = self._failure(job, attempt, at)
        job.status, job.updated = status, at
        job.text.clear()
        if job.terminal and job in job.connection.live:
            job.connection.live.remove(job)

    @staticmethod
    def _failure(job: Job, attempt: Attempt, at: int) -> dict[str, Any]:
        if job.cancel_requested_by is not None:
            reason: dict[str, Any] = {
                "failureOrigin": "airbyte_platform",
                "failureType": "manual_cancellation",
                "internalMessage": "Setting attempt to FAILED because the job was cancelled",
                "externalMessage": "This attempt was cancelled",
            }
        else:
            reason = job.script.failure_of(attempt.number)
        return {**reason, "timestamp": at // 1000}

    def _enter(self, job: Job) -> None:
        self._found.clear()
        created, updated = self._by_status[job.status]
        created.add(job.created, job.id)
        updated.add(job.updated, job.id)
        self._updated.add(job.updated, job.id)

    def _leave(self, job: Job) -> None:
        self._found.clear()
        created, updated = self._by_status[job.status]
        created.remove(job.created, job.id)
        updated.remove(job.updated, job.id)
        self._updated.remove(job.updated, job.id)


def _bounds(range_: tuple[int | None, int | None]) -> tuple[int, int]:
    start, end = range_
    return -1 if start is None else start, 1 << 62 if end is None else end
