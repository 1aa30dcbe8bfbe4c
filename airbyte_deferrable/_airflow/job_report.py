"""What a deferred task is told of its job by its trigger: log lines, and the task's XComs.

Each XCom is a call of 12 to 20 ms to Airflow, one after the other for all triggers of a process, and events wait behind
them. What cannot be written here the task writes when it is resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from airbyte_deferrable._airflow.off_loop import in_thread
from airbyte_deferrable._airflow.results import xcoms
from airbyte_deferrable._airflow.shared_watcher import shared_watcher
from airbyte_deferrable._airflow.task_instance import write_xcoms
from airbyte_deferrable._job.task_log import Log
from airbyte_deferrable.api.aio import among_few
from airbyte_deferrable.api.models import Job
from airbyte_deferrable.api.settings import Settings

#: Seconds that a job which ends at once is held back until its task has been told what its connection is called.
INTRODUCED_WITHIN = 3.0
#: So many triggers of a process, at most, write their jobs' XComs at a time; the tasks of the others do it themselves.
WRITERS_AT_ONCE = 20

#: Seconds that an event is held back for it, where Airflow does not take the XComs.
WRITTEN_WITHIN = 5.0

#: Those of this process that are being written: also the ones that nobody waits for any more.
_writing: set[asyncio.Future[None]] = set()


class JobReport:
    """Tells one task of its job.

    :param ti: The trigger's task instance; None in ``dag.test()``.
    :param url_key: The XCom for the job's address; None to write none.
    """

    __slots__ = ("_introduction", "_log", "_ti", "_url_key", "job_url")

    def __init__(self, ti: Any, log: Log, url_key: str | None) -> None:
        self._ti = ti
        self._log = log
        self._url_key = url_key
        self._introduction: asyncio.Task[None] | None = None
        #: Where the job's page is, until Airflow has it.
        self.job_url = ""

    def introduce(self, settings: Settings, job_id: int, connection_id: str, url_in: Callable[[str], str]) -> None:
        """Begin to tell the task what its connection is called, and where its job is.

        :param url_in: Returns the job's address, given the workspace; empty if it has none.
        """
        self._introduction = asyncio.create_task(self._introduce(settings, job_id, connection_id, url_in))

    async def _introduce(
        self, settings: Settings, job_id: int, connection_id: str, url_in: Callable[[str], str]
    ) -> None:
        about = await (await shared_watcher(settings)).directory.describe(connection_id)
        url = url_in(about.workspace_id)
        await among_few()
        if about.name:
            self._log.info("Airbyte job %s is one of connection %s", job_id, about)
        if not url:
            return
        self._log.info("See it in Airbyte: %s", url)
        if self._url_key is None:
            return
        self.job_url = url
        if self._ti is not None:
            with suppress(Exception):
                await in_thread(write_xcoms, self._ti, {self._url_key: url})
                self.job_url = ""

    async def introduced(self) -> None:
        """Wait until the task is told, but not for long. Most are told long ago."""
        if self._introduction is not None:
            await asyncio.wait({self._introduction}, timeout=INTRODUCED_WITHIN)

    async def write_end(self, job: Job | None) -> bool:
        """Write how the job ended, which spares the task's last leg three calls to Airflow.

        :param job: The job as it was last; None if that is not known.
        :return: Whether that was done. What was not, the task does.
        """
        if self._ti is None or len(_writing) >= WRITERS_AT_ONCE:
            return False
        if job is None or not job.terminal or job.rows_synced is None:
            # The task asks for the rest.
            return False
        written = asyncio.ensure_future(in_thread(write_xcoms, self._ti, xcoms(job)))
        _writing.add(written)
        written.add_done_callback(_forget)
        done, _ = await asyncio.wait({written}, timeout=WRITTEN_WITHIN)
        return bool(done) and not written.cancelled() and written.exception() is None

    def stop(self) -> None:
        """Tell nothing more."""
        if self._introduction is not None:
            self._introduction.cancel()


def _forget(written: asyncio.Future[None]) -> None:
    _writing.discard(written)
    if not written.cancelled():
        # Nobody may be left to take the error.
        written.exception()
