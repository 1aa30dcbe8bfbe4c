"""Asset events for the streams that a task's job has filled, so that other DAGs can be scheduled on the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from airbyte_deferrable.lineage.by_dataset import DatasetStreams, by_dataset
from airbyte_deferrable.lineage.model import JobStreams

if TYPE_CHECKING:
    from airflow.sdk import Asset, AssetAlias
else:
    try:
        from airflow.sdk import Asset, AssetAlias
    except ImportError:  # Airflow 2
        from airflow.datasets import Dataset as Asset
        from airflow.datasets import DatasetAlias as AssetAlias

#: Which streams are told: those of which rows were written, or all.
Which = Literal["moved", "all"]
WHICH: tuple[Which, ...] = ("moved", "all")
PREFIX = "airbyte:"


def stream_alias(dag_id: str, task_id: str) -> Any:
    """Return the alias by which a task tells its streams: a DAG that is scheduled on it runs for any of them.

    Each task has its own. Airflow never parts an alias from an asset again, and shows all assets of an alias at each of
    its tasks: one for several would show the tables of others.

    :param dag_id: The DAG of the task.
    :param task_id: The task, with the groups that it is in.
    :return: An ``AssetAlias``, on Airflow 2 a ``DatasetAlias``.
    """
    # Airflow takes ids in any letters, but names of aliases in ASCII.
    return AssetAlias(f"{PREFIX}{quote(dag_id, safe='')}:{quote(task_id, safe='')}")


def add_alias(task: Any) -> None:
    """Make a task's alias one of its outlets, unless it is.

    Not for what a mapped task is copied to when it runs: see :func:`add_alias_to_mapped`.

    :param task: The operator or sensor, which is being made, or has come to its DAG since.
    """
    if getattr(task, "_BaseOperator__from_mapped", False):
        return
    outlets = task.outlets
    if task.has_dag():
        # Made outside of it, it has the alias of no DAG, as all others that were, and of its name.
        outlets = [each for each in outlets if each != stream_alias(f"adhoc_{task.owner}", task.task_id)]
    if _alias_among(outlets) is None:
        # Not into the list, which may be that of other tasks, too, as in default_args.
        task.outlets = [*outlets, stream_alias(task.dag_id, task.task_id)]


def add_alias_to_mapped(partial: Any) -> Any:
    """Make a mapped task's alias one of its outlets, unless it is.

    Airflow has to know an alias before the task runs: of two tasks that bring a new one at a time, it fails the second,
    although it has succeeded (Airflow 3.3: a unique constraint, in ``register_asset_changes_in_db``).

    :param partial: What Airflow's ``partial`` has made.
    :return: The same.
    """
    arguments = partial.kwargs
    outlets = list(arguments.get("outlets") or ())
    dag = arguments.get("dag")
    if arguments.get("stream_assets") and dag is not None and _alias_among(outlets) is None:
        arguments["outlets"] = [*outlets, stream_alias(dag.dag_id, arguments["task_id"])]
    return partial


def _alias_among(outlets: Iterable[Any]) -> Any:
    """Return the alias that :func:`add_alias` has made, also for a task that has come to its DAG since; else None."""
    return next((each for each in outlets if isinstance(each, AssetAlias) and each.name.startswith(PREFIX)), None)


def add_events(context: Mapping[str, Any], task: Any, told: JobStreams, which: Which, done: set[str]) -> int:
    """Tell Airflow of the tables that were filled. It takes the events down with the task's success.

    :param context: The task's context.
    :param task: The operator or sensor.
    :param told: The job's streams.
    :param which: Which of them.
    :param done: The URIs of those that are told already; what is told is added.
    :return: How many are told by now.
    """
    alias = _alias_among(task.outlets)
    if alias is None:
        task.log.warning(
            "The tables are not told as assets: give a mapped task its stream_assets in partial(), inside of its DAG"
        )
        return 0
    outlet_events: Any = context["outlet_events"]
    events = outlet_events[alias]
    for table in by_dataset(told.streams, "destination"):
        if table.dataset.uri in done or (which != "all" and not table.moved):
            continue
        try:
            events.add(Asset(table.dataset.uri), extra=_extra(told, table))
        except Exception as error:
            # What Airflow takes for no URI of that system costs no other table its event.
            task.log.warning("The table %s is not told as an asset: %s", table.dataset.uri, error)
        else:
            done.add(table.dataset.uri)
    return len(done)


def _extra(told: JobStreams, table: DatasetStreams) -> dict[str, Any]:
    stream = table.streams[0] if len(table.streams) == 1 else None
    known = {
        "rows": table.rows,
        "bytes": table.bytes,
        "job_id": told.job_id,
        "connection_id": told.connection_id,
        "connection_name": told.connection_name or None,
        "stream": stream and stream.name,
        "namespace": stream and stream.namespace,
        "stream_count": None if stream else len(table.streams),
    }
    return {key: value for key, value in known.items() if value is not None}
