"""The Airflow names that moved between 2.11 and 3.3, each imported from where this Airflow keeps it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import (
        BaseHook,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Context,
        PokeReturnValue,
        get_current_context,
    )
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import AirflowException, AirflowSensorTimeout, AirflowSkipException, AirflowTaskTimeout
    from airflow.sdk.observability import stats as Stats
else:
    from airflow.configuration import conf
    from airflow.exceptions import AirflowException

    try:
        from airflow.sdk import (
            BaseOperator,
            BaseOperatorLink,
            BaseSensorOperator,
            Context,
            PokeReturnValue,
            get_current_context,
        )
    except ImportError:  # 2.11
        from airflow.models import BaseOperator, BaseOperatorLink
        from airflow.operators.python import get_current_context
        from airflow.sensors.base import BaseSensorOperator, PokeReturnValue
        from airflow.utils.context import Context
    try:
        from airflow.sdk import BaseHook
    except ImportError:  # 2.11, 3.0
        from airflow.hooks.base import BaseHook
    try:
        from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException, AirflowTaskTimeout
    except ImportError:  # before 3.2
        from airflow.exceptions import AirflowSensorTimeout, AirflowSkipException, AirflowTaskTimeout
    try:
        # The copy that the triggerer initialises, where our metrics come from; the SDK's is for task processes.
        from airflow._shared.observability.metrics import stats as _stats

        Stats = _stats if hasattr(_stats, "incr") else _stats.Stats  # a class in 3.2
    except ImportError:  # before 3.2
        from airflow.stats import Stats

#: Whether tasks talk to Airflow through its task SDK.
AIRFLOW_3 = find_spec("airflow.sdk") is not None


__all__ = [
    "AIRFLOW_3",
    "AirflowException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "Context",
    "PokeReturnValue",
    "Stats",
    "conf",
    "get_current_context",
]
