"""What can be set in airflow.cfg: Airflow knows what the docs name, and the command that they give shows it."""

from __future__ import annotations

import re
import subprocess
import sys

from airbyte_deferrable.provider import SETTINGS
from helpers.blocks import ROOT

SHOWS = "airflow config list --section airbyte_deferrable --include-descriptions"


def test_each_setting_that_the_docs_name_is_known_to_airflow() -> None:
    pages = [page.read_text() for page in (ROOT / "docs").glob("*.md")]
    assert {option for page in pages for option in re.findall(r"\[airbyte_deferrable\] (\w+)", page)} == set(SETTINGS)


def test_airflow_shows_the_settings_with_what_they_are_for() -> None:
    assert f"`{SHOWS}`" in (ROOT / "docs/at-scale.md").read_text()
    shown = subprocess.run([sys.executable, "-m", *SHOWS.split()], capture_output=True, text=True, check=True).stdout
    for option, about in SETTINGS.items():
        assert f"# {about['description'].strip()}" in shown
        assert f"{option} =" in shown
