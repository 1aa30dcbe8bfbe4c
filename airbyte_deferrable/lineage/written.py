"""What a destination's connector makes of the names that it is given, as far as that is known."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from airbyte_deferrable.lineage.actor import Actor, Table

#: The schema of raw tables, where the settings name none.
RAW_SCHEMA = "airbyte_internal"


def as_written(actor: Actor, table: Table) -> Table:
    """Return a table as it is called at its destination.

    :param table: As Airbyte tells the connector to call it.
    """
    if only_raw(actor):
        return _raw(actor, table)
    # MySQL's database is there already, under the name that the settings have.
    namespace = table.namespace or ("" if actor.type == "mysql" else default_schema(actor))
    write = _lower if in_glue(actor) else _rule(actor) or str
    return Table(write(namespace), write(table.name), table.stream)


def columns_rule(actor: Actor | None) -> Callable[[str], str]:
    """Return what makes a column's name the one that a destination's connector writes.

    :param actor: The destination; None if it is not known.
    """
    return (_rule(actor) if actor else None) or str


def only_raw(actor: Actor | None) -> bool:
    """Tell whether a destination keeps raw tables only, which have the connector's columns and names of their own.

    :param actor: The destination; None if it is not known.
    """
    return actor is not None and actor.settings.get("disable_type_dedupe") is True


def in_glue(actor: Actor) -> bool:
    """Tell whether a lake's catalog is AWS's Glue."""
    return actor.text("catalog_type", "catalog_type").upper() == "GLUE"


def default_schema(actor: Actor) -> str:
    """Return the schema, or dataset, of a stream that names none, as the settings have it; empty for none.

    :param actor: The destination, or a source that is asked likewise.
    """
    if actor.type == "bigquery":
        # Old settings have the project in it: ``project:dataset``.
        return actor.text("dataset_id").rpartition(":")[2]
    if actor.type == "mysql":
        return actor.text("database")
    if actor.type in _LAKES:
        # By catalog; old settings have it beside that.
        own = actor.text("catalog_type", "namespace") or actor.text("catalog_type", "database_name")
        return own or actor.first("main_branch_namespace", "namespace", "database_name")
    return actor.only_schema or _SCHEMAS.get(actor.type, "")


_LAKES = ("gcs-data-lake", "s3-data-lake")
_SCHEMAS = {"databricks": "default", "mssql": "dbo", "postgres": "public", "redshift": "public", "snowflake": "PUBLIC"}


def _raw(actor: Actor, table: Table) -> Table:
    """Name the raw table of a stream, by its schema and name, with more underscores than either has in a row."""
    schema = actor.first("raw_data_schema", "raw_data_dataset", "raw_schema_override") or RAW_SCHEMA
    own = table.namespace or default_schema(actor)
    between = "_" * (1 + max([1, *map(len, re.findall("_+", own + table.name))]))
    name = f"{own}_raw{between}stream_{table.name}"
    if actor.type == "snowflake":
        # It writes these in quotes.
        return Table(schema, name, table.stream)
    write = _lower if actor.type == "postgres" else _rule(actor) or str
    return Table(write(schema), write(name), table.stream)


def _plain(name: str) -> str:
    """Write letters without accents, and an underscore for all that is no letter, digit or underscore."""
    bare = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    return re.sub(r"[^A-Za-z0-9_]", "_", bare)


def _lower(name: str) -> str:
    return _plain(name).lower()


def _not_a_digit_first(name: str) -> str:
    return f"_{name}" if name[:1].isdigit() else name


#: What each connector makes of an identifier. One that is not here leaves it as it is.
_IDENTIFIERS: dict[str, Callable[[str], str]] = {
    "bigquery": _plain,
    "databricks": _lower,
    "mysql": _plain,
    "postgres": _lower,
    "redshift": lambda name: _not_a_digit_first(_plain(name)).lower(),
    "snowflake": str.upper,
}


def _rule(actor: Actor) -> Callable[[str], str] | None:
    if actor.type == "postgres" and "cdc_deletion_mode" in actor.settings:
        # Only the releases have this setting that keep the case.
        return _plain
    return _IDENTIFIERS.get(actor.type)
