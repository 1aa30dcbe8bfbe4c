"""A leg's token serves the next leg on the machine, and nobody else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from airbyte_deferrable._airflow.token_cache import TokenCache, token_cache_for
from airbyte_deferrable.api.auth import KeptToken
from airbyte_deferrable.api.settings import BasicAuth, BearerToken, ClientCredentials, Settings
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.simulator import Fault, Script, Simulator
from helpers.airbyte import connection_to

SETTINGS = Settings("http://airbyte/api/public/v1", ClientCredentials("id", "a-secret-not-a-secret"))
TOKEN = KeptToken("a.token.of-some-length", 4_000_000_000.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
def sim(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulator:
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(airbyte_simulator))
    monkeypatch.setenv("AIRFLOW__AIRBYTE_DEFERRABLE__TOKEN_CACHE", "True")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return airbyte_simulator


def legs(sim: Simulator, number: int) -> None:
    """Do what so many legs do, each with a hook of its own."""
    job_id = sim.add_job(sim.add_connection(), script=Script(outcome=None))["id"]
    for _ in range(number):
        with AirbyteHook() as hook:
            hook.get_job_details(job_id)


# Between legs


def test_many_legs_on_a_machine_fetch_one_token(sim: Simulator) -> None:
    legs(sim, 3)
    assert (sim.count("token"), sim.count("get")) == (1, 3)


def test_setting_turns_it_off(sim: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__AIRBYTE_DEFERRABLE__TOKEN_CACHE", "False")
    legs(sim, 2)
    assert sim.count("token") == 2
    assert list(tmp_path.glob("airbyte-deferrable-*")) == []


def test_token_that_airbyte_does_not_take_any_more_is_fetched_anew_and_replaced(sim: Simulator) -> None:
    legs(sim, 1)
    sim.add_fault(Fault("get", status=401, times=1))
    legs(sim, 2)
    assert sim.count("token") == 2


def test_another_secret_is_anothers_token(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    legs(sim, 1)
    sim.rotate_secret()
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim))
    legs(sim, 1)
    assert sim.count("token") == 2


def test_token_that_has_had_its_time_is_not_used(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    legs(sim, 1)
    now = time.time
    monkeypatch.setattr("time.time", lambda: now() + 15 * 60)
    legs(sim, 1)
    assert sim.count("token") == 2


@pytest.mark.parametrize("credentials", [BearerToken("t" * 20), BasicAuth("me", "p" * 20)], ids=["bearer", "basic"])
def test_cache_is_not_made_by_who_needs_no_token(credentials: BearerToken | BasicAuth) -> None:
    assert token_cache_for(Settings("http://airbyte", credentials)) is None


# The file


def test_token_that_is_kept_comes_back(folder: Path) -> None:
    assert TokenCache(SETTINGS, folder).read() is None
    TokenCache(SETTINGS, folder).write(TOKEN)
    assert TokenCache(SETTINGS, folder).read() == TOKEN
    newer = KeptToken("another.token", TOKEN.good_until + 1)
    TokenCache(SETTINGS, folder).write(newer)
    assert TokenCache(SETTINGS, folder).read() == newer
    assert len(list(folder.iterdir())) == 1


def test_nothing_on_disk_tells_the_token_or_the_secret(folder: Path) -> None:
    TokenCache(SETTINGS, folder).write(TOKEN)
    [file] = folder.iterdir()
    found = file.read_bytes() + file.name.encode()
    assert not any(secret.encode() in found for secret in (TOKEN.token, *SETTINGS.secrets))
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.parametrize(
    "others",
    [
        Settings(SETTINGS.base_url, ClientCredentials("id", "another-secret")),
        Settings(SETTINGS.base_url, ClientCredentials("another", "a-secret-not-a-secret")),
        Settings("http://other/api/public/v1", SETTINGS.credentials),
    ],
    ids=["secret", "id", "address"],
)
def test_token_cannot_be_read_with_other_credentials(folder: Path, others: Settings) -> None:
    TokenCache(SETTINGS, folder).write(TOKEN)
    [file] = folder.iterdir()
    theirs = TokenCache(others, folder)
    assert theirs.read() is None
    os.replace(file, theirs._file)
    assert theirs.read() is None


@pytest.mark.parametrize("damage", [b"", b"nothing", b"gAAAAA"], ids=["empty", "garbage", "cut short"])
def test_damaged_file_is_no_token(folder: Path, damage: bytes) -> None:
    TokenCache(SETTINGS, folder).write(TOKEN)
    [file] = folder.iterdir()
    file.write_bytes(damage)
    assert TokenCache(SETTINGS, folder).read() is None


@pytest.mark.parametrize("trap", ["open to others", "a link", "a file"])
def test_folder_that_somebody_else_may_write_is_not_used(folder: Path, tmp_path: Path, trap: str) -> None:
    if trap == "open to others":
        folder.mkdir()
        folder.chmod(0o777)
    elif trap == "a link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "theirs")
    else:
        folder.write_text("")
    TokenCache(SETTINGS, folder).write(TOKEN)
    assert TokenCache(SETTINGS, folder).read() is None
    assert not (folder.is_dir() and list(folder.iterdir()))
