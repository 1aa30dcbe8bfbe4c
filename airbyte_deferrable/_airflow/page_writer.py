"""What this triggerer's watchers know, left for the page now and then.

One task of the event loop does it for all that wait there, at most each half a minute, only in a triggerer, and only if
there is a page. What takes time is done beside the loop or in slices, and nothing that goes wrong here is anybody's
trouble but a line in the triggerer's log.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from airbyte_deferrable._airflow import page_record
from airbyte_deferrable._airflow.credentials import conn_ids_of
from airbyte_deferrable._airflow.off_loop import TaskLog, in_thread
from airbyte_deferrable._airflow.page_record import INDEX, PREFIX, Health, JobFacts, Told
from airbyte_deferrable._airflow.page_setting import page_is_wanted
from airbyte_deferrable._airflow.variables import variables
from airbyte_deferrable._job.retrying import Outage
from airbyte_deferrable._watcher.loop import JobWatcher, watchers_here
from airbyte_deferrable._watcher.subscriptions import SubscribedJob
from airbyte_deferrable.api.aio import PerLoop

#: Seconds between two records.
EVERY = 30.0
#: Seconds from the first wait to the first record: the jobs of tasks that come together are in it.
FIRST_AFTER = 5.0
#: A record may take one part in so many of the time.
SELDOM = 20.0
#: Jobs of one Airbyte in a record at most, and names of its connections.
MOST_JOBS = 5000
MOST_NAMES = 5000
#: So many jobs or names are read in one round of the event loop.
READ_AT_ONCE = 200
#: Seconds after which another process may delete a record that has not been renewed: how jobs stand, and what
#: connections are called, which the page wants for what has ended in the last day.
WAITS_KEPT, NAMES_KEPT = 3600.0, 26 * 3600.0
#: Seconds after which it is said again that they are still of use.
INDEX_EVERY = 600.0
#: Records that are known of at most; the oldest are deleted first.
MOST_INDEXED = 100

log = logging.getLogger(__name__)


def write_for_the_page() -> None:
    """Have what this event loop's watchers know written from now on, as long as anything waits."""
    _writers.here().start()


def in_a_triggerer() -> bool:
    """Tell whether this process is a triggerer's: ``dag.test()`` runs triggers, too, with nobody to look at a page."""
    try:
        from airflow.sdk.execution_time import task_runner
    except ImportError:  # Airflow 2
        return False
    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    return type(comms).__name__ == "TriggerCommsDecoder"


@dataclass
class _Looks:
    """What was learned of one watcher's jobs by the time of the last records.

    :param requests: How many requests it had sent.
    :param at: When, by the loop's time; None before the first.
    :param figures: Of each job: when an answer named it, rows and bytes, and the rates that followed from two of them.
    :param names: What was written of connections.
    :param parts: How many texts of each kind there are.
    :param waited: Whether anything waited.
    :param written_at: When, seconds since the epoch.
    """

    requests: int = 0
    at: float | None = None
    figures: dict[int, _Figures] = field(default_factory=dict)
    names: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    names_at: float = 0.0
    parts: dict[str, int] = field(default_factory=dict)
    waited: bool = False
    written_at: float = 0.0


@dataclass(frozen=True)
class _Figures:
    seen_at: float
    rows: int | None
    bytes: int | None
    rows_per_second: float | None = None
    bytes_per_second: float | None = None

    def then(self, job: SubscribedJob) -> _Figures:
        """Return what another look tells."""
        assert job.job is not None, "only jobs that were seen"
        assert job.seen_at is not None, "only jobs that were seen"
        rows, size, passed = job.job.rows_synced, job.job.bytes_synced, job.seen_at - self.seen_at
        if passed <= 0:
            return self
        return _Figures(job.seen_at, rows, size, _rate(self.rows, rows, passed), _rate(self.bytes, size, passed))


