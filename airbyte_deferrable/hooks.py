"""An Airflow connection becomes a client, with a face for blocking code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from importlib import import_module
from types import TracebackType
from typing import Any, TypeVar

from airbyte_deferrable._airflow.blocking import Outcome
from airbyte_deferrable._airflow.off_loop import in_thread
from airbyte_deferrable._airflow.results import fail, finish
from airbyte_deferrable._airflow.session import BlockingSession
from airbyte_deferrable._compat import BaseHook
from airbyte_deferrable._job.cancel import CANCEL_WITHIN, cancel_job
from airbyte_deferrable._job.connections import describe, find_connection
from airbyte_deferrable._job.events import Event
from airbyte_deferrable._job.failure import Explanation, explain
from airbyte_deferrable._job.queue import wait_in_queue
from airbyte_deferrable._job.selection import ConnectionFilter, select_connections
from airbyte_deferrable._job.wait import FINAL_CHECK_WITHIN, Deadlines, wait_for_end
from airbyte_deferrable._watcher.directory import Description
from airbyte_deferrable._watcher.loop import JobWatcher
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.diagnosis import diagnose
from airbyte_deferrable.api.models import Connection, ConnectionStatus, Job, JobStatus, JobType
from airbyte_deferrable.api.settings import Settings
from airbyte_deferrable.provider import FIELD_BEHAVIOUR, FORM_FIELDS

T = TypeVar("T")

#: Seconds between two checks of :meth:`AirbyteHook.wait_for_job`, as in the official hook.
WAIT_SECONDS = 3.0


class AirbyteHook(BaseHook):
    """Airbyte's API for tasks.

    The blocking methods are for workers. In coroutines use :meth:`async_client`. As a context manager
    (``with AirbyteHook() as hook``) the hook keeps one session and one token for all that is done inside;
    otherwise each call has its own.

    The blocking methods raise subclasses of :class:`~airbyte_deferrable.exceptions.AirbyteException`; if Airflow has no
    such connection, its own ``AirflowNotFoundException``. The client of :meth:`async_client` raises those of
    :mod:`airbyte_deferrable.api.errors`.

    :param airbyte_conn_id: The Airflow connection. Default: ``airbyte_default``.
    :param api_version: The version in the API's path, where the connection's host names no path. Default: ``v1``.
    :param timeout: Seconds for one request. Default: the connection's extra ``timeout``, else 30.
    """

    conn_name_attr = "airbyte_conn_id"
    default_conn_name = "airbyte_default"
    conn_type = "airbyte"
    hook_name = "Airbyte"

    def __init__(
        self,
        airbyte_conn_id: str = "airbyte_default",
        api_version: str = "v1",
        timeout: float | None = None,
    ) -> None:
        super().__init__()
        self.airbyte_conn_id = airbyte_conn_id
        self.api_version = api_version
        self.timeout = timeout
        # Subclasses of the official hook name their own as they like, so nothing here depends on a name that one may
        # have taken: what is private has a mangled name, and what is public is not called through `self`.
        self.__session = BlockingSession(self, lambda client: JobWatcher(client, quiet=True))

    # Not a property, which a subclass could not set.
    @cached_property
    def settings(self) -> Settings:
        """The connection, read at first use. Blocks."""
        return self.__session.settings

    def __enter__(self) -> AirbyteHook:
        self.__session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__session.__exit__(kind, error, trace)

    def close(self) -> None:
        """Close the session. The next call opens a new one."""
        self.__session.close()

    def call(self, use: Callable[[AirbyteClient], Coroutine[Any, Any, T]], doing: str, **subject: Any) -> T:
        """Do something with the client and wait for it.

        :param use: Takes the client and returns the coroutine to wait for.
        :param doing: What is being done, for messages: ``"looking up job 7"``.
        :param subject: ``connection_id`` and ``job_id``, as far as they are known, for messages.
        :return: What the coroutine returns.
        """
        return self.__session.call(use, doing, **subject)

    def start(self, use: Callable[[AirbyteClient], Coroutine[Any, Any, T]]) -> Outcome[T]:
        """Do something with the client beside what the task does, until the hook is closed.

        Only within ``with hook``, which keeps the session for it.

        :param use: Takes the client and returns the coroutine.
        :return: What comes of it.
        """
        return self.__session.start(use)

    def warm_up(self) -> None:
        """Load what the first request needs, beside what the task does until then."""
        self.__session.warm_up()

    @asynccontextmanager
    async def async_client(self) -> AsyncIterator[AirbyteClient]:
        """Give coroutines a client of their own: ``async with hook.async_client() as client``.

        The connection is looked up beside the event loop.

        :return: The client, closed when the block is left.
        """
        settings = await in_thread(lambda: self.__session.settings)
        async with AirbyteClient(settings) as client:
            yield client

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Say how the connection form shows Airflow's own fields, for Airflow before 3.3."""
        return {key.replace("-", "_"): value for key, value in FIELD_BEHAVIOUR.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the connection form's further fields, for Airflow before 3.3.

        All of them are text: a checkbox, or a number that is not filled in, would store something else than "not
        given" into connections that never had the field.
        """
        # Only Airflow's web server has these.
        widgets, fields = import_module("flask_appbuilder.fieldwidgets"), import_module("wtforms")

        return {
            name: fields.StringField(
                field["label"], description=field["description"], widget=widgets.BS3TextFieldWidget()
            )
            for name, field in FORM_FIELDS.items()
        }

    def get_job_details(self, job_id: int) -> Job:
        """Look a job up.

        :return: The job as it is now.
        """
        return self.__session.call(lambda client: client.get_job(job_id), f"looking up job {job_id}", job_id=job_id)

    def get_job_status(self, job_id: int) -> str:
        """Return a job's status, lower case: ``running``, ``succeeded``, …"""
        return self.get_job_details(job_id).status

    def submit_sync_connection(self, connection_id: str) -> Job:
        """Start a sync.

        :param connection_id: The Airbyte connection.
        :return: The job.
        """
        return AirbyteHook.submit(self, connection_id, JobType.SYNC)

    def submit_reset_connection(self, connection_id: str) -> Job:
        """Start a reset. A sync of the connection that runs is cancelled by Airbyte.

        :param connection_id: The Airbyte connection.
        :return: The job.
        """
        return AirbyteHook.submit(self, connection_id, JobType.RESET)

    def submit(self, connection_id: str, job_type: JobType) -> Job:
        """Start a job, asking Airbyte once. The operator does more: it never starts one twice.

        :param connection_id: The Airbyte connection.
        :param job_type: What to start.
        :return: The job.
        """
        return self.__session.call(
            lambda client: client.create_job(connection_id, job_type),
            f"starting a {job_type} of connection {connection_id}",
            connection_id=connection_id,
        )

    def cancel_job(self, job_id: int, connection_id: str = "", within: float | None = None) -> Job:
        """Cancel a job if it is live, and see it end.

        :param connection_id: The Airbyte connection whose job it has to be. Default: any.
        :param within: Seconds after which to give up. Default: 10.
        :return: The job as it was seen last.
        """
        seconds = CANCEL_WITHIN if within is None else within
        return self.__session.call(
            lambda client: cancel_job(
                lambda: client, job_id, within=seconds, log=self.log, connection_id=connection_id
            ),
            f"cancelling job {job_id}",
            job_id=job_id,
        )

    def wait_for_job(
        self, job_id: str | int, wait_seconds: float | None = WAIT_SECONDS, timeout: float | None = 3600
    ) -> None:
        """Wait for a job to succeed. The job is left alone when the wait is over.

        :param wait_seconds: Seconds between two checks; None for the default. Default: 3.
        :param timeout: Seconds to wait; None or 0 for ever. Default: 3600.
        :raises airbyte_deferrable.exceptions.AirbyteJobFailed: If the job failed.
        :raises airbyte_deferrable.exceptions.AirbyteJobCancelled: If it was cancelled.
        :raises airbyte_deferrable.exceptions.AirbyteTimeout: If it had not ended in time.
        """
        end_time = time.time() + timeout if timeout else None
        poll_interval = WAIT_SECONDS if wait_seconds is None else wait_seconds
        event = AirbyteHook.wait_for_end(self, int(job_id), Deadlines(end_time, None), poll_interval=poll_interval)
        if event.kind != "ended" or event.job is None:
            raise fail(event, self.airbyte_conn_id, None, timeout)
        finish(event.job, self.log, self.airbyte_conn_id, AirbyteHook.explain(self, event.job))

    def wait_for_end(
        self, job_id: int, deadlines: Deadlines, *, poll_interval: float, progress_interval: float = 60.0
    ) -> Event:
        """Wait until a job has ended or time is up.

        :param deadlines: When to give up.
        :param poll_interval: Seconds between two checks.
        :param progress_interval: Seconds between two log lines on rows and bytes; 0 for none. Default: 60.
        :return: How the wait ended.
        """
        return self.__session.call(
            lambda _: wait_for_end(
                self.__session.watcher,
                job_id,
                deadlines,
                poll_interval=poll_interval,
                progress_interval=progress_interval,
                log=self.log,
            ),
            f"waiting for job {job_id}",
            job_id=job_id,
        )

    def wait_in_queue(self, connection_id: str, deadlines: Deadlines, *, poll_interval: float) -> bool:
        """Wait until a busy connection may run the next job.

        :param connection_id: The Airbyte connection.
        :param deadlines: When to give up.
        :param poll_interval: Seconds between two checks.
        :return: Whether it may; False if time was up.
        """

        async def wait() -> bool:
            # Nobody else waits at this watcher: the task keeps the one position, by which it is known the next time.
            watcher = self.__session.watcher
            admission = wait_in_queue(watcher, connection_id, 0.0, poll_interval=poll_interval, log=self.log)
            try:
                await asyncio.wait_for(admission, deadlines.left())
            except asyncio.TimeoutError:
                return False
            return True

        doing = f"waiting for connection {connection_id}"
        return self.__session.call(lambda _: wait(), doing, connection_id=connection_id)

    def find_connection(self, name: str, workspace_id: str | None = None) -> str:
        """Return the id of the Airbyte connection with a name.

        :param workspace_id: The workspace to look in. Default: all that the credentials may see.
        :raises airbyte_deferrable.exceptions.AirbyteInputError: If there is none, or more than one.
        """
        return self.__session.call(
            lambda client: find_connection(client, name, workspace_id), f"looking for the connection named {name!r}"
        )

    def list_connections(
        self,
        workspace_id: str | None = None,
        *,
        tag: str | None = None,
        name_pattern: str | None = None,
        status: ConnectionStatus | str | None = None,
        source_type: str | None = None,
        destination_type: str | None = None,
    ) -> list[Connection]:
        """Return the Airbyte connections that fit all that is given, every one of them, as they are now.

        Those that were deleted are never among them. It takes a request for each hundred connections.

        :param workspace_id: The workspace, a UUID. Default: all that the credentials may see.
        :param tag: The name of a tag, matched exactly first, then ignoring case and surrounding spaces. Where several
            workspaces have a tag of that name, those of each. Default: with any tags, or none.
        :param name_pattern: A shell pattern for the name, such as ``Orders*`` (see :mod:`fnmatch`), ignoring case and
            surrounding spaces. Default: any name.
        :param status: ``active``, ``inactive`` or ``locked``. Default: any of these.
        :param source_type: What Airbyte calls the type of source, lower case with hyphens: ``google-sheets``. Custom
            connectors have no type. Default: any.
        :param destination_type: Likewise of destination: ``bigquery``. Default: any.
        :return: The connections, in the order of their names, those of the same name in that of their ids.
        :raises airbyte_deferrable.exceptions.AirbyteInputError: If there is no such tag, or a parameter is not what it
            has to be.
        :raises airbyte_deferrable.exceptions.AirbyteNotVisibleError: If there is no such workspace, or the credentials
            may not read it, its sources or destinations.
        :raises airbyte_deferrable.exceptions.AirbyteUnreachableError: If Airbyte gives no answer, or not all
            connections.
        """

        async def select(client: AirbyteClient) -> list[Connection]:
            wanted = ConnectionFilter(workspace_id, tag, name_pattern, status, source_type, destination_type)
            return list(await select_connections(client, wanted))

        return self.__session.call(select, "listing Airbyte connections")

    def describe(self, connection_id: str) -> Description:
        """Look up what a connection is called, as far as that can be had quickly.

        :param connection_id: The Airbyte connection.
        :return: What could be learned.
        """
        return self.__session.call(
            lambda client: describe(client, connection_id),
            f"looking up connection {connection_id}",
            connection_id=connection_id,
        )

    def explain(self, job: Job, details: Any = None) -> Explanation | None:
        """Ask why a job failed, for a few seconds at most.

        :param details: What the config API's ``jobs/get_without_logs`` has told of it, empty if it gave no answer.
            Default: it is asked.
        :return: The reason; None if the job did not fail, or Airbyte's config API does not tell.
        """
        if job.status != JobStatus.FAILED:
            return None
        return self.__session.call(
            lambda client: explain(client, job.job_id, details), f"asking why job {job.job_id} failed"
        )

    def with_figures(self, job: Job) -> Job:
        """Return a job that has ended with its rows and bytes, if Airbyte tells them quickly.

        Airbyte leaves them out of its answers to create and cancel, and out of its lists where it is set up so.
        """
        if job.rows_synced is None:
            # It has ended, whatever Airflow and Airbyte say to this.
            with suppress(Exception):
                told = self.__session.call(
                    lambda client: asyncio.wait_for(client.get_job(job.job_id), FINAL_CHECK_WITHIN),
                    f"looking up job {job.job_id}",
                    job_id=job.job_id,
                )
                if (told.status, told.connection_id) == (job.status, job.connection_id):
                    return told
        return job

    def test_connection(self) -> tuple[bool, str]:
        """Try the connection, and tell address, credentials and permission apart.

        :return: Whether all is well, and what to tell the user.
        """
        try:
            return self.__session.call(diagnose, "testing the connection")
        except Exception as error:
            return False, str(error)
