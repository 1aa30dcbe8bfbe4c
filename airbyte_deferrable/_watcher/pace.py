"""How often a watcher asks, and how long it leaves be what gives no answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """How eagerly a watcher asks. Seconds, unless said otherwise.

    :param overlap: How far a sweep reaches back behind the last one, beyond what the clocks of Airbyte's server
        pods are known to be apart: Airbyte stamps a change before it commits it. Whatever lies in it is read
        twice, so it is short; what comes later than that is found by the confirmation.
    :param first_overlap: How far the first sweep reaches back behind the last change.
    :param confirm_after: A job that no answer has named for so long is looked for. Reports of progress do that
        on the way, so this is for jobs without.
    :param between_looks: The pause between two requests for single jobs, so that thousands of them take only
        one of Airbyte's threads.
    :param patience: How long a look at one job may hold the sweeps, if the poll interval is not longer. One that takes
        longer goes on beside them.
    :param per_line: The pause in a long list for each job that is waited for, whose task may now write a line:
        Airflow's triggerer hands all lines to one other process, and Airflow's own wait in the event loop when that
        cannot keep up.
    :param gather: How long a newcomer waits for the next sweep, which names a job that was made or changed since the
        last one; later it is looked for by itself, with all others that came meanwhile.
    :param busy_pause: How long the list is left alone when it cannot be read, or not to its end, or is refused once.
    :param refused_pause: How long it is left alone when the server refuses it again.
    :param backoff_polls: The longest pause while Airbyte is in trouble, in poll intervals: short enough that an
        end is noticed within two polls once Airbyte is back.
    :param throttled_pause: The longest pause when Airbyte says that it is asked too often.
    :param linger: How long session and token are kept after the last waiter has left.
    :param report_every: How often the watcher says in its own log what it waits for.
    """

    overlap: float = 1.0
    first_overlap: float = 120.0
    confirm_after: float = 120.0
    between_looks: float = 0.02
    patience: float = 5.0
    per_line: float = 0.001
    gather: float = 5.0
    busy_pause: float = 60.0
    refused_pause: float = 600.0
    backoff_polls: float = 1.5
    throttled_pause: float = 60.0
    linger: float = 60.0
    report_every: float = 60.0
