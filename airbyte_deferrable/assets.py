"""What a DAG's tasks learn of the syncs that its assets have told of: each sync once, whatever Airflow doubled."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any

from airbyte_deferrable._job.ended import CLOCKS_APART, EndedSync, ToldBatch
from airbyte_deferrable.exceptions import AirbyteException

__all__ = ["EndedSync", "ended_syncs"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Told:
    """A batch that an asset event has brought.

    :param at: When Airflow took the event down, by the clock of the triggerer's machine.
    :param batch: The batch.
    :param event_id: Airflow's number of the event; None where Airflow does not tell it.
    """

    at: datetime
    batch: ToldBatch
    event_id: int | None = None

    def is_before(self, other: _Told) -> bool:
        """Tell whether Airflow took this one down first: by their numbers, for two triggerers have two clocks."""
        if self.event_id is None or other.event_id is None:
            return self.at < other.at
        return self.event_id < other.event_id


def ended_syncs(context: Mapping[str, object]) -> list[EndedSync]:
    """Return the syncs of which this run's assets have told and that no earlier run of its DAG was told of.

    For a DAG that is scheduled on an asset whose watcher has an
    :class:`~airbyte_deferrable.triggers.AirbyteSyncEndedTrigger`. It is the same in all tasks of a run, in all tries
    and after a clear.

    Airflow gives each event to one run of a DAG. But a sync may be in two events: told by a triggerer that was stopped
    before it could note that, or went on after another had taken over, and told again. So Airflow is asked what the
    asset's earlier events have told.

    :param context: The task's context.
    :return: The syncs, those of one connection in the order of their ends. None at all for a run that no such asset
        began, such as one that was started by hand.
    :raises AirbyteException: If it cannot be told whether an earlier run was told of some that may well have been told
        twice, since Airflow does not tell the asset's events now. A retry gets them.
    """
    triggering: Any = context.get("triggering_asset_events") or {}
    found: dict[tuple[str, int], EndedSync] = {}
    for asset in triggering:
        # An alias has the same events again.
        if hasattr(asset, "uri"):
            for sync in _first_told(asset, list(_told(triggering[asset]))):
                found.setdefault(_key(sync), sync)
    return sorted(found.values(), key=lambda sync: sync.job_id)


def _told(events: Iterable[Any]) -> Iterator[_Told]:
    """Yield the batches that events have brought; an asset may have others, from whoever else."""
    for event in events:
        batch = ToldBatch.read(event.extra)
        if batch is not None:
            yield _Told(event.timestamp, batch, getattr(event, "id", None))


def _first_told(asset: Any, own: list[_Told]) -> Iterator[EndedSync]:
    """Yield the syncs of these batches that no earlier batch of the asset has told."""
    names = {told.batch.name for told in own}
    listed = _listed(asset, own) if own else []
    numbered: dict[str, _Told] = {}
    for told in listed:
        first = numbered.setdefault(told.batch.name, told)
        numbered[told.batch.name] = told if told.is_before(first) else first
    others = [told for told in listed if told.batch.name not in names]
    for told in own:
        # A run's own events come without their numbers.
        this = numbered.get(told.batch.name, told)
        before = {_key(sync) for other in others if other.is_before(this) for sync in other.batch.syncs}
        yield from (sync for sync in told.batch.syncs if _key(sync) not in before)


def _key(sync: EndedSync) -> tuple[str, int]:
    """Return what tells a sync from all others: of several Airbytes, jobs have the same numbers."""
    return sync.connection_id, sync.job_id


def _listed(asset: Any, own: list[_Told]) -> list[_Told]:
    """Return what an asset's events have told, as far as it may be the same as these, with these."""
    name: str = asset.name
    ended = [sync.ended_at for told in own for sync in told.batch.syncs if sync.ended_at is not None]
    since = min(ended) - CLOCKS_APART if ended else None
    try:
        return list(_told(_events(asset, since, max(told.at for told in own) + CLOCKS_APART)))
    except Exception as error:
        if not any(told.batch.doubtful for told in own):
            log.warning("Airflow does not tell what else asset %r was told: these are taken as new (%s)", name, error)
            return []
        raise AirbyteException(
            f"Some of the syncs that the asset {name!r} has told of may have been told before, and Airflow does "
            f"not say now which: it tells an asset's events only when no run of a DAG that had one is still queued "
            f"({type(error).__name__}: {error}). Run the task again when those have begun, or give it retries."
        ) from error


def _events(asset: Any, since: datetime | None, until: datetime) -> Iterable[Any]:
    """Return an asset's events.

    :param since: From when on, where this Airflow can be asked so.
    :param until: Likewise, until when.
    """
    accessors: Any = import_module("airflow.sdk.execution_time.context").InletEventsAccessors
    # Not the task's own: it may not have named the asset among its inlets.
    accessor = accessors([asset])[asset]
    if hasattr(accessor, "before"):
        accessor = accessor.before(until.isoformat())
        accessor = accessor.after(since.isoformat()) if since is not None else accessor
    return list(accessor)
