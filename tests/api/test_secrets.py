"""Nothing secret leaves, also where a server says it aloud."""

from __future__ import annotations

import base64
import html
import json
import logging
import re
import traceback
from collections.abc import Callable
from itertools import product
from urllib.parse import quote, quote_plus

import pytest

from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError, Conflict
from airbyte_deferrable.api.redaction import Redaction
from airbyte_deferrable.api.settings import (
    BasicAuth,
    BearerToken,
    ClientCredentials,
    Credentials,
    NoCredentials,
    Settings,
)
from helpers.wire import Request, Wire, reply, running_proxy, token

SECRET = "s3cr&t/\"wörd' x"
TOKEN = "eyJhbGciOi.token.signature"
PROXY_PASSWORD = "pr0xy p@ss"
HEADER = "the-header-key"
BASIC = base64.b64encode(f"me:{SECRET}".encode()).decode()
PROXY_BASIC = base64.b64encode(f"me:{PROXY_PASSWORD}".encode()).decode()
ALL = (SECRET, TOKEN, PROXY_PASSWORD, HEADER, BASIC, PROXY_BASIC)

FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON of another maker": lambda text: json.dumps(text, ensure_ascii=False)[1:-1].replace("/", "\\/"),
    "URL": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "HTML": html.escape,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "JSON of Gson": lambda text: json.dumps(text)[1:-1].translate(
        {ord(each): f"\\u{ord(each):04x}" for each in "&'<=>"}
    ),
    "JSON in capitals": lambda text: "".join(c if c.isalnum() and c.isascii() else f"\\u{ord(c):04X}" for c in text),
    "URL in small letters": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
    "URL of JavaScript": lambda text: quote(text, safe="!'()*~"),
    "URL, its path left alone": lambda text: quote(text, safe="/&"),
    "URL in a URL": lambda text: quote(quote(text, safe=""), safe=""),
    "HTML of old": lambda text: html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    "HTML with names": lambda text: html.escape(text).replace("ö", "&ouml;").replace("&#x27;", "&apos;"),
    "HTML in HTML": lambda text: html.escape(html.escape(text)),
    "HTML in ASCII": lambda text: html.escape(text).encode("ascii", "xmlcharrefreplace").decode(),
    "Python": lambda text: repr(text)[1:-1],
}
CREDENTIALS: dict[str, Credentials] = {
    "client credentials": ClientCredentials("the-client-id", SECRET),
    "bearer": BearerToken(TOKEN),
    "basic": BasicAuth("me", SECRET),
    "none": NoCredentials(),
}


def known(credentials: Credentials) -> list[str]:
    """Return the secrets of such a client's settings."""
    own = {
        ClientCredentials: [SECRET, TOKEN],
        BearerToken: [TOKEN],
        BasicAuth: [SECRET, BASIC],
        NoCredentials: [],
    }
    return [*own[type(credentials)], PROXY_PASSWORD, PROXY_BASIC, HEADER]


def leaks(said: str) -> list[str]:
    """Return what a text gives away, in any form."""
    return [f"{secret} as {form}" for secret in ALL for form, make in FORMS.items() if make(secret) in said]


