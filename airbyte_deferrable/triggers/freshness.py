"""What waits in the triggerer for a sync that is fresh enough, whoever starts it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, Literal

from airbyte_deferrable._airflow.base_trigger import AirbyteDeferrableTrigger, Wait
from airbyte_deferrable._airflow.credentials import Renewal
from airbyte_deferrable._airflow.job_report import JobReport
from airbyte_deferrable._airflow.shared_watcher import shared_watcher
from airbyte_deferrable._job.connections import UnresolvedName, find_connection
from airbyte_deferrable._job.events import NO_JOB, Event, not_visible, ran_out, unresolved
from airbyte_deferrable._job.freshness import FreshSync, wait_for_fresh
from airbyte_deferrable._job.retrying import SYNCS_GO_ON, Outage
from airbyte_deferrable._job.wait import CredentialsChanged
from airbyte_deferrable.api.errors import NOT_VISIBLE, ApiError
from airbyte_deferrable.links import JOB_URL, job_url

#: Seconds until an Airbyte that could not be asked for a connection's name is asked again.
RESOLVE_AGAIN = 20.0


class AirbyteFreshnessTrigger(AirbyteDeferrableTrigger):
    """Waits until a job of an Airbyte connection that is fresh enough has succeeded, whoever started it.

    Its one event is an :class:`Event`, with the job that it has seen end. It cancels nothing.

    All that wait there read the ends of their connections' jobs from the same list of changes, one request a poll
    interval; each costs one list of its connection's own when it begins. Whether the connections are still there is
    asked for every ten minutes, for all of them together: a page for each hundred connections that the credentials may
    see, but about as many requests as connections are waited for at most.

    :param conn_id: The Airflow connection to Airbyte.
    :param connection_id: The Airbyte connection, a UUID; empty if only its name is known.
    :param after: The moment, seconds since the epoch: what is not older is fresh.
    :param end_time: When the task's ``timeout`` runs out, seconds since the epoch; None for never.
    :param poll_interval: Seconds between two checks.
    :param execution_deadline: When its ``execution_timeout`` runs out, likewise. Default: never.
    :param must_have: What of the job has to be after the moment: ``ended`` or ``started``. Default: ``ended``.
    :param job_types: The types of job that count, as Airbyte answers them. Default: ``sync`` alone.
    :param if_failed: What a fresh job is that failed or was cancelled: nothing (``wait``), or the end (``fail``).
        Default: ``wait``.
    :param connection_name: The Airbyte connection's name, where its id is not known. Default: none.
    :param workspace_id: The workspace in which the name is looked for. Default: all that the credentials may see.
    :param api_version: The version in the API's path, where the connection's host names no path. Default: ``v1``.
    :param try_number: The try that waits. Default: not known.
    :param not_before: An earlier event is held back until then, seconds since the epoch. Default: 0.
    :param write_xcoms: Write the task's XComs on the job. What cannot be written here the task writes when it is
        resumed. Default: True.
    """

    def __init__(
        self,
        conn_id: str,
        connection_id: str,
        after: float,
        end_time: float | None,
        poll_interval: float,
        execution_deadline: float | None = None,
        must_have: Literal["ended", "started"] = "ended",
        job_types: Sequence[str] = ("sync",),
        if_failed: Literal["wait", "fail"] = "wait",
        connection_name: str | None = None,
        workspace_id: str | None = None,
        api_version: str = "v1",
        try_number: int | None = None,
        not_before: float = 0.0,
        write_xcoms: bool = True,
    ) -> None:
        super().__init__(
            _FreshnessWait,
            conn_id=conn_id,
            poll_interval=poll_interval,
            end_time=end_time,
            execution_deadline=execution_deadline,
            api_version=api_version,
            try_number=try_number,
            not_before=not_before,
        )
        self.connection_id = connection_id
        self.after = after
        self.must_have = must_have
        self.job_types = list(job_types)
        self.if_failed = if_failed
        self.connection_name = connection_name
        self.workspace_id = workspace_id
        self.write_xcoms = write_xcoms

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments, for Airflow's database."""
        return (
            "airbyte_deferrable.triggers.AirbyteFreshnessTrigger",
            {
                "conn_id": self.conn_id,
                "connection_id": self.connection_id,
                "after": self.after,
                "end_time": self.end_time,
                "poll_interval": self.poll_interval,
                "execution_deadline": self.execution_deadline,
                "must_have": self.must_have,
                "job_types": self.job_types,
                "if_failed": self.if_failed,
                "connection_name": self.connection_name,
                "workspace_id": self.workspace_id,
                "api_version": self.api_version,
                "try_number": self.try_number,
                "not_before": self.not_before,
                "write_xcoms": self.write_xcoms,
            },
        )


