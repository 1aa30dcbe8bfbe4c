"""How a request gets in, and what happens when it does not."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

import pytest
from airbyte_api import AirbyteAPI
from airbyte_api.models import SchemeClientCredentials, Security

from airbyte_deferrable.api.auth import auth_for
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import (
    ApiError,
    BadCredentials,
    Forbidden,
    NoTokenEndpoint,
    Unreachable,
)
from airbyte_deferrable.api.settings import BasicAuth, BearerToken, ClientCredentials, Settings
from airbyte_deferrable.api.transport import Transport
from airbyte_deferrable.simulator import Fault, Simulator
from helpers.waiting import until
from helpers.wire import Answer, Request, Wire, reply, token

SECRET = "the-client-secret"
CREDENTIALS = ClientCredentials("the-client-id", SECRET)
TOKEN_PATH = "/applications/token"


def client_of(sim: Simulator, **more: Any) -> AirbyteClient:
    return AirbyteClient(Settings(sim.url, ClientCredentials(sim.client_id, sim.client_secret), **more))


def serving(*tokens: bytes, jobs: bytes | None = None, good: str | None = None) -> Callable[[Request], Answer]:
    """Return a server's answers: these tokens in turn, and jobs for the good one."""
    left = list(tokens)

    def answer(request: Request) -> bytes:
        if request.path.endswith(TOKEN_PATH):
            return left.pop(0) if len(left) > 1 else left[0]
        if good is not None and request.headers.get("authorization") != f"Bearer {good}":
            return reply(401, {"message": "Unauthorized"})
        return jobs or reply(200, {"jobId": 7, "status": "running"})

    return answer


async def test_token_is_asked_for_in_json_and_carried_along() -> None:
    async with Wire(serving(token("abcdef"), good="abcdef")) as wire:
        async with AirbyteClient(Settings(wire.base_url, CREDENTIALS)) as client:
            await client.get_job(7)
            await client.get_job(7)
        (asked,) = wire.asked(TOKEN_PATH)
    assert asked.headers["content-type"] == "application/json"
    assert asked.json["client_id"] == "the-client-id"
    assert asked.json["client_secret"] == SECRET
    assert asked.json["grant_type"] == "client_credentials"
    assert "authorization" not in asked.headers


async def test_server_that_only_takes_a_form_gets_one() -> None:
    with Simulator(token_form_only=True) as sim:
        async with client_of(sim) as client:
            await client.list_jobs()
        assert sim.count("token") == 2


async def test_server_that_only_takes_json_gets_no_form() -> None:
    with Simulator(token_json_only=True) as sim:
        async with client_of(sim) as client:
            await client.list_jobs()
        assert sim.count("token") == 1


async def test_token_is_fetched_once_for_two_hundred(airbyte_simulator: Simulator) -> None:
    sim = airbyte_simulator
    job_id = sim.add_job(sim.add_connection())["id"]
    sim.add_fault(Fault(call="token", kind="latency", seconds=0.2))
    async with client_of(sim, max_requests=50) as client:
        await asyncio.gather(*(client.get_job(job_id) for _ in range(200)))
    assert sim.count("token") == 1


async def test_token_that_cannot_be_fetched_fails_two_hundred_with_one_request(airbyte_simulator: Simulator) -> None:
    sim = airbyte_simulator
    sim.add_fault(Fault(call="token", kind="status", status=503))
    async with client_of(sim) as client:
        errors = await asyncio.gather(*(client.get_job(7) for _ in range(200)), return_exceptions=True)
    assert {type(error) for error in errors} == {Unreachable}
    assert sim.count("token") == 1


async def test_token_is_not_lost_with_who_is_cancelled(airbyte_simulator: Simulator) -> None:
    sim = airbyte_simulator
    job_id = sim.add_job(sim.add_connection())["id"]
    sim.add_fault(Fault(call="token", kind="latency", seconds=0.3))
    async with client_of(sim) as client:
        first = asyncio.create_task(client.get_job(job_id))
        others = [asyncio.create_task(client.get_job(job_id)) for _ in range(5)]
        await until(lambda: client.requests)
        first.cancel()
        jobs = await asyncio.gather(*others)
        assert first.cancelled()
    assert {job.job_id for job in jobs} == {job_id}
    assert sim.count("token") == 1