def told(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__)) + repr(error) + str(vars(error))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("credentials", CREDENTIALS)
async def test_server_that_repeats_secrets_gives_none_away(
    credentials: str, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    chosen, make = CREDENTIALS[credentials], FORMS[form]
    echo = " and ".join(make(secret) for secret in known(chosen))
    in_json = echo if form.startswith("JSON") else json.dumps(echo, ensure_ascii=False)[1:-1]
    refusal = 0

    def answer(request: Request) -> bytes:
        if request.path.endswith("/token"):
            return token(TOKEN)
        if request.method == "POST":
            return reply(refusal, f'{{"title":"{in_json}","data":{{"message":"{in_json}"}}}}' if quoted else echo)
        job = f'{{"jobId":7,"status":"{in_json}","jobType":"{in_json}","startTime":"{in_json}","connectionId":""}}'
        if request.path.endswith("/connections"):
            return reply(200, f'{{"data":[{{"connectionId":"c","name":"{in_json}"}}]}}')
        return reply(200, job)

    said = []
    async with Wire(answer) as wire, running_proxy() as proxy:
        settings = Settings(
            wire.base_url,
            chosen,
            proxies=(("http", proxy.url.replace("//", f"//me:{quote(PROXY_PASSWORD)}@")),),
            headers=(("X-Key", HEADER),),
        )
        async with AirbyteClient(settings) as client:
            job = await client.get_job(7)
            said += [str(job), repr(job), json.dumps(job.to_json(), ensure_ascii=False)]
            said += [str(await client.list_connections())]
            statuses = (302, 400, 401, 403, 404, 409, 422, 429, 500, 503)
            for refusal, quoted in product(statuses, (True, False)):  # noqa: B007 - the server answers so
                with pytest.raises(ApiError) as caught:
                    await client.create_job("c")
                said.append(told(caught.value))
            said += [repr(client), repr(vars(client)["settings"]), str(settings)]
    assert "***" in "".join(said)
    said += [record.getMessage() for record in caplog.records]
    assert leaks("\n".join(said)) == []


async def test_token_endpoint_that_repeats_secrets_gives_none_away(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bodies = [
        reply(401, json.dumps({"message": SECRET}, ensure_ascii=False)),
        reply(404, SECRET),
        reply(503, SECRET),
        reply(200, f"<html>{html.escape(SECRET)}"),
        reply(200, f'{{"access_token": "{TOKEN}"'),
        reply(200, {"token": TOKEN}),
    ]
    for body in bodies:
        async with (
            Wire(lambda _, body=body: body) as wire,
            AirbyteClient(Settings(wire.base_url, ClientCredentials("id", SECRET))) as client,
        ):
            with pytest.raises(ApiError) as caught:
                await client.get_job(7)
        assert leaks(told(caught.value)) == []
    assert leaks("\n".join(record.getMessage() for record in caplog.records)) == []


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("Authorization", "Bearer the-header-key", HEADER),
        ("Authorization", "  Token   the-header-key ", HEADER),
        ("Authorization", f"Basic {BASIC}", SECRET),
        ("Authorization", f"Basic {BASIC}", BASIC),
        ("Authorization", f"basic {BASIC.rstrip('=')}==", BASIC.rstrip("=")),
        ("X-Gate", "Bearer the-header-key", HEADER),
        ("Cookie", "theme=dark; session=the-header-key; x", HEADER),
        ("X-Key", " the-header-key\t", HEADER),
    ],
)
async def test_secret_of_a_header_is_not_repeated_without_the_rest(name: str, value: str, secret: str) -> None:
    async with (
        Wire(lambda _: reply(503, f"who is {secret}?")) as wire,
        AirbyteClient(Settings(wire.base_url, headers=((name, value.strip()),))) as client,
    ):
        with pytest.raises(ApiError) as caught:
            await client.get_job(7)
    assert leaks(told(caught.value)) == []
    assert caught.value.detail.startswith("who is ***")


@pytest.mark.parametrize("blank", ["\n", "\r\n", " ", "\t"])
async def test_secret_with_white_space_around_it_is_not_repeated_without(blank: str) -> None:
    chosen = (
        ClientCredentials("id", f"{SECRET}{blank}"),
        BearerToken(f"{blank}{SECRET}"),
        BasicAuth("me", f"{blank}{SECRET}{blank}"),
    )
    for credentials in chosen:
        # A bearer token is checked when the connection is read; HTTP itself takes no line break.
        if isinstance(credentials, BearerToken) and blank != " ":
            continue
        for echo in (SECRET, f"{blank}{SECRET}{blank}", json.dumps(f"{SECRET}{blank}")):
            async with (
                Wire(lambda _, echo=echo: reply(401, {"message": echo})) as wire,
                AirbyteClient(Settings(wire.base_url, credentials)) as client,
            ):
                with pytest.raises(ApiError) as caught:
                    await client.get_job(7)
            assert leaks(told(caught.value)) == []
            assert "***" in caught.value.detail


