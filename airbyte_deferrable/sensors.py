"""The sensors: for a job that was started elsewhere, and for a connection's data to be fresh, whoever sees to that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airbyte_deferrable._airflow import validation
from airbyte_deferrable._airflow.base_trigger import HOLD_EVENTS
from airbyte_deferrable._airflow.execution_timeout import execution_deadline
from airbyte_deferrable._airflow.moment import moment
from airbyte_deferrable._airflow.results import fail
from airbyte_deferrable._airflow.task_instance import try_of
from airbyte_deferrable._compat import conf
from airbyte_deferrable._job import retrying
from airbyte_deferrable._job.connections import UnresolvedName, find_connection
from airbyte_deferrable._job.events import NO_JOB, Event, not_visible
from airbyte_deferrable._job.freshness import (
    ConnectionGone,
    FreshSync,
    check_connection,
    find_fresh,
    find_fresh_of_visible,
    idle,
)
from airbyte_deferrable._job.job_list import newest_jobs, newest_of
from airbyte_deferrable._job.retrying import SYNCS_GO_ON
from airbyte_deferrable._job.wait import FINAL_CHECK_WITHIN, Course
from airbyte_deferrable._waiting_sensor import AirbyteDeferrableWaitingSensor, SensorWait
from airbyte_deferrable.exceptions import (
    AirbyteConflictError,
    AirbyteException,
    AirbyteInputError,
    AirbyteNotVisibleError,
    AirbyteRequestError,
    AirbyteTimeout,
)
from airbyte_deferrable.triggers.freshness import AirbyteFreshnessTrigger
from airbyte_deferrable.triggers.sync import AirbyteSyncTrigger

if TYPE_CHECKING:
    from airbyte_deferrable._compat import Context
    from airbyte_deferrable.api.client import AirbyteClient
    from airbyte_deferrable.api.models import Connection, Job

__all__ = ["AirbyteFreshnessSensor", "AirbyteJobSensor"]

DEFERRED_POKE_INTERVAL = 5.0
#: Seconds between two checks, on a worker, that a connection whose data is waited for is still there.
WORKER_CONNECTION_AGAIN = 60.0


class _JobWait(SensorWait["AirbyteJobSensor"]):
    """A sensor's wait for its job."""

    def __init__(self, sensor: AirbyteJobSensor) -> None:
        super().__init__(sensor)
        self._course = Course()

    @property
    def result(self) -> int:
        """The job's id as a number.

        :raises AirbyteInputError: If it is none.
        """
        given = self.sensor.airbyte_job_id
        job_id = str(given).strip()
        # Not all that int() takes: 1_0, -7, digits of other scripts.
        if not (job_id.isascii() and job_id.isdecimal()):
            raise AirbyteInputError(
                f"airbyte_job_id must be the number of an Airbyte job, not {given!r}.",
                conn_id=self.sensor.airbyte_conn_id,
            )
        return int(job_id)

    def begin(self, context: Context) -> int:
        job_id = self.result
        validation.seconds("progress_seconds", self.sensor.progress_seconds, self.sensor.airbyte_conn_id)
        return job_id

    def ask(self, context: Context) -> Job:
        job_id = self.result
        return self.confirmed(lambda: self.hook.get_job_details(job_id), job_id)

    def said(self, job: Job) -> None:
        if (change := self._course.change(job)) is not None:
            self.log.info(change)

    def final_check(self, context: Context, job_id: int) -> Job:
        return self.hook.call(
            lambda client: asyncio.wait_for(client.get_job(job_id), FINAL_CHECK_WITHIN),
            f"looking up job {job_id}",
        )

    def no_end(self, event: Event, seconds: float | None) -> AirbyteException:
        return fail(event, self.sensor.airbyte_conn_id, None, seconds)

    def defer(self, context: Context, job: Job | None, began: float) -> NoReturn:
        sensor, job_id = self.sensor, self.result
        self.log.info("Leaving the worker; the triggerer waits for job %s", job_id)
        sensor.defer(
            trigger=AirbyteSyncTrigger(
                job_id=job_id,
                conn_id=sensor.airbyte_conn_id,
                end_time=began + sensor.timeout,
                poll_interval=sensor.poke_interval,
                execution_deadline=execution_deadline(began, sensor.execution_timeout),
                api_version=sensor.api_version,
                try_number=try_of(context),
                progress_interval=sensor.progress_seconds,
                not_before=time.time() + HOLD_EVENTS,
                connection_id=job.connection_id if job else "",
                started_here=False,
                write_xcoms=bool(sensor.do_xcom_push),
            ),
            method_name=sensor.execute_complete.__name__,
        )