class PageWriter:
    """Writes the records of one event loop.

    :param wanted: Whether they are wanted; asked once.
    :param store: Keeps and deletes texts. Default: Airflow's Variables.
    :param every: Seconds between two records.
    :param first_after: Seconds from the first wait to the first record.
    """

    def __init__(
        self,
        wanted: Callable[[], bool],
        store: Store | None = None,
        *,
        every: float = EVERY,
        first_after: float = FIRST_AFTER,
    ) -> None:
        self._wanted = wanted
        self._store = store or Store()
        self._every = every
        self._first_after = first_after
        self._is_wanted: bool | None = None
        self._task: asyncio.Task[None] | None = None
        #: Tells this process, and this event loop of it, from all others.
        self._process = uuid.uuid4().hex[:12]
        self._looks: dict[JobWatcher, _Looks] = {}
        self._numbers: dict[JobWatcher, int] = {}
        #: What the index says of the records here, and since when.
        self._indexed: dict[str, int] = {}
        self._index_at = 0.0
        self._outage = Outage(
            TaskLog(log),
            "Airflow does not take down what the Airbyte page shows of running syncs, and is asked again",
            "Airflow takes down what the Airbyte page shows again",
        )

    def start(self) -> None:
        """Write from now on, unless that is being done."""
        if self._is_wanted is None:
            self._is_wanted = self._wanted()
        if self._is_wanted and self._task is None:
            # An empty context: these lines belong to no task.
            self._task = contextvars.Context().run(asyncio.create_task, self._run())

    async def _run(self) -> None:
        try:
            await asyncio.sleep(self._first_after)
            began = time.monotonic()
            while await self._write_all():
                # A secrets backend of the user's own is asked before each Variable is written, and what triggers ask of
                # Airflow waits for it: where it is slow, it is seldom.
                await asyncio.sleep(max(self._every, SELDOM * (time.monotonic() - began)))
                began = time.monotonic()
        finally:
            # Whoever waits from here on starts it again.
            self._task = None

    async def _write_all(self) -> bool:
        """Write a record for each Airbyte at which anything waits, or has waited until now.

        :return: Whether there is anything more to write.
        """
        going_on, failed = False, False
        for watcher in watchers_here():
            looks = self._looks.setdefault(watcher, _Looks())
            waits = bool(watcher.waiting or watcher.watching)
            if waits or looks.waited:
                try:
                    await self._write(watcher, looks)
                    await self._renew_index()
                    looks.waited = waits
                except Exception as error:
                    self._outage.failed(error)
                    failed = True
                going_on = True
        if going_on and not failed:
            self._outage.recovered()
        return going_on

    async def _write(self, watcher: JobWatcher, looks: _Looks) -> None:
        jobs = await self._read_jobs(watcher, looks)
        looks.written_at = time.time()
        head = Told(
            host=socket.gethostname(),
            process=self._process,
            conn_ids=conn_ids_of(watcher.client.settings),
            written_at=round(time.time(), 1),
            health=_health(watcher, looks),
        )
        # The directory forgets all once an hour, and learns again what is wanted again.
        names = dict(looks.names)
        for number, (each, about) in enumerate(islice(watcher.directory.known(), MOST_NAMES), 1):
            names.pop(each, None)
            names[each] = (about.name, about.source, about.destination)
            if number % READ_AT_ONCE == 0:
                await asyncio.sleep(0)
        names = dict(list(names.items())[-MOST_NAMES:])
        # Compressing them takes some 20 ms for a thousand jobs.
        await self._keep(watcher, "waits", await asyncio.to_thread(page_record.texts_of_waits, head, jobs), looks)
        if names and (names != looks.names or head.written_at - looks.names_at > NAMES_KEPT / 4):
            texts = await asyncio.to_thread(page_record.texts_of_names, head, names)
            await self._keep(watcher, "names", texts, looks)
            looks.names, looks.names_at = names, head.written_at

    async def _read_jobs(self, watcher: JobWatcher, looks: _Looks) -> list[JobFacts]:
        now, wall = watcher.now(), time.time()
        found: list[JobFacts] = []
        figures: dict[int, _Figures] = {}
        for number, each in enumerate(watcher.jobs):
            if number % READ_AT_ONCE == READ_AT_ONCE - 1:
                await asyncio.sleep(0)
            if each.job is None or each.seen_at is None or each.over:
                continue
            if len(found) >= MOST_JOBS:
                break
            before = looks.figures.get(each.job_id)
            known = before.then(each) if before else _Figures(each.seen_at, each.job.rows_synced, each.job.bytes_synced)
            figures[each.job_id] = known
            created_at = each.job.created_at
            found.append(
                JobFacts(
                    each.job_id,
                    each.job.connection_id,
                    each.job.status,
                    created_at.timestamp() if created_at is not None else None,
                    each.job.rows_synced,
                    each.job.bytes_synced,
                    known.rows_per_second,
                    known.bytes_per_second,
                    round(wall - (now - each.seen_at), 1),
                    each.attempt,
                )
            )
        looks.figures = figures
        return found

    async def _keep(self, watcher: JobWatcher, kind: str, texts: list[str], looks: _Looks) -> None:
        begin = self._name(watcher, kind)
        before = looks.parts.get(kind, 0)
        looks.parts[kind] = max(before, len(texts))
        for number, text in enumerate(texts):
            # One after the other, so that what triggers ask of Airflow comes between them.
            await in_thread(self._store.set, f"{begin}{number}", text)
        for number in range(len(texts), before):
            await in_thread(self._store.delete, f"{begin}{number}")
        looks.parts[kind] = len(texts)

    def _name(self, watcher: JobWatcher, kind: str) -> str:
        number = self._numbers.setdefault(watcher, len(self._numbers))
        return f"{PREFIX}{self._process}_{number}_{kind}_"

    async def _renew_index(self) -> None:
        """Say which records there are, and delete those that nobody has renewed for long."""
        now = time.time()
        # One whose credentials have been rotated is another watcher since.
        self._looks = {each: looks for each, looks in self._looks.items() if now - looks.written_at < NAMES_KEPT}
        here = {
            self._name(watcher, kind): count
            for watcher, looks in self._looks.items()
            for kind, count in looks.parts.items()
            if now - looks.written_at < _kept(kind)
        }
        if here == self._indexed and now - self._index_at < INDEX_EVERY:
            return
        known = _index_of(await in_thread(self._store.get, INDEX))
        index = {**known, **{name: [count, now + _kept(name)] for name, count in here.items()}}
        renewed_last = sorted(index, key=lambda each: index[each][1] - _kept(each), reverse=True)
        kept = renewed_last[:MOST_INDEXED]
        gone = [each for each in index if each not in here and (each not in kept or index[each][1] < now)]
        for each in gone:
            for number in range(int(index[each][0])):
                await in_thread(self._store.delete, f"{each}{number}")
            del index[each]
        await in_thread(self._store.set, INDEX, json.dumps(index))
        self._indexed, self._index_at = here, now


