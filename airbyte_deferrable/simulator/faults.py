"""Trouble that can be switched on: errors, delays, dropped connections, lost answers, garbage."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Literal, get_args

Kind = Literal["status", "latency", "drop", "lost_answer", "garbage", "html", "hang", "reset_token"]


@dataclass(frozen=True)
class Fault:
    """One kind of trouble for some requests.

    :param call: Which calls: ``token``, ``create``, ``get``, ``list``, ``cancel``, ``health``, ``connection``,
        ``connections``, ``patch_connection``, ``source``, ``sources``, ``destination``, ``destinations``,
        ``workspace``, ``workspaces``, ``tags``, ``config`` (every config API call) or one of these as
        ``config:jobs/get_without_logs``; ``*`` for every call.
    :param kind: ``status``: answered with an error, the request is not carried out. ``latency``: ``seconds`` later than
        usual. ``drop``: the connection closes without an answer, the request is not carried out. ``lost_answer``: the
        request **is** carried out, then the connection closes; with ``seconds`` the answer comes that much later, with
        ``status`` it is that error instead. ``garbage``: 200 with broken JSON, not carried out. ``html``: a page of
        nginx, 502 unless ``status`` says otherwise, not carried out. ``hang``: no answer until the fault is cleared or
        the client leaves, not carried out. ``reset_token``: all tokens end now, the request goes on.
    :param status: The HTTP status of ``status`` (503 by default), ``html`` and ``lost_answer``.
    :param times: How many requests it hits; None for all until it is cleared.
    :param every: Hits each so-manyth request: 2 is every second one.
    :param rate: Hits a request with this probability.
    :param seconds: For ``latency`` and ``lost_answer``.
    :param connection_id: Only requests about this Airbyte connection (create, list, get and cancel of its jobs).
    :param job_id: Only requests about this job (get, cancel).
    :param body: The answer's body instead of the usual one.
    :param headers: Headers of the answer, such as ``Retry-After``.
    """

    call: str = "*"
    kind: Kind = "status"
    status: int | None = None
    times: int | None = None
    every: int = 1
    rate: float = 1.0
    seconds: float = 0.0
    connection_id: str | None = None
    job_id: int | None = None
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"a fault's kind is one of {', '.join(get_args(Kind))}, not {self.kind!r}")
        if self.every < 1:
            raise ValueError(f"every is 1 or more, not {self.every}")

    def concerns(self, call: str, connection_id: str | None, job_id: int | None) -> bool:
        """Say whether it is for such a request.

        :param call: What is asked for.
        :param connection_id: Whose connection's job it is about, if any.
        :param job_id: Which job it is about, if any.
        """
        if self.call not in ("*", call) and not (self.call == "config" and call.startswith("config:")):
            return False
        if self.connection_id is not None and self.connection_id != connection_id:
            return False
        return self.job_id is None or self.job_id == job_id


@dataclass
class _Active:
    id: int
    fault: Fault
    met: int = 0
    hits: int = 0


class Faults:
    """The faults that are switched on.

    :param random: Decides for faults with a rate.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._active: dict[int, _Active] = {}
        self._ids = 0

    def add(self, fault: Fault) -> int:
        """Switch a fault on and return its number.

        :param fault: The fault.
        :return: Its number.
        """
        self._ids += 1
        self._active[self._ids] = _Active(self._ids, fault)
        return self._ids

    def clear(self, fault_id: int | None = None) -> None:
        """Switch off one fault, or all.

        :param fault_id: Its number; None for all.
        """
        if fault_id is None:
            self._active.clear()
        else:
            self._active.pop(fault_id, None)

    def is_on(self, fault_id: int) -> bool:
        """Say whether a fault has not been cleared.

        :param fault_id: Its number.
        """
        return fault_id in self._active

    def hits(self, call: str, connection_id: str | None, job_id: int | None) -> list[tuple[int, Fault]]:
        """Return the faults that hit this request: any number of delays and token resets, at most one of the rest.

        :param call: What is asked for.
        :param connection_id: Whose connection's job it is about, if any.
        :param job_id: Which job it is about, if any.
        """
        hits: list[tuple[int, Fault]] = []
        for active in self._active.values():
            fault = active.fault
            passes = fault.kind in ("latency", "reset_token")
            if not fault.concerns(call, connection_id, job_id):
                continue
            if not passes and any(hit.kind not in ("latency", "reset_token") for _, hit in hits):
                continue
            active.met += 1
            if fault.times is not None and active.hits >= fault.times:
                continue
            if active.met % fault.every or (fault.rate < 1.0 and self._random.random() >= fault.rate):
                continue
            active.hits += 1
            hits.append((active.id, fault))
        return hits

    def all(self) -> list[dict[str, Any]]:
        """Return the faults with how often each was met and did hit."""
        return [{"id": a.id, **asdict(a.fault), "met": a.met, "hits": a.hits} for a in self._active.values()]
