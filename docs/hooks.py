"""What the documentation takes from elsewhere in the repository, and what mkdocs does not know of Sphinx's words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
#: The tables by the names of their files, each with the command that makes it, and its plot.
MEASURED = {
    "table": ("bench-waiting", "plot.png"),
    "legs": ("bench-legs", "legs.png"),
    "slots": ("bench-slots", "slots.png"),
    "triggerer": ("bench-triggerer", None),
}
#: ``:class:`~package.module.Name``` as mkdocstrings leaves it.
ROLE = re.compile(r":(?:class|meth|func|attr|mod|data|exc):<code>(~?)([\w.]+)</code>")


def on_files(files: Files, config: Any) -> Files:
    """Bring the benchmark's picture into the site, if the benchmark was run."""
    for picture in RESULTS.glob("*.png"):
        files.append(File.generated(config, f"images/benchmark-{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the measured tables and their plots in their places."""
    for name, (command, picture) in MEASURED.items():
        place, table = f"<!-- {name} -->", RESULTS / f"{name}.md"
        if place not in markdown:
            continue
        text = f"Run `make {command}` for the figures of your machine."
        if table.exists():
            text = table.read_text()
            if picture and (RESULTS / picture).exists():
                text = f"![The same as a plot](images/benchmark-{picture})\n\n{text}"
        markdown = markdown.replace(place, text)
    return markdown


def on_page_content(html: str, **_: Any) -> str:
    """Turn Sphinx's roles in docstrings into links to the reference."""

    def link(match: re.Match[str]) -> str:
        short, name = match.groups()
        shown = name.rsplit(".", 1)[-1] if short else name
        return f'<autoref identifier="{name}" optional><code>{shown}</code></autoref>'

    return ROLE.sub(link, html).replace("::</p>", ":</p>")
