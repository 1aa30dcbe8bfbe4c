"""A job's streams as OpenLineage wants them: datasets with columns, figures, and which column came from which."""

from __future__ import annotations

from typing import Any

from airbyte_deferrable.lineage.model import Dataset, JobStream, JobStreams

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

    lineage = lineage_of_job(told.job_id, told.job_url)
    inputs = {each.source: each for each in told.streams if each.source is not None}
    outputs = {each.destination: each for each in told.streams if each.destination is not None}
    return OperatorLineage(
        inputs=[
            InputDataset(namespace=name.namespace, name=name.name, facets=_schema(stream, written=False))
            for name, stream in inputs.items()
        ],
        outputs=[
            OutputDataset(
                namespace=name.namespace,
                name=name.name,
                facets={
                    **_schema(stream, written=True),
                    **_columns(stream),
                    **_change(told.job_type, stream),
                },
                outputFacets=_figures(stream),
            )
            for name, stream in outputs.items()
        ],
        run_facets=lineage.run_facets,
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


def _schema(stream: JobStream, *, written: bool) -> dict[str, Any]:
    """Return the columns of a stream at one of its ends; nothing where they are not those that Airbyte tells."""
    from airflow.providers.common.compat.openlineage.facet import SchemaDatasetFacet, SchemaDatasetFacetFields

    if not stream.columns or (written and not stream.one_to_one):
        return {}
    fields = [
        SchemaDatasetFacetFields(name=column.written_as if written else column.name, type=column.type or None)
        for column in stream.columns
    ]
    return {"schema": SchemaDatasetFacet(fields=fields)}


def _columns(stream: JobStream) -> dict[str, Any]:
    from airflow.providers.common.compat.openlineage.facet import ColumnLineageDatasetFacet, Fields, InputField

    source = stream.source
    if source is None or not stream.columns or not stream.one_to_one:
        return {}

    def from_(name: str) -> Any:
        field = InputField(namespace=source.namespace, name=source.name, field=name)
        return Fields(inputFields=[field], transformationDescription="", transformationType="IDENTITY")

    return {
        "columnLineage": ColumnLineageDatasetFacet(
            fields={column.written_as: from_(column.name) for column in stream.columns}
        )
    }


def _change(job_type: str, stream: JobStream) -> dict[str, Any]:
    from airflow.providers.common.compat.openlineage import facet

    change = "TRUNCATE" if job_type in ("reset", "clear") else _CHANGES.get(stream.destination_sync_mode)
    if change is None:
        return {}
    named = facet.LifecycleStateChange[change]
    return {"lifecycleStateChange": facet.LifecycleStateChangeDatasetFacet(lifecycleStateChange=named)}


def _figures(stream: JobStream) -> dict[str, Any]:
    from airflow.providers.common.compat.openlineage.facet import OutputStatisticsOutputDatasetFacet

    if stream.rows_committed is None and stream.bytes_committed is None:
        return {}
    figures = OutputStatisticsOutputDatasetFacet(rowCount=stream.rows_committed, size=stream.bytes_committed)
    return {"outputStatistics": figures}


def to_openlineage(asset: Any, lineage_context: Any) -> Any:
    """Return the OpenLineage dataset of an asset that was told for a stream. Airflow's OpenLineage provider calls this.

    :param asset: The asset; its URI is a :class:`~airbyte_deferrable.lineage.Dataset`'s.
    :param lineage_context: Not used.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset as OpenLineageDataset

    from airbyte_deferrable.lineage.naming import dataset_of_uri, is_whole

    found: Dataset = dataset_of_uri(asset.uri)
    if not is_whole(found):
        # Somebody's own asset, whose URI only has the scheme in common with a table's.
        return None
    return OpenLineageDataset(namespace=found.namespace, name=found.name)
