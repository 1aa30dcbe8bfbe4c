"""How this Airbyte behaves; everything but the first block can be changed while it runs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

AuthMode = Literal["client_credentials", "bearer", "basic", "none"]
Release = Literal["head", "2.0"]
WhilePending = Literal["conflict", "join", "hang"]


@dataclass
class Settings:
    """The switches of the simulator.

    :param auth: ``client_credentials`` (tokens from the token endpoint), ``bearer`` (one fixed token),
        ``basic`` (a proxy of the docker-compose days) or ``none``.
    :param release: ``head``; ``2.0`` knows no ``queued``, lists only syncs and resets unless told otherwise,
        answers POST only when the job runs and sheds no load.
    :param handler_threads: Requests that the public API works on at a time, the token endpoint included; POST and
        DELETE keep their thread while they wait. The pool of Airbyte's server pod has five.
    :param handler_seconds: How long each public API request keeps its thread at least.
    :param config_api: Whether ``/api/v1`` is there.
    :param token_lifetime: Seconds that a token is good for.
    :param token_form_only: The public token endpoint takes a form and refuses JSON.
    :param token_json_only: The public token endpoint takes JSON and refuses a form, as some releases do.
    :param bad_credentials_status: What wrong credentials get: 400 from Airbyte Core, 401 from Keycloak.
    :param instance_admin: Whether tokens are instance-admin (Airbyte Core's only user). What is unknown is 403 to
        everyone else, because its workspace cannot be told.
    :param load_shed: Public API requests a second beyond which callers get 429; None for no limit.
    :param while_pending: What POST does while the connection's job has no attempt yet, where the server's code leaves
        it open: ``conflict`` (409), ``join`` (the job that is there) or ``hang`` (409 ``state-conflict`` after 60 s).
    :param clock_skew: Seconds that the ``Date`` header is ahead of the clock that stamps the jobs.
    :param send_date: Whether there is a ``Date`` header.
    :param unordered_connections: Whether each page of ``GET /connections``, ``/sources`` and ``/destinations`` comes in
        an order of its own, so that pages repeat rows and miss others, as the database may do it: Airbyte asks it for
        no order.
    :param structured_logs: Whether the config API gives an attempt's log as events, else as lines.
    """

    auth: AuthMode = "client_credentials"
    release: Release = "head"
    handler_threads: int = 5

    handler_seconds: float = 0.0
    config_api: bool = True
    token_lifetime: float = 900.0
    token_form_only: bool = False
    token_json_only: bool = False
    bad_credentials_status: int = 400
    instance_admin: bool = True
    load_shed: float | None = None
    while_pending: WhilePending = "conflict"
    clock_skew: float = 0.0
    send_date: bool = True
    unordered_connections: bool = False
    structured_logs: bool = True

    def __post_init__(self) -> None:
        for name, choices in (("auth", AuthMode), ("release", Release), ("while_pending", WhilePending)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} is one of {', '.join(get_args(choices))}, not {getattr(self, name)!r}")
        if self.handler_threads < 1:
            raise ValueError("handler_threads is 1 or more")

    def change(self, **changes: Any) -> None:
        """Change some of them.

        :raises ValueError: For a name that is unknown or fixed at the start, or a value that is none of the choices.
        """
        fixed = ("auth", "release", "handler_threads")
        known = [each.name for each in fields(self) if each.name not in fixed]
        if wrong := [name for name in changes if name not in known]:
            raise ValueError(f"can be changed: {', '.join(known)}; not {', '.join(wrong)}")
        # Refused before anything is changed.
        replace(self, **changes)
        for name, value in changes.items():
            setattr(self, name, value)
