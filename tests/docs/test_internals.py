"""The page for whoever carries the code on names what there is."""

from __future__ import annotations

import re

from tools.modules import PACKAGE, PAGE, modules, reason, with_table


def test_internals_tell_each_module_and_its_reason() -> None:
    text = PAGE.read_text()
    assert with_table(text) == text, "python -m tools.modules"
    assert all(reason(path) for path in modules())


def test_internals_name_only_modules_that_there_are() -> None:
    named = set(re.findall(r"`((?:_\w+|api)/\w+)(?:\.py)?`", PAGE.read_text()))
    assert named
    assert {name for name in named if not (PACKAGE / f"{name}.py").exists()} - {"_watcher/fallback"} == set()
