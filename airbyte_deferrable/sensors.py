"""The sensor that waits for a job which somebody else started."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airbyte_deferrable._compat import AirflowSkipException, BaseSensorOperator, PokeReturnValue, conf
from airbyte_deferrable.exceptions import (
    AirbyteConflictError,
    AirbyteException,
    AirbyteInputError,
    AirbyteNotVisibleError,
    AirbyteSensorTimeout,
    AirbyteUnreachableError,
)
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.lease import write_lease
from airbyte_deferrable.links import AirbyteJobLink, lead_to_job
from airbyte_deferrable.outcome import Event, conclude, ended, fail, push, read_event
from airbyte_deferrable.triggers import HOLD_EVENTS, AirbyteSyncTrigger

if TYPE_CHECKING:
    from airbyte_deferrable._compat import Context
    from airbyte_deferrable.api.models import Job

DEFERRED_POKE_INTERVAL = 5.0
DEFERRED_TIMEOUT = 7 * 24 * 3600.0
#: Seconds after which Airbyte is asked again whether there really is no such job.
ASK_AGAIN = 1.0


class AirbyteJobSensor(BaseSensorOperator):
    """Wait for an Airbyte job that was started elsewhere. It never cancels the job.

    On a worker (``mode="poke"``), coming back to one for each look (``mode="reschedule"``), or in the triggerer
    (``deferrable=True``). Result, XComs, exceptions and the meaning of ``soft_fail`` are the same: with it the task
    is skipped when the job fails, is cancelled, or does not end in time.

    The return value is the job's id. XComs: as of
    :class:`~airbyte_deferrable.operators.AirbyteTriggerSyncOperator`.

    :param airbyte_job_id: The job: a number, its text, or another task's output. Templated.
    :param airbyte_conn_id: The Airflow connection to Airbyte. Templated. Default: ``airbyte_default``.
    :param deferrable: Wait in the triggerer. Default: ``[operators] default_deferrable``.
    :param api_version: The version in the API's path, where the connection's Host names no path. Default: ``v1``.
    :param progress_seconds: Seconds between two log lines on rows and bytes while deferred; 0 for none.
        Default: 60.
    :param kwargs: Airflow's own. ``poke_interval``: seconds between two looks, default 60, deferred 5. ``timeout``:
        seconds to wait, default ``[sensors] default_timeout``, deferred 7 days. ``execution_timeout``: likewise, but
        of the whole task; the job goes on.
    """

    template_fields: Sequence[str] = ("airbyte_job_id", "airbyte_conn_id")
    ui_color = "#6C51FD"
    operator_extra_links = (AirbyteJobLink(),)

    def __init__(
        self,
        *,
        airbyte_job_id: int | str,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        airbyte_conn_id: str = "airbyte_default",
        api_version: str = "v1",
        progress_seconds: float = 60.0,
        **kwargs: Any,
    ) -> None:
        if deferrable:
            kwargs.setdefault("poke_interval", DEFERRED_POKE_INTERVAL)
            kwargs.setdefault("timeout", DEFERRED_TIMEOUT)
        super().__init__(**kwargs)
        self.airbyte_job_id = airbyte_job_id
        self.airbyte_conn_id = airbyte_conn_id
        self.deferrable = deferrable
        self.api_version = api_version
        self.progress_seconds = progress_seconds
        self._hook: AirbyteHook | None = None
        self._status = ""

    def execute(self, context: Context) -> Any:
        """Wait in the way that was chosen.

        :param context: The task's context.
        :return: The job's id.
        """
        job_id = self._job_id()
        # One session and one token for all the looks of this leg.
        with self._connect() as hook:
            if not self.deferrable:
                return super().execute(context)
            end_time = time.time() + self.timeout
            job = self._look(hook, context, job_id)
            if job is None or not job.terminal:
                self._leave(context, job_id, end_time)
            return self._finish(hook, context, ended(job))

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once.

        :param context: The task's context.
        """
        with self._connect() as hook:
            job = self._look(hook, context, self._job_id())
            if job is None or not job.terminal:
                return False
            return PokeReturnValue(is_done=True, xcom_value=self._finish(hook, context, ended(job)))

    def execute_complete(self, context: Context, event: Any = None) -> int:
        """Resume with what the trigger tells.

        :param context: The task's context.
        :param event: See :class:`~airbyte_deferrable.outcome.Event`.
        :return: The job's id.
        """
        with self._connect() as hook:
            return self._finish(hook, context, read_event(event))

    def _look(self, hook: AirbyteHook, context: Context, job_id: int) -> Job | None:
        """Return the job; None if Airbyte cannot tell now, which is no reason to give up."""
        try:
            job = self._see(hook, job_id)
        except AirbyteUnreachableError as error:
            self.log.warning("Airbyte cannot be asked now. The job may well go on, so this task waits on. %s", error)
            return None
        if not self._status and not self.reschedule:
            lead_to_job(hook, context, job)
        if job.status != self._status and not job.terminal:
            self.log.info("Airbyte job %s is %s", job_id, job.status)
        self._status = job.status
        return job

    def _see(self, hook: AirbyteHook, job_id: int) -> Job:
        """Ask for the job; Airbyte's word that there is none is believed when it comes twice."""
        try:
            return hook.get_job_details(job_id)
        except (AirbyteNotVisibleError, AirbyteConflictError):
            time.sleep(ASK_AGAIN)
            return hook.get_job_details(job_id)

    def _leave(self, context: Context, job_id: int, end_time: float) -> NoReturn:
        """Hand the job over to the triggerer."""
        now = time.time()
        life = self.execution_timeout
        write_lease(context, job_id, ours=False)
        self.log.info("Leaving the worker; the triggerer waits for job %s", job_id)
        self.defer(
            trigger=AirbyteSyncTrigger(
                job_id=job_id,
                conn_id=self.airbyte_conn_id,
                end_time=end_time,
                poll_interval=self.poke_interval,
                execution_deadline=now + life.total_seconds() if life else None,
                api_version=self.api_version,
                try_number=context["ti"].try_number,
                progress_interval=self.progress_seconds,
                not_before=now + HOLD_EVENTS,
            ),
            method_name=self.execute_complete.__name__,
        )

    def _finish(self, hook: AirbyteHook, context: Context, event: Event) -> int:
        """Turn what is known of the end into the task's end."""
        try:
            if event.reason is not None:
                raise self._no_end(event)
            job = event.job or hook.get_job_details(event.job_id)
            push(job, context)
            return conclude(job, self.log, self.airbyte_conn_id)
        except AirbyteException as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipped instead of failed: {error}") from error
            raise

    def _no_end(self, event: Event) -> AirbyteException:
        life = self.execution_timeout.total_seconds() if self.execution_timeout else None
        if event.reason == "timeout" and event.status != "timeout":
            error = fail(event, self.airbyte_conn_id, None, self.timeout)
            return AirbyteSensorTimeout(str(error), conn_id=error.conn_id, job_id=error.job_id)
        return fail(event, self.airbyte_conn_id, None, life)

    def _job_id(self) -> int:
        """Return the job's id as a number."""
        try:
            return int(str(self.airbyte_job_id).strip())
        except ValueError:
            raise AirbyteInputError(
                f"airbyte_job_id must be the number of an Airbyte job, not {self.airbyte_job_id!r}.",
                conn_id=self.airbyte_conn_id,
            ) from None

    def _connect(self) -> AirbyteHook:
        if self._hook is None:
            self._hook = AirbyteHook(self.airbyte_conn_id, self.api_version)
        return self._hook
