"""How much less often than its tasks want an Airbyte is asked that is slow, or says that it is asked too often."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from statistics import median

#: Seconds for an answer from which on Airbyte counts as slow. A healthy one takes 0.02 to 0.3.
SLOW = 0.5
#: Sweeps that go well, one after the other, until one that was throttled is forgotten by half.
GOOD_SWEEPS = 5
#: The most that the pauses grow: a poll interval of 5 s becomes a minute.
MOST = 12.0
#: Sweeps of which the quickest counts: one that hung is no slow Airbyte.
SWEEPS = 3
#: The pauses are said to be longer from here on, and as long as ever below this.
LONGER, AS_EVER = 1.5, 1.1


class Tempo:
    """Stretches the pauses between sweeps, and says so in one line when it begins and one when it is over.

    A slow Airbyte gets pauses in proportion to its answers, so that what watching takes of its few threads stays the
    same. One that answers 429 gets pauses twice as long, and half as long again when all has gone well for a while:
    without that, it would be asked too often again as soon as it answers.

    :param log: Where it is said.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._answers: deque[float] = deque(maxlen=SWEEPS)
        self._throttled = 1.0
        self._good = 0
        self._told = False

    def interval(self, poll: float) -> float:
        """Return the seconds between two sweeps.

        :param poll: What those who wait want.
        """
        return poll * self._factor

    def swept(self, answers: Sequence[float], poll: float) -> None:
        """Learn from a sweep that went well.

        :param answers: How long each of its answers took, seconds.
        :param poll: What those who wait want, for the log.
        """
        if answers:
            self._answers.append(median(answers))
        self._good += 1
        if self._good >= GOOD_SWEEPS:
            self._good, self._throttled = 0, max(1.0, self._throttled / 2)
        self._tell(poll)

    def throttled(self, poll: float) -> None:
        """Learn that Airbyte wants to be asked less.

        :param poll: What those who wait want, for the log.
        """
        self._good, self._throttled = 0, min(2 * self._throttled, MOST)
        self._tell(poll)

    @property
    def _answer(self) -> float:
        """Seconds for an answer of late."""
        return min(self._answers) if len(self._answers) == SWEEPS else 0.0

    @property
    def _factor(self) -> float:
        return min(max(1.0, self._answer / SLOW, self._throttled), MOST)

    def _tell(self, poll: float) -> None:
        factor = self._factor
        if not self._told and factor >= LONGER:
            self._told = True
            why = (
                "wants to be asked less often" if self._throttled >= factor else f"takes {self._answer:.1f} s to answer"
            )
            self._log.info("This Airbyte %s: it is asked each %.0f s instead of %.3g s", why, poll * factor, poll)
        elif self._told and factor <= AS_EVER:
            self._told = False
            self._log.info("This Airbyte is asked each %.3g s again", poll)