def test_secret_that_is_a_part_of_another_leaves_nothing_of_it() -> None:
    redact = Redaction(["key-of-mine", "the-longer-key-of-mine-and-more"])
    assert redact("the-longer-key-of-mine-and-more, key-of-mine") == "***, ***"


@pytest.mark.parametrize("secret", ["\\" * 40, '\\"' * 20, "&" * 30, "'/" * 20, " " * 6 + "/" * 20])
def test_odd_secrets_are_looked_for_in_no_time(secret: str) -> None:
    """In the event loop of all who wait: this test would not end."""
    redact = Redaction([secret])
    for char in ("\\", "&", "'", "/", "%25", "&amp;"):
        text = char * 50_000
        assert len(redact(f"{text}x")) <= len(text) + 1
    assert secret.strip() not in redact(f"it is {secret}.")


async def test_late_answer_does_not_repeat_the_token_of_before() -> None:
    tokens = iter(["first-token-of-all", "second-token-of-all"])

    def answer(request: Request) -> bytes:
        if request.path.endswith("/token"):
            return token(next(tokens))
        if request.headers["authorization"].endswith("first-token-of-all"):
            return reply(401, "{}")
        return reply(503, "you came with first-token-of-all, now with second-token-of-all")

    async with (
        Wire(answer) as wire,
        AirbyteClient(Settings(wire.base_url, ClientCredentials("id", SECRET))) as client,
    ):
        with pytest.raises(ApiError) as caught:
            await client.get_job(7)
    assert caught.value.detail == "you came with ***, now with ***"


async def test_proxy_that_refuses_its_password_gives_none_away() -> None:
    async with running_proxy("Basic other") as proxy:
        url = proxy.url.replace("//", f"//me:{quote(PROXY_PASSWORD)}@")
        for scheme in ("http", "https"):
            settings = Settings(f"{scheme}://localhost:9/api/public/v1", proxies=((scheme, url),))
            async with AirbyteClient(settings) as client:
                with pytest.raises(ApiError) as caught:
                    await client.get_job(7)
            assert "407" in str(caught.value)
            assert leaks(told(caught.value)) == []


async def test_data_stays_true_where_it_looks_like_a_secret() -> None:
    """A header's value counts as a secret, and may be no more than a team's name or a tenant's number."""
    uuid = "10f3a1c8-0b2d-4c55-9a1e-5c2b8e1d9f00"
    job = {
        "jobId": 1000007,
        "status": "succeeded",
        "jobType": "sync",
        "connectionId": uuid,
        "startTime": "2026-01-01T00:00:00Z",
        "duration": "PT1000000S",
        "bytesSynced": 1000000,
    }
    words = ("100000", "succeeded", "2026-01", "T1000000", uuid, uuid[:8], "orders", "state-conflict", "config_error")

    def answer(request: Request) -> bytes:
        if request.path.endswith("/connections"):
            return reply(200, {"data": [{"connectionId": uuid, "name": "Daily orders", "status": "active"}]})
        if request.method == "POST":
            body = {"status": 100000, "title": "state-conflict", "data": {"message": "no orders of the-header-key"}}
            return reply(409, body)
        return reply(200, job)

    async with Wire(answer) as wire:
        headers = (("X-Key", HEADER), *((f"X-{number}", word) for number, word in enumerate(words)))
        async with AirbyteClient(Settings(wire.base_url, headers=headers)) as client:
            assert (await client.get_job(7)).to_json() == job
            (connection,) = await client.list_connections()
            with pytest.raises(Conflict) as caught:
                await client.create_job(uuid)
    assert (connection.connection_id, connection.true_name) == (uuid, "Daily orders")
    assert "orders" not in str(connection)
    assert (caught.value.kind, caught.value.detail) == ("state-conflict", "no *** of ***")


def test_settings_and_credentials_show_no_secret() -> None:
    for credentials in CREDENTIALS.values():
        settings = Settings(
            "http://localhost/api/public/v1",
            credentials,
            proxies=(("http", f"http://me:{quote(PROXY_PASSWORD)}@proxy"),),
            headers=(("X-Key", HEADER),),
        )
        assert leaks(repr(settings) + str(settings) + repr(credentials)) == []
