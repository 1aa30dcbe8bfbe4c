"""Servers that say on a real socket what no well-behaved server would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

Behaviour = Literal["close", "reset", "hang"]


@dataclass
class Request:
    """What was asked; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Cut:
    """Bytes after which the connection ends, whatever they promised."""

    data: bytes


Answer = bytes | Cut | Behaviour


def reply(status: int = 200, body: Any = "", **headers: str) -> bytes:
    """Return an HTTP answer; what is not text is sent as JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    data = text.encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


def token(value: str = "a-fine-token", **more: Any) -> bytes:
    """Return an answer of the token endpoint."""
    return reply(200, {"access_token": value, **more})


@dataclass
class Wire:
    """A server that answers as it is told, and keeps what it was asked."""

    answer: Callable[[Request], Answer]
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def base_url(self) -> str:
        return f"{self.url}/api/public/v1"

    def asked(self, path_end: str) -> list[Request]:
        """Return the requests for a path that ends so."""
        return [request for request in self.requests if request.path.endswith(path_end)]

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://localhost:{port}" if self.tls else f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in list(self._open):
            writer.close()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while (request := await read_request(reader)) is not None:
                self.requests.append(request)
                answer = self.answer(request)
                if answer == "hang":
                    await reader.read()
                    return
                if answer == "reset":
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return
                if answer == "close":
                    return
                writer.write(answer.data if isinstance(answer, Cut) else answer)
                await writer.drain()
                if isinstance(answer, Cut):
                    return
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Read one request; None if the client has left, or speaks TLS to a server that does not."""
    try:
        first = await reader.readexactly(1)
        if first == b"\x16":
            return None
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    line, *lines = head.split("\r\n")
    method, target, _ = line.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, target, headers, body)


@dataclass
class Proxy:
    """A forward proxy: passes plain requests on, and tunnels TLS. It wants a password if it has one."""

    authorization: str | None = None
    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await read_request(reader)
            if request is None:
                return
            self.asked.append(f"{request.method} {request.target}")
            if self.authorization and request.headers.get("proxy-authorization") != self.authorization:
                writer.write(reply(407, "no", Connection="close"))
            elif request.method == "CONNECT":
                host, _, port = request.target.partition(":")
                there = await asyncio.open_connection(host, int(port))
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                await asyncio.gather(_pipe(reader, there[1]), _pipe(there[0], writer))
            else:
                parts = urlsplit(request.target)
                there = await asyncio.open_connection(parts.hostname, parts.port)
                lines = [f"{request.method} {parts.path}?{parts.query} HTTP/1.1", "Connection: close"]
                lines += [f"{k}: {v}" for k, v in request.headers.items() if not k.startswith(("proxy-", "connection"))]
                there[1].write("\r\n".join([*lines, "", ""]).encode() + request.body)
                await _answer(there[0], writer)
                there[1].close()
        writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    writer.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + await reader.readexactly(length))
    await writer.drain()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def running_proxy(authorization: str | None = None) -> AsyncIterator[Proxy]:
    """Start a proxy."""
    proxy = Proxy(authorization)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
