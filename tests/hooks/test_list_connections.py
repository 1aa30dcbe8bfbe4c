"""The hook lists connections, and says in a task's words why it does not."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from airbyte_deferrable.api.models import Connection, ConnectionStatus, Schedule
from airbyte_deferrable.exceptions import (
    AirbyteException,
    AirbyteInputError,
    AirbyteNotVisibleError,
    AirbyteUnreachableError,
)
from airbyte_deferrable.hooks import AirbyteHook
from airbyte_deferrable.simulator import Fault, Simulator


def test_connections_have_what_a_dag_asks_for(sim: Simulator, hook: AirbyteHook) -> None:
    orders = sim.add_connection("Orders", tags=["daily", "finance"])
    users = sim.add_connection("Users", status="inactive")
    found = hook.list_connections()
    assert [type(each) for each in found] == [Connection, Connection]
    assert [each.connection_id for each in found] == [orders, users]
    assert [each.name for each in found] == ["Orders", "Users"]
    assert [each.status for each in found] == [ConnectionStatus.ACTIVE, "inactive"]
    assert {each.workspace_id for each in found} == {sim.workspace_id}
    assert len({each.source_id for each in found} | {each.destination_id for each in found}) == 4
    assert [[tag.name for tag in each.tags] for each in found] == [["daily", "finance"], []]
    assert [each.schedule for each in found] == [Schedule(schedule_type="manual")] * 2


def test_connections_fit_all_that_is_given(sim: Simulator, hook: AirbyteHook) -> None:
    wanted: dict[str, Any] = {"name": "Orders", "tags": ["daily"], "source_type": "mysql", "destination_type": "s3"}
    fitting = sim.add_connection(**wanted)
    others = {"name": "Users", "tags": ["weekly"], "source_type": "faker", "destination_type": "bigquery"}
    for key, other in {**others, "status": "inactive", "workspace_id": str(uuid4())}.items():
        sim.add_connection(**{**wanted, key: other})
    found = hook.list_connections(
        sim.workspace_id,
        tag="daily",
        name_pattern="order*",
        status=ConnectionStatus.ACTIVE,
        source_type="mysql",
        destination_type="s3",
    )
    assert [each.connection_id for each in found] == [fitting]
    assert len(hook.list_connections()) == 7


def test_list_takes_one_token(sim: Simulator, mine: str) -> None:
    sim.add_connections(150)
    with AirbyteHook(mine) as hook:
        assert len(hook.list_connections()) == len(hook.list_connections(status="active")) == 150
    assert (sim.count("token"), sim.count("connections")) == (1, 4)
    assert len(AirbyteHook(mine).list_connections()) == 150


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"tag": "weekly"}, "no tag 'weekly' .* there are 'daily'"),
        ({"name_pattern": ""}, "name_pattern must be a shell pattern"),
        ({"status": "paused"}, "status must be one of active, inactive, locked"),
        ({"workspace_id": "mine"}, "workspace_id must be the UUID"),
        ({"source_type": "MySQL"}, "source_type must be what Airbyte calls it"),
    ],
)
def test_list_refuses_what_can_fit_nothing(
    sim: Simulator, hook: AirbyteHook, wanted: dict[str, Any], told: str
) -> None:
    sim.add_connection(tags=["daily"])
    with pytest.raises(AirbyteInputError, match=told) as caught:
        hook.list_connections(**wanted)
    assert caught.value.conn_id == "mine"


@pytest.mark.parametrize(
    ("call", "status", "wanted", "cause", "told"),
    [
        ("connections", 403, {}, AirbyteNotVisibleError, "GET /connections: HTTP 403"),
        ("tags", 403, {"tag": "daily"}, AirbyteNotVisibleError, "GET /tags: HTTP 403"),
        ("sources", 403, {"source_type": "mysql"}, AirbyteNotVisibleError, "source_type needs .* Reader"),
        ("connections", 503, {}, AirbyteUnreachableError, "GET /connections: HTTP 503"),
    ],
)
def test_list_that_cannot_be_read_is_told(
    sim: Simulator,
    hook: AirbyteHook,
    call: str,
    status: int,
    wanted: dict[str, Any],
    cause: type[AirbyteException],
    told: str,
) -> None:
    sim.add_connection(tags=["daily"])
    sim.add_fault(Fault(call=call, kind="status", status=status))
    with pytest.raises(cause, match=rf"listing Airbyte connections \(Airflow connection 'mine'\): .*{told}"):
        hook.list_connections(**wanted)


@pytest.mark.parametrize("administrator", [True, False])
def test_list_of_a_workspace_that_there_is_not_is_told(sim: Simulator, hook: AirbyteHook, administrator: bool) -> None:
    sim.instance_admin = administrator
    with pytest.raises(AirbyteNotVisibleError, match=r"(?i)check the id"):
        hook.list_connections(str(uuid4()))
