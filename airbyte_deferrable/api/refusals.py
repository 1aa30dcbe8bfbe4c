"""What an answer that brings nothing says: whose word it is, what it means, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

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

if TYPE_CHECKING:
    from airbyte_deferrable.api.transport import Answer

#: What the ``type`` of Airbyte's problems begins with (``api-problems.yaml`` in airbyte-platform).
PROBLEM_TYPES = "https://reference.airbyte.com/"
#: How Airbyte names its problems; gateways have the status in words there (``Forbidden``, ``Not Found``).
_PROBLEM_NAME = re.compile(r"[a-z]+(-[a-z]+)+|forbidden")


class Problem(NamedTuple):
    """What a refusal's body says.

    :param kind: Airbyte's name for the problem; empty if it has none.
    :param detail: The most telling text.
    :param from_airbyte: Whether the body has a form of Airbyte's own. Otherwise a gateway or proxy may have said it,
        which knows nothing of jobs and connections.
    """

    kind: str
    detail: str
    from_airbyte: bool


def problem(answer: Answer) -> Problem:
    """Read a refusal's body.

    :param answer: The refusal.
    :return: What it says.
    """
    try:
        body = answer.json("")
    except Unreachable:
        body = None
    if not isinstance(body, dict):
        return Problem("", answer.text, from_airbyte=False)
    reasons = (text.strip() for text in _reasons(body) if isinstance(text, str) and text.strip())
    return Problem(str(body.get("title") or ""), next(reasons, answer.text), is_airbytes(body))


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
        return Unreachable(call, detail, status, may_have_arrived=False, credentials_in_doubt=True)
    if status >= 500 or status in TRANSIENT_STATUSES:
        return Unreachable(call, detail, status, retry_after=_retry_after(answer.headers))
    if status == 401:
        return BadCredentials(call, detail, status)
    if not from_airbyte:
        # A gateway's word, as while Airbyte is being deployed: it says nothing about the job or the request.
        return Unreachable(call, detail, status, credentials_in_doubt=True)
    if status == 403:
        return Forbidden(call, detail, status)
    if status == 404:
        return NotFound(call, detail, status)
    if status == 409:
        return Conflict(call, detail, status, kind=kind)
    return Rejected(call, detail, status)


def is_airbytes(body: Mapping[str, Any]) -> bool:
    """Tell whether a JSON object has the form of one of Airbyte's errors.

    A ``message`` alone has not: Kong, Amazon's API Gateway and many others say that, and of Airbyte itself only its
    load shedding (429), which says nothing about the request either.

    :param body: The error's body, without the keys whose value is null.
    """
    kind, title = body.get("type"), body.get("title")
    if isinstance(kind, str) and kind.startswith(PROBLEM_TYPES):
        return True
    if isinstance(title, str) and _PROBLEM_NAME.fullmatch(title):
        return True
    # Releases of 2023 (airbytehq/airbyte#30021); with a title it is any gateway's.
    if kind == "about:blank" and body.keys() == {"type", "status"}:
        return True
    # Micronaut's own, for what never reaches Airbyte's code.
    if isinstance(body.get("_embedded"), dict) or isinstance(body.get("_links"), dict):
        return True
    # Okta's errors have an errorId beside an errorCode.
    if isinstance(body.get("errorId"), str) and "errorCode" not in body:
        return True
    # The config API's.
    return isinstance(body.get("exceptionClassName"), str)


def _reasons(body: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what may tell the reason, the most telling first: general words are Airbyte's default everywhere."""
    data = body.get("data")
    if isinstance(data, dict):
        yield data.get("message")
    yield _nested(body)
    detail = body.get("detail")
    if isinstance(data, dict) and isinstance(detail, str):
        which = " ".join(str(data[key]) for key in ("resourceType", "resourceId") if data.get(key))
        yield f"{detail} ({which})" if which else detail
    yield detail
    yield body.get("message")
    # OAuth's (RFC 6749, 5.2), as login services say it.
    yield body.get("error_description")
    yield body.get("title")
    yield body.get("error")


def _nested(body: Mapping[str, Any]) -> str:
    """Return what Micronaut says of each fault; above them stands only the status in words."""
    embedded = body.get("_embedded")
    errors = embedded.get("errors") if isinstance(embedded, dict) else None
    messages = [error.get("message") for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    return "; ".join(message for message in messages if isinstance(message, str))


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
