"""What a task refuses before anything is started: each error names the field, the value and what was wanted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from numbers import Real
from typing import Any
from uuid import UUID

from airbyte_deferrable.exceptions import AirbyteInputError


def uuid(name: str, value: Any, whose: str, conn_id: str, hint: str = "") -> str:
    """Return a UUID as Airbyte writes it.

    :param name: The field.
    :param value: What was given.
    :param whose: What it is the UUID of.
    :param conn_id: The Airflow connection, for the error.
    :param hint: What else the error says, as where the value is from. Default: nothing.
    :raises AirbyteInputError: If it is none.
    """
    try:
        return str(UUID(str(value)))
    except ValueError:
        raise _bad(name, value, f"the UUID of an Airbyte {whose}", conn_id, hint) from None


def one_of(name: str, value: Any, allowed: Iterable[str], conn_id: str, hint: str = "") -> None:
    """Refuse a word that is not among those that are allowed.

    :param name: The field.
    :param value: What was given.
    :param allowed: The words.
    :param conn_id: The Airflow connection, for the error.
    :param hint: As of :func:`uuid`.
    :raises AirbyteInputError: If it is another.
    """
    words = [str(word) for word in allowed]
    if value not in words:
        raise _bad(name, value, f"one of {', '.join(words)}", conn_id, hint)


def seconds(name: str, value: Any, conn_id: str, hint: str = "", *, endless: bool = False) -> None:
    """Refuse what is no span of time.

    :param name: The field.
    :param value: What was given.
    :param conn_id: The Airflow connection, for the error.
    :param hint: As of :func:`uuid`.
    :param endless: Whether infinity is one. Default: False.
    :raises AirbyteInputError: If it is no number, negative or without end.
    """
    # Real, since the numbers of numpy and pandas are no int and float.
    if isinstance(value, Real) and not isinstance(value, bool):
        span = float(value)
        if 0 <= span < math.inf or (endless and span == math.inf):
            return
    raise _bad(name, value, "a number of seconds, not negative", conn_id, hint)


def in_seconds(span: Any) -> Any:
    """Return a span of time as a number of seconds, for who computes with it; anything else as it is.

    :param span: What was given. Airflow's own parameters take a ``timedelta``, also those of the same name.
    """
    return span.total_seconds() if isinstance(span, timedelta) else span


def _bad(name: str, value: Any, wanted: str, conn_id: str, hint: str) -> AirbyteInputError:
    return AirbyteInputError(f"{name} must be {wanted}, not {value!r}. {hint}Nothing was started.", conn_id=conn_id)
