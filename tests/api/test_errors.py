"""What an answer means, whatever its status and whoever gave it."""

from __future__ import annotations

import socket

import pytest

from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import (
    MAX_DETAIL,
    ApiError,
    BadCredentials,
    Conflict,
    Forbidden,
    NotFound,
    Rejected,
    Unreachable,
)
from airbyte_deferrable.api.settings import BasicAuth, Settings

from .wire import Answer, Cut, Wire, reply

PROBLEM = (
    '{"status":0,"type":"https://reference.airbyte.com/reference/errors#x","title":"a-kind","detail":"General.",'
    '"documentationUrl":null,"data":{"message":"What really happened"}}'
)
SAID_BY_AIRBYTE = {
    "problem": PROBLEM,
    "message": '{"message":"What really happened"}',
    "error id": '{"errorId":"What really happened"}',
}
SAID_BY_SOMEBODY_ELSE = {
    "nginx page": "<html>\r\n<head><title>Oops</title></head>\r\n<body>nginx</body>\r\n</html>",
    "empty": "",
    "garbage": "default backend \x00\ufffd",
    "cut off": PROBLEM[:40],
    "no object": "[1]",
    "too deep": "[" * 200_000,
}
BY_STATUS: dict[int, type[ApiError]] = {
    400: Rejected,
    401: BadCredentials,
    403: Forbidden,
    404: NotFound,
    408: Unreachable,
    409: Conflict,
    418: Rejected,
    422: Rejected,
    425: Unreachable,
    429: Unreachable,
    500: Unreachable,
    502: Unreachable,
    503: Unreachable,
    504: Unreachable,
    599: Unreachable,
}


async def ask(answer: Answer, timeout: float = 5.0) -> ApiError:
    """Ask for a job, and return how that failed."""
    async with Wire(lambda _: answer) as wire, AirbyteClient(Settings(wire.base_url, timeout=timeout)) as client:
        with pytest.raises(ApiError) as caught:
            await client.get_job(7)
    return caught.value


@pytest.mark.parametrize("body", SAID_BY_AIRBYTE.values(), ids=SAID_BY_AIRBYTE)
@pytest.mark.parametrize(("status", "cause"), BY_STATUS.items())
async def test_airbytes_refusals_are_named_by_their_status(status: int, cause: type[ApiError], body: str) -> None:
    error = await ask(reply(status, body))
    assert type(error) is cause
    assert error.status == status
    assert "What really happened" in error.detail
    assert f"GET /jobs/7: HTTP {status}." in str(error)
    assert error.transient is (cause is Unreachable)


@pytest.mark.parametrize("body", SAID_BY_SOMEBODY_ELSE.values(), ids=SAID_BY_SOMEBODY_ELSE)
@pytest.mark.parametrize("status", [200, *BY_STATUS])
async def test_a_gateways_page_is_never_airbytes_word(status: int, body: str) -> None:
    error = await ask(reply(status, body))
    assert type(error) is (BadCredentials if status == 401 else Unreachable)
    assert error.status == status


async def test_a_conflict_tells_airbytes_name_for_it() -> None:
    error = await ask(reply(409, PROBLEM))
    assert isinstance(error, Conflict)
    assert error.kind == "a-kind"


@pytest.mark.parametrize("body", ['{"detail": {"a": 1}}', '{"message": ["x"]}', '{"data": "text", "title": 3}', "{}"])
async def test_a_refusal_of_any_shape_is_told(body: str) -> None:
    assert type(await ask(reply(422, body))) is Rejected


async def test_a_page_is_told_by_its_words() -> None:
    page = "<html><head><style>p {color: red}</style>\n<title>502 Bad Gateway</title></head><p>nginx</p></html>"
    assert (await ask(reply(502, page))).detail == "502 Bad Gateway nginx"


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (503, "", "overloaded or out of order"),
        (429, PROBLEM, "overloaded or out of order"),
        (200, "<html>Sign in</html>", "the address of Airbyte's public API"),
        (404, "<html>nginx</html>", "the address of Airbyte's public API"),
    ],
)
async def test_the_advice_fits_the_answer(status: int, body: str, advice: str) -> None:
    assert advice in str(await ask(reply(status, body)))


@pytest.mark.parametrize("tag", ["<", "<script>", "<!-- "])
async def test_a_page_of_tags_that_never_close_is_read_in_no_time(tag: str) -> None:
    """Otherwise it would take hours, in the event loop of all who wait, and this test would not end."""
    assert type(await ask(reply(502, tag * 1_000_000))) is Unreachable


