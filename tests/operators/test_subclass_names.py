"""A subclass that was the official operator's may have any private name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator as Official

from airbyte_deferrable._compat import BaseOperator
from airbyte_deferrable.exceptions import AirbyteJobFailed
from airbyte_deferrable.operators import AirbyteTriggerSyncOperator
from airbyte_deferrable.simulator import Script, Simulator
from helpers.airbyte import connection_to
from helpers.one_task import Task, TaskInstance, airflow_tells

LIKELY = """
    _run _look _wait _finish _poll _connect _begin _execute _start _resume _defer _leave _cancel _kill _check _obtain
    _submit _create _meet _tell _know _life _log _hook _ti _own _job _jobs _job_id _client _state _status _event
    _context _settings _session _token _url _link _push _xcom _describe _name _named _connection _connection_id
    _workspace _validate _check_input _origin _deadlines _clocks _timeout _retry _retries _attempt _sync _task _made
    _stop _stopped _killed _started _result _results _logger _get_hook _airbyte _conn _conn_id _params _get_job
"""
OFFICIAL = {name for name in dir(Official) if name.startswith("_") and not name.startswith("__")} - set(
    dir(BaseOperator)
)
NAMES = sorted({*LIKELY.split(), *OFFICIAL} - set(dir(BaseOperator)))


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("this is the user's")


class HasMethods(AirbyteTriggerSyncOperator):
    """Each name is a method of the user's, which nobody else calls."""


for name in NAMES:
    setattr(HasMethods, name, refuse)


class HasAttributes(AirbyteTriggerSyncOperator):
    """Each name is an attribute of the user's, set as late as can be."""

    def execute(self, context: Any) -> int:
        self.set_all()
        return super().execute(context)

    def execute_complete(self, context: Any, event: Any = None) -> int:
        self.set_all()
        return super().execute_complete(context, event)

    def set_all(self) -> None:
        for name in NAMES:
            setattr(self, name, "the user's")


@pytest.fixture(autouse=True)
def ti(airbyte_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskInstance]:
    monkeypatch.setenv("AIRFLOW_CONN_MINE", connection_to(airbyte_simulator))
    ti = TaskInstance()
    with airflow_tells(monkeypatch, ti):
        yield ti


@pytest.mark.parametrize("kind", [HasMethods, HasAttributes])
@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("end", ["succeeded", "failed"])
def test_subclass_names_are_the_users(
    airbyte_simulator: Simulator, ti: TaskInstance, kind: Any, deferrable: bool, end: str
) -> None:
    connection_id = airbyte_simulator.add_connection(script=Script(duration=0.3, pending=0.0, outcome=end))
    made: list[Any] = []

    def make() -> Any:
        made.append(
            kind(
                task_id="sync",
                connection_id=connection_id,
                airbyte_conn_id="mine",
                deferrable=deferrable,
                wait_seconds=0.1,
                execution_timeout=None,
            )
        )
        return made[-1]

    task = Task(make, ti=ti)
    if end == "succeeded":
        assert task.run() == ti.xcoms["airbyte_job"]["jobId"]
    else:
        with pytest.raises(AirbyteJobFailed):
            task.run()
    assert ti.xcoms["final_status"] == end
    if kind is HasAttributes:
        assert {getattr(made[-1], name) for name in NAMES} == {"the user's"}


def test_subclass_names_of_the_class_itself_are_no_more_than_these() -> None:
    mine = {name for name in vars(AirbyteTriggerSyncOperator) if name.startswith("_")}
    single = {name for name in mine if not name.startswith("__") and "__" not in name}
    assert single - set(dir(BaseOperator)) - {"_abc_impl"} == set()
