"""When the list of jobs is given up for requests for single jobs, and when it is tried again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from enum import Enum

from airbyte_deferrable._watcher.pace import Pace


class ListState(str, Enum):
    """What is known of the list of an Airbyte's jobs. The value is what the log says of it."""

    #: It is read.
    USABLE = ""
    #: It is read, but not for changes: those of other jobs are too many.
    TOO_MANY_CHANGES = "has too many changes to list, so only the jobs that are waited for are asked for"
    #: It is left alone, for the server forbids or lacks it, or one of its parameters.
    REFUSED = "does not let its jobs be listed, so each job is asked for by itself"
    #: It is left alone, for the server fails to answer it, and tells of single jobs all the same.
    FAILING = "fails to list its jobs, so each job is asked for by itself"

    __str__ = str.__str__


class ListEvent(Enum):
    """What became of an attempt to read the list."""

    #: All changes were read.
    CHANGES_READ = "changes read"
    #: There were more changes than are read.
    TOO_MANY = "too many"
    #: A whole sweep went well, with whatever it read of the list.
    SWEPT = "swept"
    #: Airbyte refused it.
    REFUSED = "refused"
    #: It brought no answer.
    FAILED = "failed"
    #: It brought no answer, and then single jobs could be had.
    FAILED_ALONE = "failed alone"
    #: It brought no answer, nor could single jobs be had.
    FAILED_WITH_ALL = "failed with all"


class ListBreaker:
    """Says whether the list is to be read. Each list that is given up is tried again after a pause.

    ===================  ==============================================================================================
    what happens         what becomes of the list
    ===================  ==============================================================================================
    ``CHANGES_READ``     ``USABLE``
    ``TOO_MANY``         ``TOO_MANY_CHANGES`` for the busy pause, or until more than twice as many jobs are waited for,
                         whose changes these may be
    ``REFUSED``          ``REFUSED`` for the busy pause: once may be a policy that is just being changed, or a proxy
                         that starts. For the refused pause when it is refused again
    ``FAILED``           as it was. The third time, it is worth a try whether single jobs can be had
    ``FAILED_ALONE``     ``FAILING`` for the busy pause, the second time in a row: once is not enough, for Airbyte may
                         have come back just between the two
    ``FAILED_WITH_ALL``  as it was: it is no fault of the list
    ``SWEPT``            as it was. What was refused or failed before counts no more
    ===================  ==============================================================================================

    :param pace: How long the pauses are.
    :param log: Is told when the state becomes another.
    :param now: Returns the event loop's time.
    """

    def __init__(self, pace: Pace, log: logging.Logger, now: Callable[[], float]) -> None:
        self._pace = pace
        self._log = log
        self._now = now
        self.state = ListState.USABLE
        #: Until when the list, or its changes, are left alone.
        self._until = 0.0
        #: For how many jobs its changes are worth a try before.
        self._worth_for = 0.0
        #: What happened since the last sweep that went well.
        self._since: Counter[ListEvent] = Counter()

    def usable(self, jobs: int) -> bool:
        """Whether the list is to be read at all. A lone waiter just gets its job.

        :param jobs: How many are waited for.
        """
        left_alone = self.state in (ListState.REFUSED, ListState.FAILING) and self._now() < self._until
        return jobs > 1 and not left_alone

    def changes_usable(self, jobs: int) -> bool:
        """Whether it is to be read for changes.

        :param jobs: How many are waited for.
        """
        too_many = self.state is ListState.TOO_MANY_CHANGES and self._now() < self._until and jobs <= self._worth_for
        return self.usable(jobs) and not too_many

    @property
    def in_doubt(self) -> bool:
        """Whether the list has failed so often that it is worth a try whether single jobs can be had."""
        return self._since[ListEvent.FAILED] >= self._pace.failed_lists

    def move(self, event: ListEvent, why: object = "", *, jobs: int = 0) -> bool:
        """Learn what happened, as the table says.

        :param event: What.
        :param why: In words, for the log.
        :param jobs: How many are waited for.
        :return: Whether the list, or its changes, are given up from here on.
        """
        self._since[event] += 1
        if event is ListEvent.CHANGES_READ:
            self._enter(ListState.USABLE)
            return False
        if event is ListEvent.TOO_MANY:
            self._worth_for = 2.0 * jobs
            self._enter(ListState.TOO_MANY_CHANGES, why, self._pace.busy_pause)
            return True
        if event is ListEvent.REFUSED:
            again = self._since[event] > 1
            self._enter(ListState.REFUSED, why, self._pace.refused_pause if again else self._pace.busy_pause)
            return True
        if event is ListEvent.FAILED_ALONE and self._since[event] > 1:
            self._enter(ListState.FAILING, why, self._pace.busy_pause)
            return True
        if event is ListEvent.FAILED_WITH_ALL:
            del self._since[ListEvent.FAILED_ALONE]
        elif event is ListEvent.SWEPT:
            self._since.clear()
        return False

    def _enter(self, state: ListState, why: object = "", pause: float = 0.0) -> None:
        before, self.state = self.state, state
        self._until = self._now() + pause
        if state is before:
            return
        if state is ListState.USABLE:
            self._log.info("The changes of this Airbyte's jobs can be listed again")
        else:
            self._log.warning("This Airbyte %s: %s", state, why)
