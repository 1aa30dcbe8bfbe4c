"""Redis: Debian's program, with a data folder of its own."""

from __future__ import annotations

from pathlib import Path

from harness.loopback import LOOPBACK, free_port
from harness.server import Server


class Redis(Server):
    """A Redis that writes down what it is told before it answers, as a broker should.

    :param folder: Where its data goes; made if need be.
    :param log: File that receives its output.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        self._folder = folder
        port = free_port()
        command = ["redis-server", "--bind", LOOPBACK, "--port", str(port), "--dir", str(folder)]
        super().__init__("redis", [*command, "--save", "", "--appendonly", "yes"], port, log)

    @property
    def url(self) -> str:
        """Celery's address of it."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        """Make the data folder, if there is none, and start it.

        :raises RuntimeError: It ended at once; the message has its output.
        :raises TimeoutError: It does not answer in time.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        super().start()
