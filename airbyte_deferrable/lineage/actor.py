"""A source or a destination, and a stream's table there, as far as names depend on them.

Of a connector's settings only those are read that a name is made of, never a user's name, and nothing that may hold
credentials.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from airbyte_deferrable.lineage.model import Side

#: Stands for a secret in what Airbyte tells.
MASK = "*****"


@dataclass(frozen=True)
class Actor:
    """A source or a destination, as far as names depend on it.

    :param side: Which of the two.
    :param actor_id: Its id, a UUID.
    :param type: What Airbyte calls its kind: ``postgres``, ``s3-data-lake``; empty for a custom connector.
    :param settings: Its configuration, as Airbyte tells it.
    """

    side: Side
    actor_id: str
    type: str
    settings: Mapping[str, Any]

    #: What was read already: a connection may have a thousand streams.
    _read: dict[tuple[str, ...], str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def text(self, *path: str) -> str:
        """Return one of its settings; empty for what is not set, or not told.

        :param path: Its name, and before it those of the objects that it is in.
        """
        known = self._read.get(path)
        if known is None:
            known = self._read[path] = self._text(path)
        return known

    def _text(self, path: tuple[str, ...]) -> str:
        value: Any = self.settings
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or MASK in value:
            return ""
        # Behind these, a field that is no name any more may hold credentials.
        return re.split(r"[?;#]", value, maxsplit=1)[0].strip()

    def first(self, *names: str) -> str:
        """Return the first of several settings that is set; empty if none is.

        :param names: Their names: newer releases of a connector may have other ones.
        """
        return next((text for name in names if (text := self.text(name))), "")

    @cached_property
    def host(self) -> str:
        """The host that it is on, without all that may stand around it in the setting; empty if that is no host."""
        names = ("host", "hostname", "databricks_server_hostname")
        given = next((each for name in names if isinstance(each := self.settings.get(name), str) and each.strip()), "")
        # First what is before the last such sign: a password may have any of those that end a host.
        after = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://", "", given.strip()).rpartition("@")[2]
        alone = re.sub(r"(?<!:):\d+$", "", re.split(r"[/?;#\s]", after, maxsplit=1)[0])
        return alone.lower() if re.fullmatch(r"[\w.:\[\]-]+", alone) else ""

    @cached_property
    def only_schema(self) -> str:
        """The schema that a stream is in which does not say it; empty if that is not clear."""
        schemas = self.settings.get("schemas")
        if isinstance(schemas, list) and len(schemas) == 1 and isinstance(schemas[0], str):
            return schemas[0]
        return self.first("schema", "database_schema")


@dataclass(frozen=True)
class Table:
    """A stream, as it is called at one of its ends.

    :param namespace: The schema, or what else it is in; empty for the connector's own.
    :param name: The table.
    :param stream: The stream's name at the source, by which some connectors' settings know it.
    """

    namespace: str
    name: str
    stream: str = ""
