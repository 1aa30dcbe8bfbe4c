"""The button that leads from a task to its job in Airbyte's web app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airbyte_deferrable._compat import BaseOperatorLink
from airbyte_deferrable.taskstate import read_xcom

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

    from airbyte_deferrable._compat import Context
    from airbyte_deferrable.api.models import Job
    from airbyte_deferrable.hooks import AirbyteHook

#: The XCom that holds the address.
JOB_URL = "airbyte_job_url"


class AirbyteJobLink(BaseOperatorLink):
    """Leads to the job's logs. It is there as soon as the job is, also while the task is deferred."""

    name = "Airbyte job"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty if there is none (yet).

        :param operator: The task.
        :param ti_key: Names the task instance.
        """
        try:
            return read_xcom(ti_key, JOB_URL) or ""
        except Exception:
            # On Airflow 3.0 an exception here would fail a task that has done its work.
            return ""


def job_url(web_url: str, workspace_id: str, connection_id: str, job_id: int) -> str:
    """Return the address of a job in Airbyte's web app.

    :param web_url: The web app's address.
    :param workspace_id: The workspace of the connection.
    :param connection_id: The connection.
    :param job_id: The job.
    """
    where = f"{web_url}/workspaces/{workspace_id}/connections/{connection_id}"
    return f"{where}/timeline?openLogs=true&jobId={job_id}"


def lead_to_job(hook: AirbyteHook, context: Context, job: Job) -> tuple[str, str]:
    """Look the job's connection up, and let the button lead to the job.

    :param hook: The Airbyte.
    :param context: The task's context.
    :param job: The job.
    :return: What the connection is called and the job's address, each empty if it could not be had quickly.
    """
    about = hook.describe(job.connection_id)
    if not about.workspace_id or not hook.settings.web_url:
        return str(about), ""
    url = job_url(hook.settings.web_url, about.workspace_id, job.connection_id, job.job_id)
    context["ti"].xcom_push(key=JOB_URL, value=url)
    return str(about), url
