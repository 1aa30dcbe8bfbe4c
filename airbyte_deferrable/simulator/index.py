"""Jobs in the order of a stamp, so that a page of thousands costs no more than a page of ten."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from random import Random

Entry = tuple[int, int]  # stamp in microseconds, job id


class Index:
    """Sorted ``(stamp, job id)`` pairs."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, stamp: int, job_id: int) -> None:
        """Put a job in.

        :param stamp: Its stamp in microseconds.
        :param job_id: Its id.
        """
        insort(self.entries, (stamp, job_id))

    def remove(self, stamp: int, job_id: int) -> None:
        """Take a job out; it must be there under this stamp.

        :param stamp: Its stamp in microseconds.
        :param job_id: Its id.
        """
        at = bisect_left(self.entries, (stamp, job_id))
        assert self.entries[at] == (stamp, job_id)
        del self.entries[at]

    def bounds(self, start: int | None, end: int | None) -> tuple[int, int]:
        """Return the half-open range of places whose stamps lie between two stamps, both included.

        :param start: The first stamp; None for the oldest.
        :param end: The last; None for the newest.
        """
        low = 0 if start is None else bisect_left(self.entries, (start, -1))
        high = len(self.entries) if end is None else bisect_right(self.entries, (end, 1 << 62))
        return low, max(low, high)

    def covers(self, start: int | None, end: int | None) -> bool:
        """Say whether every entry lies between two stamps, both included.

        :param start: The first stamp; None for the oldest.
        :param end: The last; None for the newest.
        """
        return self.bounds(start, end) == (0, len(self.entries))


def page(
    entries: list[Entry], low: int, high: int, *, offset: int, limit: int, descending: bool, random: Random
) -> list[int]:
    """Return the job ids of one page, equal stamps in an order that differs from one request to the next.

    Airbyte sorts by one field without a tie-break (``DefaultJobPersistence.getJobOrderBy``), so the database may
    give rows of the same stamp in any order, each time anew.

    :param entries: Sorted pairs.
    :param low: The first place that counts.
    :param high: The place after the last that counts.
    :param offset: Rows to leave out.
    :param limit: Rows at most.
    :param descending: Newest first.
    :param random: Where the order of equal stamps comes from.
    """
    count = min(limit, high - low - offset)
    if count <= 0:
        return []
    first = high - offset - count if descending else low + offset
    last = first + count
    ids = [job_id for _, job_id in entries[first:last]]
    if _has_ties(entries, low, high, first, last):
        ids = _shuffled(entries, low, high, first, last, random)
    return ids[::-1] if descending else ids


def _has_ties(entries: list[Entry], low: int, high: int, first: int, last: int) -> bool:
    stamps = [stamp for stamp, _ in entries[max(low, first - 1) : min(high, last + 1)]]
    return len(set(stamps)) < len(stamps)


def _shuffled(entries: list[Entry], low: int, high: int, first: int, last: int, random: Random) -> list[int]:
    """Shuffle each run of equal stamps that the page touches, as a whole, and take the page's part of it."""
    ids: list[int] = []
    place = first
    while place < last:
        stamp = entries[place][0]
        start = max(low, bisect_left(entries, (stamp, -1)))
        end = min(high, bisect_right(entries, (stamp, 1 << 62)))
        run = [job_id for _, job_id in entries[start:end]]
        if len(run) > 1:
            random.shuffle(run)
        until = min(last, end)
        ids.extend(run[place - start : until - start])
        place = until
    return ids
