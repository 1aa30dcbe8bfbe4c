"""Stop retrying what a retry cannot fix: a wrong password in a source fails the task at once, all else is tried again.

Airbyte calls such a failure ``config_error``, and the task fails with ``AirbyteConfigError``. Airflow 3.3 lets a retry
policy decide by the exception; older versions have none, and retry it like any other.

Needs the Airflow connection ``airbyte_default`` and a running triggerer. ``connection_id`` is the UUID behind
``/connections/`` in the address of the connection's page in Airbyte; put yours here, or into the environment variable
``AIRBYTE_DEMO_CONNECTION``.

The id below is one of the simulator's: ``python -m airbyte_deferrable.simulator --connections 10``.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airbyte_deferrable.exceptions import AirbyteConfigError
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG

try:
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
except ImportError:  # before Airflow 3.3
    policy: dict[str, Any] = {}
else:
    stop = RetryRule(exception=AirbyteConfigError, action=RetryAction.FAIL, reason="Somebody must mend the settings")
    policy = {"retry_policy": ExceptionRetryPolicy(rules=[stop])}

ORDERS = os.environ.get("AIRBYTE_DEMO_CONNECTION", "a1b7e000-0000-4000-8000-00000000000a")

with DAG("example_stop_retrying", schedule=None, tags=["airbyte"]):
    AirbyteTriggerSyncOperator(
        task_id="sync_orders",
        connection_id=ORDERS,
        deferrable=True,
        retries=3,
        retry_delay=timedelta(seconds=5),
        **policy,
    )
