"""What a task can fail with, one class per cause, so that a retry policy or a callback can tell them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airbyte_deferrable._compat import AirflowException, AirflowSensorTimeout
from airbyte_deferrable.api import errors as api

if TYPE_CHECKING:
    from airbyte_deferrable._job.failure import Explanation


class AirbyteException(AirflowException):
    """The base of all.

    :param message: What happened and what the reader can do.
    :param conn_id: The Airflow connection to Airbyte.
    :param connection_id: The Airbyte connection.
    :param job_id: The Airbyte job.
    """

    def __init__(
        self,
        message: str = "",
        *,
        conn_id: str | None = None,
        connection_id: str | None = None,
        job_id: int | None = None,
    ) -> None:
        super().__init__(message)
        self.conn_id = conn_id
        self.connection_id = connection_id
        self.job_id = job_id


class AirbyteInputError(AirbyteException, ValueError):
    """A parameter of the task is wrong; nothing was started."""


class AirbyteSettingsError(AirbyteException, ValueError):
    """The Airflow connection lacks something or holds something unreadable."""


class AirbyteCredentialsError(AirbyteException):
    """Airbyte refuses the connection's credentials."""


class AirbyteNotVisibleError(AirbyteException):
    """The connection or job does not exist, or the credentials may not see it: Airbyte does not tell which."""


class AirbyteConflictError(AirbyteException):
    """Airbyte cannot do it in the connection's present state: it is busy, inactive or deleted."""


class AirbyteRequestError(AirbyteException):
    """Airbyte understood the request and refuses it."""


class AirbyteUnreachableError(AirbyteException):
    """Airbyte gave no answer that counts."""


class AirbyteJobFailed(AirbyteException):
    """The job ended as ``failed``.

    :param message: What happened and what the reader can do.
    :param explanation: Why, with the failure's origin and type, the attempts, the rows committed and the end of
        Airbyte's log; None if Airbyte's config API did not tell.
    :param subject: As of :class:`AirbyteException`.
    """

    def __init__(self, message: str = "", *, explanation: Explanation | None = None, **subject: Any) -> None:
        super().__init__(message, **subject)
        self.explanation = explanation


class AirbyteConfigError(AirbyteJobFailed):
    """The job failed for what Airbyte calls a ``config_error``: it fails again until a user mends the settings."""


class AirbyteJobCancelled(AirbyteException):
    """The job ended as ``cancelled``: by a user, for a reset of the connection, or after hours in Airbyte's queue."""


class AirbyteTimeout(AirbyteException):
    """The job had not ended when ``timeout`` or ``execution_timeout`` was over."""


class AirbyteSensorTimeout(AirbyteTimeout, AirflowSensorTimeout):
    """The sensor's ``timeout`` was over. As with all of Airflow's sensors, the task is not tried again."""


_BY_CAUSE: dict[type[api.ApiError], type[AirbyteException]] = {
    api.Unreachable: AirbyteUnreachableError,
    api.BadCredentials: AirbyteCredentialsError,
    api.NoTokenEndpoint: AirbyteCredentialsError,
    api.Forbidden: AirbyteNotVisibleError,
    api.NotFound: AirbyteNotVisibleError,
    api.Conflict: AirbyteConflictError,
    api.Rejected: AirbyteRequestError,
}


def from_api(error: api.ApiError, doing: str, **subject: Any) -> AirbyteException:
    """Say what a refused request means for a task.

    :param error: What the wire did.
    :param doing: What was being done, for the message: ``"starting a sync of connection …"``.
    :param subject: ``conn_id``, ``connection_id`` and ``job_id``, as far as they are known.
    """
    where = f" (Airflow connection {subject['conn_id']!r})" if subject.get("conn_id") else ""
    return _BY_CAUSE.get(type(error), AirbyteException)(f"Error while {doing}{where}: {error}", **subject)
