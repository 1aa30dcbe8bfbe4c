"""The way to the server: TLS, proxies, headers."""

from __future__ import annotations

import asyncio
import base64
import gc
import ssl
import time
import warnings
from pathlib import Path

import pytest

from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import Unreachable
from airbyte_deferrable.api.settings import BasicAuth, Settings
from helpers.wire import Answer, Behaviour, Request, Wire, reply, running_proxy

JOB = reply(200, {"jobId": 7, "status": "running"})


def fine(_: Request) -> bytes:
    return JOB


async def test_certificate_that_nobody_vouches_for_is_refused(server_tls: ssl.SSLContext) -> None:
    async with Wire(fine, server_tls) as wire:
        async with AirbyteClient(Settings(wire.base_url)) as client:
            with pytest.raises(Unreachable) as caught:
                await client.create_job("c")
        assert wire.requests == []
    assert not caught.value.may_have_arrived
    assert "self-signed certificate" in str(caught.value)


async def test_ca_file_vouches_for_it(server_tls: ssl.SSLContext, certificate: Path) -> None:
    async with Wire(fine, server_tls) as wire:
        async with AirbyteClient(Settings(wire.base_url, ca_file=str(certificate))) as client:
            assert (await client.get_job(7)).job_id == 7
        async with AirbyteClient(
            Settings(wire.base_url.replace("localhost", "127.0.0.1"), ca_file=str(certificate))
        ) as client:
            with pytest.raises(Unreachable, match=r"(?i)IP address mismatch"):
                await client.get_job(7)


async def test_verification_can_be_switched_off(server_tls: ssl.SSLContext) -> None:
    async with Wire(fine, server_tls) as wire, AirbyteClient(Settings(wire.base_url, verify=False)) as client:
        assert (await client.get_job(7)).job_id == 7


async def test_server_that_speaks_no_tls_got_nothing() -> None:
    async with Wire(fine) as wire:
        url = wire.base_url.replace("http://", "https://")
        async with AirbyteClient(Settings(url, timeout=2)) as client:
            with pytest.raises(Unreachable) as caught:
                await client.create_job("c")
        assert wire.requests == []
    assert not caught.value.may_have_arrived


async def test_plain_address_that_leads_to_tls_is_followed_with_the_credentials(
    server_tls: ssl.SSLContext, certificate: Path
) -> None:
    async with (
        Wire(fine, server_tls) as secure,
        Wire(lambda request: reply(308, "", Location=secure.url + request.target)) as plain,
    ):
        url = plain.base_url.replace("127.0.0.1", "localhost")
        async with AirbyteClient(Settings(url, BasicAuth("me", "pass"), ca_file=str(certificate))) as client:
            await client.create_job("c")
    (request,) = secure.requests
    assert request.method == "POST"
    assert request.json["connectionId"] == "c"
    assert "authorization" in request.headers


async def test_tls_is_not_left_by_a_redirect(server_tls: ssl.SSLContext) -> None:
    async with Wire(fine) as plain:
        where = plain.url.replace("127.0.0.1", "localhost")
        async with (
            Wire(lambda _: reply(302, "", Location=where), server_tls) as secure,
            AirbyteClient(Settings(secure.base_url, verify=False)) as client,
        ):
            with pytest.raises(Unreachable):
                await client.get_job(7)
        assert plain.requests == []


async def test_plain_request_goes_through_the_proxy_for_its_scheme() -> None:
    async with Wire(fine) as wire, running_proxy() as proxy:
        settings = Settings(wire.base_url, proxies=(("http", proxy.url), ("https", "http://127.0.0.1:1")))
        async with AirbyteClient(settings) as client:
            assert (await client.get_job(7)).job_id == 7
        assert proxy.asked == [f"GET {wire.base_url}/jobs/7"]


async def test_tls_request_goes_through_a_tunnel(server_tls: ssl.SSLContext, certificate: Path) -> None:
    async with Wire(fine, server_tls) as wire, running_proxy() as proxy:
        settings = Settings(wire.base_url, ca_file=str(certificate), proxies=(("https", proxy.url),))
        async with AirbyteClient(settings) as client:
            assert (await client.get_job(7)).job_id == 7
        assert proxy.asked == [f"CONNECT {wire.url.removeprefix('https://')}"]


