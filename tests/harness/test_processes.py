"""Services end whole, whatever their processes do, and signals wait for the right moment. Needs no Airflow."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.processes import Service, exit_on_termination, signals_held, stop_all
from harness.waiting import eventually

# A leader that ignores SIGTERM, with a child in a process group of its own, as Airflow's workers are.
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setpgid(0, 0)
print("up", flush=True)
time.sleep(600)
"""
# A leader that ends at once and leaves a child behind.
DESERTER = """
import os, time
if os.fork() == 0:
    print("up", flush=True)
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    services: list[Service] = []

    def starter(program: str) -> Service:
        service = Service(
            "test", [sys.executable, "-c", program], env=os.environ, log=tmp_path / f"{len(services)}.log"
        )
        services.append(service)
        service.start()
        eventually(lambda: service.tail().count("up") == 2)
        return service

    yield starter
    stop_all(services, grace=0)


@pytest.mark.parametrize("program", [STUBBORN, DESERTER], ids=["stubborn", "deserter"])
def test_stopping_leaves_no_process_of_the_session(start: Callable[[str], Service], program: str) -> None:
    service = start(program)
    pids = service.members()
    assert pids
    stop_all([service], grace=0.2)
    assert service.members() == []
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_stopped_service_starts_again_and_its_output_goes_on(start: Callable[[str], Service]) -> None:
    service = start("print('up'); print('up', flush=True); import time; time.sleep(600)")
    first = service.pid
    with pytest.raises(RuntimeError, match="running already"):
        service.start()
    stop_all([service])
    service.start()
    eventually(lambda: service.tail().count("up") == 4)
    assert service.pid != first


def test_paused_service_can_be_stopped(start: Callable[[str], Service]) -> None:
    service = start("print('up'); print('up', flush=True); import time; time.sleep(600)")
    service.signal(signal.SIGSTOP, everything=True)
    stop_all([service])
    assert service.returncode == -signal.SIGTERM


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Undo that a shell lets its background jobs ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupt_waits_until_the_block_is_done() -> None:
    done = False
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the block is what is tested
        with signals_held():
            signal.raise_signal(signal.SIGINT)
            done = True
        pytest.fail("the interrupt was lost")
    assert done


def test_termination_leaves_through_the_context_managers() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left, exit_on_termination():
        signal.raise_signal(signal.SIGTERM)
    assert left.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
