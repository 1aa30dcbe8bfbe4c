"""Every address that is there is in the documentation, and its answers are checked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airbyte_deferrable.simulator.server import CONFIG, PUBLIC, Server
from airbyte_deferrable.simulator.settings import Settings
from airbyte_deferrable.simulator.world import World
from helpers.schemas import SUCCESSES

DOCS = Path(__file__).parents[2] / "docs" / "simulator.md"
#: Answers with a text.
NO_JSON = ("GET", f"{PUBLIC}/health")


def there() -> set[tuple[str, str]]:
    routes = Server(World(), Settings()).application().router.routes()
    found = {(route.method, route.resource.canonical) for route in routes if route.resource is not None}
    apis = (f"{PUBLIC}/", f"{CONFIG}/")
    return {(m, path) for m, path in found if m != "*" and path.startswith(apis) and not path.endswith("/")}


def test_documentation_lists_them_all_and_no_other() -> None:
    listed = set()
    for api, table in re.findall(r"\| \w+ API, `(\S+)` \| \|\n((?:\|.*\n)+)", DOCS.read_text()):
        listed |= {(method, api + path) for method, path in re.findall(r"^\| `([A-Z]+) (\S+)`", table, re.MULTILINE)}
    assert listed == there()


@pytest.mark.parametrize(("method", "path"), sorted(there() - {NO_JSON}))
def test_endpoints_have_a_schema(method: str, path: str) -> None:
    address = path.replace("{id}", "1")
    assert [pattern for m, pattern, _ in SUCCESSES if m == method and re.fullmatch(pattern, address)]
