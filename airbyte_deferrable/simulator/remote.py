"""A simulator that runs in another process."""

from __future__ import annotations

import dataclasses
import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from airbyte_deferrable.simulator.surface import Surface

_ERRORS = {"LookupError": LookupError, "ValueError": ValueError}


class RemoteSimulator(Surface):
    """Does over HTTP what :class:`~airbyte_deferrable.simulator.Simulator` does in its own process.

    :param host: Its address, such as ``http://127.0.0.1:8000``.
    :param timeout: Seconds to wait for an answer.
    """

    def __init__(self, host: str, timeout: float = 60.0) -> None:
        self.host = host.rstrip("/")
        self._timeout = timeout
        # The loopback is never behind a proxy, whatever the environment says.
        self._opener = build_opener(ProxyHandler({}))

    def _do(self, op: str, **arguments: Any) -> Any:
        body = json.dumps(arguments, default=dataclasses.asdict).encode()
        request = Request(f"{self.host}/_simulator/{op}", body, {"Content-Type": "application/json"})
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return json.load(answer)["result"]
        except HTTPError as error:
            if error.code != 400:
                raise
            told = json.load(error)
            raise _ERRORS[told["error"]](told["message"]) from None
