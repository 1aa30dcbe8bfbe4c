"""The hook, beside the official one where that does the same."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from inspect import signature
from typing import Any

import pytest
from airflow.exceptions import AirflowException
from airflow.providers.airbyte.hooks.airbyte import AirbyteHook as OfficialHook

from airbyte_deferrable import hooks
from airbyte_deferrable._job import connections
from airbyte_deferrable._job.wait import Deadlines
from airbyte_deferrable.exceptions import (
    AirbyteConflictError,
    AirbyteCredentialsError,
    AirbyteException,
    AirbyteJobCancelled,
    AirbyteJobFailed,
    AirbyteNotVisibleError,
    AirbyteRequestError,
    AirbyteSettingsError,
    AirbyteTimeout,
    AirbyteUnreachableError,
)
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.simulator import Fault, Script, Simulator

UNKNOWN = "00000000-0000-4000-8000-000000000000"
#: What the SDK's job has.
ATTRIBUTES = (
    "job_id",
    "status",
    "job_type",
    "connection_id",
    "start_time",
    "last_updated_at",
    "duration",
    "bytes_synced",
    "rows_synced",
)

Connect = Callable[..., None]


@pytest.fixture
def sim(airbyte_simulator: Simulator) -> Simulator:
    return airbyte_simulator


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Make the Airflow connection ``mine``."""

    def connect(host: str, login: str | None = None, password: str | None = None, **extra: Any) -> None:
        fields = {"conn_type": "airbyte", "host": host, "login": login, "password": password, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_MINE", json.dumps(fields))

    return connect


@pytest.fixture
def mine(sim: Simulator, connect: Connect) -> str:
    """The Airflow connection to the simulator."""
    connect(sim.url, sim.client_id, sim.client_secret)
    return "mine"


@pytest.fixture
def hook(mine: str) -> Iterator[AirbyteHook]:
    with AirbyteHook(mine) as made:
        yield made


def test_the_class_is_declared_as_the_official_one() -> None:
    for name in ("conn_name_attr", "default_conn_name", "conn_type", "hook_name"):
        assert getattr(AirbyteHook, name) == getattr(OfficialHook, name)


@pytest.mark.parametrize("made_by", ["submit_sync_connection", "submit_reset_connection"])
def test_jobs_look_the_same_as_the_official_hooks(sim: Simulator, mine: str, made_by: str) -> None:
    ours, theirs = AirbyteHook(mine), OfficialHook(mine)
    script = Script(duration=5, pending=0.01, rows=10, bytes=100)
    made = [getattr(hook, made_by)(sim.add_connection(script=script)) for hook in (ours, theirs)]
    for name in ATTRIBUTES:
        assert hasattr(made[0], name) == hasattr(made[1], name)
    assert made[0].job_type == made[1].job_type.value
    sim.advance(60)
    for job in made:
        one, other = ours.get_job_details(job.job_id), theirs.get_job_details(job.job_id)
        for name in ATTRIBUTES:
            their_value = getattr(other, name)
            assert getattr(one, name) == getattr(their_value, "value", their_value)
        assert ours.get_job_status(job.job_id) == theirs.get_job_status(job.job_id).value == "succeeded"


FAILURES: list[tuple[str, tuple[Any, ...], type[AirbyteException]]] = [
    ("get_job_details", (424242,), AirbyteConflictError),
    ("get_job_status", (424242,), AirbyteConflictError),
    ("cancel_job", (424242,), AirbyteConflictError),
    ("submit_sync_connection", (UNKNOWN,), AirbyteNotVisibleError),
    ("submit_reset_connection", (UNKNOWN,), AirbyteNotVisibleError),
]


@pytest.mark.parametrize(("method", "arguments", "cause"), FAILURES)
def test_what_fails_in_the_official_hook_fails_here_by_a_name(
    mine: str, method: str, arguments: tuple[Any, ...], cause: type[AirbyteException]
) -> None:
    with pytest.raises(AirflowException):
        getattr(OfficialHook(mine), method)(*arguments)
    with pytest.raises(cause, match="Airflow connection 'mine'") as caught:
        getattr(AirbyteHook(mine), method)(*arguments)
    assert caught.value.conn_id == "mine"
    assert arguments[0] in (caught.value.job_id, caught.value.connection_id)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (400, AirbyteRequestError),
        (401, AirbyteCredentialsError),
        (403, AirbyteNotVisibleError),
        (404, AirbyteNotVisibleError),
        (409, AirbyteConflictError),
        (422, AirbyteRequestError),
        (429, AirbyteUnreachableError),
        (500, AirbyteUnreachableError),
        (503, AirbyteUnreachableError),
    ],
)
def test_every_refusal_is_an_airflow_exception_with_a_name(
    sim: Simulator, hook: AirbyteHook, status: int, cause: type[AirbyteException]
) -> None:
    sim.add_fault(Fault(call="get", kind="status", status=status))
    with pytest.raises(cause) as caught:
        hook.get_job_details(1)
    assert isinstance(caught.value, AirflowException)
    assert f"looking up job 1 (Airflow connection 'mine'): GET /jobs/1: HTTP {status}" in str(caught.value)


