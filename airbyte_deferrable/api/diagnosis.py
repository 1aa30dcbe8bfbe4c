"""What is wrong with a connection: its address, its credentials or their permission."""

from __future__ import annotations

from airbyte_deferrable.api.client import AirbyteClient
from airbyte_deferrable.api.errors import ApiError, BadCredentials, Forbidden, NotFound, NoTokenEndpoint, Unreachable


async def diagnose(client: AirbyteClient) -> tuple[bool, str]:
    """Try the connection.

    :return: Whether all is well, and what to tell the user.
    """
    try:
        # Needs no credentials, so that a failure here is the address or the network.
        await client.health()
    except ApiError as error:
        if error.status not in (401, 403):
            return False, f"The address is wrong, or Airbyte is down. {error}"
        # A gateway that wants credentials even for this; the next request brings them.
    try:
        await client.list_jobs(limit=1)
    except BadCredentials as error:
        return False, f"Airbyte is there, but refuses the credentials. {error}"
    except NoTokenEndpoint as error:
        return False, f"No tokens are given out at this address. {error}"
    except Forbidden as error:
        return False, f"The credentials are good, but lack the permission to see jobs. {error}"
    except (NotFound, Unreachable) as error:
        return False, f"Something answers, but not as Airbyte's public API does: is the Server URL complete? {error}"
    return True, f"Connection successfully tested: {client.settings.base_url} answers and takes the credentials."
