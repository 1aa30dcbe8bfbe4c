"""What there is, the documentation names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from airbyte_deferrable import exceptions
from airbyte_deferrable._airflow.connection import Extra
from airbyte_deferrable._job.events import Event
from airbyte_deferrable.assets import EndedSync
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.provider import FORM_FIELDS
from airbyte_deferrable.sensors import AirbyteFreshnessSensor, AirbyteJobSensor
from airbyte_deferrable.triggers import AirbyteSyncTrigger
from helpers.blocks import ROOT
from tools.matrix import CELLS, SUPPORTED

try:
    from airbyte_deferrable.triggers import AirbyteSyncEndedTrigger
except ImportError:  # Airflow 2 has no watchers
    AirbyteSyncEndedTrigger = None


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def rows(name: str) -> set[str]:
    """The names that begin the rows of a page's tables."""
    return set(re.findall(r"^\| `(\w+)", page(name), re.M))


def parameters(of: Any) -> set[str]:
    """What a class is made with, Airflow's own parameters left out."""
    found = inspect.signature(inspect.unwrap(of.__init__)).parameters.values()
    return {each.name for each in found if each.name != "self" and each.kind is not each.VAR_KEYWORD}


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("operator", parameters(AirbyteTriggerSyncOperator)),
        ("sensor", parameters(AirbyteJobSensor)),
        ("sensor", parameters(AirbyteFreshnessSensor)),
        ("trigger", parameters(AirbyteSyncTrigger)),
        ("react", parameters(AirbyteSyncEndedTrigger) if AirbyteSyncEndedTrigger is not None else set()),
        ("react", set(EndedSync.model_fields)),
        ("connection", set(inspect.signature(AirbyteHook.list_connections).parameters) - {"self"}),
        ("outcomes", set(Event.model_fields)),
        (
            "outcomes",
            {
                name
                for name, each in inspect.getmembers(exceptions, inspect.isclass)
                if name != "AirbyteException" and issubclass(each, exceptions.AirbyteException)
            },
        ),
    ],
    ids=["operator", "sensor", "fresh", "trigger", "ended", "ended syncs", "list_connections", "event", "exceptions"],
)
def test_tables_have_a_row_for_each(name: str, needed: Iterable[str]) -> None:
    assert set(needed) <= rows(name)


def test_fields_of_the_connection_are_told() -> None:
    for key in Extra.model_fields:
        assert f"| `{key}` |" in page("connection"), key
    for field in FORM_FIELDS.values():
        assert f"| {field['label']} |" in page("connection"), field["label"]


def test_methods_of_the_hook_are_told() -> None:
    inherited = set(dir(AirbyteHook.__mro__[1]))
    inner = {"call", "close", "describe", "start", "wait_for_end", "wait_in_queue", "warm_up", "with_figures"}
    own = {name for name in vars(AirbyteHook) if not name.startswith("_") and callable(getattr(AirbyteHook, name))}
    assert own - inherited - inner <= rows("connection") | {"get_connection_form_widgets", "get_ui_field_behaviour"}


def test_metrics_are_told() -> None:
    source = "".join(
        (ROOT / "airbyte_deferrable" / f"{module}.py").read_text()
        for module in ("_watcher/metrics", "_watcher/loop", "_job/ended")
    )
    counted = set(re.findall(r"""\.count\("(\w+)\"""", source))
    named = set(re.findall(r"\"airbyte_deferrable\.(\w+)\"", source))
    told = set(re.findall(r"\| `airbyte_deferrable\.(\w+)` \|", page("at-scale")))
    assert counted | named == told


def test_pictures_are_shown_and_small() -> None:
    text = "".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    pictures: list[Path] = list((ROOT / "docs" / "images").glob("*.png"))
    assert pictures
    for picture in pictures:
        assert f"images/{picture.name})" in text, picture.name
        assert picture.stat().st_size < 200_000, picture.name


def test_messages_of_the_test_button_are_told() -> None:
    source = (ROOT / "airbyte_deferrable" / "api" / "diagnosis.py").read_text()
    said = re.findall(r'return False, f"([^{]+?)[.:?] ', source)
    section = page("connection").partition("## The Test button")[2].partition("##")[0]
    told = re.findall(r"^\| `([^`]+?)\.?` \|", section, re.M)
    assert len(said) == len(told) == 5
    assert all(any(words.startswith(begin) for begin in told) for words in said)


def test_readme_leads_somewhere() -> None:
    """What mkdocs does for the pages."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / "README.md").read_text())
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_versions_are_those_of_the_matrix() -> None:
    told = re.findall(r"^\| ([\d.]+) \| ([\d., ]+) \| ([\d., ]+) \|$", page("compatibility"), re.M)
    assert {airflow: tuple(pythons.split(", ")) for airflow, pythons, _ in told} == SUPPORTED
    tested = {(airflow, python) for airflow, _, pythons in told for python in pythons.split(", ")}
    # The one of `make test`, as .ci/run calls it.
    assert "export PYTHON=python3.11" in (ROOT / ".ci" / "run").read_text()
    assert tested == {(cell.airflow, cell.python) for cell in CELLS} | {("3.3", "3.11")}
