"""A connection that is not there, or not any more, is an error at the task; an Airbyte that is away is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from airbyte_deferrable import sensors
from airbyte_deferrable._compat import AirflowSkipException
from airbyte_deferrable._job import freshness
from airbyte_deferrable._watcher import directory, loop
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable.exceptions import (
    AirbyteCredentialsError,
    AirbyteInputError,
    AirbyteNotVisibleError,
    AirbyteRequestError,
    AirbyteSensorTimeout,
)
from airbyte_deferrable.simulator import Fault, Simulator
from helpers.airbyte import AT_ONCE, NOWHERE, connection_to, hits
from helpers.compat import TaskDeferred
from helpers.freshness import ended
from helpers.one_task import MODES, Sense, Sensing
from helpers.waiting import meanwhile


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sensor ask at each check, and its trigger at once, whether the connection is still there."""
    monkeypatch.setattr(sensors, "WORKER_CONNECTION_AGAIN", 0.0)
    monkeypatch.setattr(freshness, "DEFERRED_CONNECTION_AGAIN", 0.1)
    monkeypatch.setattr(directory, "KEEP_STANDING", 0.0)
    monkeypatch.setattr("airbyte_deferrable.triggers.freshness.RESOLVE_AGAIN", 0.05)
    # Lists that Airbyte refuses are left alone for a minute.
    monkeypatch.setattr(loop, "Pace", lambda: Pace(busy_pause=0.1, refused_pause=0.1))


def looked(sim: Simulator) -> Callable[[], bool]:
    """Tell whether the sensor has looked in vain: on its worker, or its trigger after it."""
    before = sim.count("list")
    return lambda: sim.count("list") >= before + 2


def is_said(wait: Sensing, words: str) -> Callable[[], bool]:
    return lambda: any(words in line for line in list(wait.lines))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("admin", [True, False], ids=["admin", "reader"])
@pytest.mark.parametrize("soft", [{}, {"soft_fail": True}], ids=["hard", "soft"])
def test_connection_that_is_not_there_is_an_error_at_once(
    sim: Simulator, fresh: Sense, mode: str, admin: bool, soft: dict[str, bool]
) -> None:
    sim.configure(instance_admin=admin)
    wait = fresh(NOWHERE, mode, **soft)
    words = f"Airbyte connection {NOWHERE} cannot be seen"
    with pytest.raises(AirflowSkipException if soft else AirbyteNotVisibleError, match=words if not soft else None):
        wait.run()
    assert wait.triggers == []


@pytest.mark.parametrize("mode", MODES)
def test_connection_that_was_deleted_is_an_error_unless_it_was_fresh_before(
    sim: Simulator, fresh: Sense, mode: str
) -> None:
    cid = sim.add_connection(name="Orders", status="deprecated")
    with pytest.raises(AirbyteNotVisibleError, match=r"\('Orders'\) was deleted"):
        fresh(cid, mode).run()
    job_id = ended(sim, cid, 5)
    assert fresh(cid, mode).run() == job_id


@pytest.mark.parametrize("mode", MODES)
def test_connection_that_is_deleted_meanwhile_is_an_error(sim: Simulator, fresh: Sense, mode: str) -> None:
    cid = sim.add_connection(name="Orders")
    wait = fresh(cid, mode)
    with (
        meanwhile(looked(sim), lambda: sim.set_connection_status(cid, "deprecated")),
        pytest.raises(AirbyteNotVisibleError, match=r"\('Orders'\) was deleted") as gone,
    ):
        wait.run()
    assert (gone.value.connection_id, gone.value.job_id) == (cid, None)
    assert bool(wait.triggers) == (mode == "deferrable")


@pytest.mark.parametrize("mode", MODES)
def test_connection_that_is_not_seen_once_is_a_doubt(sim: Simulator, fresh: Sense, mode: str) -> None:
    cid = sim.add_connection()
    wait = fresh(cid, mode)
    with (
        meanwhile(looked(sim), lambda: sim.add_fault(Fault("connection", status=403, times=1, body=FORBIDDEN))),
        meanwhile(lambda: any(each["hits"] for each in sim.faults()), lambda: sim.add_job(cid, script=AT_ONCE)),
    ):
        assert wait.run() == sim.jobs(cid)[-1]["id"]


