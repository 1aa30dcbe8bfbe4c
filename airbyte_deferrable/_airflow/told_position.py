"""Up to where an asset's trigger has told all ends: kept by Airflow, so that its next life goes on from there."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import datetime
from typing import Any, Protocol

from airbyte_deferrable._airflow.off_loop import in_thread
from airbyte_deferrable._airflow.variables import variables
from airbyte_deferrable._job.retrying import Outage
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable._watcher.connection_subscription import Position

#: The key in the asset's state store, and the beginning of a Variable's name.
KEY = "airbyte_told"
#: Seconds until Airflow is asked again for a position that could not be read.
READ_AGAIN = 10.0


class _Store(Protocol):
    """One place for one text."""

    async def read(self) -> Any: ...

    async def write(self, value: str) -> None: ...


class AssetStore:
    """The asset's own state store, of Airflow 3.3 and later. It stays as long as a DAG's file names the asset.

    :param asset: The asset's name.
    :param key: Which of its values.
    """

    def __init__(self, asset: str, key: str) -> None:
        self._asset = asset
        self._key = key

    async def read(self) -> Any:
        """Return the text; None if there is none."""
        return await self._accessor().aget(self._key, default=None)

    async def write(self, value: str) -> None:
        """Keep a text.

        :param value: The text.
        """
        await self._accessor().aset(self._key, value)

    def _accessor(self) -> Any:
        # The trigger's own accessor is for those who run in a trigger's task; whoever reads the shared stream is not.
        from airflow.sdk.execution_time.context import AssetStateStoreAccessor

        return AssetStateStoreAccessor(name=self._asset)


class VariableStore:
    """A Variable, for Airflows whose assets have no state store.

    :param key: Its name.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    async def read(self) -> Any:
        """Return the text; None if there is none."""
        return await in_thread(self._read)

    async def write(self, value: str) -> None:
        """Keep a text.

        :param value: The text.
        """
        await in_thread(variables().set, self._key, value)

    def _read(self) -> Any:
        return variables().get(self._key, None)


class ToldPosition:
    """The position of one trigger of one asset.

    It is only ever raised: a triggerer that was stopped for long, and whose triggers another has taken over meanwhile,
    goes on for some moments, and would have all that was told since be told again.

    :param asset: The asset's name.
    :param name: Tells this trigger from another of the same asset; may be empty.
    :param conn_id: The Airflow connection to Airbyte.
    :param log: Says that Airflow does not take it down, or does again.
    """

    def __init__(self, asset: str, name: str, conn_id: str, log: Log) -> None:
        self._store = _store_for(asset, name, conn_id)
        self._kept: Position | None = None
        self._reading = Outage(log, "Airflow does not tell up to where all syncs were told, and is asked again")
        self._writing = Outage(
            log,
            "Airflow does not take down up to where all syncs were told: after a stop some would be told again, or, if "
            f"nothing was taken down yet, not at all (is {asset!r} the asset's name?)",
        )

    async def read(self) -> Position | None:
        """Return it; None if nothing was told yet. Takes as long as Airflow does not answer."""
        while True:
            try:
                self._kept = _parsed(await _uninterrupted(self._store.read()))
            except Exception as error:
                self._reading.failed(error)
                await asyncio.sleep(READ_AGAIN)
            else:
                self._reading.recovered()
                return self._kept

    async def keep(self, position: Position) -> None:
        """Take down that all was told up to a position. Never raises: then an earlier one stays, and nothing is lost.

        :param position: The position.
        """
        if position == self._kept:
            return
        try:
            known = _parsed(await _uninterrupted(self._store.read()))
            if known is None or known.moment <= position.moment:
                await _uninterrupted(self._store.write(_text(_joined(known, position))))
        except Exception as error:
            self._writing.failed(error)
        else:
            self._writing.recovered()
            self._kept = position


async def _uninterrupted(call: Any) -> Any:
    """Await what a cancelled trigger must not cut short: Airflow 3.0 and 3.1 lose their triggerer by it."""
    asking = asyncio.ensure_future(call)
    asking.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    return await asyncio.shield(asking)


def _store_for(asset: str, name: str, conn_id: str) -> _Store:
    try:
        from airflow.sdk.execution_time.context import AssetStateStoreAccessor  # noqa: F401
    except ImportError:  # before 3.3
        digest = hashlib.sha256(json.dumps([asset, name, conn_id]).encode()).hexdigest()[:32]
        return VariableStore(f"{KEY}__{digest}")
    # No conn_id has this sign in it.
    return AssetStore(asset, f"{KEY}__{name}@{conn_id}" if name else f"{KEY}__{conn_id}")


def _joined(known: Position | None, position: Position) -> Position:
    """Return the later position; of two at one moment, one that knows what either has handed out."""
    if known is None or known.moment < position.moment:
        return position
    return Position(position.moment, position.handed_out | known.handed_out)


def _text(position: Position) -> str:
    return json.dumps({"moment": position.moment.isoformat(), "handed_out": sorted(position.handed_out)})


def _parsed(value: Any) -> Position | None:
    """Return a position that was kept; None if there is none, as after somebody has emptied it by hand.

    :raises ValueError: If it was changed by hand to what is none.
    """
    if not value:
        return None
    try:
        known = json.loads(value)
        moment = datetime.fromisoformat(known["moment"])
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return Position(moment, frozenset(known["handed_out"]))
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            "What is kept there is not what the trigger has kept; if it is emptied, the trigger begins like a new one"
        ) from None
