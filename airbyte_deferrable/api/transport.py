"""One HTTP exchange: sent, answered, and if it was refused, said why in a word of :mod:`.errors`."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote, quote_plus, urljoin, urlsplit

from airbyte_deferrable import __version__
from airbyte_deferrable.api.errors import (
    TRANSIENT_STATUSES,
    ApiError,
    BadCredentials,
    Conflict,
    Forbidden,
    NotFound,
    Rejected,
    Unreachable,
)
from airbyte_deferrable.api.models import TRUE_NAME, JobStatus, JobType
from airbyte_deferrable.api.settings import Settings

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")

#: Seconds to reach the server, which tells an Airbyte that is gone from one that is slow.
CONNECT_WITHIN = 15.0
#: Enough for a gateway that leads from http to https and then to another path.
MAX_REDIRECTS = 3
#: Taking out shorter secrets would garble ordinary words.
SHORTEST_REDACTED_SECRET = 6
#: What is data by its form: ids, moments, spans. A header's value may well be a part of one, and is none to hide there.
_DATA = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9TZ:.+-]+|P[0-9DTHMS.]+")
#: Likewise the words that something is decided by.
_WORDS = frozenset(
    (*JobStatus, *JobType, "active", "inactive", "deprecated", "try-again-later", "state-conflict", "config_error")
)


@dataclass(frozen=True)
class Answer:
    """What came back. Nobody gets at it but with the secrets taken out.

    :param status: The HTTP status.
    :param headers: The headers.
    :param body: The text as it came; not to be read but by the methods here.
    :param redact: Takes the secrets out of a text.
    """

    status: int
    headers: Mapping[str, str]
    body: str = field(repr=False)
    redact: Callable[[str], str] = field(repr=False)

    @cached_property
    def text(self) -> str:
        """The body in words, for people."""
        return self.redact(self.body)

    def json(self, call: str) -> Any:
        """Return the body as JSON. Only what is prose in it is redacted: data is left as Airbyte told it.

        :param call: What was asked, for the error.
        :raises Unreachable: If it is none: a proxy's page, or an answer cut short.
        """
        with suppress(ValueError, RecursionError):
            data = json.loads(self.body)
            return data if self.text == self.body else self._without_secrets(data)
        # Not from within an except, whose error would bring the whole body along. Only a page is quoted: an answer cut
        # short may be one that was to bring a token.
        page = f", it begins with {self.text[:80]!r}" if self.text.lstrip().startswith("<") else ""
        raise Unreachable(call, f"The answer is not JSON{page}.", self.status)

    def _without_secrets(self, data: Any) -> Any:
        if isinstance(data, str):
            return data if data in _WORDS or _DATA.fullmatch(data) else self.redact(data)
        if isinstance(data, list):
            return [self._without_secrets(each) for each in data]
        if not isinstance(data, dict):
            return data
        told = {key: self._without_secrets(value) for key, value in data.items()}
        # What a thing is called is also compared with what the user wrote.
        return {**told, TRUE_NAME: data["name"]} if "name" in data else told


class Transport:
    """The connections to one Airbyte.

    Opened by the first request, to be closed with :meth:`close`. Bound to the event loop that uses it.

    :param settings: The address, the TLS and proxy settings, the limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        self._in_flight = asyncio.Semaphore(settings.max_requests)
        self._proxies = dict(settings.proxies)
        self._secrets: dict[str, set[str]] = {}
        for secret in settings.secrets:
            self.keep_secret(secret)
        self.requests = 0

    def keep_secret(self, secret: str, replaces: str = "") -> None:
        """Take this text, and the forms it has in JSON, URLs and HTML, out of every later answer.

        :param secret: The secret.
        :param replaces: An older secret that need not be looked for any more.
        """
        self._secrets.pop(replaces, None)
        if len(secret) >= SHORTEST_REDACTED_SECRET:
            in_json = [json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
            self._secrets[secret] = {
                secret,
                *in_json,
                *(form.replace("/", "\\/") for form in in_json),
                quote(secret, safe=""),
                quote_plus(secret),
                escape(secret),
            }

    async def send(
        self,
        method: str,
        url: str,
        *,
        call: str,
        json_body: Any = None,
        form: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        secret_answer: bool = False,
    ) -> Answer:
        """Send one request and return the answer, whatever its status.

        A redirect is followed, with the same method and body, as long as it stays on the same host: ingresses lead
        from http to https so. Others, to a login page for example, would hand the credentials to somebody else.

        :param method: The HTTP method.
        :param url: The absolute address.
        :param call: The request in words that are fit for a log.
        :param json_body: What to send as JSON.
        :param form: What to send as a form.
        :param params: The query.
        :param headers: Headers beside the configured ones.
        :param timeout: Seconds for this exchange; default: the settings' ``timeout``. The time spent waiting
            for others' requests to finish does not count.
        :param secret_answer: Leave a good answer in JSON as it is, for the one that brings a token.
        :return: The answer.
        :raises Unreachable: If no answer came.
        """
        async with self._in_flight:
            for _ in range(MAX_REDIRECTS + 1):
                status, received, text = await self._exchange(
                    call,
                    method,
                    url,
                    json=json_body,
                    data=form,
                    params=params,
                    headers=headers,
                    proxy=self._proxies.get(urlsplit(url).scheme),
                    timeout=timeout or self._settings.timeout,
                )
                elsewhere = _same_host(url, received.get("Location")) if 300 <= status < 400 else None
                if elsewhere is None:
                    break
                # The new address brings its query.
                url, params = elsewhere, None
        # A page in place of a token will be quoted in the error.
        wanted = secret_answer and status < 300 and text.lstrip().startswith("{")
        return Answer(status, received, text, str if wanted else self._redact)

    async def _exchange(
        self, call: str, method: str, url: str, *, timeout: float, **request: Any
    ) -> tuple[int, Mapping[str, str], str]:
        session = await self._open()
        import aiohttp

        self.requests += 1
        limits = aiohttp.ClientTimeout(total=None, sock_connect=min(timeout, CONNECT_WITHIN))

        async def ask() -> tuple[int, Mapping[str, str], str]:
            async with session.request(method, url, timeout=limits, allow_redirects=False, **request) as response:
                body = await response.read()
            return response.status, response.headers, body.decode("utf-8", errors="replace")

        try:
            return await _in_time(ask(), timeout)
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ConnectionTimeoutError,
            aiohttp.ClientHttpProxyError,
            aiohttp.InvalidURL,
            # The host cannot be looked up by such a name.
            UnicodeError,
        ) as error:
            raise Unreachable(call, _cause(error), may_have_arrived=False) from None
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise Unreachable(call, _cause(error)) from None

    async def close(self) -> None:
        """Close the connections. The transport opens new ones if it is used again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _open(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                # Importing it takes as long as many polls: neither DAG files nor the event loop should pay for that.
                aiohttp = await asyncio.to_thread(import_module, "aiohttp")
                connector = aiohttp.TCPConnector(
                    ssl=await self._tls(), limit=self._settings.max_requests, keepalive_timeout=60
                )
                self._session = aiohttp.ClientSession(
                    connector=connector,
                    headers={
                        "User-Agent": f"airbyte-deferrable/{__version__}",
                        **dict(self._settings.headers),
                    },
                    # Cookies of a load balancer would tie a thousand waiters to one server pod.
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trace_configs=[_no_second_delete(aiohttp.TraceConfig(), aiohttp.ServerDisconnectedError)],
                )
            return self._session

    async def _tls(self) -> ssl.SSLContext | bool:
        if not self._settings.verify:
            return False
        if self._settings.ca_file is None:
            return True
        # Reads a file, which must not happen in the event loop.
        return await asyncio.to_thread(ssl.create_default_context, cafile=self._settings.ca_file)

    def _redact(self, text: str) -> str:
        for forms in self._secrets.values():
            for form in forms:
                if form in text:
                    text = text.replace(form, "***")
        return text


async def _in_time(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Return what comes of it, or raise ``TimeoutError``.

    aiohttp's ``total`` takes a cancellation that comes in the same moment for its own (3.14.5 enters its timer twice,
    and so calls ``uncancel`` twice), and ``asyncio.wait_for`` before Python 3.12 can swallow one, too. Whoever had
    cancelled would wait for ever.
    """
    task = asyncio.ensure_future(work)
    # Nobody may be left to take its error.
    task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
    if not done:
        raise asyncio.TimeoutError
    return task.result()


