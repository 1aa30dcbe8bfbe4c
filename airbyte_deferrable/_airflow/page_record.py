"""What a triggerer leaves for the page: how its jobs stand, what connections are called, and how each Airbyte does.

Airflow has no place that a triggerer can write to and its API server read but Variables (3.1 and 3.2) that does not
belong to one task or asset, whose readers would then read of all others. A Variable is encrypted. A text is compressed:
each Variable is a call to Airflow, one after the other for all triggers of a process, and 500 jobs fit into one instead
of 150. Each text stands for itself, so that one that is read while the next is being written does no harm.
"""

from __future__ import annotations

import json
import zlib
from base64 import b85decode, b85encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: The beginning of the names of all Variables here.
PREFIX = "airbyte_deferrable__page__"
#: The Variable that says which others there are, for they are to be deleted some day.
INDEX = f"{PREFIX}index"
#: Characters of one text at most: MySQL's smallest text holds 65,535 bytes, and Airflow's encryption adds a third.
LARGEST = 45_000
#: Rows of one text at most, before it is compressed.
ROWS = 500
#: Characters of a text of Airbyte's at most.
LONGEST_NAME = 120
LONGEST_TROUBLE = 300
#: Tells a text of this form from those of later versions.
FORM = "1:"
#: A text that becomes larger than this is none of ours.
LARGEST_DECODED = 4_000_000


@dataclass(frozen=True)
class JobFacts:
    """How a job stood when an answer named it last. What is not known is None.

    :param job_id: The job.
    :param connection_id: Its connection; empty if Airbyte did not say.
    :param status: Its status.
    :param created_at: When it was created, seconds since the epoch.
    :param rows: Rows that were committed so far.
    :param bytes: Likewise bytes.
    :param rows_per_second: How many came each second between the last two answers that brought figures.
    :param bytes_per_second: Likewise bytes.
    :param seen_at: When the answer came, seconds since the epoch.
    :param attempts: Which of Airbyte's attempts it is in.
    """

    job_id: int
    connection_id: str
    status: str
    created_at: float | None = None
    rows: int | None = None
    bytes: int | None = None
    rows_per_second: float | None = None
    bytes_per_second: float | None = None
    seen_at: float | None = None
    attempts: int | None = None


@dataclass(frozen=True)
class Health:
    """How the wait at one Airbyte does.

    :param reachable: Whether it answers.
    :param since: Since when it does not, seconds since the epoch; None if it does.
    :param requests_per_minute: Requests since the record before; None in the first.
    :param answered_seconds_ago: Seconds from its last answer to this record; None before the first.
    :param waiting: How many jobs are waited for, and connections watched.
    :param trouble: What is wrong; None if nothing is.
    """

    reachable: bool = True
    since: float | None = None
    requests_per_minute: float | None = None
    answered_seconds_ago: float | None = None
    waiting: int = 0
    trouble: str | None = None


@dataclass(frozen=True)
class Told:
    """One text of a record.

    :param host: The triggerer's host.
    :param process: Tells its process from others.
    :param conn_ids: The Airflow connections that lead to the Airbyte.
    :param written_at: Seconds since the epoch.
    :param health: Only in the first text of a record.
    :param jobs: Jobs that are waited for.
    :param names: What connections are called, by their ids: name, source, destination.
    """

    host: str
    process: str
    conn_ids: tuple[str, ...]
    written_at: float
    health: Health | None = None
    jobs: tuple[JobFacts, ...] = ()
    names: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)


def texts_of_waits(head: Told, jobs: Sequence[JobFacts]) -> list[str]:
    """Return the texts that tell how jobs stand; at least one.

    :param head: What they have in common; its health goes into the first.
    :param jobs: The jobs.
    """
    rows = [list(asdict(job).values()) for job in jobs]
    health = asdict(head.health) if head.health is not None else None
    first = {**_head(head), "health": health}
    return list(_texts(first, _head(head), "jobs", rows)) or [_encoded(first)]


def texts_of_names(head: Told, names: Mapping[str, tuple[str, str, str]]) -> list[str]:
    """Return the texts that tell what connections are called.

    :param head: What they have in common.
    :param names: Name, source and destination by the connection's id.
    """
    rows = [[each, *(_cut(part, LONGEST_NAME) for part in parts)] for each, parts in names.items()]
    return list(_texts(_head(head), _head(head), "names", rows))


def read(text: str) -> Told | None:
    """Return what a text says; None if it is none of ours, or of a later form.

    :param text: The text.
    """
    if not text.startswith(FORM):
        return None
    try:
        decompressor = zlib.decompressobj()
        body = decompressor.decompress(b85decode(text[len(FORM) :]), LARGEST_DECODED)
        told = json.loads(body)
        health = told.get("health")
        return Told(
            host=str(told["host"]),
            process=str(told["process"]),
            conn_ids=tuple(map(str, told["conn_ids"])),
            written_at=float(told["at"]),
            health=Health(**health) if health else None,
            jobs=tuple(JobFacts(*row) for row in told.get("jobs", ())),
            names={str(key): (str(name), str(source), str(to)) for key, name, source, to in told.get("names", ())},
        )
    except (ValueError, TypeError, KeyError, zlib.error, RecursionError):
        return None


def trouble(words: str) -> str:
    """Return an error's words, shortened.

    :param words: They hold no secret: see :class:`~airbyte_deferrable.api.errors.ApiError`.
    """
    return _cut(words, LONGEST_TROUBLE)


def _head(told: Told) -> dict[str, Any]:
    return {"host": told.host, "process": told.process, "conn_ids": list(told.conn_ids), "at": told.written_at}


def _texts(first: dict[str, Any], further: dict[str, Any], key: str, rows: Sequence[Any]) -> Iterator[str]:
    head = first
    for some in _slices(rows, ROWS):
        text = _encoded({**head, key: some})
        if len(text) > LARGEST and len(some) > 1:
            half = (len(some) + 1) // 2
            for part in _slices(some, half):
                yield from _texts(head, further, key, part)
                head = further
            continue
        if len(text) <= LARGEST:
            yield text
        head = further


def _slices(rows: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _encoded(value: Mapping[str, Any]) -> str:
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    return FORM + b85encode(zlib.compress(body, 6)).decode()


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
