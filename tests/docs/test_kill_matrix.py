"""The page on kills tells what the kill matrix finds, neither more nor less."""

from __future__ import annotations

from helpers.blocks import ROOT
from helpers.kill_cells import CELLS, Cell, Found, Outcome

PAGE = ROOT / "docs" / "kill-retry-timeout.md"
HEAD = "| what happens | the task is | Airflow 2.11 | Airflow 3.3 |"
WAYS = {"on a worker": "on_worker", "deferred": "deferred"}


def told() -> dict[Cell, Found]:
    """Read the page's table."""
    found: dict[Cell, Found] = {}
    rows = PAGE.read_text().partition(HEAD)[2].partition("\n\n")[0].splitlines()[2:]
    for row in rows:
        what, ways, before, now = (cell.strip() for cell in row.strip("|").split("|"))
        for way in ways.split(", "):
            cell = Cell(what.replace("`", ""), WAYS[way])
            assert cell not in found, row
            found[cell] = Found(outcome(before), outcome(before if now == "the same" else now))
    return found


def outcome(text: str) -> Outcome | None:
    return None if text == "cannot be done" else Outcome(*text.split("; "))


def test_kills_are_told_as_the_matrix_finds_them() -> None:
    page = told()
    assert page.keys() == CELLS.keys()
    assert page == CELLS