async def test_token_is_renewed_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    async with Wire(serving(token("first-token", expires_in=900), token("second-token", expires_in=900))) as wire:
        async with AirbyteClient(Settings(wire.base_url, CREDENTIALS)) as client:
            await client.get_job(7)
            monkeypatch.setattr("airbyte_deferrable.api.auth.time.monotonic", lambda: now + 830)
            await client.get_job(7)
            monkeypatch.setattr("airbyte_deferrable.api.auth.time.monotonic", lambda: now + 860)
            await client.get_job(7)
        sent = [request.headers["authorization"] for request in wire.asked("/jobs/7")]
    assert sent == ["Bearer first-token", "Bearer first-token", "Bearer second-token"]


async def test_server_whose_tokens_end_soon_never_sees_one_that_ended() -> None:
    with Simulator(token_lifetime=3.0) as sim:
        job_id = sim.add_job(sim.add_connection())["id"]
        async with client_of(sim) as client:
            while sim.count("token") < 2:
                await client.get_job(job_id)
                await asyncio.sleep(0.1)
        assert 401 not in {status for _, _, _, status in sim.requests}


@pytest.mark.parametrize("expires_in", [None, "soon", [], "missing", 0, -1, "0", "-60", float("nan")])
async def test_token_without_a_known_end_is_used_until_it_is_refused(expires_in: object) -> None:
    more: dict[str, Any] = {} if expires_in == "missing" else {"expires_in": expires_in}
    async with Wire(serving(token(**more))) as wire:
        async with AirbyteClient(Settings(wire.base_url, CREDENTIALS)) as client:
            for _ in range(3):
                await client.get_job(7)
        assert len(wire.asked(TOKEN_PATH)) == 1


async def test_refused_token_is_replaced_and_the_request_sent_once_more(airbyte_simulator: Simulator) -> None:
    sim = airbyte_simulator
    connection_id = sim.add_connection()
    async with client_of(sim) as client:
        await client.list_jobs()
        sim.revoke_tokens()
        job = await client.create_job(connection_id)
    assert [each["id"] for each in sim.jobs()] == [job.job_id]
    assert [status for call, _, _, status in sim.requests if call == "create"] == [401, 200]
    assert sim.count("token") == 2


async def test_many_refused_at_once_fetch_one_new_token(airbyte_simulator: Simulator) -> None:
    sim = airbyte_simulator
    job_id = sim.add_job(sim.add_connection())["id"]
    async with client_of(sim) as client:
        await client.list_jobs()
        sim.revoke_tokens()
        await asyncio.gather(*(client.get_job(job_id) for _ in range(50)))
    assert sim.count("token") == 2


async def test_fresh_token_that_is_refused_means_bad_credentials() -> None:
    async with Wire(serving(token("one-token"), token("two-token"), good="neither")) as wire:
        async with AirbyteClient(Settings(wire.base_url, CREDENTIALS)) as client:
            with pytest.raises(BadCredentials) as caught:
                await client.get_job(7)
        assert len(wire.asked("/jobs/7")) == 2
    assert caught.value.call == "GET /jobs/7"


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (reply(400, {"message": "Invalid client id or token"}), BadCredentials),
        (reply(401, {"errorId": "x"}), BadCredentials),
        (reply(401, "<html>401</html>"), BadCredentials),
        (reply(400, {"message": "Bad Request", "_embedded": {"errors": [{"message": "no"}]}}), BadCredentials),
        (reply(400, {"error": "invalid_client", "error_description": "no"}), BadCredentials),
        (reply(403, {"errorId": "x"}), BadCredentials),
        (reply(409, {"errorId": "x"}), BadCredentials),
        (reply(422, {"errorId": "x"}), BadCredentials),
        (reply(400, {"message": "no"}), Unreachable),
        (reply(403, {"message": "no"}), Unreachable),
        (reply(409, {"message": "no"}), Unreachable),
        (reply(422, {"error": "no"}), Unreachable),
        (reply(403, {"error": {"code": 403, "message": "no"}}), Unreachable),
        (reply(500, {"error": "invalid_client"}), BadCredentials),
        (reply(404, {"message": "Not Found"}), NoTokenEndpoint),
        (reply(404, "<html>404</html>"), NoTokenEndpoint),
        (reply(405, ""), NoTokenEndpoint),
        (reply(302, "", Location="https://login.example.com/"), Unreachable),
        (reply(403, "<html>blocked</html>"), Unreachable),
        (reply(408, {"message": "slow"}), Unreachable),
        (reply(429, {"message": "You are being rate limited."}), Unreachable),
        (reply(500, {"errorId": "x"}), Unreachable),
        (reply(503, ""), Unreachable),
        (reply(200, "<!doctype html><title>Airbyte</title>"), NoTokenEndpoint),
        (reply(200, "no JSON"), Unreachable),
        (reply(200, {}), Unreachable),
        (reply(200, {"access_token": ""}), Unreachable),
        (reply(200, {"access_token": 7}), Unreachable),
        (reply(200, []), Unreachable),
    ],
)
async def test_token_endpoints_word_is_never_about_the_job(answer: bytes, cause: type[ApiError]) -> None:
    async with Wire(serving(answer)) as wire:
        async with AirbyteClient(Settings(wire.base_url, CREDENTIALS)) as client:
            with pytest.raises(ApiError) as caught:
                await client.get_job(7)
        assert wire.asked("/jobs/7") == []
    assert type(caught.value) is cause
    assert "token endpoint" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize("body", [{"message": "no Route matched with those values"}, "<html>404</html>", ""])
