"""An Airflow connection, as people fill it in, becomes the settings of a client."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models import Connection

from airbyte_deferrable._airflow import connection as module
from airbyte_deferrable._airflow.connection import read_connection
from airbyte_deferrable.api.settings import (
    BasicAuth,
    BearerToken,
    ClientCredentials,
    NoCredentials,
    Settings,
)
from airbyte_deferrable.exceptions import AirbyteSettingsError

HOST = "https://airbyte.example.com/api/public/v1"
SECRET = "s3cret-value"


@pytest.fixture(autouse=True)
def no_proxy_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def read(
    *, hook_timeout: Any = None, api_version: str = "v1", extra: Any = None, host: str | None = HOST, **fields: Any
) -> Settings:
    text = extra if isinstance(extra, str) or extra is None else json.dumps(extra)
    # Plain data: some of Airflow's connection classes refuse a broken Extra themselves, others hand it on.
    empty = dict.fromkeys(("schema", "login", "password", "port"))
    made = SimpleNamespace(host=host, extra=text, **{**empty, **fields})
    return read_connection(made, "mine", api_version=api_version, timeout=hook_timeout)


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"host": HOST}, HOST),
        ({"host": f"{HOST}/"}, HOST),
        ({"host": f"  {HOST}  "}, HOST),
        ({"host": "http://localhost:8000"}, "http://localhost:8000/api/public/v1"),
        ({"host": "http://localhost:8000/"}, "http://localhost:8000/api/public/v1"),
        ({"host": "http://[::1]:8000"}, "http://[::1]:8000/api/public/v1"),
        ({"host": "http://localhost", "port": 8000}, "http://localhost:8000/api/public/v1"),
        ({"host": "http://localhost:8001", "port": 8000}, "http://localhost:8001/api/public/v1"),
        ({"host": "http://localhost", "port": 0}, "http://localhost/api/public/v1"),
        ({"host": HOST, "port": 8000}, HOST),
        ({"host": "localhost", "port": 8000}, "http://localhost:8000/api/public/v1"),
        ({"host": "localhost", "schema": "https"}, "https://localhost/api/public/v1"),
        ({"host": "localhost", "port": 8001, "schema": "HTTP"}, "http://localhost:8001/api/public/v1"),
        ({"host": "http://localhost", "port": 8001, "schema": "http"}, "http://localhost:8001/api/public/v1"),
        ({"host": "https://api.airbyte.com/v1"}, "https://api.airbyte.com/v1"),
        ({"host": "https://api.airbyte.com"}, "https://api.airbyte.com/v1"),
        ({"host": "https://gateway/airbyte/api/public/v1"}, "https://gateway/airbyte/api/public/v1"),
    ],
)
def test_host_leads_to_the_public_api(fields: dict[str, Any], base_url: str) -> None:
    assert read(**fields).base_url == base_url


def test_api_version_counts_where_the_host_names_no_path() -> None:
    assert read(host="http://localhost", api_version="v2").base_url == "http://localhost/api/public/v2"
    assert read(host="https://api.airbyte.com", api_version="v2").base_url == "https://api.airbyte.com/v2"
    assert read(api_version="v2").base_url == HOST


@pytest.mark.parametrize(
    ("host", "config_url", "web_url"),
    [
        (HOST, "https://airbyte.example.com/api/v1", "https://airbyte.example.com"),
        ("https://x.org/airbyte/api/public/v1", "https://x.org/airbyte/api/v1", "https://x.org/airbyte"),
        ("https://api.airbyte.com/v1", "https://cloud.airbyte.com/api/v1", "https://cloud.airbyte.com"),
        ("https://gateway/v1", None, None),
    ],
)
def test_config_api_and_web_app_follow_from_the_host(host: str, config_url: str | None, web_url: str | None) -> None:
    settings = read(host=host)
    assert (settings.config_url, settings.web_url) == (config_url, web_url)


def test_config_api_and_web_app_can_be_named_or_left_out() -> None:
    named = read(extra={"config_url": "https://c/api/v1/", "web_url": "https://w/"})
    assert (named.config_url, named.web_url) == ("https://c/api/v1", "https://w")
    for without in (False, "false", "False"):
        assert read(extra={"config_url": without}).config_url is None


LOGIN = {"login": "id", "password": SECRET}


@pytest.mark.parametrize(
    ("fields", "credentials"),
    [
        (LOGIN, ClientCredentials("id", SECRET, "v1/applications/token")),
        ({**LOGIN, "schema": ""}, ClientCredentials("id", SECRET, "v1/applications/token")),
        ({**LOGIN, "schema": "/my/token"}, ClientCredentials("id", SECRET, "/my/token")),
        ({}, NoCredentials()),
        ({"login": "id"}, NoCredentials()),
        ({"password": SECRET}, NoCredentials()),
        ({**LOGIN, "schema": "http", "host": "localhost"}, BasicAuth("id", SECRET)),
        (
            {**LOGIN, "schema": "http", "host": "localhost", "extra": {"auth": "client_credentials"}},
            ClientCredentials("id", SECRET, "v1/applications/token"),
        ),
        ({**LOGIN, "extra": {"auth": "basic"}}, BasicAuth("id", SECRET)),
        ({**LOGIN, "extra": {"auth": "none"}}, NoCredentials()),
        ({**LOGIN, "extra": {"auth": ""}}, ClientCredentials("id", SECRET)),
        ({**LOGIN, "extra": {"auth": None}}, ClientCredentials("id", SECRET)),
        ({"password": SECRET, "extra": {"auth": "bearer"}}, BearerToken(SECRET)),
        ({"password": f" Bearer {SECRET}\n", "extra": {"auth": "bearer"}}, BearerToken(SECRET)),
        ({"password": f"bearer  {SECRET}\r\n", "extra": {"auth": "bearer"}}, BearerToken(SECRET)),
        # White space that cannot be meant, as a line break from base64.
        ({"login": " id\n", "password": f"\t{SECRET}\r\n"}, ClientCredentials("id", SECRET)),
        ({"login": "id", "password": " \n"}, NoCredentials()),
        # A blank may be a part of a password that somebody chose.
        ({"login": "id\n", "password": f" {SECRET} \r\n", "extra": {"auth": "basic"}}, BasicAuth("id", f" {SECRET} ")),
    ],
)
def test_login_and_password_are_what_the_authentication_makes_of_them(
    fields: dict[str, Any], credentials: object
) -> None:
    assert read(**fields).credentials == credentials


@pytest.mark.parametrize(
    ("fields", "base_url", "credentials"),
    [
        # Before 4.0: a host without a scheme, and the login and password of the proxy before Airbyte.
        ("airbyte://id:s3cret-value@host:8000", "http://host:8000/api/public/v1", BasicAuth("id", SECRET)),
        ("airbyte://host:8000", "http://host:8000/api/public/v1", NoCredentials()),
        ("airbyte://id:s3cret-value@host:8000/http", "http://host:8000/api/public/v1", BasicAuth("id", SECRET)),
        ("airbyte://id:s3cret-value@host:443/https", "https://host:443/api/public/v1", BasicAuth("id", SECRET)),
        ({"host": "host", "port": 8000, **LOGIN}, "http://host:8000/api/public/v1", BasicAuth("id", SECRET)),
        ({"host": "[::1]", "port": 8000, **LOGIN}, "http://[::1]:8000/api/public/v1", BasicAuth("id", SECRET)),
        (
            {"host": "host", "port": 8000, **LOGIN, "extra": {"auth": "client_credentials"}},
            "http://host:8000/api/public/v1",
            ClientCredentials("id", SECRET),
        ),
        # Cloud's of 3.8: an API key.
        (
            {"host": "https://api.airbyte.com", "password": f"{SECRET}\n"},
            "https://api.airbyte.com/v1",
            BearerToken(SECRET),
        ),
        ({"host": "https://api.airbyte.com/", "password": SECRET}, "https://api.airbyte.com/v1", BearerToken(SECRET)),
        (
            {"host": "https://api.airbyte.com", "password": SECRET, "extra": {"auth": "none"}},
            "https://api.airbyte.com/v1",
            NoCredentials(),
        ),
        (
            {"host": "api.airbyte.com", "schema": "https", "password": SECRET},
            "https://api.airbyte.com/v1",
            BearerToken(SECRET),
        ),
        # From 4.0 on: these cannot be told apart from old ones, or are none.
        (
            {"host": "http://host", "port": 8000, **LOGIN},
            "http://host:8000/api/public/v1",
            ClientCredentials("id", SECRET),
        ),
        ({"host": "https://api.airbyte.com", **LOGIN}, "https://api.airbyte.com/v1", ClientCredentials("id", SECRET)),
        ({"host": "https://api.airbyte.com/v1", "password": SECRET}, "https://api.airbyte.com/v1", NoCredentials()),
        ({"host": "https://airbyte.example.com", "password": SECRET}, HOST, NoCredentials()),
        (
            {"host": "host", "port": 8000, **LOGIN, "schema": "v1/token"},
            "http://host:8000/api/public/v1",
            ClientCredentials("id", SECRET, "v1/token"),
        ),
    ],
)
def test_connections_of_before_4_0_are_read_where_they_can_be_nothing_else(
    fields: str | dict[str, Any], base_url: str, credentials: object
) -> None:
    if isinstance(fields, str):
        made = Connection(uri=fields)
        fields = {name: getattr(made, name) for name in ("host", "port", "schema", "login", "password")}
    settings = read(**fields)
    assert (settings.base_url, settings.credentials) == (base_url, credentials)


def test_empty_extra_leaves_the_defaults() -> None:
    defaults = Settings(HOST, config_url="https://airbyte.example.com/api/v1", web_url="https://airbyte.example.com")
    empty = dict.fromkeys(module.Extra.model_fields, "")
    nothing = dict.fromkeys(module.Extra.model_fields)
    for extra in (None, "", "  ", {}, empty, nothing, {"somebody": "else's", "extra__airbyte__x": 1}):
        assert read(extra=extra) == defaults


def test_form_stores_text() -> None:
    settings = read(
        extra={
            "timeout": "12.5",
            "create_timeout": "60",
            "max_requests": "2",
            "verify": "False",
            "headers": ' {"X-Team": "data"} ',
            "proxies": '{"https": "http://proxy:1"}',
        }
    )
    assert (settings.timeout, settings.create_timeout, settings.max_requests) == (12.5, 60.0, 2)
    assert settings.verify is False
    assert settings.headers == (("X-Team", "data"),)
    assert settings.proxies == (("https", "http://proxy:1"),)


@pytest.mark.parametrize(
    ("hook_timeout", "extra", "timeout", "create_timeout"),
    [
        (None, {}, 30.0, 300.0),
        (None, {"timeout": 5}, 5.0, 300.0),
        (7, {"timeout": 5}, 7.0, 300.0),
        ("7", {}, 7.0, 300.0),
        (600.0, {}, 600.0, 600.0),
        (None, {"create_timeout": 20}, 30.0, 20.0),
    ],
)
def test_hooks_timeout_goes_before_the_connections(
    hook_timeout: Any, extra: dict[str, Any], timeout: float, create_timeout: float
) -> None:
    settings = read(hook_timeout=hook_timeout, extra=extra)
    assert (settings.timeout, settings.create_timeout) == (timeout, create_timeout)


@pytest.mark.parametrize("timeout", [0, -1, "soon", float("nan"), float("inf"), []])
def test_timeout_that_is_none_is_refused(timeout: Any) -> None:
    with pytest.raises(AirbyteSettingsError, match=r"timeout .*'mine'"):
        read(hook_timeout=timeout)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("Server URL (host)", {"host": None}),
        ("Server URL (host)", {"host": "  "}),
        ("Server URL (host)", {"host": "airbyte.example.com"}),
        ("Server URL (host)", {"host": f"ftp://{SECRET}/"}),
        ("Server URL (host)", {"host": f"http://me:{SECRET}@host/"}),
        ("Server URL (host)", {"host": "http://[::1"}),
        ("Server URL (host)", {"host": "http://host:eighty"}),
        ("Server URL (host)", {"host": "http://"}),
        ("Extra", {"extra": f"{{{SECRET}"}),
        ("Extra", {"extra": f'["{SECRET}"]'}),
        ("timeout", {"extra": {"timeout": SECRET}}),
        ("timeout", {"extra": {"timeout": 0}}),
        ("timeout", {"extra": '{"timeout": Infinity}'}),
        ("create_timeout", {"extra": {"create_timeout": -1}}),
        ("max_requests", {"extra": {"max_requests": 0}}),
        ("max_requests", {"extra": {"max_requests": SECRET}}),
        ("auth", {"extra": {"auth": SECRET}}),
        ("verify", {"extra": {"verify": SECRET}}),
        ("headers", {"extra": {"headers": [SECRET]}}),
        ("headers", {"extra": {"headers": f'{{"X": {SECRET}'}}),
        ("headers", {"extra": {"headers": {f"X {SECRET}": "y"}}}),
        ("headers", {"extra": {"headers": {"X": f"{SECRET}\r\nY: z"}}}),
        ("headers", {"extra": {"headers": {SECRET: 7}}}),
        ("proxies", {"extra": {"proxies": f"socks5://{SECRET}"}}),
        ("proxies", {"extra": {"proxies": f"proxy:{SECRET}"}}),
        ("proxies", {"extra": {"proxies": {"https": f"http://me:{SECRET}@proxy:port"}}}),
        ("proxies", {"extra": {"proxies": [SECRET]}}),
        ("ca_file", {"extra": {"ca_file": f"/nowhere/{SECRET}.pem"}}),
        ("config_url", {"extra": {"config_url": [SECRET]}}),
        ("web_url", {"extra": {"web_url": [SECRET]}}),
        ("Client ID and Client Secret", {"login": SECRET, "extra": {"auth": "basic"}}),
        ("Client ID and Client Secret", {"password": SECRET, "extra": {"auth": "client_credentials"}}),
        ("Client Secret (password)", {"extra": {"auth": "bearer"}}),
        ("Client Secret (password)", {"password": f"{SECRET}\n{SECRET}", "extra": {"auth": "bearer"}}),
    ],
)
def test_fault_of_a_connection_is_named_with_its_field_and_without_its_value(
    field: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(AirbyteSettingsError) as caught:
        read(**fields)
    error = caught.value
    assert field in str(error)
    assert "'mine'" in str(error)
    assert error.conn_id == "mine"
    assert SECRET not in str(error) + repr(error) + str(vars(error))
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


def test_ca_file_must_hold_certificates(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    with pytest.raises(AirbyteSettingsError, match="ca_file"):
        read(extra={"ca_file": str(path)})
    with pytest.raises(AirbyteSettingsError, match="ca_file"):
        read(extra={"ca_file": str(tmp_path)})


@pytest.mark.parametrize(
    ("given", "proxies"),
    [
        ("http://p:1", (("http", "http://p:1"), ("https", "http://p:1"))),
        ({"http": "http://p:1"}, (("http", "http://p:1"),)),
        ({"http://": "http://p:1", "https://": "http://q:2"}, (("http", "http://p:1"), ("https", "http://q:2"))),
        ({"all://": "http://p:1"}, (("http", "http://p:1"), ("https", "http://p:1"))),
        (None, ()),
    ],
)
def test_proxies_are_read_as_the_official_provider_does(given: Any, proxies: tuple[tuple[str, str], ...]) -> None:
    assert read(extra={"proxies": given}).proxies == proxies


@pytest.mark.parametrize("key", ["https://airbyte.example.com", "all://*.example.com", "socks"])
def test_proxy_for_what_is_not_understood_is_not_passed_over(key: str) -> None:
    with pytest.raises(AirbyteSettingsError, match="not for single hosts"):
        read(extra={"proxies": {key: "http://p:1"}})


def test_proxies_of_the_environment_are_used_and_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://env:1")
    assert read().proxies == (("https", "http://env:1"),)
    monkeypatch.setenv("ALL_PROXY", "http://all:2")
    assert read().proxies == (("http", "http://all:2"), ("https", "http://env:1"))
    assert read(extra={"proxies": "http://own:3"}).proxies[0] == ("http", "http://own:3")
    monkeypatch.setenv("NO_PROXY", ".example.com,elsewhere")
    assert read().proxies == ()
    assert read(host="https://other.org").proxies != ()


@pytest.mark.parametrize(
    ("environment", "proxies"),
    [
        ({"HTTPS_PROXY": "env:1"}, (("https", "http://env:1"),)),
        ({"HTTPS_PROXY": "me:word@env:1"}, (("https", "http://me:word@env:1"),)),
        ({"HTTPS_PROXY": "http://env:1", "ALL_PROXY": "socks5://all:2"}, (("https", "http://env:1"),)),
        ({"HTTPS_PROXY": " http://env:1/ "}, (("https", "http://env:1/"),)),
        ({"HTTPS_PROXY": "HTTP://env:1"}, (("https", "HTTP://env:1"),)),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:2"}, (("https", "http://lower:2"),)),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": ""}, ()),
        ({"HTTPS_PROXY": "http://[::1]:1"}, (("https", "http://[::1]:1"),)),
        ({"HTTPS_PROXY": "https://env:1"}, (("https", "https://env:1"),)),
    ],
)
def test_proxies_of_the_environment_are_understood_as_other_clients_do(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], proxies: tuple[tuple[str, str], ...]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert read(host="https://airbyte.example.com").proxies == proxies


def test_proxy_of_the_environment_that_is_needed_and_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://all:2")
    with pytest.raises(AirbyteSettingsError, match=r"environment's proxy .* SOCKS proxies are not supported"):
        read()
    # One that nothing goes through is no concern.
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert read().proxies == ()


def test_proxy_is_passed_by_for_each_host_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://env:1")
    monkeypatch.setenv("NO_PROXY", "cloud.airbyte.com")
    settings = read(host="https://api.airbyte.com/v1")
    assert (settings.proxies, settings.no_proxy) == ((("https", "http://env:1"),), "cloud.airbyte.com")
    # A proxy of the connection's own is meant.
    assert read(extra={"proxies": "http://own:3"}).no_proxy == ""


def test_white_space_around_a_headers_value_is_no_part_of_it() -> None:
    assert read(extra={"headers": {"X-Key": f" {SECRET}\r\n"}}).headers == (("X-Key", SECRET),)


def test_settings_are_equal_when_connections_are() -> None:
    assert read(**LOGIN) == read(**LOGIN)
    assert hash(read(**LOGIN)) == hash(read(**LOGIN))
    assert read(**LOGIN) != read(**{**LOGIN, "password": "other"})
