"""Airbyte's word that there is no such job."""

from __future__ import annotations

from helpers.followers import START, running, watch_for
from helpers.model_airbyte import Fault, ModelAirbyte, ModelJob, Step


def test_unknown_job_is_believed_gone_when_airbyte_says_so_twice() -> None:
    server = ModelAirbyte([running(1), running(2)])
    told = watch_for(server, 30, [1, 2, 99])
    assert told[99].gone is not None
    assert sum(query.get("job_id") == 99 for _, _, query in server.calls) == 2
    assert told[1].gone is None


def test_not_found_twice_within_one_sweep_counts_once() -> None:
    """The oldest of many new jobs is asked for first, to read all that was created since."""
    jobs = [ModelJob(number, (Step(START - 600, "queued"), Step(START + 20, "succeeded"))) for number in range(1, 31)]
    others = [running(number, created=START - 500) for number in range(31, 1500)] + [running(1500, created=START - 1)]
    server = ModelAirbyte(jobs + others, [Fault(START, 4, "forbidden", "get")])
    told = watch_for(server, 60, [job.job_id for job in jobs])
    assert [each.gone for each in told.values()] == [None] * 30


def test_not_found_once_is_not_believed() -> None:
    server = ModelAirbyte([running(1, START + 20)], [Fault(START, 1, "forbidden", "get")])
    told = watch_for(server, 60)
    assert (told[1].gone, told[1].ended_at is not None) == (None, True)