class Store:
    """Airflow's Variables. All methods block."""

    def get(self, name: str) -> Any:
        """Return a text; None if there is none."""
        return variables().get(name, None)

    def set(self, name: str, text: str) -> None:
        """Keep a text."""
        variables().set(name, text)

    def delete(self, name: str) -> None:
        """Delete a text, if it is there."""
        variables().delete(name)


def _kept(name: str) -> float:
    """Return for how many seconds a record counts, by its name or kind."""
    return NAMES_KEPT if name.endswith(("names", "names_")) else WAITS_KEPT


def _index_of(text: Any) -> dict[str, list[float]]:
    """Return which records there are; none for what was changed by hand."""
    try:
        found = json.loads(text or "{}")
        return {
            str(name): [min(int(count), 1000), float(until)]
            for name, (count, until) in found.items()
            # Nothing else is ever deleted.
            if str(name).startswith(PREFIX)
        }
    except (ValueError, TypeError, AttributeError):
        return {}


def _health(watcher: JobWatcher, looks: _Looks) -> Health:
    now, wall = watcher.now(), time.time()
    requests, before, at = watcher.client.requests, looks.requests, looks.at
    looks.requests, looks.at = requests, now
    outages: Iterable[Any] = (watcher.outage, watcher.lists_outage)
    outage = next((each for each in outages if each is not None and each.lasts), None)
    heard_at = watcher.heard_at
    whole = outage is not None and outage is watcher.outage
    return Health(
        reachable=not whole,
        since=round(wall - (now - outage.since), 1) if whole and outage is not None else None,
        requests_per_minute=None if at is None or now <= at else round(60 * (requests - before) / (now - at), 1),
        answered_seconds_ago=None if heard_at is None else round(max(0.0, now - heard_at), 1),
        waiting=watcher.waiting + watcher.watching,
        trouble=page_record.trouble(str(outage.error)) if outage is not None else None,
    )


def _rate(before: int | None, now: int | None, seconds: float) -> float | None:
    if before is None or now is None or now < before:
        return None
    return round((now - before) / seconds, 2)


_writers = PerLoop(lambda: PageWriter(lambda: page_is_wanted() and in_a_triggerer()))
