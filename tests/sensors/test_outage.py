"""What is no outcome to the sensor: an Airbyte that is away, refuses for a while or does not show the job once."""

from __future__ import annotations

from typing import Any

import pytest

from airbyte_deferrable._compat import AirflowSkipException
from airbyte_deferrable.exceptions import (
    AirbyteCredentialsError,
    AirbyteNotVisibleError,
)
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import AT_ONCE
from helpers.one_task import MODES, Sense


@pytest.mark.parametrize("mode", MODES)
def test_not_found_is_believed_the_second_time(sim: Simulator, sensing: Sense, mode: str) -> None:
    with pytest.raises(AirbyteNotVisibleError):
        sensing(999, mode).run()
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.2, pending=0.0))["id"]
    sim.add_fault(Fault("get", status=403, times=1))
    assert sensing(job_id, mode).run() == job_id
    with pytest.raises(AirflowSkipException):
        sensing(999, mode, soft_fail=True).run()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", [{"status": 503}, {"kind": "drop"}, {"kind": "garbage"}])
def test_outage_is_waited_through(sim: Simulator, sensing: Sense, mode: str, fault: dict[str, Any]) -> None:
    job_id = sim.add_job(sim.add_connection(), script=AT_ONCE)["id"]
    sim.add_fault(Fault("get", **fault, times=4))
    assert sensing(job_id, mode).run() == job_id


@pytest.mark.parametrize("mode", MODES)
def test_credentials_that_are_wrong_are_an_error_at_once(sim: Simulator, sensing: Sense, mode: str) -> None:
    sim.add_fault(Fault("token", status=401))
    with pytest.raises(AirbyteCredentialsError):
        sensing(1, mode).run()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("status", [400, 401])
def test_refusal_later_is_a_doubt(sim: Simulator, sensing: Sense, mode: str, status: int) -> None:
    """So an Airbyte answers whose login service restarts, or a gateway before it."""
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=1.0, pending=0.0))["id"]
    wait = sensing(job_id, mode)
    info = wait.log.info

    def trouble(line: str, *args: Any) -> None:
        info(line, *args)
        if "is running" in line % args and not sim.faults():
            sim.add_fault(Fault("get", status=status, times=4))

    wait.log.info = trouble
    assert wait.run() == job_id
