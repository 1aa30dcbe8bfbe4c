"""What users tell OpenLineage of a task themselves, kept beside what is told of its job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def with_declared(task: Any, ti: Any, ours: Any) -> Any:
    """Return a lineage with what users have declared added to it.

    That is what a subclass tells at the start, and where the job has datasets the task's inlets and outlets: of a task
    that tells of datasets the provider reads neither at the end.

    :param task: The operator or sensor.
    :param ti: The task instance.
    :param ours: An ``OperatorLineage``; None if there is no job.
    :return: Likewise.
    """
    found = ours
    try:
        # The provider takes it for the end, too, of a task that tells of its start only.
        at_the_start = getattr(task, "get_openlineage_facets_on_start", None)
        theirs = at_the_start() if callable(at_the_start) else None
        if theirs is not None:
            found = theirs if ours is None else _merged(ours, theirs)
        if found is not None and (found.inputs or found.outputs):
            _add(found.inputs, _of_assets(task.inlets))
            _add(found.outputs, _of_assets([*task.outlets, *_told_meanwhile(ti)]))
    except Exception as error:
        task.log.warning("Not all that the task declares itself is told to OpenLineage: %s", error)
    return found


def _merged(ours: Any, theirs: Any) -> Any:
    """Return both; what both have is as users have it."""
    from airflow.providers.openlineage.extractors import OperatorLineage

    return OperatorLineage(
        inputs=_each_once(ours.inputs, theirs.inputs, "inputFacets"),
        outputs=_each_once(ours.outputs, theirs.outputs, "outputFacets"),
        run_facets={**ours.run_facets, **(theirs.run_facets or {})},
        job_facets={**ours.job_facets, **(theirs.job_facets or {})},
    )


def _each_once(ours: list[Any], theirs: list[Any] | None, kind: str) -> list[Any]:
    by_name = {(each.namespace, each.name): each for each in ours}
    for each in theirs or ():
        known = by_name.setdefault((each.namespace, each.name), each)
        if known is not each:
            for facets in ("facets", kind):
                setattr(known, facets, {**(getattr(known, facets) or {}), **(getattr(each, facets, None) or {})})
    return list(by_name.values())


def _add(known: list[Any], more: Iterable[Any]) -> None:
    names = {(each.namespace, each.name) for each in known}
    for each in more:
        if (each.namespace, each.name) not in names:
            names.add((each.namespace, each.name))
            known.append(each)


def _of_assets(declared: Iterable[Any]) -> Iterator[Any]:
    from airflow.providers.openlineage.extractors.manager import ExtractorManager

    for each in declared:
        dataset = ExtractorManager.convert_to_ol_dataset(each)
        if dataset is not None:
            yield dataset


def _told_meanwhile(ti: Any) -> list[Any]:
    """Return the assets of which the task itself has told, by aliases that users gave it. For Airflow 3."""
    from importlib import import_module

    from airbyte_deferrable.lineage.asset_events import stream_alias

    utils = import_module("airflow.providers.openlineage.utils.utils")
    # Older releases of the provider do not tell them.
    told = getattr(utils, "get_runtime_outlet_assets", None)
    if not told:
        return []
    # Those of the job's own tables are told already, by the names that they are to have.
    ours = stream_alias(ti.dag_id, ti.task_id).name
    return [asset for asset, alias in told(ti) if getattr(alias, "name", None) != ours]
