"""An Airflow connection of type ``airbyte``, read into the settings of a client."""

from __future__ import annotations

import json
import math
import re
import ssl
from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from airbyte_deferrable._compat import BaseHook
from airbyte_deferrable.api.proxies import bypasses
from airbyte_deferrable.api.settings import (
    DEFAULT_CREATE_TIMEOUT,
    DEFAULT_MAX_REQUESTS,
    DEFAULT_TIMEOUT,
    DEFAULT_TOKEN_URL,
    BasicAuth,
    BearerToken,
    ClientCredentials,
    Credentials,
    NoCredentials,
    Settings,
)
from airbyte_deferrable.exceptions import AirbyteSettingsError

#: A token as HTTP defines it (RFC 9110, 5.6.2).
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

CLOUD_API_HOST = "api.airbyte.com"
CLOUD_WEB_URL = "https://cloud.airbyte.com"


class Extra(BaseModel):
    """What the connection's Extra field may hold. Unknown keys are left alone.

    :param proxies: One proxy URL for all, or one for each scheme: ``{"https": "http://proxy:3128"}``.
    :param timeout: Seconds for one request. Default: 30.
    :param create_timeout: Seconds for the request that creates a job. Default: 300.
    :param max_requests: How many requests to this Airbyte may be under way at once in one process. Default: 4.
    :param auth: ``client_credentials``, ``bearer`` (the token is the Password), ``basic`` or ``none``.
        Default: client credentials if Login and Password are filled in, none otherwise.
    :param verify: Whether the server's certificate is checked. Default: yes.
    :param ca_file: A file with the certificates to trust instead of the system's.
    :param headers: Headers that are added to every request. Their values count as secrets.
    :param config_url: The config API's address; ``false`` to do without. Default: derived from the host.
    :param web_url: The web app's address, for links. Default: derived from the host.
    """

    model_config = ConfigDict(extra="ignore", defer_build=True)

    proxies: str | dict[str, str] | None = None
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    create_timeout: float = Field(default=DEFAULT_CREATE_TIMEOUT, gt=0, allow_inf_nan=False)
    max_requests: int = Field(default=DEFAULT_MAX_REQUESTS, ge=1)
    auth: Literal["client_credentials", "bearer", "basic", "none"] | None = None
    verify: bool = True
    ca_file: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    config_url: str | Literal[False] | None = None
    web_url: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_what_is_not_filled_in(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Airflow's forms store empty text, or null, for a field that is left alone."""
        return {name: value for name, value in fields.items() if value is not None and str(value).strip()}

    @field_validator("*", mode="before")
    @classmethod
    def _read_json_in_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        text = value.strip()
        return json.loads(text) if text.startswith("{") else text


def load_settings(conn_id: str, *, api_version: str = "v1", timeout: float | None = None) -> Settings:
    """Look an Airflow connection up and read it. Blocks: for workers, not for the triggerer's event loop.

    :param api_version: The version in the public API's path, where the host names no path of its own.
    :param timeout: Seconds for one request; overrides the connection's extra.
    :return: Everything that a client needs.
    :raises AirbyteSettingsError: If the connection is not fit for use.
    :raises airflow.exceptions.AirflowNotFoundException: If there is no such connection.
    """
    connection = BaseHook.get_connection(conn_id)
    return read_connection(connection, conn_id, api_version=api_version, timeout=timeout)


def read_connection(
    connection: Any, conn_id: str, *, api_version: str = "v1", timeout: float | None = None
) -> Settings:
    """Read the fields of an Airflow connection.

    ``host`` is the public API's address, as the official provider has it. Where it names no path, the API's
    own is added. Connections of provider versions before 4.0 work too, where their form can be no other: a host
    without a scheme, ``schema`` of ``http`` or ``https``, and Cloud's, whose password is an API key. The port counts
    only where the host names no path: the official provider ignores it. Airflow's form stores 0 for none.

    :param connection: The Airflow connection.
    :param conn_id: Its name, for messages.
    :param api_version: The version in the public API's path, where the host names no path of its own.
    :param timeout: Seconds for one request; overrides the connection's extra.
    :return: Everything that a client needs.
    :raises AirbyteSettingsError: If a field is missing or unreadable.
    """
    extra = _extra(connection.extra, conn_id)
    base_url, old_style = _base_url(connection, conn_id, api_version)
    timeout = _timeout(timeout, conn_id)
    credentials = _credentials(connection, extra, conn_id, base_url, old_style)
    config_url = _config_url(base_url, extra)
    token_url = credentials.token_url if isinstance(credentials, ClientCredentials) else ""
    proxies, no_proxy = _proxies(extra, (base_url, urljoin(base_url, token_url), config_url), conn_id)
    return Settings(
        base_url=base_url,
        credentials=credentials,
        config_url=config_url,
        web_url=extra.web_url.rstrip("/") if extra.web_url else _web_url(base_url),
        timeout=timeout or extra.timeout or DEFAULT_TIMEOUT,
        create_timeout=max(extra.create_timeout, timeout or 0.0),
        max_requests=extra.max_requests,
        verify=extra.verify,
        ca_file=_ca_file(extra, conn_id),
        proxies=proxies,
        no_proxy=no_proxy,
        headers=_headers(extra, conn_id),
    )


def _extra(text: str | None, conn_id: str) -> Extra:
    """Read the extra; messages name the field and the fault, never the value, which may be a secret."""
    if not text or not text.strip():
        return Extra()
    try:
        fields = json.loads(text)
    except ValueError as error:
        where = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise AirbyteSettingsError(
            f"The Extra of Airflow connection {conn_id!r} is not JSON ({where}).", conn_id=conn_id
        ) from None
    if not isinstance(fields, dict):
        raise AirbyteSettingsError(
            f"The Extra of Airflow connection {conn_id!r} must be a JSON object.", conn_id=conn_id
        )
    try:
        return Extra.model_validate(fields)
    except ValidationError as error:
        # Of where it is wrong only the field: deeper down are keys that somebody may have mixed up with values.
        faults = {
            str(fault["loc"][0]): fault["msg"]
            for fault in error.errors(include_input=False, include_context=False, include_url=False)
        }
        told = "; ".join(f"{name}: {message}" for name, message in faults.items())
        raise AirbyteSettingsError(
            f"The Extra of Airflow connection {conn_id!r} is not usable: {told}.", conn_id=conn_id
        ) from None


def _timeout(timeout: Any, conn_id: str) -> float | None:
    if timeout is None:
        return None
    try:
        seconds = float(timeout)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise AirbyteSettingsError(
            f"The request timeout for Airflow connection {conn_id!r} must be a positive number of seconds.",
            conn_id=conn_id,
        )
    return seconds


def _base_url(connection: Any, conn_id: str, api_version: str) -> tuple[str, bool]:
    """Return the public API's address and whether the connection is one of before version 4.0."""
    host = (connection.host or "").strip()
    if not host:
        raise AirbyteSettingsError(
            f"Airflow connection {conn_id!r} has no Server URL (host). Fill in the address of Airbyte's public API, "
            "for example http://localhost:8000/api/public/v1 or https://api.airbyte.com/v1.",
            conn_id=conn_id,
        )
    scheme = (connection.schema or "").strip().lower()
    # From 4.0 on the host is a whole URL, and the schema a token's address.
    old_style = scheme in ("http", "https") or (not scheme and "://" not in host)
    if "://" not in host:
        if not scheme and not connection.port:
            raise AirbyteSettingsError(
                f"The Server URL (host) of Airflow connection {conn_id!r} must be a URL that begins with http:// or https://.",
                conn_id=conn_id,
            )
        host = f"{scheme if scheme in ('http', 'https') else 'http'}://{host}"
    if not _is_http_url(host):
        raise AirbyteSettingsError(
            f"The Server URL (host) of Airflow connection {conn_id!r} is not an http or https URL.", conn_id=conn_id
        )
    parts = urlsplit(host)
    if parts.username or parts.password:
        raise AirbyteSettingsError(
            f"The Server URL (host) of Airflow connection {conn_id!r} holds a login: put it in Client ID and "
            "Client Secret, and choose basic authentication in the Extra.",
            conn_id=conn_id,
        )
    address = parts.netloc
    path = parts.path.rstrip("/")
    if not path:
        if connection.port and parts.port is None:
            address = f"{address}:{connection.port}"
        cloud = parts.hostname == CLOUD_API_HOST
        # There an API key stood in the password before 4.0. Without credentials nobody is let in, so it is no other.
        old_style = old_style or (cloud and not (connection.login or "").strip())
        path = f"/{api_version}" if cloud else f"/api/public/{api_version}"
    return f"{parts.scheme}://{address}{path}", old_style


def _credentials(connection: Any, extra: Extra, conn_id: str, base_url: str, old_style: bool) -> Credentials:
    login, password = connection.login or "", connection.password or ""
    auth = extra.auth
    if auth is None:
        if login.strip() and password.strip():
            auth = "basic" if old_style else "client_credentials"
        else:
            at_cloud = urlsplit(base_url).hostname == CLOUD_API_HOST
            auth = "bearer" if old_style and at_cloud and password.strip() else "none"
    if auth == "none":
        return NoCredentials()
    if not password.strip() or (auth != "bearer" and not login.strip()):
        wanted = (
            "Client Secret (password), the token"
            if auth == "bearer"
            else "Client ID and Client Secret (login and password)"
        )
        raise AirbyteSettingsError(
            f"Airflow connection {conn_id!r} asks for {auth} authentication, which needs {wanted}.", conn_id=conn_id
        )
    if auth == "bearer":
        token = re.sub(r"(?i)^bearer\s+", "", password.strip())
        if not token.isprintable() or not token.isascii():
            raise AirbyteSettingsError(
                f"The Client Secret (password) of Airflow connection {conn_id!r} is no token: it holds line breaks or "
                "characters that no token has. Paste the token alone.",
                conn_id=conn_id,
            )
        return BearerToken(token)
    if auth == "basic":
        # HTTP forbids line breaks in both (RFC 7617); a blank may be a part of a password that somebody chose.
        return BasicAuth(login.strip("\r\n"), password.strip("\r\n"))
    token_url = "" if old_style else (connection.schema or "").strip()
    return ClientCredentials(login.strip(), password.strip(), token_url or DEFAULT_TOKEN_URL)


def _config_url(base_url: str, extra: Extra) -> str | None:
    if str(extra.config_url).lower() == "false":
        return None
    if extra.config_url:
        return extra.config_url.rstrip("/")
    # Airbyte's web app serves it.
    root = _web_url(base_url)
    return f"{root}/api/v1" if root else None


def _web_url(base_url: str) -> str | None:
    if urlsplit(base_url).hostname == CLOUD_API_HOST:
        return CLOUD_WEB_URL
    root, found, _ = base_url.rpartition("/api/public/")
    return root if found else None


def _ca_file(extra: Extra, conn_id: str) -> str | None:
    if extra.ca_file is None:
        return None
    try:
        ssl.create_default_context(cafile=extra.ca_file)
    except OSError:
        raise AirbyteSettingsError(
            f"The ca_file of Airflow connection {conn_id!r} is not a file with certificates on this machine.",
            conn_id=conn_id,
        ) from None
    return extra.ca_file


def _proxies(extra: Extra, urls: Iterable[str | None], conn_id: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """Return the proxy for each scheme, and for whom none is used: the connection's, else the environment's.

    The environment is read as other clients read it: the names in lower case go before those in upper case.
    """
    whose, no_proxy = "proxies", ""
    if isinstance(extra.proxies, str):
        found = {"all": extra.proxies}
    elif extra.proxies:
        found = {scheme.removesuffix("://"): url for scheme, url in extra.proxies.items()}
        if not found.keys() <= {"http", "https", "all"}:
            raise AirbyteSettingsError(
                f"The proxies of Airflow connection {conn_id!r} must be for 'http', 'https' or 'all', not for single "
                "hosts: give this connection the one that leads to its Airbyte.",
                conn_id=conn_id,
            )
    else:
        found, whose = getproxies(), "environment's proxy"
        no_proxy = found.get("no", "")
        # On macOS the system's settings count where the environment has none.
        urls = [url for url in urls if url and not proxy_bypass(urlsplit(url).netloc)]
    proxied = [url for url in urls if url and not bypasses(no_proxy, url)]
    proxies = []
    for scheme in ("http", "https"):
        proxy = (found.get(scheme) or found.get("all") or "").strip()
        if not proxied or not proxy:
            continue
        # The environment often names no scheme.
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        if _is_http_url(proxy):
            proxies.append((scheme, proxy))
        elif scheme in {urlsplit(url).scheme for url in proxied}:
            raise AirbyteSettingsError(
                f"The {whose} of Airflow connection {conn_id!r} must be the URL of an HTTP proxy, such as "
                "http://proxy:3128. SOCKS proxies are not supported.",
                conn_id=conn_id,
            )
    return tuple(proxies), no_proxy if proxies else ""


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # Reading the port is what checks it.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _headers(extra: Extra, conn_id: str) -> tuple[tuple[str, str], ...]:
    # HTTP itself takes white space around a value for no part of it (RFC 9110, 5.5).
    headers = {name: value.strip() for name, value in extra.headers.items()}
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isprintable():
            raise AirbyteSettingsError(
                f"The headers in the Extra of Airflow connection {conn_id!r} hold characters that HTTP forbids: line "
                "breaks, or blanks in a name.",
                conn_id=conn_id,
            )
    return tuple(sorted(headers.items()))
