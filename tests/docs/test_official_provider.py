"""The official Airflow provider's hook, operator, sensor and trigger work with the simulator."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.exceptions import AirflowException, TaskDeferred
from airflow.providers.airbyte.hooks.airbyte import AirbyteHook
from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator
from airflow.providers.airbyte.sensors.airbyte import AirbyteJobSensor
from airflow.providers.airbyte.triggers.airbyte import AirbyteSyncTrigger

from airbyte_deferrable.simulator import Script, Simulator

QUICK = Script(duration=0.05, pending=0.01)
LONG = Script(duration=600, pending=0)


def operator(connection_id: str, **options: Any) -> AirbyteTriggerSyncOperator:
    return AirbyteTriggerSyncOperator(task_id="sync", connection_id=connection_id, wait_seconds=0.02, **options)


def test_hook_submits_looks_and_cancels(sim: Simulator) -> None:
    hook = AirbyteHook()
    assert hook.test_connection() == (True, "Connection successfully tested")
    job = hook.submit_sync_connection(sim.add_connection(script=LONG))
    sim.advance(5)
    assert hook.get_job_status(job.job_id) == "running"
    assert hook.cancel_job(job.job_id).status == "cancelled"
    assert sim.job(job.job_id)["status"] == "cancelled"


def test_hook_resets(sim: Simulator) -> None:
    assert AirbyteHook().submit_reset_connection(sim.add_connection()).job_type == "reset"


def test_operator_waits_for_the_job_on_the_worker(sim: Simulator) -> None:
    connection_id = sim.add_connection(script=QUICK)
    assert operator(connection_id).execute({}) == 1
    assert [(job["id"], job["status"]) for job in sim.jobs()] == [(1, "succeeded")]


def test_operator_fails_with_the_job(sim: Simulator) -> None:
    script = Script(duration=0.05, pending=0.01, outcome="failed")
    with pytest.raises(AirflowException, match="Job failed"):
        operator(sim.add_connection(script=script)).execute({})


def test_operator_meets_the_conflict_of_a_running_job(sim: Simulator) -> None:
    connection_id = sim.add_connection(script=LONG)
    sim.add_job(connection_id)
    with pytest.raises(AirflowException, match="try-again-later"):
        operator(connection_id).execute({})


def test_operator_kills_its_job(sim: Simulator) -> None:
    task = operator(sim.add_connection(script=LONG), asynchronous=True)
    job_id: Any = task.execute({})
    sim.advance(5)
    task.on_kill()
    assert sim.job(job_id)["status"] == "cancelled"


@pytest.mark.parametrize(
    ("outcome", "status"), [("succeeded", "success"), ("failed", "error"), ("cancelled", "cancelled")]
)
async def test_deferred_operators_trigger_sees_the_end(sim: Simulator, outcome: str, status: str) -> None:
    task = operator(sim.add_connection(script=LONG), deferrable=True, execution_timeout=timedelta(hours=1))
    with pytest.raises(TaskDeferred) as deferred:
        task.execute({})
    trigger = deferred.value.trigger
    assert isinstance(trigger, AirbyteSyncTrigger)
    sim.advance(5)
    sim.finish(trigger.job_id, outcome)
    event = await anext(trigger.run())
    assert event.payload["status"] == status
    assert event.payload["job_id"] == trigger.job_id


def test_sensor_waits(sim: Simulator) -> None:
    job_id = sim.add_job(sim.add_connection(script=LONG))["id"]
    sensor = AirbyteJobSensor(task_id="wait", airbyte_job_id=job_id)
    assert not sensor.poke({})
    sim.finish(job_id, "succeeded")
    assert sensor.poke({})
