"""The body of an answer, from bytes to text."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable

#: What a server may compress its answers with: what can be undone here with what Python brings.
ACCEPTED = "gzip, deflate"
#: Compressed twice is odd enough; deeper is an attack.
_MOST_LAYERS = 5
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.I)


def decompress(body: bytes, encodings: Iterable[str]) -> bytes:
    """Undo the compression.

    Not left to aiohttp, which knows neither ``x-gzip`` nor two encodings at once, and refuses what stands behind the
    compressed data. Other clients take all of this.

    :param body: What came.
    :param encodings: The values of ``Content-Encoding``.
    :return: What was compressed; the body itself, where it was not, or in a way that nobody asked for.
    :raises zlib.error: If it is broken, or cut short.
    """
    layers = [name.strip().lower() for value in encodings for name in value.split(",")]
    for layer in reversed(layers[:_MOST_LAYERS]):
        if not body:
            break
        if layer in ("gzip", "x-gzip"):
            body = _inflate(body, 16 + zlib.MAX_WBITS)
        elif layer == "deflate":
            try:
                body = _inflate(body, zlib.MAX_WBITS)
            except zlib.error:
                # Many servers leave the frame out that the standard wants (RFC 9110, 8.4.1.2).
                body = _inflate(body, -zlib.MAX_WBITS)
    return body


def _inflate(body: bytes, window: int) -> bytes:
    """Undo one compression, which may come in several pieces."""
    pieces: list[bytes] = []
    while body:
        piece = zlib.decompressobj(window)
        try:
            data = piece.decompress(body)
        except zlib.error:
            if pieces:
                # No piece, but what some servers fill their blocks up with.
                break
            raise
        if not piece.eof:
            raise zlib.error("cut short")
        pieces.append(data)
        body = piece.unused_data
    return b"".join(pieces)


def decode(body: bytes, content_type: str) -> str:
    """Return the body as text.

    JSON is UTF-8, whatever the header says (RFC 8259, 8.1), or what its first bytes show; only where it is neither,
    the header's word counts.

    :param body: What came, without compression.
    :param content_type: The header.
    """
    charset = _CHARSET.search(content_type)
    for encoding in (json.detect_encoding(body), charset[1] if charset else ""):
        try:
            return body.decode(encoding)
        except (LookupError, UnicodeError):
            continue
    return body.decode("utf-8", errors="replace")
