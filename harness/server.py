"""What the servers have in common: a process that listens on a port, can be killed, and started again."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from harness.loopback import LOOPBACK
from harness.processes import Service, stop_all
from harness.waiting import eventually


class Server:
    """A server process: ``with server:`` starts it and stops it in the end.

    :param name: What to call it.
    :param command: The program and its arguments.
    :param port: Where it will listen.
    :param log: File that receives its output.
    """

    def __init__(self, name: str, command: Sequence[str], port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self._service = Service(name, command, env=os.environ, log=log)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it can be used. Also after :meth:`kill`: it goes on with the data that it had.

        :raises RuntimeError: It ended at once; the message has its output.
        :raises TimeoutError: It does not answer in time.
        """
        self._service.start()
        try:
            eventually(self._answers_or_has_ended, what=f"an answer of {self.name}", interval=0.05)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self._service.tail()}") from None
        if self.returncode is not None:
            raise RuntimeError(f"{self.name} ended with {self.returncode}:\n{self._service.tail()}")

    def answers(self) -> bool:
        """Whether it can be used."""
        with suppress(OSError), socket.create_connection((LOOPBACK, self.port), timeout=1):
            return True
        return False

    @property
    def pid(self) -> int:
        """Its process id; 0 before the first start."""
        return self._service.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, negative for the signal that killed it; None while it runs."""
        return self._service.returncode

    def kill(self) -> None:
        """``kill -9`` the whole of it, as when its machine dies."""
        self._service.signal(signal.SIGKILL, everything=True)
        stop_all([self._service])

    def stop(self) -> None:
        """Stop it, and drop its data; harmless if it does not run."""
        stop_all([self._service])

    def _answers_or_has_ended(self) -> bool:
        return self.returncode is not None or self.answers()
