"""What is made for one who asks is for all who ask within some seconds."""

from __future__ import annotations

import threading

import pytest

from airbyte_deferrable.page.cached import GOOD_ENOUGH, Cached
from harness.waiting import IN_VAIN


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_value_is_kept_for_some_seconds() -> None:
    clock, made = Clock(), iter(range(10))
    cached = Cached(lambda: next(made), 5, clock)
    assert [cached.get(), cached.get()] == [0, 0]
    clock.now += 5
    assert cached.get() == 1


def test_value_that_takes_long_is_kept_for_longer() -> None:
    clock, made = Clock(), iter(range(10))

    def make() -> int:
        clock.now += 3
        return next(made)

    cached = Cached(make, 5, clock)
    assert cached.get() == 0
    clock.now += 29
    assert cached.get() == 0
    clock.now += 1
    assert cached.get() == 1


def test_error_is_not_kept() -> None:
    clock, down = Clock(), [True]

    def make() -> str:
        if down:
            down.clear()
            raise RuntimeError("down")
        return "up"

    cached = Cached(make, 5, clock)
    with pytest.raises(RuntimeError):
        cached.get()
    assert cached.get() == "up"


def test_all_who_ask_at_once_get_the_one_value_that_is_made() -> None:
    clock, asked, made = Clock(), threading.Event(), threading.Event()
    count = 0

    def make() -> int:
        nonlocal count
        count += 1
        asked.set()
        assert made.wait(IN_VAIN)
        return count

    cached = Cached(make, 5, clock)
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(cached.get())) for _ in range(5)]
    for each in threads:
        each.start()
    assert asked.wait(IN_VAIN)
    made.set()
    for each in threads:
        each.join(IN_VAIN)
    assert got == [1] * 5

    # Nobody but one waits for the next: the others have the old one, unless that is too old.
    clock.now += 6
    asked.clear()
    made.clear()
    one = threading.Thread(target=lambda: got.append(cached.get()))
    one.start()
    assert asked.wait(IN_VAIN)
    assert cached.get() == 1
    made.set()
    one.join(IN_VAIN)
    assert got[-1] == 2
    assert cached.get() == 2
    clock.now += 5 + GOOD_ENOUGH
    assert cached.get() == 3
