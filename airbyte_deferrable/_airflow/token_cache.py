"""Tokens that one task's leg leaves to the next on the same machine, so that not each begins by fetching one.

A token lives for a quarter of an hour, a leg on a worker for a second. Without this, one of the three round trips that
start a sync is for a token, which is a third of what a slow Airbyte makes the leg cost.

What is on disk tells nobody more than he knows: a token is encrypted with a key made from the very secret that it was
given for, in a folder of this user's alone.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from airbyte_deferrable._compat import conf
from airbyte_deferrable.api.auth import KeptToken
from airbyte_deferrable.api.settings import ClientCredentials, Settings


class TokenCache:
    """The file that holds the token for one Airbyte and one application.

    Nothing here fails: without the file a token is fetched.

    :param settings: Which Airbyte, and the application's id and secret.
    :param folder: Where the file is. Default: a folder of this user's in the machine's temporary folder.
    """

    def __init__(self, settings: Settings, folder: Path | None = None) -> None:
        # The secrets are named by themselves: no repr shows them.
        whose = repr((settings.base_url, settings.credentials, settings.secrets)).encode()
        self._key = base64.urlsafe_b64encode(sha256(b"key" + whose).digest())
        self._folder = folder or Path(tempfile.gettempdir(), f"airbyte-deferrable-{os.geteuid()}")
        self._file = self._folder / f"{sha256(b'name' + whose).hexdigest()[:32]}.token"

    def read(self) -> KeptToken | None:
        """Return the token that was kept last; None if there is none. Blocks for less than a millisecond."""
        # Only Airflow's tasks need it, and Airflow has loaded it there.
        from cryptography.fernet import Fernet, InvalidToken

        with suppress(OSError, ValueError, KeyError, TypeError, InvalidToken):
            if self._is_safe():
                told = json.loads(Fernet(self._key).decrypt(self._file.read_bytes()))
                return KeptToken(str(told["token"]), float(told["good_until"]))
        return None

    def write(self, kept: KeptToken) -> None:
        """Keep a token. Blocks for about a millisecond."""
        from cryptography.fernet import Fernet

        sealed = Fernet(self._key).encrypt(json.dumps(kept._asdict()).encode())
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if self._is_safe():
                handle, name = tempfile.mkstemp(dir=self._folder)
                with os.fdopen(handle, "wb") as file:
                    file.write(sealed)
                # At once: another task may read it at this moment.
                os.replace(name, self._file)

    def _is_safe(self) -> bool:
        """Whether the folder is a true one, of this user's alone: somebody else may have made it before."""
        found = os.lstat(self._folder)
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def token_cache_for(settings: Settings) -> TokenCache | None:
    """Return the cache for these settings; None if they need no token, or the user wants none."""
    if not isinstance(settings.credentials, ClientCredentials):
        return None
    wanted = conf.getboolean("airbyte_deferrable", "token_cache", fallback=True)
    return TokenCache(settings) if wanted else None
