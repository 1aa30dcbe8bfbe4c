"""What a stream's table is called at its source and its destination, by OpenLineage's rules for names.

Where a destination writes an identifier in another form than it was given, the form is inferred from its connector, see
``docs/lineage.md``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from airbyte_deferrable.lineage import folders
from airbyte_deferrable.lineage.actor import Actor, Table
from airbyte_deferrable.lineage.model import Dataset
from airbyte_deferrable.lineage.uris import dotted, path
from airbyte_deferrable.lineage.written import as_written, default_schema, only_raw

#: What stands where the stream's own namespace goes, in the namespace and the path that a user gives.
SOURCE_NAMESPACE = "${SOURCE_NAMESPACE}"


def dataset(actor: Actor, table: Table, airbyte: str) -> Dataset:
    """Return what a table is called.

    :param actor: Where it is.
    :param table: It.
    :param airbyte: The host of the Airbyte: what lies in no system that OpenLineage has a rule for is called by it.
    """
    name = _SYSTEMS.get(actor.type)
    written = as_written(actor, table) if actor.side == "destination" else table
    found = name(actor, written) if name is not None else None
    if found is not None:
        return found
    parts = [actor.actor_id, *filter(None, [table.namespace, table.name])]
    return path(f"airbyte://{airbyte}", parts)


def landing_namespace(rule: str, form: str, stream_namespace: str) -> str:
    """Return the namespace that Airbyte gives a stream at its destination; empty for the connector's own.

    :param rule: ``source``, ``destination`` or ``custom_format``; the config API writes the last without its
        underscore (``Mapper.kt`` in airbyte-platform).
    :param form: The namespace with ``custom_format``.
    :param stream_namespace: The stream's at the source; empty for none.
    """
    if rule == "source":
        return stream_namespace
    if rule.replace("_", "") == "customformat":
        return form.replace(SOURCE_NAMESPACE, stream_namespace).strip()
    return ""


def _at(actor: Actor, scheme: str, port: int) -> str:
    return f"{scheme}://{actor.host}:{actor.text('port') or port}" if actor.host else ""


def _postgres(actor: Actor, table: Table) -> Dataset | None:
    schema = table.namespace or default_schema(actor)
    return dotted(_at(actor, "postgres", 5432), [actor.text("database"), schema, table.name])


def _mysql(actor: Actor, table: Table) -> Dataset | None:
    # It has databases in place of schemas.
    return dotted(_at(actor, "mysql", 3306), [table.namespace or default_schema(actor), table.name])


def _mssql(actor: Actor, table: Table) -> Dataset | None:
    schema = table.namespace or default_schema(actor)
    return dotted(_at(actor, "mssql", 1433), [actor.text("database"), schema, table.name])


def _redshift(actor: Actor, table: Table) -> Dataset | None:
    schema = table.namespace or default_schema(actor)
    where = _at(actor, "redshift", 5439)
    # ``cluster.abc123.region.redshift.amazonaws.com`` and ``workgroup.account.region.redshift-serverless.…``
    if found := re.match(r"([\w-]+)\.[\w-]+\.([\w-]+)\.redshift(-serverless)?\.amazonaws\.", actor.host):
        where = f"redshift://{found[1]}.{found[2]}:{actor.text('port') or 5439}"
    return dotted(where, [actor.text("database"), schema, table.name])


def _snowflake(actor: Actor, table: Table) -> Dataset | None:
    account = actor.host.partition(".snowflakecomputing.")[0].removesuffix(".privatelink")
    locator, *where = account.split(".")
    if locator and "-" not in locator:
        # An account's old locator, whose region and cloud have these defaults (``fix_account_name`` of OpenLineage).
        account = ".".join([locator, *(where or ["us-west-1"]), *(["aws"] if len(where) < 2 else [])])
    elif locator:
        account = locator
    database = actor.text("database")
    if actor.side == "destination":
        database = database.upper()
    parts = [database, table.namespace or default_schema(actor), table.name]
    return dotted(f"snowflake://{account}" if account else "", parts)


def _bigquery(actor: Actor, table: Table) -> Dataset | None:
    project, schema, name = actor.text("project_id"), table.namespace or default_schema(actor), table.name
    if actor.side == "destination" and schema[:1] and not schema[:1].isalnum():
        schema = f"n{schema}"
    for row in () if only_raw(actor) else actor.settings.get("stream_configurations") or ():
        if isinstance(row, Mapping) and row.get("stream_name") == table.stream:
            own = Actor(actor.side, actor.actor_id, actor.type, row)
            schema = own.text("destination_dataset") or schema
            name = (own.text("destination_table") or name) + own.text("table_suffix")
    return dotted("bigquery", [project, schema, name], project)


def _databricks(actor: Actor, table: Table) -> Dataset | None:
    schema = table.namespace or default_schema(actor)
    where = f"databricks://{actor.host}" if actor.host else ""
    return dotted(where, [actor.text("database") or "hive_metastore", schema, table.name])


#: How a table is named at each type of source and destination. What is not here is called by Airbyte's own ids.
_SYSTEMS: dict[str, Callable[[Actor, Table], Dataset | None]] = {
    "azure-blob-storage": folders.azure,
    "bigquery": _bigquery,
    "databricks": _databricks,
    "gcs": folders.gcs,
    "gcs-data-lake": folders.lake,
    "mssql": _mssql,
    "mysql": _mysql,
    "postgres": _postgres,
    "redshift": _redshift,
    "s3": folders.s3,
    "s3-data-lake": folders.lake,
    "s3-glue": folders.s3,
    "snowflake": _snowflake,
}
