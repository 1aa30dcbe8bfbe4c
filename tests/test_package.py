"""What is installed: the right files, nothing that Airflow does not need, and no quarrel with the official provider."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import airbyte_deferrable

ROOT = Path(__file__).parents[1]
OURS = "airbyte-deferrable"
OFFICIAL = "apache-airflow-providers-airbyte"
#: Quick tests that need more than the package: the harness and its servers, the demo, the figures and the tables that
#: are kept, the matrix, the pages.
FROM_THE_SOURCES = (
    "tests/harness",
    "tests/demo",
    "tests/docs/test_benchmark.py",
    "tests/docs/test_completeness.py",
    "tests/test_bench_slots.py",
    "tests/test_chaos.py",
)
#: Everything in the package is imported; then Airflow says what it makes of it.
LOOK = """
import json, pkgutil
from importlib import import_module
import airbyte_deferrable

for module in pkgutil.walk_packages(airbyte_deferrable.__path__, "airbyte_deferrable."):
    if not module.name.endswith(("__main__", ".testing")):
        import_module(module.name)

from airflow.providers_manager import ProvidersManager

manager = ProvidersManager()
print()
print(json.dumps({
    "version": manager.providers["airbyte-deferrable"].version,
    "hook": manager.hooks["airbyte"].hook_class_name,
    "form": manager.hooks["airbyte"].package_name,
}))
"""


def closure(*names: str) -> set[str]:
    """The names of what these packages need, and what that needs, as this environment has it; themselves included."""
    seen: set[tuple[str, str]] = set()

    def visit(name: str, extra: str) -> None:
        if (name, extra) in seen:
            return
        seen.add((name, extra))
        try:
            wanted = map(Requirement, requires(name) or ())
        except PackageNotFoundError:  # an optional part that is not installed
            return
        for requirement in wanted:
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                for needed in ("", *requirement.extras):
                    visit(canonicalize_name(requirement.name), needed)

    for name in names:
        visit(name, "")
    return {name for name, _ in seen}


def test_nothing_is_needed_beyond_airflow_aiohttp_and_asgiref() -> None:
    assert "apache-airflow" in closure(OURS)
    assert closure(OURS) - closure("apache-airflow") <= {OURS} | closure("aiohttp", "asgiref")


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The wheel that ``make package`` has built."""
    (built,) = (ROOT / "dist").glob("*.whl")
    return built


@pytest.mark.package
def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = ROOT / "airbyte_deferrable"
    files = {path.relative_to(ROOT).as_posix() for path in source.rglob("*") if path.is_file()}
    assert names == {name for name in files if "__pycache__" not in name}
    assert "airbyte_deferrable/py.typed" in names


@pytest.fixture(scope="session")
def sdist() -> Path:
    """The source distribution that ``make package`` has built."""
    (built,) = (ROOT / "dist").glob("*.tar.gz")
    return built


@pytest.mark.package
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git knows here which files there are")
def test_source_distribution_holds_the_repository(sdist: Path) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    with tarfile.open(sdist) as archive:
        names = {each.name.partition("/")[2] for each in archive.getmembers() if each.isfile()}
    assert names - {"PKG-INFO"} == set(tracked.splitlines())


@pytest.mark.package
def test_tests_run_from_the_source_distribution(sdist: Path, venv: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xzf", sdist, "-C", tmp_path], check=True)
    (root,) = tmp_path.glob("airbyte_deferrable-*")
    python = str(venv / "bin/python")
    constraints = f"constraints/airflow-{'.'.join(airflow_release())}.txt"
    # Not editable: what stands beside the package is found because the tests run there.
    wanted = [".", "--group", "test", "--group", "postgresql", "--constraints", constraints]
    uv("pip", "install", "--quiet", "--python", python, *wanted, cwd=root)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW_", "PYTEST_"))}

    def pytest_there(*arguments: str) -> str:
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        ran = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-5000:]
        return ran.stdout

    # All of them can be imported, with whatever they import. Some are run.
    assert len(pytest_there("--collect-only").splitlines()) > 1000
    assert " passed" in pytest_there(*FROM_THE_SOURCES)


@pytest.fixture(params=["without the official provider", "beside the official provider"])
def others(request: pytest.FixtureRequest) -> list[str]:
    """What is installed already when the wheel comes."""
    return ["apache-airflow", OFFICIAL] if request.param.startswith("beside") else ["apache-airflow"]


@pytest.fixture
def venv(tmp_path: Path) -> Iterator[Path]:
    """An environment of its own."""
    folder = tmp_path / "venv"
    uv("venv", "--quiet", "--python", sys.executable, str(folder))
    yield folder
    shutil.rmtree(folder)


def uv(*arguments: str, cwd: Path = ROOT) -> str:
    """Run uv, and give what it prints."""
    program = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    return subprocess.run([program, *arguments], check=True, stdout=subprocess.PIPE, text=True, cwd=cwd).stdout


@pytest.mark.package
def test_wheel_installs_cleanly(wheel: Path, venv: Path, others: list[str], tmp_path: Path) -> None:
    def pip(*arguments: str) -> str:
        return uv("pip", *arguments, "--quiet", "--python", str(venv / "bin/python"))

    def installed() -> dict[str, str]:
        return {entry["name"]: entry["version"] for entry in json.loads(pip("list", "--format=json"))}

    constraints = ["--constraints", str(ROOT / f"constraints/airflow-{'.'.join(airflow_release())}.txt")]
    pip("install", *constraints, *others)
    before = installed()
    pip("install", *constraints, str(wheel))
    after = installed()
    assert {name: after.get(name) for name in before} == before
    assert after.keys() - before.keys() <= {OURS} | closure("aiohttp", "asgiref")
    pip("check")

    look = [str(venv / "bin/python"), "-W", "error::DeprecationWarning:airbyte_deferrable", "-c", LOOK]
    environment = {"AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    answer = subprocess.run(look, check=True, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment)
    theirs = OFFICIAL in others
    assert json.loads(answer.stdout.splitlines()[-1]) == {
        "version": airbyte_deferrable.__version__,
        "hook": "airflow.providers.airbyte.hooks.airbyte.AirbyteHook"
        if theirs
        else "airbyte_deferrable.hooks.AirbyteHook",
        "form": OFFICIAL if theirs else OURS,
    }


def airflow_release() -> list[str]:
    """The minor release of this environment's Airflow."""
    return version("apache-airflow").split(".")[:2]
