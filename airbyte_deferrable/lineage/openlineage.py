"""A job's streams as OpenLineage wants them: datasets with columns, figures, and which column came from which."""

from __future__ import annotations

from typing import Any

from airbyte_deferrable.lineage.by_dataset import DatasetStreams, by_dataset
from airbyte_deferrable.lineage.model import Column, Dataset, JobStreams

#: How OpenLineage says what was done to a table as a whole.
_CHANGES = {"overwrite": "OVERWRITE", "overwrite_dedup": "OVERWRITE"}


def is_active_for(task: Any) -> bool:
    """Tell whether OpenLineage listens to a task. Imports nothing of it where it is not installed.

    :param task: The operator or sensor.
    """
    from importlib import import_module
    from importlib.util import find_spec

    if find_spec("airflow.providers.openlineage") is None:
        return False
    if import_module("airflow.providers.openlineage.conf").is_disabled():
        return False
    utils = import_module("airflow.providers.openlineage.utils.utils")
    return not utils.is_operator_disabled(task) and bool(utils.is_selective_lineage_enabled(task))


def lineage_of(told: JobStreams) -> Any:
    """Return an ``OperatorLineage`` for a job.

    :param told: Its streams.
    """
    from airflow.providers.common.compat.openlineage.facet import InputDataset, OutputDataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    return OperatorLineage(
        inputs=[
            InputDataset(
                namespace=table.dataset.namespace, name=table.dataset.name, facets=_schema(table, written=False)
            )
            for table in by_dataset(told.streams, "source")
        ],
        outputs=[
            OutputDataset(
                namespace=table.dataset.namespace,
                name=table.dataset.name,
                facets={**_schema(table, written=True), **_columns(table), **_change(told, table)},
                outputFacets=_figures(table),
            )
            for table in by_dataset(told.streams, "destination")
        ],
        run_facets=lineage_of_job(told.job_id, told.job_url).run_facets,
    )


def lineage_of_job(job_id: int, job_url: str) -> Any:
    """Return an ``OperatorLineage`` for a job of which nothing else is known.

    :param job_id: The job.
    :param job_url: Its page in Airbyte; empty if that is not known.
    """
    from airflow.providers.common.compat.openlineage.facet import ExternalQueryRunFacet
    from airflow.providers.openlineage.extractors import OperatorLineage

    query = ExternalQueryRunFacet(externalQueryId=str(job_id), source=job_url or "airbyte")
    return OperatorLineage(run_facets={"externalQuery": query})


def _schema(table: DatasetStreams, *, written: bool) -> dict[str, Any]:
    """Return the columns of a table; nothing where they are not those that Airbyte tells of each stream."""
    from airflow.providers.common.compat.openlineage.facet import SchemaDatasetFacet, SchemaDatasetFacetFields

    types: dict[str, str] = {}
    for stream in table.streams:
        if not stream.columns or (written and not stream.one_to_one):
            return {}
        for column in stream.columns:
            name = column.written_as if written else column.name
            # Two streams may have it with types of their own.
            types[name] = column.type if types.get(name, column.type) == column.type else ""
    fields = [SchemaDatasetFacetFields(name=name, type=type_ or None) for name, type_ in types.items()]
    return {"schema": SchemaDatasetFacet(fields=fields)}


def _columns(table: DatasetStreams) -> dict[str, Any]:
    from airflow.providers.common.compat.openlineage.facet import ColumnLineageDatasetFacet, Fields, InputField

    came_from: dict[str, list[tuple[Dataset, Column]]] = {}
    for stream in table.streams:
        if stream.source is not None and stream.one_to_one:
            for column in stream.columns:
                came_from.setdefault(column.written_as, []).append((stream.source, column))
    if not came_from:
        return {}

    def from_(dataset: Dataset, column: Column) -> Any:
        return InputField(namespace=dataset.namespace, name=dataset.name, field=column.name)

    fields = {
        name: Fields(
            inputFields=[from_(*each) for each in found], transformationDescription="", transformationType="IDENTITY"
        )
        for name, found in came_from.items()
    }
    return {"columnLineage": ColumnLineageDatasetFacet(fields=fields)}


def _change(told: JobStreams, table: DatasetStreams) -> dict[str, Any]:
    """Return what was done to a table as a whole; nothing where that is not certain."""
    from airflow.providers.common.compat.openlineage import facet

    emptied = told.job_type in ("reset", "clear")
    changes = {"TRUNCATE" if emptied else _CHANGES.get(stream.destination_sync_mode) for stream in table.streams}
    change = changes.pop()
    if not told.succeeded or changes or change is None:
        return {}
    named = facet.LifecycleStateChange[change]
    return {"lifecycleStateChange": facet.LifecycleStateChangeDatasetFacet(lifecycleStateChange=named)}


def _figures(table: DatasetStreams) -> dict[str, Any]:
    from airflow.providers.common.compat.openlineage.facet import OutputStatisticsOutputDatasetFacet

    if table.rows is None and table.bytes is None:
        return {}
    return {"outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=table.rows, size=table.bytes)}


def to_openlineage(asset: Any, lineage_context: Any) -> Any:
    """Return the OpenLineage dataset of an asset that was told for a stream. Airflow's OpenLineage provider calls this.

    :param asset: The asset; its URI is a :class:`~airbyte_deferrable.lineage.Dataset`'s.
    :param lineage_context: Not used.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset as OpenLineageDataset

    from airbyte_deferrable.lineage.uris import dataset_of_uri, is_whole

    found: Dataset = dataset_of_uri(asset.uri)
    if not is_whole(found):
        # Somebody's own asset, whose URI only has the scheme in common with a table's.
        return None
    return OpenLineageDataset(namespace=found.namespace, name=found.name)
