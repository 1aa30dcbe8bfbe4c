"""How a request gets its ``Authorization`` header, and a new one after Airbyte refused the old."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple, Protocol
from urllib.parse import urljoin

from airbyte_deferrable.api.aio import Shared, SharedCallStopped
from airbyte_deferrable.api.errors import ApiError, BadCredentials, NoTokenEndpoint, Unreachable
from airbyte_deferrable.api.refusals import Problem, problem, refusal
from airbyte_deferrable.api.settings import (
    BasicAuth,
    BearerToken,
    ClientCredentials,
    Settings,
    basic,
)
from airbyte_deferrable.api.transport import Answer, Transport

#: A token is renewed this many seconds before it ends, or after four fifths of a shorter life.
RENEW_BEFORE = 60.0
#: Fetching a token, in the words of its errors.
_FETCHING = "POST the token endpoint"
#: What servers say that have no token endpoint there.
_NO_SUCH_ENDPOINT = frozenset({404, 405})
#: What servers say that want a form instead of JSON, or other credentials.
_WANTS_ANOTHER_BODY = frozenset({400, 401, 403, 415, 422, 500})
#: Airbyte Core's words for wrong credentials (400), in whatever form a release says them.
_WRONG_CREDENTIALS = "invalid client id or token"
#: How login services name what is wrong with a token request (RFC 6749, 5.2).
_OAUTH_ERRORS = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)


class Auth(Protocol):
    """What the client asks before each request."""

    async def header(self) -> str | None:
        """Return the header's value; None for no header."""

    def renew(self, refused: str | None) -> bool:
        """Say whether another header may help after a 401.

        :param refused: The value that Airbyte refused.
        """

    async def stop(self) -> None:
        """Stop what is under way, before the transport is closed."""


class FixedAuth:
    """A header that never changes, or none.

    :param value: The header's value; None to send none.
    """

    def __init__(self, value: str | None) -> None:
        self._value = value

    async def header(self) -> str | None:
        """Return the header's value."""
        return self._value

    def renew(self, refused: str | None) -> bool:
        """Return False: there is no other.

        :param refused: The value that Airbyte refused.
        """
        return False

    async def stop(self) -> None:
        """Do nothing: there is nothing under way."""


class KeptToken(NamedTuple):
    """A token that another client fetched.

    :param token: The token.
    :param good_until: When it is to be renewed, seconds since the epoch.
    """

    token: str
    good_until: float


class KeptTokens(Protocol):
    """Where a token is kept for others who come later."""

    def read(self) -> KeptToken | None:
        """Return what is kept; None for nothing. May block."""

    def write(self, kept: KeptToken) -> None:
        """Keep a token. May block.

        :param kept: The token.
        """


