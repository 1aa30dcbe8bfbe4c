"""What Airbyte's connections are called, and which one has a name."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches

from airbyte_deferrable._job.listing import Listing, read_all
from airbyte_deferrable._watcher.directory import Description
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError
from airbyte_deferrable.api.models import Connection, ConnectionStatus

NEAR_MATCHES = 5
#: Seconds that a task waits for what only makes its log nicer.
DESCRIBE_WITHIN = 3.0


class UnresolvedName(Exception):
    """A name leads to no Airbyte connection, or to more than one. The message says what the reader can do.

    :param several: Whether it leads to more than one.
    """

    def __init__(self, message: str, *, several: bool = False) -> None:
        super().__init__(message)
        self.several = several


async def describe(client: AirbyteClient, connection_id: str, *, ends: bool = True) -> Description:
    """Look up what a connection is called, for a few seconds at most.

    :param ends: Whether its source and destination are asked for, too. Default: True.
    :return: What could be learned.
    """
    found = [Description()]
    with suppress(ApiError, asyncio.TimeoutError):
        await asyncio.wait_for(_ask(client, connection_id, ends, found), DESCRIBE_WITHIN)
    return found[-1]


async def _ask(client: AirbyteClient, connection_id: str, ends: bool, found: list[Description]) -> None:
    """Collect what is learned step by step, so that an answer in time is not lost for one that comes late."""
    # Names are worth no new token, which could cost those theirs who start the job meanwhile.
    connection = await client.get_connection(connection_id, renew=False)
    told = Description(connection.name, workspace_id=connection.workspace_id)
    found.append(told)
    if not ends:
        return
    source, destination = await asyncio.gather(
        client.get_source(connection.source_id, renew=False),
        client.get_destination(connection.destination_id, renew=False),
    )
    found.append(replace(told, source=source.name, destination=destination.name))


async def find_connection(client: AirbyteClient, name: str, workspace_id: str | None) -> str:
    """Return the id of the connection with a name.

    :param workspace_id: The workspace to look in; None for all that the credentials may see.
    :raises UnresolvedName: If there is none, or more than one.
    """
    return with_name(name, await read_connections(client, workspace_id), workspace_id).connection_id


async def read_connections(client: AirbyteClient, workspace_id: str | None) -> Listing[Connection]:
    """Read the list of all connections.

    :param workspace_id: The workspace; None for all that the credentials may see.
    """
    return await read_all(
        lambda offset: client.list_connections(workspace_id, offset=offset), lambda row: row.connection_id
    )


def with_name(name: str, listing: Listing[Connection], workspace_id: str | None) -> Connection:
    """Return the connection with a name.

    Names are compared to the letter first, then without regard to case and outer blanks.

    :param listing: All connections of the workspace.
    :param workspace_id: The workspace; None for all that the credentials may see.
    :raises UnresolvedName: If there is none, or more than one.
    """
    connections = [each for each in listing.rows if each.status != ConnectionStatus.DEPRECATED]
    exact = [each for each in connections if each.true_name == name]
    found = exact or [each for each in connections if plain(each.true_name) == plain(name)]
    if len(found) == 1:
        return found[0]
    where = place(workspace_id)
    why = _why_several(name, found, where) if found else _why_none(name, connections, listing.missing, where)
    raise UnresolvedName(why, several=bool(found))


def _why_several(name: str, found: list[Connection], where: str) -> str:
    which = ", ".join(f"{each.connection_id} (workspace {each.workspace_id})" for each in found)
    return f"{len(found)} Airbyte connections in {where} are named {name!r}: {which}. Give connection_id instead."


def _why_none(name: str, connections: list[Connection], missing: int, where: str) -> str:
    if not connections:
        return (
            f"There is no Airbyte connection in {where}, so none is named {name!r}. Check workspace_id and the "
            "application's permissions."
        )
    if missing:
        return (
            f"None of the {len(connections)} Airbyte connections in {where} that could be seen is named {name!r}, and "
            f"{missing} more could not be seen: Airbyte lists connections in no order, and its pages repeat some and "
            "miss others. Give connection_id instead."
        )
    near = get_close_matches(name, [each.name for each in connections], n=NEAR_MATCHES, cutoff=0.5)
    hint = "; near matches: " + ", ".join(repr(each) for each in near) if near else ""
    return f"None of the {len(connections)} Airbyte connections in {where} is named {name!r}{hint}."


def place(workspace_id: str | None) -> str:
    """Say where was looked.

    :param workspace_id: The workspace; None for all that the credentials may see.
    """
    return f"workspace {workspace_id}" if workspace_id else "the workspaces that the credentials may see"


def plain(name: str) -> str:
    """Return a name as it is compared where case and outer blanks do not matter.

    :param name: The name.
    """
    return name.strip().casefold()
