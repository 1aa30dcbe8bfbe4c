"""The page that a task's button leads to."""

from __future__ import annotations

import uuid

import httpx

from airbyte_deferrable.links import job_url
from airbyte_deferrable.simulator import Script, Simulator


def page(sim: Simulator, workspace_id: str, connection_id: str, job_id: int) -> httpx.Response:
    # Without credentials: a browser has none.
    return httpx.get(job_url(sim.host, workspace_id, connection_id, job_id), trust_env=False)


def test_button_leads_to_the_job_among_those_of_its_connection(sim: Simulator) -> None:
    connection_id = sim.add_connection("<Orders>", Script(outcome=None))
    first = sim.add_job(connection_id)["id"]
    sim.finish(first, "failed")
    second = sim.add_job(connection_id)["id"]
    answer = page(sim, sim.workspace_id, connection_id, second)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "&lt;Orders&gt;" in answer.text
    assert f"<tr class=asked><td>{second}<td>sync<td>" in answer.text
    assert f"<tr><td>{first}<td>sync<td>failed<td>" in answer.text
    assert answer.text.index(f"<td>{second}<td>") < answer.text.index(f"<td>{first}<td>")


def test_another_airbytes_connection_has_no_page(sim: Simulator) -> None:
    connection_id = sim.add_connection()
    assert page(sim, sim.workspace_id, str(uuid.uuid4()), 1).status_code == 404
    assert page(sim, str(uuid.uuid4()), connection_id, 1).status_code == 404