class TokenAuth:
    """Tokens of an Airbyte application, fetched once for all who ask at the same time.

    :param transport: Sends the token request.
    :param token_url: The absolute address of the token endpoint.
    :param health_url: The absolute address of Airbyte's health probe, which wants no token.
    :param credentials: The application's id and secret.
    :param kept: Where tokens are kept for others. Default: nowhere.
    """

    def __init__(
        self,
        transport: Transport,
        token_url: str,
        health_url: str,
        credentials: ClientCredentials,
        kept: KeptTokens | None = None,
    ) -> None:
        self._transport = transport
        self._token_url = token_url
        self._health_url = health_url
        self._credentials = credentials
        self._kept = kept
        self._fetch = Shared(self._find_token)
        self._token = self._former = ""
        self._header: str | None = None
        self._renew_at = 0.0
        self._look_among_kept = kept is not None

    async def header(self) -> str | None:
        """Return ``Bearer`` and a token that is good for a while.

        :raises BadCredentials: If Airbyte refuses the credentials.
        :raises NoTokenEndpoint: If there is none at the address.
        :raises Unreachable: If the token endpoint gave no answer that counts.
        """
        if self._header is not None and time.monotonic() < self._renew_at:
            return self._header
        try:
            return await self._fetch()
        except SharedCallStopped:
            raise Unreachable(_FETCHING, "The connection to Airbyte was closed meanwhile.") from None

    def renew(self, refused: str | None) -> bool:
        """Drop the token if it is the refused one; a newer one may be there already.

        :param refused: The value that Airbyte refused.
        :return: True: another can always be asked for.
        """
        if refused == self._header:
            self._header = None
            # Others' may be the same one.
            self._look_among_kept = False
        return True

    async def stop(self) -> None:
        """Stop fetching a token."""
        await self._fetch.stop()

    async def _find_token(self) -> str:
        if self._kept is None:
            return await self._fetch_token()
        if self._look_among_kept:
            # Once: what is kept by others later is no fresher than what is fetched here.
            self._look_among_kept = False
            kept = await asyncio.to_thread(self._kept.read)
            if kept is not None and (left := kept.good_until - time.time()) > 0:
                return self._use(kept.token, time.monotonic() + left)
        header = await self._fetch_token()
        if self._renew_at < float("inf"):
            left = self._renew_at - time.monotonic()
            await asyncio.to_thread(self._kept.write, KeptToken(self._token, time.time() + left))
        return header

    def _use(self, token: str, renew_at: float) -> str:
        # Answers to requests that carried the last token may still be under way, those of the one before are not.
        self._transport.keep_secret(token, replaces=self._former)
        self._former, self._token, self._header = self._token, token, f"Bearer {token}"
        self._renew_at = renew_at
        return self._header

    async def _fetch_token(self) -> str:
        call = _FETCHING
        asked_at = time.monotonic()
        answer = await self._ask(call)
        if answer.status >= 300:
            raise await self._refusal(call, answer)
        if answer.is_page:
            # An Airbyte without authentication has its web app answer there.
            raise NoTokenEndpoint(call, "A web page came in place of a token.", answer.status)
        body = answer.json(call)
        token = body.get("access_token") if isinstance(body, dict) else None
        if not isinstance(token, str) or not token:
            raise Unreachable(call, "The answer has no access_token.", answer.status, credentials_in_doubt=True)
        return self._use(token, _renew_at(asked_at, body.get("expires_in")))

    async def _refusal(self, call: str, answer: Answer) -> ApiError:
        said = problem(answer)
        error = refusal(call, answer)
        if answer.status in _NO_SUCH_ENDPOINT and (said.from_airbyte or await self._airbyte_is_there()):
            return NoTokenEndpoint(call, said.detail, answer.status)
        if answer.status == 500:
            # So some releases say that there is no such application.
            error.credentials_in_doubt = True
        # Whatever else it is called here (Airbyte Core says 400, Keycloak 401), it is about the credentials, and not
        # about the job that the token was to be used for.
        if not error.transient or (answer.status in _WANTS_ANOTHER_BODY and _names_the_credentials(answer, said)):
            return BadCredentials(call, error.detail, answer.status)
        return error

    async def _airbyte_is_there(self) -> bool:
        """Tell a gateway that does not let anything pass now from an Airbyte that gives out no tokens."""
        try:
            answer = await self._transport.send("GET", self._health_url, call="GET /health")
        except Unreachable:
            return False
        return answer.status < 300 and not answer.is_page

    async def _ask(self, call: str) -> Answer:
        """Ask with a JSON body, which every release takes, then with a form, which some gateways want.

        A page is not believed the first time either.
        """
        fields = {
            "client_id": self._credentials.client_id,
            "client_secret": self._credentials.client_secret,
        }
        body = {**fields, "grant_type": "client_credentials", "grant-type": "client_credentials"}
        answer = await self._transport.send("POST", self._token_url, call=call, json_body=body, secret_answer=True)
        page = answer.status < 300 and answer.is_page
        if answer.status not in _WANTS_ANOTHER_BODY and not page:
            return answer
        form = {**fields, "grant_type": "client_credentials"}
        second = await self._transport.send("POST", self._token_url, call=call, form=form, secret_answer=True)
        return second if page or second.status < 300 else answer


def _names_the_credentials(answer: Answer, said: Problem) -> bool:
    if _WRONG_CREDENTIALS in said.detail.lower():
        return True
    try:
        body = answer.json("")
    except Unreachable:
        return False
    return isinstance(body, dict) and str(body.get("error")) in _OAUTH_ERRORS


def auth_for(settings: Settings, transport: Transport, kept: KeptTokens | None = None) -> Auth:
    """Choose how requests are authorized.

    :param settings: Names the credentials.
    :param transport: For fetching tokens.
    :param kept: Where tokens are kept for others. Default: nowhere.
    :return: What brings the header of each request.
    """
    credentials = settings.credentials
    if isinstance(credentials, ClientCredentials):
        token_url = urljoin(settings.base_url, credentials.token_url)
        return TokenAuth(transport, token_url, f"{settings.base_url}/health", credentials, kept)
    if isinstance(credentials, BearerToken):
        return FixedAuth(f"Bearer {credentials.token}")
    if isinstance(credentials, BasicAuth):
        return FixedAuth(f"Basic {basic(credentials.login, credentials.password)}")
    return FixedAuth(None)


def _renew_at(asked_at: float, expires_in: object) -> float:
    try:
        lifetime = float(expires_in)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        lifetime = 0.0
    if not lifetime > 0:
        # Not told, or nothing that can be meant: used until Airbyte refuses it.
        return float("inf")
    return asked_at + max(lifetime - RENEW_BEFORE, lifetime * 0.8)
