"""How long an Airbyte that gives no answer is asked again, and what the task's log says of it."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay

from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable.api.errors import ApiError, Unreachable

T = TypeVar("T")

#: Seconds after which Airbyte is asked again whether there really is no such job, or connection.
CONFIRM_NOT_FOUND_AFTER = 1.0

#: What a task that waits for its job says of an outage.
WAITS_ON = "Airbyte cannot be asked now. The job may well go on, so this task waits on"
#: The same of a task that waits for whichever job of a connection.
SYNCS_GO_ON = "Airbyte cannot be asked now. The connection's syncs may well go on, so this task waits on"
RECOVERED = "Airbyte answers again"


class Outage:
    """Says once that something cannot be had, and once that it can again.

    :param begins: What is said when it begins; the error follows.
    :param ends: What is said when it is over; how long it lasted follows.
    """

    __slots__ = ("_began", "_begins", "_ends", "_log")

    def __init__(self, log: Log, begins: str, ends: str = RECOVERED) -> None:
        self._log = log
        self._begins = begins
        self._ends = ends
        self._began: float | None = None

    @property
    def lasts(self) -> bool:
        """Whether there is one."""
        return self._began is not None

    @property
    def seconds(self) -> float:
        """For how long it has lasted; 0 if there is none."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    def failed(self, error: Exception) -> None:
        """Take note that it could not be had."""
        if self._began is None:
            self._began = time.monotonic()
            self._log.warning("%s: %s", self._begins, error)

    def recovered(self) -> None:
        """Take note that it could be had."""
        if self._began is not None:
            self._log.info("%s after %.0f s", self._ends, self.seconds)
            self._began = None


@dataclass(frozen=True)
class SubmitPolicy:
    """How long a submission goes on while Airbyte gives no answer that counts. Seconds.

    :param settle: How long a job is looked for whose create got no answer that counts, before it is certain that
        none was made. Airbyte gives its own answer up after 60 s.
    :param unreachable: How long an Airbyte that cannot be reached is asked the same again. It may need as long for a
        single create.
    :param pause: The longest pause between two requests.
    :param unlisted: How long a list of jobs is asked for that gives no answer, until a sync is started without it
        because Airbyte answers otherwise.
    """

    settle: float = 75.0
    unreachable: float = 300.0
    pause: float = 10.0
    unlisted: float = 30.0

    def pauses(self) -> Iterator[float]:
        """Yield pauses that grow, with jitter, so that many tasks do not come back at once."""
        longest = min(1.0, self.pause)
        while True:
            yield longest * random.uniform(0.5, 1.0)
            longest = min(longest * 2, self.pause)

    async def retry(self, ask: Callable[[], Awaitable[T]], log: Log) -> T:
        """Ask until Airbyte answers, or for so long that the task had better fail.

        :param ask: Asks once. What it asks must be safe to ask again.
        :param log: The task's log; gets a line when an outage begins, and one when it is over.
        :raises airbyte_deferrable.api.errors.ApiError: What Airbyte says, or why there is no answer.
        """
        pauses = self.pauses()
        outage = Outage(log, "Airbyte cannot be asked now, trying again")

        def pause(state: RetryCallState) -> float:
            error = _error_of(state)
            return max(retry_after(error), next(pauses))

        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Unreachable),
            wait=pause,
            stop=stop_before_delay(self.unreachable),
            before_sleep=lambda state: outage.failed(_error_of(state)),
            reraise=True,
        ):
            with attempt:
                answer = await ask()
        outage.recovered()
        return answer


def retry_after(error: BaseException) -> float:
    """Return the seconds for which a server wants to be left alone; 0 if it does not say."""
    return (error.retry_after or 0.0) if isinstance(error, Unreachable) else 0.0


def _error_of(state: RetryCallState) -> ApiError:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, ApiError), "asked only after one"
    return error
