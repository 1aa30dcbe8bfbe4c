"""Who imports whom, and what that costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import airbyte_deferrable
from harness.waiting import IN_VAIN

ROOT = Path(airbyte_deferrable.__file__).parent
NAME = "airbyte_deferrable"

#: What each room imports of the others. Whoever opens a room finds in it nothing that needs more than that.
ROOMS: dict[str, set[str]] = {
    "api": set(),
    "simulator": set(),
    "_watcher": {"api"},
    "_job": {"api", "_watcher"},
    "_compat": set(),
    "exceptions": {"_compat", "api"},
    "assets": {"_job", "exceptions"},
    "_airflow": {"_job", "_watcher", "api", "exceptions", "_compat"},
    "_preload": set(),
    "provider": {"_preload"},
    "hooks": {"_airflow", "_job", "_watcher", "api", "exceptions", "provider", "_compat"},
    "links": {"_airflow", "_compat"},
    "lineage": {"links", "_airflow", "api", "exceptions", "_compat"},
    "triggers": {"links", "_airflow", "_job", "api"},
    "operators": {"_sync_task", "lineage", "links", "_airflow", "_job", "_compat"},
    "_sync_task": {
        *("triggers", "hooks", "lineage", "links"),
        *("_airflow", "_job", "_watcher", "api", "exceptions", "_compat"),
    },
    "page": {"links", "_airflow", "_job", "api"},
    "sensors": {"_waiting_sensor", "triggers", "_airflow", "_job", "exceptions", "_compat"},
    "_waiting_sensor": {"hooks", "lineage", "links", "_airflow", "_job", "exceptions", "_compat"},
}


def room_of(module: str) -> str:
    return module.removeprefix(NAME).removeprefix(".").split(".")[0]


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports when it runs, those for type checkers left out."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                visit(child)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found.add(module)
            found.update(f"{module}.{alias.name}" for alias in node.names if module == NAME)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


FILES = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}


@pytest.mark.parametrize("module", FILES)
def test_rooms_import_only_what_they_may(module: str) -> None:
    here = room_of(module)
    there = {room_of(other) for other in imports(FILES[module]) if f"{other}.".startswith(f"{NAME}.")}
    # The package itself, and what it gives for its own name.
    there -= {here, "", "__version__"}
    assert not there or here in ROOMS, f"{here} is a room of its own: what may it import?"
    assert there <= ROOMS.get(here, set())


def test_rooms_import_each_other_in_one_direction_only() -> None:
    for room, others in ROOMS.items():
        for other in others:
            assert room not in ROOMS[other], f"{room} and {other} import each other"


@pytest.mark.parametrize(
    "module", [name for name in FILES if room_of(name) in ("api", "_watcher", "_job", "simulator")]
)
def test_rooms_that_are_not_airflows_know_no_airflow(module: str) -> None:
    assert not {each for each in imports(FILES[module]) if each.split(".")[0] == "airflow"}


@pytest.mark.parametrize("module", [name for name in FILES if room_of(name) == "simulator"])
def test_simulator_knows_nothing_of_the_rest(module: str) -> None:
    ours = {each for each in imports(FILES[module]) if each.startswith(NAME)}
    assert {each for each in ours if room_of(each) not in ("simulator", "", "__version__")} == set()


def loaded_by(statement: str, *, forbidden: str = "") -> set[str]:
    """Run a statement in a Python of its own, and return the modules that are loaded then."""
    program = f"""
import sys

class Forbid:
    def find_spec(self, name, path=None, target=None):
        if {forbidden!r} and name.split(".")[0] == {forbidden!r}:
            raise AssertionError(name + " is imported")

sys.meta_path.insert(0, Forbid())
{statement}
print("LOADED", *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=IN_VAIN)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_package_itself_costs_nothing() -> None:
    loaded = loaded_by("import airbyte_deferrable; assert airbyte_deferrable.__version__", forbidden="airflow")
    assert loaded.isdisjoint({"airflow", "pydantic", "aiohttp", "asyncio"})


def test_metadata_costs_only_the_standard_library() -> None:
    loaded = loaded_by(
        "from airbyte_deferrable.provider import get_provider_info; get_provider_info()", forbidden="airflow"
    )
    assert loaded.isdisjoint({"airflow", "pydantic", "aiohttp"})


def test_dag_file_pays_for_no_http_and_no_simulator() -> None:
    loaded = loaded_by(
        f"""
import airflow.models, airflow.triggers.base, pydantic
# Airflow 2 loads much of itself with its own names only.
import {NAME}._compat
before = set(sys.modules)
from {NAME} import hooks, links, operators, sensors, triggers
for name in before:
    del sys.modules[name]
"""
    )
    assert f"{NAME}.operators" in loaded
    assert {each for each in loaded if "simulator" in each} == set()
    # aiohttp alone would take longer than all that is loaded here, each time that a DAG file is read.
    foreign = {each.split(".")[0] for each in loaded} - set(sys.stdlib_module_names)
    pydantics = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
    assert foreign <= {NAME, "airflow", "asgiref", "tenacity"} | pydantics


@pytest.mark.parametrize("room", ["api", "_watcher"])
def test_room_that_dag_files_import_loads_no_http(room: str) -> None:
    assert f"{NAME}.{room}" in loaded_by(f"import {NAME}.{room}", forbidden="aiohttp")


@pytest.mark.parametrize("module", ["api.client", "simulator", "simulator.testing"])
def test_api_and_the_simulator_run_without_airflow(module: str) -> None:
    loaded_by(f"import airbyte_deferrable.{module}", forbidden="airflow")


def test_simulator_is_tested_with_nothing_but_itself() -> None:
    loaded = loaded_by("import airbyte_deferrable.simulator")
    ours = {each for each in loaded if each.startswith(f"{NAME}.")}
    assert {each for each in ours if not each.startswith(f"{NAME}.simulator")} == set()
    assert "pytest" not in loaded


@pytest.mark.parametrize(
    "name", ["AirbyteHook", "AirbyteJobSensor", "AirbyteSyncTrigger", "AirbyteTriggerSyncOperator"]
)
def test_public_names_can_be_had_from_the_package(name: str) -> None:
    assert getattr(airbyte_deferrable, name).__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        _ = airbyte_deferrable.Nothing
