"""Airbyte's API over HTTP, without Airflow.

What other rooms use of it. Importing it loads pydantic but not aiohttp, which the first request loads: DAG files import
this, and are read again and again.
"""

from __future__ import annotations

from airbyte_deferrable.api.aio import PerLoop, Shared, SharedCallStopped, among_few, wake
from airbyte_deferrable.api.auth import KeptToken, KeptTokens
from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import (
    DOUBTS,
    NOT_VISIBLE,
    ApiError,
    BadCredentials,
    Conflict,
    Forbidden,
    NotFound,
    NoTokenEndpoint,
    Rejected,
    Unreachable,
)
from airbyte_deferrable.api.models import Connection, Job, JobStatus, JobType
from airbyte_deferrable.api.settings import (
    BasicAuth,
    BearerToken,
    ClientCredentials,
    Credentials,
    NoCredentials,
    Settings,
)

__all__ = [
    "DOUBTS",
    "NOT_VISIBLE",
    "AirbyteClient",
    "ApiError",
    "BadCredentials",
    "BasicAuth",
    "BearerToken",
    "ClientCredentials",
    "Conflict",
    "Connection",
    "Credentials",
    "Forbidden",
    "Job",
    "JobStatus",
    "JobType",
    "KeptToken",
    "KeptTokens",
    "NoCredentials",
    "NoTokenEndpoint",
    "NotFound",
    "PerLoop",
    "Rejected",
    "Settings",
    "Shared",
    "SharedCallStopped",
    "Unreachable",
    "among_few",
    "wake",
]