def refusal(call: str, answer: Answer) -> ApiError:
    """Name the cause of an answer that is not 2xx.

    :param call: What was asked, for the message.
    :param answer: The answer.
    :return: The exception to raise.
    """
    status = answer.status
    kind, detail, from_airbyte = problem(answer)
    if status < 400:
        # Not carried out, and most likely a login page, or an address that has moved.
        detail = "It leads elsewhere (a redirect), which is only followed on the same host."
        return Unreachable(call, detail, status, may_have_arrived=False)
    if status >= 500 or status in TRANSIENT_STATUSES:
        return Unreachable(call, detail, status, retry_after=_retry_after(answer.headers))
    if status == 401:
        return BadCredentials(call, detail, status)
    if not from_airbyte:
        # A gateway's page, as while Airbyte is being deployed: it says nothing about the job or the request.
        return Unreachable(call, detail, status)
    if status == 403:
        return Forbidden(call, detail, status)
    if status == 404:
        return NotFound(call, detail, status)
    if status == 409:
        return Conflict(call, detail, status, kind=kind)
    return Rejected(call, detail, status)


class Problem(NamedTuple):
    """What a refusal's body says.

    :param kind: Airbyte's name for the problem; empty if it has none.
    :param detail: The most telling text.
    :param from_airbyte: Whether the body is JSON, as all of Airbyte's are, and not a gateway's page.
    """

    kind: str
    detail: str
    from_airbyte: bool


