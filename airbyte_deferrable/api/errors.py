"""What can go wrong with one request to Airbyte, one class per cause.

The classes say what the wire did. What that means for a task is decided by who asked: a waiting task goes on
through an :class:`Unreachable` Airbyte, a submission looks for the job that it may have made.
"""

from __future__ import annotations

import re
from typing import ClassVar

# Longer answers are stack traces; the beginning tells which.
MAX_DETAIL = 300
#: So much of a page is read for its words. Tags that never close take the square of that, in the event loop.
MAX_PAGE = 4000
#: Statuses that say nothing about the request itself, only that now is a bad moment.
TRANSIENT_STATUSES = frozenset({408, 425, 429})
#: What of a page of HTML is not its words.
_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.S | re.I)


class ApiError(Exception):
    """A request to Airbyte that did not give what was asked for.

    :param call: What was asked, as method and path, for example ``GET /jobs/7``. Never a query, header or
        body, so that no secret can be in it.
    :param detail: What Airbyte or the network said, shortened.
    :param status: The HTTP status of the answer; None if none came.
    """

    #: Whether the same request may well succeed a little later.
    transient: ClassVar[bool] = False
    #: Whether it may be that the credentials are refused, so that others, should there be any, may help.
    credentials_in_doubt: bool = False
    #: What the reader can do about it.
    advice: str = ""

    def __init__(self, call: str, detail: str = "", status: int | None = None) -> None:
        self.call = call
        # A proxy answers with a page: what it says, without its markup.
        words = _MARKUP.sub(" ", detail[:MAX_PAGE]) if detail.lstrip().startswith("<") else detail
        self.detail = " ".join(words.split())[:MAX_DETAIL]
        self.status = status
        super().__init__(call, self.detail, status)

    def __str__(self) -> str:
        said = f"HTTP {self.status}" if self.status is not None else "no answer"
        detail = self.detail if not self.detail or self.detail[-1] in ".!?" else f"{self.detail}."
        return " ".join(part for part in (f"{self.call}: {said}.", detail, self.advice) if part)


class Unreachable(ApiError):
    """Airbyte could not be asked now: the network, a timeout, 408, 425, 429, 5xx, or an answer that is none.

    :param call: What was asked.
    :param detail: What Airbyte or the network said.
    :param status: The HTTP status of the answer; None if none came.
    :param may_have_arrived: Whether Airbyte may have carried the request out although no answer came. False
        only where it certainly has not, as when the connection was refused.
    :param retry_after: Seconds that the server asked to wait (``Retry-After``); None if it did not. Airbyte's
        own load shedding deliberately sends none.
    :param credentials_in_doubt: Whether a gateway may have said so for want of other credentials: a redirect or a page
        to log in, a refusal (4xx) that is not Airbyte's.
    """

    transient = True

    def __init__(
        self,
        call: str,
        detail: str = "",
        status: int | None = None,
        *,
        may_have_arrived: bool = True,
        retry_after: float | None = None,
        credentials_in_doubt: bool = False,
    ) -> None:
        super().__init__(call, detail, status)
        if status is None:
            self.advice = (
                "Check that Airbyte runs, that the connection's Server URL (host) is right, and that the network lets "
                "it pass."
            )
        elif status >= 500 or status in TRANSIENT_STATUSES:
            self.advice = "Airbyte, or a proxy before it, is overloaded or out of order: see its own logs."
        elif status >= 400:
            self.advice = (
                "These are not Airbyte's words but those of a gateway or proxy before it, which may want other "
                "credentials, or not know the way. Check that the connection's Server URL (host) is the address of "
                "Airbyte's public API."
            )
        else:
            # A redirect, or a page where JSON should be: the web app's, for example.
            self.advice = "Check that the connection's Server URL (host) is the address of Airbyte's public API."
        self.may_have_arrived = may_have_arrived
        self.retry_after = retry_after
        self.credentials_in_doubt = credentials_in_doubt


class BadCredentials(ApiError):
    """The token endpoint, or Airbyte after a fresh token, refused the credentials."""

    advice = "Check the Client ID and Client Secret (or token, or login and password) of the Airflow connection."
    credentials_in_doubt = True


class NoTokenEndpoint(ApiError):
    """There is no token endpoint at the address: auth is switched off in that Airbyte, or the URL is wrong."""

    advice = (
        "Check that the connection's Server URL (host) ends in /api/public/v1 (Cloud: /v1), and its Token URL if it "
        "names one. If this Airbyte runs without authentication, leave Client ID and Client Secret empty."
    )
    credentials_in_doubt = True


class Forbidden(ApiError):
    """Airbyte answered 403: no permission, or no such job or connection (it does not tell which)."""

    advice = (
        "Airbyte answers 403 both for what is missing and for what the credentials may not see: "
        "check the id and the application's permissions on the workspace."
    )


class NotFound(ApiError):
    """Airbyte answered 404: no such thing, or the address is not that of Airbyte's public API."""

    advice = "Check the id, and that the connection's Server URL (host) ends in /api/public/v1 (Cloud: /v1)."


class Conflict(ApiError):
    """Airbyte answered 409.

    :param call: What was asked.
    :param detail: What Airbyte said.
    :param status: The HTTP status.
    :param kind: Airbyte's own name for it: ``try-again-later`` when the connection is busy, ``state-conflict``
        when it is inactive, when a job did not get an id in time, or for an unknown job; empty if unnamed.
    """

    def __init__(self, call: str, detail: str = "", status: int | None = None, *, kind: str = "") -> None:
        super().__init__(call, detail, status)
        self.kind = kind


class Rejected(ApiError):
    """Airbyte understood the request and refused it: 400, 422 and the other statuses under 500."""


#: Airbyte's word that there is no such thing, or none that the credentials may see.
NOT_VISIBLE = (Forbidden, NotFound, Conflict)
#: What says nothing about a job or a connection to those who have been let in before: credentials that are refused
#: are then the word of a login service that restarts.
DOUBTS = (Unreachable, BadCredentials, NoTokenEndpoint)
