"""The sensor called by hand, as tests of DAGs do, and by subclasses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airbyte_deferrable._compat import PokeReturnValue
from airbyte_deferrable.exceptions import AirbyteJobFailed, AirbyteSensorTimeout
from airbyte_deferrable.sensors import AirbyteJobSensor
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import AT_ONCE, ENDLESS
from helpers.compat import TaskDeferred
from helpers.one_task import MODES, Sense


@pytest.mark.parametrize("context", [{}, None], ids=["empty", "none"])
@pytest.mark.parametrize("mode", MODES)
def test_by_hand_poke_is_one_check(sim: Simulator, sensing: Sense, mode: str, context: Any) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    sensor = sensing(job_id, mode, execution_timeout=timedelta(seconds=60)).operator()
    assert sensor.poke(context) is False
    sim.add_fault(Fault("get", status=503, times=1))
    assert sensor.poke(context) is False
    sim.finish(job_id, "succeeded")
    assert sensor.poke(context) is True
    failed = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    sim.finish(failed, "failed")
    with pytest.raises(AirbyteJobFailed):
        sensing(failed, mode).operator().poke(context)


@pytest.mark.parametrize("context", [{}, None], ids=["empty", "none"])
@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_by_hand_execute_waits(sim: Simulator, sensing: Sense, mode: str, context: Any) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    wait = sensing(job_id, mode, timeout=0.3)
    if mode == "deferrable":
        with pytest.raises(TaskDeferred) as deferred:
            wait.operator().execute(context)
        assert deferred.value.trigger.try_number is None
    else:
        with pytest.raises(AirbyteSensorTimeout):
            wait.operator().execute(context)
    sim.finish(job_id, "succeeded")
    assert wait.operator().execute(context) == job_id


@pytest.mark.parametrize("context", [{}, None], ids=["empty", "none"])
def test_by_hand_execute_complete_takes_an_event(sim: Simulator, sensing: Sense, context: Any) -> None:
    job_id = sim.add_job(sim.add_connection(), script=AT_ONCE)["id"]
    wait = sensing(job_id, "deferrable")
    event = {"status": "success", "message": "", "job_id": job_id}
    assert wait.operator().execute_complete(context, event) == job_id
    assert wait.operator().execute_complete(context, {**event, "try_number": 3, "job_url": "http://x"}) == job_id
    sim.add_fault(Fault("get", status=503))
    late = {"status": "error", "reason": "timeout", "message": "", "job_id": job_id, "try_number": 3}
    with pytest.raises(AirbyteSensorTimeout):
        wait.operator().execute_complete(context, late)


class Counting(AirbyteJobSensor):
    """As users of the official sensor write them."""

    looks: list[Any] = []
    brings: Any = None

    def poke(self, context: Any) -> Any:
        self.looks.append(done := super().poke(context))
        return PokeReturnValue(done, self.brings) if self.brings is not None else done


@pytest.mark.parametrize("brings", [None, {"rows": 3}])
@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_subclass_is_given_a_bool_and_the_task_its_value(
    sim: Simulator, sensing: Sense, mode: str, brings: Any
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.3, pending=0.0))["id"]
    kind: Any = type("Kind", (Counting,), {"looks": [], "brings": brings})
    wait = sensing(job_id, mode)
    wait._make = lambda: kind(task_id="wait", airbyte_job_id=job_id, mode=mode, poke_interval=0.1, timeout=30)
    assert wait.run() == (job_id if brings is None else brings)
    assert kind.looks[-1] is True
    assert set(kind.looks[:-1]) <= {False}
