"""What so many syncs an hour need, reckoned."""

from __future__ import annotations

import pytest

from benchmarks.model import Load, Slots, needs
from benchmarks.slots_report import Run


def run(answer: float, taken: float) -> Run:
    nothing = {"legs": 0, "running": 0.0, "blocked": 0, "failed": 0, "late": 0.0, "latest": 0.0, "measured_at": ""}
    return Run(
        executor="LocalExecutor",
        answer=answer,
        number=1,
        kind="ours",
        tasks=100,
        first_legs=taken * 100,
        last_legs=0.0,
        makespan=100.0,
        requests={},
        jobs=100,
        **nothing,  # type: ignore[arg-type]
    )


def test_slot_seconds_lie_on_the_line_through_two_runs() -> None:
    slots = Slots.fit([run(0.3, 2.0), run(0.1, 1.4)])
    assert slots.trips == pytest.approx(3.0)
    assert slots.seconds(0.0) == pytest.approx(1.1)
    assert slots.seconds(1.0) == pytest.approx(4.1)


def test_requests_that_start_syncs_grow_with_them_and_those_that_watch_hardly() -> None:
    few, many = Load(100).requests(), Load(10_000).requests()
    for kind in ("list before", "create"):
        assert many[kind] == pytest.approx(100 * few[kind])
    assert many["sweeps"] == few["sweeps"] == pytest.approx(1 / 5)


def test_more_triggerers_read_the_same_changes_again() -> None:
    one, three = Load(100_000).requests(), Load(100_000, triggerers=3).requests()
    assert three["sweeps"] == pytest.approx(3 * one["sweeps"])
    assert three["create"] == one["create"]


def test_slow_airbyte_takes_slots_and_threads() -> None:
    slots = Slots(fixed=1.0, trips=3.0)
    quick, slow = (needs(Load(10_000), slots, answer) for answer in (0.1, 1.0))
    assert slow["worker slots"] > 3 * quick["worker slots"]
    assert slow["server pods"] == pytest.approx(10 * quick["server pods"])
    assert slow["triggerers"] == quick["triggerers"]