@pytest.mark.parametrize(
    ("outcome", "cause"), [("succeeded", None), ("failed", AirbyteJobFailed), ("cancelled", AirbyteJobCancelled)]
)
def test_waiting_ends_as_the_official_hooks_does(
    sim: Simulator, mine: str, outcome: str, cause: type[AirbyteException] | None
) -> None:
    job_id = sim.add_job(sim.add_connection(script=Script(duration=0.3, outcome=outcome)))["id"]
    ours, theirs = AirbyteHook(mine), OfficialHook(mine)
    if cause is None:
        assert ours.wait_for_job(str(job_id), wait_seconds=0.1) is None
        assert theirs.wait_for_job(str(job_id), wait_seconds=0.1) is None
        return
    with pytest.raises(cause):
        ours.wait_for_job(job_id, wait_seconds=0.1)
    with pytest.raises(AirflowException):
        theirs.wait_for_job(job_id, wait_seconds=0.1)


def test_a_wait_takes_none_for_its_interval_as_the_operators_attribute_may_be(sim: Simulator, mine: str) -> None:
    job_id = sim.add_job(sim.add_connection(script=Script(duration=0.0, pending=0.0)))["id"]
    assert AirbyteHook(mine).wait_for_job(job_id=job_id, wait_seconds=None, timeout=3600) is None
    # Otherwise it is the official hook's signature.
    ours, theirs = (signature(hook.wait_for_job).parameters for hook in (AirbyteHook, OfficialHook))
    assert {name: each.default for name, each in ours.items()} == {name: each.default for name, each in theirs.items()}


def test_a_wait_takes_none_for_its_interval_and_checks_each_three_seconds(
    sim: Simulator, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "WAIT_SECONDS", 0.1)
    job_id = sim.add_job(sim.add_connection(script=Script(outcome=None)))["id"]
    with pytest.raises(AirbyteTimeout):
        AirbyteHook(mine).wait_for_job(job_id, wait_seconds=None, timeout=2)
    assert sim.count("get") > 3


def test_a_wait_that_runs_out_leaves_the_job_running(sim: Simulator, hook: AirbyteHook) -> None:
    job_id = sim.add_job(sim.add_connection(script=Script(outcome=None)))["id"]
    with pytest.raises(AirbyteTimeout, match=f"{job_id}"):
        hook.wait_for_job(job_id, wait_seconds=0.1, timeout=0.5)
    assert sim.count("cancel") == 0


def test_a_job_is_cancelled_and_seen_to_end(sim: Simulator, hook: AirbyteHook) -> None:
    job_id = sim.add_job(sim.add_connection(script=Script(outcome=None)), created_ago=60.0)["id"]
    assert hook.cancel_job(job_id).status == "cancelled"


def test_inside_with_there_is_one_session_and_one_token(sim: Simulator, mine: str) -> None:
    connection_id = sim.add_connection(script=Script(duration=0.2, pending=0.01))
    before = threading.active_count()
    with AirbyteHook(mine) as hook:
        with hook:
            job = hook.submit_sync_connection(connection_id)
        hook.wait_for_job(job.job_id, wait_seconds=0.1)
        hook.get_job_details(job.job_id)
        assert hook.describe(connection_id) is not None
        assert hook.test_connection()[0]
        assert sim.count("token") == 1
    assert threading.active_count() == before
    AirbyteHook(mine).get_job_details(job.job_id)
    assert sim.count("token") == 2
    assert threading.active_count() == before


