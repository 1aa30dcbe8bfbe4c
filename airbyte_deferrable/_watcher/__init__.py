"""One polling loop for each Airbyte: who waits for a job, or for what ends at a connection, subscribes to it.

What other rooms use of it. Importing it loads no aiohttp: DAG files import this, and are read again and again.
"""

from __future__ import annotations

from airbyte_deferrable._watcher.connection_subscription import (
    ConnectionNews,
    ConnectionSubscription,
    EndedJobs,
    Position,
)
from airbyte_deferrable._watcher.directory import Description
from airbyte_deferrable._watcher.loop import JobWatcher, watcher_for, watchers_here
from airbyte_deferrable._watcher.metrics import Metrics
from airbyte_deferrable._watcher.pace import Pace
from airbyte_deferrable._watcher.subscriptions import SHORTEST_POLL, JobNotVisible, OutageNews, Subscription

__all__ = [
    "SHORTEST_POLL",
    "ConnectionNews",
    "ConnectionSubscription",
    "Description",
    "EndedJobs",
    "JobNotVisible",
    "JobWatcher",
    "Metrics",
    "OutageNews",
    "Pace",
    "Position",
    "Subscription",
    "watcher_for",
    "watchers_here",
]
