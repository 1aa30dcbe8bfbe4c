"""What is played with the classes of either provider, each on an Airbyte of its own; see ``test_side_by_side.py``."""

from __future__ import annotations

from helpers.stories import connection, hook, operator, sensor, subclass, trigger
from helpers.stories.stage import CASES, OFFICIAL, OURS, ROWS, Case, Seen, Stage

__all__ = ["CASES", "OFFICIAL", "OURS", "ROWS", "Case", "Seen", "Stage"]
__all__ += ["connection", "hook", "operator", "sensor", "subclass", "trigger"]
