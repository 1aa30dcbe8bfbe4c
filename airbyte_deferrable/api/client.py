"""The calls to Airbyte, typed. The only code that speaks HTTP with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from airbyte_deferrable.api.auth import KeptTokens, auth_for
from airbyte_deferrable.api.errors import BadCredentials, NotFound, Unreachable
from airbyte_deferrable.api.models import (
    Actor,
    ActorPage,
    Connection,
    ConnectionPage,
    Job,
    JobPage,
    JobType,
    Tag,
    TagList,
    Workspace,
)
from airbyte_deferrable.api.refusals import refusal
from airbyte_deferrable.api.settings import Settings
from airbyte_deferrable.api.transport import Answer, Transport

#: Airbyte's own limit for a page (``limit`` in its OpenAPI file).
PAGE_SIZE = 100

OLDEST_FIRST = "createdAt|ASC"
NEWEST_FIRST = "createdAt|DESC"
LAST_CHANGED_FIRST = "updatedAt|DESC"

#: What to do about a 401 where no credentials were sent.
NO_CREDENTIALS = (
    "None were sent: fill in both Client ID and Client Secret of the Airflow connection, or choose another "
    "Authentication there."
)

_Model = TypeVar("_Model", bound=BaseModel)


class AirbyteClient:
    """Airbyte's public API for one set of credentials: one session, one token.

    Use it as ``async with AirbyteClient(settings) as client``, or call :meth:`close`. It is bound to the event
    loop that uses it.

    Every method raises the exceptions of :mod:`airbyte_deferrable.api.errors`.

    :param settings: Where Airbyte is and how to get in.
    :param kept_tokens: Where tokens are kept for other clients with the same settings. Default: nowhere.
    """

    def __init__(self, settings: Settings, kept_tokens: KeptTokens | None = None) -> None:
        self.settings = settings
        self._transport = Transport(settings)
        self._auth = auth_for(settings, self._transport, kept_tokens)

    async def __aenter__(self) -> AirbyteClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session. The client opens another if it is used again."""
        await self._auth.stop()
        await self._transport.close()

    @property
    def requests(self) -> int:
        """How many HTTP requests were sent so far, those for tokens included."""
        return self._transport.requests

    async def create_job(self, connection_id: str, job_type: JobType | str = JobType.SYNC) -> Job:
        """Start a job. Not idempotent: asked twice, Airbyte may start two.

        :param connection_id: The connection to run.
        :param job_type: What to run.
        :return: The job. Its type may differ from what was asked, its rows and bytes are not known yet.
        """
        body = {"connectionId": connection_id, "jobType": str(job_type)}
        answer = await self._call("POST", "jobs", json_body=body, timeout=self.settings.create_timeout)
        return _parse(Job, answer, "POST /jobs")

    async def get_job(self, job_id: int) -> Job:
        """Get a job.

        :param job_id: The job.
        :return: The job as it is now.
        """
        answer = await self._call("GET", f"jobs/{job_id}")
        return _parse(Job, answer, f"GET /jobs/{job_id}")

    async def cancel_job(self, job_id: int) -> Job:
        """Cancel **whatever the job's connection runs now**, which may be a newer job.

        Airbyte signals the connection, not the job (``SchedulerHandler.submitCancellationToWorker``): get
        the job first, and never call this for one that has ended.

        :param job_id: The job.
        :return: The named job. While it is still pending Airbyte does nothing and answers 200 all the same.
        """
        answer = await self._call("DELETE", f"jobs/{job_id}")
        if not answer.body.strip():
            # A gateway that makes 204 of it.
            return await self.get_job(job_id)
        return _parse(Job, answer, f"DELETE /jobs/{job_id}")

    async def list_jobs(
        self,
        *,
        connection_id: str | None = None,
        status: str | None = None,
        job_type: str | None = None,
        updated_since: datetime | None = None,
        created_since: datetime | None = None,
        order_by: str = OLDEST_FIRST,
        limit: int = PAGE_SIZE,
        offset: int = 0,
    ) -> tuple[Job, ...]:
        """Read one page of the job list.

        Rows that share a moment have no order among themselves: pages may repeat a row, and swap two.

        :param connection_id: Only this connection's jobs; default: all that the credentials may see.
        :param status: Only jobs in this status. Airbyte takes one.
        :param job_type: Only jobs of this type, see :class:`~airbyte_deferrable.api.models.JobType`. Airbyte takes one;
            default: all types.
        :param updated_since: Only jobs whose status changed at this moment or later.
        :param created_since: Only jobs created at this moment or later.
        :param order_by: The order. With ``createdAt|ASC`` and only a lower bound on the change, rows can enter
            the result but never leave it, so that walking the pages can repeat a row but not skip one.
        :param limit: Rows a page, 100 at most.
        :param offset: Rows to pass over.
        :return: The page's jobs.
        """
        params = {"limit": str(limit), "offset": str(offset), "orderBy": order_by}
        if connection_id is not None:
            params["connectionId"] = connection_id
        if status is not None:
            params["status"] = status
        if job_type is not None:
            params["jobType"] = job_type
        if updated_since is not None:
            params["updatedAtStart"] = _moment(updated_since)
        if created_since is not None:
            params["createdAtStart"] = _moment(created_since)
        answer = await self._call("GET", "jobs", params=params)
        return _parse(JobPage, answer, "GET /jobs").data

    async def get_connection(self, connection_id: str, *, renew: bool = True) -> Connection:
        """Get an Airbyte connection.

        :param connection_id: The connection.
        :param renew: Whether to try again with another token after a 401. Default: True.
        :return: What it is called, what it connects, and whether it is active.
        """
        answer = await self._call("GET", f"connections/{connection_id}", renew=renew)
        return _parse(Connection, answer, f"GET /connections/{connection_id}")

    async def get_source(self, source_id: str, *, renew: bool = True) -> Actor:
        """Get a source.

        :param source_id: The source.
        :param renew: As for :meth:`get_connection`.
        :return: What it is called.
        """
        answer = await self._call("GET", f"sources/{source_id}", renew=renew)
        return _parse(Actor, answer, f"GET /sources/{source_id}")

    async def get_destination(self, destination_id: str, *, renew: bool = True) -> Actor:
        """Get a destination.

        :param destination_id: The destination.
        :param renew: As for :meth:`get_connection`.
        :return: What it is called.
        """
        answer = await self._call("GET", f"destinations/{destination_id}", renew=renew)
        return _parse(Actor, answer, f"GET /destinations/{destination_id}")

    async def list_connections(
        self, workspace_id: str | None = None, *, tag_ids: Sequence[str] = (), offset: int = 0
    ) -> tuple[Connection, ...]:
        """Read one page of the connections, :data:`PAGE_SIZE` at most.

        The pages have no order: walking them may repeat some rows and miss others.

        :param workspace_id: Only this workspace's; default: all that the credentials may see.
        :param tag_ids: Only those with one of these tags. Airbytes that know no tags leave this out of account.
            Default: all.
        :param offset: Rows to pass over.
        :return: The page's connections.
        """
        answer = await self._page("connections", offset, workspace_id, tag_ids)
        return _parse(ConnectionPage, answer, "GET /connections").data

    async def list_sources(self, workspace_id: str | None = None, *, offset: int = 0) -> tuple[Actor, ...]:
        """Read one page of the sources, :data:`PAGE_SIZE` at most. They have no order, as the connections.

        :param workspace_id: As for :meth:`list_connections`.
        :param offset: Rows to pass over.
        :return: The page's sources.
        """
        return _parse(ActorPage, await self._page("sources", offset, workspace_id), "GET /sources").data

    async def list_destinations(self, workspace_id: str | None = None, *, offset: int = 0) -> tuple[Actor, ...]:
        """Read one page of the destinations, :data:`PAGE_SIZE` at most. They have no order, as the connections.

        :param workspace_id: As for :meth:`list_connections`.
        :param offset: Rows to pass over.
        :return: The page's destinations.
        """
        return _parse(ActorPage, await self._page("destinations", offset, workspace_id), "GET /destinations").data

    async def list_tags(self, workspace_id: str | None = None) -> tuple[Tag, ...]:
        """Get all tags: Airbyte gives them without pages.

        :param workspace_id: As for :meth:`list_connections`.
        :return: The tags, in no order.
        """
        params = {} if workspace_id is None else {"workspaceIds": workspace_id}
        return _parse(TagList, await self._call("GET", "tags", params=params), "GET /tags").data

    async def get_workspace(self, workspace_id: str) -> Workspace:
        """Get a workspace.

        :param workspace_id: The workspace.
        :return: What it is called.
        """
        answer = await self._call("GET", f"workspaces/{workspace_id}")
        return _parse(Workspace, answer, f"GET /workspaces/{workspace_id}")

    async def _page(
        self, what: str, offset: int, workspace_id: str | None = None, tag_ids: Sequence[str] = ()
    ) -> Answer:
        params = {"limit": str(PAGE_SIZE), "offset": str(offset)}
        if workspace_id is not None:
            params["workspaceIds"] = workspace_id
        if tag_ids:
            # As Airbyte joins them in its own links (``PaginationMapper``).
            params["tagIds"] = ",".join(tag_ids)
        return await self._call("GET", what, params=params)

    async def health(self) -> None:
        """Ask whether Airbyte is up. Needs no credentials, so it says nothing about them."""
        call = "GET /health"
        answer = await self._transport.send("GET", f"{self.settings.base_url}/health", call=call)
        if answer.status >= 300:
            raise refusal(call, answer)

    async def ask_public_api(self, path: str) -> Any:
        """Get what there is no method for, as it comes.

        :param path: What to get, for example ``sources/`` and an id.
        :return: The answer, as JSON data.
        """
        return (await self._call("GET", path)).json(f"GET /{path}")

    async def ask_config_api(self, path: str, body: Mapping[str, Any]) -> Any:
        """Ask the config API, which knows more than the public one and may not be reachable.

        :param path: What to ask, for example ``jobs/get_without_logs``.
        :param body: The question.
        :return: The answer, as JSON data.
        :raises NotFound: If the settings name no config API.
        """
        call = f"POST /{path} (config API)"
        if self.settings.config_url is None:
            raise NotFound(call, "The connection's settings name no config API.")
        answer = await self._call("POST", path, base_url=self.settings.config_url, json_body=dict(body))
        return answer.json(call)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json_body: Any = None,
        timeout: float | None = None,
        base_url: str | None = None,
        renew: bool = True,
    ) -> Answer:
        """Send an authorized request, a second time with a new token if the first was refused with 401."""
        call = f"{method} /{path}"
        replayed = not renew
        while True:
            try:
                authorization = await self._auth.header()
            except Unreachable as error:
                # It was the token that could not be had; the request itself was never sent, or was refused.
                error.may_have_arrived = False
                raise
            answer = await self._transport.send(
                method,
                f"{base_url or self.settings.base_url}/{path}",
                call=call,
                params=params,
                json_body=json_body,
                headers={"Authorization": authorization} if authorization else None,
                timeout=timeout,
            )
            if answer.status == 401 and not replayed and self._auth.renew(authorization):
                replayed = True
                continue
            if answer.status >= 300:
                refused = refusal(call, answer)
                if isinstance(refused, BadCredentials) and authorization is None:
                    refused.advice = NO_CREDENTIALS
                raise refused
            return answer


def _parse(model: type[_Model], answer: Answer, call: str) -> _Model:
    try:
        return model.model_validate(answer.json(call))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Unreachable(
            call,
            f"The answer is not as expected: {where}: {first['msg']}.",
            answer.status,
            credentials_in_doubt=True,
        ) from None


def _moment(moment: datetime) -> str:
    """Format for Airbyte, which takes a ``Z`` but not a bare ``+`` in a query."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
