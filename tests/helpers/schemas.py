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


TAG = an_object(
    {"tagId": UUID, "name": TEXT, "color": {"type": "string", "pattern": "^[0-9A-F]{6}$"}, "workspaceId": UUID}
)
CONNECTION_STATUS = {"enum": ["active", "inactive", "deprecated", "locked"]}
SCHEDULE = an_object(
    {"scheduleType": {"enum": ["manual", "cron", "basic"]}}, {"cronExpression": TEXT, "basicTiming": TEXT}
)
COLUMN_PATHS = {"type": "array", "items": TEXTS}
SELECTED = {"type": "array", "items": an_object({"fieldPath": TEXTS})}
STREAM = an_object(
    {"name": TEXT},
    {
        "namespace": TEXT,
        "syncMode": {
            "enum": [
                "full_refresh_overwrite",
                "full_refresh_overwrite_deduped",
                "full_refresh_append",
                "full_refresh_update",
                "full_refresh_soft_delete",
                "incremental_append",
                "incremental_deduped_history",
                "incremental_update",
                "incremental_soft_delete",
            ]
        },
        "cursorField": TEXTS,
        "primaryKey": COLUMN_PATHS,
        "selectedFields": SELECTED,
    },
)
CONNECTION = an_object(
    {
        "connectionId": UUID,
        "name": TEXT,
        "sourceId": UUID,
        "destinationId": UUID,
        "workspaceId": UUID,
        "status": CONNECTION_STATUS,
        "schedule": SCHEDULE,
        "configurations": an_object({"streams": {"type": "array", "items": STREAM}}),
        "createdAt": COUNT,
        "tags": {"type": "array", "items": TAG},
    },
    {
        "nonBreakingSchemaUpdatesBehavior": {
            "enum": ["ignore", "disable_connection", "propagate_columns", "propagate_fully"]
        },
        "namespaceDefinition": {"enum": ["source", "destination", "custom_format"]},
        "namespaceFormat": TEXT,
        "prefix": TEXT,
    },
)
WORKSPACE = an_object({"workspaceId": UUID, "name": TEXT, "dataResidency": TEXT, "notifications": {"type": "object"}})


def an_actor(kind: str) -> Schema:
    return an_object(
        {
            f"{kind}Id": UUID,
            f"{kind}Type": {"type": "string", "pattern": "^[a-z0-9-]*$"},
            "name": TEXT,
            "definitionId": UUID,
            "workspaceId": UUID,
            "configuration": {"type": "object"},
            "createdAt": COUNT,
        }
    )


# --- the config API: times are whole seconds since 1970

STREAM_NAME = an_object({"name": TEXT}, {"namespace": TEXT})
STREAM_NAMES = {"type": "array", "items": STREAM_NAME}
MOVED = {
    "recordsEmitted": COUNT,
    "bytesEmitted": COUNT,
    "recordsCommitted": COUNT,
    "bytesCommitted": COUNT,
    "recordsRejected": COUNT,
}
# What an attempt's output has of it, and what is stored while the attempt runs: neither has the bytes committed.
OUTPUT = an_object(
    {"recordsEmitted": COUNT, "bytesEmitted": COUNT, "recordsCommitted": COUNT, "stateMessagesEmitted": COUNT}
)
STORED = an_object(
    {"recordsEmitted": COUNT, "bytesEmitted": COUNT, "recordsCommitted": COUNT, "recordsRejected": COUNT}
)
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


