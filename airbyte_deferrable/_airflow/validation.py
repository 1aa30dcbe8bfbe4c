"""What a task refuses before anything is started: each error names the field, the value and what was wanted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from numbers import Real
from typing import Any
from uuid import UUID

from airbyte_deferrable._job.freshness import IF_FAILED, MUST_HAVE
from airbyte_deferrable.api.models import JobType
from airbyte_deferrable.exceptions import AirbyteInputError

#: What an error says to those who expect a job to be started.
NOTHING_STARTED = "Nothing was started."
IF_RUNNING = ("wait", "attach", "skip", "fail")


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
        raise bad(name, value, f"the UUID of an Airbyte {whose}", conn_id, hint) from None


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
        raise bad(name, value, f"one of {', '.join(words)}", conn_id, hint)


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
    raise bad(name, value, "a number of seconds, not negative", conn_id, hint)


def in_seconds(span: Any) -> Any:
    """Return a span of time as a number of seconds, for who computes with it; anything else as it is.

    :param span: What was given. Airflow's own parameters take a ``timedelta``, also those of the same name.
    """
    return span.total_seconds() if isinstance(span, timedelta) else span


def check_sync(operator: Any) -> None:
    """Refuse what cannot work before anything is started.

    :param operator: An :class:`~airbyte_deferrable.operators.AirbyteTriggerSyncOperator`, its templates rendered. Its
        ids become as Airbyte writes them.
    :raises AirbyteInputError: For the first parameter that is none.
    """
    conn_id = operator.airbyte_conn_id
    try:
        _check_connection(operator)
        one_of("job_type", operator.job_type, JobType, conn_id, origin(operator, "job_type"))
        one_of("if_running", operator.if_running, IF_RUNNING, conn_id, origin(operator, "if_running"))
        for name in ("wait_seconds", "timeout", "progress_seconds"):
            seconds(name, getattr(operator, name), conn_id, origin(operator, name), endless=name == "timeout")
    except AirbyteInputError as error:
        raise AirbyteInputError(f"{error} {NOTHING_STARTED}", conn_id=conn_id) from None


def check_freshness(sensor: Any) -> frozenset[str]:
    """Refuse what cannot work before Airbyte is asked.

    :param sensor: An :class:`~airbyte_deferrable.sensors.AirbyteFreshnessSensor`, its templates rendered. Its ids
        become as Airbyte writes them.
    :return: The types of job that count, as Airbyte answers them.
    :raises AirbyteInputError: For the first parameter that is none.
    """
    conn_id = sensor.airbyte_conn_id
    _check_connection(sensor)
    one_of("must_have", sensor.must_have, MUST_HAVE, conn_id, origin(sensor, "must_have"))
    one_of("if_failed", sensor.if_failed, IF_FAILED, conn_id, origin(sensor, "if_failed"))
    return job_types(sensor.job_types, conn_id, origin(sensor, "job_types"))


def several(name: str, given: Any, conn_id: str) -> list[Any]:
    """Return a list of what may be given as one alone.

    :param name: The field.
    :param given: What was given.
    :param conn_id: The Airflow connection, for the error.
    :raises AirbyteInputError: If it is neither one nor several.
    """
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list | tuple | set | frozenset) or not all(isinstance(each, str) for each in given):
        raise bad(name, given, "a text or several", conn_id, "")
    return list(given)


def job_types(given: Any, conn_id: str, hint: str = "") -> frozenset[str]:
    """Return the types of job that count, as Airbyte answers them.

    :param given: One or several.
    :param conn_id: The Airflow connection, for the error.
    :param hint: As of :func:`uuid`. Default: nothing.
    :raises AirbyteInputError: For the first that is none.
    """
    if not isinstance(given, str | list | tuple | set | frozenset) or not given:
        raise bad("job_types", given, "a type of job or several", conn_id, hint)
    types = [given] if isinstance(given, str) else list(given)
    for each in types:
        one_of("job_types", each, JobType, conn_id, hint)
    # Airbyte stores a clear as a reset, and answers it as one.
    return frozenset(str(JobType.RESET if each == JobType.CLEAR else JobType(each)) for each in types)


def _check_connection(operator: Any) -> None:
    """Refuse a task that does not say which connection it is about; its ids become as Airbyte writes them."""
    conn_id = operator.airbyte_conn_id
    if operator.connection_id:
        # It says all. A name or a workspace beside it may well be meant for other operators.
        operator.connection_id = connection_id(operator)
    elif not operator.connection_name:
        raise AirbyteInputError(
            "connection_id must be the UUID of an Airbyte connection, or connection_name its name: give one of "
            "the two.",
            conn_id=conn_id,
        )
    if operator.workspace_id:
        try:
            hint = origin(operator, "workspace_id")
            operator.workspace_id = uuid("workspace_id", operator.workspace_id, "workspace", conn_id, hint)
        except AirbyteInputError:
            if not operator.connection_id:
                raise
            operator.log.info("workspace_id %r is no UUID, so not one of Airbyte's: not used", operator.workspace_id)
            operator.workspace_id = None


def connection_id(operator: Any) -> str:
    """Return an operator's ``connection_id`` as Airbyte writes it.

    :raises AirbyteInputError: If it is no UUID.
    """
    hint = origin(operator, "connection_id")
    return uuid("connection_id", operator.connection_id, "connection", operator.airbyte_conn_id, hint)


def origin(operator: Any, name: str) -> str:
    """Say, for an error, that a parameter may have come from where it was meant for other operators.

    :param name: The parameter.
    :return: A sentence with a blank behind it; empty if it has not.
    """
    dag = operator.dag if operator.has_dag() else None
    for place in (getattr(operator, "task_group", None), dag):
        if name in (getattr(place, "default_args", None) or {}):
            return (
                f"The default_args of the DAG or of a task group have a {name}, which reaches every operator with "
                f"such a parameter: give this task its own {name}, or None. "
            )
    return ""


def bad(name: str, value: Any, wanted: str, conn_id: str, hint: str = "") -> AirbyteInputError:
    """Return the error for a value that is none.

    :param name: The field.
    :param value: What was given.
    :param wanted: What was wanted.
    :param conn_id: The Airflow connection.
    :param hint: As of :func:`uuid`. Default: nothing.
    """
    return AirbyteInputError(f"{name} must be {wanted}, not {value!r}. {hint}".rstrip(), conn_id=conn_id)
