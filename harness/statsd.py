"""A StatsD server that takes what Airflow sends, in a thread of this process: what it got is asked here."""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from types import TracebackType

from harness.loopback import LOOPBACK


class StatsdServer:
    """Listens on a port of the loopback interface, for ``with StatsdServer() as statsd``.

    Airflow's prefix is taken off the names.
    """

    def __init__(self, prefix: str = "airflow.") -> None:
        self._prefix = prefix
        self._values: defaultdict[str, list[float]] = defaultdict(list)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> StatsdServer:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An empty packet ends the thread: closing the socket would not wake it.
        with self._socket, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self._socket.getsockname())
            self._thread.join()

    @property
    def settings(self) -> dict[str, str]:
        """Airflow's configuration for it, as environment variables."""
        host, port = self._socket.getsockname()
        return {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": host,
            "AIRFLOW__METRICS__STATSD_PORT": str(port),
        }

    def values(self, name: str) -> list[float]:
        """Return everything that was sent under a name, in order: counts, levels, or milliseconds."""
        with self._lock:
            return list(self._values[name])

    def clear(self) -> None:
        """Forget what was sent."""
        with self._lock:
            self._values.clear()

    def level(self, name: str) -> float:
        """Return a gauge's last level, 0 if it was never sent."""
        return (self.values(name) or [0.0])[-1]

    def _listen(self) -> None:
        while packet := self._socket.recv(65536):
            with self._lock:
                for line in packet.decode().splitlines():
                    name, _, rest = line.partition(":")
                    self._values[name.removeprefix(self._prefix)].append(float(rest.partition("|")[0]))
