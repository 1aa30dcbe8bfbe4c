"""What waits in the triggerer for an asset: the syncs that end, whoever starts them. For Airflow 3."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TriggerEvent

from airbyte_deferrable._airflow.base_trigger import logger_of
from airbyte_deferrable._airflow.credentials import Renewal, settings_for_trigger
from airbyte_deferrable._airflow.off_loop import TaskLog, freeze_what_is_loaded
from airbyte_deferrable._airflow.shared_watcher import shared_watcher
from airbyte_deferrable._airflow.told_position import ToldPosition
from airbyte_deferrable._airflow.validation import several
from airbyte_deferrable._airflow.which_ends import check_ended
from airbyte_deferrable._job.ended import Asking, Batch, tell_ends
from airbyte_deferrable.links import job_url

if TYPE_CHECKING:
    from airflow.triggers.base import BaseEventTrigger
    from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

    from airbyte_deferrable._watcher.connection_subscription import Position
else:
    try:
        from airflow.triggers.base import BaseEventTrigger
    except ImportError as error:
        raise ImportError("AirbyteSyncEndedTrigger needs Airflow 3: before, assets have no watchers.") from error
    try:
        from airflow.triggers.shared_stream import SharedStreamProducer
    except ImportError:  # before 3.3
        SharedStreamProducer = object

#: Seconds after an event in which Airflow, before 3.3, has not stored it for certain. At 5 s nothing was lost in three
#: kills each of 3.0, 3.1 and 3.2.
STORED_WITHIN = 5.0
_DEFAULTS: dict[str, Any] = {
    "conn_id": "airbyte_default",
    "connection_ids": [],
    "connection_names": [],
    "tag": None,
    "name_pattern": None,
    "workspace_id": None,
    "statuses": ["succeeded"],
    "job_types": ["sync"],
    "since": None,
    "poll_interval": 5.0,
    "event_interval": 10.0,
    "name": "",
    "api_version": "v1",
}


class AirbyteSyncEndedTrigger(BaseEventTrigger):
    """Tells an asset of the syncs that end at Airbyte connections, whoever starts them. For an ``AssetWatcher``.

    Each event tells all syncs that have ended since the one before; a DAG's task reads them with
    :func:`~airbyte_deferrable.assets.ended_syncs`. None is lost: what ends while the DAG is paused, another choice
    of connections is made, or the triggerer or Airbyte is away is told afterwards. It never ends and never fails: it
    says what is wrong in the triggerer's log, and goes on.

    A thousand connections cost no more requests than one while they are watched: all are read from the same list of
    changes. Each costs a list of its own when it begins, and each hundred a page every ten minutes.

    The connections are given by their ids, by their names, or by what they have in common (``tag``, ``name_pattern``,
    ``workspace_id``); what comes to fit later is taken in within ten minutes.

    :param asset: The name of the asset whose watcher this is: there Airflow 3.3 keeps up to where all was told.
    :param conn_id: The Airflow connection to Airbyte. Default: ``airbyte_default``.
    :param connection_ids: The Airbyte connections, UUIDs.
    :param connection_names: Their names.
    :param tag: The name of a tag that they have.
    :param name_pattern: A shell pattern that their names fit, whatever the case: ``orders *``.
    :param workspace_id: The workspace that they are in, a UUID. Alone: all of it. Default: all that the credentials
        may see.
    :param statuses: How the jobs have to have ended: ``succeeded``, ``failed``, ``cancelled``. Default: succeeded.
    :param job_types: Which types of job count: ``sync``, ``reset``, ``refresh``. Default: syncs alone.
    :param since: The moment from which on ends are told when the asset has been told nothing yet, with a time zone: a
        ``datetime`` or ISO 8601. Default: from the trigger's first start on.
    :param poll_interval: Seconds within which an end should be noticed. Default: 5.
    :param event_interval: Seconds between two events at least, 5 or more. Default: 10.
    :param name: Tells this trigger from another of the same asset, which needs another name. Default: empty.
    :param api_version: The version in the API's path, where the connection's host names no path. Default: ``v1``.
    :raises AirbyteInputError: If what is given contradicts itself, or can fit nothing.
    """

    def __init__(
        self,
        asset: str,
        conn_id: str = "airbyte_default",
        connection_ids: str | Sequence[str] = (),
        connection_names: str | Sequence[str] = (),
        tag: str | None = None,
        name_pattern: str | None = None,
        workspace_id: str | None = None,
        statuses: str | Sequence[str] = "succeeded",
        job_types: str | Sequence[str] = "sync",
        since: datetime | str | None = None,
        poll_interval: float = 5.0,
        event_interval: float = 10.0,
        name: str = "",
        api_version: str = "v1",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.asset = asset
        self.conn_id = conn_id
        # Texts and lists of them, since Airflow 3.2 hands a mapping to the trigger as it stores it. In one order, since
        # another would be another trigger to Airflow: a set has a new one in each process.
        self.connection_ids = sorted(several("connection_ids", connection_ids, conn_id))
        self.connection_names = sorted(several("connection_names", connection_names, conn_id))
        self.tag = tag
        self.name_pattern = name_pattern
        self.workspace_id = None if workspace_id is None else str(workspace_id)
        self.statuses = sorted(several("statuses", statuses, conn_id))
        self.job_types = sorted(several("job_types", job_types, conn_id))
        self.since = since.isoformat() if isinstance(since, datetime) else since
        self.poll_interval = poll_interval
        self.event_interval = event_interval
        self.name = name
        self.api_version = api_version
        self.which = check_ended(self)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments, for Airflow's database.

        Airflow tells triggers apart by them: what is as by default is left out, so that a later version of this package
        with more of them is no other trigger.
        """
        given = {name: getattr(self, name) for name in _DEFAULTS}
        return (
            "airbyte_deferrable.triggers.AirbyteSyncEndedTrigger",
            {"asset": self.asset, **{name: value for name, value in given.items() if value != _DEFAULTS[name]}},
        )

    # Airflow 3.3 and later: a shared stream, whose events are known to be stored.

    def shared_stream_key(self) -> Hashable | None:
        """Return a key that no other trigger has: what is shared is Airflow's word that an event is stored."""
        path, arguments = self.serialize()
        return path, repr(sorted(arguments.items()))

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return what tells the ends, and takes down up to where they are stored.

        :param kwargs: The trigger's arguments.
        """
        return _Producer(cls(**kwargs))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncGenerator[TriggerEvent, None]:
        """Yield an event for each batch that has something to tell.

        :param shared_stream: Of :class:`_Producer`.
        """
        async for handing in shared_stream:
            if handing.payload is not None:
                yield TriggerEvent(handing.payload)
            # Who takes the event asks for the next one when it has it. If it is stopped right before, Airflow 3.3 takes
            # the event for stored.
            handing.over = True

    # Before: a loop of the trigger's own, which gives Airflow time to store an event.

    async def run(self) -> AsyncGenerator[TriggerEvent, None]:
        """Yield an event for each batch that has something to tell, for ever."""
        log = TaskLog(logger_of(self))
        told = ToldPosition(self.asset, self.name, self.conn_id, log)
        pause = max(0.0, self.event_interval - STORED_WITHIN)
        async with aclosing(_batches(self, told, pause, log)) as batches:
            async for batch in batches:
                if batch.syncs:
                    yield TriggerEvent(_payload(batch))
                    await asyncio.sleep(STORED_WITHIN)
                await told.keep(batch.position)


@dataclass
class _Handing:
    """What is handed to Airflow.

    :param payload: Of the event; None if there is only a position to keep.
    :param position: To be kept once the event is stored.
    :param over: Whether Airflow has it.
    """

    payload: dict[str, Any] | None
    position: Position
    over: bool = False


class _Producer(SharedStreamProducer):
    """Tells the ends of one trigger's connections to Airflow, which says when it has stored what was told.

    :param trigger: Says which ends, and how Airbyte is asked.
    """

    def __init__(self, trigger: AirbyteSyncEndedTrigger) -> None:
        self._trigger = trigger
        log = TaskLog(logger_of(trigger))
        self._log = log
        self._told = ToldPosition(trigger.asset, trigger.name, trigger.conn_id, log)

    async def open_stream(self) -> AsyncGenerator[tuple[Any, Any], None]:
        """Yield what each event tells, None for nothing, with the position to keep once it is stored."""
        async with aclosing(_batches(self._trigger, self._told, self._trigger.event_interval, self._log)) as batches:
            async for batch in batches:
                handing = _Handing(_payload(batch) if batch.syncs else None, batch.position)
                yield handing, handing

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Keep the position of what is stored.

        :param batch: What has become of it, in its order.
        :raises RuntimeError: If something was not stored: Airflow then begins anew, where the position says.
        """
        for item in batch:
            if not (item.outcome.is_clean and item.broker_payload.over):
                raise RuntimeError("Airflow has not stored an event on Airbyte's syncs: it is told again")
            await self._told.keep(item.broker_payload.position)


async def _batches(
    trigger: AirbyteSyncEndedTrigger, told: ToldPosition, event_interval: float, log: TaskLog
) -> AsyncGenerator[Batch, None]:
    freeze_what_is_loaded()
    position = await told.read()
    settings = await settings_for_trigger(trigger.conn_id, trigger.api_version, log)
    renewal = Renewal(trigger.conn_id, trigger.api_version, settings)

    async def changed() -> bool:
        found = await settings_for_trigger(trigger.conn_id, trigger.api_version, log)
        before, renewal.settings = renewal.settings, found
        return found != before

    asking = Asking(
        watcher=lambda: shared_watcher(renewal.settings),
        poll_interval=trigger.poll_interval,
        event_interval=event_interval,
        job_url=lambda row, job: job_url(renewal.settings.web_url, row.workspace_id, job.connection_id, job.job_id),
        renewal=renewal,
        changed=changed,
        log=log,
    )
    async with aclosing(tell_ends(trigger.which, position, asking)) as batches:
        async for batch in batches:
            yield batch


def _payload(batch: Batch) -> dict[str, Any]:
    return batch.payload(uuid.uuid4().hex)
