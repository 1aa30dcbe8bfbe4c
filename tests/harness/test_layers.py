"""What stands beside the package: who imports whom, and that nothing but the harness starts what Airflow needs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Each, with the others that it imports; the package is imported by all, and the harness knows only its simulator.
LAYERS: dict[str, set[str]] = {
    "harness": set(),
    "tools": set(),
    "demo": {"harness"},
    "chaos": {"harness"},
    "benchmarks": {"harness"},
    "example_dags": set(),
    "airbyte_deferrable": set(),
}
FILES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]
#: How a server, a simulator or an Airflow is started.
STARTS = re.compile(r'"(initdb|redis-server|celery)"|"-m", "(airflow|airbyte_deferrable\.simulator)"')


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_imports_only_what_stands_below_it(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    there = {name.split(".")[0] for name in imports(path)} & LAYERS.keys()
    assert there - {layer, "airbyte_deferrable"} <= LAYERS[layer]


@pytest.mark.parametrize("path", sorted((ROOT / "harness").glob("*.py")), ids=lambda path: path.name)
def test_harness_knows_only_the_simulator_of_the_package(path: Path) -> None:
    ours = {name for name in imports(path) if name.startswith("airbyte_deferrable")}
    assert all(name.startswith("airbyte_deferrable.simulator") for name in ours)


def test_nothing_but_the_harness_starts_what_an_airflow_needs() -> None:
    # Beside it only its own tests, those of the simulator's command line, and those that do what the pages say.
    others = {"harness", "simulator", "docs"}
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path.relative_to(ROOT).parts[1] not in others]
    starting = {path.relative_to(ROOT).parts[0] for path in (*FILES, *tests) if STARTS.search(path.read_text())}
    assert starting == {"harness"}
