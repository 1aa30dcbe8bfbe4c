"""What a test or a person does to a simulator, in this process or over HTTP: the same methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar, cast, overload

from airbyte_deferrable.simulator.faults import Fault
from airbyte_deferrable.simulator.script import Script
from airbyte_deferrable.simulator.streams import Stream

T = TypeVar("T")
ScriptLike = Script | Mapping[str, Any]
StreamLike = Stream | Mapping[str, Any] | str


class Switch(Generic[T]):
    """A setting that can be read and changed while the simulator runs."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, surface: None, owner: type) -> Switch[T]: ...
    @overload
    def __get__(self, surface: Surface, owner: type) -> T: ...
    def __get__(self, surface: Surface | None, owner: type) -> Switch[T] | T:
        return self if surface is None else cast(T, surface.settings()[self._name])

    def __set__(self, surface: Surface, value: T) -> None:
        surface.configure(**{self._name: value})


class Surface:
    """The methods; what carries them out is :meth:`_do`.

    Times are seconds. A script may be given as a :class:`~airbyte_deferrable.simulator.Script` or as the mapping of
    its parameters.
    """

    #: ``http://address:port``.
    host: str

    #: Seconds that the ``Date`` header is ahead of the clock that stamps the jobs.
    clock_skew = Switch[float]()
    #: Whether there is a ``Date`` header.
    send_date = Switch[bool]()
    #: Whether tokens are instance-admin, as Airbyte Core's are.
    instance_admin = Switch[bool]()
    #: Seconds that each public API request keeps its handler thread at least.
    handler_seconds = Switch[float]()
    #: Whether the pages of ``GET /connections``, ``/sources`` and ``/destinations`` repeat rows and miss others.
    unordered_connections = Switch[bool]()
    #: Public API requests a second beyond which there is a 429; None for no limit.
    load_shed = Switch["float | None"]()
    #: Seconds that a token is good for.
    token_lifetime = Switch[float]()

    def _do(self, op: str, **arguments: Any) -> Any:
        raise NotImplementedError

    # --- who this Airbyte is

    @property
    def url(self) -> str:
        """The public API's address: what goes into the Airflow connection's host."""
        return f"{self.host}/api/public/v1"

    @cached_property
    def client_id(self) -> str:
        """The application's id; with ``basic`` the user's name."""
        return str(self._do("identity")["client_id"])

    @property
    def client_secret(self) -> str:
        """The application's secret; with ``basic`` the password."""
        return str(self._do("identity")["client_secret"])

    @cached_property
    def token(self) -> str:
        """The fixed token of ``bearer``."""
        return str(self._do("identity")["token"])

    @cached_property
    def workspace_id(self) -> str:
        """The workspace in which connections are when no other is named."""
        return str(self._do("identity")["workspace_id"])

    def settings(self) -> dict[str, Any]:
        """Return every setting (:class:`~airbyte_deferrable.simulator.settings.Settings`) by its name."""
        return dict(self._do("settings"))

    def configure(self, **changes: Any) -> None:
        """Change settings while it runs.

        :param changes: Any of :class:`~airbyte_deferrable.simulator.settings.Settings` but auth, release and
            handler_threads.
        :raises ValueError: For others.
        """
        self._do("configure", changes=changes)

    # --- connections

    def add_connection(
        self,
        name: str = "Orders",
        script: ScriptLike | None = None,
        connection_id: str | None = None,
        workspace_id: str | None = None,
        source_name: str = "Postgres shop",
        destination_name: str = "BigQuery warehouse",
        status: str = "active",
        streams: Sequence[StreamLike] | None = None,
        tags: Sequence[str] = (),
        source_type: str | None = None,
        destination_type: str | None = None,
        source_configuration: Mapping[str, Any] | None = None,
        destination_configuration: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a connection.

        :param name: Its name.
        :param script: What its jobs do; 20 seconds and success when left out.
        :param connection_id: Its UUID; a new one when left out.
        :param workspace_id: Its workspace's UUID; the simulator's own when left out.
        :param source_name: Its source's name.
        :param destination_name: Its destination's name.
        :param status: ``active``, ``inactive``, ``deprecated``, ``locked``, or ``deleted`` for one whose workflow is
            gone.
        :param streams: Its streams, each a :class:`~airbyte_deferrable.simulator.Stream`, the mapping of its
            parameters, or only its name; ``public.orders`` when left out. A script can say what is moved of each.
        :param tags: The names of its tags.
        :param source_type: ``postgres``, ``mysql``, ...; when left out, the first word of its name if that is one of
            these, else ``postgres``. Empty for a connector of one's own, whose type Airbyte cannot tell.
        :param destination_type: Likewise, or else ``bigquery``.
        :param source_configuration: The source's settings, secrets and all: Airbyte masks these. Settings that fit the
            type when left out.
        :param destination_configuration: Likewise the destination's.
        :returns: Its UUID.
        """
        return str(
            self._do(
                "add_connection",
                name=name,
                script=script,
                connection_id=connection_id,
                workspace_id=workspace_id,
                source_name=source_name,
                destination_name=destination_name,
                status=status,
                streams=None if streams is None else list(streams),
                tags=list(tags),
                source_type=source_type,
                destination_type=destination_type,
                source_configuration=source_configuration,
                destination_configuration=destination_configuration,
            )
        )

    def add_connections(self, count: int, script: ScriptLike | None = None, name: str = "Connection") -> list[str]:
        """Add many connections at once.

        :param count: How many.
        :param script: What the jobs of each do.
        :param name: Their names are this and a number.
        :returns: Their UUIDs.
        """
        return list(self._do("add_connections", count=count, script=script, name=name))

    def script(self, connection_id: str, *scripts: ScriptLike) -> None:
        """Say what the next jobs of a connection do, one script each; the last one repeats.

        :param connection_id: Which.
        """
        self._do("script", connection_id=connection_id, scripts=list(scripts))

    def set_connection_status(self, connection_id: str, status: str) -> None:
        """Make a connection ``active``, ``inactive``, ``deprecated``, ``locked`` or ``deleted``.

        :param connection_id: Which.
        :param status: The status.
        """
        self._do("set_connection_status", connection_id=connection_id, status=status)

    # --- jobs

    def add_job(
        self,
        connection_id: str,
        script: ScriptLike | None = None,
        created_ago: float = 0.0,
        job_type: str = "sync",
        created_at: float | None = None,
    ) -> dict[str, Any]:
        """Start a job as someone else would: Airbyte's schedule, a person in its web app.

        Unlike Airbyte, it may run beside another job of the connection.

        :param connection_id: Whose.
        :param script: What it does; the connection's next script when left out.
        :param created_ago: Seconds since it was created; what its script says for these has happened.
        :param job_type: ``sync``, ``reset``, ``refresh`` or ``clear``.
        :param created_at: Its stamp in seconds since 1970, instead of ``created_ago``.
        :returns: Its record, as :meth:`job` gives it.
        """
        ids = self.add_jobs([connection_id], script, created_ago, job_type, created_at)
        return self.job(ids[0])

    def add_jobs(
        self,
        connection_ids: Sequence[str],
        script: ScriptLike | None = None,
        created_ago: float = 0.0,
        job_type: str = "sync",
        created_at: float | None = None,
    ) -> list[int]:
        """Start a job for each of many connections.

        :param connection_ids: Whose.
        :param script: See :meth:`add_job`.
        :param created_ago: See :meth:`add_job`.
        :param job_type: See :meth:`add_job`.
        :param created_at: See :meth:`add_job`.
        :returns: Their ids.
        """
        return list(
            self._do(
                "add_jobs",
                connection_ids=list(connection_ids),
                script=script,
                created_ago=created_ago,
                job_type=job_type,
                created_at=created_at,
            )
        )

    def jobs(self, connection_id: str | None = None, status: str | None = None) -> list[dict[str, Any]]:
        """Return the jobs' records in the order of their ids.

        Each has ``id``, ``connectionId``, ``workspaceId``, ``jobType``, ``status``, ``createdAt`` and ``updatedAt``
        (seconds since 1970, to the microsecond), ``attempts`` (number, status, startedAt, updatedAt, failure),
        ``rows``, ``bytes``, ``rejected``, ``streams`` (the same three by stream), ``foreign`` (not started through the
        API) and ``cancel_requested_by``: the job that a DELETE named, ``"reset"``, or None.

        :param connection_id: Only this connection's.
        :param status: Only those in this status.
        """
        return list(self._do("jobs", connection_id=connection_id, status=status))

    def job(self, job_id: int) -> dict[str, Any]:
        """Return a job's record, see :meth:`jobs`.

        :param job_id: Which.
        :raises LookupError: If there is none with this id.
        """
        return dict(self._do("job", job_id=int(job_id)))

    def finish(self, job_id: int, status: str) -> None:
        """End a job now.

        :param job_id: Which.
        :param status: ``succeeded``, ``failed`` or ``cancelled``.
        """
        self._do("finish", job_id=int(job_id), status=status)

    def delete_job(self, job_id: int) -> None:
        """Remove a job, as Airbyte prunes those older than half a year.

        :param job_id: Which.
        """
        self._do("delete_job", job_id=int(job_id))

    # --- time, tokens, trouble

    def now(self) -> float:
        """Return the simulator's own time, in seconds since 1970."""
        return float(self._do("now"))

    def advance(self, seconds: float) -> None:
        """Move the simulator's clock on: jobs go on, tokens end.

        :param seconds: By how much.
        """
        self._do("advance", seconds=seconds)

    def tokens(self) -> list[str]:
        """The tokens given out and not revoked, for tests of what must not be written down."""
        return list(self._do("tokens"))

    def rotate_secret(self) -> None:
        """Give the application another secret; tokens that were given out are good until they end."""
        self._do("rotate_secret")

    def revoke_tokens(self) -> None:
        """End all tokens now."""
        self._do("revoke_tokens")

    def add_fault(self, fault: Fault) -> int:
        """Switch some trouble on.

        :param fault: The trouble.
        :returns: A number for :meth:`clear_faults`.
        """
        return int(self._do("add_fault", fault=fault))

    def clear_faults(self, fault_id: int | None = None) -> None:
        """Switch off one fault, or all; what hangs is dropped.

        :param fault_id: The number of the one; None for all.
        """
        self._do("clear_faults", fault_id=fault_id)

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults that are on, with how many requests each met and hit."""
        return list(self._do("faults"))

    # --- what was asked

    @property
    def requests(self) -> list[tuple[str, str, str, int]]:
        """The last 100,000 requests: call, method, path with query, status (0: no answer)."""
        return [(str(call), str(method), str(path), int(status)) for call, method, path, status in self._do("requests")]

    @property
    def spans(self) -> list[tuple[str, float, float | None]]:
        """The last 100,000 requests as they came: call, and when it came and was answered (None: not yet).

        Seconds of the simulator's monotonic clock: only differences mean something.
        """
        return [(str(call), began, ended) for call, began, ended in self._do("spans")]

    def count(self, call: str | None = None) -> int:
        """Return how many requests of a call were answered or dropped since the start or :meth:`clear_requests`.

        :param call: ``create``, ``list``, ... ``config`` for all of the config API; None for all.
        """
        return int(self._do("count", call=call))

    def clear_requests(self) -> None:
        """Forget the requests so far, the counts and the peak too."""
        self._do("clear_requests")

    @property
    def peak_in_flight(self) -> int:
        """The most requests that waited for an answer at one time."""
        return int(self._do("peak_in_flight"))
