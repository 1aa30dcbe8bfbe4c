"""What an answer means, whatever its status and whoever gave it."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable

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
from helpers.wire import Answer, Cut, Wire, reply

TYPE = "https://reference.airbyte.com/reference/errors"
PROBLEM = (
    '{"status":0,"type":"https://reference.airbyte.com/reference/errors#x","title":"a-kind","detail":"General.",'
    '"documentationUrl":null,"data":{"message":"What really happened"}}'
)
#: Every form in which Airbyte says that it refuses something (its problems, Micronaut's errors, its handlers' ids, the
#: config API's exceptions), and what is the reason in it.
SAID_BY_AIRBYTE = {
    "problem": PROBLEM,
    "problem without a type": '{"title":"a-kind","data":{"message":"What really happened"}}',
    "problem without data": json.dumps({"type": TYPE, "title": "x", "detail": "What really happened"}),
    "problem with its name alone": json.dumps({"type": TYPE, "status": 500, "title": "What really happened"}),
    "problem of a resource": json.dumps(
        {"type": TYPE, "detail": "Could not find it", "data": {"resourceType": "What", "resourceId": "really happened"}}
    ),
    "problem of 2023": '{"type":"about:blank","status":404}',
    "Micronaut's": (
        '{"message":"Bad Request","_links":{"self":{"href":"/x","templated":false}},'
        '"_embedded":{"errors":[{"message":"What really happened","_links":{},"_embedded":{}}]}}'
    ),
    "Micronaut's without links": '{"message":"No","_embedded":{"errors":[{"message":"What really happened"}]}}',
    "Micronaut's without errors": '{"message":"What really happened","_links":{"self":{"href":"/x"}}}',
    "Micronaut's with two": (
        '{"message":"No","_embedded":{"errors":[{"message":"What"},{},7,{"message":"really happened"}]}}'
    ),
    "error id": '{"errorId":"What really happened"}',
    "error id and message": '{"message":"What really happened","errorId":"0b2d4c55-9a1e-5c2b-8e1d-9f0010f3a1c8"}',
    "exception": '{"message":"What really happened","exceptionClassName":"io.airbyte.X","exceptionStack":["a","b"]}',
}
#: What they say in place of "What really happened".
REASONS = {
    "problem of a resource": "Could not find it (What really happened)",
    "problem of 2023": "about:blank",
    "Micronaut's with two": "What; really happened",
    "error id": '{"errorId":"What really happened"}',
}
SAID_BY_SOMEBODY_ELSE = {
    "nginx page": "<html>\r\n<head><title>Oops</title></head>\r\n<body>nginx</body>\r\n</html>",
    "empty": "",
    "garbage": "default backend \x00\ufffd",
    "cut off": PROBLEM[:40],
    "no object": "[1]",
    "too deep": "[" * 200_000,
    "Kong": '{"message":"no Route matched with those values"}',
    "Kong 3": '{"message":"no Route matched with those values","request_id":"54a1"}',
    "Amazon": '{"message":"Forbidden"}',
    "Amazon, elder": '{"Message":"User is not authorized to access this resource"}',
    "Azure": '{"statusCode":401,"message":"Access denied due to missing subscription key."}',
    "Apigee": '{"fault":{"faultstring":"Unable to route","detail":{"errorcode":"CLASSIFICATION_FAILURE"}}}',
    "Google": '{"code":404,"message":"The current request is not defined by this API.","details":[]}',
    "Tyk": '{"error":"Attempted access with malformed header"}',
    "Okta": '{"errorCode":"E0000011","errorSummary":"Invalid token provided","errorId":"oaeQdc","errorCauses":[]}',
    "OAuth2 proxy": '{"error":"invalid_token","error_description":"expired"}',
    "Spring": '{"timestamp":"2026-01-01T00:00:00Z","path":"/","status":404,"error":"Not Found","requestId":"f-1"}',
    "Spring's problem": '{"type":"about:blank","title":"Not Found","status":404,"detail":"No static resource."}',
    "FastAPI": '{"detail":"Not Found"}',
    "JSend": '{"status":"fail","data":{"title":"No"}}',
    "load shedding": '{"message":"You are being rate limited."}',
    "nulls": '{"message":"no","type":null,"title":null,"errorId":null,"_links":null,"_embedded":null}',
    "nothing in it": "{}",
    "a text": '"Forbidden"',
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


@pytest.mark.parametrize("form", SAID_BY_AIRBYTE)
@pytest.mark.parametrize(("status", "cause"), BY_STATUS.items())
async def test_airbytes_refusals_are_named_by_their_status_and_tell_the_reason(
    status: int, cause: type[ApiError], form: str
) -> None:
    error = await ask(reply(status, SAID_BY_AIRBYTE[form]))
    assert type(error) is cause
    assert error.status == status
    if form == "problem of 2023":
        assert REASONS[form] in error.detail
    else:
        assert error.detail == REASONS.get(form, "What really happened")
    assert f"GET /jobs/7: HTTP {status}." in str(error)
    assert error.transient is (cause is Unreachable)


@pytest.mark.parametrize("body", SAID_BY_SOMEBODY_ELSE.values(), ids=SAID_BY_SOMEBODY_ELSE)
@pytest.mark.parametrize("status", [200, *BY_STATUS])
async def test_gateways_page_is_never_airbytes_word(status: int, body: str) -> None:
    error = await ask(reply(status, body))
    assert type(error) is (BadCredentials if status == 401 else Unreachable)
    assert error.status == status


def about(error: ApiError) -> tuple[type[ApiError], str]:
    return type(error), error.detail


CALLS: dict[str, Callable[[AirbyteClient], Awaitable[object]]] = {
    "get": lambda client: client.get_job(7),
    "create": lambda client: client.create_job("c"),
    "cancel": lambda client: client.cancel_job(7),
    "list": lambda client: client.list_jobs(),
    "connection": lambda client: client.get_connection("c"),
    "config API": lambda client: client.ask_config_api("jobs/get_without_logs", {}),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [400, 403, 404, 405, 407, 409, 422])
async def test_refusal_is_believed_in_airbytes_own_form_alone(call: str, status: int) -> None:
    said = dict.fromkeys(SAID_BY_AIRBYTE.values(), True) | dict.fromkeys(SAID_BY_SOMEBODY_ELSE.values(), False)
    bodies = iter(said)
    async with (
        Wire(lambda _: reply(status, next(bodies))) as wire,
        AirbyteClient(Settings(wire.base_url, config_url=wire.url)) as client,
    ):
        for own in said.values():
            with pytest.raises(ApiError) as caught:
                await CALLS[call](client)
            # A doubt may be for want of other credentials; what Airbyte says of a job is not.
            assert (isinstance(caught.value, Unreachable), caught.value.credentials_in_doubt) == (not own, not own)


@pytest.mark.parametrize(
    ("status", "headers", "body", "in_doubt"),
    [
        (401, {}, "", True),
        (302, {"Location": "https://login.example.com/"}, "", True),
        (403, {}, "<html>", True),
        (404, {}, "<html>", True),
        (407, {}, "", True),
        (200, {}, "<html>Sign in</html>", True),
        (200, {}, "Please sign in", True),
        (200, {}, {"login": "https://login.example.com/"}, True),
        (408, {}, "", False),
        (429, {}, "", False),
        (500, {}, "", False),
        (503, {}, "<html>", False),
    ],
)
async def test_refusal_of_credentials_is_told_from_what_is_none(
    status: int, headers: dict[str, str], body: object, in_doubt: bool
) -> None:
    assert (await ask(reply(status, body, **headers))).credentials_in_doubt is in_doubt


async def test_airbytes_word_is_known_by_its_form_whatever_is_taken_for_a_secret() -> None:
    """A header's value may be a part of the address that marks a problem."""
    for secret in ("reference", "airbyte", "https://reference.airbyte.com/reference/errors#x", "errors#x"):
        async with (
            Wire(lambda _: reply(403, {"type": f"{TYPE}#x", "title": "No"})) as wire,
            AirbyteClient(Settings(wire.base_url, headers=(("X-Team", secret),))) as client,
        ):
            with pytest.raises(Forbidden):
                await client.get_job(7)