def problem(answer: Answer) -> Problem:
    """Read a refusal's body: a problem as in RFC 9457, or whatever a gateway says instead.

    :param answer: The refusal.
    :return: What it says.
    """
    text = answer.text
    try:
        body = answer.json("")
    except Unreachable:
        return Problem("", text, from_airbyte=False)
    if not isinstance(body, dict):
        return Problem("", text, from_airbyte=False)
    data = body.get("data")
    message = data.get("message") if isinstance(data, dict) else None
    detail = message or body.get("detail") or body.get("message") or text
    return Problem(str(body.get("title") or ""), str(detail), from_airbyte=True)


def _same_host(url: str, location: str | None) -> str | None:
    """Return where a redirect leads, if that is the same host and does not leave TLS."""
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, location or ""))
        stays = here.hostname == there.hostname and there.scheme in (here.scheme, "https")
    except ValueError:
        return None
    return there.geturl() if location and stays else None


def _no_second_delete(trace: aiohttp.TraceConfig, refusal: type[Exception]) -> aiohttp.TraceConfig:
    """Have a DELETE sent once, whatever becomes of it.

    aiohttp repeats one at once whose connection was closed on it, also when Airbyte has carried it out. By then the
    job has ended, and another may run, which the second would cancel.

    :param trace: Is told of each request before it is sent.
    :param refusal: What aiohttp raises for a connection that was closed.
    """

    async def before_it_is_sent(_: Any, request: Any, about: aiohttp.TraceRequestHeadersSentParams) -> None:
        if about.method == "DELETE":
            if hasattr(request, "sent"):
                raise refusal
            request.sent = True

    trace.on_request_headers_sent.append(before_it_is_sent)
    return trace


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
        asked = parsedate_to_datetime(headers["Date"])
        return max(0.0, (until - asked).total_seconds())
    except (KeyError, TypeError, ValueError):
        # TypeError: one of the two names no time zone.
        return None


def _cause(error: BaseException) -> str:
    """Describe a network error without its own message, which may hold a proxy's URL and password."""
    if isinstance(error, UnicodeError):
        return "The host is no name: a part between its dots is empty, or has more than 63 letters."
    certificate = getattr(error, "certificate_error", None)
    reason = getattr(certificate, "verify_message", None) or getattr(error, "strerror", None)
    reason = reason or getattr(error, "status", None)
    # Of Airbyte, or of the proxy, whichever it was that could not be reached.
    host, port = getattr(error, "host", None), getattr(error, "port", None)
    where = f" ({host}:{port})" if host else ""
    return f"{type(error).__name__}: {reason}{where}." if reason else f"{type(error).__name__}{where}."
