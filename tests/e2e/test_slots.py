"""Fifty syncs over two worker slots: while Airbyte works, the slots are free."""

from __future__ import annotations

import pytest

from airbyte_deferrable.simulator import Script
from harness.airflow import LocalAirflow
from harness.waiting import eventually

from .support import MANY, Airbyte

pytestmark = [pytest.mark.e2e, pytest.mark.journey]


def test_fifty_mapped_syncs_leave_both_slots_to_others(airflow: LocalAirflow, airbyte: Airbyte) -> None:
    for connection_id in MANY:
        airbyte.add_connection(
            name=f"Many {connection_id[-2:]}", script=Script(outcome=None), connection_id=connection_id
        )
    run_id = airflow.trigger("example_mapped")
    most_running = 0

    def states() -> list[str]:
        return [task["state"] for task in airflow.task_instances("example_mapped", run_id)]

    def all_are_deferred() -> bool:
        nonlocal most_running
        most_running = max(most_running, airflow.slots_used())
        return states() == ["deferred"] * len(MANY)

    eventually(all_are_deferred)
    assert 0 < most_running <= 2
    assert airflow.slots_used() == 0

    # No sync ends before it is told to, so whatever finishes now has found a slot among fifty waiting tasks.
    other = airflow.trigger("e2e_plain")
    assert airflow.wait("e2e_plain", other) == "success"
    assert airflow.xcom("e2e_plain", other, "answer") == 42
    assert states() == ["deferred"] * len(MANY)

    jobs = {connection_id: airbyte.jobs(connection_id) for connection_id in MANY}
    assert [len(of_one) for of_one in jobs.values()] == [1] * len(MANY)
    for (job,) in jobs.values():
        airbyte.finish(job["id"], "succeeded")
    assert airflow.wait("example_mapped", run_id) == "success"
    for index, connection_id in enumerate(MANY):
        (job,) = jobs[connection_id]
        assert airflow.xcom("example_mapped", run_id, "sync", map_index=index) == job["id"]
