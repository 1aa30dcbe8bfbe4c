"""The moment after which a sync is fresh: what a DAG gives, or what its run has.

A run stands for a moment, and a sync is fresh for it that is not older. Which moment that is depends on the kind of run
and on the Airflow; the table is in ``docs/sensor.md``. It is the same in all tries of a task, also after a clear.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from airbyte_deferrable.exceptions import AirbyteInputError

EXAMPLE = "2026-11-29T06:00:00+00:00"


@cache
def _moments() -> TypeAdapter[datetime]:
    return TypeAdapter(datetime)


def moment(given: Any, context: Any, conn_id: str) -> datetime:
    """Return the moment that a sensor's ``after`` says, or else its run's, rounded down to a second.

    :param given: A ``datetime``, or its text in ISO 8601; None or empty for the run's.
    :param context: The task's context.
    :param conn_id: The Airflow connection, for the error.
    :raises AirbyteInputError: If it is no moment or has no time zone, or if the run has none.
    """
    if given is None or given == "":
        found = _of_run(context)
        if found is None:
            raise AirbyteInputError(
                "This run has no data_interval_end, run_after or logical_date: after must say which moment a sync is "
                f"to be compared with, as in {EXAMPLE}.",
                conn_id=conn_id,
            )
    else:
        found = _read(given, conn_id)
    # Airbyte's own stamps have no fractions.
    return found.replace(microsecond=0)


def _of_run(context: Any) -> datetime | None:
    """Return the run's moment; None without a run, as for a task that is called by hand.

    A run of Airflow 3 without a logical date, as of an asset or one started by the API without one, has no data
    interval. Then it is when the run was due: the moment of the asset's event, or that at which a user started it.
    """
    known = context or {}
    run = known.get("dag_run")
    for found in (known.get("data_interval_end"), getattr(run, "run_after", None), known.get("logical_date")):
        if isinstance(found, datetime) and found.tzinfo is not None:
            # Airflow's may be a proxy or pendulum's.
            return datetime.fromtimestamp(found.timestamp(), tz=found.tzinfo)
    return None


def _read(given: Any, conn_id: str) -> datetime:
    return read_moment(
        "after",
        given,
        conn_id,
        " A run that was started by an asset, or by hand without a logical date, has no data_interval_end on Airflow "
        "3: leave after out, or use dag_run.run_after.",
    )


def read_moment(name: str, given: Any, conn_id: str, hint: str = "") -> datetime:
    """Return a moment that was given.

    :param name: The field.
    :param given: A ``datetime``, or its text in ISO 8601.
    :param conn_id: The Airflow connection, for the error.
    :param hint: What else the error says of what is none. Default: nothing.
    :raises AirbyteInputError: If it is no moment or has no time zone.
    """
    found: datetime | None = None
    if isinstance(given, datetime):
        found = given
    elif isinstance(given, str) and not _is_number(given):
        try:
            found = _moments().validate_python(given.strip())
        except ValidationError:
            found = None
    if found is None:
        raise AirbyteInputError(
            f"{name} must be a moment with a time zone, such as {EXAMPLE}, not {given!r}.{hint}", conn_id=conn_id
        )
    if found.utcoffset() is None:
        raise AirbyteInputError(f"{name} must say its time zone, as in {EXAMPLE}; {given!s} does not.", conn_id=conn_id)
    return found


def _is_number(text: str) -> bool:
    """Tell whether a text is a number, which is not taken for seconds since 1970: a year would be one, too."""
    try:
        float(text)
    except ValueError:
        return False
    return True
