"""The Airflow names that moved between 2.11 and 3.3, each imported from where this Airflow keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator, Context, PokeReturnValue
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import AirflowException, AirflowSkipException
else:
    from airflow.configuration import conf
    from airflow.exceptions import AirflowException

    try:
        from airflow.sdk import BaseOperator, BaseOperatorLink, BaseSensorOperator, Context, PokeReturnValue
    except ImportError:  # 2.11
        from airflow.models import BaseOperator, BaseOperatorLink
        from airflow.sensors.base import BaseSensorOperator, PokeReturnValue
        from airflow.utils.context import Context
    try:
        from airflow.sdk import BaseHook
    except ImportError:  # 2.11, 3.0
        from airflow.hooks.base import BaseHook
    try:
        from airflow.sdk.exceptions import AirflowSkipException
    except ImportError:  # before 3.2
        from airflow.exceptions import AirflowSkipException

__all__ = [
    "AirflowException",
    "AirflowSkipException",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "Context",
    "PokeReturnValue",
    "conf",
]
