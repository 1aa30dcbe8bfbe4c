"""Writes the table of modules into docs/internals.md, from what each says of itself: ``python -m tools.modules``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "airbyte_deferrable"
PAGE = ROOT / "docs" / "internals.md"
BEGIN, END = "<!-- modules begin -->", "<!-- modules end -->"
#: From what a DAG names down to HTTP; the simulator's own modules are its business.
ROOMS = ("", "page", "triggers", "lineage", "_airflow", "_job", "_watcher", "api")


def table() -> str:
    """Return the table, as Markdown."""
    rows = ["| module | its one reason |", "| --- | --- |"]
    rows += [f"| `{path.relative_to(PACKAGE)}` | {reason(path)} |" for path in modules()]
    return "\n".join(rows)


def modules() -> Iterator[Path]:
    """Yield the modules in the order of the table."""
    for room in ROOMS:
        yield from (path for path in sorted((PACKAGE / room).glob("*.py")) if path.name != "__init__.py")


def reason(path: Path) -> str:
    """Return the first sentence of a module."""
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    return (docstring or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")


def with_table(text: str) -> str:
    """Return a page with the present table in the place of the one that it has."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{table()}\n\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
    sys.exit(0)
