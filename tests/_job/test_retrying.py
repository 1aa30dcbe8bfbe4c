"""An Airbyte that gives no answer is asked again for a while, and that is said once, and once when it is over."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from airbyte_deferrable._job.retrying import Outage, SubmitPolicy
from airbyte_deferrable.api.errors import ApiError, Forbidden, Unreachable
from helpers.one_task import kept_log, said

AWAY = Unreachable("GET /jobs/7", status=503)
SHORT = SubmitPolicy(unreachable=20.0, pause=0.01)


def answers(*what: ApiError | str) -> tuple[Callable[[], Coroutine[Any, Any, str]], list[ApiError | str]]:
    """Return what answers so, one after the other, and what is left to be answered."""
    left = list(what)

    async def ask() -> str:
        answer = left.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    return ask, left


def test_outage_and_its_end_are_said_once_each() -> None:
    log, lines = kept_log()
    outage = Outage(log, "It is away", "It is back")
    outage.recovered()
    assert not outage.lasts
    for _ in range(2):
        for error in ("first", "second"):
            outage.failed(ValueError(error))
            assert outage.lasts
        outage.recovered()
        outage.recovered()
    assert [line.rpartition(" after ")[0] or line for line in lines] == ["It is away: first", "It is back"] * 2


async def test_airbyte_is_asked_until_it_answers() -> None:
    log, lines = kept_log()
    ask, left = answers(AWAY, AWAY, AWAY, "yes")
    assert await SHORT.retry(ask, log) == "yes"
    assert not left
    assert said(lines, "Airbyte cannot be asked now, trying again: GET /jobs/7: HTTP 503") == 1
    assert said(lines, "Airbyte answers again") == 1


async def test_answer_at_once_is_not_worth_a_line() -> None:
    log, lines = kept_log()
    ask, _ = answers("yes")
    assert await SHORT.retry(ask, log) == "yes"
    assert lines == []


async def test_refusal_is_an_answer() -> None:
    log, _ = kept_log()
    ask, left = answers(AWAY, Forbidden("GET /jobs/7", status=403), "yes")
    with pytest.raises(Forbidden):
        await SHORT.retry(ask, log)
    assert left == ["yes"]


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        (SubmitPolicy(unreachable=0.0), AWAY),
        # The server wants to be left alone for longer than the task has time.
        (SHORT, Unreachable("GET /jobs/7", status=503, retry_after=3600.0)),
    ],
)
async def test_pause_that_ends_too_late_is_not_begun(policy: SubmitPolicy, error: ApiError) -> None:
    log, lines = kept_log()
    ask, left = answers(error, "yes")
    with pytest.raises(Unreachable):
        await policy.retry(ask, log)
    assert left == ["yes"]
    assert lines == []


@pytest.mark.parametrize("longest", [0.05, 10.0])
def test_pauses_grow_with_jitter_and_stay_bounded(longest: float) -> None:
    pauses = SubmitPolicy(pause=longest).pauses()
    taken = [next(pauses) for _ in range(20)]
    assert max(taken) <= longest
    assert len(set(taken)) == 20
    assert sum(taken[10:]) > sum(taken[:10]) * 0.5
