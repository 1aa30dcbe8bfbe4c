"""Clients that others wrote, each answer checked against its schema."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

import httpx
import pytest
from airbyte_api import AirbyteAPI
from airbyte_api.models import SchemeClientCredentials, Security

from airbyte_deferrable.simulator import Simulator
from helpers.schemas import check


class TokenAuth(httpx.Auth):
    """Asks for a token when there is none or the last one has ended."""

    requires_response_body = True

    def __init__(self, sim: Simulator) -> None:
        self._url = f"{sim.url}/applications/token"
        self._body = {"client_id": sim.client_id, "client_secret": sim.client_secret}
        self._token = "none-yet"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        if (yield request).status_code == 401:
            answer = yield httpx.Request("POST", self._url, json=self._body)
            self._token = answer.json()["access_token"]
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request


Connect = Callable[[Simulator], httpx.Client]


@pytest.fixture
def sim(airbyte_simulator: Simulator) -> Simulator:
    return airbyte_simulator


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a maker of HTTP clients that have a token."""
    clients: list[httpx.Client] = []

    def connect(sim: Simulator) -> httpx.Client:
        hooks = {"response": [check]}
        client = httpx.Client(base_url=sim.url, auth=TokenAuth(sim), event_hooks=hooks, timeout=20, trust_env=False)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def http(sim: Simulator, connect: Connect) -> httpx.Client:
    """A client of the test's own Airbyte."""
    return connect(sim)


@pytest.fixture
def config(sim: Simulator, http: httpx.Client) -> Callable[..., httpx.Response]:
    """Call the config API: ``config("jobs/get_light", id=1)``."""

    def call(path: str, **body: object) -> httpx.Response:
        return http.post(f"{sim.host}/api/v1/{path}", json=body)

    return call


@pytest.fixture
def sdk(sim: Simulator) -> Iterator[AirbyteAPI]:
    """Airbyte's own SDK, as the official provider sets it up."""
    credentials = SchemeClientCredentials(
        client_id=sim.client_id, client_secret=sim.client_secret, token_url="v1/applications/token"
    )
    with httpx.Client(event_hooks={"response": [check]}, trust_env=False) as client:
        yield AirbyteAPI(server_url=sim.url, security=Security(client_credentials=credentials), client=client)
