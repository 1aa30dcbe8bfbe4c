"""What docs/kill-retry-timeout.md lets go on although a user has stopped its task, and what proves that it applies.

Only a part whose absence a rule is about excuses anything, and only while it was away: a worker or a triggerer for its
own tasks, the database and the API server for whoever has to ask them, Airbyte for who has five seconds to cancel.
Neither the scheduler nor the broker is among them: without them a task begins later, and that is seen from its tries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

Job = Mapping[str, Any]

ENDED = frozenset({"succeeded", "failed", "cancelled"})
#: States of a task whose process may start a job for a moment after a user has stopped it.
MAY_START = frozenset({"scheduled", "queued", "running", "restarting"})

#: Seconds until a user's action has reached a process that lives, and Airbyte was told: a heartbeat of a second, or two
#: rounds of the triggerer, the question why (the first one of a triggerer took 7 s on a busy machine), two requests.
TOLD_WITHIN = 10.0
#: Seconds until a task remembers the job that it has just started: one answer, and one write in Airflow.
NAMED_WITHIN = 3.0
#: Seconds between a deferral and the start of its trigger.
TRIGGER_STARTS_WITHIN = 3.0
#: Seconds without a heartbeat after which another triggerer takes over, as ``chaos.cluster`` sets it; and those until
#: its next round, in which its triggers start.
SILENT_FOR, TAKES_OVER_WITHIN = 10.0, 5.0
#: Seconds after its begin within which a try after a clear has cancelled its old job: it leaves that to the old trigger
#: for 6 of them.
MAKES_UP_WITHIN = 6.0 + TOLD_WITHIN


@dataclass(frozen=True)
class Rule:
    """Why a job may go on.

    :param name: What the balance calls it.
    :param says: Where docs/kill-retry-timeout.md says so; empty for what is no rule.
    """

    name: str
    says: str = ""


NOT_KNOWN = Rule("left: nobody knows whether its task was stopped")
ENDED_FIRST = Rule(
    "left: it ended before anybody could be told",
    "A job that ends by itself in the seconds that a kill takes to reach it is not cancelled any more.",
)
NOBODY_ALIVE = Rule(
    "left: no process of its task was alive",
    "it is up for retry, queued for its next try, or between its trigger's event and its resumption",
)
WORKER_DEAD = Rule(
    "left: its worker had died, or did before it was told", "its worker or its triggerer dies before it was told"
)
TRIGGERER_DEAD = Rule(
    "left: its triggerer had died, or did before it was told", "its worker or its triggerer dies before it was told"
)
TRIGGER_NOT_STARTED = Rule(
    "left: its trigger had not started",
    "A task that is killed in the second or two between its deferral and the start of its trigger, or between two "
    "triggerers of which one takes it over from the other",
)
NO_ANSWER = Rule(
    "left: Airflow did not answer who was to cancel it", "A kill while Airflow does not answer the triggerer"
)
FIVE_SECONDS = Rule(
    "left: Airbyte was away while its worker was stopped",
    "A kill on a worker, where Airflow 3 ends the process after 5 seconds",
)
NOT_CERTAIN = Rule(
    "left: its answer was lost", "it was only [found after its answer was lost](operator.md#starting-exactly-one-job)"
)
ENDED_BEFORE_NEXT_TRY = Rule(
    "left: cleared while nobody could be told, and it ended before the next try", "cancels it if it still runs"
)
GOES_ON = Rule(
    "left: cleared while its worker could take no note, so that the next try went on with it",
    "to Airflow itself that is no different from a retry, and the next try goes on with the job",
)


#: Why a clear may look like a retry to Airflow itself.
UNNOTICED = (WORKER_DEAD, NO_ANSWER)
#: All that the documentation has to say.
RULES = (
    ENDED_FIRST,
    NOBODY_ALIVE,
    WORKER_DEAD,
    TRIGGERER_DEAD,
    TRIGGER_NOT_STARTED,
    NO_ANSWER,
    FIVE_SECONDS,
    NOT_CERTAIN,
    ENDED_BEFORE_NEXT_TRY,
    GOES_ON,
)


@dataclass(frozen=True)
class Action:
    """What a user did to a task.

    :param index: The task's map index.
    :param kind: ``clear``, or how the task was marked: ``failed``, ``success``.
    :param began: When Airflow was asked for it, seconds since the epoch.
    :param ended: When it had answered, or had not.
    :param answered: Whether it has; else nobody knows whether it was done.
    :param state: The task's state before.
    :param alive: Whether the process of a task on a worker was alive.
    :param triggerer: Which triggerer had the trigger of a deferred task; None if none had.
    :param deferred_at: When a deferred task had its trigger made, seconds since the epoch.
    """

    index: int
    kind: str
    began: float
    ended: float
    answered: bool = True
    state: str | None = "deferred"
    alive: bool = True
    triggerer: int | None = None
    deferred_at: float = 0.0


@dataclass(frozen=True)
class Outage:
    """A part that was killed, or ended by itself.

    :param part: Which.
    :param began: When it was seen alive last, seconds since the epoch.
    :param ended: When it was started again; of a server, when it answered again.
    """

    part: str
    began: float
    ended: float = inf


@dataclass(frozen=True)
class Triggerer:
    """The life of a triggerer's process, as Airflow has taken it down.

    :param last_heard: When it was heard last, seconds since the epoch.
    :param ended_at: When it has said that it ends; None if it has not.
    """

    last_heard: float
    ended_at: float | None = None

    @property
    def gone_at(self) -> float:
        """When it was gone, or nearly."""
        return max(self.last_heard, self.ended_at or 0.0)

    @property
    def given_up_at(self) -> float:
        """When another may take over its triggers."""
        return self.last_heard + SILENT_FOR if self.ended_at is None else self.ended_at


@dataclass(frozen=True)
class Evidence:
    """What else is known of a run.

    :param outages: All of them.
    :param silences: When a triggerer stood still, by its own word: as each does while Airflow gets ready for its first
        question, for half a minute on a busy machine.
    :param triggerers: All that ever ran, by number.
    :param tries: When the tries of a task began, by map index.
    :param asked_in_vain: When a process of the task said that Airflow had not told it why it was stopped, likewise.
    :param met: When one of its tries said that it waits for a job of before, likewise.
    """

    outages: Sequence[Outage] = ()
    silences: Sequence[Outage] = ()
    triggerers: Mapping[int, Triggerer] = field(default_factory=dict)
    tries: Mapping[int, Sequence[float]] = field(default_factory=dict)
    asked_in_vain: Mapping[int, Sequence[float]] = field(default_factory=dict)
    met: Mapping[int, Sequence[float]] = field(default_factory=dict)

    def next_try(self, action: Action) -> float:
        """Return when the first try after an action began; infinity if there was none."""
        return min((began for began in self.tries.get(action.index, ()) if began > action.began), default=inf)

    def is_stopped(self, job: Job, action: Action) -> bool:
        """Tell whether a user's action meant this job: one of before it, not one that was started anew since."""
        created = float(job["createdAt"])
        if created <= action.began:
            return True
        # Until it is told, the process that is stopped may still start one.
        return action.state in MAY_START and created < self.next_try(action) and created <= action.ended + TOLD_WITHIN

    def rule(self, job: Job, action: Action, *, wanted: bool) -> Rule | None:
        """Return the rule by which a job goes on after an action that meant it; None if there is none.

        :param wanted: Whether it is what its task has come to.
        """
        ends = job["updatedAt"] if job["status"] in ENDED else inf
        if not action.answered:
            return NOT_KNOWN
        if wanted and action.kind == "clear" and action.state == "running" and self._unheard(action) in UNNOTICED:
            return GOES_ON
        if ends <= self._told_by(action):
            return ENDED_FIRST
        if self._is_uncertain(job):
            return NOT_CERTAIN
        unheard = self._unheard(action)
        if unheard is None or action.kind != "clear":
            return unheard
        # Else the next try cancels it.
        return ENDED_BEFORE_NEXT_TRY if ends <= self._found_at(action, ends) + MAKES_UP_WITHIN else None

    def _found_at(self, action: Action, before: float) -> float:
        """Return when the next try had found a job: a busy machine takes long to get from its begin to that."""
        began = self.next_try(action)
        return max([began, *(at for at in self.met.get(action.index, ()) if began <= at <= before)])

    def _told_by(self, action: Action) -> float:
        """Return when whoever is alive has learned of an action, and done what is to be done."""
        told_by = action.ended + TOLD_WITHIN
        if action.state != "deferred":
            return told_by
        silences = [each for each in self.silences if each.began <= told_by and action.began <= each.ended]
        return max([told_by, *(each.ended + TOLD_WITHIN for each in silences)])

    def _unheard(self, action: Action) -> Rule | None:
        """Return why nobody could be told of an action; None if somebody was there, and could ask Airflow."""
        if action.state == "running":
            if not action.alive or self._fails(action, "worker-1", "worker-2"):
                return WORKER_DEAD
            if self._fails(action, "api-server", "postgresql") or self._asks_in_vain(action):
                return NO_ANSWER
            return FIVE_SECONDS if self._is_away(action, "simulator") else None
        if action.state == "deferred":
            if self._has_dead_triggerer(action):
                return TRIGGERER_DEAD
            if action.ended - action.deferred_at <= TRIGGER_STARTS_WITHIN or self._is_taken_over(action):
                return TRIGGER_NOT_STARTED
            return NO_ANSWER if self._fails(action, "postgresql") or self._asks_in_vain(action) else None
        return NOBODY_ALIVE

    def _fails(self, action: Action, *parts: str) -> bool:
        """Tell whether a part goes down before an action has reached whom it is for."""
        return any(
            each.part in parts and action.began <= each.began <= action.ended + TOLD_WITHIN for each in self.outages
        )

    def _asks_in_vain(self, action: Action) -> bool:
        """Tell whether the process that is stopped has asked Airflow why, and said that it was not told."""
        return any(action.began <= at <= self.next_try(action) for at in self.asked_in_vain.get(action.index, ()))

    def _is_away(self, action: Action, part: str) -> bool:
        return any(
            each.part == part and each.began <= action.ended + TOLD_WITHIN and action.began <= each.ended
            for each in self.outages
        )

    def _has_dead_triggerer(self, action: Action) -> bool:
        """Tell whether no triggerer has the task's trigger, or one that dies before it could do anything."""
        if action.triggerer is None:
            return True
        return self.triggerers[action.triggerer].gone_at <= action.ended + TOLD_WITHIN

    def _is_taken_over(self, action: Action) -> bool:
        """Tell whether the triggers of a dead triggerer were just starting in another."""
        return any(
            each.given_up_at <= action.ended and action.began <= each.given_up_at + TAKES_OVER_WITHIN
            for number, each in self.triggerers.items()
            if number != action.triggerer
        )

    def _is_uncertain(self, job: Job) -> bool:
        """Tell whether somebody died or could not be reached before the task could remember the job."""
        parts = ("simulator", "worker-1", "worker-2", "api-server", "postgresql")
        created = float(job["createdAt"])
        return any(each.part in parts and created <= each.began <= created + NAMED_WITHIN for each in self.outages)
