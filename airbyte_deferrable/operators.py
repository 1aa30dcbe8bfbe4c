"""The operator that runs a job of an Airbyte connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airbyte_deferrable._airflow import validation
from airbyte_deferrable._airflow.failure_note import noting_failures
from airbyte_deferrable._compat import BaseOperator, conf
from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable._sync_task import SyncTask
from airbyte_deferrable.lineage.task import check, in_dag, mapped
from airbyte_deferrable.links import AirbyteJobLink

if TYPE_CHECKING:
    from airbyte_deferrable._compat import Context
    from airbyte_deferrable.lineage.asset_events import Which

POLL_ON_WORKER = 3.0
POLL_DEFERRED = 5.0


class AirbyteTriggerSyncOperator(BaseOperator):
    """Run a job of an Airbyte connection, at most one for each task instance, however often it is tried.

    Three ways: wait on the worker (the default), leave the worker and wait in the triggerer (``deferrable=True``), with
    the same result, XComs, exceptions and log; or do not wait (``asynchronous=True``, for
    :class:`~airbyte_deferrable.sensors.AirbyteJobSensor`).

    The return value is the job's id. XComs of a job that was waited for: ``final_status``, ``rows_synced`` and
    ``airbyte_job``, the job as Airbyte tells it, with its bytes, its times, and its duration as ``durationSeconds``.

    For subclasses: :attr:`job_id` is the job, as soon as it is known. A job that a subclass starts itself and stores
    there is cancelled by :meth:`on_kill`, as the official provider does. Each call of :meth:`execute` in one try runs a
    job of its own; a retry's first call finds the job of the first one before, its second that of the second.

    :param connection_id: The Airbyte connection, a UUID. Templated. Or else:
    :param connection_name: The Airbyte connection's name. Templated. Not used beside a ``connection_id``.
    :param workspace_id: The workspace in which the name is looked for, a UUID. Templated. Default: all that the
        credentials may see. Beside a ``connection_id`` it only leads the task's button there.
    :param airbyte_conn_id: The Airflow connection to Airbyte. Templated. Default: ``airbyte_default``.
    :param asynchronous: Return the job's id as soon as it is started. Default: False.
    :param deferrable: Wait in the triggerer. Default: ``[operators] default_deferrable``.
    :param api_version: The version in the API's path, where the connection's host names no path. Default: ``v1``.
    :param wait_seconds: Seconds between two checks of the job, or a ``timedelta``. Default: 3, with ``deferrable`` 5.
        The attribute is always a number.
    :param timeout: Seconds to wait for the job's end, or a ``timedelta``; 0 or infinity for ever. When they are over
        the task fails and the job goes on. They include the wait for a busy connection, which is all that they limit
        with ``asynchronous``. Default: 3600.
    :param job_type: What to run: ``sync``, ``reset``, ``clear`` (the same as ``reset`` to Airbyte) or ``refresh``
        (refused by the public API of today's Airbyte). Templated. Default: ``sync``.
    :param if_running: What to do when the connection runs another job: ``wait`` for its end and then start ours,
        ``attach`` to it, so that its outcome is ours, ``skip`` the task, or ``fail``. Default: ``wait``.
    :param cancel_on_kill: Cancel the job when a user kills the task (marks it, clears it, marks its run).
        Default: True.
    :param progress_seconds: Seconds between two log lines on rows and bytes; 0 for none. Default: 60.
    :param push_streams: Whether to ask Airbyte, when the job has ended, which streams it moved, and to leave the XCom
        ``streams`` (see the page *Lineage*). Default: ``[airbyte_deferrable] push_streams``, which is False, but it is
        True where OpenLineage listens or there are ``stream_assets``.
    :param stream_assets: Tell Airflow of the tables that the job has filled, so that DAGs can be scheduled on them:
        ``moved`` for those of which rows were written, ``all`` for those of all streams. Default: None, tell nothing.
    :param dataset_names: Other names for tables, for OpenLineage and assets: a mapping of the beginnings of URIs, or a
        function that takes :class:`~airbyte_deferrable.lineage.Dataset`,
        :class:`~airbyte_deferrable.lineage.JobStream` and ``source`` or ``destination``, and returns a dataset or its
        URI. Default: ``[airbyte_deferrable] dataset_names``.
    :param kwargs: Airflow's own. With ``execution_timeout`` the job is cancelled and the task fails when it is
        over; Airflow 3 does not apply it to a deferred task, the trigger does. With ``do_xcom_push=False`` there is no
        XCom but the one by which a deferred task's trigger tells a kill, and no address for the button.
    """

    #: How long a submission goes on while Airbyte gives no answer that counts. Not Airflow's retry_policy.
    submit_policy: ClassVar[SubmitPolicy] = SubmitPolicy()

    template_fields: Sequence[str] = (
        "connection_id",
        "airbyte_conn_id",
        "job_type",
        "connection_name",
        "workspace_id",
    )
    ui_color = "#6C51FD"
    operator_extra_links = (AirbyteJobLink(),)

    def __init__(
        self,
        connection_id: str = "",
        airbyte_conn_id: str = "airbyte_default",
        asynchronous: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        api_version: str = "v1",
        wait_seconds: float | timedelta | None = None,
        timeout: float | timedelta = 3600,
        *,
        job_type: str = "sync",
        if_running: Literal["wait", "attach", "skip", "fail"] = "wait",
        cancel_on_kill: bool = True,
        progress_seconds: float | timedelta = 60.0,
        connection_name: str | None = None,
        workspace_id: str | None = None,
        push_streams: bool | None = None,
        stream_assets: Which | None = None,
        dataset_names: Mapping[str, str] | Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.connection_id = connection_id
        self.connection_name = connection_name
        self.workspace_id = workspace_id
        self.airbyte_conn_id = airbyte_conn_id
        self.asynchronous = asynchronous
        self.deferrable = deferrable
        self.api_version = api_version
        if wait_seconds is None:
            wait_seconds = POLL_DEFERRED if deferrable else POLL_ON_WORKER
        # Subclasses compute with these, and hand them to the hook.
        self.wait_seconds: float = validation.in_seconds(wait_seconds)
        self.timeout: float = validation.in_seconds(timeout)
        self.job_type = job_type
        self.if_running = if_running
        self.cancel_on_kill = cancel_on_kill
        self.progress_seconds: float = validation.in_seconds(progress_seconds)
        self.push_streams = push_streams
        self.stream_assets = stream_assets
        self.dataset_names = dataset_names
        check(self)
        #: The job, once it is known; what a subclass stores here is one that it has started itself.
        self.job_id: int | None = None
        self.__made: SyncTask | None = None

    @property
    def __task(self) -> SyncTask:
        # Two underscores: a subclass that was the official operator's may have any name with one. Made when it is
        # needed, since Airflow copies the operator of the DAG file for each run.
        if self.__made is None or self.__made.operator is not self:
            self.__made = SyncTask(self)
        return self.__made

    def execute(self, context: Context) -> int:
        """Find or start the job, then wait for its end in the way that was chosen.

        :param context: The task's context.
        :return: The job's id.
        """
        with noting_failures(context, wanted=bool(self.do_xcom_push)):
            return self.__task.start(context)

    def execute_queued(self, context: Context, event: Any = None) -> int:
        """Resume when the connection, busy before, may run this task's job.

        :param context: The task's context.
        :param event: What :class:`~airbyte_deferrable.triggers.AirbyteQueueTrigger` tells. It brings back the task's
            deadlines and its position in the queue: in ``dag.test()`` a task is given nothing else.
        :return: The job's id.
        """
        with noting_failures(context, wanted=bool(self.do_xcom_push)):
            return self.__task.go_on_in_queue(context, event)

    def execute_complete(self, context: Context, event: Any = None) -> int:
        """Resume with what the trigger tells.

        :param context: The task's context.
        :param event: See :class:`~airbyte_deferrable.triggers.Event`.
        :return: The job's id.
        """
        with noting_failures(context, wanted=bool(self.do_xcom_push)):
            return self.__task.complete(context, event)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; if Airflow itself gave the deferred task up because of its ``execution_timeout``, cancel the job.

        :param next_method: The method to go on with.
        :param next_kwargs: Its arguments.
        :param context: The task's context.
        """
        next_kwargs = self.__task.before_resumption(next_method, next_kwargs, context)
        return super().resume_execution(next_method, next_kwargs, context)

    @property
    def dag(self) -> Any:
        """The DAG that the task is in."""
        return super().dag

    @dag.setter
    def dag(self, dag: Any) -> None:
        BaseOperator.dag.fset(self, dag)  # type: ignore[attr-defined]
        in_dag(self)

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Begin a mapped task, as Airflow's own; with ``stream_assets`` it has their alias among its outlets.

        :param kwargs: As of Airflow's.
        """
        return mapped(super().partial(**kwargs))

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return what OpenLineage is told of the job: its tables, how much was moved, where it is in Airbyte.

        :param task_instance: The task instance.
        :return: An ``OperatorLineage``; None where no job is known.
        """
        return self.__task.streams.lineage(task_instance, self.job_id)

    def on_kill(self) -> None:
        """Cancel the job that this task started, when a user stops the task on its worker, and let it be forgotten."""
        self.__task.kill()
