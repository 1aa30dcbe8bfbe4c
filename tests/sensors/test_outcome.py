"""The sensor ends the same in every mode, and as the job did."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from airbyte_deferrable._compat import AirflowException, AirflowSkipException
from airbyte_deferrable.exceptions import (
    AirbyteJobCancelled,
    AirbyteJobFailed,
)
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import AT_ONCE, ENDLESS
from helpers.one_task import MODES, Sense


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("end", "raises"), [("succeeded", None), ("failed", AirbyteJobFailed), ("cancelled", AirbyteJobCancelled)]
)
@pytest.mark.parametrize("soft", [{}, {"soft_fail": True}, {"never_fail": True}], ids=["hard", "soft", "never"])
def test_outcome_is_the_same_in_every_mode(
    sim: Simulator, sensing: Sense, mode: str, end: str, raises: Any, soft: dict[str, bool]
) -> None:
    job_id = sim.add_job(sim.add_connection(), script=Script(duration=0.4, pending=0.0, outcome=end))["id"]
    wait = sensing(str(job_id), mode, **soft)
    if raises is None:
        assert wait.run() == job_id
    else:
        with pytest.raises(AirflowSkipException if soft else raises):
            wait.run()
    assert wait.ti.xcoms["final_status"] == end
    assert wait.ti.xcoms["airbyte_job"]["jobId"] == job_id
    assert "airbyte_job_url" in wait.ti.xcoms


def test_outcome_has_figures_that_the_list_leaves_out(sim: Simulator, sensing: Sense) -> None:
    job_id = sim.add_job(cid := sim.add_connection(), script=ENDLESS)["id"]
    wait = sensing(job_id, "deferrable")
    deferred = wait.leave()
    sim.finish(job_id, "succeeded")
    job = {"jobId": job_id, "status": "succeeded", "connectionId": cid}
    assert wait.resume(deferred, {"status": "success", "job_id": job_id, "job": job}) == job_id
    assert wait.ti.xcoms["rows_synced"] == 1000


def test_thread_is_not_left(sim: Simulator, sensing: Sense) -> None:
    job_id = sim.add_job(sim.add_connection(), script=AT_ONCE)["id"]
    sensing(job_id, "poke").run()
    for thread in threading.enumerate():
        if thread.name == "airbyte":
            thread.join(5)
            assert not thread.is_alive()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wrong", ["no number", "no Airflow connection", "refused credentials"])
def test_never_fail_skips_for_whatever_would_fail_the_task(
    sim: Simulator, sensing: Sense, mode: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wrong == "no Airflow connection":
        monkeypatch.delenv("AIRFLOW_CONN_AIRBYTE_DEFAULT")
    if wrong == "refused credentials":
        sim.add_fault(Fault("token", status=401))
    job_id = "seven" if wrong == "no number" else "7"
    with pytest.raises(AirflowSkipException):
        sensing(job_id, mode, never_fail=True).run()
    with pytest.raises((AirflowException, ValueError)) as failed:
        sensing(job_id, mode).run()
    assert not isinstance(failed.value, AirflowSkipException)


def test_never_fail_skips_where_a_deferred_task_cannot_be_resumed(sim: Simulator, sensing: Sense) -> None:
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS)["id"]
    wait = sensing(job_id, "deferrable", never_fail=True)
    deferred = wait.leave()
    with pytest.raises(AirflowSkipException):
        wait.resume(deferred, None)
    with pytest.raises(AirflowSkipException):
        # What Airflow makes of a trigger that broke.
        wait.operator().resume_execution("__fail__", {"error": "Trigger failure"}, wait.context)