async def test_conflict_tells_airbytes_name_for_it() -> None:
    error = await ask(reply(409, PROBLEM))
    assert isinstance(error, Conflict)
    assert error.kind == "a-kind"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('{"errorId":"x","detail":{"a":1}}', '{"errorId":"x","detail":{"a":1}}'),
        ('{"errorId":"x","message":["y"]}', '{"errorId":"x","message":["y"]}'),
        ('{"errorId":"x","data":"text","title":3}', '{"errorId":"x","data":"text","title":3}'),
        ('{"errorId":"x","message":" ","title":"y"}', "y"),
        ('{"_embedded":{"errors":"x"},"message":"y"}', "y"),
        ('{"_embedded":{"errors":[{"message":7}]},"message":"y"}', "y"),
        ('{"_embedded":{},"data":{"message":{}},"detail":"y"}', "y"),
    ],
)
async def test_refusal_of_any_shape_is_told(body: str, told: str) -> None:
    assert about(await ask(reply(422, body))) == (Rejected, told)


async def test_page_is_told_by_its_words() -> None:
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
async def test_advice_fits_the_answer(status: int, body: str, advice: str) -> None:
    assert advice in str(await ask(reply(status, body)))


@pytest.mark.parametrize("tag", ["<", "<script>", "<!-- "])
async def test_page_of_tags_that_never_close_is_read_in_no_time(tag: str) -> None:
    """Otherwise it would take hours, in the event loop of all who wait, and this test would not end."""
    assert type(await ask(reply(502, tag * 1_000_000))) is Unreachable


