"""The sensor's two deadlines, in every mode: what is over, what is checked once more, and that the job goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airbyte_deferrable._compat import AirflowSkipException
from airbyte_deferrable.exceptions import AirbyteJobFailed, AirbyteSensorTimeout, AirbyteTimeout
from airbyte_deferrable.simulator import Script, Simulator
from helpers.airbyte import ENDLESS
from helpers.one_task import MODES, Sense, execution_timeout_over_when, over_in_the_middle_of_a_check


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("soft", [{}, {"soft_fail": True}, {"never_fail": True}], ids=["hard", "soft", "never"])
def test_timeout_is_a_sensors_timeout_and_leaves_the_job(
    sim: Simulator, sensing: Sense, mode: str, soft: dict[str, bool]
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    # Airflow itself says why it skips.
    told = None if soft else "seen last as 'running'"
    with pytest.raises(AirflowSkipException if soft else AirbyteSensorTimeout, match=told) as over:
        sensing(job_id, mode, timeout=0.5, **soft).run()
    assert sim.job(job_id)["status"] == "running"
    if isinstance(over.value, AirbyteSensorTimeout):
        assert (over.value.job_id, over.value.connection_id) == (job_id, sim.job(job_id)["connectionId"])


@pytest.mark.parametrize("mode", ["reschedule", "deferrable"])
def test_execution_timeout_is_that_of_the_whole_task(sim: Simulator, sensing: Sense, mode: str) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    with pytest.raises(AirbyteTimeout, match=r"execution_timeout \(0.5 s\)"):
        sensing(job_id, mode, execution_timeout=timedelta(seconds=0.5)).run()
    assert sim.job(job_id)["status"] == "running"


@pytest.mark.parametrize("mode", MODES)
def test_execution_timeout_of_no_length_is_none_as_to_airflow(sim: Simulator, sensing: Sense, mode: str) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.5, pending=0.0))["id"]
    assert sensing(job_id, mode, execution_timeout=timedelta(0)).run() == job_id


def test_execution_timeout_on_the_worker_names_itself(sim: Simulator, sensing: Sense) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    wait = sensing(job_id, "poke", execution_timeout=timedelta(seconds=60))
    with (
        execution_timeout_over_when(lambda: sim.count("get")),
        pytest.raises(AirbyteTimeout, match=r"execution_timeout \(60 s\)"),
    ):
        wait.run()


@pytest.mark.parametrize(("end", "raises"), [("succeeded", None), ("failed", AirbyteJobFailed)])
def test_execution_timeout_of_a_job_that_has_ended_is_its_outcome(
    sim: Simulator, sensing: Sense, end: str, raises: Any
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    wait = sensing(job_id, "poke", poke_interval=60, timeout=600, execution_timeout=timedelta(seconds=60))

    def ended() -> bool:
        """The sensor has checked its job, and does not do so again before it is interrupted."""
        if checked := sim.count("get"):
            sim.finish(job_id, end)
        return bool(checked)

    with execution_timeout_over_when(ended):
        if raises is None:
            assert wait.run() == job_id
        else:
            with pytest.raises(raises):
                wait.run()


@pytest.mark.parametrize(
    ("soft", "skips"), [(None, False), ("soft_fail", True), ("never_fail", True), ("silent_fail", False)]
)
@pytest.mark.parametrize(("end", "raises"), [("succeeded", None), ("failed", AirbyteJobFailed), (None, AirbyteTimeout)])
def test_execution_timeout_in_the_middle_of_a_check_ends_with_the_final_check(
    sim: Simulator, sensing: Sense, end: str | None, raises: Any, soft: str | None, skips: bool
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    if end is not None:
        sim.finish(job_id, end)
    wait = sensing(job_id, "poke", execution_timeout=timedelta(seconds=60), **({soft: True} if soft else {}))
    with over_in_the_middle_of_a_check(sim):
        if raises is None:
            assert wait.run() == job_id
        else:
            with pytest.raises(AirflowSkipException if skips else raises):
                wait.run()
    assert wait.ti.xcoms.get("final_status") == end


@pytest.mark.parametrize("soft", [{}, {"soft_fail": True}], ids=["hard", "soft"])
@pytest.mark.parametrize(("end", "raises"), [("succeeded", None), ("failed", AirbyteJobFailed), (None, AirbyteTimeout)])
def test_execution_timeout_in_the_middle_of_a_resumed_tasks_check_ends_with_the_final_check(
    sim: Simulator, sensing: Sense, end: str | None, raises: Any, soft: dict[str, bool]
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    if end is not None:
        sim.finish(job_id, end)
    wait = sensing(job_id, "deferrable", execution_timeout=timedelta(seconds=60), **soft)
    event = {"status": "error", "reason": "timeout", "message": "", "job_id": job_id, "try_number": 1}
    with over_in_the_middle_of_a_check(sim):
        if raises is None:
            assert wait.operator().execute_complete(wait.context, event) == job_id
        else:
            with pytest.raises(AirflowSkipException if soft else raises):
                wait.operator().execute_complete(wait.context, event)
    assert wait.ti.xcoms.get("final_status") == end


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("span", [0, 0.0, timedelta(0)])
def test_timeout_of_no_length_is_one_check(sim: Simulator, sensing: Sense, mode: str, span: Any) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    with pytest.raises(AirbyteSensorTimeout, match=r"timeout \(0 s\)"):
        sensing(job_id, mode, timeout=span).run()
    sim.finish(job_id, "succeeded")
    assert sensing(job_id, mode, timeout=span).run() == job_id