class AirbyteJobSensor(AirbyteDeferrableWaitingSensor):
    """Wait for an Airbyte job that was started elsewhere. It never cancels the job.

    On a worker (``mode="poke"``), on one anew for each check (``mode="reschedule"``), or in the triggerer
    (``deferrable=True``). Result, XComs, exceptions and the meaning of ``soft_fail`` are the same: with it the task
    is skipped when the job fails, is cancelled, or does not end in time. With ``never_fail`` it is for whatever else
    would fail it, too.

    The return value is the job's id. XComs: as of
    :class:`~airbyte_deferrable.operators.AirbyteTriggerSyncOperator`.

    :param airbyte_job_id: The job: a number, its text, or another task's output. Templated.
    :param airbyte_conn_id: The Airflow connection to Airbyte. Templated. Default: ``airbyte_default``.
    :param deferrable: Wait in the triggerer. Default: ``[operators] default_deferrable``.
    :param api_version: The version in the API's path, where the connection's host names no path. Default: ``v1``.
    :param progress_seconds: Seconds between two log lines on rows and bytes while deferred; 0 for none.
        Default: 60.
    :param poke_interval: Airflow's own: seconds between two checks, or a ``timedelta``. Default: 60, deferred 5.
    :param push_streams: As of :class:`~airbyte_deferrable.operators.AirbyteTriggerSyncOperator`, as are
        ``stream_assets`` and ``dataset_names``.
    :param kwargs: Airflow's own. ``timeout``: seconds to wait, or a ``timedelta``, default
        ``[sensors] default_timeout``, which is 7 days. ``execution_timeout``: likewise, but of the whole task; the job
        goes on. ``do_xcom_push=False``: no XCom at all.
    """

    template_fields: Sequence[str] = ("airbyte_job_id", "airbyte_conn_id")

    _AirbyteDeferrableWaitingSensor__wait_of = _JobWait

    def __init__(
        self,
        *,
        airbyte_job_id: int | str,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        airbyte_conn_id: str = "airbyte_default",
        api_version: str = "v1",
        progress_seconds: float = 60.0,
        # Named, so that Airflow has looked through all default_args before it is told that nobody has set it.
        poke_interval: timedelta | float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**_with_interval(kwargs, poke_interval, deferrable))
        self.airbyte_job_id = airbyte_job_id
        self.airbyte_conn_id = airbyte_conn_id
        self.deferrable = deferrable
        self.api_version = api_version
        self.progress_seconds = progress_seconds