@pytest.mark.parametrize(
    ("health", "cause"),
    [
        (reply(200, "Successful operation"), NoTokenEndpoint),
        (reply(200, {"available": True}), NoTokenEndpoint),
        (reply(200, "<html>"), Unreachable),
        (reply(404, {"message": "no Route matched with those values"}), Unreachable),
        (reply(503, ""), Unreachable),
        ("close", Unreachable),
    ],
)
async def test_missing_token_endpoint_is_believed_of_a_gateway_only_if_it_leads_to_airbyte(
    status: int, body: object, health: Answer, cause: type[ApiError]
) -> None:
    def answer(request: Request) -> Answer:
        return health if request.path.endswith("/health") else reply(status, body)

    async with Wire(answer) as wire, AirbyteClient(Settings(wire.base_url, CREDENTIALS)) as client:
        with pytest.raises(ApiError) as caught:
            await client.get_job(7)
    assert type(caught.value) is cause
    assert caught.value.credentials_in_doubt


async def test_airbyte_without_authentication_has_its_web_app_answer_for_tokens() -> None:
    async with Wire(lambda _: reply(200, "<!doctype html><title>Airbyte</title>")) as wire:
        async with AirbyteClient(Settings(wire.base_url, CREDENTIALS)) as client:
            with pytest.raises(NoTokenEndpoint, match="leave Client ID and Client Secret empty"):
                await client.get_job(7)
        # One page alone may be a gateway's, as while it starts.
        assert len(wire.requests) == 2


async def test_page_in_place_of_a_token_is_not_believed_the_first_time() -> None:
    answers = serving(reply(200, "<html>Starting"), token())
    async with Wire(answers) as wire, AirbyteClient(Settings(wire.base_url, CREDENTIALS)) as client:
        assert (await client.get_job(7)).job_id == 7


async def test_token_endpoint_that_is_out_of_order_leaves_the_credentials_in_doubt() -> None:
    """Some releases say 500 for an application that they do not know."""
    for status, in_doubt in ((500, True), (503, False)):
        answers = serving(reply(status, {"errorId": "x"}))
        async with Wire(answers) as wire, AirbyteClient(Settings(wire.base_url, CREDENTIALS)) as client:
            with pytest.raises(Unreachable) as caught:
                await client.get_job(7)
        assert caught.value.credentials_in_doubt is in_doubt


@pytest.mark.parametrize("status", [400, 401])
async def test_wrong_credentials_are_told_as_such_by_every_release(status: int) -> None:
    with Simulator(bad_credentials_status=status) as sim:
        async with AirbyteClient(Settings(sim.url, ClientCredentials(sim.client_id, "wrong-secret"))) as client:
            with pytest.raises(BadCredentials):
                await client.list_jobs()


async def test_after_bad_credentials_the_next_call_asks_again() -> None:
    answers = serving(reply(401, "{}"), reply(401, "{}"), token())
    async with Wire(answers) as wire, AirbyteClient(Settings(wire.base_url, CREDENTIALS)) as client:
        with pytest.raises(BadCredentials):
            await client.get_job(7)
        assert (await client.get_job(7)).job_id == 7


async def test_bearer_token_is_used_as_it_is() -> None:
    with Simulator(auth="bearer") as sim:
        async with AirbyteClient(Settings(sim.url, BearerToken(sim.token))) as client:
            assert await client.list_jobs() == ()
        async with AirbyteClient(Settings(sim.url, BearerToken("another"))) as client:
            with pytest.raises(BadCredentials):
                await client.list_jobs()
        assert len(sim.requests) == 2


