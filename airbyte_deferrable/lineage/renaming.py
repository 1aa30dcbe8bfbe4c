"""The names that users want for datasets, in place of those that follow from Airbyte's settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from airbyte_deferrable._compat import conf
from airbyte_deferrable.exceptions import AirbyteInputError
from airbyte_deferrable.lineage.model import Dataset, JobStream, Side
from airbyte_deferrable.lineage.uris import dataset_of_uri

Rename = Callable[[Dataset, JobStream, Side], Dataset]
OPTION = ("airbyte_deferrable", "dataset_names")


def renaming(given: Any) -> Rename | None:
    """Return what gives datasets their names.

    :param given: A task's ``dataset_names``: a mapping of the beginnings of URIs, or a function; None for what
        ``airflow.cfg`` has under ``[airbyte_deferrable] dataset_names``: a mapping as JSON, or a function's path.
    :return: None for no change.
    :raises AirbyteInputError: If it is neither.
    """
    if given is None:
        text = conf.get(*OPTION, fallback="").strip()
        if not text:
            return None
        given = _read(text)
    if isinstance(given, Mapping):
        return _Beginnings(given)
    if callable(given):
        return _Checked(given)
    raise AirbyteInputError(f"dataset_names must be a mapping or a function, not {given!r}.")


def _read(text: str) -> Any:
    try:
        if text.startswith("{"):
            return json.loads(text)
        module, _, name = text.rpartition(".")
        return getattr(import_module(module), name)
    except (ValueError, ImportError, AttributeError) as error:
        raise AirbyteInputError(
            f"[{OPTION[0]}] {OPTION[1]} in airflow.cfg must be a JSON object or the path of a function: {error}"
        ) from None


class _Beginnings:
    """Gives what begins with one URI another beginning; the longest that fits counts.

    :param given: By the old beginning, the new one.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = sorted(given.items(), key=lambda each: -len(each[0]))

    def __call__(self, dataset: Dataset, stream: JobStream, side: Side) -> Dataset:
        for old, new in self._given:
            old, new = old.rstrip("/"), new.rstrip("/")
            if dataset.uri == old or dataset.uri.startswith(f"{old}/"):
                return dataset_of_uri(new + dataset.uri.removeprefix(old))
        return dataset


class _Checked:
    """Calls a user's function.

    :param given: Takes the dataset, the stream and the side, and returns another dataset, or its URI; None for no
        change.
    """

    def __init__(self, given: Callable[[Dataset, JobStream, Side], Any]) -> None:
        self._given = given

    def __call__(self, dataset: Dataset, stream: JobStream, side: Side) -> Dataset:
        named = self._given(dataset, stream, side)
        if named is None:
            return dataset
        if isinstance(named, str):
            return dataset_of_uri(named)
        if not isinstance(named, Dataset):
            raise AirbyteInputError(f"dataset_names must return a Dataset, a URI or None, not {type(named).__name__}.")
        return named