@pytest.mark.parametrize("mode", MODES)
def test_connection_that_is_switched_off_is_said_and_waited_on(sim: Simulator, fresh: Sense, mode: str) -> None:
    cid = sim.add_connection()
    wait = fresh(cid, mode)
    off = "is inactive: Airbyte starts none of its syncs until it is active again. This task waits on"
    with (
        meanwhile(looked(sim), lambda: sim.set_connection_status(cid, "inactive")),
        meanwhile(is_said(wait, off), lambda: sim.add_job(cid, script=AT_ONCE)),
    ):
        assert wait.run() == sim.jobs(cid)[-1]["id"]
    if mode == "deferrable":
        assert sum(off in line for line in wait.lines) == 1


@pytest.mark.parametrize("mode", MODES)
def test_name_that_leads_nowhere_or_to_two_is_an_error(sim: Simulator, fresh: Sense, mode: str) -> None:
    sim.add_connection(name="Orders")
    with pytest.raises(AirbyteInputError, match="near matches: 'Orders'") as refused:
        fresh("", mode, connection_name="Order").run()
    # A sensor starts nothing, whatever it is given.
    assert "Nothing was" not in str(refused.value)
    sim.add_connection(name="Orders")
    with pytest.raises(AirbyteInputError, match="2 Airbyte connections"):
        fresh("", mode, connection_name="Orders").run()


#: Airbyte's own word for what there is not, or what is not to be seen.
FORBIDDEN = '{"type": "https://reference.airbyte.com/reference/errors", "title": "Insufficient permissions"}'
#: How Airbyte's list of connections, whose pages have no order, may miss one; and how it may be refused.
UNNAMED: dict[str, dict[str, Any]] = {
    "missed": {"status": 200, "body": '{"data": []}'},
    "forbidden": {"status": 403, "body": FORBIDDEN},
}


@pytest.mark.parametrize("unnamed", UNNAMED)
def test_name_that_is_not_seen_once_hours_later_is_a_doubt(sim: Simulator, fresh: Sense, unnamed: str) -> None:
    """Which only a rescheduled sensor looks for by then."""
    cid = sim.add_connection(name="Orders")
    wait = fresh("", "reschedule", connection_name="Orders")
    with (
        meanwhile(looked(sim), lambda: sim.add_fault(Fault("connections", times=1, **UNNAMED[unnamed]))),
        meanwhile(lambda: any(each["hits"] for each in sim.faults()), lambda: sim.add_job(cid, script=AT_ONCE)),
    ):
        assert wait.run() == sim.jobs(cid)[-1]["id"]


def test_list_of_names_that_is_refused_hours_later_is_waited_on(sim: Simulator, fresh: Sense) -> None:
    cid = sim.add_connection(name="Orders")
    wait = fresh("", "reschedule", connection_name="Orders")
    with (
        meanwhile(looked(sim), lambda: sim.add_fault(Fault("connections", times=6, **UNNAMED["forbidden"]))),
        meanwhile(lambda: any(each["hits"] >= 6 for each in sim.faults()), lambda: sim.add_job(cid, script=AT_ONCE)),
    ):
        assert wait.run() == sim.jobs(cid)[-1]["id"]
    assert any("Airbyte cannot be asked now" in line for line in wait.lines)


@pytest.mark.parametrize("mode", MODES)
def test_named_connection_that_is_deleted_meanwhile_is_an_error(sim: Simulator, fresh: Sense, mode: str) -> None:
    cid = sim.add_connection(name="Orders")
    wait = fresh("", mode, connection_name="Orders")
    with (
        meanwhile(looked(sim), lambda: sim.set_connection_status(cid, "deprecated")),
        pytest.raises(AirbyteNotVisibleError),
    ):
        wait.run()


def test_name_that_leads_to_two_meanwhile_is_an_error_that_says_so(sim: Simulator, fresh: Sense) -> None:
    sim.add_connection(name="Orders")
    wait = fresh("", "reschedule", connection_name="Orders")
    with (
        meanwhile(looked(sim), lambda: sim.add_connection(name="Orders")),
        pytest.raises(AirbyteInputError, match="2 Airbyte connections"),
    ):
        wait.run()


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_name_that_is_not_seen_once_after_an_outage_is_a_doubt(sim: Simulator, fresh: Sense, mode: str) -> None:
    cid = sim.add_connection(name="Orders")
    sim.add_job(cid, script=AT_ONCE)
    wait = fresh("", mode, connection_name="Orders")
    sim.add_fault(Fault("connections", status=503, times=2))
    sim.add_fault(Fault("connections", times=1, **UNNAMED["missed"]))
    assert wait.run() == sim.jobs(cid)[-1]["id"]


