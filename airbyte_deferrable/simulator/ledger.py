"""What was asked of the simulator."""

from __future__ import annotations

from collections import Counter, deque

#: How many requests are kept; the counts go on.
KEPT = 100_000


class Ledger:
    """Requests in the order of their end, their number by call, and how many were open at a time."""

    def __init__(self) -> None:
        self.requests: deque[tuple[str, str, str, int]] = deque(maxlen=KEPT)
        self._counts: Counter[str] = Counter()
        self._open = 0
        self.peak = 0

    def begin(self) -> None:
        """Note that a request has come."""
        self._open += 1
        self.peak = max(self.peak, self._open)

    def end(self, call: str, method: str, path: str, status: int) -> None:
        """Note that it has been answered, or dropped with status 0.

        :param call: What was asked for.
        :param method: The HTTP method.
        :param path: With the query.
        :param status: The HTTP status.
        """
        self._open -= 1
        self.requests.append((call, method, path, status))
        self._counts[call] += 1

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
        self._counts.clear()
        self.peak = self._open
