"""What each answer must look like, written from Airbyte's own description of it.

They are strict: a field that Airbyte does not send, or sends only at other times, is an error.
"""

from __future__ import annotations

import re
from typing import Any

import httpx
from jsonschema import Draft202012Validator

Schema = dict[str, Any]

UUID = {"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"}
COUNT = {"type": "integer", "minimum": 0}
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
# Whole seconds, left out when zero, as OffsetDateTime.toString() does.
JAVA_TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:(0[1-9]|[1-5]\d))?Z$"}
JAVA_DURATION = {"type": "string", "pattern": r"^PT(0S|(?=.)([1-9]\d*H)?([1-5]?\dM)?([1-5]?\dS)?)$"}
STATUS = {"enum": ["pending", "queued", "running", "incomplete", "failed", "succeeded", "cancelled"]}
ENDED = {"enum": ["failed", "succeeded", "cancelled"]}


def an_object(required: Schema, optional: Schema | None = None, **more: Any) -> Schema:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def a_page(row: Schema) -> Schema:
    return an_object({"next": TEXT, "previous": TEXT, "data": {"type": "array", "items": row, "maxItems": 100}})


def a_job(stats: bool) -> Schema:
    counts = {"bytesSynced": COUNT, "rowsSynced": COUNT} if stats else {}
    return an_object(
        {
            "jobId": {"type": "integer", "minimum": 1},
            "status": STATUS,
            "jobType": {"enum": ["sync", "reset", "refresh", "clear"]},
            "connectionId": UUID,
            "startTime": JAVA_TIME,
            **counts,
        },
        {"lastUpdatedAt": JAVA_TIME, "duration": JAVA_DURATION},
        allOf=[
            {
                "if": {"properties": {"status": ENDED}},
                "then": {"required": ["lastUpdatedAt"]},
                "else": {"not": {"required": ["lastUpdatedAt"]}},
            },
            {
                "if": {"properties": {"status": {"const": "pending"}}},
                "then": {"not": {"required": ["duration"]}},
                "else": {"required": ["duration"]},
            },
        ],
    )


CONNECTION = an_object(
    {
        "connectionId": UUID,
        "name": TEXT,
        "sourceId": UUID,
        "destinationId": UUID,
        "workspaceId": UUID,
        "status": {"enum": ["active", "inactive", "deprecated", "locked"]},
        "schedule": {"type": "object", "required": ["scheduleType"]},
        "configurations": {"type": "object"},
        "createdAt": COUNT,
        "tags": {"type": "array"},
    },
    {"dataResidency": TEXT, "nonBreakingSchemaUpdatesBehavior": TEXT, "namespaceDefinition": TEXT, "prefix": TEXT},
)
WORKSPACE = an_object({"workspaceId": UUID, "name": TEXT, "dataResidency": TEXT, "notifications": {"type": "object"}})


def an_actor(kind: str) -> Schema:
    return an_object(
        {
            f"{kind}Id": UUID,
            f"{kind}Type": TEXT,
            "name": TEXT,
            "definitionId": UUID,
            "workspaceId": UUID,
            "configuration": {"type": "object"},
            "createdAt": COUNT,
        }
    )


# --- the config API: times are whole seconds since 1970

STATS = an_object({"recordsEmitted": COUNT, "bytesEmitted": COUNT, "recordsCommitted": COUNT, "bytesCommitted": COUNT})
FAILURE = an_object(
    {"timestamp": COUNT},
    {
        "failureOrigin": {
            "enum": [
                "source",
                "destination",
                "replication",
                "persistence",
                "airbyte_platform",
                "normalization",
                "dbt",
                "unknown",
            ]
        },
        "failureType": {
            "enum": [
                "config_error",
                "system_error",
                "manual_cancellation",
                "refresh_schema",
                "heartbeat_timeout",
                "destination_timeout",
                "transient_error",
            ]
        },
        "externalMessage": TEXT,
        "internalMessage": TEXT,
        "stacktrace": TEXT,
        "retryable": {"type": "boolean"},
    },
)
ATTEMPT = an_object(
    {
        "id": COUNT,
        "status": {"enum": ["running", "failed", "succeeded"]},
        "createdAt": COUNT,
        "updatedAt": COUNT,
        "bytesSynced": COUNT,
        "recordsSynced": COUNT,
        "totalStats": STATS,
        "streamStats": {"type": "array", "items": an_object({"streamName": TEXT, "stats": STATS})},
    },
    {
        "endedAt": COUNT,
        "failureSummary": an_object(
            {"failures": {"type": "array", "items": FAILURE}, "partialSuccess": {"type": "boolean"}}
        ),
    },
    allOf=[
        {
            "if": {"properties": {"status": {"const": "failed"}}},
            "then": {"required": ["failureSummary"]},
            "else": {"not": {"required": ["failureSummary"]}},
        }
    ],
)
LIGHT_JOB = {
    "id": COUNT,
    "configType": {"enum": ["sync", "reset_connection", "refresh", "clear"]},
    "configId": UUID,
    "createdAt": COUNT,
    "updatedAt": COUNT,
    "status": STATUS,
    "enabledStreams": {"type": "array"},
}
FULL_JOB = an_object(
    {**LIGHT_JOB, "aggregatedStats": STATS, "streamAggregatedStats": {"type": "array"}}, {"startedAt": COUNT}
)
EVENT = an_object({"timestamp": COUNT, "message": TEXT, "level": TEXT, "logSource": TEXT}, {"stackTrace": TEXT})
ATTEMPT_WITH_LOG = {
    "oneOf": [
        an_object(
            {
                "attempt": ATTEMPT,
                "logType": {"const": "structured"},
                "logs": an_object({"events": {"type": "array", "items": EVENT}, "version": TEXT}),
            }
        ),
        an_object({"attempt": ATTEMPT, "logType": {"const": "formatted"}, "logs": an_object({"logLines": TEXTS})}),
    ]
}

