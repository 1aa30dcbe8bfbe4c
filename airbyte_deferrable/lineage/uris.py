"""A dataset's name and its URI: each is made of the other."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

from airbyte_deferrable.lineage.model import Dataset

#: The schemes of systems in which a table is named by what it is in, with dots between; elsewhere by its path.
DOTTED = ("databricks", "mssql", "mysql", "postgres", "redshift", "snowflake")
#: Those of Azure, whose namespaces have the container before an ``@``.
AZURE = ("abfs", "abfss", "wasb", "wasbs")
#: What OpenLineage calls a bucket as a whole.
ROOT = "/"


def dotted(namespace: str, parts: list[str], authority: str = "") -> Dataset | None:
    """Name a table by the names of what it is in, with dots between them; None if one of them is not known.

    :param namespace: The system; empty if it is not known.
    :param parts: The names, the table's last.
    :param authority: What stands for the host in the URI of a system that has none.
    """
    if not namespace or not all(parts):
        return None
    root = namespace if "://" in namespace else f"{namespace}://{quote(authority)}"
    # What stands for the host of a system that has none is the first part of the name, too.
    below = parts if "://" in namespace else parts[1:]
    return Dataset(namespace, ".".join(parts), _uri(root, below))


def path(namespace: str, parts: list[str]) -> Dataset:
    """Name a folder by its path.

    :param namespace: The system, with the bucket.
    :param parts: The folders that lead to it, without slashes; none for the bucket as a whole.
    """
    scheme, _, where = namespace.partition("://")
    if scheme in AZURE and "@" in where:
        # Airflow before 3.1 takes what is before an ``@`` for a user, and drops it from the URI of an asset.
        container, _, host = where.rpartition("@")
        return Dataset(namespace, "/".join(parts) or ROOT, _uri(f"{scheme}://{host}", [container, *parts]))
    return Dataset(namespace, "/".join(parts) or ROOT, _uri(namespace, parts))


def dataset_of_uri(uri: str) -> Dataset:
    """Return the dataset that has a URI.

    :param uri: As of :attr:`~airbyte_deferrable.lineage.Dataset.uri`.
    """
    where = urlsplit(uri)
    parts = [unquote(part) for part in where.path.split("/") if part]
    if where.scheme == "bigquery":
        return Dataset("bigquery", ".".join([unquote(where.netloc), *parts]), uri)
    if where.scheme in DOTTED:
        return Dataset(f"{where.scheme}://{where.netloc}", ".".join(parts), uri)
    if where.scheme in AZURE and parts:
        container, _, host = where.netloc.rpartition("@")
        if not container:
            container, *parts = parts
        return path(f"{where.scheme}://{container}@{host}", parts)
    return Dataset(f"{where.scheme}://{where.netloc}", "/".join(parts) or ROOT, uri)


def is_whole(dataset: Dataset) -> bool:
    """Tell whether a dataset has all the parts of a table's name, or of a folder's.

    :param dataset: As of :func:`dataset_of_uri`.
    """
    scheme = urlsplit(dataset.uri).scheme
    if scheme == "bigquery" or scheme in DOTTED:
        return len(dataset.name.split(".")) >= (2 if scheme == "mysql" else 3)
    return dataset.name != ROOT


def _uri(root: str, parts: list[str]) -> str:
    return "/".join([root, *map(_quoted, parts)])


@lru_cache(maxsize=4096)
def _quoted(part: str) -> str:
    return quote(part, safe="")
