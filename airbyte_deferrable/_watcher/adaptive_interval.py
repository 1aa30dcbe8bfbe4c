"""How much less often than its tasks want an Airbyte is asked that is slow, or says that it is asked too often."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from statistics import median

#: Seconds for an answer from which on Airbyte counts as slow. A healthy one takes 0.02 to 0.3.
SLOW_ANSWER = 0.5
#: Sweeps of which the quickest counts: one that hung is no slow Airbyte.
QUICKEST_OF = 3
#: Sweeps that go well, one after the other, until the stretch of one that was throttled is halved.
HALVED_AFTER = 5
#: The most that the interval is stretched: a poll interval of 5 s becomes a minute.
LONGEST_STRETCH = 12.0
#: The interval is said to be longer from this stretch on, and to be as it was below that one.
SAID_FROM, UNSAID_BELOW = 1.5, 1.1


class AdaptiveInterval:
    """Stretches the interval between sweeps, and says so in one line when that begins and one when it is over.

    A slow Airbyte gets an interval in proportion to its answers, so that what watching takes of its few threads stays
    the same. One that answers 429 gets an interval twice as long, and half as long again when all has gone well for a
    while: without that, it would be asked too often again as soon as it answers.

    :param log: Where it is said.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._answer_times: deque[float] = deque(maxlen=QUICKEST_OF)
        self._throttled_stretch = 1.0
        self._good_sweeps = 0
        self._said = False

    def seconds(self, poll: float) -> float:
        """Return the seconds between two sweeps.

        :param poll: What those who wait want.
        """
        return poll * self._stretch

    def swept(self, answer_times: Sequence[float], poll: float) -> None:
        """Learn from a sweep that went well.

        :param answer_times: How long each of its answers took, seconds.
        :param poll: What those who wait want, for the log.
        """
        if answer_times:
            self._answer_times.append(median(answer_times))
        self._good_sweeps += 1
        if self._good_sweeps >= HALVED_AFTER:
            self._good_sweeps, self._throttled_stretch = 0, max(1.0, self._throttled_stretch / 2)
        self._say(poll)

    def throttled(self, poll: float) -> None:
        """Learn that Airbyte wants to be asked less.

        :param poll: What those who wait want, for the log.
        """
        self._good_sweeps, self._throttled_stretch = 0, min(2 * self._throttled_stretch, LONGEST_STRETCH)
        self._say(poll)

    @property
    def _answer_time(self) -> float:
        """Seconds for an answer of late."""
        return min(self._answer_times) if len(self._answer_times) == QUICKEST_OF else 0.0

    @property
    def _stretch(self) -> float:
        return min(max(1.0, self._answer_time / SLOW_ANSWER, self._throttled_stretch), LONGEST_STRETCH)

    def _say(self, poll: float) -> None:
        stretch = self._stretch
        if not self._said and stretch >= SAID_FROM:
            self._said = True
            throttled = self._throttled_stretch >= stretch
            why = "wants to be asked less often" if throttled else f"takes {self._answer_time:.1f} s to answer"
            self._log.info("This Airbyte %s: it is asked each %.0f s instead of %.3g s", why, poll * stretch, poll)
        elif self._said and stretch <= UNSAID_BELOW:
            self._said = False
            self._log.info("This Airbyte is asked each %.3g s again", poll)