def test_nothing_is_left_open(sim: Simulator, mine: str) -> None:
    job_id = sim.add_job(sim.add_connection(script=Script(outcome=None)))["id"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with AirbyteHook(mine) as hook, pytest.raises(AirbyteTimeout):
            hook.wait_for_job(job_id, wait_seconds=0.1, timeout=0.3)
        del hook
        gc.collect()
    assert [str(each.message) for each in caught if each.category is ResourceWarning] == []


def test_a_hook_can_be_used_again_after_it_was_closed(sim: Simulator, mine: str) -> None:
    job_id = sim.add_job(sim.add_connection(script=Script(duration=0.1)))["id"]
    hook = AirbyteHook(mine)
    for _ in range(2):
        with hook:
            hook.wait_for_job(job_id, wait_seconds=0.1)


def test_the_watcher_is_quiet_in_a_tasks_log(
    sim: Simulator, hook: AirbyteHook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    job_id = sim.add_job(sim.add_connection(script=Script(duration=0.3)))["id"]
    sim.add_fault(Fault(call="get", kind="status", status=503, times=3))
    hook.wait_for_job(job_id, wait_seconds=0.1)
    assert [record for record in caplog.records if record.name.startswith("airbyte_deferrable._watcher.loop")] == []


async def test_coroutines_get_a_client_of_their_own(sim: Simulator, mine: str) -> None:
    job_id = sim.add_job(sim.add_connection())["id"]
    async with AirbyteHook(mine).async_client() as client:
        jobs = await asyncio.gather(*(client.get_job(job_id) for _ in range(5)))
    assert {job.job_id for job in jobs} == {job_id}
    assert sim.count("token") == 1


def test_a_connection_is_described_only_if_that_is_quick(
    sim: Simulator, hook: AirbyteHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id = sim.add_connection(name="Orders")
    described = hook.describe(connection_id)
    assert (described.name, described.workspace_id) == ("Orders", sim.workspace_id)
    assert str(described) == "'Orders' (Postgres shop → BigQuery warehouse)"
    assert str(hook.describe(UNKNOWN)) == ""
    monkeypatch.setattr(connections, "DESCRIBE_WITHIN", 0.2)
    sim.add_fault(Fault(call="source", kind="hang"))
    assert str(hook.describe(connection_id)) == "'Orders'"
    sim.add_fault(Fault(call="connection", kind="hang"))
    assert str(hook.describe(connection_id)) == ""


def test_a_description_that_comes_in_two_slow_answers_is_not_waited_for_twice_as_long(
    sim: Simulator, hook: AirbyteHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "DESCRIBE_WITHIN", 2.0)
    for call in ("connection", "source"):
        sim.add_fault(Fault(call=call, kind="latency", seconds=1.2))
    assert str(hook.describe(sim.add_connection(name="Orders"))) == "'Orders'"


def test_a_task_whose_job_was_refused_is_not_held_back_by_its_own_turn(sim: Simulator, hook: AirbyteHook) -> None:
    connection_id = sim.add_connection()
    for _ in range(3):
        assert hook.wait_in_queue(connection_id, Deadlines(time.time() + 20, None), poll_interval=0.1)


# The Test button


def test_the_test_says_that_all_is_well(mine: str) -> None:
    assert OfficialHook(mine).test_connection()[0] is True
    good, message = AirbyteHook(mine).test_connection()
    assert good
    assert "successfully" in message


def verdict() -> str:
    good, message = AirbyteHook("mine").test_connection()
    assert not good
    return message


def test_the_test_tells_address_credentials_and_permission_apart(sim: Simulator, connect: Connect) -> None:
    connect("http://127.0.0.1:1", "id", "secret-of-mine")
    assert verdict().startswith("The address is wrong, or Airbyte is down.")
    connect(f"{sim.host}/elsewhere", sim.client_id, sim.client_secret)
    assert verdict().startswith("The address is wrong, or Airbyte is down.")
    connect(sim.url, sim.client_id, "secret-of-mine")
    assert verdict().startswith("Airbyte is there, but refuses the credentials.")
    connect(sim.url)
    assert verdict().startswith("Airbyte is there, but refuses the credentials.")
    connect(sim.url, sim.client_id, sim.client_secret)
    sim.add_fault(Fault(call="list", kind="status", status=403))
    assert verdict().startswith("The credentials are good, but lack the permission")
    sim.clear_faults()
    sim.add_fault(Fault(call="list", kind="html", status=200))
    assert verdict().startswith("Something answers, but not as Airbyte's public API does")
    connect("", "id", "secret-of-mine")
    assert "has no Server URL (host)" in verdict()


PAGE = "<!doctype html><title>Airbyte</title>"


@pytest.mark.parametrize("health", [None, PAGE], ids=["with Airbyte's health", "with the page for health, too"])
def test_the_test_says_what_to_do_where_there_is_no_authentication(connect: Connect, health: str | None) -> None:
    with Simulator(auth="none") as sim:
        sim.add_fault(Fault(call="token", kind="status", status=200, body=PAGE))
        if health is not None:
            sim.add_fault(Fault(call="health", kind="status", status=200, body=PAGE))
        connect(sim.url, "id", "secret-of-mine")
        told = verdict()
        assert told.startswith("No tokens are given out at this address.")
        assert "leave Client ID and Client Secret empty" in told
        connect(sim.url)
        assert AirbyteHook("mine").test_connection()[0] is True


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", ["<html>", '{"message": "Forbidden"}'])
def test_the_test_passes_a_gateway_that_refuses_health_in_its_own_words(
    sim: Simulator, mine: str, status: int, body: str
) -> None:
    sim.add_fault(Fault(call="health", kind="status", status=status, body=body))
    assert AirbyteHook(mine).test_connection()[0] is True


def test_the_test_does_not_take_a_gateways_word_for_airbytes(sim: Simulator, mine: str) -> None:
    body = '{"message": "no Route matched with those values"}'
    sim.add_fault(Fault(call="list", kind="status", status=403, body=body))
    told = verdict()
    assert told.startswith("Something answers, but not as Airbyte's public API does")
    assert "no Route matched" in told
    assert "a gateway or proxy before it" in told


def test_the_test_passes_a_gateway_that_wants_credentials_even_for_health(connect: Connect) -> None:
    with Simulator(auth="basic", client_id="airbyte", client_secret="password") as sim:
        sim.add_fault(Fault(call="health", kind="status", status=401))
        connect(sim.url, "airbyte", "password", auth="basic")
        assert AirbyteHook("mine").test_connection()[0] is True


@pytest.mark.parametrize("use", ["get_job_details", "submit_sync_connection"])
def test_bad_settings_are_told_before_anything_is_sent(connect: Connect, use: str) -> None:
    connect("", "id", "secret-of-mine")
    with pytest.raises(AirbyteSettingsError, match=r"'mine' has no Server URL \(host\)"):
        getattr(AirbyteHook("mine"), use)(1)


def test_nothing_secret_is_logged_raised_or_shown(
    sim: Simulator, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    header = "the-header-of-mine"
    connect(sim.url, sim.client_id, sim.client_secret, headers={"X-Key": header})
    echo = json.dumps({"message": f"you sent {sim.client_secret} and {header}"})
    sim.add_fault(Fault(call="get", kind="status", status=500, body=echo))
    hook = AirbyteHook("mine")
    with pytest.raises(AirbyteUnreachableError) as caught, hook:
        hook.get_job_details(1)
    assert "you sent *** and ***" in str(caught.value)
    said = [str(caught.value), repr(caught.value), str(vars(caught.value)), repr(hook), repr(hook.settings)]
    said += [record.getMessage() for record in caplog.records]
    secrets = [sim.client_secret, header, base64.b64encode(sim.client_secret.encode()).decode()]
    assert [secret for secret in secrets if secret in "\n".join(said)] == []


def test_a_request_has_the_hooks_timeout(sim: Simulator, mine: str) -> None:
    sim.add_fault(Fault(call="get", kind="hang"))
    began = time.monotonic()
    with pytest.raises(AirbyteUnreachableError):
        AirbyteHook(mine, timeout=0.3).get_job_details(1)
    # Far below the default of 30 s, and far above what a busy machine needs.
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("timeout", [0, -5, "soon"])
def test_a_timeout_that_is_none_is_refused_as_in_the_official_hook(mine: str, timeout: Any) -> None:
    if "timeout" in signature(OfficialHook).parameters:  # new in its release 6.2
        with pytest.raises(ValueError, match="timeout"):
            OfficialHook(mine, timeout=timeout)
    with pytest.raises(ValueError, match="timeout"):
        AirbyteHook(mine, timeout=timeout).get_job_details(1)
