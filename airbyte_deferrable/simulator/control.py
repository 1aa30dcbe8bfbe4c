"""Carries out what :class:`~airbyte_deferrable.simulator.surface.Surface` asks; runs in the simulator's loop."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from airbyte_deferrable.simulator.faults import Fault, Faults
from airbyte_deferrable.simulator.ledger import Ledger
from airbyte_deferrable.simulator.records import PUBLIC_TYPES, SECOND, STORED_KINDS, Job
from airbyte_deferrable.simulator.script import Script
from airbyte_deferrable.simulator.settings import Settings
from airbyte_deferrable.simulator.streams import DEFAULT, Stream, total
from airbyte_deferrable.simulator.world import World


class Control:
    """One public method for each thing that can be asked, named and explained there; all fits into JSON.

    :param world: What it is done to.
    :param settings: How the APIs behave.
    :param faults: The trouble that is switched on.
    :param ledger: What the APIs were asked.
    """

    def __init__(self, world: World, settings: Settings, faults: Faults, ledger: Ledger) -> None:
        self._world = world
        self._settings = settings
        self._faults = faults
        self._ledger = ledger

    def identity(self) -> dict[str, str]:
        return self._world.identity

    def settings(self) -> dict[str, Any]:
        return asdict(self._settings)

    def configure(self, changes: dict[str, Any]) -> None:
        self._settings.change(**changes)

    def add_connection(
        self,
        name: str,
        script: Script | Mapping[str, Any] | None,
        connection_id: str | None,
        workspace_id: str | None,
        source_name: str,
        destination_name: str,
        status: str,
        streams: Sequence[Stream | Mapping[str, Any] | str] | None = None,
        tags: Sequence[str] = (),
        source_type: str | None = None,
        destination_type: str | None = None,
        source_configuration: Mapping[str, Any] | None = None,
        destination_configuration: Mapping[str, Any] | None = None,
    ) -> str:
        played = Script.read(script)
        catalog = None if streams is None else [Stream.read(each) for each in streams]
        played.check_streams(DEFAULT if catalog is None else catalog)
        connection = self._world.add_connection(
            name=name,
            connection_id=connection_id or str(uuid.uuid4()),
            workspace_id=workspace_id or self._world.identity["workspace_id"],
            source_name=source_name,
            destination_name=destination_name,
            status=status,
            script=played,
            streams=catalog,
            tags=tags,
            source_type=source_type,
            destination_type=destination_type,
            source_configuration=source_configuration,
            destination_configuration=destination_configuration,
        )
        return connection.id

    def add_connections(self, count: int, script: Script | Mapping[str, Any] | None, name: str) -> list[str]:
        played = Script.read(script)
        return [
            self.add_connection(f"{name} {n}", played, None, None, f"Source {n}", f"Destination {n}", "active")
            for n in range(1, count + 1)
        ]

    def script(self, connection_id: str, scripts: list[Script | Mapping[str, Any]]) -> None:
        if not scripts:
            raise ValueError("give at least one script")
        played = [Script.read(script) for script in scripts]
        for script in played:
            script.check_streams(self._world.connection(connection_id).streams)
        self._world.script(connection_id, played)

    def set_connection_status(self, connection_id: str, status: str) -> None:
        self._world.set_connection_status(connection_id, status)

    def add_jobs(
        self,
        connection_ids: list[str],
        script: Script | Mapping[str, Any] | None,
        created_ago: float,
        job_type: str,
        created_at: float | None,
    ) -> list[int]:
        played = None if script is None else Script.read(script)
        if job_type not in STORED_KINDS:
            raise ValueError(f"a job is one of {', '.join(STORED_KINDS)}, not {job_type!r}")
        if played is not None:
            for connection_id in connection_ids:
                played.check_streams(self._world.connection(connection_id).streams)
        ids = []
        for connection_id in connection_ids:
            created = None
            if created_at is not None:
                created = round(created_at * SECOND)
            elif created_ago:
                created = self._world.now() - int(created_ago * SECOND)
            job = self._world.add_job(connection_id, STORED_KINDS[job_type], played, created, foreign=True)
            ids.append(job.id)
        return ids

    def jobs(self, connection_id: str | None, status: str | None) -> list[dict[str, Any]]:
        now = self._world.settle()
        found = self._world.jobs.values()
        if connection_id is not None:
            found_ids = self._world.connection(connection_id).jobs
            return [
                _record(self._world.jobs[i], now) for i in found_ids if status in (None, self._world.jobs[i].status)
            ]
        return [_record(job, now) for job in found if status in (None, job.status)]

    def job(self, job_id: int) -> dict[str, Any]:
        now = self._world.settle()
        return _record(self._world.job(job_id), now)

    def finish(self, job_id: int, status: str) -> None:
        self._world.finish(job_id, status)

    def delete_job(self, job_id: int) -> None:
        self._world.delete(job_id)

    def now(self) -> float:
        return self._world.now() / SECOND

    def advance(self, seconds: float) -> None:
        self._world.advance(seconds)

    def tokens(self) -> list[str]:
        return list(self._world.tokens)

    def rotate_secret(self) -> None:
        self._world.identify(**{**self._world.identity, "client_secret": secrets.token_urlsafe(24)})

    def revoke_tokens(self) -> None:
        self._world.revoke_tokens()

    def add_fault(self, fault: Fault | Mapping[str, Any]) -> int:
        return self._faults.add(fault if isinstance(fault, Fault) else Fault(**fault))

    def clear_faults(self, fault_id: int | None) -> None:
        self._faults.clear(fault_id)

    def faults(self) -> list[dict[str, Any]]:
        return self._faults.all()

    def requests(self) -> list[tuple[str, str, str, int]]:
        return list(self._ledger.requests)

    def spans(self) -> list[tuple[str, float, float | None]]:
        return [(span.call, span.began, span.ended) for span in self._ledger.spans]

    def count(self, call: str | None) -> int:
        return self._ledger.count(call)

    def clear_requests(self) -> None:
        self._ledger.clear()

    def peak_in_flight(self) -> int:
        return self._ledger.peak


def _record(job: Job, now: int) -> dict[str, Any]:
    moved = job.moved(now)
    whole = total(moved)
    return {
        "id": job.id,
        "connectionId": job.connection.id,
        "workspaceId": job.connection.workspace_id,
        "jobType": PUBLIC_TYPES[job.kind],
        "status": job.status,
        "createdAt": job.created / SECOND,
        "updatedAt": job.updated / SECOND,
        "attempts": [
            {
                "number": attempt.number,
                "status": attempt.status,
                "startedAt": attempt.started / SECOND,
                "updatedAt": attempt.updated / SECOND,
                "failure": attempt.failure,
            }
            for attempt in job.attempts
        ],
        "rows": whole.rows,
        "bytes": whole.bytes,
        "rejected": whole.rejected,
        "streams": {
            stream.key: {"rows": amount.rows, "bytes": amount.bytes, "rejected": amount.rejected}
            for stream, amount in zip(job.catalog, moved, strict=True)
        },
        "foreign": job.foreign,
        "cancel_requested_by": job.cancel_requested_by,
    }
