"""What Airflow learns about the package."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import airflow
import jsonschema
import pytest

from airbyte_deferrable import __version__
from airbyte_deferrable._airflow.connection import Extra
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.provider import FIELD_BEHAVIOUR, FORM_FIELDS, OFFICIAL_PROVIDER, get_provider_info

Installed = Any


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Say whether the official provider counts as installed."""
    real = importlib.metadata.version

    def say(installed: bool) -> None:
        def version(name: str) -> str:
            if name == OFFICIAL_PROVIDER:
                if installed:
                    return "6.2.0"
                raise importlib.metadata.PackageNotFoundError(name)
            return real(name)

        monkeypatch.setattr("airbyte_deferrable.provider.version", version)

    return say


@pytest.mark.parametrize("installed", [True, False])
def test_metadata_fits_airflows_own_schema(official: Installed, installed: bool) -> None:
    official(installed)
    schema = json.loads((Path(airflow.__path__[0]) / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_connection_type_is_left_to_the_official_provider_where_that_is_installed(official: Installed) -> None:
    official(True)
    assert "connection-types" not in get_provider_info()
    official(False)
    (declared,) = get_provider_info()["connection-types"]
    assert declared["connection-type"] == AirbyteHook.conn_type
    assert declared["hook-name"] == AirbyteHook.hook_name
    module, _, name = declared["hook-class-name"].rpartition(".")
    assert getattr(import_module(module), name) is AirbyteHook


def test_metadata_names_what_can_be_imported() -> None:
    info = get_provider_info()
    assert info["versions"] == [__version__]
    for kind in ("operators", "sensors", "hooks", "triggers"):
        for group in info[kind]:
            for module in group["python-modules"]:
                import_module(module)
    for link in info["extra-links"]:
        module, _, name = link.rpartition(".")
        assert hasattr(import_module(module), name)


def test_airflow_finds_the_package_by_its_entry_point() -> None:
    (found,) = (
        entry
        for entry in importlib.metadata.entry_points(group="apache_airflow_provider")
        if entry.value.startswith("airbyte_deferrable")
    )
    assert found.load() is get_provider_info


def test_airflow_offers_the_connection_type_with_its_form(official: Installed) -> None:
    from airflow.providers_manager import ProviderInfo, ProvidersManager

    official(False)
    manager = ProvidersManager()
    manager.initialize_providers_list()
    manager._provider_dict.clear()
    manager._provider_dict["airbyte-deferrable"] = ProviderInfo(
        __version__, get_provider_info(), *["package"] * ("package_or_source" in signature(ProviderInfo).parameters)
    )
    manager._hooks_lazy_dict.clear()
    manager._discover_hooks()
    try:
        offered = manager._hooks_lazy_dict["airbyte"]
        offered = offered() if callable(offered) else offered
        assert offered is not None
        assert "AirbyteHook" in str(offered)
        assert "airbyte" in manager._hooks_lazy_dict
    finally:
        manager._cleanup()


def test_form_asks_for_everything_that_the_extra_may_hold() -> None:
    assert set(FORM_FIELDS) == set(Extra.model_fields)


@pytest.mark.parametrize("name", FORM_FIELDS)
def test_defaults_of_the_form_are_good_for_the_connection(name: str) -> None:
    schema = FORM_FIELDS[name]["schema"]
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(None, schema)
    assert Extra.model_validate({name: schema.get("default")}) == Extra()
    for choice in schema.get("enum", ()):
        Extra.model_validate({name: choice})


def test_older_form_shows_the_same_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def string_field(label: str, description: str, widget: Any) -> str:
        made.append(label)
        return f"{label}: {description}"

    # What Airflow's web server has, and a worker has not.
    monkeypatch.setitem(sys.modules, "wtforms", SimpleNamespace(StringField=string_field))
    monkeypatch.setitem(sys.modules, "flask_appbuilder", SimpleNamespace())
    fieldwidgets = SimpleNamespace(BS3TextFieldWidget=object)
    monkeypatch.setitem(sys.modules, "flask_appbuilder.fieldwidgets", fieldwidgets)
    assert list(AirbyteHook.get_connection_form_widgets()) == list(FORM_FIELDS)
    assert made == [field["label"] for field in FORM_FIELDS.values()]
    behaviour = AirbyteHook.get_ui_field_behaviour()
    assert behaviour == {
        "hidden_fields": FIELD_BEHAVIOUR["hidden-fields"],
        "relabeling": FIELD_BEHAVIOUR["relabeling"],
        "placeholders": FIELD_BEHAVIOUR["placeholders"],
    }
