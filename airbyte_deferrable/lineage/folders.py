"""What a folder of files is called: in a bucket, or a lake's table by where its files are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airbyte_deferrable.lineage import uris
from airbyte_deferrable.lineage.actor import Actor, Table
from airbyte_deferrable.lineage.model import Dataset
from airbyte_deferrable.lineage.written import in_glue

#: Where the part of a glob begins that stands for several names.
WILDCARD = re.compile(r"[*?\[{|]|[@+!]\(")


def s3(actor: Actor, table: Table) -> Dataset | None:
    """Name a folder in S3."""
    if actor.side == "source":
        return _source(f"s3://{actor.text('bucket') or actor.text('provider', 'bucket')}", actor, table)
    return _folder(f"s3://{actor.text('s3_bucket_name')}", actor.text("s3_bucket_path"), *_directory(actor, table))


def gcs(actor: Actor, table: Table) -> Dataset | None:
    """Name a folder in Google's storage."""
    if actor.side == "source":
        return _source(f"gs://{actor.text('bucket')}", actor, table)
    return _folder(f"gs://{actor.text('gcs_bucket_name')}", actor.text("gcs_bucket_path"), table.namespace, table.name)


def azure(actor: Actor, table: Table) -> Dataset | None:
    """Name a folder in Azure's storage, as OpenLineage writes it."""
    account, container = actor.text("azure_blob_storage_account_name"), actor.text("azure_blob_storage_container_name")
    if not (account and container):
        return None
    where = f"wasbs://{container}@{account}.dfs.core.windows.net"
    return _source(where, actor, table) if actor.side == "source" else _folder(where, table.namespace, table.name)


def lake(actor: Actor, table: Table) -> Dataset | None:
    """Name a table of Iceberg by where its files are, which is known for every catalog."""
    scheme, found, path = actor.text("warehouse_location").partition("://")
    bucket, _, below = path.partition("/")
    if not found or not bucket or "@" in bucket:
        return None
    scheme = {"s3a": "s3", "s3n": "s3"}.get(scheme.lower(), scheme.lower())
    # Where Glue puts a database that has no place of its own.
    schema = f"{table.namespace}.db" if table.namespace and in_glue(actor) else table.namespace
    return _folder(f"{scheme}://{bucket}", below, schema, table.name)


def _folder(namespace: str, *parts: str) -> Dataset | None:
    """Name a folder; None where the bucket is not known."""
    path = [each for part in parts for each in part.split("/") if each]
    return uris.path(namespace, path) if not namespace.endswith("//") and path else None


def _source(namespace: str, actor: Actor, table: Table) -> Dataset | None:
    """Name what a stream of files is read from: what of its globs is the same for all of its files.

    Where the settings tell no globs, the stream's name stands for it.
    """
    if namespace.endswith("//"):
        return None
    rows = actor.settings.get("streams")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, Mapping) and row.get("name") == table.stream:
            return uris.path(namespace, _common(row.get("globs")))
    return _folder(namespace, table.name)


def _common(globs: Any) -> list[str]:
    """Return the folders that all globs begin with; of a single one that stands for a single file, the file."""
    fixed = []
    for glob in globs if isinstance(globs, list) and globs else ["**"]:
        found = WILDCARD.search(str(glob))
        known = str(glob)[: found.start()].rpartition("/")[0] if found else str(glob)
        fixed.append([part for part in known.split("/") if part])
    first, last = min(fixed), max(fixed)
    same = next((place for place, part in enumerate(first) if part != last[place]), len(first))
    return first[:same]


def _directory(actor: Actor, table: Table) -> list[str]:
    """Return the folder that a stream's files are in: what of the path's form is the same for all of them."""
    form = actor.text("s3_path_format") or "${NAMESPACE}/${STREAM_NAME}/"
    form = form.replace("${NAMESPACE}", table.namespace).replace("${STREAM_NAME}", table.name)
    before, variable, _ = form.partition("${")
    return (before.rpartition("/")[0] if variable else before).split("/")