async def test_login_and_password_are_sent_as_basic_authentication() -> None:
    with Simulator(auth="basic", client_id="airbyte", client_secret="pässword") as sim:
        async with AirbyteClient(Settings(sim.url, BasicAuth("airbyte", "pässword"))) as client:
            assert await client.list_jobs() == ()
    async with (
        Wire(lambda _: reply(200, {"data": []})) as wire,
        AirbyteClient(Settings(wire.base_url, BasicAuth("me", "a:b"))) as client,
    ):
        await client.list_jobs()
    scheme, _, pair = wire.requests[0].headers["authorization"].partition(" ")
    assert (scheme, base64.b64decode(pair)) == ("Basic", b"me:a:b")


async def test_without_credentials_no_header_is_sent() -> None:
    with Simulator(auth="none") as sim:
        async with AirbyteClient(Settings(sim.url)) as client:
            assert await client.list_jobs() == ()
    async with Wire(lambda _: reply(200, {"data": []})) as wire, AirbyteClient(Settings(wire.base_url)) as client:
        await client.list_jobs()
    assert "authorization" not in wire.requests[0].headers


async def test_credentials_that_are_missing_are_said_to_be_needed(airbyte_simulator: Simulator) -> None:
    async with AirbyteClient(Settings(airbyte_simulator.url)) as client:
        with pytest.raises(BadCredentials, match="None were sent: fill in both"):
            await client.list_jobs()


async def test_forbidden_does_not_cost_a_token(airbyte_simulator: Simulator) -> None:
    sim = airbyte_simulator
    sim.instance_admin = False
    async with client_of(sim) as client:
        with pytest.raises(Forbidden):
            await client.get_job(424242)
    assert sim.count("token") == 1


BASES = ["/api/public/v1", "/v1", "", "/prefix/api/public/v1"]
TOKEN_URLS = ["v1/applications/token", "/applications/token", "/api/v1/applications/token", "token", "../x/token"]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("token_url", [*TOKEN_URLS, "ELSEWHERE/oauth/token"])
async def test_token_url_is_resolved_as_the_sdk_does(base: str, token_url: str) -> None:
    def answer(request: Request) -> bytes:
        if request.method == "POST":
            return token(token_type="Bearer", expires_in=900)
        return reply(200, {"data": []}, Content_Type="application/json")

    async with Wire(answer) as ours, Wire(answer) as theirs:
        for wire in (ours, theirs):
            address = token_url.replace("ELSEWHERE", wire.url)
            if wire is ours:
                settings = Settings(wire.url + base, ClientCredentials("id", "secret", address))
                async with AirbyteClient(settings) as client:
                    await client.list_jobs()
            else:
                # A secret of its own: the SDK keeps tokens by id and secret, whatever the server.
                credentials = SchemeClientCredentials(
                    client_id="id", client_secret=f"{base} {token_url}", token_url=address
                )
                sdk = AirbyteAPI(server_url=wire.url + base, security=Security(client_credentials=credentials))
                await asyncio.to_thread(sdk.jobs.list_jobs, request={})
    asked = [[request.path for request in wire.requests if request.method == "POST"] for wire in (ours, theirs)]
    assert asked[0] == asked[1]
    assert len(asked[0]) == 1


async def test_closing_during_a_token_request_cancels_nobody_who_waits_for_it() -> None:
    """A watcher that ends closes its client, which others may have borrowed."""
    asked = asyncio.Event()

    def answer(_: Request) -> Answer:
        asked.set()
        return "hang"

    async with Wire(answer) as wire:
        client = AirbyteClient(Settings(wire.base_url, CREDENTIALS))
        waiting = asyncio.create_task(client.get_job(7))
        await asked.wait()
        await client.close()
        with pytest.raises(Unreachable, match="closed meanwhile"):
            await waiting


async def test_closing_stops_a_token_request_that_nobody_waits_for() -> None:
    async with Wire(lambda _: "hang") as wire:
        settings = Settings(wire.base_url, CREDENTIALS)
        transport = Transport(settings)
        auth = auth_for(settings, transport)
        caller = asyncio.create_task(auth.header())
        await until(lambda: wire.requests)
        caller.cancel()
        await asyncio.wait([caller])
        before = asyncio.all_tasks()
        await auth.stop()
        await transport.close()
        assert len(asyncio.all_tasks()) < len(before)
