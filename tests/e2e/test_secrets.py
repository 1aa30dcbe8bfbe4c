"""Nothing secret is left in what Airflow writes, also when Airbyte echoes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airbyte_deferrable.demo.airflow import LocalAirflow
from airbyte_deferrable.simulator import Fault, Script

from .support import Airbyte

pytestmark = [pytest.mark.e2e]

WAYS = ("e2e_synchronous", "e2e_deferrable")


def everything_written_below(folder: Path) -> bytes:
    """The logs, the database with its XComs, events and trigger rows, and whatever else there is."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any(file.name == "airflow.db" for file in files)
    assert any(file.suffix == ".log" for file in files)
    return b"\n".join(file.read_bytes() for file in files)


def test_no_secret_is_in_logs_database_or_xcoms(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    secret = airbyte.client_secret
    failure = {
        "failureOrigin": "source",
        "failureType": "system_error",
        "externalMessage": f"The canary sang: {secret}",
        "stacktrace": f"at {secret}",
    }
    script = Script(duration=4, outcome="failed", failure=failure, log_lines=(f"a log line with {secret}",))
    runs = {}
    for way in WAYS:
        connection_id = airbyte.add_connection(name=f"named {secret}", script=script)
        runs[way] = airflow.trigger(way, conf={"connection_id": connection_id})
        echo = json.dumps({"message": f"Who is {secret}?", "status": 503})
        airbyte.add_fault(Fault(call="get", kind="status", status=503, body=echo, times=2, connection_id=connection_id))
    for way, run_id in runs.items():
        assert airflow.wait(way, run_id) == "failed"
        log = airflow.log(way, run_id, "sync")
        # What the secret stood in was told, the secret was not.
        assert "The canary sang: ***" in log
        assert "a log line with ***" in log
    airbyte.clear_faults()

    written = everything_written_below(airflow.home)
    assert b"The canary sang" in written
    assert secret.encode() not in written
    for token in airbyte.tokens():
        assert token.encode() not in written
