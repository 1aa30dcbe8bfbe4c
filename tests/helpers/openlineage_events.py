"""Whether OpenLineage's events are what its specification says, as its client has it: no package brings the schemas.

The client's classes are generated from the JSON schemas: an event is to go into them, field by field and type by type,
with nothing left over and nothing missing.
"""

from __future__ import annotations

import enum
import pkgutil
import types
import typing
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import attr
from openlineage.client import generated
from openlineage.client.event_v2 import RunEvent

MODULES = [import_module(f"{generated.__name__}.{each.name}") for each in pkgutil.iter_modules(generated.__path__)]
CLASSES = [each for module in MODULES for each in vars(module).values() if attr.has(each)]
#: By the name of its schema, whatever the release: the last part of the URL. Those of which all others are made may
#: have any field.
FACETS = {
    each._get_schema().rpartition("/")[2]: each
    for each in CLASSES
    if hasattr(each, "_get_schema") and each.__module__ != f"{generated.__name__}.base"
}
#: What every facet and event has besides, and what the client adds to a dataset.
MORE = {"_producer", "_schemaURL", "_deleted", "producer", "schemaURL"}


def wrong_in(event: dict[str, Any]) -> list[str]:
    """Return what of an event is not as it has to be.

    :param event: As it was sent.
    """
    return list(_wrong(event, RunEvent, str(event.get("eventType"))))


def known_facets(event: Any) -> set[str]:
    """Return the names of the facets of an event that OpenLineage itself defines."""
    if isinstance(event, list):
        return set().union(*map(known_facets, event))
    if not isinstance(event, dict):
        return set()
    own = {name for name, value in event.items() if isinstance(value, dict) and _class_of(value)}
    return own.union(*map(known_facets, event.values()))


def _class_of(facet: dict[str, Any]) -> Any:
    url = str(facet.get("_schemaURL", ""))
    return FACETS.get(url.rpartition("/")[2]) if url.startswith("https://openlineage.io/") else None


def _wrong(value: Any, kind: Any, where: str) -> Iterator[str]:
    if isinstance(value, dict) and "_schemaURL" in value:
        # A facet of the provider's own is as the provider has it.
        kind = _class_of(value) or Any
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or isinstance(kind, typing.TypeVar):
        return
    if origin in (typing.Union, types.UnionType):
        kinds = [each for each in inside if each is not type(None)]
        if value is not None or len(kinds) == len(inside):
            yield from min((list(_wrong(value, each, where)) for each in kinds), key=len)
    elif origin is list:
        yield from _unless(isinstance(value, list), value, kind, where)
        for place, each in enumerate(value if isinstance(value, list) else ()):
            yield from _wrong(each, inside[0], f"{where}[{place}]")
    elif origin is dict:
        yield from _unless(isinstance(value, dict), value, kind, where)
        for name, each in value.items() if isinstance(value, dict) else ():
            yield from _wrong(each, inside[1], f"{where}.{name}")
    elif attr.has(kind):
        yield from _unless(isinstance(value, dict), value, kind, where)
        if isinstance(value, dict):
            yield from _wrong_fields(value, kind, where)
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        yield from _unless(value in [each.value for each in kind], value, kind, where)
    else:
        yield from _unless(isinstance(value, kind), value, kind, where)


def _wrong_fields(value: dict[str, Any], kind: Any, where: str) -> Iterator[str]:
    hints = typing.get_type_hints(kind)
    fields = attr.fields_dict(kind)
    for name in value.keys() - fields.keys() - MORE:
        yield f"{where}.{name}: {kind.__name__} has none"
    for name, field in fields.items():
        if name in value:
            yield from _wrong(value[name], hints[name], f"{where}.{name}")
        elif field.default is attr.NOTHING:
            yield f"{where}.{name}: missing"


def _unless(right: bool, value: Any, kind: Any, where: str) -> Iterator[str]:
    if not right:
        yield f"{where}: {value!r} is no {kind}"
