"""One HTTP exchange: sent and answered."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import zlib
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from airbyte_deferrable import __version__
from airbyte_deferrable.api.bodies import ACCEPTED, decode, decompress
from airbyte_deferrable.api.errors import Unreachable
from airbyte_deferrable.api.models import TRUE_NAME, JobStatus, JobType
from airbyte_deferrable.api.proxies import bypasses
from airbyte_deferrable.api.redaction import Redaction
from airbyte_deferrable.api.settings import Settings

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")

#: Seconds to reach the server, which tells an Airbyte that is gone from one that is slow.
CONNECT_WITHIN = 15.0
#: Enough for a gateway that leads from http to https and then to another path.
MAX_REDIRECTS = 3
#: Bytes of a line, and lines, of an answer's head. As curl has them: aiohttp's own are smaller than those of other
#: clients, and gateways add cookies, policies and certificates.
LONGEST_HEAD_LINE = 300 * 1024
MOST_HEAD_LINES = 5000
#: What is data by its form: ids, moments, spans, names of problems. A header's value may well be a part of one, and is
#: none to hide there.
_DATA = re.compile(
    r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9TZ:.+-]+|P[0-9DTHMS.]+"
    r"|https://reference\.airbyte\.com/reference/errors(#[\w-]+)?"
)
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
        """The body in words, for users."""
        return self.redact(self.body)

    @property
    def is_page(self) -> bool:
        """Whether it is a page of HTML, or another text with markup, and not data."""
        return self.body.lstrip().startswith("<")

    def json(self, call: str) -> Any:
        """Return the body as JSON. Only what is prose in it is redacted: data is left as Airbyte told it.

        What is ``null`` is left out, as Airbyte itself leaves out what there is none of.

        :param call: What was asked, for the error.
        :raises Unreachable: If it is none: a proxy's page, or an answer cut short.
        """
        with suppress(ValueError, RecursionError):
            data = json.loads(self.body)
            # Of a column's types, in quotes, one is mostly ``"null"``.
            if self.body.count("null") > self.body.count('"null"'):
                data = _without_nulls(data)
            return data if self.text == self.body else self._without_secrets(data)
        # Not from within an except, whose error would bring the whole body along. Only a page is quoted: an answer cut
        # short may be one that was to bring a token.
        page = f", it begins with {self.text[:80]!r}" if self.is_page else ""
        raise Unreachable(call, f"The answer is not JSON{page}.", self.status, credentials_in_doubt=True)

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


def _without_nulls(data: Any) -> Any:
    """Take them out where they are: a copy of a connection's thousand streams takes long."""
    inside = [data]
    while inside:
        each = inside.pop()
        if isinstance(each, dict):
            for key in [key for key, value in each.items() if value is None]:
                del each[key]
            inside += [value for value in each.values() if isinstance(value, (dict, list))]
        elif isinstance(each, list):
            each[:] = [value for value in each if value is not None]
            inside += [value for value in each if isinstance(value, (dict, list))]
    return data


