"""Which connections a trigger watches: read when it begins, and again now and then, since others come to fit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from airbyte_deferrable._job.connections import UnresolvedName, read_connections, with_name
from airbyte_deferrable._job.selection import ConnectionFilter, InvalidFilter, select_connections
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable.api.models import Connection, ConnectionStatus

#: Seconds until it is asked again which connections are meant.
READ_AGAIN = 600.0
#: The same as long as one that is named cannot be found, or Airbyte does not say.
READ_AGAIN_SOON = 60.0


@dataclass(frozen=True)
class WhichConnections:
    """Which connections are meant, by one of three.

    :param connection_ids: UUIDs.
    :param connection_names: Names, in the workspace or wherever the credentials lead.
    :param workspace_id: The workspace of those names. Default: all that the credentials may see.
    :param matching: All that fit.
    """

    connection_ids: tuple[str, ...] = ()
    connection_names: tuple[str, ...] = ()
    workspace_id: str | None = None
    matching: ConnectionFilter | None = None


class WatchedConnections:
    """The connections that are meant, as Airbyte told last.

    One that is named and is not there, or that was deleted, is told in a line of the log, and looked for again: who
    named it may have been faster than who makes it, and the others are watched all the same.

    :param which: Which are meant.
    :param log: Gets a line for each change.
    """

    def __init__(self, which: WhichConnections, log: Log) -> None:
        self._which = which
        self._log = log
        #: By id in lower case; None for one that is given by its id and cannot be seen.
        self.rows: dict[str, Connection | None] = {}
        #: All that were ever meant: of one that is no more, an end may still have to be told.
        self._known: dict[str, Connection] = {}
        #: Those that are meant by name, by that; one that no page has shown this time stays.
        self._named: dict[str, Connection] = {}
        #: What is wrong with those that are named, as it was said last.
        self._wrong: dict[str, str] = {}
        self._read = False
        self._refused = False
        self._missing_from: datetime | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The connections' ids."""
        return tuple(self.rows)

    @property
    def complete(self) -> bool:
        """Whether all that are meant by now are known. Of a deleted one nothing is to come."""
        return self._read and not self._refused and all(map(self._is_deleted, self._wrong))

    @property
    def read_again_in(self) -> float:
        """Seconds until it should be asked again."""
        return READ_AGAIN if self.complete else READ_AGAIN_SOON

    def missing_from(self, moment: datetime) -> datetime | None:
        """Return from when on some that are meant are not known; None if all are.

        :param moment: When it was asked last.
        """
        self._missing_from = None if self.complete else self._missing_from or moment
        return self._missing_from

    def row(self, connection_id: str) -> Connection:
        """Return what is known of a connection.

        :param connection_id: The connection.
        """
        return self._known.get(connection_id.lower()) or Connection(connection_id=connection_id)

    async def read(self, watcher: JobWatcher) -> None:
        """Ask Airbyte which connections are meant.

        :param watcher: Whose client asks.
        :raises ApiError: If Airbyte cannot be asked. What was known stays.
        """
        wrong: dict[str, str] = {}
        try:
            rows = await self._rows(watcher, wrong)
        except InvalidFilter as error:
            if not self._refused:
                self._refused = True
                self._log.error("%s Those that were watched so far still are, and it is asked again", error)
            return
        self._refused = False
        self._say(rows, wrong)
        self.rows, self._wrong, self._read = rows, wrong, True
        self._known.update((each, row) for each, row in rows.items() if row is not None)

    async def _rows(self, watcher: JobWatcher, wrong: dict[str, str]) -> dict[str, Connection | None]:
        which = self._which
        if which.matching is not None:
            return _by_id(await select_connections(watcher.borrow_client(), which.matching))
        if not which.connection_names:
            told = await asyncio.gather(*map(watcher.directory.check, which.connection_ids))
            for connection_id, row in zip(which.connection_ids, told, strict=True):
                if row is None:
                    wrong[connection_id] = f"Airbyte connection {connection_id} cannot be seen: is its id right?"
                elif _was_deleted(row):
                    wrong[connection_id] = f"Airbyte connection {connection_id} ({row.name!r}) was deleted."
            return {each.lower(): row for each, row in zip(which.connection_ids, told, strict=True)}
        listing = await read_connections(watcher.borrow_client(), which.workspace_id)
        for name in which.connection_names:
            try:
                self._named[name] = with_name(name, listing, which.workspace_id)
            except UnresolvedName as error:
                wrong[name] = str(error)
                if not listing.missing:
                    self._named.pop(name, None)
        return _by_id(self._named.values())

    def _is_deleted(self, name: str) -> bool:
        return _was_deleted(self.rows.get(name.lower()))

    def _say(self, rows: dict[str, Connection | None], wrong: dict[str, str]) -> None:
        for name, why in wrong.items():
            # Not again in other words: counts and near matches differ from one reading to the next.
            if name not in self._wrong:
                self._log.error("%s The others are watched, and it is looked for again", why)
        for name in self._wrong.keys() - wrong.keys():
            self._log.info("Airbyte connection %s can be seen now", name)
        come, gone = len(rows.keys() - self.rows.keys()), len(self.rows.keys() - rows.keys())
        if not self._read:
            self._log.info("Watching %s Airbyte connections", len(rows))
        elif come or gone:
            self._log.info("Watching %s Airbyte connections: %s more, %s less", len(rows), come, gone)


def _was_deleted(row: Connection | None) -> bool:
    return row is not None and row.status == ConnectionStatus.DEPRECATED


def _by_id(rows: Iterable[Connection]) -> dict[str, Connection | None]:
    return {row.connection_id.lower(): row for row in rows}