class _FreshnessWait(SensorWait["AirbyteFreshnessSensor"]):
    """A sensor's wait for a job that is fresh enough, of which it knows no more than the connection."""

    waits_on = SYNCS_GO_ON

    def __init__(self, sensor: AirbyteFreshnessSensor) -> None:
        super().__init__(sensor)
        #: What is waited for, once the connection's id is known.
        self._wanted: FreshSync | None = None
        self._job_id: int | None = None
        #: What the trigger has learned of a connection that is given by its name.
        self._connection_id = ""
        self._connection_due = 0.0
        #: Why there was no id for the final check, if Airbyte has said so.
        self._unresolved = ""

    @property
    def result(self) -> int | None:
        return self._job_id

    def begin(self, context: Context) -> int:
        validation.check_freshness(self.sensor)
        self._moment(context)
        return NO_JOB

    def resume(self, event: Event) -> None:
        self._connection_id = event.connection_id

    def ask(self, context: Context) -> Job | None:
        wanted = self._what(context)
        return self.confirmed(lambda: self._find(wanted), NO_JOB)

    def finish(self, context: Context, job: Job, *, xcoms_written: bool = False) -> int:
        self._job_id = job.job_id
        return super().finish(context, job, xcoms_written=xcoms_written)

    def final_check(self, context: Context, job_id: int) -> Job | None:
        rule = self._rule(context)

        async def find(client: AirbyteClient) -> Job | None:
            # The name, too, in these few seconds.
            self._wanted = rule if rule.connection_id else replace(rule, connection_id=await self._ask_for_name(client))
            return await find_fresh(client, self._wanted)

        try:
            return self.hook.call(
                lambda client: asyncio.wait_for(find(client), FINAL_CHECK_WITHIN), "looking for a job that is fresh"
            )
        except AirbyteInputError as error:
            self._unresolved = str(error)
            raise

    def no_end(self, event: Event, seconds: float | None) -> AirbyteException:
        conn_id, wanted = self.sensor.airbyte_conn_id, self._wanted
        connection_id = event.connection_id or (wanted.connection_id if wanted else None)
        subject: dict[str, Any] = {"conn_id": conn_id, "connection_id": connection_id}
        what = f"Airbyte connection {connection_id or repr(self.sensor.connection_name)}"
        match event.kind:
            case "timeout" | "execution_timeout" as deadline:
                which = wanted.what if wanted else f"job of {what}"
                span = f" ({seconds:g} s)" if seconds is not None else ""
                words = f"No {which} has succeeded before the task's {deadline}{span} was over.{self._newest()}"
                return AirbyteTimeout(words, **subject)
            case "not_visible":
                return AirbyteNotVisibleError(
                    f"{what} cannot be seen (Airflow connection {conn_id!r}): it is not there, or not any more, or the "
                    f"credentials may not see it. {event.message}",
                    **subject,
                )
            case "unresolved":
                return AirbyteInputError(event.message, **subject)
            case _:
                return AirbyteException(f"Waiting for a job of {what} failed: {event.message}", **subject)

    def defer(self, context: Context, job: Job | None, began: float) -> NoReturn:
        sensor, wanted = self.sensor, self._wanted
        self.log.info("Leaving the worker; the triggerer waits for %s", wanted or "the connection with this name")
        sensor.defer(
            trigger=AirbyteFreshnessTrigger(
                conn_id=sensor.airbyte_conn_id,
                connection_id=wanted.connection_id if wanted else "",
                after=self._moment(context).timestamp(),
                end_time=began + sensor.timeout,
                poll_interval=sensor.poke_interval,
                execution_deadline=execution_deadline(began, sensor.execution_timeout),
                must_have=sensor.must_have,
                job_types=sorted(validation.check_freshness(sensor)),
                if_failed=sensor.if_failed,
                connection_name=None if wanted else str(sensor.connection_name),
                workspace_id=None if wanted else sensor.workspace_id,
                api_version=sensor.api_version,
                try_number=try_of(context),
                not_before=time.time() + HOLD_EVENTS,
                write_xcoms=bool(sensor.do_xcom_push),
            ),
            method_name=sensor.execute_complete.__name__,
        )

    def _moment(self, context: Context) -> datetime:
        return moment(self.sensor.after, context, self.sensor.airbyte_conn_id)

    def _rule(self, context: Context) -> FreshSync:
        """Return what is waited for, with no connection's id as long as only its name is known."""
        if self._wanted is not None:
            return self._wanted
        sensor = self.sensor
        job_types, after = validation.check_freshness(sensor), self._moment(context)
        return FreshSync(
            sensor.connection_id or self._connection_id, after, sensor.must_have, job_types, sensor.if_failed
        )

    def _what(self, context: Context) -> FreshSync:
        """Return what is waited for. The first time, a connection that is given by its name is looked for."""
        if self._wanted is None:
            rule = self._rule(context)
            self._wanted = rule if rule.connection_id else replace(rule, connection_id=self._find_connection(context))
        return self._wanted

    def _find_connection(self, context: Context) -> str:
        """Look for the connection by its name, a second time if there seems to be none: then that is believed.

        A rescheduled sensor looks for it at each check, also hours after it was found first.
        """
        sensor = self.sensor
        try:
            found = self._check_name()
        except (AirbyteNotVisibleError, AirbyteConflictError):
            found = None
        if isinstance(found, str):
            return found
        time.sleep(retrying.CONFIRM_NOT_FOUND_AFTER)
        later = self._began(context) is not None
        try:
            found = self._check_name()
        except (AirbyteNotVisibleError, AirbyteConflictError) as error:
            if not later:
                raise
            # A list that is refused does not say that what was found in it before is not there any more.
            raise AirbyteRequestError(str(error), conn_id=sensor.airbyte_conn_id) from None
        if isinstance(found, str):
            return found
        if later and not found.several:
            raise self.no_end(not_visible(NO_JOB, str(found)), None)
        hint = validation.origin(sensor, "connection_name")
        raise AirbyteInputError(f"{found} {hint}".strip(), conn_id=sensor.airbyte_conn_id)

    def _check_name(self) -> str | UnresolvedName:
        async def find(client: AirbyteClient) -> str | UnresolvedName:
            try:
                return await self._ask_for_name(client)
            except UnresolvedName as error:
                return error

        return self.hook.call(find, f"looking for the connection named {str(self.sensor.connection_name)!r}")

    async def _ask_for_name(self, client: AirbyteClient) -> str:
        # Rendered as a native object, a name may be a number.
        return await find_connection(client, str(self.sensor.connection_name), self.sensor.workspace_id)

    def _find(self, wanted: FreshSync) -> Job | None:
        """Ask for the job, and if there is none, now and then, whether there may be one."""
        subject: dict[str, Any] = {"connection_id": wanted.connection_id}
        try:
            job = self.hook.call(
                lambda client: find_fresh_of_visible(client, wanted), f"looking for {wanted}", **subject
            )
            if job is not None or time.monotonic() < self._connection_due:
                return job
            connection = self.hook.call(
                lambda client: check_connection(client, wanted.connection_id),
                f"looking up connection {wanted.connection_id}",
                **subject,
            )
        except ConnectionGone as gone:
            raise AirbyteNotVisibleError(str(gone), conn_id=self.sensor.airbyte_conn_id, **subject) from None
        self._log_connection(wanted, connection)
        self._connection_due = time.monotonic() + WORKER_CONNECTION_AGAIN
        return None

    def _log_connection(self, wanted: FreshSync, connection: Connection) -> None:
        if not self._connection_due:
            self.log.info("Waiting for %s. The connection is called %r", wanted, connection.name)
        if (why := idle(connection)) is not None:
            self.log.warning(why)

    def _newest(self) -> str:
        """Say what the connection's newest job is, if that can be had quickly: why there may have been no other."""
        wanted = self._wanted
        if wanted is None:
            return " " + (self._unresolved or "Airbyte could not be asked for the connection's id.")
        with suppress(AirbyteException, asyncio.TimeoutError):
            newest = newest_of(
                self.hook.call(
                    lambda client: asyncio.wait_for(newest_jobs(client, wanted.connection_id), FINAL_CHECK_WITHIN),
                    f"listing the jobs of connection {wanted.connection_id}",
                )
            )
            if newest is None:
                return " The connection has no job."
            at = f" since {newest.last_updated_at}" if newest.last_updated_at else ""
            return f" The connection's newest job, {newest.job_id}, is a {newest.job_type} and {newest.status!r}{at}."
        return ""


