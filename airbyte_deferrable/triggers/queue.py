"""What waits in the triggerer until a busy connection may run a task's job."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from airbyte_deferrable._airflow.base_trigger import AirbyteDeferrableTrigger, Wait
from airbyte_deferrable._airflow.credentials import Renewal, settings_for_trigger
from airbyte_deferrable._airflow.shared_watcher import shared_watcher
from airbyte_deferrable._job.queue import Admission, wait_in_queue
from airbyte_deferrable._job.wait import CredentialsChanged


class AirbyteQueueTrigger(AirbyteDeferrableTrigger):
    """Waits until a busy connection may run the task's job.

    Its one event has the ``status`` ``free``, or ``timeout`` with the deadline as ``reason``; and it brings what the
    task goes on with: its deadlines and its position in the queue.

    :param connection_id: The Airbyte connection.
    :param conn_id: The Airflow connection to Airbyte.
    :param queued_at: When the task began to wait, seconds since the epoch: its position in the queue.
    :param poll_interval: Seconds between two checks.
    :param end_time: When the task's ``timeout`` runs out, seconds since the epoch. Default: never.
    :param execution_deadline: When its ``execution_timeout`` runs out, likewise. Default: never.
    :param api_version: The version in the API's path, where the connection's host names no path. Default: ``v1``.
    :param try_number: The try that waits. Default: not known.
    :param not_before: An earlier event is held back until then, seconds since the epoch. Default: 0.
    """

    def __init__(
        self,
        connection_id: str,
        conn_id: str,
        queued_at: float,
        poll_interval: float,
        end_time: float | None = None,
        execution_deadline: float | None = None,
        api_version: str = "v1",
        try_number: int | None = None,
        not_before: float = 0.0,
    ) -> None:
        super().__init__(
            _QueueWait,
            conn_id=conn_id,
            poll_interval=poll_interval,
            end_time=end_time,
            execution_deadline=execution_deadline,
            api_version=api_version,
            try_number=try_number,
            not_before=not_before,
        )
        self.connection_id = connection_id
        self.queued_at = queued_at

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments, for Airflow's database."""
        return (
            "airbyte_deferrable.triggers.AirbyteQueueTrigger",
            {
                "connection_id": self.connection_id,
                "conn_id": self.conn_id,
                "queued_at": self.queued_at,
                "poll_interval": self.poll_interval,
                "end_time": self.end_time,
                "execution_deadline": self.execution_deadline,
                "api_version": self.api_version,
                "try_number": self.try_number,
                "not_before": self.not_before,
            },
        )


class _QueueWait(Wait[AirbyteQueueTrigger]):
    """Waits until the connection of an :class:`AirbyteQueueTrigger` is free for its task."""

    __slots__ = ("admission", "outcome")

    def __init__(self, trigger: AirbyteQueueTrigger) -> None:
        super().__init__(trigger)
        self.admission: Admission | None = None
        self.outcome = {"status": "free"}

    async def until_over(self) -> None:
        try:
            await asyncio.wait_for(self.until_admitted(), self.deadlines.left())
        except asyncio.TimeoutError:
            self.outcome = {"status": "timeout", "reason": self.deadlines.nearest}

    async def until_admitted(self) -> None:
        trigger = self.trigger
        settings = await settings_for_trigger(trigger.conn_id, trigger.api_version, self.log)
        renewal = Renewal(trigger.conn_id, trigger.api_version, settings)
        # Kept here, not returned: before Python 3.12 what a wait_for that is cancelled waits for may end all the same.
        while self.admission is None:
            with suppress(CredentialsChanged):
                self.admission = await wait_in_queue(
                    await shared_watcher(renewal.settings),
                    trigger.connection_id,
                    trigger.queued_at,
                    poll_interval=trigger.poll_interval,
                    log=self.log,
                    renewal=renewal,
                )

    def event(self) -> dict[str, Any]:
        trigger = self.trigger
        return {
            **self.outcome,
            "try_number": trigger.try_number,
            "queued_at": trigger.queued_at,
            "end_time": trigger.end_time,
            "execution_deadline": trigger.execution_deadline,
        }

    async def stopped(self) -> None:
        # The task never hears that the connection is free.
        if self.admission is not None:
            self.admission.release()
