"""What a stream's table is called at its source and its destination, by OpenLineage's rules for names.

Only the fields that are named here are read of a connector's settings, never a user's name, and nothing that may hold
credentials. Where a destination writes an identifier in another form than it was given, the form is inferred from its
connector, see ``docs/lineage.md``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from airbyte_deferrable.lineage.model import Dataset, Side

#: What stands where the stream's own namespace goes, in the namespace and the path that a user gives.
SOURCE_NAMESPACE = "${SOURCE_NAMESPACE}"
#: The schemes of systems in which a table is named by what it is in, with dots between; elsewhere by its path.
DOTTED = ("databricks", "mssql", "mysql", "postgres", "redshift", "snowflake")
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

    def text(self, *path: str) -> str:
        """Return one of its settings; empty for what is not set, or not told.

        :param path: Its name, and before it those of the objects that it is in.
        """
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

    @property
    def host(self) -> str:
        """The host that it is on, without all that may stand around it in the setting; empty if that is no host."""
        names = ("host", "hostname", "databricks_server_hostname")
        given = next((each for name in names if isinstance(each := self.settings.get(name), str) and each.strip()), "")
        # First what is before the last such sign: a password may have any of those that end a host.
        after = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://", "", given.strip()).rpartition("@")[2]
        alone = re.sub(r"(?<!:):\d+$", "", re.split(r"[/?;#\s]", after, maxsplit=1)[0])
        return alone.lower() if re.fullmatch(r"[\w.:\[\]-]+", alone) else ""

    @property
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


def dataset(actor: Actor, table: Table, airbyte: str) -> Dataset:
    """Return what a table is called.

    :param actor: Where it is.
    :param table: It.
    :param airbyte: The host of the Airbyte: what lies in no system that OpenLineage has a rule for is called by it.
    """
    name = _SYSTEMS.get(actor.type)
    written = _as_written(actor, table) if actor.side == "destination" else table
    found = name(actor, written) if name is not None else None
    if found is not None:
        return found
    parts = [actor.actor_id, *filter(None, [table.namespace, table.name])]
    return _path(f"airbyte://{airbyte}", parts)


def dataset_of_uri(uri: str) -> Dataset:
    """Return the dataset that has a URI.

    :param uri: As of :attr:`~airbyte_deferrable.lineage.Dataset.uri`.
    """
    where = urlsplit(uri)
    parts = [unquote(part) for part in where.path.split("/") if part]
    if where.scheme == "bigquery":
        return Dataset("bigquery", ".".join([unquote(where.netloc), *parts]), uri)
    between = "." if where.scheme in DOTTED else "/"
    return Dataset(f"{where.scheme}://{where.netloc}", between.join(parts), uri)


def is_whole(dataset: Dataset) -> bool:
    """Tell whether a dataset has all the parts of a table's name, or of a folder's.

    :param dataset: As of :func:`dataset_of_uri`.
    """
    scheme = urlsplit(dataset.uri).scheme
    if scheme == "bigquery" or scheme in DOTTED:
        return len(dataset.name.split(".")) >= (2 if scheme == "mysql" else 3)
    return bool(dataset.name)


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


def identifier(actor_type: str, name: str) -> str:
    """Return a name as a destination's connector writes it, as far as that is known.

    :param actor_type: The destination's type.
    :param name: The name of a schema, a table or a column.
    """
    write = _IDENTIFIERS.get(actor_type)
    return write(name) if write else name


def _plain(name: str) -> str:
    """Write letters without accents, and an underscore for all that is no letter, digit or underscore."""
    bare = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    return re.sub(r"[^A-Za-z0-9_]", "_", bare)


def _not_a_digit_first(name: str) -> str:
    return f"_{name}" if name[:1].isdigit() else name


#: What each connector makes of an identifier. One that is not here leaves it as it is.
_IDENTIFIERS: dict[str, Callable[[str], str]] = {
    "bigquery": _plain,
    "databricks": lambda name: _plain(name).lower(),
    "mysql": _plain,
    "postgres": lambda name: _plain(name).lower(),
    "redshift": lambda name: _not_a_digit_first(_plain(name)).lower(),
    "snowflake": str.upper,
}


def _as_written(actor: Actor, table: Table) -> Table:
    namespace = identifier(actor.type, table.namespace) if table.namespace else ""
    return Table(namespace, identifier(actor.type, table.name), table.stream)


def _dotted(namespace: str, parts: list[str], authority: str = "") -> Dataset | None:
    """Name a table by the names of what it is in, with dots between them; None if one of them is not known."""
    if not namespace or not all(parts):
        return None
    root = namespace if "://" in namespace else f"{namespace}://{quote(authority)}"
    # What stands for the host of a system that has none is the first part of the name, too.
    below = parts if "://" in namespace else parts[1:]
    return Dataset(namespace, ".".join(parts), "/".join([root, *(quote(part, safe="") for part in below)]))


def _path(namespace: str, parts: list[str]) -> Dataset:
    """Name a folder by its path."""
    return Dataset(namespace, "/".join(parts), "/".join([namespace, *(quote(part, safe="") for part in parts)]))


def _at(actor: Actor, scheme: str, port: int) -> str:
    return f"{scheme}://{actor.host}:{actor.text('port') or port}" if actor.host else ""


def _postgres(actor: Actor, table: Table) -> Dataset | None:
    schema = table.namespace or actor.only_schema or "public"
    return _dotted(_at(actor, "postgres", 5432), [actor.text("database"), schema, table.name])


def _mysql(actor: Actor, table: Table) -> Dataset | None:
    # It has databases in place of schemas.
    return _dotted(_at(actor, "mysql", 3306), [table.namespace or actor.text("database"), table.name])


def _mssql(actor: Actor, table: Table) -> Dataset | None:
    schema = table.namespace or actor.only_schema or "dbo"
    return _dotted(_at(actor, "mssql", 1433), [actor.text("database"), schema, table.name])


def _redshift(actor: Actor, table: Table) -> Dataset | None:
    schema = table.namespace or actor.only_schema or "public"
    where = _at(actor, "redshift", 5439)
    # ``cluster.abc123.region.redshift.amazonaws.com`` and ``workgroup.account.region.redshift-serverless.…``
    if found := re.match(r"([\w-]+)\.[\w-]+\.([\w-]+)\.redshift(-serverless)?\.amazonaws\.", actor.host):
        where = f"redshift://{found[1]}.{found[2]}:{actor.text('port') or 5439}"
    return _dotted(where, [actor.text("database"), schema, table.name])


def _snowflake(actor: Actor, table: Table) -> Dataset | None:
    account = actor.host.partition(".snowflakecomputing.")[0].removesuffix(".privatelink")
    locator, *where = account.split(".")
    if locator and "-" not in locator:
        # An account's old locator, whose region and cloud have these defaults (``fix_account_name`` of OpenLineage).
        account = ".".join([locator, *(where or ["us-west-1"]), *(["aws"] if len(where) < 2 else [])])
    elif locator:
        account = locator
    upper = actor.side == "destination"
    schema = table.namespace or (actor.only_schema.upper() if upper else actor.only_schema) or "PUBLIC"
    database = actor.text("database")
    return _dotted(
        f"snowflake://{account}" if account else "", [database.upper() if upper else database, schema, table.name]
    )


def _bigquery(actor: Actor, table: Table) -> Dataset | None:
    project, schema, name = actor.text("project_id"), table.namespace, table.name
    # Old settings have the project in it: ``project:dataset``.
    schema = schema or actor.text("dataset_id").rpartition(":")[2]
    if actor.side == "destination" and schema[:1] and not schema[:1].isalnum():
        schema = f"n{schema}"
    for row in actor.settings.get("stream_configurations") or ():
        if isinstance(row, Mapping) and row.get("stream_name") == table.stream:
            own = Actor(actor.side, actor.actor_id, actor.type, row)
            schema = own.text("destination_dataset") or schema
            name = (own.text("destination_table") or name) + own.text("table_suffix")
    return _dotted("bigquery", [project, schema, name], project)


def _databricks(actor: Actor, table: Table) -> Dataset | None:
    schema = table.namespace or actor.only_schema.lower() or "default"
    where = f"databricks://{actor.host}" if actor.host else ""
    return _dotted(where, [actor.text("database") or "hive_metastore", schema, table.name])


def _folder(namespace: str, *parts: str) -> Dataset | None:
    """Name a folder; None where the bucket is not known."""
    path = [each for part in parts for each in part.split("/") if each]
    return _path(namespace, path) if not namespace.endswith("//") and path else None


def _s3(actor: Actor, table: Table) -> Dataset | None:
    if actor.side == "source":
        bucket = actor.text("bucket") or actor.text("provider", "bucket")
        return _folder(f"s3://{bucket}", table.name)
    return _folder(f"s3://{actor.text('s3_bucket_name')}", actor.text("s3_bucket_path"), *_directory(actor, table))


def _gcs(actor: Actor, table: Table) -> Dataset | None:
    if actor.side == "source":
        return _folder(f"gs://{actor.text('bucket')}", table.name)
    return _folder(f"gs://{actor.text('gcs_bucket_name')}", actor.text("gcs_bucket_path"), table.namespace, table.name)


def _directory(actor: Actor, table: Table) -> list[str]:
    """Return the folder that a stream's files are in: what of the path's form is the same for all of them."""
    form = actor.text("s3_path_format") or "${NAMESPACE}/${STREAM_NAME}/"
    form = form.replace("${NAMESPACE}", table.namespace).replace("${STREAM_NAME}", table.name)
    before, variable, _ = form.partition("${")
    return (before.rpartition("/")[0] if variable else before).split("/")


def _azure(actor: Actor, table: Table) -> Dataset | None:
    account, container = actor.text("azure_blob_storage_account_name"), actor.text("azure_blob_storage_container_name")
    if not (account and container):
        return None
    # As OpenLineage writes it.
    return _folder(f"wasbs://{container}@{account}.dfs.core.windows.net", table.namespace, table.name)


def _lake(actor: Actor, table: Table) -> Dataset | None:
    """Name a table of Iceberg by where its files are, which is known for every catalog."""
    scheme, found, path = actor.text("warehouse_location").partition("://")
    bucket, _, below = path.partition("/")
    if not found or not bucket or "@" in bucket:
        return None
    scheme = {"s3a": "s3", "s3n": "s3"}.get(scheme.lower(), scheme.lower())
    schema = table.namespace or actor.first("main_branch_namespace", "namespace", "database_name")
    return _folder(f"{scheme}://{bucket}", below, schema, table.name)


#: How a table is named at each type of source and destination. What is not here is called by Airbyte's own ids.
_SYSTEMS: dict[str, Callable[[Actor, Table], Dataset | None]] = {
    "azure-blob-storage": _azure,
    "bigquery": _bigquery,
    "databricks": _databricks,
    "gcs": _gcs,
    "gcs-data-lake": _lake,
    "mssql": _mssql,
    "mysql": _mysql,
    "postgres": _postgres,
    "redshift": _redshift,
    "s3": _s3,
    "s3-data-lake": _lake,
    "snowflake": _snowflake,
}