class AirbyteFreshnessSensor(AirbyteDeferrableWaitingSensor):
    """Wait until a sync of an Airbyte connection that is not older than a moment has succeeded, whoever started it.

    For connections that Airbyte's own schedule syncs, or other people do. It starts nothing and never cancels anything.

    On a worker (``mode="poke"``), on one anew for each check (``mode="reschedule"``), or in the triggerer
    (``deferrable=True``), with the same result, XComs, exceptions and meaning of ``soft_fail`` and ``never_fail`` as
    of :class:`AirbyteJobSensor`. A sync that had ended before the task began is found with one request.

    The return value is the job's id. Of several that fit it is the first: the same moment gives the same job, however
    late the task begins and however often it is cleared.

    :param connection_id: The Airbyte connection, a UUID. Templated. Or else:
    :param connection_name: The Airbyte connection's name. Templated. Not used beside a ``connection_id``. With
        ``mode="reschedule"`` it is looked for at each check.
    :param workspace_id: The workspace in which the name is looked for, a UUID. Templated. Default: all that the
        credentials may see.
    :param after: The moment: a ``datetime`` with a time zone, or its text in ISO 8601. Templated. What happened in the
        same second counts. Default: the run's ``data_interval_end``; where it has none its ``run_after``.
    :param must_have: What the sync must have done at that moment or later: ``ended``, or ``started``, for data that is
        read from the source only after it; to Airbyte that is when the job was created. Default: ``ended``.
    :param job_types: Which jobs count: ``sync``, ``refresh``, ``reset``, ``clear`` (the same as ``reset`` to Airbyte),
        or several of these. Default: ``sync``.
    :param if_failed: What to do about a sync that fits, but failed or was cancelled, when no other has succeeded:
        ``wait`` for one that succeeds, or ``fail``, with the reason. Default: ``wait``.
    :param airbyte_conn_id: The Airflow connection to Airbyte. Templated. Default: ``airbyte_default``.
    :param deferrable: Wait in the triggerer. Default: ``[operators] default_deferrable``.
    :param api_version: The version in the API's path, where the connection's host names no path. Default: ``v1``.
    :param poke_interval: Airflow's own: seconds between two checks, or a ``timedelta``. Default: 60, deferred 5.
    :param kwargs: Airflow's own, as of :class:`AirbyteJobSensor`.
    """

    template_fields: Sequence[str] = ("connection_id", "airbyte_conn_id", "after", "connection_name", "workspace_id")

    _AirbyteDeferrableWaitingSensor__wait_of = _FreshnessWait

    def __init__(
        self,
        *,
        connection_id: str = "",
        connection_name: str | None = None,
        workspace_id: str | None = None,
        after: datetime | str | None = None,
        must_have: Literal["ended", "started"] = "ended",
        job_types: str | Collection[str] = "sync",
        if_failed: Literal["wait", "fail"] = "wait",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        airbyte_conn_id: str = "airbyte_default",
        api_version: str = "v1",
        # As of AirbyteJobSensor.
        poke_interval: timedelta | float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**_with_interval(kwargs, poke_interval, deferrable))
        self.connection_id = connection_id
        self.connection_name = connection_name
        self.workspace_id = workspace_id
        self.after = after
        self.must_have = must_have
        self.job_types = job_types
        self.if_failed = if_failed
        self.airbyte_conn_id = airbyte_conn_id
        self.deferrable = deferrable
        self.api_version = api_version


def _with_interval(kwargs: dict[str, Any], poke_interval: timedelta | float | None, deferrable: bool) -> dict[str, Any]:
    """Return Airflow's own parameters; who waits in the triggerer, and has set no interval, checks more often."""
    if poke_interval is None and deferrable:
        poke_interval = DEFERRED_POKE_INTERVAL
    return kwargs if poke_interval is None else {**kwargs, "poke_interval": poke_interval}
