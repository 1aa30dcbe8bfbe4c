"""The table of all jobs, and the indexes by which a page of it is found."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from airbyte_deferrable.simulator.index import Index, page
from airbyte_deferrable.simulator.records import Job


@dataclass(frozen=True)
class Query:
    """A page of the job list. Stamps are microseconds, bounds are included.

    :param kinds: Stored kinds of job; None for all.
    :param statuses: None for all.
    :param descending: Newest first.
    """

    connection_id: str | None = None
    workspace_ids: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    statuses: frozenset[str] | None = None
    created_start: int | None = None
    created_end: int | None = None
    updated_start: int | None = None
    updated_end: int | None = None
    by_update: bool = False
    descending: bool = False
    limit: int = 20
    offset: int = 0


class JobTable:
    """All jobs of an Airbyte.

    :param random: Where the order of equal stamps comes from.
    """

    def __init__(self, random: Random) -> None:
        self.by_id: dict[int, Job] = {}
        self._random = random
        self._kinds: Counter[str] = Counter()
        self._by_creation = Index()
        self._by_change = Index()
        self._by_status: dict[str, tuple[Index, Index]] = defaultdict(lambda: (Index(), Index()))
        #: What narrowed lists had in them, until the next change: the pages of one sweep are asked for in a row.
        self._found: dict[Query, Index] = {}

    def insert(self, job: Job) -> None:
        """Put a new job in.

        :param job: The job.
        """
        self.by_id[job.id] = job
        self._kinds[job.kind] += 1
        self._by_creation.add(job.created, job.id)
        self.enter(job)

    def delete(self, job: Job) -> None:
        """Take a job out for good.

        :param job: The job.
        """
        self.leave(job)
        self._by_creation.remove(job.created, job.id)
        self._kinds[job.kind] -= 1
        del self.by_id[job.id]

    def enter(self, job: Job) -> None:
        """Put a job in as it is from now on.

        :param job: The job.
        """
        self._found.clear()
        created, updated = self._by_status[job.status]
        created.add(job.created, job.id)
        updated.add(job.updated, job.id)
        self._by_change.add(job.updated, job.id)

    def leave(self, job: Job) -> None:
        """Take a job out, to change it and put it in again.

        :param job: The job.
        """
        self._found.clear()
        created, updated = self._by_status[job.status]
        created.remove(job.created, job.id)
        updated.remove(job.updated, job.id)
        self._by_change.remove(job.updated, job.id)

    def page(self, query: Query, among: Sequence[int] | None = None) -> list[Job]:
        """Return the jobs of one page.

        :param query: Which; its connection is not looked at.
        :param among: The ids of the jobs that count; None for all.
        """
        index, low, high = self._select(query, among)
        ids = page(
            index.entries,
            low,
            high,
            offset=query.offset,
            limit=query.limit,
            descending=query.descending,
            random=self._random,
        )
        return [self.by_id[job_id] for job_id in ids]

    def count(self, query: Query, among: Sequence[int] | None = None) -> int:
        """Return how many jobs there are on all pages.

        :param query: Which; its connection is not looked at.
        :param among: The ids of the jobs that count; None for all.
        """
        _, low, high = self._select(query, among)
        return high - low

    def _select(self, query: Query, among: Sequence[int] | None) -> tuple[Index, int, int]:
        """Return an index whose places from the second to the third value are the query's rows, in its order."""
        created = (query.created_start, query.created_end)
        updated = (query.updated_start, query.updated_end)
        statuses, kinds, workspaces = query.statuses, query.kinds, query.workspace_ids
        if kinds is not None and kinds.issuperset(kind for kind, count in self._kinds.items() if count):
            kinds = None

        if among is not None:
            jobs = [self.by_id[i] for i in among]
        else:
            by_created, by_updated = self._by_creation, self._by_change
            if statuses is not None and len(statuses) == 1:
                by_created, by_updated = self._by_status[next(iter(statuses))]
                statuses = None
            if by_created.covers(*created):
                created = (None, None)
            if by_updated.covers(*updated):
                updated = (None, None)
            ordered, other = (updated, created) if query.by_update else (created, updated)
            index = by_updated if query.by_update else by_created
            if statuses is None and kinds is None and workspaces is None and other == (None, None):
                return index, *index.bounds(*ordered)
            key = replace(query, limit=0, offset=0)
            if (found := self._found.get(key)) is not None:
                return found, 0, len(found.entries)
            narrow, range_ = (by_created, created) if updated == (None, None) else (by_updated, updated)
            low, high = narrow.bounds(*range_)
            jobs = [self.by_id[i] for _, i in narrow.entries[low:high]]
            if narrow is by_updated:
                updated = (None, None)
            else:
                created = (None, None)

        filters: list[tuple[frozenset[str] | None, Callable[[Job], str]]] = [
            (statuses, lambda job: job.status),
            (kinds, lambda job: job.kind),
            (workspaces, lambda job: job.connection.workspace_id),
        ]
        for wanted, part in filters:
            if wanted is not None:
                jobs = [job for job in jobs if part(job) in wanted]
        if created != (None, None):
            low, high = _bounds(created)
            jobs = [job for job in jobs if low <= job.created <= high]
        if updated != (None, None):
            low, high = _bounds(updated)
            jobs = [job for job in jobs if low <= job.updated <= high]

        found = Index()
        found.entries = sorted([(job.updated if query.by_update else job.created, job.id) for job in jobs])
        if among is None:
            self._found[key] = found
        return found, 0, len(found.entries)


def _bounds(range_: tuple[int | None, int | None]) -> tuple[int, int]:
    start, end = range_
    return -1 if start is None else start, 1 << 62 if end is None else end