def an_attempt(hydrated: bool) -> Schema:
    """The counts of its output come all together, or not at all; the others are there in any case."""
    counts = ["bytesSynced", "recordsSynced", "totalStats", "streamStats"]
    together = ["bytesSynced", "recordsSynced"] if hydrated else counts
    stats, stream = (STORED, {"streamNamespace": TEXT}) if hydrated else (OUTPUT, {})
    always = {
        "id": COUNT,
        "status": {"enum": ["running", "failed", "succeeded"]},
        "createdAt": COUNT,
        "updatedAt": COUNT,
    }
    told = {
        "totalStats": stats,
        "streamStats": {"type": "array", "items": an_object({"streamName": TEXT, "stats": stats}, stream)},
    }
    return an_object(
        {**always, **(told if hydrated else {})},
        {
            **told,
            "bytesSynced": COUNT,
            "recordsSynced": COUNT,
            "endedAt": COUNT,
            "failureSummary": an_object(
                {"failures": {"type": "array", "items": FAILURE}}, {"partialSuccess": {"type": "boolean"}}
            ),
        },
        dependentRequired=dict.fromkeys(together, together),
        allOf=[
            {
                "if": {"properties": {"status": {"const": "failed"}}},
                "then": {"required": ["failureSummary"]},
                "else": {"not": {"required": ["failureSummary"]}},
            },
            {
                "if": {"properties": {"status": {"const": "running"}}},
                "then": {"not": {"anyOf": [{"required": ["endedAt"]}, {"required": ["recordsSynced"]}]}},
                "else": {"required": ["endedAt"]},
            },
        ],
    )


def a_config_job(hydrated: bool) -> Schema:
    stream = an_object({"streamName": TEXT, **MOVED}, {"streamNamespace": TEXT})
    counts = {
        "aggregatedStats": an_object(MOVED),
        "streamAggregatedStats": {"type": "array", "items": stream},
    }
    return an_object(
        {
            "id": {"type": "integer", "minimum": 1},
            "configType": {"enum": ["sync", "reset_connection", "refresh", "clear"]},
            "configId": UUID,
            "createdAt": COUNT,
            "updatedAt": COUNT,
            "status": STATUS,
            "enabledStreams": STREAM_NAMES,
            **(counts if hydrated else {}),
        },
        {
            "startedAt": COUNT,
            "resetConfig": an_object({"streamsToReset": STREAM_NAMES}),
            "refreshConfig": an_object({"streamsToRefresh": STREAM_NAMES}),
        },
        allOf=[
            {
                "if": {"properties": {"configType": {"const": kind}}},
                "else": {"not": {"required": [name]}},
            }
            for kind, name in (("reset_connection", "resetConfig"), ("refresh", "refreshConfig"))
        ],
    )