@pytest.mark.parametrize("mode", MODES)
def test_list_of_names_that_is_refused_is_the_same_error_in_every_mode(sim: Simulator, fresh: Sense, mode: str) -> None:
    """Also where it is only the trigger that learns of it, after an outage."""
    sim.add_connection(name="Orders")
    wait = fresh("", mode, connection_name="Orders")
    if mode == "deferrable":
        sim.add_fault(Fault("connections", status=503, times=1))
    sim.add_fault(Fault("connections", **UNNAMED["forbidden"]))
    with pytest.raises(AirbyteNotVisibleError, match=r"'Orders'.*GET /connections: HTTP 403"):
        wait.run()


@pytest.mark.parametrize("mode", MODES)
def test_list_of_jobs_that_is_refused_from_the_start_is_not_taken_for_a_connection_that_is_not_there(
    sim: Simulator, fresh: Sense, mode: str
) -> None:
    cid = sim.add_connection()
    sim.add_fault(Fault("list", status=403, body=FORBIDDEN))
    with pytest.raises(AirbyteRequestError, match="Airbyte shows the connection, but does not list its jobs"):
        fresh(cid, mode).run()


@pytest.mark.parametrize("mode", MODES)
def test_list_of_jobs_that_is_refused_once_from_the_start_is_a_doubt(sim: Simulator, fresh: Sense, mode: str) -> None:
    cid = sim.add_connection()
    job_id = ended(sim, cid, 5)
    sim.add_fault(Fault("list", status=403, times=1, body=FORBIDDEN))
    assert fresh(cid, mode).run() == job_id


