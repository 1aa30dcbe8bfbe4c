"""What the documentation takes from elsewhere in the repository, and what mkdocs does not know of Sphinx's words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BENCHMARK, TRIGGERER = "<!-- benchmark -->", "<!-- triggerer -->"
#: ``:class:`~package.module.Name``` as mkdocstrings leaves it.
ROLE = re.compile(r":(?:class|meth|func|attr|mod|data|exc):<code>(~?)([\w.]+)</code>")


def on_files(files: Files, config: Any) -> Files:
    """Bring the benchmark's picture into the site, if the benchmark was run."""
    for picture in RESULTS.glob("*.png"):
        files.append(File.generated(config, f"images/benchmark-{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the measured tables in their places."""
    measured = RESULTS / "triggerer.md"
    if measured.exists():
        markdown = markdown.replace(TRIGGERER, measured.read_text())
    if BENCHMARK not in markdown:
        return markdown
    table = RESULTS / "table.md"
    if not table.exists():
        return markdown.replace(BENCHMARK, "Run `make bench` for the figures of your machine.")
    text = table.read_text()
    for picture in RESULTS.glob("*.png"):
        text = text.replace(f"({picture.name})", f"(images/benchmark-{picture.name})")
        if f"benchmark-{picture.name}" not in text:
            text += f"\n\n![The same as a plot](images/benchmark-{picture.name})\n"
    return markdown.replace(BENCHMARK, text)


def on_page_content(html: str, **_: Any) -> str:
    """Turn Sphinx's roles in docstrings into links to the reference."""

    def link(match: re.Match[str]) -> str:
        short, name = match.groups()
        shown = name.rsplit(".", 1)[-1] if short else name
        return f'<autoref identifier="{name}" optional><code>{shown}</code></autoref>'

    return ROLE.sub(link, html).replace("::</p>", ":</p>")
