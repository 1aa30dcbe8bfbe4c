"""All of Airbyte's connections that fit a workspace, a tag, a name, a status, a type of source or destination."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Literal
from uuid import UUID

from airbyte_deferrable._job.connections import place, plain
from airbyte_deferrable._job.listing import Listing, read_all
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import NOT_VISIBLE, NotFound, Unreachable
from airbyte_deferrable.api.models import Actor, Connection, ConnectionStatus, Tag

#: The tags that an error names at the most.
MOST_TAGS_NAMED = 20
#: The tags by which Airbyte is asked to narrow its list, at the most: servers read only so much of an address.
MOST_TAGS_SENT = 50
#: Deleted connections are never meant.
STATUSES = tuple(str(each) for each in ConnectionStatus if each is not ConnectionStatus.DEPRECATED)
#: How Airbyte writes the types of sources and destinations.
_TYPE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_Kind = Literal["source", "destination"]


class InvalidFilter(Exception):
    """A filter asks for what there is not, or cannot be. The message says what the reader can do."""


@dataclass(frozen=True)
class ConnectionFilter:
    """Which connections are meant: those that fit all that is given, and have not been deleted.

    :param workspace_id: The workspace, a UUID. Default: all that the credentials may see.
    :param tag: The name of a tag, compared to the letter first, then without regard to case and outer blanks. Where
        several workspaces have one of that name, each of them counts. Default: with any tags, or none.
    :param name_pattern: A shell pattern for the name (:mod:`fnmatch`); case and outer blanks do not matter. Not "to the
        letter first", as for one connection's name: what fits is not to change with what else fits. Default: any.
    :param status: One of :data:`STATUSES`. Default: any of these.
    :param source_type: What Airbyte calls the type of source: ``postgres``, ``google-sheets``. Default: any.
    :param destination_type: Likewise of destination. Default: any.
    :raises InvalidFilter: If one of them can fit nothing.
    """

    workspace_id: str | None = None
    tag: str | None = None
    name_pattern: str | None = None
    status: str | None = None
    source_type: str | None = None
    destination_type: str | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            check, wanted = _CHECKS[field.name]
            try:
                object.__setattr__(self, field.name, check(value))
            except ValueError:
                raise InvalidFilter(
                    f"{field.name} must be {wanted}, not {value!r}. Leave it out where it does not matter."
                ) from None


async def select_connections(client: AirbyteClient, wanted: ConnectionFilter) -> tuple[Connection, ...]:
    """Return the connections that a filter means, all of them.

    It takes a request for the tag, and a page for each hundred connections, only of those with the tag if one is given.
    A type takes a page for each hundred sources or destinations, but no more pages than connections are left by then.
    Where Airbyte's pages repeat some rows and miss others, they are read again.

    :param client: Asks Airbyte.
    :param wanted: The filter.
    :return: The connections, by name and id.
    :raises InvalidFilter: If there is no such tag, or more connections than can be read.
    :raises ApiError: If Airbyte does not tell all that is needed: there is no such workspace, or the credentials may
        not read it; some connections did not show up on any page.
    """
    tag_ids = None if wanted.tag is None else await _tag_ids(client, wanted, wanted.tag)
    # Only to read less: each connection names its tags, and they are compared below in any case.
    narrowed = sorted(tag_ids or ()) if len(tag_ids or ()) <= MOST_TAGS_SENT else ()
    listing = await read_all(
        lambda offset: client.list_connections(wanted.workspace_id, tag_ids=narrowed, offset=offset),
        lambda row: row.connection_id,
    )
    _check_complete(listing, wanted)
    if not listing.rows:
        await _check_workspace(client, wanted)
    rows = [
        row
        for row in listing.rows
        if row.status != ConnectionStatus.DEPRECATED
        and (wanted.status is None or row.status == wanted.status)
        and (tag_ids is None or any(tag.tag_id in tag_ids for tag in row.tags))
        and (wanted.name_pattern is None or fnmatchcase(plain(row.true_name), plain(wanted.name_pattern)))
    ]
    ends: tuple[tuple[_Kind, str | None, Callable[[Connection], str]], ...] = (
        ("source", wanted.source_type, lambda row: row.source_id),
        ("destination", wanted.destination_type, lambda row: row.destination_id),
    )
    for kind, type_, id_of in ends:
        if type_ is not None:
            types = await _types(client, kind, {id_of(row) for row in rows}, wanted.workspace_id)
            rows = [row for row in rows if types[id_of(row)] == type_]
    return tuple(sorted(rows, key=lambda row: (plain(row.true_name), row.true_name, row.connection_id)))


async def _tag_ids(client: AirbyteClient, wanted: ConnectionFilter, name: str) -> set[str]:
    try:
        tags = await client.list_tags(wanted.workspace_id)
    except NotFound as error:
        error.advice = f"tag needs an Airbyte that knows tags, which this one may be too old for. {error.advice}"
        raise
    exact = {tag.tag_id for tag in tags if tag.true_name == name}
    found = exact or {tag.tag_id for tag in tags if plain(tag.true_name) == plain(name)}
    if not found:
        if not tags:
            await _check_workspace(client, wanted)
        raise InvalidFilter(_why_no_tag(name, tags, place(wanted.workspace_id)))
    return found


def _why_no_tag(name: str, tags: Sequence[Tag], where: str) -> str:
    names = sorted({tag.name for tag in tags})
    if not names:
        return f"There is no tag {name!r} in {where}, nor any other."
    near = get_close_matches(name, names, n=MOST_TAGS_NAMED, cutoff=0.5)
    told = [*near, *(each for each in names if each not in near)]
    more = f", and {len(told) - MOST_TAGS_NAMED} more" if len(told) > MOST_TAGS_NAMED else ""
    return f"There is no tag {name!r} in {where}; there are {', '.join(map(repr, told[:MOST_TAGS_NAMED]))}{more}."


def _check_complete(listing: Listing[Connection], wanted: ConnectionFilter) -> None:
    seen, where = len(listing.rows), place(wanted.workspace_id)
    if listing.cut:
        raise InvalidFilter(
            f"There are more than the {seen} connections in {where} that are read at most. Give a workspace_id or a "
            "tag with fewer."
        )
    if listing.missing:
        error = Unreachable("GET /connections", f"{listing.missing} connections more than {seen} did not show up.", 200)
        error.advice = (
            "Airbyte lists connections in no order, and its pages repeat some and miss others: try again, or give a "
            "workspace_id or a tag with fewer."
        )
        raise error


async def _check_workspace(client: AirbyteClient, wanted: ConnectionFilter) -> None:
    """Raise if there is no such workspace: to an administrator Airbyte lists nothing of it, and does not complain."""
    if wanted.workspace_id is not None:
        await client.get_workspace(wanted.workspace_id)


async def _types(client: AirbyteClient, kind: _Kind, ids: set[str], workspace_id: str | None) -> dict[str, str]:
    """Return of which type each of some sources or destinations is; empty for a custom connector."""
    read_page, read_one = (
        (client.list_sources, client.get_source)
        if kind == "source"
        else (client.list_destinations, client.get_destination)
    )

    def id_of(actor: Actor) -> str:
        return actor.source_id if kind == "source" else actor.destination_id

    try:
        listing = await read_all(lambda offset: read_page(workspace_id, offset=offset), id_of, wanted=ids)
        actors = {id_of(row): row for row in listing.rows}
        for each in sorted(ids - actors.keys()):
            actors[each] = await read_one(each)
    except NOT_VISIBLE as error:
        error.advice = (
            f"{kind}_type needs to read the connections' {kind}s: give the application the role Reader in the "
            f"workspace, or leave {kind}_type out."
        )
        raise
    return {each: actors[each].source_type if kind == "source" else actors[each].destination_type for each in ids}


def _workspace(value: Any) -> str:
    return str(UUID(str(value)))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _status(value: Any) -> str:
    if value not in STATUSES:
        raise ValueError
    return str(value)


def _type(value: Any) -> str:
    if not isinstance(value, str) or not _TYPE.fullmatch(value):
        raise ValueError
    return value


#: What makes a value of each field as it is compared, and what a user is told who gave another.
_CHECKS: dict[str, tuple[Callable[[Any], str], str]] = {
    "workspace_id": (_workspace, "the UUID of an Airbyte workspace"),
    "tag": (_text, "the name of a tag"),
    "name_pattern": (_text, "a shell pattern such as 'Orders*'"),
    "status": (_status, f"one of {', '.join(STATUSES)}"),
    "source_type": (_type, "what Airbyte calls it, lower case with hyphens, such as 'google-sheets'"),
    "destination_type": (_type, "what Airbyte calls it, lower case with hyphens, such as 'bigquery'"),
}
