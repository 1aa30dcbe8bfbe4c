"""The slots benchmark counts slot-seconds right, mixes no runs of different sizes, and says what was scaled."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.report import machine
from benchmarks.slots import _report
from benchmarks.slots_airflow import Size
from benchmarks.slots_meter import LegReader, read_legs, slot_seconds
from benchmarks.slots_report import Report, Run, plot, table

SIZE = Size(tasks=200, on_worker=12, duration=60.0, spread=0.0, slots=6)
RUN = Run(
    executor="LocalExecutor",
    answer=0.1,
    number=1,
    kind="ours",
    tasks=200,
    first_legs=300.0,
    last_legs=150.0,
    legs=400,
    running=400.0,
    makespan=130.0,
    requests={"token": 200, "create": 200, "list": 60},
    blocked=0,
    failed=0,
    jobs=200,
    late=3.0,
    latest=9.0,
    measured_at="2026-01-01T00:00:00+00:00",
)
ON_WORKER = replace(RUN, kind="official_on_worker", tasks=12, first_legs=0.0, last_legs=744.0, makespan=127.0, jobs=12)

# As Airflow 3.3 writes them: LocalExecutor's into the scheduler's log, Celery's into its worker's.
LOG = """
2026-01-01T00:00:01.543024Z [info     ] Workload finished              [supervisor] duration=1.5 exit_code=0 \
final_state=deferred loc=supervisor.py:2658 workload_id=01a22320-971a workload_type=ExecuteTask
2026-01-01T00:00:01.578058Z [info     ] Task execute_workload[316de3f5] succeeded in 1.58s: None [celery.app.trace]
2026-01-01T00:00:02.543024Z [info     ] Workload finished              [supervisor] duration=0.25 exit_code=0 \
final_state=success loc=supervisor.py:2658 workload_id=01a22320-971a workload_type=ExecuteTask
2026-01-01T00:00:02.600000Z [info     ] TaskInstance Finished: dag_id=slots_ours, run_duration=None, state=success
2026-01-01T00:00:03.543024Z [info     ] Workload finished              [supervisor] duration=2.0 exit_code=0 \
final_state=failed loc=supervisor.py:2658 workload_id=01a22320-971b workload_type=ExecuteTask
"""


def report_of(*runs: Run) -> Report:
    report = Report(machine(), SIZE.tasks, SIZE.on_worker, SIZE.duration, SIZE.spread, SIZE.slots)
    for run in runs:
        report.add(run)
    return report


def row_of(report: Report, kind: str) -> list[str]:
    (row,) = [line for line in table(report).splitlines() if line.startswith("|") and kind in line]
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.parametrize(
    ("samples", "seconds"),
    [
        ([], 0.0),
        ([(7.0, 3)], 0.0),
        ([(0.0, 2), (1.0, 2), (5.0, 2)], 10.0),
        # A sample that came late counts for the time that it stands for.
        ([(0.0, 0), (1.0, 6), (4.0, 6), (6.0, 0)], 27.0),
        ([(10.0, 0), (10.1, 0), (10.2, 0)], 0.0),
    ],
)
def test_slot_seconds_are_the_area_below_the_samples(samples: list[tuple[float, float]], seconds: float) -> None:
    assert slot_seconds(samples) == pytest.approx(seconds)


def test_supervisors_tell_of_their_legs() -> None:
    legs = read_legs(LOG, {"01a22320-971a", "01a22320-971b"})
    assert legs.first == [1.5]
    assert legs.last == {"01a22320-971a": 0.25, "01a22320-971b": 2.0}


def test_supervisor_of_an_earlier_run_that_only_ends_now_is_left_out() -> None:
    legs = read_legs(LOG, {"01a22320-971b"})
    assert legs.first == []
    assert legs.last == {"01a22320-971b": 2.0}


def test_only_legs_of_this_run_are_read_and_all_of_them(tmp_path: Path) -> None:
    log = tmp_path / "scheduler.log"
    log.write_text(LOG)
    reader = LegReader([log])
    with pytest.raises(TimeoutError, match="0 tasks, not 1"):
        reader.read({"01a22320-971a"}, limit=0)
    with log.open("a") as file:
        file.write(LOG)
    assert reader.read({"01a22320-971a"}, limit=0).last == {"01a22320-971a": 0.25}
    with pytest.raises(TimeoutError, match="1 tasks, not 2"):
        reader.read({"01a22320-971a", "of another"}, limit=0)


def test_run_with_fewer_tasks_is_marked_and_not_extrapolated() -> None:
    report = report_of(RUN, ON_WORKER)
    assert row_of(report, "on the worker")[3:8] == ["12", "62.00", "0.00", "62.00", "33.33"]
    assert "127 s (1)" in row_of(report, "on the worker")
    assert "130 s" in row_of(report, "airbyte-deferrable")
    assert "(1) *On the worker* 12 syncs were run instead of 200" in table(report)
    assert "(1)" not in table(report_of(RUN))


def test_run_replaces_an_earlier_one_of_the_same_and_no_other() -> None:
    report = report_of(RUN, replace(RUN, number=2, makespan=140.0), replace(RUN, makespan=150.0))
    assert [(run.number, run.makespan) for run in report.runs] == [(1, 150.0), (2, 140.0)]
    assert "150 s; 140 s" in row_of(report, "airbyte-deferrable")


def test_pieces_are_put_together_only_if_measured_alike(tmp_path: Path) -> None:
    path = tmp_path / "slots.json"
    report = report_of(RUN, ON_WORKER)
    path.write_text(json.dumps(asdict(report)))
    assert _report(path, SIZE, fresh=False) == report
    assert _report(path, SIZE, fresh=True).runs == []
    with pytest.raises(SystemExit, match="measured otherwise"):
        _report(path, replace(SIZE, duration=30.0), fresh=False)


def test_syncs_are_spread_evenly_about_their_duration_and_alike_each_time() -> None:
    size = replace(SIZE, spread=30.0)
    durations = size.durations()
    assert durations == size.durations()
    assert len(durations) == 200
    assert (min(durations), max(durations)) == (45.0, 75.0)
    assert sum(durations) / 200 == pytest.approx(60.0)
    assert set(SIZE.durations()) == {60.0}


def test_report_of_one_executor_can_be_drawn(tmp_path: Path) -> None:
    plot(report_of(RUN, ON_WORKER), tmp_path / "slots.png")
    assert (tmp_path / "slots.png").read_bytes().startswith(b"\x89PNG")
