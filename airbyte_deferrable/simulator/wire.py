"""How things are written on the wire: Java's times, the public API's rows and problems, Micronaut's and nginx's errors.

The reference for all of it is the source of ``airbytehq/airbyte-platform`` (the classes named below).
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from aiohttp import web

from airbyte_deferrable.simulator.connectors import Kind
from airbyte_deferrable.simulator.records import PUBLIC_TYPES, SECOND, Connection, Job, Tag
from airbyte_deferrable.simulator.script import PENDING
from airbyte_deferrable.simulator.streams import PUBLIC_MODES, Stream

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ISO_OFFSET = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)")


class Refusal(Exception):
    """An answer that is no success.

    :param response: It.
    """

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


def answer(body: Any, status: int = 200) -> web.Response:
    """Return a JSON answer.

    :param body: What to write; text is sent as it is.
    :param status: The HTTP status.
    """
    text = body if isinstance(body, str) else json.dumps(body)
    # As bytes, or aiohttp would name a charset, which Airbyte does not.
    return web.Response(body=text.encode(), status=status, content_type="application/json")


async def read_body(request: web.Request) -> dict[str, Any]:
    """Return the JSON object that came.

    :param request: What it came with.
    :raises Refusal: If there is none.
    """
    try:
        body = json.loads(await request.read())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise error_id(422)
    return body


# --- times

#: What a list of jobs can be narrowed by.
BOUNDS = ("createdAtStart", "createdAtEnd", "updatedAtStart", "updatedAtEnd")


def java_time(stamp: int) -> str:
    """Write microseconds as ``OffsetDateTime.toString()`` does: whole seconds, and those left out when zero.

    :param stamp: Microseconds since 1970.
    """
    moment = _EPOCH + timedelta(seconds=stamp // SECOND)
    return moment.strftime("%Y-%m-%dT%H:%MZ" if moment.second == 0 else "%Y-%m-%dT%H:%M:%SZ")


def java_duration(seconds: int) -> str:
    """Write seconds as ``Duration.toString()`` does: hours, not days; parts that are zero left out.

    :param seconds: How many.
    """
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    text = "".join(f"{value}{unit}" for value, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if value)
    return f"PT{text or '0S'}"


def read_time(text: str) -> int:
    """Read what Micronaut's converter takes: ISO-8601 with an offset, else RFC 1123.

    :param text: What came.
    :returns: Microseconds since 1970.
    :raises ValueError: For everything else, such as a ``+`` that was not percent-encoded, or epoch milliseconds.
    """
    if match := _ISO_OFFSET.fullmatch(text):
        minute, second, fraction, zone = match.groups()
        moment = datetime.fromisoformat(f"{minute}:{second or '00'}{'+00:00' if zone == 'Z' else zone}")
        return (moment - _EPOCH) // timedelta(seconds=1) * SECOND + int((fraction or "0").ljust(6, "0")[:6])
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        raise ValueError(f"Text '{text}' could not be parsed") from None
    if moment.tzinfo is None:
        raise ValueError(f"Text '{text}' has no zone")
    return (moment - _EPOCH) // timedelta(seconds=1) * SECOND


# --- the public API's rows


def job_row(job: Job, now: int, stats: bool) -> str:
    """Write a JobResponse (``JobResponseMapper``), nulls left out.

    :param job: The job.
    :param now: Microseconds.
    :param stats: With rows and bytes, as GET and the list answer; POST and DELETE do not hydrate them.
    """
    text = job.text.get("public")
    if text is None:
        row: dict[str, Any] = {
            "jobId": job.id,
            "status": job.status,
            "jobType": PUBLIC_TYPES[job.kind],
            "startTime": java_time(job.created),
            "connectionId": job.connection.id,
        }
        if job.terminal:
            row["lastUpdatedAt"] = java_time(job.updated)
        if job.status != PENDING:
            # Up to the last change of status: for a live job this is not the time it has run.
            row["duration"] = java_duration(job.updated // SECOND - job.created // SECOND)
        text = job.text["public"] = json.dumps(row)[:-1]
    if not stats:
        return text + "}"
    whole = job.text.get("whole")
    if whole is None:
        moved = job.progress(now)
        whole = f'{text}, "bytesSynced": {moved.bytes}, "rowsSynced": {moved.rows}}}'
        if job.terminal:
            job.text["whole"] = whole
    return whole


def connection_row(connection: Connection) -> dict[str, Any]:
    """Return a ConnectionResponse (``ConnectionReadMapper``), nulls left out. It has no ``dataResidency``.

    :param connection: The connection.
    """
    return present(
        connectionId=connection.id,
        name=connection.name,
        sourceId=connection.source_id,
        destinationId=connection.destination_id,
        workspaceId=connection.workspace_id,
        status=connection.told_status,
        schedule=connection.schedule,
        configurations={"streams": [_stream(stream) for stream in connection.catalog]},
        createdAt=connection.created // SECOND,
        tags=[tag_row(tag) for tag in connection.tags],
        nonBreakingSchemaUpdatesBehavior=connection.schema_changes,
        namespaceDefinition=connection.namespace_definition,
        namespaceFormat=connection.namespace_format,
        prefix=connection.prefix,
    )


def _stream(stream: Stream) -> dict[str, Any]:
    chosen = stream.selected_columns
    return present(
        name=stream.name,
        namespace=stream.namespace,
        syncMode=PUBLIC_MODES.get((stream.sync_mode, stream.destination_sync_mode)),
        cursorField=[stream.cursor] if stream.cursor else [],
        primaryKey=[[column] for column in stream.primary_key],
        selectedFields=None if chosen is None else [{"fieldPath": [column]} for column in chosen],
    )


def tag_row(tag: Tag) -> dict[str, str]:
    """Return a tag, which is the same in both APIs.

    :param tag: It.
    """
    return {"tagId": tag.id, "name": tag.name, "color": tag.color, "workspaceId": tag.workspace_id}


def actor_row(kind: Kind, connection: Connection) -> dict[str, Any]:
    """Return a SourceResponse or a DestinationResponse.

    :param kind: ``source`` or ``destination``.
    :param connection: The connection that has it.
    """
    is_source = kind == "source"
    connector = connection.source if is_source else connection.destination
    return {
        f"{kind}Id": connection.source_id if is_source else connection.destination_id,
        "name": connection.source_name if is_source else connection.destination_name,
        f"{kind}Type": connector.type,
        "definitionId": connector.definition_id,
        "workspaceId": connection.workspace_id,
        "configuration": connector.masked,
        "createdAt": connection.created // SECOND,
    }


def present(**values: Any) -> dict[str, Any]:
    """Return what is not null: Airbyte leaves the rest out (``jackson.serialization-inclusion: NON_ABSENT``).

    :param values: By their names on the wire.
    """
    return {name: value for name, value in values.items() if value is not None}


# --- errors


def problem(status: int, title: str, detail: str, data: dict[str, Any] | None = None, anchor: str = "") -> Refusal:
    """Return an error of the public API (``AbstractThrowableProblemHandler``).

    It is ``application/json``, not ``application/problem+json``.

    :param status: The HTTP status.
    :param title: The kind of error.
    :param detail: What is wrong, in general.
    :param data: What is wrong, in particular.
    :param anchor: The end of its ``type``, where that is not the title.
    """
    body: dict[str, Any] = {
        "status": status,
        "type": f"https://reference.airbyte.com/reference/errors#{anchor or title}",
        "title": title,
        "detail": detail,
        "documentationUrl": None,
    }
    if data is not None:
        body["data"] = data
    return Refusal(answer(body, status=status))


def forbidden(role: str) -> Refusal:
    """Return the answer to a token that may not see the thing, or to a thing that is not there.

    :param role: The role that is wanted.
    """
    message = f"Caller does not have the required {role} permissions to access the resource(s)."
    return problem(403, "forbidden", "You do not have permission to perform this action.", {"message": message})


def state_conflict(message: str) -> Refusal:
    """Return a 409 that another try will not mend.

    :param message: What is wrong.
    """
    detail = "State conflict when attempting to perform the operation."
    return problem(409, "state-conflict", detail, {"message": message}, anchor="409-state-conflict")


def try_again_later(message: str) -> Refusal:
    """Return the 409 of a connection that is busy.

    :param message: What is wrong.
    """
    return problem(409, "try-again-later", "Please try again later.", {"message": message})


def bad_request(message: str) -> Refusal:
    """Return the 400 of what Airbyte's own code does not understand.

    :param message: What is wrong.
    """
    return problem(400, "bad-request", "The request is not understood.", {"message": message})


def not_found(resource_type: str, resource_id: str) -> Refusal:
    """Return the 404 of a resource.

    :param resource_type: What it would be, in the words of Airbyte's database: ``STANDARD_SYNC`` is a connection.
    :param resource_id: Its id.
    """
    data = {"resourceType": resource_type, "resourceId": resource_id}
    return problem(404, "resource-not-found", "Could not find resource.", data)


def error_id(status: int, message: str | None = None) -> Refusal:
    """Return the answer of ``UncaughtExceptionHandler`` and ``InvalidInputExceptionHandler``.

    :param status: The HTTP status.
    :param message: What is wrong; nothing is said when left out.
    """
    body = {"errorId": str(uuid.uuid4())} | ({"message": message} if message else {})
    return Refusal(answer(body, status=status))


def micronaut(status: int, reason: str, message: str, path: str) -> Refusal:
    """Return Micronaut's own error, for what never reaches Airbyte's code.

    :param status: The HTTP status.
    :param reason: The status in words.
    :param message: What is wrong.
    :param path: What was asked for.
    """
    body = {
        "message": reason,
        "_links": {"self": {"href": path, "templated": False}},
        "_embedded": {"errors": [{"message": message, "_links": {}, "_embedded": {}}]},
    }
    return Refusal(answer(body, status=status))


def not_allowed(request: web.Request, allowed: Iterable[str]) -> Refusal:
    """Return Micronaut's answer to a method that an address does not have.

    :param request: What came.
    :param allowed: The methods that it has.
    """
    methods = ", ".join(sorted(allowed))
    message = f"Method [{request.method}] not allowed for URI [{request.path_qs}]. Allowed methods: [{methods}]"
    refusal = micronaut(405, "Method Not Allowed", message, request.path_qs)
    refusal.response.headers["Allow"] = methods.replace(" ", "")
    return refusal


def nginx(status: int, reason: str, headers: dict[str, str] | None = None) -> web.Response:
    """Return a page of a proxy before Airbyte.

    :param status: The HTTP status.
    :param reason: The status in words.
    :param headers: More headers.
    """
    page = (
        f"<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n"
        f"<center><h1>{status} {reason}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return web.Response(text=page, status=status, content_type="text/html", headers=headers)
