"""The button that leads from a task to its job in Airbyte's web app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow import __version__ as airflow_version

from airbyte_deferrable._compat import AIRFLOW_3, BaseOperatorLink
from airbyte_deferrable.taskstate import read_xcom

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

    from airbyte_deferrable._compat import Context
    from airbyte_deferrable.api.models import Job
    from airbyte_deferrable.hooks import AirbyteHook

#: The XCom that holds the address.
JOB_URL = "airbyte_job_url"
#: Before 3.1, an exception of a link fails a task that has done its work (3.0) or the page that shows it (2.11).
MAY_FAIL = tuple(map(int, airflow_version.split(".")[:2])) >= (3, 1)


class AirbyteJobLink(BaseOperatorLink):
    """Leads to the job's logs as soon as the task knows the job, while it waits on the worker or deferred, and after.

    Airflow 2 asks for the address when it shows the button. Airflow 3 shows what is in the link's own XCom:
    :func:`lead_to_job` writes it as soon as there is a job, and Airflow at the end of each leg of the task. There is
    none where Airbyte does not tell the connection's workspace, and none for a rescheduled sensor before the job's end.
    """

    name = "Airbyte job"
    #: Not :data:`JOB_URL`, which is the task's: Airflow writes here what :meth:`get_link` returns, also when that is
    #: empty, and without the XCom backend with which tasks read and write theirs.
    xcom_key = "_link_AirbyteJobLink"

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
    if AIRFLOW_3:
        # Airflow itself would do that only when the task leaves the worker. Until then, an XCom backend that keeps all
        # values elsewhere makes the button lead to where it keeps this one.
        context["ti"].xcom_push(key=AirbyteJobLink.xcom_key, value=url)
    return str(about), url
