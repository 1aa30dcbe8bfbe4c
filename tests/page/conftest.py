"""An Airflow's database to read, and the page over HTTP with users who may read some DAGs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.models import crypto
from cryptography.fernet import Fernet

from airbyte_deferrable._airflow.page_setting import CAN_BRING_PAGES

if CAN_BRING_PAGES:
    from harness import rows
    from helpers.page import Browser, browsers
else:
    # Nothing of it is there to be tested but that it is not there.
    collect_ignore = [each.name for each in Path(__file__).parent.glob("test_*.py") if each.name != "test_plugin.py"]


@pytest.fixture
def database(airflow_database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Airflow's database, without any task, and with a key for what is stored encrypted."""
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", Fernet.generate_key().decode())
    _forget_key()
    rows.clear()
    yield
    rows.clear()
    _forget_key()


def _forget_key() -> None:
    forget = getattr(crypto.get_fernet, "cache_clear", None)
    if forget is not None:
        forget()
    else:  # before 3.2
        vars(crypto)["_fernet"] = None


@pytest.fixture
def browser(database: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Browser]:
    """Somebody's browser: see there."""
    with browsers(monkeypatch, tmp_path / "static") as browser:
        yield browser