async def test_a_long_page_is_told_in_short_and_on_one_line() -> None:
    error = await ask(reply(502, "<html>\n" + "very long\n" * 10_000))
    assert len(error.detail) <= MAX_DETAIL
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": " 7 "}, 7.0),
        ({"Retry_After": "Sat, 21 Nov 2026 10:00:30 GMT", "Date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"Retry_After": "Sat, 21 Nov 2026 09:00:00 GMT", "Date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"Retry_After": "Sat, 21 Nov 2026 10:00:30 -0000", "Date": "Sat, 21 Nov 2026 10:00:00 GMT"}, None),
        ({"Retry_After": "Sat, 21 Nov 2026 10:00:30 GMT"}, None),
        ({"Retry_After": "soon", "Date": "Sat, 21 Nov 2026 10:00:00 GMT"}, None),
        ({"Retry_After": "²"}, None),
        ({"Retry_After": "-3"}, None),
        ({}, None),
    ],
)
async def test_a_server_may_say_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    error = await ask(reply(429, PROBLEM, **headers))
    assert isinstance(error, Unreachable)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    "answer",
    [
        "close",
        "reset",
        "hang",
        Cut(b"HTTP/1.1 200 OK\r\nContent-Le"),
        Cut(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"jobId": 7'),
        Cut(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"),
        Cut(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"),
        Cut(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("call", ["create", "get"])
async def test_a_request_whose_answer_got_lost_may_have_arrived(answer: Answer, call: str) -> None:
    async with Wire(lambda _: answer) as wire:
        settings = Settings(wire.base_url, timeout=0.3, create_timeout=0.3)
        async with AirbyteClient(settings) as client:
            with pytest.raises(Unreachable) as caught:
                await (client.create_job("c") if call == "create" else client.get_job(7))
        assert call == "get" or len(wire.requests) == 1
    assert caught.value.may_have_arrived
    assert caught.value.status is None


async def test_a_refused_connection_means_that_nothing_arrived() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api/public/v1"
        async with AirbyteClient(Settings(url)) as client:
            with pytest.raises(Unreachable) as caught:
                await client.create_job("c")
    assert not caught.value.may_have_arrived
    assert caught.value.status is None
    assert "no answer" in str(caught.value)


async def test_an_answer_that_is_json_but_no_job_is_no_answer() -> None:
    error = await ask(reply(200, {"jobId": "seven", "status": "running"}))
    assert isinstance(error, Unreachable)
    assert "jobId" in error.detail
    assert "seven" not in str(error)


@pytest.mark.parametrize("body", [{}, {"message": "hello"}, {"data": None}, []])
async def test_an_answer_without_jobs_is_no_empty_list(body: object) -> None:
    async with Wire(lambda _: reply(200, body)) as wire, AirbyteClient(Settings(wire.base_url)) as client:
        with pytest.raises(Unreachable):
            await client.list_jobs()
        with pytest.raises(Unreachable):
            await client.list_connections()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_on_the_same_host_is_followed_with_method_body_and_credentials(status: int) -> None:
    job = {"jobId": 7, "status": "pending"}
    async with Wire(lambda request: answer(request)) as wire:

        def answer(request: object) -> bytes:
            first = len(wire.requests) == 1
            return reply(status, Location=f"{wire.url}/moved?x=1") if first else reply(200, job)

        async with AirbyteClient(Settings(wire.base_url, BasicAuth("me", "secret"))) as client:
            assert (await client.create_job("c")).job_id == 7
        first, second = wire.requests
    assert second.method == "POST"
    assert second.target == "/moved?x=1"
    assert second.json == first.json
    assert second.headers["authorization"] == first.headers["authorization"]


@pytest.mark.parametrize("where", ["http://localhost:{port}/login", "ftp://127.0.0.1/", "http://[", "", None])
async def test_a_redirect_to_elsewhere_takes_nothing_along(where: str | None) -> None:
    async with Wire(lambda request: "close") as elsewhere:
        port = elsewhere.url.rpartition(":")[2]
        headers = {} if where is None else {"Location": where.format(port=port)}
        error = await ask(reply(302, "", **headers))
        assert elsewhere.requests == []
    assert isinstance(error, Unreachable)
    assert not error.may_have_arrived


async def test_a_redirect_in_a_circle_ends() -> None:
    async with Wire(lambda request: reply(307, Location=request.target)) as wire:
        async with AirbyteClient(Settings(wire.base_url)) as client:
            with pytest.raises(Unreachable):
                await client.get_job(7)
        assert len(wire.requests) == 4
