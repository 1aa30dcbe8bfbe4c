"""The hook's session: one token, nothing left open, nothing secret shown."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import signal
import threading
import time
import warnings
from inspect import signature
from typing import Any

import aiohttp
import pytest
from airflow.providers.airbyte.hooks.airbyte import AirbyteHook as OfficialHook

from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.exceptions import (
    AirbyteSettingsError,
    AirbyteTimeout,
    AirbyteUnreachableError,
)
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import Connect
from helpers.one_task import interrupted_when
from helpers.waiting import wait_until


def test_session_and_token_are_one_inside_with(sim: Simulator, mine: str) -> None:
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


def test_session_is_not_left_open(sim: Simulator, mine: str) -> None:
    job_id = sim.add_job(sim.add_connection(script=Script(outcome=None)))["id"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with AirbyteHook(mine) as hook, pytest.raises(AirbyteTimeout):
            hook.wait_for_job(job_id, wait_seconds=0.1, timeout=0.3)
        del hook
        gc.collect()
    assert [str(each.message) for each in caught if each.category is ResourceWarning] == []


def test_session_is_not_opened_by_what_is_under_way_when_it_is_closed(sim: Simulator, mine: str) -> None:
    """As a look-up of names may, which asks for the next as soon as it has the last."""
    connection_id = sim.add_connection()
    begun = threading.Event()

    async def ask_on(client: AirbyteClient) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await client.get_connection(connection_id)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with AirbyteHook(mine) as hook:
            hook.start(ask_on)
            begun.wait()
        del hook
        gc.collect()
    assert [str(each.message) for each in caught if each.category is ResourceWarning] == []


def test_session_is_closed_although_the_closing_is_interrupted(
    sim: Simulator, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a kill, or by ``execution_timeout``, just as a task has its answer."""
    closing, interrupted = threading.Event(), threading.Event()
    close = aiohttp.ClientSession.close
    sessions = []

    async def slow(session: aiohttp.ClientSession) -> None:
        sessions.append(session)
        closing.set()
        await asyncio.to_thread(interrupted.wait)
        await close(session)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(aiohttp.ClientSession, "close", slow)
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), interrupted_when(closing.is_set, signal.SIGUSR1):
            AirbyteHook(mine).list_connections()
    finally:
        signal.signal(signal.SIGUSR1, before)
        interrupted.set()
    wait_until(lambda: [session.closed for session in sessions] == [True])


def test_session_can_be_opened_again(sim: Simulator, mine: str) -> None:
    job_id = sim.add_job(sim.add_connection(script=Script(duration=0.1)))["id"]
    hook = AirbyteHook(mine)
    for _ in range(2):
        with hook:
            hook.wait_for_job(job_id, wait_seconds=0.1)


async def test_session_of_coroutines_is_their_own(sim: Simulator, mine: str) -> None:
    job_id = sim.add_job(sim.add_connection())["id"]
    async with AirbyteHook(mine).async_client() as client:
        jobs = await asyncio.gather(*(client.get_job(job_id) for _ in range(5)))
    assert {job.job_id for job in jobs} == {job_id}
    assert sim.count("token") == 1


def test_secret_is_not_logged_raised_or_shown(
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


@pytest.mark.parametrize("use", ["get_job_details", "submit_sync_connection"])
def test_settings_that_are_bad_are_told_before_anything_is_sent(connect: Connect, use: str) -> None:
    connect("", "id", "secret-of-mine")
    with pytest.raises(AirbyteSettingsError, match=r"'mine' has no Server URL \(host\)"):
        getattr(AirbyteHook("mine"), use)(1)


def test_timeout_of_the_hook_is_that_of_a_request(sim: Simulator, mine: str) -> None:
    sim.add_fault(Fault(call="get", kind="hang"))
    began = time.monotonic()
    with pytest.raises(AirbyteUnreachableError):
        AirbyteHook(mine, timeout=0.3).get_job_details(1)
    # Far below the default of 30 s, and far above what a busy machine needs.
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("timeout", [0, -5, "soon"])
def test_timeout_that_is_none_is_refused_as_in_the_official_hook(mine: str, timeout: Any) -> None:
    if "timeout" in signature(OfficialHook).parameters:  # new in its release 6.2
        with pytest.raises(ValueError, match="timeout"):
            OfficialHook(mine, timeout=timeout)
    with pytest.raises(ValueError, match="timeout"):
        AirbyteHook(mine, timeout=timeout).get_job_details(1)
