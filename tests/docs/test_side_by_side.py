"""The official provider's classes and ours do the same over the same Airbyte, but for the rows of the migration guide.

Each story below is played twice, with the classes of either provider and an Airbyte of its own. What is seen of it
(how it ends, what is raised, which XComs, what became of the jobs, ...) may differ only where the story names a row of
the tables in ``docs/migrating.md``; and what it names has to differ.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airbyte_deferrable import operators
from airbyte_deferrable._job import retrying
from airbyte_deferrable._job.retrying import SubmitPolicy
from airbyte_deferrable.simulator import Simulator
from helpers.blocks import ROOT
from helpers.one_task import TaskInstance, airflow_tells
from helpers.stories import CASES, OFFICIAL, OURS, ROWS, Case, Seen, Stage

#: Rows that need more than one process or another network than a story has: the test that holds ours to them.
ELSEWHERE = {
    "O7": "tests/triggers/test_kill.py::test_kill_by_a_user_cancels_the_job_and_nothing_else_does",
    "O22": "tests/operators/test_outcome.py::test_log_names_the_job_in_one_line",
    "O27": "tests/test_event_loop.py::test_callbacks_are_quick_while_a_thousand_triggers_start_wait_and_end",
    "S13": "tests/sensors/test_timeout.py::test_execution_timeout_is_that_of_the_whole_task",
    "H7": "tests/api/test_client.py::test_creating_has_a_timeout_of_its_own",
    "C1": "tests/docs/test_completeness.py::test_fields_of_the_connection_are_told",
    "C2": "tests/_airflow/test_connection.py::test_proxy_for_what_is_not_understood_is_not_passed_over",
    "C3": "tests/api/test_transport.py::test_ca_file_vouches_for_it",
    "C5": "tests/api/test_auth.py::test_token_is_asked_for_in_json_and_carried_along",
    "C6": "tests/api/test_auth.py::test_token_is_renewed_before_it_ends",
    "C9": "tests/api/test_errors.py::test_redirect_to_elsewhere_takes_nothing_along",
    "C11": "tests/api/test_auth.py::test_token_without_a_known_end_is_used_until_it_is_refused",
    "C12": "tests/_airflow/test_connection.py::test_connections_of_before_4_0_are_read_where_they_can_be_nothing_else",
    "C13": "tests/test_other_clients.py::test_way_to_the_server_is_that_of_other_clients",
    "C14": "tests/test_other_clients.py::test_answer_that_can_be_read_in_two_ways_is_refused_and_no_outcome",
}


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Case], tuple[Seen, Seen]]:
    # Seconds that the stories need not take.
    monkeypatch.setattr(retrying, "CONFIRM_NOT_FOUND_AFTER", 0.05)

    def play(case: Case) -> tuple[Seen, Seen]:
        seen = []
        for provider in (OFFICIAL, OURS):
            ti = TaskInstance()
            with Simulator(**case.airbyte) as sim, monkeypatch.context() as patch, airflow_tells(patch, ti):
                patch.setattr(
                    operators.AirbyteTriggerSyncOperator,
                    "submit_policy",
                    SubmitPolicy(settle=2.0, unreachable=4.0, pause=0.2, unlisted=0.5),
                )
                patch.setattr(
                    "airbyte_deferrable._sync_task.get_current_context", lambda ti=ti: {"ti": ti, "task_instance": ti}
                )
                seen.append(case.story(Stage(provider, sim, patch, ti)))
        return seen[0], seen[1]

    return play


@pytest.mark.parametrize("case", [pytest.param(case, id=case.story.__name__) for case in CASES])
def test_differences_are_those_that_the_tables_say(case: Case, play: Callable[[Case], tuple[Seen, Seen]]) -> None:
    assert set(case.rows.values()) <= ROWS.keys()
    official, ours = play(case)
    assert official.keys() == ours.keys()
    different = {name: (official[name], ours[name]) for name in official if official[name] != ours[name]}
    assert different.keys() == case.rows.keys(), different


def test_rows_are_told_by_a_story_or_held_by_another_test() -> None:
    told = {row for case in CASES for row in case.rows.values()}
    assert told | ELSEWHERE.keys() == ROWS.keys()
    assert not told & ELSEWHERE.keys()
    for where in ELSEWHERE.values():
        path, _, name = where.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(), where
