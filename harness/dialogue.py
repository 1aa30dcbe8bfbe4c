"""A process that one talks with, line by line."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from types import TracebackType
from typing import IO

from typing_extensions import Self

from harness.processes import Service, stop_all


class Dialogue(Service):
    """A program that answers lines on its standard input with lines on its standard output; its errors go to the log.

    ``with dialogue:`` starts it and ends it. See :class:`~harness.processes.Service` for the parameters.
    """

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # It has nothing to finish.
            stop_all([self], grace=0)
        finally:
            for pipe in self._pipes():
                with suppress(BrokenPipeError):
                    pipe.close()

    def say(self, line: str = "") -> None:
        """Give it a line.

        :raises RuntimeError: It has ended; the message has the end of its log.
        """
        try:
            self._pipes()[0].write(f"{line}\n".encode())
            self._pipes()[0].flush()
        except BrokenPipeError:
            raise self._failure("has ended") from None

    def hear(self, expected: str | None = None) -> str:
        """Wait for its next line.

        :param expected: What it has to be; anything by default.
        :raises RuntimeError: It has ended, or said something else; the message has the end of its log.
        """
        line = self._pipes()[1].readline()
        if not line:
            raise self._failure("has ended")
        said = line.decode().rstrip("\n")
        if expected not in (None, said):
            raise self._failure(f"said {said!r}, not {expected!r}")
        return said

    def _failure(self, what: str) -> RuntimeError:
        return RuntimeError(f"{self.name} {what}:\n{self.tail(60)}")

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _spawn(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
        return self._popen(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output)
