"""What Airflow is told of the page: where it is mounted, and where the web pages link to it.

Airflow imports this in every process, workers included, so the app itself is made with its first request.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from airbyte_deferrable._airflow.page_setting import page_is_wanted

#: Where the app is mounted, below Airflow's own address.
PREFIX = "/airbyte"
#: What names a task instance in the address of its tab: Airflow fills it in, and leaves the last one as it is where the
#: task is not mapped.
TASK_INSTANCE = "dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"


class LazyApp:
    """An ASGI app that is imported with its first request."""

    def __init__(self) -> None:
        self._app: Callable[..., Awaitable[None]] | None = None
        self._making = threading.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request.

        :param scope: What is asked, as ASGI says it.
        :param receive: Likewise.
        :param send: Likewise.
        """
        app = self._app
        if app is None:
            app = await asyncio.to_thread(self._made)
        await app(scope, receive, send)

    def _made(self) -> Callable[..., Awaitable[None]]:
        with self._making:
            app = self._app
            if app is None:
                from airbyte_deferrable.page.app import make_app

                app = self._app = make_app()
            return app


def base_path() -> str:
    """Return the path below which Airflow is reached: its web pages take the addresses of a plugin as they are."""
    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")


def views(base: str) -> list[dict[str, str]]:
    """Return the entry in the navigation, and the tab of a task instance.

    :param base: The path below which Airflow is reached.
    """
    return [
        {
            "name": "Airbyte",
            "href": f"{base}{PREFIX}/page",
            "destination": "nav",
            "category": "browse",
            "url_route": "airbyte",
        },
        {
            "name": "Airbyte",
            "href": f"{base}{PREFIX}/sync?{TASK_INSTANCE}",
            "destination": "task_instance",
            "url_route": "airbyte-sync",
        },
    ]


class AirbytePage(AirflowPlugin):
    """The page, where this Airflow has one; else a plugin that brings nothing."""

    name = "airbyte_deferrable"

    if page_is_wanted():
        fastapi_apps = [{"app": LazyApp(), "url_prefix": PREFIX, "name": "Airbyte"}]
        external_views = views(base_path())
