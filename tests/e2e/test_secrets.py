"""Nothing secret is left in what Airflow writes, also when Airbyte echoes it."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import create_engine, inspect, text

from airbyte_deferrable.simulator import Fault, Script
from harness.airflow import LocalAirflow
from harness.waiting import eventually

from .support import Airbyte

pytestmark = [pytest.mark.e2e]

WAYS = ("e2e_synchronous", "e2e_deferrable")


def everything_written(airflow: LocalAirflow) -> str:
    """The logs and all other files, and each row of the database: XComs, events, triggers, rendered fields."""
    files = [file for file in airflow.home.rglob("*") if file.is_file()]
    assert any(file.suffix == ".log" for file in files)
    written = [file.read_bytes().decode(errors="replace") for file in files]
    engine = create_engine(airflow.env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    with engine.connect() as database:
        for table in inspect(engine).get_table_names():
            for row in database.execute(text(f'SELECT * FROM "{table}"')):
                written += [readable(value) for value in row]
    engine.dispose()
    return "\n".join(written)


def readable(value: object) -> str:
    """A column's value as text, also where it is kept as bytes."""
    return bytes(value).decode(errors="replace") if isinstance(value, bytes | memoryview) else str(value)


def test_secrets_are_not_in_logs_database_or_xcoms(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    secret = airbyte.client_secret
    failure = {
        "failureOrigin": "source",
        "failureType": "system_error",
        "externalMessage": f"The canary sang: {secret}",
        "stacktrace": f"at {secret}",
    }
    script = Script(outcome=None, failure=failure, log_lines=(f"a log line with {secret}",))
    runs, connection_ids = {}, []
    for way in WAYS:
        connection_id = airbyte.add_connection(name=f"named {secret}", script=script)
        connection_ids.append(connection_id)
        runs[way] = airflow.trigger(way, conf={"connection_id": connection_id})
        echo = json.dumps({"message": f"Who is {secret}?", "status": 503})
        airbyte.add_fault(Fault(call="get", kind="status", status=503, body=echo, times=2, connection_id=connection_id))
    eventually(lambda: airflow.task_instance("e2e_deferrable", runs["e2e_deferrable"], "sync")["state"] == "deferred")
    while_deferred = everything_written(airflow)
    assert "airbyte_deferrable.triggers.AirbyteSyncTrigger" in while_deferred
    for connection_id in connection_ids:
        # Without an attempt there is no reason to tell.
        eventually(lambda cid=connection_id: [job["status"] for job in airbyte.jobs(cid)] == ["running"])
        airbyte.finish(airbyte.jobs(connection_id)[-1]["id"], "failed")
    for way, run_id in runs.items():
        assert airflow.wait(way, run_id) == "failed"
        log = airflow.log(way, run_id, "sync")
        # What the secret stood in was told, the secret was not.
        assert "The canary sang: ***" in log
        assert "a log line with ***" in log
    airbyte.clear_faults()

    at_the_end = everything_written(airflow)
    assert "The canary sang" in at_the_end
    for written in (while_deferred, at_the_end):
        assert secret not in written
        for token in airbyte.tokens():
            assert token not in written
