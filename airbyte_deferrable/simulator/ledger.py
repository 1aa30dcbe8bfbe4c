"""What was asked of the simulator."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass

#: How many requests are kept; the counts go on.
KEPT = 100_000


@dataclass
class Span:
    """When a request came and when it was answered, seconds of a clock that never goes back.

    :param call: What was asked for.
    :param ended: None until it is answered or dropped.
    """

    call: str
    began: float
    ended: float | None = None


class Ledger:
    """Requests in the order of their end, their spans in that of their beginning, their number, and their peak."""

    def __init__(self) -> None:
        self.requests: deque[tuple[str, str, str, int]] = deque(maxlen=KEPT)
        self.spans: deque[Span] = deque(maxlen=KEPT)
        self._counts: Counter[str] = Counter()
        self._open = 0
        self.peak = 0

    def begin(self, call: str) -> Span:
        """Note that a request has come.

        :param call: What is asked for.
        :return: What :meth:`end` is to be given.
        """
        self._open += 1
        self.peak = max(self.peak, self._open)
        span = Span(call, time.monotonic())
        self.spans.append(span)
        return span

    def end(self, span: Span, method: str, path: str, status: int) -> None:
        """Note that it has been answered, or dropped with status 0.

        :param span: What :meth:`begin` returned.
        :param method: The HTTP method.
        :param path: With the query.
        :param status: The HTTP status.
        """
        self._open -= 1
        span.ended = time.monotonic()
        self.requests.append((span.call, method, path, status))
        self._counts[span.call] += 1

    def count(self, call: str | None) -> int:
        """Return how many requests there were of a call; ``config`` means all of the config API, None all.

        :param call: Which.
        """
        if call is None:
            return sum(self._counts.values())
        if call == "config":
            return sum(count for name, count in self._counts.items() if name.startswith("config:"))
        return self._counts[call]

    def clear(self) -> None:
        """Forget what was asked so far."""
        self.requests.clear()
        self.spans.clear()
        self._counts.clear()
        self.peak = self._open
