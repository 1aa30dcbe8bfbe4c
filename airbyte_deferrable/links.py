"""The button that links a task to its job in Airbyte's web app."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow import __version__ as airflow_version

from airbyte_deferrable._airflow.task_instance import read_xcom
from airbyte_deferrable._compat import AIRFLOW_3, BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

    from airbyte_deferrable._airflow.blocking import Outcome
    from airbyte_deferrable._compat import Context
    from airbyte_deferrable._job.task_log import Log
    from airbyte_deferrable._watcher.directory import Description
    from airbyte_deferrable.api.models import Job
    from airbyte_deferrable.hooks import AirbyteHook

#: The XCom that holds the address.
JOB_URL = "airbyte_job_url"
#: Before 3.1, an exception of a link fails a task that has done its work (3.0) or the page that shows it (2.11).
MAY_FAIL = tuple(map(int, airflow_version.split(".")[:2])) >= (3, 1)


class AirbyteJobLink(BaseOperatorLink):
    """Links to the job's logs, while the task waits and after.

    Airflow 2 asks for the address when it shows the button, Airflow 3 shows what is in the XCom :attr:`xcom_key`.
    Whoever knows job and workspace first writes it: the task on its worker, or its trigger, which learns the workspaces
    of all waiting tasks together. There is none where Airbyte does not tell the connection's workspace, and none for a
    rescheduled sensor before the job's end.
    """

    name = "Airbyte job"
    xcom_key = JOB_URL

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty if there is none (yet).

        :param operator: The task.
        :param ti_key: Names the task instance.
        :raises Exception: It could not be read. Airflow logs that, and leaves the button as it is.
        """
        try:
            return read_xcom(ti_key, JOB_URL) or ""
        except Exception:
            if MAY_FAIL:
                raise
            return ""


def leave_link_to_task(task: Any) -> None:
    """Keep Airflow 3 from writing the button's address at the end of this leg, after the task or its trigger has.

    It asks :meth:`AirbyteJobLink.get_link` and writes the answer at the end of each leg, deferral included. That is two
    calls of 10 to 20 ms each for what is there already, and for nothing, over it, where the trigger was faster.

    :param task: The operator or sensor that runs.
    """
    if AIRFLOW_3:
        # A subclass may make a property of it; it then has the two calls.
        with suppress(AttributeError):
            task.operator_extra_links = tuple(
                link for link in task.operator_extra_links if not isinstance(link, AirbyteJobLink)
            )


def job_url(web_url: str | None, workspace_id: str, connection_id: str, job_id: int) -> str:
    """Return the address of a job in Airbyte's web app; empty if something of it is not known.

    :param web_url: The web app's address; None if there is none.
    """
    if not (web_url and workspace_id and connection_id):
        return ""
    where = f"{web_url}/workspaces/{workspace_id}/connections/{connection_id}"
    return f"{where}/timeline?openLogs=true&jobId={job_id}"


def link_to_job(hook: AirbyteHook, context: Context, job: Job, workspace_id: str, log: Log) -> None:
    """Link button and log to the job, if its address is known. Blocks.

    :param workspace_id: The workspace of the job's connection; empty if not known.
    """
    url = job_url(hook.settings.web_url, workspace_id, job.connection_id, job.job_id)
    if url:
        log.info("See it in Airbyte: %s", url)
        write_link(context, url)


def write_link(context: Context, url: str) -> None:
    """Link the button to an address. Blocks.

    :param context: The task's context; one without a task instance has no button.
    :param url: The job's address; empty to leave the button as it is.
    """
    if url and "ti" in context:
        context["ti"].xcom_push(key=JOB_URL, value=url)


async def link_when_described(
    hook: AirbyteHook, context: Context, job: Job, description: Outcome[Description], log: Log
) -> None:
    """Name the job's connection and link to the job as soon as Airbyte has told of them, while the task waits.

    :param description: What Airbyte is being asked.
    """
    assert description.task is not None, "it was begun before this, in the same loop"
    about = await description.task
    if about.name:
        log.info("Airbyte job %s is one of connection %s", job.job_id, about)
    await asyncio.to_thread(link_to_job, hook, context, job, about.workspace_id, log)