class Transport:
    """The connections to one Airbyte.

    Opened by the first request, to be closed with :meth:`close`. Bound to the event loop that uses it.

    :param settings: The address, the TLS and proxy settings, the limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        #: Requests under way, by the session that carries them.
        self._under_way: Counter[aiohttp.ClientSession] = Counter()
        self._opening = asyncio.Lock()
        self._in_flight = asyncio.Semaphore(settings.max_requests)
        self._proxies = dict(settings.proxies)
        self._redaction = Redaction(settings.secrets)
        self.requests = 0

    def keep_secret(self, secret: str, replaces: str = "") -> None:
        """Take this text, in whatever form, out of every later answer.

        :param secret: The secret.
        :param replaces: An older secret that need not be looked for any more.
        """
        self._redaction.keep(secret, replaces)

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
        from http to https so. Others, to a login page for example, would hand the credentials to another server.

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
            status, received, text = await self._follow(
                call,
                method,
                url,
                params,
                json=json_body,
                data=form,
                headers=headers,
                timeout=timeout or self._settings.timeout,
            )
        # A page in place of a token will be quoted in the error.
        wanted = secret_answer and status < 300 and text.lstrip().startswith("{")
        return Answer(status, received, text, str if wanted else self._redaction)

    async def _follow(
        self, call: str, method: str, url: str, params: Mapping[str, str] | None, **request: Any
    ) -> tuple[int, Mapping[str, str], str]:
        """Ask, and ask again where a redirect leads on the same host."""
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._exchange(call, method, url, params=params, proxy=self._proxy_to(url), **request)
            status, headers, _ = answer
            elsewhere = _same_host(url, headers.get("Location")) if 300 <= status < 400 else None
            if elsewhere is None:
                break
            # The new address brings its query.
            url, params = elsewhere, None
        return answer

    def _proxy_to(self, url: str) -> str | None:
        return None if bypasses(self._settings.no_proxy, url) else self._proxies.get(urlsplit(url).scheme)

    async def _exchange(
        self, call: str, method: str, url: str, *, timeout: float, **request: Any
    ) -> tuple[int, Mapping[str, str], str]:
        session = await self._open()
        self._under_way[session] += 1
        try:
            return await self._exchange_over(session, call, method, url, timeout=timeout, **request)
        finally:
            self._under_way[session] -= 1
            if session is not self._session and not self._under_way[session]:
                await self._end(session)

    async def _exchange_over(
        self, session: aiohttp.ClientSession, call: str, method: str, url: str, *, timeout: float, **request: Any
    ) -> tuple[int, Mapping[str, str], str]:
        import aiohttp

        self.requests += 1
        limits = aiohttp.ClientTimeout(total=None, sock_connect=min(timeout, CONNECT_WITHIN))

        async def ask() -> tuple[int, Mapping[str, str], str]:
            async with session.request(method, url, timeout=limits, allow_redirects=False, **request) as response:
                body = await response.read()
            plain = decompress(body, response.headers.getall("Content-Encoding", []))
            return response.status, response.headers, decode(plain, response.headers.get("Content-Type", ""))

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
            # A proxy that wants other credentials than those of its URL.
            refused = getattr(error, "status", None) == 407
            raise Unreachable(call, _cause(error), may_have_arrived=False, credentials_in_doubt=refused) from None
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError, zlib.error) as error:
            raise Unreachable(call, _cause(error)) from None

    async def close(self) -> None:
        """Close the connections, those of requests under way after their answers.

        The transport opens new ones if it is used again.
        """
        session, self._session = self._session, None
        if session is not None and not self._under_way[session]:
            await self._end(session)

    async def _end(self, session: aiohttp.ClientSession) -> None:
        del self._under_way[session]
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
                        "Accept-Encoding": ACCEPTED,
                        **dict(self._settings.headers),
                    },
                    auto_decompress=False,
                    **_head_limits(aiohttp.ClientSession),
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


def _head_limits(session: type[aiohttp.ClientSession]) -> dict[str, int]:
    limits = {
        "max_line_size": LONGEST_HEAD_LINE,
        "max_field_size": LONGEST_HEAD_LINE,
        # Releases of aiohttp without it do not count.
        "max_headers": MOST_HEAD_LINES,
    }
    return {name: limit for name, limit in limits.items() if name in signature(session).parameters}


def _cause(error: BaseException) -> str:
    """Describe a network error without its own message, which may hold a proxy's URL and password."""
    if isinstance(error, UnicodeError):
        return "The host is no name: a part between its dots is empty, or has more than 63 letters."
    if isinstance(error, zlib.error):
        return "The answer cannot be decompressed: it is broken or cut short."
    if type(error).__name__ == "ClientResponseError":
        # aiohttp's parser has refused it; the status that it names is its own.
        return "What came is not HTTP as its standards have it: its head is malformed, or longer than any client takes."
    certificate = getattr(error, "certificate_error", None)
    reason = getattr(certificate, "verify_message", None) or getattr(error, "strerror", None)
    reason = reason or getattr(error, "status", None)
    # Of Airbyte, or of the proxy, whichever it was that could not be reached.
    host, port = getattr(error, "host", None), getattr(error, "port", None)
    where = f" ({host}:{port})" if host else ""
    return f"{type(error).__name__}: {reason}{where}." if reason else f"{type(error).__name__}{where}."
