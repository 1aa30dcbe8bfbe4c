"""What the cells of the matrix reach of the package together, and which lines only one Airflow's reach."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from coverage import Coverage, CoverageData
from coverage.exceptions import CoverageException

#: Rooms in which no Airflow takes part: their tests do not run in every cell, which says nothing about an Airflow.
WITHOUT_AIRFLOW = ("api", "simulator", "_watcher", "_job")


def combined(files: Sequence[Path], into: Path, *, config: Path) -> tuple[str, bool]:
    """Combine what was measured, and return the report and whether it reaches the floor.

    :param files: The data of each cell. They are kept.
    :param into: The combined data, for ``coverage html`` and its like.
    :param config: The ``pyproject.toml`` that names the floor: ``fail_under``.
    """
    coverage = Coverage(data_file=str(into), config_file=str(config))
    coverage.erase()
    try:
        coverage.combine([str(file) for file in files], strict=True, keep=True)
        coverage.save()
        text = io.StringIO()
        total = coverage.report(file=text, show_missing=True, skip_covered=True, precision=1)
    except CoverageException as error:
        return f"No coverage: {error}", False
    floor = float(coverage.get_option("report:fail_under") or 0.0)  # type: ignore[arg-type]
    said = f"{total:.1f} % of lines and branches are reached; the floor is {floor:g} %."
    return f"{text.getvalue()}{said}", total >= floor


def only_one_reaches(cells: Mapping[str, Sequence[Path]], package: Path) -> Iterator[str]:
    """Yield the lines that the tests reach on one Airflow alone: what nothing else would notice if that one went.

    :param cells: The data of the cells of each Airflow.
    :param package: The package's folder.
    """
    lines = {airflow: _lines(files, package) for airflow, files in cells.items()}
    for airflow, reached in lines.items():
        others = [each for other, each in lines.items() if other != airflow]
        for path in sorted(reached):
            alone = reached[path].difference(*(each.get(path, set()) for each in others))
            if alone:
                yield f"Only Airflow {airflow} reaches {path.relative_to(package.parent)}: {_ranges(sorted(alone))}"


def _lines(files: Sequence[Path], package: Path) -> dict[Path, set[int]]:
    reached: dict[Path, set[int]] = {}
    for file in files:
        data = CoverageData(basename=str(file))
        data.read()
        for name in data.measured_files():
            path = Path(name)
            if path.is_relative_to(package) and path.relative_to(package).parts[0] not in WITHOUT_AIRFLOW:
                reached.setdefault(path, set()).update(data.lines(name) or ())
    return reached


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers in few words: ``3-5, 9``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def report(cells: Mapping[str, Sequence[Path]], root: Path) -> bool:
    """Print both; return whether the floor is reached.

    :param cells: The data of the cells of each Airflow.
    :param root: The checkout.
    """
    files = [file for of_one in cells.values() for file in of_one]
    text, reached = combined(files, root / ".coverage", config=root / "pyproject.toml")
    print("\n".join(["", *only_one_reaches(cells, root / "airbyte_deferrable"), "", text]), flush=True)
    if not reached:
        print("The coverage is below its floor: [tool.coverage.report] in pyproject.toml", file=sys.stderr)
    return reached
