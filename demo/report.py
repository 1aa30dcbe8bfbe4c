"""What the demo found out, in numbers and in text."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from demo.timeline import Phase, Timeline

BLOCKS = " ▁▂▃▄▅▆▇█"
CHART_WIDTH = 60


@dataclass(frozen=True)
class Report:
    """The result of a demo.

    :param syncs: How many syncs were run.
    :param seconds: How long Airbyte worked on each.
    :param slots: How many worker slots Airflow had.
    :param deferrable: The run of the deferrable operator.
    :param synchronous: The run of the same syncs with tasks that stay on their workers, if it was made.
    """

    syncs: int
    seconds: float
    slots: int
    deferrable: Timeline
    synchronous: Timeline | None = None

    @property
    def lower_bound(self) -> float:
        """Seconds that tasks which stay on their workers need at least: computed, with no overhead at all."""
        return ceil(self.syncs / self.slots) * self.seconds

    @property
    def timelines(self) -> tuple[Timeline, ...]:
        """All the runs that were made."""
        return (self.deferrable, self.synchronous) if self.synchronous else (self.deferrable,)

    @property
    def headline(self) -> str:
        """The workload in a few words."""
        return f"{_count(self.syncs, 'sync')} of {self.seconds:g} s over {_count(self.slots, 'worker slot')}"

    @property
    def makespans(self) -> list[tuple[str, float, bool]]:
        """Label, seconds, and whether they were measured (else computed), for each way of running the syncs."""
        rows = [("deferrable", self.deferrable.makespan, True)]
        if self.synchronous:
            rows.append(("synchronous", self.synchronous.makespan, True))
        return [*rows, ("synchronous, at least", self.lower_bound, False)]

    @property
    def arithmetic(self) -> str:
        """Where the computed number comes from."""
        return f"{ceil(self.syncs / self.slots)} rounds of {self.seconds:g} s"

    def text(self) -> str:
        """The report for a terminal."""
        lines = [self.headline, ""]
        for timeline in self.timelines:
            lines += [f"  {timeline.title}: worker slots in use over {timeline.makespan:.1f} s", ""]
            for level in range(timeline.slots, 0, -1):
                usage = timeline.buckets(Phase.WORKING, CHART_WIDTH)
                lines.append(f"  {level:>3} │{''.join(_block(use - (level - 1)) for use in usage)}")
            lines += [
                f"      └{'─' * CHART_WIDTH}",
                f"       0 s{f'{timeline.makespan:.0f} s':>{CHART_WIDTH - 3}}",
                f"       on average {timeline.average_slots:.2f} of {timeline.slots} slots;"
                f" {timeline.slot_seconds:.0f} slot-seconds in all",
                *([f"       {_count(timeline.failures, 'task')} failed"] if timeline.failures else []),
                "",
            ]
        lines.append("  Makespan, from triggering the run to the end of its last task:")
        for label, seconds, measured in self.makespans:
            how = "measured" if measured else f"computed: {self.arithmetic}"
            lines.append(f"    {label:<22} {seconds:>7.1f} s  ({how})")
        return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _block(use: float) -> str:
    """A character filled as far as one slot was used; any use at all shows."""
    eighths = round(min(max(use, 0.0), 1.0) * 8)
    return BLOCKS[max(eighths, 1) if use > 0.001 else 0]
