"""How long a connection's syncs usually take, and which one is late."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, NamedTuple

#: So many of its last syncs tell.
LAST = 10
#: Fewer than this tell too little to call another one late.
FEW = 3
#: Late is what takes longer than so many times the usual, and longer by so many seconds.
TIMES, SECONDS = 1.5, 60.0


class Usual(NamedTuple):
    """How long a connection's syncs take.

    :param seconds: The median; None if there is none.
    :param of: Of how many.
    """

    seconds: float | None = None
    of: int = 0

    def is_late(self, seconds: float | None) -> bool:
        """Tell whether a sync takes longer than it should.

        :param seconds: How long it has taken; None if that is not known.
        """
        if seconds is None or self.seconds is None or self.of < FEW:
            return False
        return seconds > TIMES * self.seconds and seconds > self.seconds + SECONDS


def usual_spans(newest_first: Iterable[Mapping[str, Any]]) -> dict[str, Usual]:
    """Return how long the syncs of each connection take.

    :param newest_first: Jobs that have ended, as the XCom ``airbyte_job`` holds them, the newest first.
    """
    spans: dict[str, dict[str, float]] = {}
    for job in newest_first:
        seconds, connection_id = job.get("durationSeconds"), job.get("connectionId")
        if job.get("status") != "succeeded" or job.get("jobType", "sync") != "sync" or not connection_id:
            continue
        if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not math.isfinite(seconds):
            continue
        known = spans.setdefault(str(connection_id), {})
        if len(known) < LAST:
            # Several tasks may have waited for the same job.
            known.setdefault(str(job.get("jobId")), float(seconds))
    return {each: Usual(median(known.values()), len(known)) for each, known in spans.items()}