EVENT = an_object(
    {
        "timestamp": COUNT,
        "message": TEXT,
        "level": {"enum": ["debug", "error", "info", "trace", "warn"]},
        "logSource": {"enum": ["destination", "source", "platform", "replication-orchestrator"]},
    },
    {"stackTrace": TEXT, "caller": {"type": "object"}},
)
ATTEMPT_WITH_LOG = {
    "oneOf": [
        an_object(
            {
                "attempt": an_attempt(hydrated=False),
                "logType": {"const": "structured"},
                "logs": an_object({"events": {"type": "array", "items": EVENT}, "version": TEXT}),
            }
        ),
        an_object(
            {
                "attempt": an_attempt(hydrated=False),
                "logType": {"const": "formatted"},
                "logs": an_object({"logLines": TEXTS}),
            }
        ),
    ]
}
JOB_INFO = an_object(
    {"job": a_config_job(hydrated=False), "attempts": {"type": "array", "items": ATTEMPT_WITH_LOG}},
)
JOB_INFO_WITHOUT_LOGS = an_object(
    {
        "job": a_config_job(hydrated=True),
        "attempts": {"type": "array", "items": an_object({"attempt": an_attempt(hydrated=False)})},
    }
)
JOB_LIST = an_object(
    {
        "jobs": {
            "type": "array",
            "items": an_object(
                {"job": a_config_job(hydrated=True), "attempts": {"type": "array", "items": an_attempt(hydrated=True)}}
            ),
        },
        "totalJobCount": COUNT,
    }
)
SYNC_MODE = {"enum": ["full_refresh", "incremental"]}
CATALOG_STREAM = an_object(
    {
        "stream": an_object(
            {"name": TEXT, "jsonSchema": an_object({"type": {"const": "object"}, "properties": {"type": "object"}})},
            {
                "namespace": TEXT,
                "supportedSyncModes": {"type": "array", "items": SYNC_MODE},
                "sourceDefinedCursor": {"type": "boolean"},
                "defaultCursorField": TEXTS,
                "sourceDefinedPrimaryKey": COLUMN_PATHS,
            },
        ),
        "config": an_object(
            {
                "selected": {"const": True},
                "syncMode": SYNC_MODE,
                "destinationSyncMode": {
                    "enum": ["append", "overwrite", "append_dedup", "overwrite_dedup", "update", "soft_delete"]
                },
            },
            {
                "cursorField": TEXTS,
                "primaryKey": COLUMN_PATHS,
                "aliasName": TEXT,
                "fieldSelectionEnabled": {"type": "boolean"},
                "selectedFields": SELECTED,
            },
        ),
    }
)
CONFIG_CONNECTION = an_object(
    {
        "connectionId": UUID,
        "name": TEXT,
        "sourceId": UUID,
        "destinationId": UUID,
        "workspaceId": UUID,
        "syncCatalog": an_object({"streams": {"type": "array", "items": CATALOG_STREAM}}),
        "status": CONNECTION_STATUS,
        "breakingChange": {"type": "boolean"},
        "created_at": COUNT,
        "tags": {"type": "array", "items": TAG},
    },
    {
        "namespaceDefinition": {"enum": ["source", "destination", "customformat"]},
        "namespaceFormat": TEXT,
        "prefix": TEXT,
        "operationIds": {"type": "array", "items": UUID},
        "scheduleType": {"enum": ["manual", "cron", "basic"]},
        "scheduleData": an_object({"cron": an_object({"cronExpression": TEXT, "cronTimeZone": TEXT})}),
        "notifySchemaChanges": {"type": "boolean"},
        "nonBreakingChangesPreference": {"enum": ["ignore", "disable", "propagate_columns", "propagate_fully"]},
        "backfillPreference": {"enum": ["enabled", "disabled"]},
    },
)

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
            "oneOf": [
                an_object({"message": TEXT}),
                an_object(
                    {
                        "resourceType": {
                            "enum": [
                                "STANDARD_SYNC",
                                "SOURCE_CONNECTION",
                                "DESTINATION_CONNECTION",
                                "STANDARD_WORKSPACE",
                            ]
                        },
                        "resourceId": TEXT,
                    }
                ),
            ],
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
    ("PATCH", r"/api/public/v1/connections/[^/]+", CONNECTION),
    ("GET", r"/api/public/v1/sources", a_page(an_actor("source"))),
    ("GET", r"/api/public/v1/sources/[^/]+", an_actor("source")),
    ("GET", r"/api/public/v1/destinations", a_page(an_actor("destination"))),
    ("GET", r"/api/public/v1/destinations/[^/]+", an_actor("destination")),
    ("GET", r"/api/public/v1/tags", an_object({"data": {"type": "array", "items": TAG}})),
    ("GET", r"/api/public/v1/workspaces", a_page(WORKSPACE)),
    ("GET", r"/api/public/v1/workspaces/[^/]+", WORKSPACE),
    (
        "POST",
        r"/api/public/v1/applications/token",
        an_object({"access_token": TEXT, "token_type": {"const": "Bearer"}, "expires_in": COUNT}),
    ),
    ("POST", r"/api/v1/applications/token", an_object({"access_token": TEXT})),
    ("GET", r"/api/v1/health", an_object({"available": {"type": "boolean"}})),
    ("POST", r"/api/v1/jobs/get_without_logs", JOB_INFO_WITHOUT_LOGS),
    ("POST", r"/api/v1/jobs/get", JOB_INFO),
    ("POST", r"/api/v1/jobs/get_light", an_object({"job": a_config_job(hydrated=False)})),
    ("POST", r"/api/v1/jobs/list", JOB_LIST),
    ("POST", r"/api/v1/jobs/list_for_workspaces", JOB_LIST),
    ("POST", r"/api/v1/jobs/cancel", JOB_INFO),
    ("POST", r"/api/v1/attempt/get_for_job", ATTEMPT_WITH_LOG),
    ("POST", r"/api/v1/connections/get", CONFIG_CONNECTION),
    ("POST", r"/api/v1/connections/sync", JOB_INFO),
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
        # With or without the trailing slash that is stripped.
        if method == known_method and re.fullmatch(f"{pattern}/?", path):
            return schema
    raise AssertionError(f"no schema for {method} {path}")