async def test_proxy_gets_its_login() -> None:
    wanted = "Basic " + base64.b64encode(b"me:p@ss").decode()
    async with Wire(fine) as wire, running_proxy(wanted) as proxy:
        url = proxy.url.replace("//", "//me:p%40ss@")
        async with AirbyteClient(Settings(wire.base_url, proxies=(("http", url),))) as client:
            assert (await client.get_job(7)).job_id == 7
        async with AirbyteClient(Settings(wire.base_url, proxies=(("http", proxy.url),))) as client:
            with pytest.raises(Unreachable, match="407"):
                await client.get_job(7)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_proxy_that_is_down_or_refuses_lets_nothing_through(scheme: str) -> None:
    for authorization in ("Basic other", None):
        async with running_proxy(authorization) as proxy:
            url = proxy.url if authorization else "http://127.0.0.1:1"
            settings = Settings(f"{scheme}://localhost:9/v1", proxies=((scheme, url),))
            async with AirbyteClient(settings) as client:
                with pytest.raises(Unreachable) as caught:
                    await client.create_job("c")
        if scheme == "https" or authorization is None:
            assert not caught.value.may_have_arrived


@pytest.mark.parametrize("proxied", [False, True])
async def test_name_that_leads_nowhere_is_told(proxied: bool) -> None:
    nowhere = "http://nowhere.invalid:8000"
    proxies = (("http", nowhere),) if proxied else ()
    async with AirbyteClient(Settings("http://localhost:9/v1" if proxied else nowhere, proxies=proxies)) as client:
        with pytest.raises(Unreachable, match=r"nowhere\.invalid:8000") as caught:
            await client.get_job(7)
    assert not caught.value.may_have_arrived


@pytest.mark.parametrize("host", ["airbyte..example", ".example", f"{'a' * 64}.example"])
async def test_host_that_is_no_name_is_told_and_got_nothing(host: str) -> None:
    async with AirbyteClient(Settings(f"http://{host}:8000/v1")) as client:
        with pytest.raises(Unreachable, match=r"the connection's Server URL \(host\) is right") as caught:
            await client.create_job("c")
    assert "more than 63 letters" in caught.value.detail
    assert not caught.value.may_have_arrived


async def test_configured_headers_are_added_to_every_request() -> None:
    async with (
        Wire(fine) as wire,
        AirbyteClient(Settings(wire.base_url, headers=(("X-Tenant", "blue"),))) as client,
    ):
        await client.get_job(7)
        await client.create_job("c")
        await client.health()
    assert [request.headers["x-tenant"] for request in wire.requests] == ["blue"] * 3
    assert wire.requests[0].headers["user-agent"].startswith("airbyte-deferrable/")


async def test_cookies_are_not_kept() -> None:
    answer = reply(200, {"jobId": 7, "status": "running"}, Set_Cookie="pod=1; Path=/")
    async with (
        Wire(lambda _: answer) as wire,
        AirbyteClient(Settings(wire.base_url.replace("127.0.0.1", "localhost"))) as client,
    ):
        await client.get_job(7)
        await client.get_job(7)
    assert "cookie" not in wire.requests[1].headers


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_delete_is_not_sent_twice_when_its_connection_ends(end: Behaviour) -> None:
    """It may have been carried out, and the connection may run another job by now."""

    def answer(request: Request) -> Answer:
        return end if request.method == "DELETE" else JOB

    async with Wire(answer) as wire, AirbyteClient(Settings(wire.base_url)) as client:
        await client.get_job(7)
        for _ in range(2):
            with pytest.raises(Unreachable) as caught:
                await client.cancel_job(7)
            assert caught.value.may_have_arrived
        assert (await client.get_job(7)).job_id == 7
    assert [request.method for request in wire.requests] == ["GET", "DELETE", "DELETE", "GET"]


async def test_closing_leaves_nothing_open(server_tls: ssl.SSLContext) -> None:
    async with Wire(fine, server_tls) as wire:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            async with AirbyteClient(Settings(wire.base_url, verify=False)) as client:
                await client.get_job(7)
            del client
            gc.collect()
    assert [str(each.message) for each in caught if each.category is ResourceWarning] == []


async def test_cancellation_in_the_moment_of_a_timeout_is_not_lost() -> None:
    asked = asyncio.Event()

    def hang(_: Request) -> Behaviour:
        asked.set()
        return "hang"

    loop = asyncio.get_running_loop()
    async with Wire(hang) as wire, AirbyteClient(Settings(wire.base_url, timeout=0.5)) as client:
        request = asyncio.ensure_future(client.get_job(7))
        await asked.wait()
        loop.call_later(0.5, request.cancel)
        # The loop is held until both are due, as a busy machine does it.
        time.sleep(0.6)  # noqa: ASYNC251
        await asyncio.wait({request})
    assert request.cancelled()
