"""What properties about watched connections draw from: Airbytes with a past and a future."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from helpers.model_airbyte import ENDS, LIVES, PAGE, SHORT_PAUSES, Fault, ModelAirbyte, ModelJob, Step

PACE = replace(SHORT_PAUSES, late=20.0, catch_up_pages=3, walk_from=3)
START = 1000.0
#: When the last job has ended and the last fault is over.
OVER = START + 300
CONNECTIONS = tuple("abcdef")


@st.composite
def histories(
    draw: st.DrawFn,
    connection_id: str,
    skews: tuple[float, ...],
    far: tuple[float, ...],
    lag: float,
    appears: float = 0.0,
) -> list[ModelJob]:
    """Return the jobs of a connection, one after the other, as Airbyte runs them; the numbers come later.

    :param skews: How far ahead the clocks are that stamp a creation: a list is in that order.
    :param far: The same of all other stamps.
    :param appears: When it is first listed, if it was not always: around then its syncs begin, of which there is one.
    """
    begins = (START - 300, START - 60, START - 5, START, START + 40)
    at = draw(st.sampled_from((appears - 5, appears, appears + 5) if appears else begins))
    jobs = []
    for _ in range(draw(st.integers(1 if appears else 0, 5))):
        at += draw(st.sampled_from((0.0, 0.001, 1.0, 7.5, 40.0)))
        steps = [Step(at, "pending", draw(st.sampled_from(skews)))]
        for status in (*draw(st.sampled_from(LIVES)), draw(st.sampled_from(ENDS))):
            at += draw(st.sampled_from((0.001, 0.5, 1.0, 7.0, 20.0)))
            late = draw(st.sampled_from((0.0, 0.0, lag)))
            steps.append(Step(max(at, steps[-1].visible_at - late), status, draw(st.sampled_from(far)), late))
            at = steps[-1].visible_at
        jobs.append(ModelJob(0, tuple(steps), connection_id=connection_id))
    return jobs


@st.composite
def servers(
    draw: st.DrawFn,
    *,
    skew: float,
    lag: float,
    faulty: bool,
    far: tuple[float, ...] = (),
    appears: tuple[float, ...] = (),
) -> ModelAirbyte:
    """Return an Airbyte with a past and a future.

    :param appears: When some of the connections may first be listed; the others are always there.
    """
    listed = {each: draw(st.sampled_from((0.0, 0.0, *appears))) for each in CONNECTIONS} if appears else {}
    skews = tuple(draw(st.lists(st.floats(-skew, skew), min_size=1, max_size=3))) if skew else (0.0,)
    jobs = [
        job
        for connection_id in CONNECTIONS
        for job in draw(histories(connection_id, skews, skews + far, lag, listed.get(connection_id, 0.0)))
    ]
    jobs.sort(key=lambda job: job.steps[0].at)
    jobs = [replace(job, job_id=number) for number, job in enumerate(jobs, 1)]
    fault = st.builds(
        Fault,
        start=st.integers(int(START), int(START) + 150).map(float),
        seconds=st.sampled_from((1.0, 10.0, 60.0)),
        kind=st.sampled_from(("down", "throttled", "hang", "forbidden")),
        call=st.sampled_from(("list", "get", "all", "connection")),
        every=st.sampled_from((1, 2, 3)),
        connection_id=st.sampled_from((None, None, None, "a", "b")),
    )
    faults = draw(st.lists(fault, max_size=3)) if faulty else []
    latency = draw(st.sampled_from((0.001, 0.02, 0.4)))
    seed = draw(st.integers(0, 9))
    return ModelAirbyte(jobs, faults, latency=latency, page_size=PAGE, seed=seed, appears=listed)
