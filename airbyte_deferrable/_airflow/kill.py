"""Whether a user killed the task.

Airflow cancels a trigger, and from 3.3 on calls its ``on_kill`` besides: a user may have killed the task, but the
triggerer may also stop, or have lost the task to another triggerer, or a new try may wait for the same job already.
Only the first may cancel the job. The task's state and the *wait marker* tell which: an XCom that says which try waits
for which job, which each try writes before it defers and Airflow clears when the next try begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any, Literal, NamedTuple, TypeVar

from airbyte_deferrable._airflow.off_loop import in_thread
from airbyte_deferrable._airflow.task_instance import NO_STATUS, read_state, read_xcom, task_instance, try_of
from airbyte_deferrable._compat import Context
from airbyte_deferrable._job.events import Event
from airbyte_deferrable._job.task_log import Log

T = TypeVar("T")

WAIT_MARKER = "airbyte_wait_marker"
#: What Airflow calls the XCom with what ``execute`` returned.
RESULT = "return_value"
#: Airflow's states of a task that nobody waits for any more.
ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
#: And those of one that waits to be started.
CLEARED = frozenset({NO_STATUS, "scheduled", "queued"})
#: What a running task is when a user has cleared it: Airflow stops it to start it over. One without a state was not
#: cleared: a scheduler has reset it that took over from another, which had died before it knew who runs the task.
STARTED_OVER = frozenset({"restarting"})
#: Seconds that a cleared task's new try is given to write its wait marker.
NEW_TRY_WRITES_WITHIN = 2.0
#: Seconds that Airflow is given to say how the task stands; without an answer nobody stops the job. All triggers of a
#: process ask one after the other: two thousand that were killed at once took 34 s, and the first question of a
#: triggerer up to 7 s, since its supervisor loads an API server for it. A triggerer that stops does not get that long:
#: Airflow ends it within half a minute.
ANSWERS_WITHIN = 300.0
#: And on a worker, where Airflow kills the task 5 s after it has told it to stop.
ANSWERS_ON_WORKER_WITHIN = 3.0


#: The one question, kept so that it is not collected before it is answered.
_warming: list[asyncio.Future[None]] = []


class WaitMarker(NamedTuple):
    """What a try wrote before it deferred.

    :param job_id: The job that it waits for.
    :param connection_id: The connection whose job it is; empty if Airbyte did not say.
    :param started_here: Whether the task started the job.
    """

    job_id: int
    connection_id: str
    started_here: bool


def write_marker(context: Context, job_id: int, connection_id: str, *, started_here: bool) -> None:
    """Note that this try waits for the job.

    :param started_here: Whether this task started it, so that it may be cancelled on its behalf.
    """
    ti = task_instance(context)
    if ti is not None:
        marker = {"job_id": job_id, "connection_id": connection_id, "try": ti.try_number, "started_here": started_here}
        ti.xcom_push(key=WAIT_MARKER, value=marker)


def read_marker(context: Context) -> WaitMarker | None:
    """Return the wait marker of this try; None if there is none."""
    now = try_of(context)
    marker = read_xcom(context["ti"], WAIT_MARKER) if now is not None else None
    if not isinstance(marker, dict) or marker.get("try") != now:
        return None
    return WaitMarker(int(marker["job_id"]), str(marker.get("connection_id") or ""), bool(marker.get("started_here")))


def marker_of(event: Event) -> WaitMarker | None:
    """Return what an event tells of it, which spares a task that is resumed the question; None if it does not.

    :param event: The event of this try's trigger.
    """
    if event.started_here is None:
        return None
    return WaitMarker(event.job_id, event.connection_id, event.started_here)


def stopped_by_user(ti: Any, log: Log) -> str | None:
    """Return how a task on its worker stands if it is stopped because a user wants it; None if nobody does.

    Airflow sends the same signal to a task that a user marked or cleared, and to one that it has lost touch with:
    its API server was away for long, another worker runs its next try, the worker itself is told to stop. After a
    user's action the task is no longer running to Airflow, and not about to run again by itself. A task that has
    succeeded and has a result was not marked: a try clears the result of the one before, and only its own end has one.

    :param ti: The task's own task instance; None for a task that is called by hand, as is what stops it.
    :param log: Says why a job is left alone.
    :return: One of :data:`ENDED` for a task that was marked, one of :data:`STARTED_OVER` for one that was cleared.
    :raises Exception: If Airflow does not tell, or not in time.
    """
    if ti is None:
        return "failed"

    def ask() -> tuple[str | None, bool]:
        state = read_state(ti)
        return state, state == "success" and read_xcom(ti, RESULT) is not None

    state, ended_by_itself = ask_while_killed(ask)
    if ended_by_itself:
        log.warning("Airflow stops the task, whose later try has succeeded: leaving its job alone")
        return None
    if state in ENDED or state in STARTED_OVER:
        return state
    log.warning("Airflow stops the task, but nobody asked for it (it is %s): leaving its job alone", state)
    return None


class StopRequest:
    """That Airflow has told a task on its worker to stop, and who wants it.

    ============  =================================================================================
    state         what is known
    ============  =================================================================================
    ``none``      nothing was told
    ``received``  it was, and Airflow has not said yet how the task stands: it is to be asked again
    ``by_user``   a user marked the task, or cleared it
    ``nobody``    the worker stops, or Airflow has lost touch with the task: its job is left alone
    ============  =================================================================================
    """

    def __init__(self) -> None:
        self.state: Literal["none", "received", "by_user", "nobody"] = "none"

    def receive(self) -> None:
        """Note that Airflow has told it. May be called in a signal handler."""
        if self.state != "by_user":
            self.state = "received"

    def by_user(self, ti: Any, log: Log) -> bool:
        """Tell whether a user wants the task to stop, as far as that is known. Asks Airflow if it is to be asked.

        :param ti: The task's own task instance; None for a task that is called by hand.
        """
        if self.state == "received":
            try:
                how = stopped_by_user(ti, log)
            except Exception as error:
                why = str(error) or type(error).__name__
                log.warning("Airflow does not tell why the task is stopped (%s): leaving its job alone", why)
                return False
            self.state = "nobody" if how is None else "by_user"
        return self.state == "by_user"


def ask_while_killed(question: Callable[[], T]) -> T:
    """Ask Airflow on behalf of a task that is being killed: who waits in its main thread may do so until it is dead.

    A signal handler runs in the middle of what the main thread does. If that was a question to Airflow 3, which answers
    one at a time, the handler's own question waits for the handler to end.

    :param question: What to ask.
    :raises Exception: What the question raised, or that there is no answer in time.
    """
    answer: Future[T] = Future()

    def ask() -> None:
        try:
            answer.set_result(question())
        except Exception as error:
            answer.set_exception(error)

    Thread(target=ask, daemon=True).start()
    return answer.result(ANSWERS_ON_WORKER_WITHIN)


def warm_up(ti: Any) -> None:
    """Ask Airflow once in each triggerer how a task stands, so that the answer is quick when it matters.

    The first such question loads a part of Airflow into the triggerer's supervisor; 7 s were seen on a busy machine.

    :param ti: The trigger's task instance.
    """
    if not _warming:
        _warming.append(asyncio.ensure_future(_ask_for_nothing(ti)))


async def _ask_for_nothing(ti: Any) -> None:
    with suppress(Exception):
        await in_thread(read_state, ti)


async def killed_by_user(ti: Any, job_id: int, try_number: int, log: Log) -> bool:
    """Tell whether a trigger that was cancelled lost its task to a user, so that the job should go too.

    ====================================================  =====================================================
    what is found                                         what it means
    ====================================================  =====================================================
    the task has ended                                    marked by a user, or its DAG run timed out: killed
    the task waits to be started                          cleared: killed
    it is deferred, with a wait marker of this try        shutdown, redistribution: another trigger goes on
    a wait marker of a later try, the same job            the new try re-attached to it
    a wait marker of a later try, another job             cleared, and started afresh: killed
    no wait marker, and none for a while                  cleared, the new try has no job yet; or deleted: killed
    else a wait marker of this try, for a while           another triggerer had the event, and it is resumed
    no answer                                             not known: left alone
    ====================================================  =====================================================

    :param ti: The trigger's task instance; None in ``dag.test()``.
    :param job_id: The job that the trigger waited for.
    :param try_number: The try that started the trigger.
    :param log: Says why a job is left alone if it could not be told.
    """
    if ti is None:
        return False
    try:
        # While a triggerer shuts down, Airflow may not answer at all.
        return await asyncio.wait_for(_killed(ti, job_id, try_number), ANSWERS_WITHIN)
    except Exception as error:
        why = str(error) or type(error).__name__
        log.warning("Airflow does not tell why the wait was stopped (%s): leaving job %s alone", why, job_id)
        return False


async def _killed(ti: Any, job_id: int, try_number: int) -> bool:
    marker = None
    for pause in (0.0, NEW_TRY_WRITES_WITHIN):
        await asyncio.sleep(pause)
        state = await in_thread(read_state, ti)
        if state in ENDED or state in CLEARED:
            return True
        marker = await in_thread(read_xcom, ti, WAIT_MARKER)
        if marker is not None and marker["try"] > try_number:
            return bool(marker["job_id"] != job_id)
        if marker is not None and state == "deferred":
            return False
    return marker is None
