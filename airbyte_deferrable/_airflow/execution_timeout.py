"""What a task's ``execution_timeout`` does, in every way to wait and in every Airflow.

The operator's task fails with ``AirbyteTimeout``, and the job that it has started is cancelled; one that it has only
attached to goes on. The sensor's fails likewise, and its job always goes on. Both check the job once more before. Who
keeps the deadline differs:

======================  =============================================  =============================================
where the task is       Airflow 2                                      Airflow 3
======================  =============================================  =============================================
on a worker             Airflow raises ``AirflowTaskTimeout`` in it    the same
deferred, for its job   both this package's trigger, whose event is    the trigger: Airflow does not apply it to a
                        ``timeout``, and Airflow, which resumes the    deferred task (:func:`execution_deadline`)
                        task only to fail it. The trigger is earlier
                        (:data:`RESUMES_WITHIN`)
deferred, in the queue  the same; there is no job yet                  the same; there is no job yet
resumed                 Airflow, from the start of the try             Airflow, anew for each leg
rescheduled sensor      the sensor, from the first check since the     the sensor, from the first check of the try:
                        task was cleared: Airflow measures each leg    Airflow measures each leg by itself
                        by itself
======================  =============================================  =============================================

The trigger never cancels a job for it. It tells the task, which cancels with :meth:`.StartedJob.cancel_out_of_time` and
gives the job :func:`time_to_stop`. So does a task that Airflow 2 resumes only to fail it, in ``resume_execution``, and
one on a worker, where Airflow may also call ``on_kill`` first.
"""

from __future__ import annotations

from datetime import timedelta

from airbyte_deferrable._compat import AIRFLOW_3
from airbyte_deferrable._job.cancel import CANCEL_WITHIN

#: Seconds, at most, that Airflow 2 leaves a task to be resumed before its ``execution_timeout`` is over.
RESUMES_WITHIN = 30.0
#: Seconds, at most, that the job of a task whose ``execution_timeout`` is over is given to stop: Airbyte may need most
#: of a minute. A resumed task has its whole ``execution_timeout`` for it in Airflow 3, and what is left of it in 2.
LONGEST_CANCEL = 60.0 if AIRFLOW_3 else CANCEL_WITHIN


def execution_deadline(now: float, execution_timeout: timedelta | None) -> float | None:
    """Return when the trigger is to say that a task's ``execution_timeout`` is over, seconds since the epoch.

    :param now: When the task began.
    :param execution_timeout: To Airflow, one of no length is none.
    """
    if not execution_timeout:
        return None
    seconds = execution_timeout.total_seconds()
    return now + seconds - (0.0 if AIRFLOW_3 else min(RESUMES_WITHIN, seconds / 10))


def time_to_stop(execution_timeout: float | None) -> float:
    """Return the seconds that a job is given to stop when the task's ``execution_timeout`` is over."""
    return max(CANCEL_WITHIN, min(LONGEST_CANCEL, 0.8 * (execution_timeout or LONGEST_CANCEL)))
