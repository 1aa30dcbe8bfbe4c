"""An Airflow in which users may read some DAGs: what its simple auth manager cannot do, and others can."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

#: Users who may read all DAGs, but not this of them.
WITHOUT = {"no tasks": DagAccessEntity.TASK_INSTANCE, "no XComs": DagAccessEntity.XCOM}


class RightsByDag(SimpleAuthManager):
    """Users who may read one DAG, named as they are; ``all`` may read all, :data:`WITHOUT` lack a right to all of them.

    As of the FAB auth manager, which has rights for each DAG, and for each thing that DAGs have.
    """

    def is_authorized_dag(self, *, user: Any, access_entity: Any = None, details: Any = None, **asked: Any) -> bool:
        if user.username in WITHOUT and access_entity is WITHOUT[user.username]:
            return False
        if user.username in WITHOUT:
            return True
        dag_id = details.id if details else None
        return dag_id is None or user.username in ("all", dag_id)

    def is_authorized_connection(self, *, user: Any, **asked: Any) -> bool:
        return bool(user.username == "all")
