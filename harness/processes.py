"""Child processes that are certain to end: each one leads a session of its own, and the session is stopped whole."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any

import psutil

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Service:
    """One long-running program in a session of its own, with its output in a file.

    A session, and not only a process group, because Airflow's workers move to groups of their own
    (``airflow.utils.process_utils.set_new_process_group``); none of its processes leaves the session.

    :param name: What to call it in messages.
    :param command: The program and its arguments.
    :param env: The whole environment of the program.
    :param log: File that receives standard output and standard error; appended to, so that it survives a restart.
    :param cwd: The folder to start it in; that of this process by default.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._env = dict(env)
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program.

        :raises RuntimeError: it is running already.
        """
        if self.runs:
            raise RuntimeError(f"{self.name} is running already")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output, signals_held():
            self._process = self._spawn(output)

    @property
    def pid(self) -> int:
        """Process id of the session's leader; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def runs(self) -> bool:
        """Whether the session's leader is alive."""
        return self._process is not None and self.returncode is None

    @property
    def returncode(self) -> int | None:
        """How the program ended; None while it runs, and before it was started."""
        return self._process.poll() if self._process else None

    def members(self) -> list[int]:
        """Process ids of everything that is alive in the program's session, the leader included."""
        if not self._process:
            return []
        self._process.poll()  # reaps a leader that has ended, so that it does not count as alive
        return [pid for pid in psutil.pids() if _session(pid) == self.pid and not is_dead(pid)]

    def reap(self) -> None:
        """Wait until the program has ended, and take note of how."""
        if self._process:
            self._process.wait()

    def signal(self, signum: int, *, everything: bool = False) -> None:
        """Send a signal; harmless when nobody is left to get it.

        :param everything: To every process of the session instead of the leader only.
        """
        leader = [self.pid] if self.runs else []
        for pid in self.members() if everything else leader:
            with suppress(ProcessLookupError):
                os.kill(pid, signum)

    def tail(self, lines: int = 20) -> str:
        """The end of the output, for an error message."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _spawn(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
        return self._popen(stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

    def _popen(self, stdin: int, stdout: IO[bytes] | int, stderr: IO[bytes] | int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            env=self._env,
            cwd=self._cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )


def stop_all(services: Iterable[Service], *, grace: float = 10.0) -> None:
    """End every process of the given services; returns when none is left.

    All are asked to terminate at the same time; what is still alive after ``grace`` seconds is killed. Signals that
    would interrupt this are held back until it is done.

    :param services: What to stop; those that have ended or never started are fine.
    :param grace: Seconds between asking and killing.
    """
    services = list(services)
    with signals_held():
        for service in services:
            if service.runs:
                # A stopped process can't act on a request to terminate.
                service.signal(signal.SIGCONT, everything=True)
                service.signal(signal.SIGTERM)
        deadline = time.monotonic() + grace
        while any(service.runs for service in services) and time.monotonic() < deadline:
            time.sleep(0.05)
        while remaining := [service for service in services if service.members()]:
            for service in remaining:
                service.signal(signal.SIGKILL, everything=True)
            time.sleep(0.05)
        for service in services:
            # One that died just now is a zombie until it is asked how it ended.
            service.reap()


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold SIGINT, SIGTERM and SIGHUP back while the block runs, and deliver them after it.

    Without it a Ctrl-C could arrive after a child was started and before it was written down, or in the middle of
    stopping. Does nothing outside the main thread, where signals never arrive.
    """
    held: list[int] = []
    try:
        with _handlers(lambda signum, _frame: held.append(signum)):
            yield
    finally:
        for signum in dict.fromkeys(held):
            signal.raise_signal(signum)


@contextmanager
def exit_on_termination() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into :class:`SystemExit` while the block runs, so that context managers clean up.

    SIGINT raises :class:`KeyboardInterrupt` by itself. Does nothing outside the main thread.
    """

    def leave(signum: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    ignored = {signum for signum in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(signum) == signal.SIG_IGN}
    with _handlers(leave, [s for s in (signal.SIGTERM, signal.SIGHUP) if s not in ignored]):  # nohup stays nohup
        yield


@contextmanager
def _handlers(
    handler: Callable[[int, FrameType | None], Any], signals: Sequence[signal.Signals] = STOPPING_SIGNALS
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {signum: signal.signal(signum, handler) for signum in signals}
    try:
        yield
    finally:
        for signum, old in previous.items():
            signal.signal(signum, signal.SIG_DFL if old is None else old)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def is_dead(pid: int) -> bool:
    """Whether a process has ended, also if nobody has taken note of that."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
