"""What a gateway before Airbyte says while a task starts, or stops, a job: no outcome, unless it cannot pass."""

from __future__ import annotations

import pytest

from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable.exceptions import AirbyteCredentialsError, AirbyteUnreachableError
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Fault, Simulator
from helpers.airbyte import ENDLESS
from helpers.one_task import Task, TaskInstance

#: What gateways say that lead nowhere just now, by status; Airbyte says each in another form.
KONG = '{"message": "no Route matched with those values"}'
SAYINGS = {
    "400": (400, KONG),
    "403": (403, KONG),
    "403 page": (403, "<html>Forbidden"),
    "404": (404, KONG),
    "404 page": (404, "<html>"),
    "405": (405, '{"detail": "Method Not Allowed"}'),
    "409": (409, '{"error": "stale"}'),
    "422": (422, '{"error": "no"}'),
    "login": (200, "<html>Sign in"),
}


def sync(connection_id: str, ti: TaskInstance, policy: SubmitPolicy) -> Task:
    def make() -> AirbyteTriggerSyncOperator:
        operator = AirbyteTriggerSyncOperator(task_id="sync", connection_id=connection_id, asynchronous=True)
        operator.submit_policy = policy
        return operator

    return Task(make, ti=ti)


@pytest.mark.parametrize("saying", SAYINGS)
@pytest.mark.parametrize("call", ["token", "list", "create"])
def test_gateways_word_for_a_while_keeps_no_job_from_starting(
    sim: Simulator, ti: TaskInstance, call: str, saying: str
) -> None:
    status, body = SAYINGS[saying]
    connection_id = sim.add_connection(script=ENDLESS)
    # The token endpoint is asked twice: in JSON, then with a form. A page that comes twice is the web app's.
    times = 1 if (call, saying) == ("token", "login") else 2
    faults = [sim.add_fault(Fault(call, status=status, body=body, times=times))]
    if call == "token" and status in (404, 405):
        faults.append(sim.add_fault(Fault("health", status=status, body=body, times=2)))
    task = sync(connection_id, ti, SubmitPolicy(settle=0.3, unreachable=30.0, pause=0.1))
    assert task.run() == sim.jobs(connection_id)[0]["id"]
    assert len(sim.jobs(connection_id)) == 1
    assert all(fault["hits"] for fault in sim.faults())


@pytest.mark.parametrize("health", [True, False], ids=["Airbyte is healthy", "the page for health, too"])
def test_token_endpoint_that_is_a_web_page_fails_the_task_at_once_and_says_what_to_do(
    sim: Simulator, ti: TaskInstance, health: bool
) -> None:
    page = "<!doctype html><title>Airbyte</title>"
    sim.add_fault(Fault("token", status=200, body=page))
    if not health:
        sim.add_fault(Fault("health", status=200, body=page))
    # Five minutes, and this test would not end.
    task = sync(sim.add_connection(), ti, SubmitPolicy(unreachable=1e9))
    with pytest.raises(AirbyteCredentialsError, match="leave Client ID and Client Secret empty"):
        task.run()


def test_gateway_that_leads_nowhere_for_long_is_told_with_its_words(sim: Simulator, ti: TaskInstance) -> None:
    sim.add_fault(Fault("*", status=404, body=KONG))
    task = sync(sim.add_connection(), ti, SubmitPolicy(unreachable=0.5, pause=0.1))
    with pytest.raises(AirbyteUnreachableError, match=r"no Route matched .* gateway or proxy before it"):
        task.run()


@pytest.mark.parametrize("saying", SAYINGS)
@pytest.mark.parametrize("call", ["get", "cancel", "token"])
def test_gateways_word_for_a_while_keeps_no_job_from_being_cancelled(sim: Simulator, call: str, saying: str) -> None:
    status, body = SAYINGS[saying]
    job_id = sim.add_job(sim.add_connection(), script=ENDLESS, created_ago=60.0)["id"]
    sim.add_fault(Fault(call, status=status, body=body, times=2))
    assert AirbyteHook().cancel_job(job_id, within=60.0).status == "cancelled"
    assert sim.faults()[0]["hits"] == 2
