"""What a job of the simulator will do: how long it takes, how it ends, what it moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from airbyte_deferrable.simulator.streams import Amount, Stream, evenly, total

PENDING, QUEUED, RUNNING, INCOMPLETE = "pending", "queued", "running", "incomplete"
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"
#: A job that has one of these never changes again (the server returns early "if the job is already terminal").
TERMINAL = frozenset({SUCCEEDED, FAILED, CANCELLED})
STATUSES = frozenset({PENDING, QUEUED, RUNNING, INCOMPLETE}) | TERMINAL

#: Seconds from the end of the last attempt (``incomplete``) to the job's own ``failed`` or ``cancelled``.
CLOSING = 0.05

#: What a job moves when nothing is said.
ROWS, BYTES = 1000, 100_000


@dataclass(frozen=True)
class Attempt:
    """One of Airbyte's own attempts inside a job.

    :param duration: Seconds it runs.
    :param outcome: ``succeeded``, ``failed``, ``cancelled``; None runs until told otherwise.
    :param failure: Why it failed: ``failureOrigin``, ``failureType``, ``externalMessage``, ``internalMessage``,
        ``stacktrace``, each optional; the script's failure when left out.
    :param output: Whether it leaves an output behind, without which the config API knows nothing of its rows; when left
        out, one that succeeds does and any other does not.
    """

    duration: float = 1.0
    outcome: str | None = FAILED
    failure: Mapping[str, Any] | None = None
    output: bool | None = None

    def __post_init__(self) -> None:
        _check(self.duration, self.outcome)


@dataclass(frozen=True)
class Script:
    """What a job does from its creation to its end.

    :param duration: Seconds that its one attempt runs.
    :param outcome: ``succeeded``, ``failed``, ``cancelled``; None runs until told otherwise.
    :param rows: Rows committed at the end; they grow evenly while an attempt runs. The connection's streams share them
        evenly, unless ``streams`` says more.
    :param bytes: Bytes committed at the end, likewise.
    :param rejected: Rows that the destination refused, likewise.
    :param pending: Seconds before the first attempt starts, or before the job is queued.
    :param queued: Seconds that it waits for capacity, as ``queued``; 0 for a job that need not wait. Airbyte up to
        2.0 has no such status: there the job stays pending.
    :param attempts: The attempts, one after the other, instead of ``duration`` and ``outcome``. The last one's
        outcome is the job's.
    :param retry_backoff: Seconds between a failed attempt and the next; the job is ``incomplete`` meanwhile.
    :param failure: Why it fails, see :class:`Attempt`.
    :param log_lines: What Airbyte's log of each attempt says; a few lines when left out.
    :param statuses: ``(seconds since creation, status)``, in order, instead of everything above that sets a status;
        any status is allowed, also one that no Airbyte has.
    :param streams: What is moved of each stream, instead of ``rows``, ``bytes`` and ``rejected``, which then are their
        sums: ``{"orders": Amount(rows=40, bytes=4000)}``, or the mapping of its parameters. A stream is named by its
        name, or ``namespace.name``. The connection's other streams move nothing.
    :param only: Of which streams a clear or a refresh is, as its users may say in Airbyte's web app; of all when left
        out.
    """

    duration: float = 20.0
    outcome: str | None = SUCCEEDED
    rows: int = ROWS
    bytes: int = BYTES
    pending: float = 0.1
    queued: float = 0.0
    attempts: Sequence[Attempt] = ()
    retry_backoff: float = 0.5
    failure: Mapping[str, Any] | None = None
    log_lines: Sequence[str] = ()
    statuses: Sequence[tuple[float, str]] | None = None
    rejected: int = 0
    streams: Mapping[str, Amount] | None = None
    only: Sequence[str] | None = None

    def __post_init__(self) -> None:
        _check(self.duration, self.outcome)
        if min(self.pending, self.queued, self.retry_backoff) < 0:
            raise ValueError("pending, queued and retry_backoff are seconds, 0 or more")
        if self.statuses is not None and sorted(at for at, _ in self.statuses) != [at for at, _ in self.statuses]:
            raise ValueError("statuses must be in the order of their seconds")
        if self.streams is not None:
            streams = {name: a if isinstance(a, Amount) else Amount(**a) for name, a in self.streams.items()}
            object.__setattr__(self, "streams", streams)
            whole = total(list(streams.values()))
            for name, default in (("rows", ROWS), ("bytes", BYTES), ("rejected", 0)):
                if getattr(self, name) not in (default, getattr(whole, name)):
                    raise ValueError(f"{name} are the sum of the streams': leave them out")
                object.__setattr__(self, name, getattr(whole, name))

    @classmethod
    def read(cls, value: Script | Mapping[str, Any] | None) -> Script:
        """Return the script that a JSON object describes.

        :param value: The object; a script is returned as it is, None is the default script.
        """
        if isinstance(value, Script):
            return value
        known = {field.name for field in fields(cls)}
        given = dict(value or {})
        if unknown := set(given) - known:
            raise ValueError(f"a script has no {', '.join(sorted(unknown))}")
        given["attempts"] = tuple(a if isinstance(a, Attempt) else Attempt(**a) for a in given.get("attempts") or ())
        if given.get("statuses") is not None:
            given["statuses"] = tuple((float(at), str(status)) for at, status in given["statuses"])
        return cls(**given)

    @cached_property
    def timeline(self) -> tuple[tuple[float, str], ...]:
        """The statuses after ``pending``, each with its seconds since the job's creation."""
        if self.statuses is not None:
            return tuple((at, status) for at, status in self.statuses)
        steps: list[tuple[float, str]] = []
        now = self.pending
        if self.queued:
            steps.append((now, QUEUED))
            now += self.queued
        attempts = self.attempts or (Attempt(self.duration, self.outcome),)
        for attempt in attempts:
            steps.append((now, RUNNING))
            if attempt.outcome is None:
                return tuple(steps)
            now += attempt.duration
            if attempt.outcome == SUCCEEDED:
                return (*steps, (now, SUCCEEDED))
            steps.append((now, INCOMPLETE))
            if attempt.outcome == CANCELLED:
                return (*steps, (now + CLOSING, CANCELLED))
            now += self.retry_backoff
        return (*steps, (now - self.retry_backoff + CLOSING, FAILED))

    @cached_property
    def running_seconds(self) -> float:
        """How long its attempts run in all: what rows and bytes grow over."""
        if self.statuses is None:
            return sum(attempt.duration for attempt in self.attempts) if self.attempts else self.duration
        total, since = 0.0, None
        for at, status in self.statuses:
            if status == RUNNING and since is None:
                since = at
            elif since is not None and (status == INCOMPLETE or status in TERMINAL):
                total, since = total + at - since, None
        return total or self.duration

    def amounts(self, streams: Sequence[Stream]) -> tuple[Amount, ...]:
        """Return what is moved of each stream.

        :param streams: The connection's, in their order.
        """
        if not streams:
            return ()
        if self.streams is None:
            return evenly(Amount(self.rows, self.bytes, self.rejected), len(streams))
        return tuple(self.streams.get(each.key, self.streams.get(each.name, Amount())) for each in streams)

    def picked(self, streams: Sequence[Stream]) -> list[Stream]:
        """Return those of which a clear or a refresh is.

        :param streams: The connection's, in their order.
        """
        return [each for each in streams if self.only is None or {each.key, each.name} & set(self.only)]

    def check_streams(self, streams: Sequence[Stream]) -> None:
        """Make sure that all streams it names are there.

        :param streams: The connection's.
        :raises ValueError: For one that is not, or a name that two of them have.
        """
        for name in (*(self.streams or ()), *(self.only or ())):
            found = [each.key for each in streams if name in (each.key, each.name)]
            if not found:
                there = ", ".join(each.key for each in streams) or "none"
                raise ValueError(f"the connection has no stream {name!r}; it has {there}")
            if len(found) > 1:
                raise ValueError(f"{name!r} may be each of {', '.join(found)}: say which")

    def has_output(self, attempt: int, status: str) -> bool:
        """Say whether an attempt left an output behind.

        :param attempt: Its number, from 0.
        :param status: How it ended: ``succeeded`` or ``failed``.
        """
        told = self.attempts[attempt].output if attempt < len(self.attempts) else None
        return status == SUCCEEDED if told is None else told

    def failure_of(self, attempt: int) -> dict[str, Any]:
        """Return why an attempt failed, with defaults for what the script leaves open.

        :param attempt: Its number, from 0.
        """
        default = {
            "failureOrigin": "source",
            "failureType": "system_error",
            "externalMessage": "Something went wrong within the source connector",
            "internalMessage": "java.lang.RuntimeException: the source connector stopped",
        }
        own = self.attempts[attempt].failure if attempt < len(self.attempts) else None
        given = own if own is not None else self.failure
        return dict(given) if given is not None else default


def _check(duration: float, outcome: str | None) -> None:
    if duration < 0:
        raise ValueError(f"duration is seconds, 0 or more, not {duration}")
    if outcome is not None and outcome not in TERMINAL:
        raise ValueError(f"outcome is one of {', '.join(sorted(TERMINAL))} or None, not {outcome!r}")
