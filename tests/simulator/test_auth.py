"""Tokens and the other ways to show who calls."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from airbyte_deferrable.simulator import Simulator
from helpers.schemas import check

Connect = Callable[[Simulator], httpx.Client]


def ask(url: str, sim: Simulator, *, form: bool = False, secret: str | None = None) -> httpx.Response:
    body = {"client_id": sim.client_id, "client_secret": sim.client_secret if secret is None else secret}
    answer = httpx.post(url, data=body, trust_env=False) if form else httpx.post(url, json=body, trust_env=False)
    check(answer)
    return answer


def list_with(sim: Simulator, authorization: str | None) -> httpx.Response:
    headers = {"Authorization": authorization} if authorization else {}
    answer = httpx.get(f"{sim.url}/jobs", headers=headers, trust_env=False)
    check(answer)
    return answer


@pytest.fixture
def token_url(sim: Simulator) -> str:
    return f"{sim.url}/applications/token"


@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
def test_public_token_endpoint_takes_json_and_forms(sim: Simulator, token_url: str, form: bool) -> None:
    answer = ask(token_url, sim, form=form).json()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 900)
    assert list_with(sim, f"Bearer {answer['access_token']}").status_code == 200


def test_config_apis_token_endpoint_gives_the_token_alone_and_takes_only_json(sim: Simulator) -> None:
    url = f"{sim.host}/api/v1/applications/token"
    assert list_with(sim, f"Bearer {ask(url, sim).json()['access_token']}").status_code == 200
    assert ask(url, sim, form=True).status_code == 415


@pytest.mark.parametrize(
    ("switch", "form", "status"),
    [
        ("token_form_only", True, 200),
        ("token_form_only", False, 415),
        ("token_json_only", True, 401),
        ("token_json_only", False, 200),
    ],
)
def test_releases_differ_in_the_body_that_they_take(
    sim: Simulator, token_url: str, switch: str, form: bool, status: int
) -> None:
    sim.configure(**{switch: True})
    assert ask(token_url, sim, form=form).status_code == status


@pytest.mark.parametrize("status", [400, 401])
def test_wrong_credentials(sim: Simulator, token_url: str, status: int) -> None:
    sim.configure(bad_credentials_status=status)
    answer = ask(token_url, sim, secret="wrong")
    assert answer.status_code == status
    assert ("Invalid client id or token" in answer.text) == (status == 400)


@pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Basic eDp5", "Bearer"])
def test_without_a_good_token_there_is_a_401_in_json(sim: Simulator, authorization: str | None) -> None:
    answer = list_with(sim, authorization)
    assert answer.status_code == 401
    assert answer.json()["message"] == "Unauthorized"


def test_token_ends_with_its_lifetime(sim: Simulator, token_url: str) -> None:
    sim.token_lifetime = 180.0
    answer = ask(token_url, sim).json()
    assert answer["expires_in"] == 180
    header = f"Bearer {answer['access_token']}"
    sim.advance(170)
    assert list_with(sim, header).status_code == 200
    sim.advance(10)
    assert list_with(sim, header).status_code == 401


def test_tokens_can_be_revoked(sim: Simulator, token_url: str) -> None:
    header = f"Bearer {ask(token_url, sim).json()['access_token']}"
    sim.revoke_tokens()
    assert list_with(sim, header).status_code == 401


def test_secret_can_be_rotated(sim: Simulator, token_url: str) -> None:
    header, old = f"Bearer {ask(token_url, sim).json()['access_token']}", sim.client_secret
    sim.rotate_secret()
    assert ask(token_url, sim, secret=old).status_code == 400
    assert ask(token_url, sim).status_code == 200
    assert list_with(sim, header).status_code == 200


def test_public_health_check_needs_no_token(sim: Simulator) -> None:
    answer = httpx.get(f"{sim.url}/health", trust_env=False)
    assert (answer.status_code, answer.text) == (200, "Successful operation")
    assert httpx.get(f"{sim.host}/api/v1/health", trust_env=False).json() == {"available": True}


def test_config_api_wants_the_same_token(sim: Simulator, http: httpx.Client) -> None:
    job_id = sim.add_job(sim.add_connection())["id"]
    url = f"{sim.host}/api/v1/jobs/get_light"
    assert http.post(url, json={"id": job_id}).status_code == 200
    assert httpx.post(url, json={"id": job_id}, trust_env=False).status_code == 401


def test_without_authentication_there_is_no_token_endpoint() -> None:
    with Simulator(auth="none") as sim:
        assert list_with(sim, None).status_code == 200
        assert ask(f"{sim.url}/applications/token", sim).status_code == 404


def test_fixed_token() -> None:
    with Simulator(auth="bearer", token="abc") as sim:
        assert sim.token == "abc"
        assert list_with(sim, "Bearer abc").status_code == 200
        assert list_with(sim, "Bearer abd").status_code == 401


def test_proxy_with_basic_authentication_refuses_in_html() -> None:
    with Simulator(auth="basic", client_id="airbyte", client_secret="password") as sim:
        good = httpx.get(f"{sim.url}/jobs", auth=("airbyte", "password"), trust_env=False)
        assert good.status_code == 200
        bad = httpx.get(f"{sim.url}/jobs", auth=("airbyte", "wrong"), trust_env=False)
        assert bad.status_code == 401
        assert bad.headers["Content-Type"].startswith("text/html")
        assert "<html>" in bad.text


def test_callers_beyond_the_limit_are_shed_without_a_hint_when_to_come_back(sim: Simulator, http: httpx.Client) -> None:
    http.get("/jobs")
    sim.load_shed = 1
    sim.advance(2)
    answer = http.get("/jobs")
    assert answer.status_code == 200
    while answer.status_code == 200:
        answer = http.get("/jobs")
    assert answer.status_code == 429
    assert answer.json() == {"message": "You are being rate limited."}
    assert "Retry-After" not in answer.headers
    sim.advance(2)
    assert http.get("/jobs").status_code == 200


def test_release_2_sheds_no_load(connect: Connect) -> None:
    with Simulator(release="2.0", load_shed=0) as sim:
        http = connect(sim)
        assert {http.get("/jobs").status_code for _ in range(10)} == {200}
