"""Every interval and limit of the polling loop."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """How eagerly a watcher asks, and how long it leaves alone what gives no answer. Seconds, unless said otherwise.

    :param overlap: How far a sweep reaches back behind the last one, beyond what the clocks of Airbyte's server
        pods are known to be apart: Airbyte stamps a change before it commits it. Whatever lies in it is read
        twice, so it is short; what comes later than that is found by the confirmation.
    :param first_overlap: How far the first sweep reaches back behind the last change.
    :param late: How long after its stamp an end may become visible, and is still handed out to those who watch its
        connection; the time by which pods' clocks are apart counts into it, until it is known. Where connections are
        watched, each sweep reaches back so far: nothing confirms a job of which nobody knows the number.
    :param catch_up_pages: So many pages of one connection's changes are read before it is another's turn, a number.
    :param walk_from: From so many connections on, a number, that have to catch up, one walk for all of them is tried.
    :param confirm_after: A job that no answer has named for so long is checked. Reports of progress do that on the
        way, so this is for jobs without.
    :param between_checks: The pause between two requests for single jobs, so that thousands of them take only
        one of Airbyte's threads.
    :param longest_hold: How long a check of one job may hold up the sweeps, if the poll interval is not longer. One
        that takes longer goes on beside them.
    :param checks_beside: Checks that may go on beside the sweeps at once, a number: each holds one of the few requests
        that may be under way.
    :param per_log_line: The pause in a long list for each job that is waited for, whose task may now write a line to
        its log: Airflow's triggerer hands all lines to one other process, and Airflow's own wait in the event loop
        when that cannot keep up.
    :param gather: How long a new subscription waits for the next sweep, which names a job that was made or changed
        since the last one; later it is checked by itself, with all others that came meanwhile.
    :param recent: For how long what was read of a job tells a task, which comes only then, how it stands.
    :param many_unseen: From so many unseen jobs on, a number, reading everything created since the oldest of them is
        worth a try.
    :param busy_pause: How long the list is left alone when it cannot be read, or not to its end, or is refused once.
    :param refused_pause: How long it is left alone when the server refuses it again.
    :param failed_lists: Lists that fail, one after the other, until it is tried whether jobs can be had one by one.
    :param outage_after: Sweeps that fail, one after the other, until those who wait are notified. One alone is nothing
        to speak of.
    :param backoff_polls: The longest pause during an outage, in poll intervals: short enough that an end is noticed
        within two polls once Airbyte is back.
    :param throttled_pause: The longest pause when Airbyte says that it is asked too often.
    :param longest_retry_after: A server that asks for a longer pause (``Retry-After``) is asked again after this one
        all the same.
    :param hurry_after: Sweeps that go well, one after the other, until one that fails is made up for soon. A server
        that fails now and then would be asked more often than one that is well.
    :param linger: How long session and token are kept after the last subscription has ended.
    :param report_every: How often the watcher says in its own log what it waits for.
    """

    overlap: float = 1.0
    first_overlap: float = 120.0
    late: float = 60.0
    catch_up_pages: int = 10
    walk_from: int = 10
    confirm_after: float = 120.0
    between_checks: float = 0.02
    longest_hold: float = 5.0
    checks_beside: int = 1
    per_log_line: float = 0.001
    gather: float = 5.0
    recent: float = 15.0
    many_unseen: int = 20
    busy_pause: float = 60.0
    refused_pause: float = 600.0
    failed_lists: int = 3
    outage_after: int = 2
    backoff_polls: float = 1.5
    throttled_pause: float = 60.0
    longest_retry_after: float = 300.0
    hurry_after: int = 10
    linger: float = 60.0
    report_every: float = 60.0
