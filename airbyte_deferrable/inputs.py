"""What a task refuses before anything is started: each error names the field, the value and what was wanted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from airbyte_deferrable.exceptions import AirbyteInputError


def uuid(name: str, value: Any, whose: str, conn_id: str) -> str:
    """Return a UUID as Airbyte writes it.

    :param name: The field.
    :param value: What was given.
    :param whose: What it is the UUID of.
    :param conn_id: The Airflow connection, for the error.
    :raises AirbyteInputError: If it is none.
    """
    try:
        return str(UUID(str(value)))
    except ValueError:
        raise _bad(name, value, f"the UUID of an Airbyte {whose}", conn_id) from None


def one_of(name: str, value: Any, allowed: Iterable[str], conn_id: str) -> None:
    """Refuse a word that is not among those that are allowed.

    :param name: The field.
    :param value: What was given.
    :param allowed: The words.
    :param conn_id: The Airflow connection, for the error.
    :raises AirbyteInputError: If it is another.
    """
    words = [str(word) for word in allowed]
    if value not in words:
        raise _bad(name, value, f"one of {', '.join(words)}", conn_id)


def seconds(name: str, value: Any, conn_id: str) -> None:
    """Refuse what is no span of time.

    :param name: The field.
    :param value: What was given.
    :param conn_id: The Airflow connection, for the error.
    :raises AirbyteInputError: If it is no number, negative or without end.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise _bad(name, value, "a number of seconds, not negative", conn_id)


def _bad(name: str, value: Any, wanted: str, conn_id: str) -> AirbyteInputError:
    return AirbyteInputError(f"{name} must be {wanted}, not {value!r}. Nothing was started.", conn_id=conn_id)
