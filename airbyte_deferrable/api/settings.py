"""How to reach one Airbyte: the address, the credentials and the manners, as plain immutable data.

Two settings are equal when they lead to the same Airbyte with the same credentials, which is how waiting tasks
find the watcher that they can share.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

DEFAULT_TOKEN_URL = "v1/applications/token"
#: Below Airbyte's five handler threads a server pod, so that a burst of requests never takes them all.
DEFAULT_MAX_REQUESTS = 4
DEFAULT_TIMEOUT = 30.0
#: Airbyte may take 60 s to answer a create, releases up to 2.0 until the job runs, and its proxies' own limit
#: is often higher still (130 s was seen in apache/airflow#71092).
DEFAULT_CREATE_TIMEOUT = 300.0


@dataclass(frozen=True)
class NoCredentials:
    """An Airbyte that runs without authentication."""


@dataclass(frozen=True)
class ClientCredentials:
    """An Airbyte application's id and secret, exchanged for short-lived tokens.

    :param client_id: The application's Client ID.
    :param client_secret: The application's Client Secret.
    :param token_url: Where tokens are given out; relative to the base URL unless it has a host, as in the SDK.
    """

    client_id: str
    client_secret: str = field(repr=False)
    token_url: str = DEFAULT_TOKEN_URL


@dataclass(frozen=True)
class BearerToken:
    """A token that is used as it is, for gateways in front of Airbyte.

    :param token: The token, without the word ``Bearer``.
    """

    token: str = field(repr=False)


@dataclass(frozen=True)
class BasicAuth:
    """A login and password, as of a reverse proxy in front of Airbyte."""

    login: str
    password: str = field(repr=False)


Credentials = NoCredentials | ClientCredentials | BearerToken | BasicAuth


def basic(login: str, password: str) -> str:
    """Return login and password as HTTP's basic authentication sends them.

    :param login: The login.
    :param password: The password.
    """
    return b64encode(f"{login}:{password}".encode()).decode()


@dataclass(frozen=True)
class Settings:
    """Everything a client needs to talk to one Airbyte.

    :param base_url: The public API's address, ``https://airbyte.example.com/api/public/v1``.
    :param credentials: How requests are authorized.
    :param config_url: The config API's address (``https://airbyte.example.com/api/v1``), which alone knows why
        a job failed; None to do without.
    :param web_url: The address of the web app, for links; None if there is none.
    :param timeout: Seconds for one request, creating a job excepted.
    :param create_timeout: Seconds for the request that creates a job, which Airbyte answers late.
    :param max_requests: How many requests may be under way at once.
    :param verify: Whether the server's certificate is checked.
    :param ca_file: A file with the certificates to trust instead of the system's.
    :param proxies: A proxy's URL for each scheme (``http``, ``https``).
    :param no_proxy: The hosts that are reached without a proxy, as in ``NO_PROXY``.
    :param headers: Headers that are added to every request. Their values count as secrets.
    """

    base_url: str
    credentials: Credentials = NoCredentials()
    config_url: str | None = None
    web_url: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    create_timeout: float = DEFAULT_CREATE_TIMEOUT
    max_requests: int = DEFAULT_MAX_REQUESTS
    verify: bool = True
    ca_file: str | None = None
    proxies: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    no_proxy: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret in the settings, for taking them out of what a server says."""
        found = [getattr(self.credentials, name, "") for name in ("client_secret", "token", "password")]
        if isinstance(self.credentials, BasicAuth):
            found.append(basic(self.credentials.login, self.credentials.password))
        for _, proxy in self.proxies:
            parts = urlsplit(proxy)
            if parts.password:
                password = unquote(parts.password)
                found += [parts.password, password, basic(unquote(parts.username or ""), password)]
        for name, value in self.headers:
            found += _in_header(name, value)
        # Servers may leave the filling of base64 away.
        return tuple(shown for secret in found if secret for shown in (secret, secret.rstrip("=")) if shown)


def _in_header(name: str, value: str) -> Iterator[str]:
    """Yield a header's secrets: servers tell a token without its scheme, a cookie without the others."""
    yield value
    if name.lower() == "cookie":
        yield from (cookie.partition("=")[2].strip() for cookie in value.split(";"))
    scheme, _, credentials = value.strip().partition(" ")
    if name.lower().endswith("authorization") or scheme.lower() in ("basic", "bearer", "token"):
        yield credentials
    if scheme.lower() == "basic":
        try:
            login_and_password = b64decode(credentials).decode()
        except ValueError:
            return
        yield login_and_password
        yield login_and_password.partition(":")[2]
