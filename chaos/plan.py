"""Who is killed, and when, and how long the syncs last meanwhile: all of it from one seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

#: What a kill can hit; for the first two it is one of two processes.
KINDS = ("triggerer", "worker", "scheduler", "api-server", "redis", "postgresql", "simulator")


#: What a user can do to a task.
DEEDS = ("clear", "failed", "success")
#: And to its connection: start another sync of it.
INTRUDES = "intrudes"

#: Seconds by which the longest sync outlasts the last kill, measured from the first job on. Restarts hold up a plan.
OUTLASTS = 30


@dataclass(frozen=True)
class Kill:
    """One ``kill -9``.

    :param at: Seconds after the first job was started.
    :param kind: What to kill, one of :data:`KINDS`.
    :param victim: The process.
    :param down: Seconds until it is started again.
    """

    at: float
    kind: str
    victim: str
    down: float


def plan(seed: int, rounds: int, pause: tuple[float, float], down: tuple[float, float]) -> list[Kill]:
    """Make a plan in which everything is killed once in each round, in a new order.

    :param seed: What chance depends on.
    :param rounds: How often everything is killed.
    :param pause: The least and the most seconds between two kills.
    :param down: The least and the most seconds until the victim is started again.
    """
    chance = random.Random(seed)
    kills, at = [], chance.uniform(1, pause[0])
    for _ in range(rounds):
        for kind in chance.sample(KINDS, len(KINDS)):
            victim = {"triggerer": ("triggerer", "triggerer-2"), "worker": ("worker-1", "worker-2")}.get(kind, (kind,))
            kills.append(Kill(round(at, 1), kind, chance.choice(victim), round(chance.uniform(*down), 1)))
            at += chance.uniform(*pause)
    return kills


@dataclass(frozen=True)
class Deed:
    """What somebody does in the middle of it all.

    :param at: Seconds after the first job was started.
    :param kind: What a user does to a task, one of :data:`DEEDS`, or :data:`INTRUDES`.
    :param index: Whose task, or whose connection.
    """

    at: float
    kind: str
    index: int


def deeds(seed: int, tasks: int, kills: Sequence[Kill]) -> list[Deed]:
    """Choose what users do to tasks: one in five is cleared or marked, some of them twice, until after the last kill.

    :param seed: What chance depends on.
    :param tasks: How many tasks there are.
    :param kills: The plan.
    """
    chance = random.Random(f"deeds {seed}")
    until = kills[-1].at + OUTLASTS / 2
    shares = {"clear": 8, "failed": 20, "success": 20, INTRUDES: 12}
    # Not to the first, which outlasts all kills.
    chosen = [
        Deed(round(chance.uniform(2, until), 1), kind, chance.randrange(1, tasks))
        for kind, share in shares.items()
        for _ in range(tasks // share)
    ]
    return sorted(chosen, key=lambda deed: deed.at)


def durations(seed: int, count: int, shortest: float, kills: Sequence[Kill]) -> list[float]:
    """Choose how long each sync lasts: there is one in flight at the last kill, however soon all of them began.

    :param seed: What chance depends on.
    :param count: How many syncs.
    :param shortest: The least seconds that one lasts.
    :param kills: The plan.
    """
    chance = random.Random(seed)
    longest = kills[-1].at + OUTLASTS
    return [longest, *(round(chance.uniform(shortest, longest), 1) for _ in range(count - 1))]
