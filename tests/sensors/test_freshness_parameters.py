"""The parameters of the sensor for fresh syncs, and the moment that is a run's, by kind of run and Airflow."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest

import airbyte_deferrable
from airbyte_deferrable._airflow.moment import moment
from airbyte_deferrable._compat import AirflowSkipException
from airbyte_deferrable.exceptions import AirbyteInputError
from airbyte_deferrable.sensors import AirbyteFreshnessSensor
from airbyte_deferrable.simulator import Simulator
from helpers.airbyte import NOWHERE
from helpers.compat import DAG
from helpers.freshness import MOMENT, ended
from helpers.one_task import MODES, Sense

EARLIER, LATER = MOMENT - timedelta(hours=1), MOMENT + timedelta(hours=1)


@pytest.mark.parametrize(
    "given",
    [
        MOMENT,
        pendulum.instance(MOMENT),
        pendulum.instance(MOMENT).in_timezone("Europe/Berlin"),
        MOMENT.replace(microsecond=999_999),
        "2026-01-01T12:00:00+00:00",
        "2026-01-01 12:00:00+00:00",
        "2026-01-01T13:00+01:00",
        " 2026-01-01T12:00:00.25Z ",
    ],
    ids=str,
)
def test_moment_may_be_a_datetime_or_its_text(given: Any) -> None:
    assert moment(given, {}, "c") == MOMENT


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (MOMENT.replace(tzinfo=None), "must say its time zone"),
        ("2026-01-01T12:00:00", "must say its time zone"),
        ("2026-01-01", "must say its time zone"),
        (date(2026, 1, 1), "must be a moment"),
        ("None", "must be a moment with a time zone.*dag_run.run_after"),
        ("yesterday", "must be a moment"),
        ("20260101T120000", "must be a moment"),
        ("1767268800", "must be a moment"),
        (1767268800, "must be a moment"),
        ("{{ data_interval_end }}", "must be a moment"),
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", MODES)
def test_moment_that_is_none_is_refused(sim: Simulator, fresh: Sense, given: Any, says: str, mode: str) -> None:
    cid = sim.add_connection()
    with pytest.raises(AirbyteInputError, match=says):
        fresh(cid, mode, after=given).run()
    with pytest.raises(AirflowSkipException):
        fresh(cid, mode, after=given, never_fail=True).run()
    with pytest.raises(AirbyteInputError, match=says):
        fresh(cid, mode, after=given).operator().poke({})
    assert sim.count("list") == 0


RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "scheduled": ({"data_interval_end": MOMENT, "logical_date": EARLIER}, {"run_after": LATER}),
    "scheduled on Airflow 2": ({"data_interval_end": pendulum.instance(MOMENT), "logical_date": EARLIER}, {}),
    "of an asset, or without a logical date": ({}, {"run_after": MOMENT}),
    "without an interval": ({"data_interval_end": None, "logical_date": None}, {"run_after": MOMENT}),
    "of whatever knows no more": ({"logical_date": MOMENT}, {}),
}


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("given", [None, ""])
def test_moment_is_the_runs_own_where_none_is_given(kind: str, given: Any) -> None:
    context, run = RUNS[kind]
    found = moment(given, {**context, "dag_run": SimpleNamespace(**run)}, "c")
    assert (found, found.tzinfo is not None) == (MOMENT, True)


@pytest.mark.parametrize("context", [{}, None, {"dag_run": SimpleNamespace()}, {"logical_date": datetime(2026, 1, 1)}])
def test_moment_of_no_run_is_an_error(context: Any) -> None:
    with pytest.raises(AirbyteInputError, match="after must say which moment"):
        moment(None, context, "c")


@pytest.mark.parametrize("mode", MODES)
def test_moment_of_the_run_is_the_default(
    sim: Simulator, fresh: Sense, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    cid = sim.add_connection()
    ended(sim, cid, -5)
    job_id = ended(sim, cid, 5)
    wait = fresh(cid, mode, after=None)
    own = type(wait).context.fget(wait)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(wait), "context", property(lambda _: {**own, "data_interval_end": MOMENT}))
    assert wait.run() == job_id


def test_moment_is_handed_to_the_trigger_as_a_number(sim: Simulator, fresh: Sense) -> None:
    tz = timezone(timedelta(hours=5, minutes=30))
    wait = fresh(sim.add_connection(), "deferrable", after=MOMENT.astimezone(tz).isoformat())
    assert wait.leave().trigger.after == MOMENT.timestamp()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"connection_id": "orders"}, "connection_id must be the UUID"),
        ({"connection_id": ""}, "connection_id must be the UUID of an Airbyte connection, or connection_name"),
        ({"connection_id": "", "connection_name": "Orders", "workspace_id": "mine"}, "workspace_id must be the UUID"),
        ({"must_have": "begun"}, "must_have must be one of ended, started"),
        ({"if_failed": "skip"}, "if_failed must be one of wait, fail"),
        ({"job_types": "load"}, "job_types must be one of sync"),
        ({"job_types": ["sync", ["reset"]]}, "job_types must be one of sync"),
        ({"job_types": []}, "job_types must be a type of job or several"),
        ({"job_types": 7}, "job_types must be a type of job or several"),
    ],
    ids=str,
)
def test_parameters_that_are_none_are_refused(
    sim: Simulator, fresh: Sense, mode: str, parameters: dict[str, Any], says: str
) -> None:
    arguments = {"connection_id": NOWHERE, **parameters}
    with pytest.raises(AirbyteInputError, match=says) as refused:
        fresh(arguments.pop("connection_id"), mode, **arguments).run()
    assert sim.count() == 0
    assert "Nothing was" not in str(refused.value)


def test_parameters_from_default_args_are_named_in_the_error(sim: Simulator) -> None:
    with DAG("dag", schedule=None, default_args={"if_failed": "retry"}):
        sensor = AirbyteFreshnessSensor(task_id="wait", connection_id=NOWHERE, after=MOMENT)
    with pytest.raises(AirbyteInputError, match="The default_args of the DAG or of a task group have a if_failed"):
        sensor.execute({})


def test_name_of_the_package_is_the_sensor() -> None:
    assert airbyte_deferrable.AirbyteFreshnessSensor is AirbyteFreshnessSensor


def test_parameters_have_defaults(sim: Simulator) -> None:
    sensor = AirbyteFreshnessSensor(task_id="wait", connection_id=NOWHERE, deferrable=True)
    assert (sensor.poke_interval, sensor.timeout) == (5.0, 7 * 24 * 3600.0)
    assert (sensor.after, sensor.must_have, sensor.job_types, sensor.if_failed) == (None, "ended", "sync", "wait")
    assert AirbyteFreshnessSensor(task_id="worker", connection_id=NOWHERE, deferrable=False).poke_interval == 60.0


def test_parameters_may_be_mapped_and_templates() -> None:
    with DAG("dag", schedule=None):
        mapped = AirbyteFreshnessSensor.partial(task_id="wait", deferrable=True).expand(connection_id=[NOWHERE])
    sensor: Any = mapped.unmap({"connection_id": NOWHERE})
    assert (sensor.connection_id, sensor.poke_interval) == (NOWHERE, 5.0)
    fields = {"connection_id", "connection_name", "workspace_id", "after", "airbyte_conn_id"}
    assert set(sensor.template_fields) == fields


def test_parameters_become_plain_json_for_the_trigger(sim: Simulator, fresh: Sense) -> None:
    cid = sim.add_connection()
    wait = fresh(cid.upper(), "deferrable", job_types={"sync", "clear"}, if_failed="fail", must_have="started")
    trigger = wait.leave().trigger
    assert (trigger.connection_id, trigger.job_types) == (cid, ["reset", "sync"])
    assert (trigger.if_failed, trigger.must_have, trigger.connection_name) == ("fail", "started", None)
