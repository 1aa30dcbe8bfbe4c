"""The Airbyte of a test: what its jobs do, what it says, and the Airflow connection to it. Needs no Airflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from airbyte_deferrable.simulator import Script, Simulator

#: A job that runs until the test ends it.
ENDLESS = Script(outcome=None, pending=0.0)
#: A job that succeeds in a moment.
QUICK = Script(duration=0.3, pending=0.05, rows=1000, bytes=100_000)
#: A job that has succeeded as soon as there is one.
AT_ONCE = Script(duration=0.0, pending=0.0)
#: What Airbyte answers with 409 while the connection runs a job.
BUSY_ANSWER = '{"title": "try-again-later", "data": {"message": "A sync is already running"}}'
#: What the fixture ``connect`` of the hook's tests is: makes an Airflow connection of a host, a login, ...
Connect = Callable[..., None]
#: The id of a connection that there is not.
NOWHERE = "00000000-0000-4000-8000-000000000000"


def connection_to(sim: Simulator, **extra: Any) -> str:
    """Return an Airflow connection to a simulator, as ``AIRFLOW_CONN_…`` holds it."""
    fields = {"conn_type": "airbyte", "host": sim.url, "login": sim.client_id, "password": sim.client_secret}
    return json.dumps({**fields, "extra": {"timeout": 5, **extra}})


def hits(sim: Simulator, fault: int) -> int:
    """Return how many requests a fault has met: it counts them when they arrive."""
    return next(int(each["hits"]) for each in sim.faults() if each["id"] == fault)
