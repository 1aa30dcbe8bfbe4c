"""The balance of the chaos run's syncs that Airbyte starts by itself."""

from __future__ import annotations

from collections import Counter

import pytest

from chaos.self_started import Handed


@pytest.mark.parametrize(
    ("told", "balanced", "line"),
    [
        ([1, 2, 3], True, "lost            0"),
        ([1, 3], False, "lost            1  [2]"),
        ([1, 2, 2, 3], False, "twice           1  [2]"),
        ([1, 2, 3, 9], False, "lost            0"),
    ],
    ids=str,
)
def test_self_started_syncs_are_handed_out_once_and_nothing_else_is(told: list[int], balanced: bool, line: str) -> None:
    handed = Handed([1, 2, 3], Counter(told), runs=2)
    assert handed.balanced is balanced
    assert line in list(handed.lines())