async def test_long_page_is_told_in_short_and_on_one_line() -> None:
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
async def test_server_may_say_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
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
async def test_request_whose_answer_got_lost_may_have_arrived(answer: Answer, call: str) -> None:
    async with Wire(lambda _: answer) as wire:
        settings = Settings(wire.base_url, timeout=0.3, create_timeout=0.3)
        async with AirbyteClient(settings) as client:
            with pytest.raises(Unreachable) as caught:
                await (client.create_job("c") if call == "create" else client.get_job(7))
        assert call == "get" or len(wire.requests) == 1
    assert caught.value.may_have_arrived
    assert caught.value.status is None


async def test_refused_connection_means_that_nothing_arrived() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api/public/v1"
        async with AirbyteClient(Settings(url)) as client:
            with pytest.raises(Unreachable) as caught:
                await client.create_job("c")
    assert not caught.value.may_have_arrived
    assert caught.value.status is None
    assert "no answer" in str(caught.value)


async def test_answer_that_is_json_but_no_job_is_no_answer() -> None:
    error = await ask(reply(200, {"jobId": "seven", "status": "running"}))
    assert isinstance(error, Unreachable)
    assert "jobId" in error.detail
    assert "seven" not in str(error)


@pytest.mark.parametrize("body", [{}, {"message": "hello"}, {"data": None}, []])
async def test_answer_without_jobs_is_no_empty_list(body: object) -> None:
    async with Wire(lambda _: reply(200, body)) as wire, AirbyteClient(Settings(wire.base_url)) as client:
        with pytest.raises(Unreachable):
            await client.list_jobs()
        with pytest.raises(Unreachable):
            await client.list_connections()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirect_on_the_same_host_is_followed_with_method_body_and_credentials(status: int) -> None:
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
async def test_redirect_to_elsewhere_takes_nothing_along(where: str | None) -> None:
    async with Wire(lambda request: "close") as elsewhere:
        port = elsewhere.url.rpartition(":")[2]
        headers = {} if where is None else {"Location": where.format(port=port)}
        error = await ask(reply(302, "", **headers))
        assert elsewhere.requests == []
    assert isinstance(error, Unreachable)
    assert not error.may_have_arrived


async def test_redirect_in_a_circle_ends() -> None:
    async with Wire(lambda request: reply(307, Location=request.target)) as wire:
        async with AirbyteClient(Settings(wire.base_url)) as client:
            with pytest.raises(Unreachable):
                await client.get_job(7)
        assert len(wire.requests) == 4
