"""HTTP as others speak it: what httpx and requests take, this client takes, too, and goes the same way to the server.

What each row says of this client is fixed; what the others do is measured beside it, over the same sockets. curl is
asked where there is one.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import httpx
import pytest
import requests

from airbyte_deferrable._airflow.connection import read_connection
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError, Unreachable
from airbyte_deferrable.api.settings import Settings
from airbyte_deferrable.exceptions import AirbyteSettingsError
from helpers.wire import Cut, Request, Wire, reply

NAME = "Käse"
JOB = json.dumps({"jobId": 7, "status": "running", "connectionId": NAME}, ensure_ascii=False)
BODY = JOB.encode()
OK = b"HTTP/1.1 200 OK"
CHUNKED = b"Transfer-Encoding: chunked"


def answer(*head: bytes, body: bytes = BODY, status: bytes = OK, length: bool = True) -> Cut:
    lines = [status, *head, *([b"Content-Length: %d" % len(body)] if length else [])]
    return Cut(b"\r\n".join([*lines, b"", b""]) + body)


def chunks(*parts: bytes, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    pieces = (b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts)
    return b"".join(pieces) + b"0\r\n" + trailer + b"\r\n"


def chunked(*head: bytes, body: bytes) -> Cut:
    return answer(CHUNKED, *head, body=body, length=False)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


TAKEN = {
    "as usual": answer(),
    "a header of 9 kB": answer(b"X: " + b"a" * 9_000),
    "a header of 60 kB": answer(b"X: " + b"a" * 60_000),
    "a header of 90 kB": answer(b"X: " + b"a" * 90_000),
    "80 headers of 1 kB": answer(*[b"X-%d: " % number + b"a" * 1_000 for number in range(80)]),
    "200 headers": answer(*[b"X-%d: a" % number for number in range(200)]),
    "many long cookies": answer(*[b"Set-Cookie: c%d=" % number + b"a" * 4_000 for number in range(20)]),
    "a reason of 9 kB": answer(status=OK + b"a" * 9_000),
    "no reason": answer(status=b"HTTP/1.1 200"),
    "HTTP/1.0": answer(status=b"HTTP/1.0 200 OK"),
    "HTTP/1.0 without a length": answer(status=b"HTTP/1.0 200 OK", length=False),
    "Connection: close": answer(b"Connection: close"),
    "Connection: close without a length": answer(b"Connection: close", length=False),
    "without a length": answer(length=False),
    "an offer to upgrade": answer(b"Upgrade: h2,h2c", b"Connection: Upgrade"),
    "continue first": Cut(b"HTTP/1.1 100 Continue\r\n\r\n" + answer().data),
    "early hints first": Cut(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer().data),
    "lines that end with LF": Cut(answer().data.replace(b"\r\n", b"\n")),
    "a folded header": answer(b"X: a\r\n b"),
    "a header in Latin-1": answer(b"X: \xe4"),
    "a header without a value": answer(b"X:"),
    "chunks": chunked(body=chunks(BODY[:10], BODY[10:])),
    "chunks in capitals": answer(b"Transfer-Encoding: Chunked", body=chunks(BODY), length=False),
    "chunks with extensions": chunked(body=chunks(BODY, extension=b";a=b")),
    "chunks with a trailer": chunked(body=chunks(BODY, trailer=b"X: y\r\n")),
    "a chunk's size with zeros": chunked(
        body=chunks(BODY).replace(b"%x\r\n" % len(BODY), b"0000%x\r\n" % len(BODY), 1)
    ),
    "gzip": answer(b"Content-Encoding: gzip", body=gzip.compress(BODY)),
    "gzip in capitals": answer(b"Content-Encoding: GZIP", body=gzip.compress(BODY)),
    "gzip by its old name": answer(b"Content-Encoding: x-gzip", body=gzip.compress(BODY)),
    "gzip in chunks": chunked(b"Content-Encoding: gzip", body=chunks(gzip.compress(BODY)[:9], gzip.compress(BODY)[9:])),
    "gzip in two parts": answer(b"Content-Encoding: gzip", body=gzip.compress(BODY[:10]) + gzip.compress(BODY[10:])),
    "gzip filled up": answer(b"Content-Encoding: gzip", body=gzip.compress(BODY) + bytes(512)),
    "gzip twice": answer(b"Content-Encoding: gzip, gzip", body=gzip.compress(gzip.compress(BODY))),
    "gzip in two headers": answer(
        b"Content-Encoding: gzip", b"Content-Encoding: gzip", body=gzip.compress(gzip.compress(BODY))
    ),
    "deflate": answer(b"Content-Encoding: deflate", body=zlib.compress(BODY)),
    "deflate without its frame": answer(b"Content-Encoding: deflate", body=raw_deflate(BODY)),
    "deflate, then gzip": answer(b"Content-Encoding: deflate, gzip", body=gzip.compress(zlib.compress(BODY))),
    "no compression, by name": answer(b"Content-Encoding: identity"),
    "a compression that is none": answer(b"Content-Encoding: utf-8"),
    "another type": answer(b"Content-Type: text/html"),
    "a broken type": answer(b"Content-Type: ;;;"),
    "the wrong charset": answer(b"Content-Type: application/json; charset=latin-1"),
    "a charset that is none": answer(b"Content-Type: application/json; charset=foo"),
    "a byte order mark": answer(body=JOB.encode("utf-8-sig")),
    "UTF-16": answer(body=JOB.encode("utf-16")),
    "UTF-16 without a mark": answer(body=JOB.encode("utf-16-le")),
    "UTF-32": answer(body=JOB.encode("utf-32")),
    "Latin-1, as it says": answer(b"Content-Type: application/json; charset=iso-8859-1", body=JOB.encode("latin-1")),
    "null for none": answer(
        body=json.dumps(
            {
                "jobId": 7,
                "status": "running",
                "connectionId": NAME,
                "jobType": None,
                "startTime": None,
                "rowsSynced": None,
            }
        ).encode()
    ),
}
#: What curl does not take.
NOT_CURLS = ("a compression that is none", "gzip in two parts", "gzip filled up", "Latin-1, as it says")
#: What the others take, and aiohttp's parser does not let through: where an answer ends can be read in two ways, by
#: which proxies have been led to mix answers up (RFC 9112, 6.3 and 11.2).
REFUSED = {
    "a length beside chunks": answer(CHUNKED, b"Content-Length: 5", body=chunks(BODY), length=False),
    "the same length twice": answer(b"Content-Length: %d" % len(BODY)),
}


def json_of(get: Callable[[], Any]) -> Any:
    """Return what another client makes of an answer; None if it cannot."""
    try:
        return get()["connectionId"]
    except Exception:
        return None


def httpx_gets(url: str, *, trust_env: bool = False) -> Any:
    def get() -> Any:
        with httpx.Client(trust_env=trust_env, timeout=20) as client:
            return client.get(url).json()

    return json_of(get)


def requests_gets(url: str, *, trust_env: bool = False) -> Any:
    def get() -> Any:
        with requests.Session() as session:
            session.trust_env = trust_env
            return session.get(url, timeout=20).json()

    return json_of(get)


async def curl_gets(url: str, *options: str) -> Any:
    # CI installs it: there, the comparison is to fail without it.
    if shutil.which("curl") is None and "CI" not in os.environ:
        pytest.skip("there is no curl on this machine to compare with")
    curl = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--compressed", "--max-time", "20", *options, url, stdout=asyncio.subprocess.PIPE
    )
    body, _ = await curl.communicate()
    return json_of(lambda: json.loads(body))


async def ours(base_url: str) -> str:
    async with AirbyteClient(Settings(base_url)) as client:
        return (await client.get_job(7)).connection_id


@pytest.mark.parametrize("form", TAKEN)
async def test_answers_that_other_clients_take_are_taken(form: str) -> None:
    async with Wire(lambda _: TAKEN[form]) as wire:
        assert await ours(wire.base_url) == NAME
        others = [await asyncio.to_thread(gets, f"{wire.base_url}/jobs/7") for gets in (httpx_gets, requests_gets)]
    # A row that nobody else takes would prove nothing.
    assert NAME in others or form in ("gzip by its old name",)


@pytest.mark.parametrize("form", [form for form in TAKEN if form not in NOT_CURLS])
async def test_answers_that_are_taken_are_those_that_curl_takes(form: str) -> None:
    async with Wire(lambda _: TAKEN[form]) as wire:
        assert await curl_gets(f"{wire.base_url}/jobs/7", "--noproxy", "*") == NAME


@pytest.mark.parametrize("form", REFUSED)
async def test_answer_that_can_be_read_in_two_ways_is_refused_and_no_outcome(form: str) -> None:
    async with Wire(lambda _: REFUSED[form]) as wire:
        with pytest.raises(Unreachable, match="not HTTP as its standards have it") as caught:
            await ours(wire.base_url)
    assert caught.value.may_have_arrived
    assert caught.value.status is None


@pytest.mark.parametrize(
    "broken",
    [
        answer(b"Content-Encoding: gzip", body=gzip.compress(BODY)[:-9]),
        answer(b"Content-Encoding: gzip"),
        answer(b"Content-Encoding: deflate"),
        answer(b"Content-Encoding: deflate, gzip", body=gzip.compress(BODY)),
    ],
)
async def test_body_that_cannot_be_decompressed_is_no_answer(broken: Cut) -> None:
    async with Wire(lambda _: broken) as wire:
        with pytest.raises(Unreachable, match="cannot be decompressed") as caught:
            await ours(wire.base_url)
    assert caught.value.may_have_arrived


async def test_only_what_can_be_decompressed_is_asked_for() -> None:
    async with Wire(lambda _: answer()) as wire:
        await ours(wire.base_url)
    assert wire.requests[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_job_that_is_cancelled_without_a_word_is_checked(status: int) -> None:
    def serve(request: Request) -> bytes:
        if request.method == "DELETE":
            return f"HTTP/1.1 {status} Whatever\r\nContent-Length: 0\r\n\r\n".encode()
        return reply(200, {"jobId": 7, "status": "cancelled"})

    async with Wire(serve) as wire, AirbyteClient(Settings(wire.base_url)) as client:
        assert (await client.cancel_job(7)).status == "cancelled"
    assert [request.method for request in wire.requests] == ["DELETE", "GET"]


async def test_null_in_a_list_is_nothing_and_in_place_of_a_list_no_list() -> None:
    bodies = iter([{"data": [None, {"jobId": 7, "status": "running", "duration": None}], "next": None}, {"data": None}])
    async with Wire(lambda _: reply(200, next(bodies))) as wire, AirbyteClient(Settings(wire.base_url)) as client:
        assert [job.job_id for job in await client.list_jobs()] == [7]
        with pytest.raises(Unreachable):
            await client.list_jobs()


class Way(NamedTuple):
    """A way to a server.

    :param environment: The environment, with the proxy's address for ``PROXY`` and its host and port for ``PLAIN``.
    :param host: The server; nobody is there, so that only the proxy answers.
    :param proxied: Whether it is asked through the proxy.
    :param unlike: The clients that go another way.
    """

    environment: dict[str, str]
    host: str
    proxied: bool
    unlike: tuple[str, ...] = ()


NOBODY = "airbyte.nowhere.invalid"
HTTP = {"http_proxy": "PROXY"}


def passes_by(no_proxy: str, host: str, *unlike: str) -> Way:
    return Way({**HTTP, "no_proxy": no_proxy}, host, False, unlike)


def goes_through(no_proxy: str, host: str, *unlike: str) -> Way:
    return Way({**HTTP, "no_proxy": no_proxy}, host, True, unlike)


WAYS = [
    Way({}, f"{NOBODY}:9", False),
    Way(HTTP, f"{NOBODY}:9", True),
    Way({"HTTP_PROXY": "PROXY"}, f"{NOBODY}:9", True, ("curl",)),
    Way({"http_proxy": "PLAIN"}, f"{NOBODY}:9", True),
    Way({"http_proxy": "PROXY/"}, f"{NOBODY}:9", True),
    Way({"http_proxy": "http://me:word@PLAIN"}, f"{NOBODY}:9", True),
    Way({"http_proxy": "HTTP://PLAIN"}, f"{NOBODY}:9", True, ("requests",)),
    Way({"all_proxy": "PROXY"}, f"{NOBODY}:9", True),
    Way({"ALL_PROXY": "PLAIN"}, f"{NOBODY}:9", True),
    Way({"https_proxy": "PROXY"}, f"{NOBODY}:9", False),
    Way({"http_proxy": "PROXY", "HTTP_PROXY": "http://127.0.0.1:9"}, f"{NOBODY}:9", True),
    Way({"http_proxy": "PROXY", "all_proxy": "http://127.0.0.1:9"}, f"{NOBODY}:9", True),
    goes_through("", f"{NOBODY}:9"),
    goes_through("nowhere", f"{NOBODY}:9"),
    goes_through("elsewhere.invalid", f"{NOBODY}:9"),
    goes_through("where.invalid", f"{NOBODY}:9"),
    passes_by(NOBODY, f"{NOBODY}:9"),
    passes_by(NOBODY.upper(), f"{NOBODY}:9", "httpx"),
    passes_by("nowhere.invalid", f"{NOBODY}:9"),
    passes_by(".nowhere.invalid", f"{NOBODY}:9"),
    passes_by(f".{NOBODY}", f"{NOBODY}:9", "httpx"),
    passes_by("*.nowhere.invalid", f"{NOBODY}:9", "requests", "curl", "httpx"),
    passes_by(f"a,{NOBODY}", f"{NOBODY}:9"),
    passes_by(f"a , {NOBODY} ", f"{NOBODY}:9"),
    passes_by(f"a {NOBODY}", f"{NOBODY}:9", "httpx", "requests"),
    passes_by(f"{NOBODY}:9", f"{NOBODY}:9", "curl", "httpx"),
    goes_through(f"{NOBODY}:10", f"{NOBODY}:9"),
    passes_by("*", f"{NOBODY}:9"),
    passes_by("a, *", f"{NOBODY}:9", "requests", "curl"),
    passes_by("127.0.0.2", "127.0.0.2:9"),
    goes_through("127.0.0.3", "127.0.0.2:9"),
    passes_by("127.0.0.0/8", "127.0.0.2:9", "httpx"),
    passes_by("127.0.0.1/31, 127.0.0.2/31", "127.0.0.2:9", "httpx"),
    goes_through("127.0.0.0/31", "127.0.0.2:9"),
    passes_by("127.0.0.2:9", "127.0.0.2:9", "httpx", "curl", "requests"),
    passes_by("::1", "[::1]:9", "requests"),
    passes_by("[::1]", "[::1]:9", "httpx", "requests", "curl"),
    passes_by("0:0:0:0:0:0:0:1", "[::1]:9", "httpx", "requests", "curl"),
    passes_by("::/64", "[::1]:9", "httpx", "requests", "curl"),
    goes_through("::2", "[::1]:9"),
]


def environment(way: Way, proxy: str) -> dict[str, str]:
    plain = proxy.removeprefix("http://")
    return {name: value.replace("PROXY", proxy).replace("PLAIN", plain) for name, value in way.environment.items()}


@pytest.fixture
def proxy_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Return what sets the proxies of the environment, and no others."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)

    def set_them(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_them


def read(host: str, **extra: Any) -> Settings:
    fields = dict.fromkeys(("schema", "login", "password", "port"))
    return read_connection(SimpleNamespace(host=host, extra=json.dumps(extra), **fields), "mine")


async def is_proxied(settings: Settings) -> bool:
    async with AirbyteClient(settings) as client:
        try:
            return (await client.get_job(7)).connection_id == NAME
        except ApiError:
            return False


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.environment} to {way.host}")
async def test_way_to_the_server_is_that_of_other_clients(
    way: Way, proxy_environment: Callable[[dict[str, str]], None]
) -> None:
    async with Wire(lambda _: answer()) as proxy:
        proxy_environment(environment(way, proxy.url))
        url = f"http://{way.host}/api/public/v1"
        assert await is_proxied(read(url)) is way.proxied
        for name, gets in (("httpx", httpx_gets), ("requests", requests_gets)):
            got = await asyncio.to_thread(gets, f"{url}/jobs/7", trust_env=True)
            if name not in way.unlike:
                assert (got == NAME) is way.proxied, name


@pytest.mark.parametrize(
    "way", [way for way in WAYS if "curl" not in way.unlike], ids=lambda way: f"{way.environment} to {way.host}"
)
async def test_way_to_the_server_is_that_of_curl(way: Way, proxy_environment: Callable[[dict[str, str]], None]) -> None:
    async with Wire(lambda _: answer()) as proxy:
        proxy_environment(environment(way, proxy.url))
        got = await curl_gets(f"http://{way.host}/api/public/v1/jobs/7")
    assert (got == NAME) is way.proxied


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "socks5h://127.0.0.1:9", "SOCKS4://127.0.0.1:9"])
@pytest.mark.parametrize("where", ["environment", "extra"])
def test_socks_proxy_is_refused_in_clear_words(
    proxy: str, where: str, proxy_environment: Callable[[dict[str, str]], None]
) -> None:
    proxy_environment({"all_proxy": proxy} if where == "environment" else {})
    with pytest.raises(AirbyteSettingsError, match="SOCKS proxies are not supported"):
        read(f"http://{NOBODY}", **({"proxies": proxy} if where == "extra" else {}))


@pytest.mark.parametrize("form", ["PROXY", "PLAIN", "PROXY/", " PROXY "])
@pytest.mark.parametrize("key", [None, "http", "http://", "all", "all://"])
async def test_connections_own_proxy_is_taken_in_each_form(
    form: str, key: str | None, proxy_environment: Callable[[dict[str, str]], None]
) -> None:
    async with Wire(lambda _: answer()) as proxy:
        proxy_environment({"no_proxy": "*"})
        value = form.replace("PROXY", proxy.url).replace("PLAIN", proxy.url.removeprefix("http://"))
        assert await is_proxied(read(f"http://{NOBODY}:9", proxies={key: value} if key else value))
