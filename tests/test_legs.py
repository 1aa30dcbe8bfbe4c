"""What a leg asks of Airbyte and of Airflow: each runs in a process of its own, under Airflow's own supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import airflow
import pytest

if tuple(map(int, airflow.__version__.split(".")[:2])) < (3, 3):
    pytest.skip("runs legs with what is inside Airflow 3.3", allow_module_level=True)

from airbyte_deferrable.simulator import Fault, Simulator
from benchmarks.legs_measure import Kind, Leg, LegsBench, in_sequence, split

#: Seconds: so much longer than two requests that are sent together can be apart on a busy machine.
ANSWER = 0.5


class Cost(NamedTuple):
    """What a leg is allowed.

    :param requests: To Airbyte.
    :param round_trips: Of these in sequence.
    :param calls: To Airflow, by the operator.
    :param airflows_calls: To Airflow, that Airflow makes by itself.
    """

    requests: int
    round_trips: int
    calls: int
    airflows_calls: int

    def no_more_than(self, most: Cost) -> bool:
        return all(mine <= its for mine, its in zip(self, most, strict=True))


COSTS = {
    # Token, list, create. Two where an earlier leg on the machine has left its token.
    "first": Cost(requests=3, round_trips=3, calls=4, airflows_calls=2),
    "last": Cost(requests=0, round_trips=0, calls=0, airflows_calls=3),
    # Its job is over when the create is answered. What it is called is asked beside: connection, source, destination.
    "whole": Cost(requests=7, round_trips=4, calls=7, airflows_calls=3),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LegsBench]:
    with Simulator() as airbyte, LegsBench(airbyte, tmp_path_factory.mktemp("legs")) as bench:
        yield bench


def test_legs_of_a_deferrable_sync_cost_no_more_than_this(bench: LegsBench) -> None:
    assert {leg.part: cost(leg) for leg in bench.sync(Kind("ours", "deferrable"), ANSWER)} == {
        part: COSTS[part] for part in ("first", "last")
    }


def test_leg_of_a_sync_on_the_worker_costs_no_more_than_this(bench: LegsBench) -> None:
    (leg,) = bench.sync(Kind("ours", "worker"), ANSWER, short_job=0.0)
    # What it is called, a task does not wait for for long.
    assert cost(leg).no_more_than(COSTS["whole"])


@pytest.mark.parametrize(
    ("way", "requests"),
    [
        ("deferrable", {"first": ["token", "create"], "last": []}),
        ("worker", {"whole": ["token", "create", "get"]}),
    ],
)
def test_official_provider_runs_in_the_same_machinery(
    bench: LegsBench, way: str, requests: dict[str, list[str]]
) -> None:
    legs = bench.sync(Kind("official", way), 0.0, short_job=0.0)
    assert {leg.part: leg.requests for leg in legs} == requests
    assert {leg.part: leg.calls for leg in legs} == {part: ["GetConnection"] * (part != "last") for part in requests}
    assert all(leg.airflows_calls[0] == "SetRenderedFields" for leg in legs)
    assert all(leg.cpu > 0 for leg in legs)


def test_leg_that_fails_gives_no_figures_but_its_log(bench: LegsBench) -> None:
    bench.airbyte.add_fault(Fault("create", "status", status=404))
    try:
        with pytest.raises(RuntimeError, match=r"first leg: failed[\s\S]*404"):
            bench.sync(Kind("official", "deferrable"), 0.0)
    finally:
        bench.airbyte.clear_faults()


def test_requests_that_overlap_are_one_round_trip() -> None:
    assert in_sequence([]) == 0
    assert in_sequence([(0, 1), (1, 2), (2, 3)]) == 3
    assert in_sequence([(0, 1), (1, 4), (1.1, 2), (2, 3)]) == 3
    assert in_sequence([(0, 3), (1, 2)]) == 1


def test_calls_that_airflow_makes_by_itself_are_told_apart() -> None:
    asked = [
        ("SetRenderedFields", None, True),
        ("GetConnection", None, True),
        ("MaskSecret", None, False),
        ("SetXCom", "job", True),
        ("SetXCom", "return_value", True),
        ("SucceedTask", None, True),
        ("SetXCom", "_link_AirbyteJobLink", True),
    ]
    calls = [{"kind": kind, "key": key, "asks": asks} for kind, key, asks in asked]
    assert split(calls) == (
        ["GetConnection", "SetXCom job"],
        ["SetRenderedFields", "SetXCom return_value", "SucceedTask", "SetXCom _link_AirbyteJobLink"],
    )


def cost(leg: Leg) -> Cost:
    return Cost(len(leg.requests), leg.round_trips, len(leg.calls), len(leg.airflows_calls))