class _FreshnessWait(Wait[AirbyteFreshnessTrigger]):
    """Waits for the job of an :class:`AirbyteFreshnessTrigger`."""

    __slots__ = ("connection_id", "end", "report", "xcoms_written")
    end: Event

    def __init__(self, trigger: AirbyteFreshnessTrigger) -> None:
        super().__init__(trigger)
        self.report = JobReport(trigger.task_instance, self.log, JOB_URL if trigger.write_xcoms else None)
        self.xcoms_written = False
        self.connection_id = trigger.connection_id

    async def until_over(self) -> None:
        trigger = self.trigger
        self.end = ran_out(self.deadlines.nearest, NO_JOB, None, trigger.try_number)
        settings = await self.find_settings()
        if settings is None:
            return
        renewal = Renewal(trigger.conn_id, trigger.api_version, settings)
        if not self.connection_id and not await self.resolve(renewal):
            return
        wanted = FreshSync(
            connection_id=self.connection_id,
            after=datetime.fromtimestamp(trigger.after, tz=timezone.utc),
            must_have=trigger.must_have,
            job_types=frozenset(trigger.job_types),
            if_failed=trigger.if_failed,
        )
        while True:
            with suppress(CredentialsChanged):
                self.end = await wait_for_fresh(
                    await shared_watcher(renewal.settings),
                    wanted,
                    self.deadlines,
                    poll_interval=trigger.poll_interval,
                    log=self.log,
                    try_number=trigger.try_number,
                    renewal=renewal,
                )
                break
        job = self.end.job
        if job is None:
            return
        self.report.introduce(
            renewal.settings,
            job.job_id,
            job.connection_id,
            lambda workspace_id: job_url(renewal.settings.web_url, workspace_id, job.connection_id, job.job_id),
        )
        await self.report.introduced()
        if trigger.write_xcoms and trigger.try_number is not None:
            self.xcoms_written = await self.report.write_end(job)

    async def resolve(self, renewal: Renewal) -> bool:
        """Learn the connection's id from its name, which the task could not, since Airbyte could not be asked.

        :return: Whether it is known; otherwise there is an event that says why.
        """
        trigger, outage = self.trigger, Outage(self.log, SYNCS_GO_ON)
        name, doubted = str(trigger.connection_name), False
        while (left := self.deadlines.left()) != 0:
            watcher = await shared_watcher(renewal.settings)
            try:
                asking = find_connection(watcher.borrow_client(), name, trigger.workspace_id)
                self.connection_id = await asyncio.wait_for(asking, left)
            except asyncio.TimeoutError:
                break
            except (UnresolvedName, *NOT_VISIBLE) as error:
                # An Airbyte that has only just come back may not tell of all yet: it is believed the second time.
                if doubted:
                    self.end = _of_name(error, trigger.try_number)
                    break
                doubted = True
            except ApiError as error:
                doubted = False
                outage.failed(error)
                renewal.heard(error)
            else:
                outage.recovered()
                break
            await asyncio.sleep(min(RESOLVE_AGAIN, left or RESOLVE_AGAIN))
            with suppress(CredentialsChanged):
                renewal.check(self.log)
        renewal.stop()
        return bool(self.connection_id)

    def event(self) -> dict[str, Any]:
        known = {
            "connection_id": self.connection_id,
            "job_url": self.report.job_url,
            "xcoms_written": self.xcoms_written,
        }
        return self.end.model_copy(update=known).payload()

    def close(self) -> None:
        self.report.stop()


def _of_name(error: Exception, try_number: int | None) -> Event:
    """Return the event for a name that leads nowhere, or whose list Airbyte refuses."""
    if isinstance(error, UnresolvedName):
        return unresolved(str(error), try_number)
    return not_visible(NO_JOB, str(error), try_number)