@pytest.mark.parametrize("mode", MODES)
def test_list_of_jobs_that_is_refused_later_is_waited_on(sim: Simulator, fresh: Sense, mode: str) -> None:
    cid = sim.add_connection()
    with (
        meanwhile(looked(sim), lambda: sim.add_fault(Fault("list", status=403, times=6, body=FORBIDDEN))),
        meanwhile(lambda: any(each["hits"] >= 6 for each in sim.faults()), lambda: sim.add_job(cid, AT_ONCE)),
    ):
        assert fresh(cid, mode).run() == sim.jobs(cid)[-1]["id"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("call", ["list", "connection"])
@pytest.mark.parametrize("fault", [{"status": 503}, {"kind": "drop"}, {"kind": "garbage"}])
def test_outage_is_waited_through(sim: Simulator, fresh: Sense, mode: str, call: str, fault: dict[str, Any]) -> None:
    cid = sim.add_connection()
    sim.add_fault(Fault(call, **fault, times=4))
    with meanwhile(lambda: sum(each["hits"] for each in sim.faults()) >= 4, lambda: sim.add_job(cid, script=AT_ONCE)):
        assert fresh(cid, mode).run() == sim.jobs(cid)[-1]["id"]


@pytest.mark.parametrize(("mode", "times"), [("poke", 1), ("deferrable", 2)])
def test_outage_is_said_once_and_so_is_its_end(sim: Simulator, fresh: Sense, mode: str, times: int) -> None:
    """By the worker, and by its trigger after it. A rescheduled sensor knows of no outage that another leg has seen."""
    cid = sim.add_connection()
    wait = fresh(cid, mode)
    fault = sim.add_fault(Fault(status=503))
    begins = "Airbyte cannot be asked now. The connection's syncs may well go on, so this task waits on"

    def said() -> int:
        return sum(begins in line for line in list(wait.lines))

    ends = "Airbyte answers again after"
    with (
        meanwhile(lambda: said() == times and hits(sim, fault) > 6, lambda: sim.clear_faults(fault)),
        meanwhile(is_said(wait, ends), lambda: sim.add_job(cid, script=AT_ONCE)),
    ):
        assert wait.run() == sim.jobs(cid)[-1]["id"]
    assert said() == times
    assert sum(ends in line for line in wait.lines) == 1


@pytest.mark.parametrize("mode", MODES)
def test_outage_while_only_the_name_is_known_is_waited_through(sim: Simulator, fresh: Sense, mode: str) -> None:
    cid = sim.add_connection(name="Orders")
    sim.add_job(cid, script=AT_ONCE)
    wait = fresh("", mode, connection_name="Orders")
    sim.add_fault(Fault("connections", status=503, times=3))
    assert wait.run() == sim.jobs(cid)[-1]["id"]
    assert wait.ti.xcoms["airbyte_job"]["connectionId"] == cid


@pytest.mark.parametrize("mode", MODES)
def test_outage_while_only_the_name_is_known_ends_with_the_timeout(sim: Simulator, fresh: Sense, mode: str) -> None:
    sim.add_fault(Fault("connections", status=503))
    with pytest.raises(AirbyteSensorTimeout, match="connection 'Orders' has succeeded before the task's timeout"):
        fresh("", mode, connection_name="Orders", timeout=0.3).run()


def test_name_that_the_trigger_has_resolved_is_not_looked_for_again(sim: Simulator, fresh: Sense) -> None:
    cid = sim.add_connection(name="Orders")
    fault = sim.add_fault(Fault("connections", status=503))
    wait = fresh("", "deferrable", connection_name="Orders", timeout=0)
    deferred = wait.leave()
    assert deferred.trigger.connection_id == ""
    event = {"status": "error", "reason": "timeout", "message": "", "job_id": 0, "connection_id": cid}
    before = hits(sim, fault)
    with pytest.raises(AirbyteSensorTimeout, match=f"connection {cid} that ended at"):
        wait.resume(deferred, event)
    assert hits(sim, fault) == before


#: What a trigger tells whose time was up before it learned which connection has the name.
TIME_UP = {"status": "error", "reason": "timeout", "message": "", "job_id": 0}


def left_without_the_id(sim: Simulator, wait: Sensing) -> TaskDeferred:
    """Let a sensor defer while Airbyte does not tell which connection has the name."""
    fault = sim.add_fault(Fault("connections", status=503))
    deferred = wait.leave()
    sim.clear_faults(fault)
    return deferred


def test_final_check_that_has_only_a_name_takes_no_longer(
    sim: Simulator, fresh: Sense, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_DEFAULT", connection_to(sim, timeout=40))
    monkeypatch.setattr(sensors, "FINAL_CHECK_WITHIN", 0.2)
    wait = fresh("", "deferrable", connection_name="Orders")
    deferred = left_without_the_id(sim, wait)
    fault, began = sim.add_fault(Fault("connections", "hang")), time.monotonic()
    with pytest.raises(AirbyteSensorTimeout, match=r"Airbyte could not be asked for the connection's id\.$"):
        wait.resume(deferred, TIME_UP)
    assert hits(sim, fault) == 1
    # A request alone is given longer.
    assert time.monotonic() - began < 20


def test_final_check_that_has_only_a_name_finds_the_job(sim: Simulator, fresh: Sense) -> None:
    job_id = ended(sim, sim.add_connection(name="Orders"), 5)
    wait = fresh("", "deferrable", connection_name="Orders")
    assert wait.resume(left_without_the_id(sim, wait), TIME_UP) == job_id


def test_final_check_that_has_only_a_name_says_of_one_that_leads_nowhere(sim: Simulator, fresh: Sense) -> None:
    sim.add_connection(name="Orders")
    wait = fresh("", "deferrable", connection_name="Order")
    deferred = left_without_the_id(sim, wait)
    with pytest.raises(AirbyteSensorTimeout, match=r"None of the 1 Airbyte connections .* near matches: 'Orders'"):
        wait.resume(deferred, TIME_UP)


def test_outage_after_which_the_name_leads_nowhere_is_an_error(sim: Simulator, fresh: Sense) -> None:
    sim.add_fault(Fault("connections", status=503, times=3))
    wait = fresh("", "deferrable", connection_name="Orders")
    with pytest.raises(AirbyteInputError, match="no Airbyte connection"):
        wait.run()
    (event,) = wait.events
    assert (event["reason"], event["job_id"]) == ("unresolved", 0)


@pytest.mark.parametrize("mode", MODES)
def test_credentials_that_are_wrong_are_an_error_at_once(sim: Simulator, fresh: Sense, mode: str) -> None:
    sim.add_fault(Fault("token", status=401))
    with pytest.raises(AirbyteCredentialsError):
        fresh(sim.add_connection(), mode).run()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("status", [400, 401])
def test_refusal_later_is_a_doubt(sim: Simulator, fresh: Sense, mode: str, status: int) -> None:
    cid = sim.add_connection()
    with (
        meanwhile(looked(sim), lambda: sim.add_fault(Fault("list", status=status, times=4))),
        meanwhile(lambda: any(each["hits"] >= 4 for each in sim.faults()), lambda: sim.add_job(cid, AT_ONCE)),
    ):
        assert fresh(cid, mode).run() == sim.jobs(cid)[-1]["id"]
