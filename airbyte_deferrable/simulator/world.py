"""The Airbyte behind the API: connections, their jobs, and the time in which these run. No HTTP here."""

from __future__ import annotations

import heapq
import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from airbyte_deferrable.simulator.connectors import Connector
from airbyte_deferrable.simulator.journal import Journal
from airbyte_deferrable.simulator.records import SECOND, SYNC, Attempt, Connection, Job, Tag
from airbyte_deferrable.simulator.script import (
    CANCELLED,
    INCOMPLETE,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    TERMINAL,
    Script,
)
from airbyte_deferrable.simulator.streams import DEFAULT, Stream
from airbyte_deferrable.simulator.table import JobTable, Query

#: Seconds from a cancel request to the job's end; Airbyte's own handler looks every 10 ms until the run has stopped.
CANCELLING = 0.05


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
        self.tokens: dict[str, int] = {}
        self.workspaces: dict[str, str] = {}
        self.tags: dict[str, Tag] = {}
        self.identity: dict[str, str] = {}
        self._offset = 0
        self._last_id = 0
        self._sources: dict[str, Connection] = {}
        self._destinations: dict[str, Connection] = {}
        self._table = JobTable(self.random)
        self._due: list[tuple[int, int, int, int]] = []  # visible at, tie-break, job id, generation
        self._sequence = 0
        self._journal = Journal(state_file)
        for record in self._journal.read():
            op, at = record.pop("op"), record.pop("at")
            self.settle(at)
            getattr(self, f"_on_{op}")(at, **record)

    @property
    def jobs(self) -> dict[int, Job]:
        """All jobs, by their ids."""
        return self._table.by_id

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
        """Move the clock on.

        :param seconds: By how much.
        """
        self._do("advance", seconds=seconds)

    # --- what happens

    def identify(self, **identity: str) -> dict[str, str]:
        """Keep who this Airbyte is: its credentials and its workspace.

        :param identity: ``client_id``, ``client_secret``, ``token`` and ``workspace_id``.
        :return: The same.
        """
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
        streams: Sequence[Stream] | None = None,
        tags: Sequence[str] = (),
        source_type: str | None = None,
        destination_type: str | None = None,
        source_configuration: Mapping[str, Any] | None = None,
        destination_configuration: Mapping[str, Any] | None = None,
    ) -> Connection:
        """Add a connection; one with the same id is replaced, its jobs stay.

        :param name: Its name.
        :param connection_id: Its UUID.
        :param workspace_id: Its workspace's UUID.
        :param source_name: Its source's name.
        :param destination_name: Its destination's name.
        :param status: Its status.
        :param script: What its jobs do.
        :param streams: Its streams; the usual one when left out.
        :param tags: The names of its tags, which are made if they are not there.
        :param source_type: See :meth:`~airbyte_deferrable.simulator.connectors.Connector.of`.
        :param destination_type: Likewise.
        :param source_configuration: Likewise.
        :param destination_configuration: Likewise.
        :return: It.
        """
        connection: Connection = self._do(
            "connection",
            name=name,
            connection_id=str(uuid.UUID(connection_id)),
            workspace_id=workspace_id,
            source_name=source_name,
            destination_name=destination_name,
            status=status,
            script=script,
            streams=None if streams is None else list(streams),
            tags=list(tags),
            source_type=source_type,
            destination_type=destination_type,
            source_configuration=source_configuration,
            destination_configuration=destination_configuration,
        )
        return connection

    def change_connection(self, connection_id: str, **changes: Any) -> None:
        """Change what a connection is called and how it syncs.

        :param connection_id: Which.
        :param changes: Any of ``name``, ``status``, ``schedule``, ``prefix``, ``namespace_definition``,
            ``namespace_format``, ``schema_changes``, ``streams``, and the ids of ``tags``.
        """
        self._do("change", connection_id=connection_id, changes=changes)

    def script(self, connection_id: str, scripts: Iterable[Script]) -> None:
        """Say what the next jobs of a connection do; the last script repeats.

        :param connection_id: Which.
        :param scripts: One for each job; the last is for all that follow.
        """
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
        """Stop a job: at once ``incomplete`` if an attempt runs, ``cancelled`` a moment later.

        :param job: The job.
        :param requested_by: The job that a DELETE named, or ``reset``.
        """
        self._do("cancel", job_id=job.id, requested_by=requested_by)

    def finish(self, job_id: int, status: str) -> None:
        """End a job now.

        :param job_id: Which.
        :param status: ``succeeded``, ``failed`` or ``cancelled``.
        """
        if status not in TERMINAL:
            raise ValueError(f"a job ends as one of {', '.join(sorted(TERMINAL))}, not {status!r}")
        self.job(job_id)
        self._do("finish", job_id=job_id, status=status)

    def delete(self, job_id: int) -> None:
        """Remove a job, as Airbyte prunes old ones.

        :param job_id: Which.
        """
        self.job(job_id)
        self._do("delete", job_id=job_id)

    def set_connection_status(self, connection_id: str, status: str) -> None:
        """Make a connection ``active``, ``inactive``, ``deprecated``, ``locked`` or ``deleted`` (no workflow).

        :param connection_id: Which.
        :param status: See :class:`~airbyte_deferrable.simulator.surface.Surface`.
        """
        self.connection(connection_id)
        self._do("connection_status", connection_id=connection_id, status=status)

    def add_token(self, token: str, lifetime: float) -> None:
        """Let a token be good for some seconds.

        :param token: The token.
        :param lifetime: Seconds that it is good for.
        """
        self._do("token", token=token, lifetime=lifetime)

    def revoke_tokens(self) -> None:
        """End all tokens."""
        self._do("revoke")

    # --- what there is

    def connection(self, connection_id: str) -> Connection:
        """Return a connection.

        :param connection_id: Its UUID.
        :raises LookupError: If there is none with this id.
        """
        try:
            return self.connections[connection_id]
        except KeyError:
            raise LookupError(f"no connection {connection_id}") from None

    def job(self, job_id: int) -> Job:
        """Return a job.

        :param job_id: Its id.
        :raises LookupError: If there is none with this id.
        """
        try:
            return self.jobs[job_id]
        except KeyError:
            raise LookupError(f"no job {job_id}") from None

    def source(self, source_id: str) -> Connection | None:
        """Return the connection that a source belongs to.

        :param source_id: Its UUID.
        """
        return self._sources.get(source_id)

    def destination(self, destination_id: str) -> Connection | None:
        """Return the connection that a destination belongs to.

        :param destination_id: Its UUID.
        """
        return self._destinations.get(destination_id)

    def token_is_good(self, token: str) -> bool:
        """Say whether a token was given out and has not ended.

        :param token: What came.
        """
        return self.tokens.get(token, 0) > self.now()

    def page(self, query: Query) -> list[Job]:
        """Return the jobs of one page.

        :param query: Which jobs.
        """
        return self._table.page(*self._narrowed(query))

    def count(self, query: Query) -> int:
        """Return how many jobs there are on all pages.

        :param query: Which jobs.
        """
        return self._table.count(*self._narrowed(query))

    def _narrowed(self, query: Query) -> tuple[Query, Sequence[int] | None]:
        """Return the query, and the ids of its connection's jobs."""
        among = None if query.connection_id is None else self.connection(query.connection_id).jobs
        workspaces = query.workspace_ids
        # Airbyte looks at one of the two only.
        if workspaces is not None and (among is not None or workspaces.issuperset(self.workspaces)):
            query = replace(query, workspace_ids=None)
        return query, among

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

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
        streams: Sequence[Any] | None = None,
        tags: Sequence[str] = (),
        source_type: str | None = None,
        destination_type: str | None = None,
        source_configuration: Mapping[str, Any] | None = None,
        destination_configuration: Mapping[str, Any] | None = None,
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
            source=Connector.of("source", source_name, source_type, source_configuration),
            destination=Connector.of("destination", destination_name, destination_type, destination_configuration),
            streams=DEFAULT if streams is None else tuple(Stream.read(each) for each in streams),
            tags=tuple(self._tag(tag, workspace_id) for tag in tags),
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

    def _tag(self, name: str, workspace_id: str) -> Tag:
        tag = Tag(str(uuid.uuid5(uuid.UUID(workspace_id), f"tag {name}")), name, workspace_id)
        return self.tags.setdefault(tag.id, tag)

    def _on_change(self, at: int, connection_id: str, changes: dict[str, Any]) -> None:
        connection = self.connections[connection_id]
        for name, value in changes.items():
            if name == "tags":
                connection.tags = tuple(self.tags[tag_id] for tag_id in value)
            elif name == "streams":
                connection.streams = tuple(Stream.read(each) for each in value)
            else:
                setattr(connection, name, value)

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
        connection.jobs.append(job.id)
        connection.live.append(job)
        self._table.insert(job)
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
        self._table.delete(job)
        job.connection.jobs.remove(job.id)
        if job in job.connection.live:
            job.connection.live.remove(job)

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
            self._table.leave(job)
            while job.steps and job.steps[0][0] <= now and not job.terminal:
                _, at, status = job.steps.popleft()
                self._move(job, at, status)
            self._table.enter(job)
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
            attempt.output = job.script.has_output(attempt.number, attempt.status)
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
