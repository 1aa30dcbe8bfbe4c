"""What the sensor makes of an event: of its own trigger, of the official one, of another try."""

from __future__ import annotations

import pytest

from airbyte_deferrable._compat import AirflowSkipException
from airbyte_deferrable.exceptions import (
    AirbyteException,
    AirbyteJobFailed,
    AirbyteSensorTimeout,
    AirbyteTimeout,
)
from airbyte_deferrable.simulator import Simulator
from helpers.airbyte import AT_ONCE, ENDLESS
from helpers.one_task import Sense


def test_event_timeout_is_followed_by_a_check_on_the_worker(sim: Simulator, sensing: Sense) -> None:
    job_id = sim.add_job(sim.add_connection(), script=AT_ONCE)["id"]
    wait = sensing(job_id, "deferrable")
    event = {"status": "error", "reason": "timeout", "message": "", "job_id": job_id, "try_number": 1}
    assert wait.operator().execute_complete(wait.context, event) == job_id


def test_event_without_facts_or_of_another_try_is_followed_by_a_check(sim: Simulator, sensing: Sense) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    wait = sensing(job_id, "deferrable")
    deferred = wait.leave()
    sim.finish(job_id, "failed")
    with pytest.raises(AirbyteJobFailed):
        wait.resume(deferred, {"status": "success", "message": "", "job_id": job_id})
    with pytest.raises(AirbyteException, match="without a readable event"):
        wait.resume(deferred, None)
    late = {"status": "error", "message": "", "job_id": job_id, "reason": "timeout", "try_number": 9}
    with pytest.raises(AirbyteJobFailed):
        wait.resume(deferred, late)


OFFICIAL_TIMEOUTS = {
    "timeout": {"status": "error", "message": "Job run 7 has not reached a terminal status after 1.5 seconds."},
    "execution_timeout": {"status": "timeout", "message": "Job run 7 has reached execution timeout."},
}


@pytest.mark.parametrize("soft", [{}, {"soft_fail": True}], ids=["hard", "soft"])
@pytest.mark.parametrize(
    ("clock", "raises"), [("timeout", AirbyteSensorTimeout), ("execution_timeout", AirbyteTimeout)]
)
@pytest.mark.parametrize("end", [None, "succeeded", "failed"])
def test_event_timeout_of_the_official_trigger_is_one(
    sim: Simulator,
    sensing: Sense,
    clock: str,
    raises: type[Exception],
    end: str | None,
    soft: dict[str, bool],
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    if end is not None:
        sim.finish(job_id, end)
    event = {**OFFICIAL_TIMEOUTS[clock], "job_id": job_id}
    wait = sensing(job_id, "deferrable", **soft)
    sensor = wait.operator()
    if end == "succeeded":
        assert sensor.execute_complete(wait.context, event) == job_id
        return
    raises = AirflowSkipException if soft else AirbyteJobFailed if end == "failed" else raises
    with pytest.raises(raises) as over:
        sensor.execute_complete(wait.context, event)
    if end is None:
        assert clock in str(over.value)
        assert sim.job(job_id)["status"] == "running"
