"""The code blocks of the documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: For users. What internals.md has in blocks are drawings.
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.name != "internals.md")]

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=fence) *$", re.M | re.S
)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    :param page: The file that holds it, from the repository's root.
    :param line: Where it begins.
    :param language: What it says it is.
    :param title: The file that it pretends to be; empty if none.
    """

    page: str
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Find the blocks of a page."""
    source = page.read_text()
    found = []
    for match in _FENCE.finditer(source):
        language, _, rest = match["info"].strip().partition(" ")
        title = _TITLE.search(rest)
        indent = len(match["indent"])
        text = "".join(line[indent:] for line in match["text"].splitlines(keepends=True))
        line = source.count("\n", 0, match.start()) + 1
        found.append(Block(str(page.relative_to(ROOT)), line, language, title[1] if title else "", text))
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def in_language(*languages: str) -> list[Block]:
    """Return all blocks in these languages."""
    return [block for block in BLOCKS if block.language in languages]
