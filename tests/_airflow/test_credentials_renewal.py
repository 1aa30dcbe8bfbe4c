"""What a gateway before Airbyte says is no outcome; if it wants other credentials, those who wait bring them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from airbyte_deferrable._airflow import credentials
from airbyte_deferrable.triggers import AirbyteQueueTrigger, AirbyteSyncTrigger
from harness.waiting import IN_VAIN
from helpers.one_task import first_event, kept_log, said
from helpers.waiting import until
from helpers.wire import Request, Wire, reply, token

CONNECTION = "a1b7e000-0000-4000-8000-000000000001"
KONG = {"message": "no Route matched with those values"}
#: What gateways say to who comes with the wrong credentials, or at the wrong time.
REFUSALS = {
    "401": reply(401, ""),
    "401 in JSON": reply(401, {"message": "Unauthorized"}),
    "redirect to log in": reply(302, "", Location="https://login.example.com/"),
    "redirect to nowhere": reply(303, ""),
    "403 page": reply(403, "<html>Forbidden"),
    "403 in JSON": reply(403, {"message": "Forbidden"}),
    "404 page": reply(404, "<html>"),
    "404 in JSON": reply(404, KONG),
    "407": reply(407, ""),
    "409 in JSON": reply(409, {"error": "stale session"}),
    "page to log in": reply(200, "<html>Sign in"),
    "JSON to log in": reply(200, {"login_url": "https://login.example.com/"}),
}


class Gateway:
    """An Airbyte with one connection, whose jobs are numbered from 1 on, behind a gateway.

    :param jobs: How many jobs it has.
    """

    def __init__(self, jobs: int = 1) -> None:
        self.status = dict.fromkeys(range(1, jobs + 1), "running")
        #: What the gateway wants to see in a header, and what it says to who does not have it.
        self.key = "old"
        self.refusal = b""
        #: What it says to everybody; None to let all pass.
        self.says: bytes | None = None
        self.refused = 0
        self.deleted: list[int] = []

    def __call__(self, request: Request) -> bytes:
        if self.says is not None or request.headers.get("x-gate") != self.key:
            self.refused += 1
            return self.says or self.refusal
        last = request.path.rpartition("/")[2]
        if last == "jobs":
            return reply(200, {"data": [self._job(number) for number in reversed(self.status)]})
        if request.method == "DELETE":
            self.deleted.append(int(last))
            self.status[int(last)] = "cancelled"
        return reply(200, self._job(int(last)))

    def _job(self, number: int) -> dict[str, Any]:
        told = {"jobId": number, "status": self.status[number], "jobType": "sync", "connectionId": CONNECTION}
        return {**told, "startTime": "2026-01-01T00:00:00Z", "duration": "PT1M"}


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[Wire, str], None]:
    """Return what puts a key for the gateway into the Airflow connection."""
    monkeypatch.setattr(credentials, "KNOWN_FOR", 0.0)
    monkeypatch.setattr(credentials, "LOOK_FOR_CHANGE", 0.05)

    def connect(wire: Wire, key: str) -> None:
        fields = {"conn_type": "airbyte", "host": wire.base_url, "extra": {"headers": {"X-Gate": key}}}
        monkeypatch.setenv("AIRFLOW_CONN_MINE", json.dumps(fields))

    return connect


def waiting(number: int) -> tuple[asyncio.Future[Any], list[str]]:
    trigger = AirbyteSyncTrigger(number, "mine", time.time() + 3600, 0.1)
    trigger._log, lines = kept_log()
    return asyncio.ensure_future(first_event(trigger)), lines


def goes_on(lines: list[str]) -> bool:
    return any("goes on with its new credentials" in line for line in lines)


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("jobs", [1, 3], ids=["alone", "with others"])
async def test_key_that_was_renewed_in_the_connection_reaches_those_who_wait(
    connect: Callable[[Wire, str], None], refusal: str, jobs: int
) -> None:
    gateway = Gateway(jobs)
    async with Wire(gateway) as wire:
        connect(wire, "old")
        waits = [waiting(number) for number in gateway.status]
        for _, lines in waits:
            await until(lambda lines=lines: said(lines, "Airbyte job"))
        gateway.refusal, gateway.key = REFUSALS[refusal], "new"
        for _, lines in waits:
            await until(lambda lines=lines: said(lines, "Airbyte cannot be asked now"))
        assert not any(goes_on(lines) for _, lines in waits)
        connect(wire, "new")
        for _, lines in waits:
            await until(lambda lines=lines: goes_on(lines))
        gateway.status = dict.fromkeys(gateway.status, "succeeded")
        events = await asyncio.wait_for(asyncio.gather(*(wait for wait, _ in waits)), IN_VAIN)
    assert [event["status"] for event in events] == ["success"] * jobs


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_queue_is_waited_in_with_a_key_that_was_renewed_meanwhile(
    connect: Callable[[Wire, str], None], refusal: str
) -> None:
    gateway = Gateway()
    async with Wire(gateway) as wire:
        connect(wire, "old")
        trigger = AirbyteQueueTrigger(CONNECTION, "mine", 0.0, 0.1, time.time() + 3600)
        trigger._log, lines = kept_log()
        gateway.refusal, gateway.key = REFUSALS[refusal], "new"
        wait = asyncio.ensure_future(first_event(trigger))
        await until(lambda: said(lines, "Airbyte cannot be asked now"))
        connect(wire, "new")
        await until(lambda: goes_on(lines))
        gateway.status[1] = "succeeded"
        assert (await asyncio.wait_for(wait, IN_VAIN))["status"] == "free"


async def test_refusal_in_the_middle_of_an_outage_leads_to_the_renewed_key(
    connect: Callable[[Wire, str], None],
) -> None:
    """A gateway that is restarted to be given other keys."""
    gateway = Gateway()
    async with Wire(gateway) as wire:
        connect(wire, "old")
        wait, lines = waiting(1)
        await until(lambda: said(lines, "Airbyte job"))
        gateway.says = reply(503, "")
        await until(lambda: said(lines, "Airbyte cannot be asked now"))
        connect(wire, "new")
        gateway.refusal, gateway.key, gateway.says = REFUSALS["403 in JSON"], "new", None
        await until(lambda: goes_on(lines))
        gateway.status[1] = "succeeded"
        assert (await asyncio.wait_for(wait, IN_VAIN))["status"] == "success"


async def test_outage_alone_is_no_reason_to_look_at_the_connection(
    connect: Callable[[Wire, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    look_ups = []
    load = credentials.load_settings
    monkeypatch.setattr(credentials, "load_settings", lambda *args, **more: look_ups.append(1) or load(*args, **more))
    gateway = Gateway()
    async with Wire(gateway) as wire:
        connect(wire, "old")
        wait, lines = waiting(1)
        await until(lambda: said(lines, "Airbyte job"))
        gateway.says = reply(503, "")
        await until(lambda: said(lines, "Airbyte cannot be asked now"))
        refused = gateway.refused
        await until(lambda: gateway.refused > refused + 5)
        assert len(look_ups) == 1
        gateway.says, gateway.status[1] = None, "succeeded"
        assert (await asyncio.wait_for(wait, IN_VAIN))["status"] == "success"


@pytest.mark.parametrize("says", [name for name in REFUSALS if name != "401"])
@pytest.mark.parametrize("jobs", [1, 3], ids=["alone", "with others"])
async def test_gateways_word_for_a_while_is_no_outcome(
    connect: Callable[[Wire, str], None], says: str, jobs: int
) -> None:
    gateway = Gateway(jobs)
    async with Wire(gateway) as wire:
        connect(wire, "old")
        waits = [waiting(number) for number in gateway.status]
        for _, lines in waits:
            await until(lambda lines=lines: said(lines, "Airbyte job"))
        gateway.says = REFUSALS[says]
        # Airbyte's own word would be believed the second time.
        await until(lambda: gateway.refused > 6)
        assert not any(wait.done() for wait, _ in waits)
        gateway.says, gateway.status = None, dict.fromkeys(gateway.status, "succeeded")
        events = await asyncio.wait_for(asyncio.gather(*(wait for wait, _ in waits)), IN_VAIN)
    assert [event["status"] for event in events] == ["success"] * jobs
    assert gateway.deleted == []


async def test_token_endpoint_that_a_gateway_hides_for_a_while_is_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Gateway()
    hidden = iter([reply(404, KONG), reply(403, KONG), reply(200, "<html>"), reply(200, "<html>"), reply(400, KONG)])

    def answer(request: Request) -> bytes:
        if request.path.endswith("/token"):
            return next(hidden, token())
        if "authorization" not in request.headers:
            return reply(404, KONG)
        request.headers["x-gate"] = "old"
        return gateway(request)

    async with Wire(answer) as wire:
        fields = {"conn_type": "airbyte", "host": wire.base_url, "login": "id", "password": "the-secret"}
        monkeypatch.setenv("AIRFLOW_CONN_MINE", json.dumps(fields))
        wait, lines = waiting(1)
        await until(lambda: said(lines, "Airbyte job"))
        gateway.status[1] = "succeeded"
        assert (await asyncio.wait_for(wait, IN_VAIN))["status"] == "success"
        assert next(hidden, None) is None
