"""What a task tells of its job's streams: it learns of them once the job has ended, and only if somebody wants to know.

Nothing that goes wrong in here can change what becomes of the task: it is a line in its log.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from airbyte_deferrable._airflow.kill import read_marker
from airbyte_deferrable._airflow.task_instance import read_xcom, task_instance
from airbyte_deferrable._compat import conf
from airbyte_deferrable.exceptions import AirbyteInputError

if TYPE_CHECKING:
    from airbyte_deferrable._compat import Context
    from airbyte_deferrable.api.models import Job
    from airbyte_deferrable.hooks import AirbyteHook
    from airbyte_deferrable.lineage.model import JobStreams

#: In ``airflow.cfg``.
SECTION = "airbyte_deferrable"
Listener = Literal["xcom", "assets"]
LISTENERS: set[Listener] = {"xcom", "assets"}


class TaskStreams:
    """What one task knows of its job's streams.

    :param task: An operator or sensor with ``push_streams``, ``stream_assets`` and ``dataset_names``.
    """

    def __init__(self, task: Any) -> None:
        self._task = task
        #: Once the job has ended, if somebody wants to know.
        self.told: JobStreams | None = None
        #: Who has been told of them. An ``execution_timeout`` may interrupt that, and the task succeed all the same.
        self._heard: set[Listener] = set()
        #: The tables of which Airflow has an event.
        self._events_told: set[str] = set()
        #: What the config API has told of the job, for who wants to know why it failed. Empty if it told nothing, None
        #: if it was not asked.
        self.details: Mapping[str, Any] | None = None

    def learn(self, context: Context, hook: AirbyteHook, job: Job) -> None:
        """Learn of the streams of a job that has ended, and tell whoever wants to know, once.

        :param context: The task's context.
        :param hook: Asks Airbyte.
        :param job: The job.
        """
        about = f"The streams of job {job.job_id}"
        wanted = False
        with self._costing_nothing(about):
            wanted = self._heard != LISTENERS and self._wanted()
        if not wanted:
            return
        with _without_collections():
            self._learn_and_tell(context, hook, job, about)

    def _learn_and_tell(self, context: Context, hook: AirbyteHook, job: Job, about: str) -> None:
        if self.told is None:
            with self._costing_nothing(about):
                self._learn(hook, job)
        told = self.told
        if told is None or task_instance(context) is None:
            return
        # Each for itself: what fails of one costs not the other.
        if "xcom" not in self._heard:
            with self._costing_nothing(f"{about}, as an XCom,"):
                self._push(context, told)
            self._heard.add("xcom")
        if "assets" not in self._heard:
            with self._costing_nothing(f"The tables of job {job.job_id}"):
                self._tell_assets(context, told)
            self._heard.add("assets")

    @contextmanager
    def _costing_nothing(self, what: str) -> Iterator[None]:
        """Make a line of the task's log of whatever goes wrong.

        :param what: What is not told then.
        """
        try:
            yield
        except Exception as error:
            self._task.log.warning("%s are not told: %s: %s", what, type(error).__name__, error)

    def _wanted(self) -> bool:
        task = self._task
        if task.push_streams or task.stream_assets:
            return True
        if task.push_streams is None and conf.getboolean(SECTION, "push_streams", fallback=False):
            return True
        # Not at the top: a task of whose streams nobody wants to know loads nothing for them.
        from airbyte_deferrable.lineage.openlineage import is_active_for

        try:
            return is_active_for(task)
        except Exception as error:
            task.log.debug("Whether OpenLineage listens is not known: %s", error)
            return False

    def _learn(self, hook: AirbyteHook, job: Job) -> None:
        from airbyte_deferrable.lineage.learn import learn
        from airbyte_deferrable.lineage.renaming import renaming
        from airbyte_deferrable.lineage.streams import streams_of

        doing = f"asking for the streams of job {job.job_id}"
        answers = hook.call(lambda client: learn(client, job.job_id, job.connection_id), doing, job_id=job.job_id)
        self.details = answers.details
        self.told = streams_of(job, answers, hook.settings, renaming(self._task.dataset_names))
        self._task.log.info("Job %s has %s streams", job.job_id, len(self.told.streams))

    def _push(self, context: Context, told: JobStreams) -> None:
        if self._task.do_xcom_push and self._task.push_streams is not False:
            from airbyte_deferrable.lineage.xcom import KEY, to_xcom

            context["ti"].xcom_push(key=KEY, value=to_xcom(told))

    def _tell_assets(self, context: Context, told: JobStreams) -> None:
        if self._task.stream_assets and told.succeeded:
            from airbyte_deferrable.lineage.asset_events import add_events

            count = add_events(context, self._task, told, self._task.stream_assets, self._events_told)
            self._task.log.info("%s tables that job %s has filled are told as assets", count, told.job_id)

    def lineage(self, ti: Any, job_id: int | None) -> Any:
        """Return what OpenLineage is told of the task: asks no Airbyte, for Airflow gives it ten seconds.

        :param ti: The task instance.
        :param job_id: The job, if the task knows it. Else what the task had written down, where its trigger broke.
        :return: An ``OperatorLineage``; None if there is no job.
        """
        from airbyte_deferrable.lineage.declared import with_declared

        return with_declared(self._task, ti, self._lineage(ti, job_id))

    def _lineage(self, ti: Any, job_id: int | None) -> Any:
        from airbyte_deferrable.lineage import openlineage
        from airbyte_deferrable.links import JOB_URL

        if self.told is not None:
            return openlineage.lineage_of(self.told)
        # One that Airflow does not give costs not the other.
        if job_id is None:
            with suppress(Exception):
                marker = read_marker({"ti": ti})
                job_id = marker and marker.job_id
        if job_id is None:
            return None
        url = ""
        with suppress(Exception):
            url = read_xcom(ti, JOB_URL) or ""
        return openlineage.lineage_of_job(job_id, url)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Leave the garbage collector off for a moment.

    A thousand streams come as a hundred thousand objects, for which it looks through all of Airflow's where these are
    not frozen: 250 ms on a loaded core.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def check(task: Any) -> None:
    """Refuse what cannot work, when the DAG file is read, and give the task its outlet.

    :param task: The operator or sensor, which is being made.
    :raises AirbyteInputError: For the first parameter that is none.
    """
    which = task.stream_assets
    if which is None:
        return
    from airbyte_deferrable.lineage.asset_events import WHICH

    if which not in WHICH:
        raise AirbyteInputError(
            f"stream_assets must be one of {', '.join(WHICH)}, or None, not {which!r}. Task: {task.task_id}."
        )
    in_dag(task)


def in_dag(task: Any) -> None:
    """Give a task its outlet, which is called by its DAG. Also for one that comes to its DAG after it was made.

    :param task: The operator or sensor. One that is being made, and has no ``stream_assets`` yet, is left as it is.
    """
    # A subclass may have it from its class: Airflow 2 sets the DAG before there are outlets.
    if getattr(task, "stream_assets", None) and hasattr(task, "outlets"):
        from airbyte_deferrable.lineage.asset_events import add_alias

        add_alias(task)


def mapped(partial: Any) -> Any:
    """Give a task that is to be mapped its outlet.

    :param partial: What Airflow's ``partial`` has made.
    :return: The same.
    """
    if not partial.kwargs.get("stream_assets"):
        return partial
    from airbyte_deferrable.lineage.asset_events import add_alias_to_mapped

    return add_alias_to_mapped(partial)