# --- errors

PROBLEM = an_object(
    {
        "status": {"type": "integer"},
        "type": {"type": "string", "pattern": "^https://reference.airbyte.com/reference/errors#"},
        "title": TEXT,
        "detail": TEXT,
        "documentationUrl": {"type": "null"},
    },
    {
        "data": {
            "oneOf": [an_object({"message": TEXT}), an_object({"resourceType": TEXT, "resourceId": TEXT})],
        }
    },
)
MICRONAUT = an_object(
    {
        "message": TEXT,
        "_links": {"type": "object"},
        "_embedded": an_object({"errors": {"type": "array", "minItems": 1}}),
    }
)
ERROR_ID = an_object({"errorId": UUID}, {"message": TEXT})
SHED = an_object({"message": {"const": "You are being rate limited."}})

#: method, path, schema of a success.
SUCCESSES: list[tuple[str, str, Schema]] = [
    ("POST", r"/api/public/v1/jobs", a_job(stats=False)),
    ("GET", r"/api/public/v1/jobs", a_page(a_job(stats=True))),
    ("GET", r"/api/public/v1/jobs/\d+", a_job(stats=True)),
    ("DELETE", r"/api/public/v1/jobs/\d+", a_job(stats=False)),
    ("GET", r"/api/public/v1/connections", a_page(CONNECTION)),
    ("GET", r"/api/public/v1/connections/[^/]+", CONNECTION),
    ("GET", r"/api/public/v1/sources/[^/]+", an_actor("source")),
    ("GET", r"/api/public/v1/destinations/[^/]+", an_actor("destination")),
    ("GET", r"/api/public/v1/workspaces", a_page(WORKSPACE)),
    ("GET", r"/api/public/v1/workspaces/[^/]+", WORKSPACE),
    (
        "POST",
        r"/api/public/v1/applications/token",
        an_object({"access_token": TEXT, "token_type": {"const": "Bearer"}, "expires_in": COUNT}),
    ),
    ("POST", r"/api/v1/applications/token", an_object({"access_token": TEXT})),
    ("GET", r"/api/v1/health", an_object({"available": {"type": "boolean"}})),
    (
        "POST",
        r"/api/v1/jobs/get_without_logs",
        an_object({"job": FULL_JOB, "attempts": {"type": "array", "items": an_object({"attempt": ATTEMPT})}}),
    ),
    (
        "POST",
        r"/api/v1/jobs/get",
        an_object({"job": FULL_JOB, "attempts": {"type": "array", "items": ATTEMPT_WITH_LOG}}),
    ),
    ("POST", r"/api/v1/jobs/get_light", an_object({"job": an_object(LIGHT_JOB, {"startedAt": COUNT})})),
    ("POST", r"/api/v1/attempt/get_for_job", ATTEMPT_WITH_LOG),
    (
        "POST",
        r"/api/v1/jobs/list_for_workspaces",
        an_object(
            {
                "jobs": {
                    "type": "array",
                    "items": an_object({"job": FULL_JOB, "attempts": {"type": "array", "items": ATTEMPT}}),
                },
                "totalJobCount": COUNT,
            }
        ),
    ),
    ("POST", r"/api/v1/connections/get", {"type": "object", "required": ["connectionId", "workspaceId", "name"]}),
]


def check(response: httpx.Response) -> None:
    """Validate an answer; for httpx's response hook."""
    response.read()
    request = response.request
    if response.headers["Content-Type"].startswith("text/"):
        # nginx's pages, and the public health check.
        assert response.text
        return
    assert response.headers["Content-Type"] == "application/json"
    Draft202012Validator(_schema_of(request.method, request.url.path, response.status_code)).validate(response.json())


def _schema_of(method: str, path: str, status: int) -> Schema:
    if status == 429:
        return SHED
    if status >= 400:
        return {"oneOf": [PROBLEM, MICRONAUT, ERROR_ID]}
    for known_method, pattern, schema in SUCCESSES:
        if method == known_method and re.fullmatch(pattern, path):
            return schema
    raise AssertionError(f"no schema for {method} {path}")
